-- luphant.migrate.tenants - one folder of migrations for many schemas of a database, each with a history of its own.
--
-- Each tenant under its own lock, so that a failure in one leaves the others alone and a second call goes on with those
-- that are not done. `jobs` workers take them from one list in its order; each has a connection of its own, for as long
-- as that lasts. What is shared by all lives in a folder of its own and runs first, alone.
--
-- SPDX-License-Identifier: MIT

local clone = require "luphant.migrate.clone"
local compat = require "luphant.compat"
local errors = require "luphant.errors"
local history = require "luphant.migrate.history"
local imprint = require "luphant.migrate.imprint"
local jobs = require "luphant.migrate.jobs"
local planner = require "luphant.migrate.plan"
local run = require "luphant.migrate.run"
local session = require "luphant.migrate.session"
local tables = require "luphant.migrate.tables"
local wait = require "luphant.wait"

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

-- ---- one tenant ---------------------------------------------------------------------------------------------

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
  ok, err = clone.ensure(s, own.tenant)
  if not ok then return nil, err end
  return run.within(s, list, planner.make)
end

local function tell(options, report)
  local err = report.err
  options.emit {
    event = "tenant", tenant = report.tenant, done = report.done or (err and err.done), pending = report.pending,
    failed = err ~= nil, message = err and err.message, error_kind = err and err.kind,
  }
end

local function one(s, list, options, name)
  local answer, err = migrate(s, list, options, options_of(options, name))
  local report = { tenant = name, err = err }
  report[options.dry_run and "pending" or "done"] = answer
  tell(options, report)
  return report
end

-- ---- all of them --------------------------------------------------------------------------------------------

---@class (exact) luphant.migrate.Round
---@field target any
---@field list luphant.migrate.Migration[]
---@field options table
---@field names string[]
---@field level integer
---@field next integer the name that nobody has taken yet
---@field reports table<integer, luphant.migrate.TenantReport> by the place of the name
---@field is_over boolean no more are begun
---@field err? luphant.error nobody could even connect

local function take(round)
  local at = round.next
  if round.is_over or not round.names[at] then return nil end
  round.next = at + 1
  return at
end

local function keep(round, at, report)
  round.reports[at] = report
  local err = report.err
  if err and (not round.options.continue_on_error or err.kind == "migration_interrupted") then round.is_over = true end
end

-- As many as one session lasts: it is lost with the server's end of a connection, and the next tenant gets another.
local function some(round, s, at)
  while at do
    keep(round, at, one(s, round.list, round.options, round.names[at]))
    at = s:is_open() and take(round)
  end
  return true
end

local function worker(round, waiter)
  local options = compat.copy(round.options)
  -- The path of the caller's connection is none of a tenant's, and workers must not all ask it.
  options.waiter, options.search_path = waiter, options.search_path or "public"
  local at = take(round)
  while at do
    local ok, err = run.with_session(round.target, options, round.level + 1, function(s) return some(round, s, at) end)
    if not ok and not next(round.reports) then
      round.is_over, round.err = true, err
    elseif not ok and not round.reports[at] then
      local report = { tenant = round.names[at], err = err }
      tell(options, report)
      keep(round, at, report)
    end
    at = take(round)
  end
end

-- Reports in the order of the names, and the names that were not even begun.
local function in_order(round)
  local reports, left = {}, {}
  for at, name in ipairs(round.names) do
    if round.reports[at] then reports[#reports + 1] = round.reports[at] else left[#left + 1] = name end
  end
  return reports, left
end

local function all(target, list, options, names, level)
  local plan, err = session.plan_of(options.url or target, level + 1)
  if not plan then return nil, err end
  local round = {
    target = target, list = list, options = options, names = names, level = level, next = 1, reports = {},
    is_over = false,
  }
  local count = math.max(math.min(options.jobs, #names), 1)
  jobs.run(count, wait.choose(plan.settings.waiter, level + 1), function(waiter) worker(round, waiter) end)
  if round.err then return nil, round.err end
  return in_order(round)
end

local function summed(reports, left, options)
  local failed, cause, done, total = {}, nil, {}, #reports + #left
  for _, report in ipairs(reports) do
    if report.err then
      failed[#failed + 1] = report.tenant
      cause = cause or report.err
    end
    for _, item in ipairs(report.done or (report.err and report.err.done) or {}) do done[#done + 1] = item end
  end
  options.emit { event = "tenants", done = total - #failed - #left, failed = failed, not_run = left, total = total }
  if #failed == 0 then return reports end
  return nil, errors.new("migration_tenants",
    ("%d of %d tenants failed: %s"):format(#failed, total, table.concat(failed, ", ")),
    { cause = cause, tenants = reports, done = done, not_begun = left, class = cause.class })
end

-- The schema of the database once for all of them, where any of them has changed it.
local function keep_imprint(target, reports, options, level)
  local is_same = true
  for _, report in ipairs(reports) do
    if report.err or #(report.done or {}) > 0 then is_same = false end
  end
  if is_same then return end
  local own = compat.copy(options)
  own.tenants = nil
  run.with_session(target, own, level + 1, function(s)
    imprint.keep(s)
    return true
  end)
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
  local reports, left = all(target, list, options, names, level + 1)
  if not reports then return nil, left end
  keep_imprint(target, reports, options, level + 1)
  return summed(reports, left, options)
end

return M
