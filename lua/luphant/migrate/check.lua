-- luphant.migrate.check - everything a merge request has to know, in one answer: files alone, or against a database.
--
-- Runs nothing and creates nothing, except that drift is looked for on a scratch database.
--
-- SPDX-License-Identifier: MIT

local drift = require "luphant.migrate.drift"
local execute = require "luphant.migrate.execute"
local history = require "luphant.migrate.history"
local load = require "luphant.migrate.load"
local plan = require "luphant.migrate.plan"

local M = {}

-- A placeholder has its value when it runs; without a database nobody is to give one.
local function with_any_values(list, options)
  local values = {}
  for _, migration in ipairs(list) do
    for _, name in ipairs(migration.vars) do values[name] = options.values[name] or "any" end
  end
  return values
end

local function copy_with(options, more)
  local out = {}
  for name, value in pairs(options) do out[name] = value end
  for name, value in pairs(more) do out[name] = value end
  return out
end

local function report_of(problems)
  return { ok = #problems == 0, problems = problems, pending = {}, files = 0 }
end

-- What of the steps will run, as things stand.
local function pending_of(found)
  local out = {}
  for _, step in ipairs(found and found.steps or {}) do out[#out + 1] = execute.event(step) end
  return out
end

local function add_drift(report, q, dir, options)
  local found, err = drift.drift(q, dir, copy_with(options, {}))
  if not found then
    if err.kind ~= "migration_invalid" then return nil, err end
    -- What stands against knowing it has been told above.
    if #report.problems == 0 then report.problems = err.problems end
  else
    report.drift = found.different
    report.differences, report.since = found.differences, found.since
  end
  report.ok = #report.problems == 0 and not report.drift
  return report
end

---@class (exact) luphant.migrate.Report
---@field ok boolean no problems and no drift; pending ones are told beside
---@field problems luphant.migrate.Problem[]
---@field pending table[] what `up` would run
---@field files integer how many migrations the folder has
---@field hash? string of the plan
---@field drift? boolean where it was looked for
---@field differences? luphant.schema.Difference[]
---@field since? luphant.migrate.Imprint

--- Checks a folder, with a database where `q` is given.
---@param q table?
---@param dir string
---@param options table as border.lua checks them; `drift = true` looks for that, too
---@return luphant.migrate.Report?
---@return luphant.error?
function M.check(q, dir, options)
  local list, problems = load.load(dir, { ignore = options.ignore })
  if not list then return report_of(problems) end
  local rows = {}
  if q then
    local err
    rows, err = history.read(q, options.place)
    if not rows then return nil, err end
  end
  local found
  found, problems = plan.make(list, rows, copy_with(options, {
    phase = options.phase or "all", values = not q and with_any_values(list, options) or options.values,
  }))
  local report = report_of(problems or {})
  report.files, report.pending, report.hash = #list, q and pending_of(found) or {}, found and found.hash
  if q and (options.drift or options.against) then return add_drift(report, q, dir, options) end
  return report
end

return M
