-- luphant.migrate.lint.format.sarif - findings as SARIF 2.1.0, which code hosts and editors read.
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"
local messages = require "luphant.migrate.lint.messages"
local rules = require "luphant.migrate.lint.rules"

-- The severities are SARIF's own words.
local function level(severity) return severity == "off" and "none" or severity end

local function rules_used(findings)
  local list, index = {}, {}
  for _, finding in ipairs(findings) do
    local rule = rules.by_name[finding.rule]
    if rule and not index[rule.name] then
      index[rule.name] = #list
      list[#list + 1] = {
        id = rule.name, name = rule.name, shortDescription = { text = rule.title },
        fullDescription = { text = (rule.why:gsub("{[%a_]+}", "it"):gsub("%s+", " ")) },
        defaultConfiguration = { level = level(rule.severity) },
      }
    end
  end
  return list, index
end

-- A URI may not hold blanks and the like.
local function uri(path)
  local text = path:gsub("^%./", ""):gsub("[^%w%-%._~/]", function(c) return ("%%%02X"):format(c:byte()) end)
  return text
end

local function text_of(finding)
  local parts = { finding.message, finding.why }
  if finding.advice then parts[#parts + 1] = finding.advice end
  if finding.safe then parts[#parts + 1] = "Instead:\n" .. messages.join(finding.safe) end
  return table.concat(parts, "\n")
end

local function result(finding, index)
  local region = finding.line and { startLine = finding.line, startColumn = finding.column }
  return {
    ruleId = finding.rule, ruleIndex = index[finding.rule], level = level(finding.severity),
    message = { text = text_of(finding) },
    locations = core.json_array { {
      physicalLocation = { artifactLocation = { uri = uri(finding.file) }, region = region },
    } },
    properties = finding.seen and { trace = core.json_array(finding.seen), verdict = finding.verdict } or nil,
    suppressions = finding.allowed
      and core.json_array { { kind = "inSource", justification = finding.allowed } } or nil,
  }
end

--- The report as a SARIF text.
---@param report luphant.migrate.lint.Report
---@return string
return function(report)
  local all = {}
  for _, finding in ipairs(report.findings) do all[#all + 1] = finding end
  for _, finding in ipairs(report.allowed) do all[#all + 1] = finding end
  local used, index = rules_used(all)
  local results = {}
  for i, finding in ipairs(all) do results[i] = result(finding, index) end
  return assert(core.json_encode {
    ["$schema"] = "https://json.schemastore.org/sarif-2.1.0.json", version = "2.1.0",
    runs = core.json_array { {
      -- Columns count characters, not UTF-16 units.
      columnKind = "unicodeCodePoints",
      tool = { driver = { name = "luphant migrate lint", rules = core.json_array(used) } },
      results = core.json_array(results),
    } },
  }) .. "\n"
end
