-- luphant.migrate.revert - the way back: which applied migrations are undone, and with what. Pure.
--
-- What runs is the way back as it was recorded when the migration was applied, so that it fits what is in the database
-- even when the checkout is older or newer. The latest go first; what others still require stays.
--
-- SPDX-License-Identifier: MIT

local judge = require "luphant.migrate.judge"
local order = require "luphant.migrate.order"
local version = require "luphant.migrate.version"
local wayback = require "luphant.migrate.wayback"

local STOPPED = { failed = true, interrupted = true }

local function is_undoable(entry)
  return entry.applied ~= nil and entry.kind ~= "repeatable"
end

-- The run of the row applied last; times are text of one form, which sorts.
local function last_run(entries)
  local found, at
  for _, entry in ipairs(entries) do
    local row = entry.applied
    if row and row.run_id and (not at or row.applied_at > at) then found, at = row.run_id, row.applied_at end
  end
  return found
end

local function by_run(plan, complain)
  local run, out = plan.options.run, {}
  if run == true then run = last_run(plan.entries) end
  for i = #plan.entries, 1, -1 do
    local entry = plan.entries[i]
    if is_undoable(entry) and run and entry.applied.run_id == run then out[#out + 1] = entry end
  end
  if #out == 0 then complain(nil, "no applied migration belongs to that run") end
  return out
end

local function by_target(plan, complain, find)
  local target, out = plan.options.to, {}
  if not version.is(target) or version.key(target) ~= version.key "0" then
    local entry = find(target)
    if not entry then return out end
    if not entry.applied and entry.state ~= "covered" then
      complain(entry, "is not applied, so there is no going back to it")
    end
  end
  for i = #plan.entries, 1, -1 do
    local entry = plan.entries[i]
    if is_undoable(entry) and version.before(target, entry.version) then out[#out + 1] = entry end
  end
  return out
end

local function by_count(plan)
  local out = {}
  for i = #plan.entries, 1, -1 do
    if #out == (plan.options.count or 1) then break end
    if is_undoable(plan.entries[i]) then out[#out + 1] = plan.entries[i] end
  end
  return out
end

-- ---- what runs ----------------------------------------------------------------------------------------------

local NO_WAY_BACK = "was applied without a migrate:down section; write a new migration instead"

local function in_lua(entry)
  return entry.state == "applied" and entry.migration.script and entry.migration.script.down ~= nil
end

local function step_of(entry, complain)
  local step = {
    action = "revert", kind = entry.kind, version = entry.version, name = entry.name, file = entry.file,
    migration = entry.migration, applied = entry.applied, transaction = true,
  }
  if entry.state == "skipped" then
    step.action = "forget"
  elseif entry.applied.down_sql then
    step.section = wayback.of(entry, complain)
    if not step.section then return nil end
    step.transaction = step.section.options.transaction ~= false
    judge.section(step.section, "down", step.transaction, function(statement, message, hint)
      complain(entry, ("line %d: %s"):format(statement.line, message), hint)
    end)
  elseif in_lua(entry) then
    step.transaction = entry.migration.transaction
  else
    complain(entry, NO_WAY_BACK)
    return nil
  end
  return step
end

local function check_state(entry, options, complain)
  if entry.kind == "baseline" then
    complain(entry, "is a baseline; there is no way back beyond it")
  elseif entry.state == "running" then
    complain(entry, "is being run by somebody just now", "wait for it")
  elseif STOPPED[entry.state] and not options.partial then
    complain(entry, "stopped half-way; its way back may not fit what is there", "--partial runs it all the same")
  else
    return true
  end
end

-- What stays applied must not require what goes.
local function check_dependents(plan, going, complain)
  for _, entry in ipairs(plan.entries) do
    if entry.applied and entry.migration and not going[entry] then
      for _, wanted in ipairs(entry.migration.requires) do
        local other = plan.index[order.id(wanted)]
        if other and going[other] then
          complain(other, ("is required by %s, which stays"):format(order.label(entry)), "take both back")
        end
      end
    end
  end
end

--- Fills the steps of a plan that goes back.
---@param plan table as plan.lua begins it
---@param complain fun(entry: luphant.migrate.Entry?, message: string, hint: string?)
---@param find fun(text: string): luphant.migrate.Entry?
local function revert(plan, complain, find)
  local options, going, chosen = plan.options, {}
  if options.run then
    chosen = by_run(plan, complain)
  elseif options.to then
    chosen = by_target(plan, complain, find)
  else
    chosen = by_count(plan)
  end
  for _, entry in ipairs(chosen) do
    going[entry] = true
    if check_state(entry, options, complain) then plan.steps[#plan.steps + 1] = step_of(entry, complain) end
  end
  check_dependents(plan, going, complain)
end

return revert
