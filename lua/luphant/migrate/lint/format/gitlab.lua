-- luphant.migrate.lint.format.gitlab - findings as a code quality report, which GitLab shows in a merge request.
--
-- A finding is known again by its fingerprint: the rule, the file and the statement, not the line, so that lines added
-- above it make no new finding of it.
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"

local SEVERITY = { error = "critical", warning = "major", note = "info" }

local function description(finding)
  local parts = { finding.message, finding.why }
  if finding.advice then parts[#parts + 1] = "Instead: " .. finding.advice end
  return table.concat(parts, " ")
end

-- The same statement twice in one file gives two fingerprints.
local function fingerprint(finding, seen)
  local text = table.concat({ finding.rule, finding.file, finding.sql or "", finding.message }, "\0")
  seen[text] = (seen[text] or 0) + 1
  return core.sha256(text .. "\0" .. seen[text])
end

--- The report as a JSON text: a list.
---@param report luphant.migrate.lint.Report
---@return string
return function(report)
  local out, seen = {}, {}
  for i, finding in ipairs(report.findings) do
    out[i] = {
      description = description(finding), check_name = finding.rule, fingerprint = fingerprint(finding, seen),
      severity = SEVERITY[finding.severity],
      location = { path = (finding.file:gsub("^%./", "")), lines = { begin = finding.line or 1 } },
    }
  end
  return assert(core.json_encode(core.json_array(out))) .. "\n"
end
