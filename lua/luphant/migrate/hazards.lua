-- luphant.migrate.hazards - refuses a run that holds what the linter calls an error, unless somebody has allowed it: in
-- the file, with a reason, or for this run, by the name of the rule.
--
-- The last look before anything runs, with what this very database knows of its tables. Nothing is run for it.
--
-- SPDX-License-Identifier: MIT

local errors = require "luphant.errors"
local lint = require "luphant.migrate.lint"

local M = {}

local function allowed(options)
  local set = {}
  for _, name in ipairs(options.allow_hazards or {}) do set[name] = true end
  return set
end

local function findings_of(s, found, list)
  local facts, err = lint.facts(s.conn)
  if not facts then return nil, err end
  local only, allows, out = {}, allowed(s.options), {}
  for _, step in ipairs(found.steps) do only[#only + 1] = step.migration and step.file end
  for _, finding in ipairs(lint.migrations(list, { only = only, facts = facts }).findings) do
    if finding.severity == "error" and not allows.all and not allows[finding.rule] then
      out[#out + 1] = {
        rule = finding.rule, file = finding.file, line = finding.line, message = finding.message,
      }
    end
  end
  return out
end

--- Is there nothing in the steps that is an error to the linter?
---@param s luphant.migrate.Session
---@param found luphant.migrate.Plan
---@param list luphant.migrate.Migration[]
---@return true?
---@return luphant.error? err of kind migration_hazard, with `findings`
function M.check(s, found, list)
  if found.direction ~= "up" then return true end
  local findings, err = findings_of(s, found, list)
  if not findings then return nil, err end
  if #findings == 0 then return true end
  local lines = {}
  for i, finding in ipairs(findings) do
    lines[i] = ("%s:%d: %s [%s]"):format(finding.file, finding.line, finding.message, finding.rule)
  end
  return nil, errors.new("migration_hazard",
    ("nothing was run; the linter objects:\n  %s"):format(table.concat(lines, "\n  ")), {
      findings = findings,
      hint = "`luphant migrate lint` shows the safe way; what is meant is allowed in the file, with a reason,"
        .. " or for this run: --allow-hazards " .. findings[1].rule,
    })
end

return M
