-- bench/openresty/run.lua - what does a request cost that asks PostgreSQL from inside nginx, with luphant and with
-- pgmoon?
--
--   ./dev bench openresty [question...] [--rounds N] [--seconds N] [--contenders a,b] [--pgmoon FOLDER] [--json]
--
-- Runs on LuaJIT, whose modules nginx can load. README.md tells the method.
--
-- SPDX-License-Identifier: MIT

package.path = "./?.lua;" .. package.path

local contenders = require "bench.openresty.contenders"
local load = require "bench.openresty.load"
local place = require "bench.harness.place"
local report = require "bench.openresty.report"
local shell = require "luphant.testing.shell"
local site = require "bench.openresty.site"

local USAGE = [[
usage: ./dev bench openresty [question...] [options]

  questions          one (a row by key), rows (200 rows of 8 columns), beside (/one while /slow naps); default: all
  --rounds N         how often everything is measured (default 3)
  --seconds N        how long each load lasts (default 2)
  --pairs N          how often /one is loaded alone and beside /slow in each round (default 6)
  --clients a,b      numbers of client connections (default 1,16,64)
  --connections N    of each contender to the database (default 8)
  --contenders a,b   only these
  --pgmoon FOLDER    where pgmoon is; default: LUA_PATH and LuaRocks are asked
  --json             one JSON document instead of tables
]]

local function fail(why)
  io.stderr:write("bench: ", why, "\n")
  os.exit(2)
end

------------------------------------------------------------------------------------------ arguments

local QUESTIONS = { "one", "rows", "beside" }

local function whole(text, name)
  local n = tonumber(text)
  if not n or n < 1 or n % 1 ~= 0 then fail(name .. " takes whole numbers above zero") end
  return n
end

