-- report.lua - figures into medians, ratios within a round, and what the goals say to them.
--
-- SPDX-License-Identifier: MIT

local goals = require "bench.openresty.goals"
local spread = require("bench.harness.report").spread

local report = {}

-- Values of each round that has both.
local function each_round(rounds, key, other, value)
  local list = {}
  for _, round in ipairs(rounds) do
    if round[key] and round[other] then list[#list + 1] = value(round[key], round[other]) end
  end
  return #list > 0 and spread(list) or nil
end

local function requests_ratio(mine, other) return mine.rate / other.rate end
local function cpu_ratio(mine, other) return mine.cpu / other.cpu end

local FIGURES = {
  rate = function(r) return r.rate end, p50_ms = function(r) return r.p50 * 1e3 end,
  p99_ms = function(r) return r.p99 * 1e3 end, cpu_us = function(r) return r.cpu * 1e6 end,
}

--- rounds[r][key] = what load.run answers -> key -> { rate =, p50_ms =, p99_ms =, cpu_us = (spreads),
--- against = other key -> { requests =, cpu = } }
---@param rounds table[]
---@param contenders table[]
---@return table
function report.summarize(rounds, contenders)
  local out = {}
  for _, contender in ipairs(contenders) do
    local key, mine = contender.key, { against = {} }
    for name, value in pairs(FIGURES) do mine[name] = each_round(rounds, key, key, value) end
    for _, other in ipairs(contenders) do
      local requests = other.against and other ~= contender and each_round(rounds, key, other.key, requests_ratio)
      if requests then
        mine.against[other.key] = { requests = requests, cpu = each_round(rounds, key, other.key, cpu_ratio) }
      end
    end
    out[key] = mine.rate and mine or nil
  end
  return out
end

--- Requests of /one with /slow beside it as a share of those without, within a round.
---@param alone table[]  rounds
---@param beside table[]
---@return table  key -> spread
function report.shares(alone, beside, contenders)
  local pairs_of_rounds, out = {}, {}
  for r in ipairs(alone) do pairs_of_rounds[r] = { alone = alone[r], beside = beside[r] } end
  for _, contender in ipairs(contenders) do
    local key = contender.key
    out[key] = each_round(pairs_of_rounds, "beside", "alone", function(b, a)
      return b[key] and a[key] and b[key].rate / a[key].rate or nil
    end)
  end
  return out
end

local function rounded(n) return math.floor(n * 100 + 0.5) end -- told with two digits, judged with two

local function judge(list, who, what, goal, result, at_least)
  if not (goal and result) then return end
  local met = rounded(result.median) == rounded(goal) or (result.median > goal) == at_least
  list[#list + 1] = { who = who, what = what, goal = goal, result = result, met = met }
end

--- The goals of a question with so many connections: a list of { who =, what =, goal =, result =, met = }.
---@return table[]
function report.verdicts(question, connections, summary)
  local list = {}
  for _, key in ipairs(goals.who) do
    for _, other in ipairs { "pgmoon", "pgmoon-execute" } do
      local goal = ((goals[question] or {})[connections] or {})[other]
      local mine = goal and summary[key] and summary[key].against[other]
      if mine then
        judge(list, key, "requests against " .. other, goal.requests, mine.requests, true)
        judge(list, key, "CPU against " .. other, goal.cpu, mine.cpu, false)
      end
    end
  end
  return list
end

--- The same for /one beside /slow.
---@return table[]
function report.verdicts_beside(shares)
  local list = {}
  for _, key in ipairs(goals.who) do
    judge(list, key, "requests beside /slow", goals.beside, shares[key], true)
  end
  return list
end

-------------------------------------------------------------------------------------------- telling

local function span(s) return ("%.2f (%.2f-%.2f)"):format(s.median, s.min, s.max) end

local function tell_verdicts(list)
  for _, v in ipairs(list) do
    print(("%s, %s: goal %.2f, is %s: %s"):format(v.who, v.what, v.goal, span(v.result), v.met and "met" or "missed"))
  end
end

local function header(others)
  local names, lines = { "", "requests/s", "p50 / p99 ms", "worker CPU us" }, { "---", "---", "---", "---" }
  for _, other in ipairs(others) do
    names[#names + 1] = "to " .. other.key
    lines[#lines + 1] = "---"
  end
  print("| " .. table.concat(names, " | ") .. " |\n| " .. table.concat(lines, " | ") .. " |")
end

--- Prints the table of one question with so many connections, and its goals.
---@param cell table  question, connections, summary, remarks, verdicts
function report.tell(cell, contenders)
  local others = {}
  for _, contender in ipairs(contenders) do
    if contender.against and cell.summary[contender.key] then others[#others + 1] = contender end
  end
  print(("\n### /%s, %d connection%s\n"):format(cell.question, cell.connections, cell.connections == 1 and "" or "s"))
  header(others)
  for _, contender in ipairs(contenders) do
    local mine = cell.summary[contender.key]
    if mine then
      local words = { contender.key, ("%.0f"):format(mine.rate.median),
        ("%.2f / %.2f"):format(mine.p50_ms.median, mine.p99_ms.median), ("%.1f"):format(mine.cpu_us.median) }
      for _, other in ipairs(others) do
        local ratio = mine.against[other.key]
        words[#words + 1] = ratio and ("%.2f / %.2f"):format(ratio.requests.median, ratio.cpu.median) or ""
      end
      print("| " .. table.concat(words, " | ") .. " |")
    elseif cell.remarks[contender.key] then
      print(("| %s | failed: %s |"):format(contender.key, cell.remarks[contender.key]))
    end
  end
  if #cell.verdicts > 0 then print "" end
  tell_verdicts(cell.verdicts)
end

--- Prints how /one does beside /slow.
---@param slow table  alone, beside (summaries), shares, verdicts, remarks
function report.tell_beside(slow, contenders)
  print "\n### /one with 4 connections beside /slow with 4\n"
  print "| | /one alone | beside | share | p99 ms alone | beside |\n| --- | --- | --- | --- | --- | --- |"
  for _, contender in ipairs(contenders) do
    local key = contender.key
    local alone, beside, share = slow.alone[key], slow.beside[key], slow.shares[key]
    if share then
      print(("| %s | %.0f | %.0f | %s | %.2f | %.2f |"):format(key, alone.rate.median, beside.rate.median, span(share),
        alone.p99_ms.median, beside.p99_ms.median))
    elseif slow.remarks[key] then
      print(("| %s | failed: %s |"):format(key, slow.remarks[key]))
    end
  end
  print ""
  tell_verdicts(slow.verdicts)
end

return report
