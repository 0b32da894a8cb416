-- bench/run.lua - the harness: asks each question of each contender, in interleaved rounds, and prints ratios.
--
--   ./dev bench [question...] [--rounds N] [--contenders a,b] [--operations N] [--apart] [--json]
--
-- Every measurement is a process of its own, its set-up outside the timing, its results checked against the
-- floor's. Within a round all contenders of a question run one after the other, each round in another order.
-- bench/README.md tells the method.
--
-- SPDX-License-Identifier: MIT

package.path = "./?.lua;" .. package.path

local contenders = require "bench.contenders"
local field = require "bench.harness.field"
local goals = require "bench.goals"
local place = require "bench.harness.place"
local report = require "bench.harness.report"

local USAGE = [[
usage: ./dev bench [question...] [--rounds N] [--contenders a,b] [--operations N] [--apart] [--json]

  --rounds N        how often everything is measured (default 7)
  --contenders a,b  only those whose name begins so; the floor always runs
  --operations N    operations per measurement instead of each question's own number
  --apart           clients and server on a core each instead of one core for both
  --json            one JSON document instead of tables
]]

local function fail(why)
  io.stderr:write("bench: ", why, "\n")
  os.exit(2)
end

-- ---- arguments ------------------------------------------------------------------------------------------

local function whole(text, name)
  local n = tonumber(text)
  if not n or n < 1 or n % 1 ~= 0 then fail(name .. " takes a whole number above zero") end
  return n
end

local function options(words)
  local out, i = { rounds = 7, wanted = {} }, 1
  while words[i] do
    local word = words[i]
    if word == "--json" or word == "--apart" then
      out[word:sub(3)] = true
    elseif word == "--rounds" or word == "--operations" then
      i = i + 1
      out[word:sub(3)] = whole(words[i], word)
    elseif word == "--contenders" then
      i = i + 1
      out.contenders = words[i] or fail "--contenders takes a list"
    elseif word == "--help" or word == "-h" then
      io.write(USAGE)
      os.exit(0)
    elseif word:find "^%-" then
      fail(("no option %s\n%s"):format(word, USAGE))
    else
      out.wanted[#out.wanted + 1] = word
    end
    i = i + 1
  end
  return out
end

-- The question itself is the first comment line of its file.
local function load_question(name)
  local path = ("bench/questions/%s.lua"):format(name)
  local file = io.open(path)
  if not file then fail(("there is no question %s in bench/questions/"):format(name)) end
  local title = file:read "*l":gsub("^%-%-%s*", "")
  file:close()
  local question = dofile(path)
  question.name, question.title = name, title
  return question
end

local function load_questions(wanted)
  if #wanted == 0 then
    for name in place.output "ls bench/questions":gmatch "([%w_]+)%.lua" do wanted[#wanted + 1] = name end
  end
  local list = {}
  for i, name in ipairs(wanted) do list[i] = load_question(name) end
  table.sort(list, function(a, b) return a.order < b.order end)
  return list
end

local function chosen(all, pattern)
  if not pattern then return all end
  local list = {}
  for _, contender in ipairs(all) do
    for prefix in pattern:gmatch "[^,]+" do
      if contender.key:sub(1, #prefix) == prefix then
        list[#list + 1] = contender
        break
      end
    end
  end
  return list
end

-- ---- measuring ------------------------------------------------------------------------------------------

-- Each round begins with somebody else: nobody always runs in another's wake.
local function rotated(list, by)
  local out = {}
  for i = 1, #list do out[i] = list[(i + by - 2) % #list + 1] end
  return out
end

local function takes_part(contender, question)
  return contender.version and (not contender.questions or contender.questions[question.name])
end

local function operations_for(contender, question, o)
  local share = not question.whole and contender.share or 1
  return math.ceil((o.operations or question.operations) * share)
end

-- Results that are not what the floor saw count for nothing.
local function sift(round, question, list, o, remarks)
  for _, contender in ipairs(list) do
    local result = round[contender.key]
    local units = operations_for(contender, question, o) * (question.units or 1)
    if result and (result.units ~= units or result.check ~= round.floor.check) then
      remarks[contender.key] = ("wrong values: %d units, %s; expected %d units, %s"):format(result.units,
        result.check, units, round.floor.check)
      round[contender.key] = nil
    end
  end
end

-- Answers the rounds, and why contenders have no figures.
local function ask(question, list, here, o)
  local rounds, remarks = {}, {}
  for r = 1, o.rounds do
    local round = {}
    rounds[r] = round
    for _, contender in ipairs(rotated(list, r)) do
      if takes_part(contender, question) and not remarks[contender.key] then
        local result, why, expected = field.measure(contender, question, operations_for(contender, question, o), here)
        round[contender.key] = result
        if why and not expected then remarks[contender.key] = "failed: " .. why end
      end
    end
    if not round.floor then fail("the floor failed: " .. tostring(remarks.floor)) end
    sift(round, question, list, o, remarks)
  end
  return rounds, remarks
end

-- ---- telling --------------------------------------------------------------------------------------------

local function introduce(machine, here, list, o)
  local pins = "nobody is pinned to a core"
  if machine.client then
    local where = not here.pinned and "the server not pinned (not ours)"
      or machine.server == machine.client and "and the server to the same" or "the server to core " .. machine.server
    pins = ("clients pinned to core %d, %s"):format(machine.client, where)
  end
  print(("%s, %d cores, %s; PostgreSQL %s; %s; %d rounds"):format(machine.cpu, machine.cores, machine.system,
    here.version, pins, o.rounds))
  for _, contender in ipairs(list) do
    print(("- %s: %s"):format(contender.key, contender.version or "left out, " .. contender.absent))
  end
end

local function show(results, keys)
  local missed = 0
  for _, result in ipairs(results) do
    missed = missed + report.question(result.question, keys, result.summary, goals[result.question.name] or {},
      result.remarks)
  end
  print(("\nGoals missed: %d."):format(missed))
end

local function write_json(machine, here, list, results)
  local out = { machine = machine, server = here.version, pinned = here.pinned, contenders = {}, questions = {} }
  for _, contender in ipairs(list) do
    out.contenders[contender.key] = contender.version or "left out, " .. contender.absent
  end
  for i, result in ipairs(results) do
    out.questions[i] = {
      question = result.question.name, unit = result.question.unit, goals = goals[result.question.name],
      results = result.summary, remarks = next(result.remarks) and result.remarks or nil,
    }
  end
  print(require("luphant.core").json_encode(out))
end

local function run_all(questions, list, here, o)
  local results, keys = {}, {}
  for i, contender in ipairs(list) do keys[i] = contender.key end
  for i, question in ipairs(questions) do
    io.stderr:write("asking ", question.name, "\n")
    local rounds, remarks = ask(question, list, here, o)
    results[i] = { question = question, summary = report.summarize(rounds, keys), remarks = remarks }
  end
  return results, keys
end

local function main(words)
  local o = options(words)
  local questions = load_questions(o.wanted)
  local machine = place.machine(o.apart)
  local floor, why = place.build_floor()
  if not floor then fail("the floor does not compile: " .. why) end
  local loops = place.build_loops()
  local here = place.open(machine)
  local list = field.probe(chosen(contenders, o.contenders), machine, floor, loops)
  local ok, results, keys = xpcall(run_all, debug.traceback, questions, list, here, o)
  here.close()
  os.remove(floor)
  place.output("rm -r " .. place.quote(loops))
  if not ok then fail(tostring(results)) end
  if o.json then return write_json(machine, here, list, results) end
  introduce(machine, here, list, o)
  show(results, keys)
end

main(arg)