local function words_of(text, name)
  local list = {}
  for word in (text or fail(name .. " takes a list")):gmatch "[^,]+" do list[#list + 1] = word end
  return list
end

local TAKES = {
  ["--rounds"] = whole, ["--seconds"] = whole, ["--pairs"] = whole, ["--connections"] = whole,
  ["--contenders"] = words_of,
  ["--pgmoon"] = function(text) return text or fail "--pgmoon takes a folder" end,
  ["--clients"] = function(text, name)
    local list = words_of(text, name)
    for i, word in ipairs(list) do list[i] = whole(word, name) end
    return list
  end,
}

local function set_of(list)
  local set = {}
  for _, item in ipairs(list) do set[item] = true end
  return set
end

local function options(words)
  local out = { rounds = 3, seconds = 2, pairs = 6, connections = 8, clients = { 1, 16, 64 } }
  local asked, known, i = {}, set_of(QUESTIONS), 1
  while words[i] do
    local word = words[i]
    if TAKES[word] then
      i = i + 1
      out[word:sub(3)] = TAKES[word](words[i], word)
    elseif word == "--json" then
      out.json = true
    elseif word == "--help" or word == "-h" then
      io.write(USAGE)
      os.exit(0)
    elseif word:find "^%-" then
      fail(("no option %s\n%s"):format(word, USAGE))
    elseif known[word] then
      asked[#asked + 1] = word
    else
      fail(("there is no question %s; there are %s"):format(word, table.concat(QUESTIONS, ", ")))
    end
    i = i + 1
  end
  out.asked = set_of(#asked > 0 and asked or QUESTIONS)
  return out
end

local function chosen(wanted)
  if not wanted then return contenders end
  local list, set = {}, set_of(wanted)
  for _, contender in ipairs(contenders) do
    if set[contender.key] then
      list[#list + 1] = contender
      set[contender.key] = nil
    end
  end
  if next(set) then fail("no contender " .. next(set)) end
  return list
end

------------------------------------------------------------------------------------------ measuring

-- Starts and checks every contender. Those that take part have a `web`; the others say why not.
local function open(list, database, o)
  for _, contender in ipairs(list) do
    if not contender.absent then
      local web, why = site.start(contender, database, o.connections)
      why = web and site.check(web, database) or why
      if why then
        if web then web:stop() end
        io.stderr:write(contender.key, ": ", why, "\n")
        contender.absent, contender.failed = why:match "[^\n]*", true
      else
        contender.web = web
      end
    end
  end
end

local function close(list)
  for _, contender in ipairs(list) do
    if contender.web then contender.web:stop() end
  end
end

-- One round: everybody who can, each time beginning with somebody else. `ask(web)` answers a result or nil, why.
local function round(list, number, remarks, ask)
  local results = {}
  for i = 1, #list do
    local contender = list[(i + number - 2) % #list + 1]
    if contender.web and not remarks[contender.key] then
      local result, why = ask(contender.web)
      results[contender.key] = result
      if not result then remarks[contender.key] = why end
    end
  end
  return results
end

-- The first load of a kind compiles Lua and opens connections: it is not counted. (Of a single round nobody wants to
-- know figures.)
local function rehearse(list, path, o)
  for _, contender in ipairs(list) do
    if contender.web and o.rounds > 1 then load.run(contender.web, path, 16, 1) end
  end
end

local function measure(list, question, clients, o)
  local rounds, remarks = {}, {}
  io.stderr:write(("/%s with %d\n"):format(question, clients))
  for r = 1, o.rounds do
    rounds[r] = round(list, r, remarks, function(web) return load.run(web, "/" .. question, clients, o.seconds) end)
  end
  local summary = report.summarize(rounds, list)
  return {
    question = question, connections = clients, summary = summary, remarks = remarks,
    verdicts = report.verdicts(question, clients, summary),
  }
end

local BESIDE = 4 -- connections of either kind: together no more than there are to the database

-- One contender's loads of a round, in pairs: alone and beside, beside and alone, so that what changes with time
-- changes both. Answers { alone =, beside = }, or nil and why.
local function ask_in_pairs(web, o)
  local alone, beside = {}, {}
  for leg = 1, 2 * o.pairs do
    local result, why
    if leg % 4 < 2 then
      result, why = load.run(web, "/one", BESIDE, o.seconds)
      alone[#alone + 1] = result
    else
      result, why = load.run_beside(web, "/one", "/slow", BESIDE, o.seconds)
      beside[#beside + 1] = result
    end
    if not result then return nil, why end
  end
  return { alone = load.together(alone), beside = load.together(beside) }
end

local function measure_beside(list, o)
  local alone, beside, remarks = {}, {}, {}
  io.stderr:write "/one beside /slow\n"
  for r = 1, o.rounds do
    alone[r], beside[r] = {}, {}
    for key, both in pairs(round(list, r, remarks, function(web) return ask_in_pairs(web, o) end)) do
      alone[r][key], beside[r][key] = both.alone, both.beside
    end
  end
  local shares = report.shares(alone, beside, list)
  return {
    alone = report.summarize(alone, list), beside = report.summarize(beside, list), shares = shares, remarks = remarks,
    verdicts = report.verdicts_beside(shares),
  }
end

local function measure_all(list, o)
  local out = { cells = {} }
  for _, question in ipairs { "one", "rows" } do
    if o.asked[question] then
      rehearse(list, "/" .. question, o)
      for _, clients in ipairs(o.clients) do
        out.cells[#out.cells + 1] = measure(list, question, clients, o)
      end
    end
  end
  if o.asked.beside then
    rehearse(list, "/one", o)
    out.beside = measure_beside(list, o)
  end
  return out
end

-------------------------------------------------------------------------------------------- telling

local function introduce(list, database, o)
  local machine = place.machine()
  print(("%s, %d cores, %s; PostgreSQL %s over TCP on the loopback; %s, one worker; %d connections to the database"
    .. " each; %d rounds of %d s"):format(machine.cpu, machine.cores, machine.system, database.version,
    site.versions(), o.connections, o.rounds, o.seconds))
  for _, contender in ipairs(list) do
    print(("- %s: %s"):format(contender.key, contender.absent and "left out, " .. contender.absent or "takes part"))
  end
end

local function count_missed(results)
  local missed = 0
  local function count(verdicts)
    for _, v in ipairs(verdicts) do missed = missed + (v.met and 0 or 1) end
  end
  for _, cell in ipairs(results.cells) do count(cell.verdicts) end
  if results.beside then count(results.beside.verdicts) end
  return missed
end

local function show(results, list)
  for _, cell in ipairs(results.cells) do report.tell(cell, list) end
  if results.beside then report.tell_beside(results.beside, list) end
  print(("\nGoals missed: %d."):format(count_missed(results)))
end

local function write_json(results, list, database)
  local out = { machine = place.machine(), server = database.version, versions = site.versions(), contenders = {},
    results = results.cells, beside = results.beside, missed = count_missed(results) }
  for _, contender in ipairs(list) do
    out.contenders[contender.key] = contender.absent and "left out, " .. contender.absent or "takes part"
  end
  print(require("luphant.core").json_encode(out))
end

-- Answers whether every contender that could run told right values and served its loads.
local function run(list, database, o)
  open(list, database, o)
  local results = measure_all(list, o)
  if o.json then
    write_json(results, list, database)
  else
    introduce(list, database, o)
    show(results, list)
  end
  local sound = not (results.beside and next(results.beside.remarks))
  for _, cell in ipairs(results.cells) do sound = sound and not next(cell.remarks) end
  for _, contender in ipairs(list) do sound = sound and not contender.failed end
  return sound
end

local function main(words)
  local o = options(words)
  if not rawget(_G, "jit") then fail "this runs on LuaJIT, as nginx does" end
  if not shell.run "command -v wrk" then fail "wrk is not installed" end
  local list = chosen(o.contenders)
  site.look(list, o.pgmoon)
  local database = site.database()
  local ok, sound = xpcall(run, debug.traceback, list, database, o)
  close(list)
  database.conn:close()
  database.server:stop()
  if not ok then fail(tostring(sound)) end
  os.exit(sound and 0 or 1)
end

main(arg)
