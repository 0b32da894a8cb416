-- luphant.migrate.run - a plan is carried out: one session, the lock, step after step, and a summary.
--
-- The plan is made twice: once without the lock, so that who has nothing to do waits for nobody, and again under it,
-- when nobody else can change the history any more.
--
-- SPDX-License-Identifier: MIT

local backup = require "luphant.migrate.backup"
local catalog = require "luphant.migrate.catalog"
local compat = require "luphant.compat"
local errors = require "luphant.errors"
local execute = require "luphant.migrate.execute"
local failure = require "luphant.migrate.failure"
local history = require "luphant.migrate.history"
local hooks = require "luphant.migrate.hooks"
local imprint = require "luphant.migrate.imprint"
local load = require "luphant.migrate.load"
local lock = require "luphant.migrate.lock"
local session = require "luphant.migrate.session"
local stepwise = require "luphant.migrate.stepwise"
local tables = require "luphant.migrate.tables"
local touched = require "luphant.migrate.touched"
local transact = require "luphant.migrate.transact"

local M = {}

-- What is told when a step is done.
local WORDS = {
  apply = "applied", ["repeat"] = "applied", baseline = "applied", resume = "applied", revert = "reverted",
  forget = "reverted",
}

-- ---- planning -----------------------------------------------------------------------------------------------

--- The plan for what is in the database now. Its hash covers the schema of the database where options.with_catalog or
--- plan_hash say so: that takes a look at every table.
---@param q table
---@param list luphant.migrate.Migration[]
---@param options table
---@param make fun(list: table, rows: table, options: table): luphant.migrate.Plan?, luphant.migrate.Problem[]?
---@return luphant.migrate.Plan?
---@return luphant.error?
function M.plan(q, list, options, make)
  local rows, err = history.read(q, options.place)
  if not rows then return nil, err end
  if options.with_catalog or options.plan_hash then
    options = compat.copy(options)
    options.catalog_hash, err = catalog.hash(q, options.place)
    if not options.catalog_hash then return nil, err end
  end
  local found, problems = make(list, rows, options)
  if not found then return nil, failure.invalid(problems) end
  return found
end

---@param dir string
---@param options table
---@return luphant.migrate.Migration[]?
---@return luphant.error?
function M.load(dir, options)
  local list, problems = load.load(dir, { ignore = options.ignore })
  if not list then return nil, failure.invalid(problems) end
  return list
end

local function check_hash(found, options)
  if not options.plan_hash or options.plan_hash == found.hash then return true end
  return nil, errors.new("migration_moved",
    "what would run now is not what was reviewed: files, values, the history or the schema have changed since", {
      hint = "look at the plan again; its hash is " .. found.hash,
    })
end

-- ---- steps --------------------------------------------------------------------------------------------------

local function tell_failure(s, step, err)
  -- Outside of a transaction stepwise.lua has told it, unless it was a hook that kept it from beginning.
  if not s:is_open() or (step.transaction == false and not err.hook) then return end
  s.conn:transaction(function(tx)
    return history.tell(tx, s.place, {
      run_id = s.run_id, action = "fail", kind = step.kind, version = step.version, name = step.name,
      reason = s.options.reason,
      detail = { message = err.message, sqlstate = err.sqlstate, statement = err.statement, part = err.part },
    })
  end)
end

-- Of what is taken back: the backup from before it was applied, and the rows that were kept then.
local function saved(s, step)
  local run_id = step.action == "revert" and step.applied.run_id
  if not run_id then return nil end
  return history.backup(s.conn, s.place, run_id), history.kept(s.conn, s.place, step, run_id)
end

-- Of a migration without a transaction: before the row says that it is begun, and after it says that it is done.
local function each_hook(s, step, name)
  if step.transaction then return true end
  return hooks.alone(s, name, execute.event(step, { action = step.action }), (transact.settings(s)))
end

local function do_step(s, step)
  local ok, err = each_hook(s, step, "before_each")
  if not ok then return nil, err end
  return (step.transaction and transact or stepwise).run(s, step)
end

local function fail_step(s, step, err)
  tell_failure(s, step, err)
  s.emit(execute.event(step, {
    event = "failed", message = err.message, error_kind = err.kind, sqlstate = err.sqlstate, line = err.line,
    statement = err.statement,
  }))
  return nil, err
end

local function run_step(s, step)
  local ok, err = lock.confirm(s.conn, s.place)
  if not ok then return nil, err end
  local backup_file, kept = saved(s, step)
  s.emit(execute.event(step, {
    event = "start", action = step.action, transaction = step.transaction, backup = backup_file, kept = kept,
  }))
  local duration
  duration, err = do_step(s, step)
  if not duration then return fail_step(s, step, err) end
  local done = execute.event(step, { event = WORDS[step.action], action = step.action, duration_ms = duration })
  s.emit(done)
  ok, err = s:clean(step)
  -- Lost after the answer to COMMIT: what is done is done, and the rest wants a session.
  if not ok and not s:is_open() then ok, err = s:recover() end
  if ok then ok, err = each_hook(s, step, "after_each") end
  return done, not ok and err or nil
