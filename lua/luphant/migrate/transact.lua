-- luphant.migrate.transact - a step in one transaction: checks, statements, verification and the row that says so.
--
-- Either all of it is there or nothing. A lock that cannot be had in time ends the attempt, not the migration: all of
-- the transaction is rolled back, so that nobody queues behind it, and tried again after a pause. When the connection
-- is lost, the truth is in the table as soon as the lock can be had again.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"
local errors = require "luphant.errors"
local execute = require "luphant.migrate.execute"
local failure = require "luphant.migrate.failure"
local history = require "luphant.migrate.history"
local hooks = require "luphant.migrate.hooks"
local lock = require "luphant.migrate.lock"
local parts = require "luphant.migrate.parts"
local record = require "luphant.migrate.record"
local script = require "luphant.migrate.script"

local M = {}

local FIRST_PAUSE, LONGEST_PAUSE = 1, 30
local NAP = 0.25 -- seconds; how soon a wish to stop is heard in a pause

local function milliseconds(seconds) return compat.digits(math.floor(seconds * 1000 + 0.5)) .. "ms" end

-- Of the marker line where that says so, else of the run.
local function patience_of(session, part)
  local options = part and part.options or {}
  return options.lock_timeout or session.options.lock_timeout,
    options.statement_timeout or session.options.statement_timeout or 0
end

local function settings_of(session, part)
  local lock_timeout, statement_timeout = patience_of(session, part)
  return {
    lock_timeout = milliseconds(lock_timeout), statement_timeout = milliseconds(statement_timeout),
    idle_in_transaction_session_timeout = milliseconds(session.options.idle_timeout),
  }, lock_timeout
end

--- The time limits of a transaction of migrations that have none of their own.
---@param session luphant.migrate.Session
---@param part? luphant.migrate.Part whose own ones count before
---@return table<string, string> settings
---@return number lock_timeout in seconds
function M.settings(session, part) return settings_of(session, part) end

-- A block of its own time limit has that for itself.
local function set_timeout(tx, seconds)
  return tx:script(("set local statement_timeout = '%s'"):format(milliseconds(seconds)))
end

local function view(session, tx, step)
  return script.view({
    session = session, step = step, in_transaction = true,
    event = function(fields) return execute.event(step, fields) end,
  }, tx)
end

local function run_part(session, tx, step, part, facts)
  local own = not part.counted and part.options.statement_timeout
  local ok, err
  if own then
    ok, err = set_timeout(tx, own)
    if not ok then return nil, err end
  end
  ok, err = execute.part(session, tx, step, part, {
    in_transaction = true, view = view,
    run = function(_, q, where) return execute.statement(session, q, where, facts) end,
  })
  if ok and own then ok, err = set_timeout(tx, facts.statement_timeout) end
  return ok, err
end

-- What was passed over is only forgotten.
local function around(session, tx, step, name)
  if step.action == "forget" then return true end
  return hooks.within(session, tx, name, execute.event(step, { action = step.action }))
end

local function body(session, tx, step, list, facts)
  local ok, why = around(session, tx, step, "before_each")
  if not ok then return nil, why end
  for _, part in ipairs(list) do
    ok, why = run_part(session, tx, step, part, facts)
    if not ok then return nil, why end
  end
  ok, why = around(session, tx, step, "after_each")
  if not ok then return nil, why end
  -- Before the end, not only before the beginning: a statement may have given the lock up.
  local held, err = lock.confirm(tx, session.place)
  if not held then return nil, err end
  return record.done(session, tx, step, facts.began)
end

local function attempt(session, step, began)
  local list = parts.of(step)
  local settings, lock_timeout = settings_of(session, parts.counted(list))
  local facts = {
    may_cancel = true, lock_timeout = lock_timeout, began = began,
    statement_timeout = select(2, patience_of(session, parts.counted(list))),
  }
  return session.conn:transaction(function(tx) return body(session, tx, step, list, facts) end, { set = settings })
end

-- ---- again --------------------------------------------------------------------------------------------------

