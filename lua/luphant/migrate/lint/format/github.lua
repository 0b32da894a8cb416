-- luphant.migrate.lint.format.github - findings as workflow commands, which GitHub shows beside the changed lines.
--
-- SPDX-License-Identifier: MIT

local COMMAND = { error = "error", warning = "warning", note = "notice" }

local function data(text)
  return (text:gsub("%%", "%%25"):gsub("\r", "%%0D"):gsub("\n", "%%0A"))
end

local function property(text)
  return (data(text):gsub(":", "%%3A"):gsub(",", "%%2C"))
end

local messages = require "luphant.migrate.lint.messages"

local function body(finding)
  local parts = { finding.message, "", finding.why }
  if finding.advice then parts[#parts + 1] = "Instead: " .. finding.advice end
  if finding.safe then parts[#parts + 1] = "Instead:\n" .. messages.join(finding.safe) end
  return table.concat(parts, "\n")
end

--- The report as workflow commands, one line each.
---@param report luphant.migrate.lint.Report
---@return string
return function(report)
  local out = {}
  for i, finding in ipairs(report.findings) do
    local where = "file=" .. property((finding.file:gsub("^%./", "")))
    if finding.line then where = where .. (",line=%d,col=%d"):format(finding.line, finding.column) end
    out[i] = ("::%s %s,title=%s::%s\n"):format(COMMAND[finding.severity], where, property(finding.rule),
      data(body(finding)))
  end
  return table.concat(out)
end
