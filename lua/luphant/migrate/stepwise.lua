-- luphant.migrate.stepwise - a step without a transaction: each statement by itself, and the history around it.
--
-- Before a statement the row says that it is begun, after it that it is done. Whatever kills the process, the history
-- then knows all statements but one for certain; `resume` goes on from there. A lock that cannot be had in time, or a
-- deadlock, is tried again for the one statement. What builds an index concurrently waits as long as it takes: a time
-- limit would leave an invalid index.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"
local concurrently = require "luphant.migrate.concurrently"
local errors = require "luphant.errors"
local execute = require "luphant.migrate.execute"
local failure = require "luphant.migrate.failure"
local history = require "luphant.migrate.history"
local lock = require "luphant.migrate.lock"
local parts = require "luphant.migrate.parts"
local record = require "luphant.migrate.record"
local script = require "luphant.migrate.script"
local transact = require "luphant.migrate.transact"

local M = {}

local function milliseconds(seconds) return compat.digits(math.floor(seconds * 1000 + 0.5)) .. "ms" end

-- Sets the limits of the next statement, where they differ from those of the last.
local function set_limits(run, part, found)
  local options = part.options
  local lock_timeout = found and 0 or options.lock_timeout or run.session.options.lock_timeout
  local statement_timeout = options.statement_timeout or (not found and run.session.options.statement_timeout) or 0
  local sql = ("set lock_timeout = '%s'; set statement_timeout = '%s'"):format(
    milliseconds(lock_timeout), milliseconds(statement_timeout))
  run.facts.lock_timeout = lock_timeout
  if sql == run.limits then return true end
  run.limits = sql
  return run.session.conn:script(sql)
end

local function clear_way(run, where, found)
  local ok, err = concurrently.before(run.session.conn, found, function(name)
    run.session.emit(execute.event(run.step, {
      event = "warning", message = ("the index %s was left invalid by an earlier attempt; it is dropped first")
        :format(name),
    }))
  end)
  if ok then return true end
  return nil, failure.failed(where, err)
end

local function try(run, where, part)
  local session, found = run.session, concurrently.read(where.statement)
  local ok, err = set_limits(run, part, found)
  if ok and found then ok, err = clear_way(run, where, found) end
  if not ok then return nil, err end
  run.facts.is_index = found ~= nil
  local results
  results, err = execute.statement(session, session.conn, where, run.facts)
  if not results then return nil, err end
  if found then
    ok, err = concurrently.after(session.conn, found)
    if not ok then return nil, failure.failed(where, err) end
  end
  return results
end

local function with_retry(run, where, part)
  local session = run.session
  local tries = { count = 1, began = session.conn.waiter.now() }
  while true do
    session.watch.blockers = nil
    local results, err = try(run, where, part)
    if results or not session:is_open() then return results, err end
    if not transact.may_go_on(session, run.step, err, tries) then return nil, err end
  end
end

-- ---- the row around a statement -----------------------------------------------------------------------------

local function note(run, done, started)
  local held, err = lock.confirm(run.session.conn, run.session.place)
  if not held then return nil, err end
  return history.progress(run.session.conn, run.session.place, run.step, run.session.run_id, done, started)
end

local function counted_statement(run, where, part)
  local ok, err = note(run, where.index - 1, where.index)
  if not ok then return nil, err end
  local results
  results, err = with_retry(run, where, part)
  if not results then return nil, err end
  run.done = where.index
  return results
end

local function view(run, part)
  local session, step = run.session, run.step
  local settings, lock_timeout = transact.settings(session, part)
  return script.view({
    session = session, step = step, in_transaction = false, batches = 0, settings = settings,
    lock_timeout = lock_timeout, event = function(fields) return execute.event(step, fields) end,
    try_again = function(err, tries) return transact.may_repeat(session, step, err, tries, true) end,
  }, session.conn)
end

local function run_part(run, part)
  if part.fn then
    local ok, err = set_limits(run, part)
    if not ok then return nil, err end
  end
  local ok, err = execute.part(run.session, run.session.conn, run.step, part, {
    in_transaction = false, view = function() return view(run, part) end,
    run = function(_, _, where)
      if part.counted then return counted_statement(run, where, part) end
      return with_retry(run, where, part)
    end,
  })
  if not ok then return nil, err end
  if part.counted and part.section then return note(run, run.done, run.done) end
  return true
end

-- ---- beginning and end --------------------------------------------------------------------------------------

local function begin(run, part)
  local session, step, total = run.session, run.step, parts.count(part)
  local row, why
  if step.action == "revert" then
    local old = step.applied
    row = {
      state = "running", kind = step.kind, version = step.version, name = step.name, checksum = old.checksum,
      statement_hash = old.statement_hash, direction = "down", total = total, started = part.first - 1,
      done = part.first - 1,
      statements = old.statements, down_sql = old.down_sql, out_of_order = old.out_of_order, run_id = session.run_id,
      duration_ms = old.duration_ms, tool_version = record.TOOL, app_version = session.options.app_version,
    }
  else
    row, why = record.row(session, step, {
      state = "running", total = total, started = part.first - 1, done = part.first - 1,
    })
    if not row then return nil, failure.failed({ step = step, part = "down" }, { message = why }) end
  end
  run.done, row.keeps_progress = row.done, step.action == "resume"
  return history.write(session.conn, session.place, row)
end

-- Says in the history where it stopped. With the connection gone it cannot: the row stays `running` then, which
-- whoever comes next reads as interrupted, because the lock is free.
local function stop(run, err)
  local session, step = run.session, run.step
  if not run.begun or not session:is_open() then return end
  local statement = err.statement and run.part.section and run.part.section.statements[err.statement]
  session.conn:transaction(function(tx)
    local ok, why = history.fail(tx, session.place, step, { sqlstate = err.sqlstate, message = err.message },
      statement and statement.sql)
    if not ok then return nil, why end
    return history.tell(tx, session.place, {
      run_id = session.run_id, action = "fail", kind = step.kind, version = step.version, name = step.name,
      detail = { message = err.message, sqlstate = err.sqlstate, statement = err.statement, done = run.done },
    })
  end)
end

local function all_parts(run)
  for _, part in ipairs(parts.of(run.step)) do
    if part.counted then
      run.part = part
      local ok, err = begin(run, part)
      if not ok then return nil, err end
      run.begun = true
    end
    local ok, err = run_part(run, part)
    if not ok then return nil, err end
  end
  return run.session.conn:transaction(function(tx)
    return record.done(run.session, tx, run.step, run.began)
  end)
end

--- Runs a step without a transaction.
---@param session luphant.migrate.Session
---@param step luphant.migrate.Step
---@return integer? duration_ms
---@return luphant.error?
function M.run(session, step)
  local run = {
    session = session, step = step, began = session.conn.waiter.now(), done = 0,
    -- On request the running statement is waited for: cancelled, it would be half done.
    facts = { may_cancel = false },
  }
  local answer, err = all_parts(run)
  if session:is_open() then session:settle() end -- our own limits are nothing that the migration has left
  if answer then return answer end
  if errors.is_error(err) then err.half_done = run.begun or nil end -- also the first statement may leave something
  stop(run, err)
  return nil, err
end

return M
