-- luphant.migrate.execute - runs the statements of one part, one after the other, each told before it begins.
--
-- One by one also inside of a transaction: so an error has its line, a long statement shows its progress, and the
-- server never goes on by itself with a script whose sender is gone.
--
-- SPDX-License-Identifier: MIT

local errors = require "luphant.errors"
local failure = require "luphant.migrate.failure"
local preserve = require "luphant.migrate.preserve"
local vars = require "luphant.migrate.vars"

local M = {}

-- ---- verdicts -----------------------------------------------------------------------------------------------

-- What speaks against the answer of a query in check or verify: nil when it is no row, or nothing but true.
local function objection(result)
  local seen = {}
  for _, column in ipairs(result.columns) do
    -- Rows are keyed by name, so of two columns with one name only the last would be looked at.
    if seen[column.name] then return ("has two columns called %s; give them names"):format(column.name) end
    seen[column.name] = true
  end
  for _, row in ipairs(result.rows) do
    if #result.columns == 0 then return "answered a row" end
    for _, column in ipairs(result.columns) do
      local value = row[column.name]
      if value ~= true then
        return ("answered %s = %s"):format(column.name, value == nil and "NULL" or tostring(value))
      end
    end
  end
end

local function judge(results, index)
  for _, result in ipairs(results) do
    local complaint = result.columns and objection(result)
    if complaint then return ("statement %d %s"):format(index, complaint) end
  end
end

-- ---- SQL ----------------------------------------------------------------------------------------------------

--- What listeners are told about a step, beside what happens.
---@param step luphant.migrate.Step
---@param more? table
---@return table
function M.event(step, more)
  local event = more or {}
  event.kind, event.version, event.name, event.file = step.kind, step.version, step.name, step.file
  return event
end

local function interrupted(step)
  return errors.new("migration_interrupted", ("stopped on request while %s_%s was running"):format(
    step.version, step.name), { version = step.version, file = step.file })
end

local function send(session, q, where, sql, facts)
  local event = M.event(where.step, {
    part = where.part, statement = where.index, total = #where.section.statements, line = where.statement.line,
    sql = sql,
  })
  local now = session.conn.waiter.now
  local began
  session.emit(M.event(where.step, {
    event = "statement", part = event.part, statement = event.statement, total = event.total, line = event.line,
    sql = sql,
  }))
  local function run(inner)
    began = now()
    session.watch:begin(session.conn, session.pid, event, facts)
    local results, err = inner:script(sql)
    session.watch:finish()
    return results, err, math.floor((now() - began) * 1000 + 0.5)
  end
  if session.options.preserve then return preserve.around(session, q, where, sql, run) end
  return run(q)
end

--- Runs one statement. Answers its results, or nil and a failure with its place.
---@param session luphant.migrate.Session
---@param q table the connection or the transaction
---@param where luphant.migrate.Where
---@param facts table for the watch
---@return table[]?
---@return luphant.error?
function M.statement(session, q, where, facts)
  if session.watch:wants_stop() then return nil, interrupted(where.step) end
  local migration = where.step.migration
  local sql = where.statement.sql
  if migration and where.part ~= "down" then -- what is recorded as the way back has its values already
    local filled, why = vars.fill(sql, migration.vars, session.options.values)
    if not filled then return nil, failure.failed(where, { message = why }) end
    sql = filled
  end
  local results, err, took = send(session, q, where, sql, facts)
  if results then
    session.emit(M.event(where.step, {
      event = "statement_done", part = where.part, statement = where.index, duration_ms = took,
      affected = results[1] and results[1].affected,
    }))
    return results
  end
  if session.watch.cancelled then return nil, interrupted(where.step) end
  return nil, failure.failed(where, err)
end

local function still_in_transaction(q, where)
  if q:is_open() then return true end
  return nil, failure.failed(where, {
    message = "ends the transaction it runs in; take COMMIT, ROLLBACK and the like out of the file",
  })
end

local function run_sql(session, q, step, part, hooks)
  for index = part.first, #part.section.statements do
    local where = {
      step = step, part = part.name, section = part.section, statement = part.section.statements[index], index = index,
    }
    local results, err = hooks.run(session, q, where)
    if results and hooks.in_transaction then
      local ok
      ok, err = still_in_transaction(q, where)
      results = ok and results
    end
    if not results then return nil, err end
    local complaint = part.is_judged and judge(results, index)
    if complaint then return nil, failure.failed(where, { message = complaint }) end
  end
  return true
end

-- ---- Lua ----------------------------------------------------------------------------------------------------

-- "migrations/7.lua:3: why" -> 3, "why": the file is named anyway.
local function split_place(step, reason)
  local head = type(reason) == "string" and step.file and step.file .. ":"
  if not head or reason:sub(1, #head) ~= head then return nil, reason end
  local line, rest = reason:match("^(%d+): (.*)$", #head + 1)
  return tonumber(line), rest or reason
end

-- It fails when it raises, answers false, or nil and a reason.
local function run_lua(session, q, step, part, hooks)
  local where = { step = step, part = part.name }
  session.emit(M.event(step, { event = "statement", part = part.name }))
  -- All of the function is one statement to who looks: what it sends is shown, and cancelled where that is safe.
  session.watch:begin(session.conn, session.pid, M.event(step, { part = part.name }),
    { may_cancel = hooks.in_transaction })
  local ok, answer, reason = pcall(part.fn, hooks.view(session, q, step))
  session.watch:finish()
  -- A statement that failed dooms the transaction, whether the function looked or not.
  local unseen = ok and q.first_error
  if unseen then ok, answer = false, unseen end
  if ok and answer ~= false and not (answer == nil and reason ~= nil) then return true end
  if session.watch:wants_stop() then return nil, interrupted(step) end
  if not ok then reason = answer end
  where.line, reason = split_place(step, reason)
  return nil, failure.failed(where, reason == nil and "answered false" or reason)
end

---@class (exact) luphant.migrate.Hooks
---@field in_transaction boolean
---@field view fun(session: luphant.migrate.Session, q: table, step: luphant.migrate.Step): luphant.migrate.Script
---@field run fun(session: luphant.migrate.Session, q: table, where: luphant.migrate.Where): table[]?, luphant.error?

--- Runs a part from its first statement on.
---@param session luphant.migrate.Session
---@param q table the connection or the transaction
---@param step luphant.migrate.Step
---@param part luphant.migrate.Part
---@param hooks luphant.migrate.Hooks
---@return true?
---@return luphant.error?
function M.part(session, q, step, part, hooks)
  if part.fn then return run_lua(session, q, step, part, hooks) end
  return run_sql(session, q, step, part, hooks)
end

return M
