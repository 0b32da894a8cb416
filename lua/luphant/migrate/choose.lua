-- luphant.migrate.choose - which of the pending migrations a run forward takes, and which wait. Pure.
--
-- A target (`to`, `count`, `only`) and the phase narrow the choice; requirements must be there or come along. What
-- waits for the contract phase, and what requires such a one, is left for later without a word of complaint.
--
-- SPDX-License-Identifier: MIT

local objections = require "luphant.migrate.objections"
local order = require "luphant.migrate.order"
local state = require "luphant.migrate.state"
local version = require "luphant.migrate.version"

local RUNS = { pending = true, outdated = true, returned = true }

local function choose_only(plan)
  local chosen = {}
  for _, text in ipairs(plan.options.only) do
    local entry = plan.find(text)
    if entry and RUNS[entry.state] then
      chosen[entry] = true
      if entry.state == "returned" then plan.object(entry) end
    elseif entry then
      local message, hint = objections.of(entry, {})
      plan.complain(entry, message or ("is %s already; there is nothing to run"):format(entry.state), hint)
    end
  end
  return chosen
end

-- Marks an entry and what it requires, however deep; requirements may have higher versions.
local function with_requirements(plan, entry, chosen)
  local stack = { entry }
  while #stack > 0 do
    local top = table.remove(stack)
    if not chosen[top] then
      chosen[top] = true
      for _, wanted in ipairs(top.migration and top.migration.requires or {}) do
        stack[#stack + 1] = plan.index[order.id(wanted)]
      end
    end
  end
end

local function choose_to(plan)
  local target = plan.options.to
  local entry, chosen, is_beyond = plan.find(target), {}, nil
  if not entry then return chosen end
  for _, other in ipairs(plan.entries) do
    if other.kind ~= "repeatable" then
      local is_within = not version.before(target, other.version)
      if is_within then
        with_requirements(plan, other, chosen)
      elseif other.applied and is_beyond == nil and not entry.deferred then
        is_beyond = other
      end
    end
  end
  if is_beyond and state.is_there(entry) then
    plan.complain(nil, ("%s is behind: %s is applied already"):format(target, order.label(is_beyond)),
      ("down --to %s goes back"):format(target))
  end
  return chosen
end

local function candidates_of(plan)
  local options, chosen = plan.options, nil
  if options.only then
    chosen = choose_only(plan)
  elseif options.to then
    chosen = choose_to(plan)
  end
  local out = {}
  for _, entry in ipairs(plan.entries) do
    if RUNS[entry.state] and (not chosen or chosen[entry]) then out[#out + 1] = entry end
  end
  return out
end

local function wait(plan, entry, reason) plan.waiting[#plan.waiting + 1] = { entry = entry, reason = reason } end

-- Why an entry cannot run now although it is pending: half a sentence; or nil. What is only a matter of the phase
-- waits, everything else is a problem.
local function requirement_reason(plan, entry, planned)
  for _, wanted in ipairs(entry.migration.requires) do
    local other = plan.index[order.id(wanted)]
    if not other then
      plan.complain(entry, ("requires %s, which is neither here nor in the database"):format(wanted))
    elseif not state.is_there(other) and not planned[other] then
      return ("requires %s"):format(wanted), other
    end
  end
end

local function phase_reason(plan, entry)
  local phase = plan.options.phase or "expand"
  if entry.kind ~= "versioned" or phase == "all" or entry.migration.phase == phase then return nil end
  return entry.migration.phase == "contract" and "waits for the contract phase" or "belongs to the expand phase"
end

-- The contract phase ends what the expand phase began, so nothing of that may be left before it.
local function check_contract(plan, entry, unfinished)
  if unfinished and entry.migration.phase == "contract" then
    plan.complain(entry, ("comes behind %s, which belongs to the expand phase and is not applied")
      :format(order.label(unfinished)), "run `up` without a phase first")
  end
end

-- Sorts the candidates into those that run and those that wait.
local function sort_out(plan, candidates)
  local planned, out, held, unfinished = {}, {}, {}, nil
  local explicit = plan.options.only ~= nil
  for _, entry in ipairs(candidates) do
    local reason, because = not explicit and phase_reason(plan, entry) or nil, nil
    if reason and entry.migration.phase == "expand" then
      plan.is_short = true
      if not entry.deferred then unfinished = unfinished or entry end
    end
    if not explicit then check_contract(plan, entry, unfinished) end
    if not reason then reason, because = requirement_reason(plan, entry, planned) end
    if not reason then
      planned[entry], out[#out + 1] = true, entry
    elseif because and not held[because] then
      plan.complain(entry, reason .. ", which is not applied", "apply that one first, or both together")
    else
      held[entry] = true
      wait(plan, entry, reason)
    end
  end
  return out
end

-- Only so many, and repeatable ones only behind the last versioned one: they are written for the newest schema.
local function cut(plan, list)
  local out, most, is_short = {}, plan.options.count or math.huge, plan.is_short
  for _, entry in ipairs(list) do
    if entry.kind ~= "repeatable" then
      if #out < most then out[#out + 1] = entry else is_short = true end
    end
  end
  for _, entry in ipairs(list) do
    if entry.kind == "repeatable" then
      if is_short then
        wait(plan, entry, "runs when no versioned migration is left")
      else
        out[#out + 1] = entry
      end
    end
  end
  return out
end

-- With a target the repeatable ones join when nothing versioned is left beyond it.
local function add_repeatable(plan, candidates)
  if not plan.options.to then return end
  local among = {}
  for _, entry in ipairs(candidates) do among[entry] = true end
  for _, entry in ipairs(plan.entries) do
    if entry.kind == "repeatable" then
      if RUNS[entry.state] and not among[entry] then candidates[#candidates + 1] = entry end
    elseif entry.state == "pending" and not among[entry] and not entry.deferred then
      plan.is_short = true
    end
  end
end

--- The entries to run, in order; fills `plan.waiting`.
---@param plan table as plan.lua begins it
---@return luphant.migrate.Entry[]
local function choose(plan)
  local candidates = candidates_of(plan)
  add_repeatable(plan, candidates)
  return cut(plan, sort_out(plan, candidates))
end

return choose
