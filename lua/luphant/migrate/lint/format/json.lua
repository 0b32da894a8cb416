-- luphant.migrate.lint.format.json - findings for programs: one object, the same fields each time.
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"

local function plain(finding)
  return {
    rule = finding.rule, severity = finding.severity, file = finding.file, line = finding.line,
    column = finding.column, message = finding.message, why = finding.why, advice = finding.advice,
    safe = finding.safe and core.json_array(finding.safe), sql = finding.sql, allowed = finding.allowed,
    rows = finding.rows, trace = finding.seen and core.json_array(finding.seen), verdict = finding.verdict,
    overruled = finding.overruled, fixable = finding.remedy ~= nil,
  }
end

local function list(findings)
  local out = {}
  for i, finding in ipairs(findings) do out[i] = plain(finding) end
  return core.json_array(out)
end

--- The report as a JSON text.
---@param report luphant.migrate.lint.Report
---@return string
return function(report)
  return assert(core.json_encode {
    schema_version = 1, verb = "lint", files = report.files, counts = report.counts, findings = list(report.findings),
    allowed = list(report.allowed), overruled = list(report.overruled),
  }) .. "\n"
end
