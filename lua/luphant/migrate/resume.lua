-- luphant.migrate.resume - where a migration that stopped outside of a transaction can go on. Pure.
--
-- The history says how many statements were begun and how many ended. One that failed is tried again. One that was
-- begun when the process died is in doubt: it is run again only when that does no harm (IF [NOT] EXISTS), or when a
-- person has looked.
--
-- SPDX-License-Identifier: MIT

local wayback = require "luphant.migrate.wayback"

local function says_if(statement)
  local words = statement.words
  for i = 1, #words - 1 do
    if words[i] == "if" and (words[i + 1] == "exists" or (words[i + 1] == "not" and words[i + 2] == "exists")) then
      return true
    end
  end
  return false
end

local function in_doubt(entry)
  local row = entry.applied
  return row.state == "running" and (row.statements_started or 0) > (row.statements_done or 0)
end

-- Its function begins anew, and only its batches know how far they have come.
local function check_function(plan, entry, complain)
  if plan.options.from == 1 or entry.migration.options.retry then return true end
  complain(entry, "is written in Lua: its function would run again from its beginning, where only batches go on",
    "if that does no harm, say --from 1; resolve says what is true, down --partial takes it back")
end

local function check_statement(plan, entry, statements, first, complain)
  local options, statement = plan.options, statements[first]
  if options.from or options.assume_not_run or not in_doubt(entry) or not statement or says_if(statement) then
    return true
  end
  complain(entry, ("statement %d (line %d) was begun, and nobody knows whether it ended"):format(first, statement.line),
    ("look; then --from %d runs it again, --from %d goes on behind it"):format(first, first + 1))
end

-- The recorded way back cannot be edited.
local function check_text(plan, entry, complain)
  local is_same = entry.applied.direction == "down" or entry.applied.checksum == entry.migration.checksum
  if is_same or plan.options.from then return true end
  complain(entry, "was edited since it stopped, so statements cannot be counted", "--from says where to go on")
end

local function check_entry(entry, complain)
  local row = entry.applied
  local is_stopped = row and (row.state == "failed" or row.state == "running") and entry.state ~= "running"
  if not is_stopped then
    complain(entry, ("is %s, not stopped half-way"):format(entry.state))
  elseif row.direction == "down" then
    if row.down_sql then return true end
    complain(entry, "stopped on its way back, which is written in Lua, where no statements are counted",
      "down --partial runs all of it again, resolve says what is true")
  elseif entry.state == "missing" then
    complain(entry, "cannot go on: the file is gone")
  else
    return true
  end
end

local function step_of(entry, section, first)
  local is_back = entry.applied.direction == "down"
  return {
    action = is_back and "revert" or "resume", kind = entry.kind, version = entry.version, name = entry.name,
    file = entry.file, migration = entry.migration, applied = entry.applied, first = first,
    section = is_back and section or nil,
    transaction = not is_back and entry.migration.transaction or is_back and section.options.transaction ~= false,
  }
end

--- Fills the one step of a plan that goes on, in the direction in which it stopped.
---@param plan table as plan.lua begins it
---@param entry luphant.migrate.Entry
---@param complain fun(entry: luphant.migrate.Entry?, message: string, hint: string?)
local function resume(plan, entry, complain)
  if not check_entry(entry, complain) or not check_text(plan, entry, complain) then return end
  if entry.applied.direction ~= "down" and entry.migration.script then
    if check_function(plan, entry, complain) then plan.steps[1] = step_of(entry, nil, 1) end
    return
  end
  local section = entry.applied.direction ~= "down" and entry.migration.up or wayback.of(entry, complain)
  if not section then return end
  local statements = section.statements
  local first = plan.options.from or (entry.applied.statements_done or 0) + 1
  if first < 1 or first > #statements + 1 then
    complain(entry, ("has %d statements; --from %d is none of them"):format(#statements, first))
  elseif check_statement(plan, entry, statements, first, complain) then
    plan.steps[1] = step_of(entry, section, first)
  end
end

return resume
