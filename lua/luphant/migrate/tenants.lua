-- luphant.migrate.tenants - one folder of migrations for many schemas of a database, each with a history of its own.
--
-- One tenant after the other, each under its lock, so that a failure in one leaves the others alone and
-- a second call goes on with those that are not done. What is shared by all lives in a folder of its own and runs
-- first.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"
local errors = require "luphant.errors"
local history = require "luphant.migrate.history"
local planner = require "luphant.migrate.plan"
local run = require "luphant.migrate.run"
local tables = require "luphant.migrate.tables"

local M = {}

---@class (exact) luphant.migrate.TenantReport
---@field tenant string
---@field done? table[] what was applied
---@field pending? table[] dry_run: what would be
---@field err? luphant.error

-- The names, from a list or by a query.
local function names_of(target, options, level)
  if not options.tenants.query then return options.tenants end
  return run.with_session(target, options, level + 1, function(s) return s.conn:query_column(options.tenants.query) end)
end

local function ensure_schema(s, name, may_create)
  local there, err = s.conn:query_value("select to_regnamespace($1) is not null", tables.quote(name))
  if there or err then return there, err end
  if may_create then return s.conn:script("create schema " .. tables.quote(name)) end
  return nil, errors.new("migration_invalid", ("there is no schema for the tenant %s"):format(name), {
    class = "usage", problems = {}, hint = "make it, or let the runner make it: create = true, --create-tenants",
  })
end

local DONE = { applied = true, covered = true, skipped = true, squashed = true }

local function look(s, list)
  local rows, err = history.read(s.conn, s.place)
  if not rows then return nil, err end
  local out, phase = {}, s.options.phase or "expand"
  for _, entry in ipairs(planner.compare(list, rows)) do
    if not DONE[entry.state] and not (entry.state == "pending" and entry.deferred and phase == "expand") then
      out[#out + 1] = { kind = entry.kind, version = entry.version, name = entry.name, state = entry.state }
    end
  end
  return out
end

local function options_of(options, name)
  local own = compat.copy(options)
  own.tenant, own.place = name, tables.place(options.schema, name)
  own.search_path = tables.quote(name) .. ", " .. (options.search_path or "public")
  function own.emit(event)
    event.tenant = name
    options.emit(event)
  end
  return own
end

local function migrate(s, list, options, own)
  local ok, err = s:become(own)
  if not ok then return nil, err end
  if options.dry_run then return look(s, list) end
  ok, err = ensure_schema(s, own.tenant, options.create)
  if not ok then return nil, err end
  return run.within(s, list, planner.make)
end

local function one(s, list, options, name)
  local answer, err = migrate(s, list, options, options_of(options, name))
  local report = { tenant = name, err = err }
  report[options.dry_run and "pending" or "done"] = answer
  options.emit { event = "tenant", tenant = name, done = report.done, pending = report.pending, failed = err ~= nil }
  return report
end

-- As many as one session lasts: it is lost with the server's end of a connection, and the next tenant gets another.
local function some(s, list, options, names, reports)
  for i = #reports + 1, #names do
    local report = one(s, list, options, names[i])
    reports[i] = report
    local is_stop = report.err and (not options.continue_on_error or report.err.kind == "migration_interrupted")
    if is_stop then return "stop" end
    if not s:is_open() then return "lost" end
  end
  return "stop"
end

local function all(target, list, options, names, level)
  local reports = {}
  while #reports < #names do
    local answer, err = run.with_session(target, options, level + 1, function(s)
      return some(s, list, options, names, reports)
    end)
    if not answer then return nil, err end
    if answer == "stop" then break end
  end
  return reports
end

local function summed(reports, total)
  local failed, cause, done = {}, nil, {}
  for _, report in ipairs(reports) do
    if report.err then
      failed[#failed + 1] = report.tenant
      cause = cause or report.err
    end
    for _, item in ipairs(report.done or (report.err and report.err.done) or {}) do done[#done + 1] = item end
  end
  if #failed == 0 then return reports end
  return nil, errors.new("migration_tenants",
    ("%d of %d tenants failed: %s; %s: %s"):format(#failed, total, table.concat(failed, ", "), failed[1],
      tostring(cause.message)), { cause = cause, tenants = reports, done = done, class = cause.class })
end

--- Migrates all tenants. Answers a report for each; the error of some has all reports in `tenants`.
---@param target any
---@param dir string
---@param options table
---@param level integer
---@return luphant.migrate.TenantReport[]?
---@return luphant.error?
function M.run(target, dir, options, level)
  local list, err = run.load(dir, options)
  if not list then return nil, err end
  if options.shared and not options.dry_run then
    local done
    done, err = run.run(target, options.shared, options, planner.make, level + 1)
    if not done then return nil, err end
  end
  local names
  names, err = names_of(target, options, level + 1)
  if not names then return nil, err end
  local reports
  reports, err = all(target, list, options, names, level + 1)
  if not reports then return nil, err end
  return summed(reports, #names)
end

return M
