-- luphant.migrate.plan - files and history -> the steps to run, or everything that speaks against it. Pure: no files
-- are read and no database is asked, so that every case can be put into a table and tested.
--
-- `make` plans the way forward; `revert` (revert.lua) the way back, `resume` (resume.lua) the rest of a migration that
-- stopped half-way. A plan with any problem is no plan: all of them are told, and nothing runs.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local choose = require "luphant.migrate.choose"
local digest = require "luphant.migrate.digest"
local hooks = require "luphant.migrate.hooks"
local judge = require "luphant.migrate.judge"
local objections = require "luphant.migrate.objections"
local order = require "luphant.migrate.order"
local resume = require "luphant.migrate.resume"
local revert = require "luphant.migrate.revert"
local state = require "luphant.migrate.state"
local vars = require "luphant.migrate.vars"
local version = require "luphant.migrate.version"

local M = { compare = state.compare }

---@class (exact) luphant.migrate.Step
---@field action "apply"|"repeat"|"baseline"|"revert"|"forget"|"resume"
---@field kind string
---@field version string
---@field name string
---@field file? string
---@field migration? luphant.migrate.Migration
---@field applied? luphant.migrate.Applied its row
---@field transaction boolean
---@field section? luphant.migrate.Section revert: the recorded way back
---@field first? integer resume: the statement to go on with
---@field out_of_order? boolean

---@class (exact) luphant.migrate.Waiting
---@field entry luphant.migrate.Entry
---@field reason string

---@class (exact) luphant.migrate.Plan
---@field direction "up"|"down"|"resume"
---@field steps luphant.migrate.Step[]
---@field waiting luphant.migrate.Waiting[] pending, but not now, and why
---@field entries luphant.migrate.Entry[] all there is, with its state
---@field hash string of everything that decides what runs
---@field hooks luphant.migrate.Hook[] those of the folder

---@class (exact) luphant.migrate.PlanOptions
---@field count? integer so many versioned migrations at most
---@field to? string up to this version, or (back) down to it
---@field only? string[] these versions (or R__names) alone, whatever lies before them
---@field phase? "expand"|"contract"|"all" default "expand"
---@field allow_out_of_order? boolean
---@field ignore_missing? boolean applied files may be gone
---@field rerun? string[] repeatable ones that may run although their text is an older one again
---@field values? table<string, string> of placeholders
---@field run? string|boolean down: the migrations of this run (true: of the last one)
---@field partial? boolean down: also what stopped half-way
---@field from? integer resume: the statement to go on with
---@field assume_not_run? boolean resume: a statement in doubt has not run
---@field catalog_hash? string of the schema as it was when the plan was made
---@field lock_is_held? boolean

