-- cli/migrate/json.lua - the same for machines: one object from verbs that read, a line for each event from those
-- that run. An error is in the same stream, never only on standard error.
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"

local json = {}

json.VERSION = 1

-- Lists by their names, so that an empty one is not taken for an empty object.
local LISTS = {}
for word in ([[
  steps done not_run problems migrations events waiting blocked_by ahead behind pending statements changes
  differences removed files locks rewritten scanned built relations kept tenants findings hazards failed
  not_begun hooks lint]]):gmatch "%S+" do LISTS[word] = true end

local MAX_DEPTH = 8

-- Only what has a place in JSON: no functions, no objects of ours, arrays as arrays.
local function plain(value, name, depth)
  local kind = type(value)
  if kind == "function" or kind == "userdata" or kind == "thread" or depth > MAX_DEPTH then return nil end
  if kind ~= "table" then return value end
  local out = {}
  for key, item in pairs(value) do out[key] = plain(item, key, depth + 1) end
  return (#value > 0 or LISTS[name]) and core.json_array(out) or out
end

--- Writes one line.
---@param env luphant.cli.env
---@param document table
function json.write(env, document)
  env.out:write(assert(core.json_encode(plain(document, nil, 1))), "\n")
end

--- The end of a run that had nothing to do: whoever reads the lines waits for one.
---@param env luphant.cli.env
function json.nothing(env) json.write(env, { event = "summary", done = {}, not_run = {}, failed = false }) end

--- What is told of an error.
---@param err luphant.error
---@return table
function json.error(err)
  local tenants
  for i, report in ipairs(err.tenants or {}) do
    tenants = tenants or {}
    tenants[i] = { tenant = report.tenant, done = report.done, error = report.err and json.error(report.err) }
  end
  return {
    tenants = tenants,
    kind = err.kind, class = err.class, message = err.message, hint = err.hint, file = err.file, line = err.line,
    column = err.line_column, version = err.version, statement = err.statement, sqlstate = err.sqlstate,
    problems = err.problems, findings = err.findings, not_begun = err.not_begun, done = err.done, not_run = err.not_run,
    blocked_by = err.blocked_by, holder = err.holder,
  }
end

--- One migration of a status.
---@param entry luphant.migrate.Entry
---@return table
function json.entry(entry)
  local row = entry.applied or {}
  return {
    kind = entry.kind, version = entry.version, name = entry.name, state = entry.state, file = entry.file,
    checksum_ok = entry.applied and entry.state ~= "changed" or nil, only_comments = entry.only_comments,
    out_of_order = entry.out_of_order, deferred = entry.deferred, applied_at = row.applied_at,
    duration_ms = row.duration_ms, run_id = row.run_id, statements_total = row.statements_total,
    statements_done = row.statements_done, error = row.error_message,
  }
end

local function statements_of(step, effects, traced)
  local out = {}
  for i, effect in ipairs(effects) do
    out[i] = {
      part = effect.part, sql = effect.statement.sql, file = step.file, line = effect.statement.line,
      transaction = step.transaction, locks = effect.locks, rows_estimate = effect.rows_estimate,
      rewrite = effect.rewrite, scan = effect.scan, hazards = effect.hazards, lint = effect.lint,
      trace = traced and traced.statements[i],
    }
  end
  return out
end

--- Findings of the linter.
---@param findings table[]
---@return table[]
function json.findings(findings)
  local out = {}
  for i, finding in ipairs(findings) do
    out[i] = {
      rule = finding.rule, severity = finding.severity, file = finding.file, line = finding.line,
      message = finding.message,
    }
  end
  return out
end

--- The steps of a plan.
---@param plan luphant.migrate.Plan
---@param effects table<integer, luphant.cli.migrate.Effect[]> by the place of the step
---@return table[]
function json.steps(plan, effects)
  local out = {}
  for i, step in ipairs(plan.steps) do
    local traced = plan.traced and plan.traced[i]
    out[i] = {
      action = step.action, kind = step.kind, version = step.version, name = step.name, file = step.file,
      transaction = step.transaction, out_of_order = step.out_of_order,
      statements = statements_of(step, effects[i], traced),
      skipped = traced and traced.skipped,
    }
  end
  return out
end

return json
