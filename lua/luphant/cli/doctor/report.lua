-- cli/doctor/report.lua - facts and findings as text that is useful at night.
--
-- Pure: answers one string. Findings stand last, the worst of them at the very end, where a terminal
-- leaves the eye.
--
-- SPDX-License-Identifier: MIT

local style = require "luphant.cli.style"

local report = {}

local LABEL = 12 -- column where values begin
local WIDTH = 100

local function line(lines, label, value)
  if value == nil or value == "" then return end
  lines[#lines + 1] = ("  %-" .. LABEL .. "s%s"):format(label,
    style.wrap(tostring(value), WIDTH - LABEL - 2, (" "):rep(LABEL + 2)))
end

local function versions(lines, facts)
  local v = facts.versions
  line(lines, "luphant", v.luphant)
  line(lines, "Lua", v.lua)
  line(lines, "libpq", v.libpq)
  line(lines, "OpenSSL", v.openssl)
  line(lines, "server", v.server)
end

local function surroundings(lines, facts)
  local words = {}
  for _, variable in ipairs(facts.environment) do
    words[#words + 1] = variable.value and variable.name .. "=" .. variable.value or variable.name .. " (hidden)"
  end
  line(lines, "variables", #words > 0 and table.concat(words, " ") or "none of libpq's or luphant's are set")
  line(lines, "service", facts.service)
  local file = facts.pass_file
  if file then
    line(lines, "pass file", file.path .. (not file.exists and " (does not exist)"
      or file.is_open and (" (ignored: open to others, mode %s)"):format(file.mode) or ""))
  end
end

local VERIFIED = {
  full = "certificate and host name verified",
  ca = "certificate verified, host name not",
  no = "server not verified",
}

local function connection(lines, facts)
  line(lines, "to", facts.target)
  local c = facts.connection
  if not c then return end
  line(lines, "reached", ("%s in %.0f ms, backend process %d%s"):format(c.where, c.seconds * 1000, c.backend_pid,
    c.pooler_between and ", through a pooler" or ""))
  local tls = facts.tls
  line(lines, "TLS", tls.is_on and ("%s, %s, %s (sslmode=%s)"):format(tls.version, tls.cipher,
    VERIFIED[tls.verified], tls.sslmode) or ("none (sslmode=%s)"):format(tls.sslmode))
  local role = facts.role
  if role then
    line(lines, "role", role.name .. (role.superuser and ", superuser" or ""))
    line(lines, "database", role.database)
  end
end

-- Settings whose value matters even when nothing is wrong with it.
local SHOWN = {
  "server_encoding", "TimeZone", "search_path", "default_transaction_isolation", "statement_timeout",
  "lock_timeout", "idle_in_transaction_session_timeout", "max_connections", "ssl", "password_encryption",
}

local function server_settings(lines, facts)
  if not facts.settings then return end
  local words = {}
  for _, name in ipairs(SHOWN) do
    local value = facts.settings[name]
    if value then words[#words + 1] = name .. "=" .. (value:find("%s") and "'" .. value .. "'" or value) end
  end
  line(lines, "settings", table.concat(words, " "))
end

local PAINT = { problem = "red", warning = "yellow", note = "dim" }

local function finding(lines, found, paint)
  local label = ("  %-" .. LABEL .. "s"):format(found.level)
  local margin = (" "):rep(LABEL + 2)
  lines[#lines + 1] = paint[PAINT[found.level]](label) .. style.wrap(found.text, WIDTH - LABEL - 2, margin)
  if found.advice then
    lines[#lines + 1] = margin .. paint.bold("-> ") .. style.wrap(found.advice, WIDTH - LABEL - 5, margin .. "   ")
  end
end

local function counts(findings)
  local n = { problem = 0, warning = 0, note = 0 }
  for _, found in ipairs(findings) do n[found.level] = n[found.level] + 1 end
  return n
end

local function plural(n, word) return ("%d %s%s"):format(n, word, n == 1 and "" or "s") end

local function summary(facts, findings, paint)
  local n = counts(findings)
  local text = ("%s, %s, %s"):format(plural(n.problem, "problem"), plural(n.warning, "warning"),
    plural(n.note, "note"))
  if facts.error and not facts.is_reached then return paint.red("cannot connect; ") .. text end
  if n.problem > 0 then return paint.red(text) end
  return (n.warning > 0 and paint.yellow or paint.green)(text)
end

--- The whole report, ending in one line that sums it up.
---@param facts table
---@param findings table[]  worst first
---@param paint table<string, fun(text: string): string>
---@return string
function report.text(facts, findings, paint)
  local lines = {}
  local function section(title, fill)
    local at = #lines + 1
    fill(lines, facts)
    if #lines >= at then table.insert(lines, at, paint.bold(title)) end
  end
  section("Versions", versions)
  section("Surroundings", surroundings)
  section("Connection", connection)
  section("Server", server_settings)
  if #findings > 0 then lines[#lines + 1] = paint.bold("Findings") end
  for i = #findings, 1, -1 do finding(lines, findings[i], paint) end
  if facts.error then
    lines[#lines + 1] = paint.red(facts.is_reached and "Cannot look at the server" or "Cannot connect")
    lines[#lines + 1] = "  " .. tostring(facts.error):gsub("\n", "\n  ")
  end
  lines[#lines + 1] = summary(facts, findings, paint)
  return table.concat(lines, "\n") .. "\n"
end

return report