-- The entry that a text names: a version in any spelling, or R__ and a name. A baseline has the name of its version
-- where no file and no row of that version is left.
local function find(plan, text)
  local id = (text:find "^R__" or version.is(text)) and order.id(text)
  if id and plan.index[id] then return plan.index[id] end
  local known = {}
  for _, entry in ipairs(plan.entries) do
    if id and entry.kind == "baseline" and version.key(entry.version) == id then return entry end
    if entry.kind ~= "baseline" then known[#known + 1] = order.label(entry) end
  end
  plan.complain(nil, ("there is no migration %s%s"):format(text, args.did_you_mean(text, known)))
end

local RUNS = { pending = true, outdated = true, returned = true }

local function judge_entry(plan, entry, is_chosen)
  for _, problem in ipairs(judge.migration(entry.migration)) do plan.problems[#plan.problems + 1] = problem end
  if is_chosen then
    for _, why in ipairs(vars.complaints(entry.migration.vars, plan.options.values or {})) do
      plan.complain(entry, why, "give it with --var name=value")
    end
  end
end

-- In an emergency (`only`) the rest of the folder is left alone; else all of it has to be in order.
local function check_all(plan, chosen)
  local is_chosen, is_emergency = {}, plan.options.only ~= nil
  for _, entry in ipairs(chosen) do is_chosen[entry] = true end
  for _, entry in ipairs(plan.entries) do
    if not is_emergency then plan.object(entry) end
    if is_chosen[entry] or (RUNS[entry.state] and not is_emergency) then judge_entry(plan, entry, is_chosen[entry]) end
  end
  if is_emergency then return end
  local base, missing = objections.half_squashed(plan.entries)
  if base then
    plan.complain(base, ("stands for %s, which this database never had, and the files are gone")
      :format(table.concat(missing, ", ")), "migrate it with a release that still has them")
  end
end

local ACTIONS = { versioned = "apply", repeatable = "repeat", baseline = "baseline" }

local function step_of(entry)
  return {
    action = ACTIONS[entry.kind], kind = entry.kind, version = entry.version, name = entry.name, file = entry.file,
    migration = entry.migration, applied = entry.applied, transaction = entry.migration.transaction,
    out_of_order = entry.out_of_order,
  }
end

-- ---- the hash -----------------------------------------------------------------------------------------------

local function step_line(step, values)
  local out = {
    step.action, step.kind, step.version, step.name, tostring(step.transaction), tostring(step.first),
    step.migration and step.migration.checksum or "", step.section and digest.checksum(step.section.text) or "",
  }
  for _, name in ipairs(step.migration and step.migration.vars or {}) do
    out[#out + 1] = name .. "=" .. tostring(values[name])
  end
  return table.concat(out, "\0")
end

-- Changes when the steps, their texts or values, the history or the given catalog change: then what was reviewed is
-- not what would run.
local function hash_of(plan, rows)
  local lines = { "1", plan.direction, plan.options.catalog_hash or "" }
  for _, step in ipairs(plan.steps) do lines[#lines + 1] = step_line(step, plan.options.values or {}) end
  for _, line in ipairs(hooks.lines(plan.hooks)) do lines[#lines + 1] = line end
  local past = {}
  for i, row in ipairs(rows) do
    past[i] = table.concat({
      row.kind or "versioned", row.version, row.state or "applied", row.checksum or "", tostring(row.statements_done),
    }, "\0")
  end
  table.sort(past)
  return digest.checksum(table.concat(lines, "\n") .. "\n\n" .. table.concat(past, "\n"))
end

-- ---- the three plans ----------------------------------------------------------------------------------------

local function begin(direction, list, rows, options)
  local plan = { direction = direction, options = options or {}, problems = {}, waiting = {}, steps = {}, index = {} }
  plan.entries, plan.hooks = state.compare(list, rows, options), list.hooks
  for _, entry in ipairs(plan.entries) do
    local id = order.id_of(entry)
    if id then plan.index[id] = entry end
  end
  function plan.complain(entry, message, hint)
    plan.problems[#plan.problems + 1] = { file = entry and order.file_of(entry), message = message, hint = hint }
  end
  function plan.object(entry)
    local message, hint = objections.of(entry, plan.options)
    if message then plan.complain(entry, message, hint) end
  end
  function plan.find(text) return find(plan, text) end
  return plan
end

local function finish(plan, rows)
  if #plan.problems > 0 then return nil, plan.problems end
  return {
    direction = plan.direction, steps = plan.steps, waiting = plan.waiting, entries = plan.entries,
    hash = hash_of(plan, rows), hooks = plan.hooks or {},
  }
end

--- Plans the way forward.
---@param list luphant.migrate.Migration[] in the order of load
---@param rows luphant.migrate.Applied[]
---@param options? luphant.migrate.PlanOptions
---@return luphant.migrate.Plan? plan
---@return luphant.migrate.Problem[]? problems
function M.make(list, rows, options)
  local plan = begin("up", list, rows, options)
  local chosen = choose(plan)
  check_all(plan, chosen)
  for _, entry in ipairs(chosen) do plan.steps[#plan.steps + 1] = step_of(entry) end
  return finish(plan, rows)
end

--- Plans the way back: the last one, `count`, all behind `to` ("0": all), or those of one `run`.
---@param list luphant.migrate.Migration[]
---@param rows luphant.migrate.Applied[]
---@param options? luphant.migrate.PlanOptions
---@return luphant.migrate.Plan? plan
---@return luphant.migrate.Problem[]? problems
function M.revert(list, rows, options)
  local plan = begin("down", list, rows, options)
  revert(plan, plan.complain, plan.find)
  return finish(plan, rows)
end

--- Plans the rest of a migration that stopped half-way.
---@param list luphant.migrate.Migration[]
---@param rows luphant.migrate.Applied[]
---@param which string its version
---@param options? luphant.migrate.PlanOptions
---@return luphant.migrate.Plan? plan
---@return luphant.migrate.Problem[]? problems
function M.resume(list, rows, which, options)
  local plan = begin("resume", list, rows, options)
  local entry = find(plan, which)
  if entry then resume(plan, entry, plan.complain) end
  local step = plan.steps[1]
  if step and step.action == "resume" then
    judge_entry(plan, entry, true)
  elseif step then
    judge.section(step.section, "down", step.transaction, function(statement, message, hint)
      plan.complain(entry, ("line %d: %s"):format(statement.line, message), hint)
    end)
  end
  return finish(plan, rows)
end

return M