end

local function rest_of(steps, from)
  local out = {}
  for i = from, #steps do out[#out + 1] = execute.event(steps[i]) end
  return out
end

-- Runs the steps one after the other. Answers the first that was not even begun, and the error.
local function run_steps(s, steps, done)
  for i, step in ipairs(steps) do
    local err
    if s.watch:wants_stop() then
      return i, errors.new("migration_interrupted", "stopped on request between two migrations")
    end
    done[#done + 1], err = run_step(s, step)
    if err then return i + 1, err end
  end
  return #steps + 1
end

-- The steps between the hooks of the run. Those of the end are run whatever happened.
local function with_hooks(s, found, done)
  local settings, facts = (transact.settings(s)), { direction = found.direction, done = done }
  local next_one = 1
  local ok, err = hooks.alone(s, "before_run", facts, settings)
  if ok then
    next_one, err = run_steps(s, found.steps, done)
    if not err then err = select(2, hooks.alone(s, "after_run", facts, settings)) end
  end
  if err then
    facts.message, facts.err = err.message, err
    hooks.attempt(s, "on_failure", facts, settings)
  end
  hooks.attempt(s, "at_end", facts, settings)
  return next_one, err
end

-- Runs all of a plan. After a failure the error knows what was done, and what was not even begun.
local function run_all(s, found)
  local done = {}
  local next_one, err = with_hooks(s, found, done)
  local left = err and rest_of(found.steps, next_one) or {}
  imprint.keep(s)
  s.emit { event = "summary", done = done, not_run = left, failed = err ~= nil, run_id = s.run_id }
  if not err then return done end
  if errors.is_error(err) then err.done, err.not_run = done, left end
  return nil, err
end

-- ---- the whole ----------------------------------------------------------------------------------------------

-- Closes the session whatever happens.
local function with_session(target, options, level, fn)
  local s, err = session.open(target, options, level + 1)
  if not s then return nil, err end
  local fine, answer, why = pcall(fn, s)
  s:close()
  if not fine then error(answer, 0) end
  return answer, why
end
M.with_session = with_session

local function emit_plan(s, found)
  local steps = {}
  for i, step in ipairs(found.steps) do
    steps[i] = execute.event(step, { action = step.action, transaction = step.transaction })
  end
  -- Without the catalog it is another hash than that of `plan`, which nobody could use.
  s.emit { event = "plan", hash = s.options.plan_hash and found.hash, steps = steps, direction = found.direction }
end

-- Before anything runs, and in the history, so that the way back can name it.
local function back_up(s, steps)
  local wanted = s.options.backup
  if not wanted then return true end
  wanted = compat.copy(wanted == true and {} or wanted)
  local err
  if wanted.tables == "touched" then
    wanted.tables, err = touched.of(s.conn, steps)
    if err then return nil, err end
    if wanted.tables and #wanted.tables == 0 then return true end -- nothing that is there would be changed
  end
  local taken
  taken, err = backup.take(s, wanted)
  if not taken then return nil, err end
  local event = { event = "backup" }
  for name, value in pairs(taken) do event[name] = value end
  s.emit(event)
  return history.tell(s.conn, s.place, {
    action = "backup", run_id = s.run_id, reason = s.options.reason, detail = taken,
  })
end

local function under_lock(s, list, make)
  local ok, err = s:lock()
  if not ok then return nil, err end
  local found
  found, err = M.plan(s.conn, list, s.options, make)
  if not found then return nil, err end
  ok, err = check_hash(found, s.options)
  if not ok then return nil, err end
  if #found.steps == 0 then return {} end
  s.hooks = hooks.of(list.hooks, s.options.hooks)
  if s.options.hazards == "refuse" then
    ok, err = require("luphant.migrate.hazards").check(s, found, list) -- only here is the linter loaded
    if not ok then return nil, err end
  end
  emit_plan(s, found)
  ok, err = tables.ensure(s.conn, s.place)
  if ok then ok, err = back_up(s, found.steps) end
  if not ok then return nil, err end
  return run_all(s, found)
end

--- The same within a session that is open.
---@param s luphant.migrate.Session
---@param list luphant.migrate.Migration[]
---@param make function of plan.lua
---@return table[]? done
---@return luphant.error? err
function M.within(s, list, make)
  local found = M.plan(s.conn, list, s.options, make)
  if found and #found.steps == 0 then
    local ok, err = check_hash(found, s.options)
    if not ok then return nil, err end
    return {}
  end
  -- What speaks against it may be the doing of a run that is under way: that is judged again under the lock.
  return under_lock(s, list, make)
end

--- Plans with `make` and runs what that says.
---@param target any
---@param dir string
---@param options table as border.lua checks them
---@param make function of plan.lua
---@param level integer
---@return table[]? done
---@return luphant.error? err
function M.run(target, dir, options, make, level)
  local list, err = M.load(dir, options)
  if not list then return nil, err end
  return with_session(target, options, level + 1, function(s) return M.within(s, list, make) end)
end

return M