local function may_retry(step)
  local migration = step.migration
  local options = step.section and step.section.options or (migration and migration.options) or {}
  if options.retry ~= nil then return options.retry end
  -- What Lua did outside of the database is not undone by a rollback.
  return not (migration and migration.script)
end

local function describe_blockers(list)
  local names = {}
  for i, blocker in ipairs(list or {}) do
    local name = (blocker.application_name or "") ~= "" and (' "%s"'):format(blocker.application_name) or ""
    names[i] = ("server process %d%s"):format(blocker.pid, name)
  end
  return #names > 0 and table.concat(names, ", ") or nil
end

-- A lock that could not be had.
local function is_lock_trouble(err)
  return errors.is(failure.root(err), "55P03", "40P01")
end

local function add_blockers(session, err)
  local list = session.watch.blockers
  if not list or not errors.is_error(err) then return end
  err.blocked_by = list
  err.message = ("%s; blocked by %s"):format(err.message, describe_blockers(list))
end

-- Waits before another attempt; false when there is none.
local function pause_before(session, step, err, tries)
  local now, sleep = session.conn.waiter.now, session.conn.waiter.sleep
  local pause = math.min(FIRST_PAUSE * 2 ^ (tries.count - 1), LONGEST_PAUSE) * (0.5 + math.random() / 2)
  if now() + pause - tries.began > session.options.lock_retry_for then return false end
  tries.count = tries.count + 1
  session.emit(execute.event(step, {
    event = "retry", attempt = tries.count, pause = pause, message = err.message,
    sqlstate = failure.root(err).sqlstate, blocked_by = session.watch.blockers,
  }))
  local till = now() + pause
  while now() < till and not session.watch:wants_stop() do sleep(math.min(now() + NAP, till)) end
  return not session.watch:wants_stop()
end

--- After a failure: names who was in the way, and waits where another attempt is worth it.
---@param session luphant.migrate.Session
---@param step luphant.migrate.Step
---@param err luphant.error
---@param tries { count: integer, began: number }
---@return boolean
function M.may_go_on(session, step, err, tries)
  return M.may_repeat(session, step, err, tries, may_retry(step))
end

--- The same for what may be done again in any case, or not.
---@param session luphant.migrate.Session
---@param step luphant.migrate.Step
---@param err luphant.error
---@param tries { count: integer, began: number }
---@param is_safe boolean
---@return boolean
function M.may_repeat(session, step, err, tries, is_safe)
  if not is_lock_trouble(err) then return false end
  add_blockers(session, err)
  return is_safe and pause_before(session, step, err, tries)
end

-- ---- lost ---------------------------------------------------------------------------------------------------

-- The old session is gone for good once its lock is free; what it committed is visible then.
local function find_out(session, step, err)
  local ok, why = session:recover()
  if not ok then
    return nil, errors.new("commit_unknown",
      ("the connection was lost, and whether %s_%s was applied could not be found out: %s")
        :format(step.version, step.name, tostring(why.message)),
      { cause = err, sent = "maybe", hint = "`luphant migrate status` knows as soon as the server answers" })
  end
  local done
  done, why = history.was_done(session.conn, session.place, record.deed(session, step))
  if why then return nil, why end
  session.emit(execute.event(step, { event = "recovered", was_committed = done }))
  if done then return true end
  err.hint = "the connection was lost and the migration rolled back: run it again"
  return nil, err
end

-- Failures that come from COMMIT have no place in the file yet.
local function placed(step, err)
  if not errors.is_error(err) or err.kind:find "^migration_" then return err end
  return failure.failed({ step = step, part = "commit" }, err)
end

--- Runs a step in a transaction.
---@param session luphant.migrate.Session
---@param step luphant.migrate.Step
---@return integer? duration_ms
---@return luphant.error?
function M.run(session, step)
  local began = session.conn.waiter.now()
  local tries = { count = 1, began = began }
  while true do
    session.watch.blockers = nil
    local answer, err = attempt(session, step, began)
    if answer then return answer end
    if not session:is_open() then
      local done
      done, err = find_out(session, step, placed(step, err))
      return done and record.age(session, began) or nil, err
    end
    err = placed(step, err)
    if not M.may_go_on(session, step, err, tries) then return nil, err end
  end
end

return M
