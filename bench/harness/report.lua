-- report.lua - figures into ratios, ratios into tables.
--
-- A ratio is made within one round, where machine and server were in one state; the median over the rounds is what
-- counts, the smallest and largest tell how far to trust it.
--
-- SPDX-License-Identifier: MIT

local report = {}

--- { median =, min =, max = } of a list of numbers.
---@param values number[]
---@return table
function report.spread(values)
  local sorted = {}
  for i, value in ipairs(values) do sorted[i] = value end
  table.sort(sorted)
  local n = #sorted
  local middle = math.floor((n + 1) / 2)
  local median = n % 2 == 1 and sorted[middle] or (sorted[middle] + sorted[middle + 1]) / 2
  return { median = median, min = sorted[1], max = sorted[n] }
end

--- rounds[r][contender key] = measurement -> key -> { cpu =, wall = (ratios), cpu_us =, wall_us = (per unit) }
function report.summarize(rounds, keys)
  local out, spread = {}, report.spread
  for _, key in ipairs(keys) do
    local cpu, wall, cpu_us, wall_us, memory = {}, {}, {}, {}, {}
    for _, round in ipairs(rounds) do
      local mine, floor = round[key], round.floor
      if mine and floor then
        local more = floor.units / mine.units -- slow contenders do a part of the operations
        cpu[#cpu + 1], wall[#wall + 1] = more * mine.cpu / floor.cpu, more * mine.wall / floor.wall
        cpu_us[#cpu_us + 1] = mine.cpu / mine.units * 1e6
        wall_us[#wall_us + 1] = mine.wall / mine.units * 1e6
        memory[#memory + 1] = mine.memory
      end
    end
    if #cpu > 0 then
      out[key] = { cpu = spread(cpu), wall = spread(wall), cpu_us = spread(cpu_us), wall_us = spread(wall_us),
        memory = #memory > 0 and spread(memory) or nil }
    end
  end
  return out
end

local function ratio(s)
  return ("%.2f (%.2f-%.2f)"):format(s.median, s.min, s.max)
end

-- A ratio is told with two digits, so it is judged with two.
local function verdict(goal, result)
  if not goal then return "" end
  local words = {}
  for _, what in ipairs { "cpu", "wall" } do
    if goal[what] then
      local met = math.floor(result[what].median * 100 + 0.5) <= math.floor(goal[what] * 100 + 0.5)
      words[#words + 1] = ("%s%.2f %s"):format(what == "wall" and "wall " or "", goal[what], met and "met" or "missed")
    end
  end
  if goal.memory_kb and result.memory then
    words[#words + 1] = ("%d kB over the start %s"):format(goal.memory_kb,
      result.memory.median <= goal.memory_kb and "met" or "missed")
  end
  if goal.cpu_us then
    local us = result.cpu_us.median
    words[#words + 1] = ("%.0f ns CPU, is %.0f: %s"):format(goal.cpu_us * 1e3, us * 1e3,
      us <= goal.cpu_us and "met" or "missed")
  end
  return table.concat(words, ", ")
end

--- Prints one question's table. Answers how many goals were missed.
function report.question(question, keys, summary, goals, remarks)
  local floor = summary.floor
  print(("\n### %s\n\n%s\n"):format(question.name, question.title))
  print(("Floor: %s. %.3f us of client CPU, %.2f us of wall time a %s.\n"):format(question.floor, floor.cpu_us.median,
    floor.wall_us.median, question.unit))
  print "| contender | client CPU | wall time | goal |\n| --- | --- | --- | --- |"
  local missed = 0
  for _, key in ipairs(keys) do
    local result = key ~= "floor" and summary[key]
    if result then
      local told = verdict(goals[key], result)
      if told:find "missed" then missed = missed + 1 end
      if question.memory and result.memory then
        told = ("%s; memory rose by %.0f kB"):format(told, result.memory.median)
      end
      print(("| %s | %s | %s | %s |"):format(key, ratio(result.cpu), ratio(result.wall), told))
    elseif remarks[key] then
      print(("| %s | %s | | |"):format(key, remarks[key]))
    end
  end
  return missed
end

return report
