-- luphant.migrate.record - a step that is done, as a row of the history and an event.
--
-- SPDX-License-Identifier: MIT

local digest = require "luphant.migrate.digest"
local failure = require "luphant.migrate.failure"
local history = require "luphant.migrate.history"
local luphant = require "luphant"
local parts = require "luphant.migrate.parts"
local wayback = require "luphant.migrate.wayback"

local M = {}

M.TOOL = "luphant " .. luphant.version

local ACTIONS = {
  apply = "apply", ["repeat"] = "apply", baseline = "baseline", resume = "resume", revert = "revert", forget = "revert",
}

--- How events call what a step does.
---@param step luphant.migrate.Step
---@return string
function M.action(step) return ACTIONS[step.action] end

--- The event of a step that is done.
---@param session luphant.migrate.Session
---@param step luphant.migrate.Step
---@param detail? table
---@return luphant.migrate.Deed
function M.deed(session, step, detail)
  return {
    run_id = session.run_id, action = M.action(step), kind = step.kind, version = step.version, name = step.name,
    reason = session.options.reason, detail = detail,
  }
end

--- Milliseconds since `began`.
---@param session luphant.migrate.Session
---@param began number
---@return integer
function M.age(session, began)
  return math.floor((session.conn.waiter.now() - began) * 1000 + 0.5)
end

-- Only those that the file names.
local function vars_of(migration, values)
  local out = {}
  for _, name in ipairs(migration.vars) do out[name] = values[name] end
  return out
end

--- The row of a migration that goes forward.
---@param session luphant.migrate.Session
---@param step luphant.migrate.Step
---@param fields { state: string, total?: integer, started?: integer, done?: integer, duration_ms?: integer }
---@return luphant.migrate.Record?
---@return string? complaint
function M.row(session, step, fields)
  local migration, options = step.migration, session.options
  local down, why = wayback.write(migration, options.values)
  if why then return nil, why end
  return {
    state = fields.state, kind = step.kind, version = step.version, name = step.name, checksum = migration.checksum,
    statement_hash = migration.statement_hash, total = fields.total, started = fields.started, done = fields.done,
    statements = digest.each(migration.up),
    down_sql = down, out_of_order = step.out_of_order, vars = vars_of(migration, options.values),
    run_id = session.run_id, duration_ms = fields.duration_ms, tool_version = M.TOOL,
    app_version = options.app_version,
  }
end

local function write(session, q, step, duration)
  if step.action == "revert" or step.action == "forget" then
    return history.set_state(q, session.place, step, "reverted", session.run_id)
  end
  local total = parts.count(parts.counted(parts.of(step)))
  local row, why = M.row(session, step, {
    state = "applied", total = total, started = total, done = total, duration_ms = duration,
  })
  if not row then return nil, failure.failed({ step = step, part = "down" }, { message = why }) end
  return history.write(q, session.place, row)
end

--- Writes row and event of a step that is done.
---@param session luphant.migrate.Session
---@param q table
---@param step luphant.migrate.Step
---@param began number
---@return integer? duration_ms
---@return luphant.error?
function M.done(session, q, step, began)
  local duration = M.age(session, began)
  local ok, err = write(session, q, step, duration)
  if ok then ok, err = history.tell(q, session.place, M.deed(session, step, { duration_ms = duration })) end
  if not ok then return nil, err end
  return duration
end

return M
