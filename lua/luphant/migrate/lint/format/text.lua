-- luphant.migrate.lint.format.text - findings for people at a terminal.
--
--     migrations/0007_x.sql:3:1: error: builds an index on orders ... [index-without-concurrently]
--     LINE 3: create index on orders (number);
--             ^
--       why: ...
--       instead:
--         ...
--
-- SPDX-License-Identifier: MIT

local messages = require "luphant.migrate.lint.messages"

local WIDTH = 100

local function wrapped(text, indent)
  local lines, line = {}, ""
  for word in text:gmatch "%S+" do
    if line ~= "" and #line + #word >= WIDTH then
      lines[#lines + 1], line = line, ""
    end
    line = line == "" and word or line .. " " .. word
  end
  lines[#lines + 1] = line
  return table.concat(lines, "\n" .. indent)
end

local function place(finding)
  if not finding.line then return finding.file end
  return ("%s:%d:%d"):format(finding.file, finding.line, finding.column)
end

local function plain(text) return text end
local NO_STYLE = { error = plain, warning = plain, note = plain, dim = plain, bold = plain }

local function write_finding(out, finding, style)
  local function line(...) out[#out + 1] = table.concat { ... } end
  line(style.bold(place(finding)), ": ", style[finding.severity](finding.severity), ": ", finding.message, " ",
    style.dim("[" .. finding.rule .. "]"))
  if finding.excerpt then line(finding.excerpt) end
  line("  why: ", wrapped(finding.why, "       "))
  if finding.advice then line("  instead: ", wrapped(finding.advice, "           ")) end
  if finding.safe then
    line "  instead:"
    line("    ", (messages.join(finding.safe):gsub("\n", "\n    "):gsub("\n +\n", "\n\n")))
  end
  if finding.remedy then line "  --fix writes that" end
  if finding.rows then line(("  table: about %.0f rows"):format(finding.rows)) end
  for _, seen in ipairs(finding.seen or {}) do line("  trace: ", seen) end
  if finding.verdict then line("  trace: ", finding.verdict) end
  line ""
end

local function plural(count, word) return ("%d %s%s"):format(count, word, count == 1 and "" or "s") end

--- The report as text.
---@param report luphant.migrate.lint.Report
---@param style? table<string, fun(text: string): string> error, warning, note, dim, bold
---@return string
return function(report, style)
  local out = {}
  for _, finding in ipairs(report.findings) do write_finding(out, finding, style or NO_STYLE) end
  for _, finding in ipairs(report.overruled) do
    out[#out + 1] = ("%s: taken back: %s %s\n  trace: disagrees: %s\n"):format(place(finding), finding.message,
      (style or NO_STYLE).dim("[" .. finding.rule .. "]"), finding.overruled)
  end
  local counts = report.counts
  local overruled = #report.overruled > 0 and (", %d taken back by trace"):format(#report.overruled) or ""
  local allowed = #report.allowed > 0 and (", %d allowed"):format(#report.allowed) or ""
  out[#out + 1] = ("%s: %s, %s, %s%s%s"):format(plural(report.files, "migration"), plural(counts.error, "error"),
    plural(counts.warning, "warning"), plural(counts.note, "note"), allowed, overruled)
  return table.concat(out, "\n") .. "\n"
end
