-- cli/dotenv.lua - variables from a file of NAME=value lines, for what the environment does not have.
--
--   # comment        export NAME=value        NAME="a\nb"        NAME='as it is'        NAME=value # comment
--
-- Nothing is expanded and nothing is run. What stands in the environment wins. Values may be secrets: no message has
-- one.
--
-- SPDX-License-Identifier: MIT

local M = {}

M.DEFAULT = ".env"

local ESCAPES = { n = "\n", r = "\r", t = "\t" }

-- The value behind NAME=; nil and why not.
local function value_of(text)
  local quoted, rest = text:match '^"(.-[^\\])"(.*)$'
  if not quoted then quoted, rest = text:match '^"()"(.*)$' end
  if quoted then
    quoted = quoted ~= 2 and quoted:gsub("\\(.)", function(c) return ESCAPES[c] or c end) or ""
  else
    quoted, rest = text:match "^'([^']*)'(.*)$"
  end
  if not quoted then
    if text:find "^[\"']" then return nil, "a quote is not closed" end
    return (text:gsub("%s+#.*$", ""):gsub("%s+$", ""))
  end
  if not rest:find "^%s*$" and not rest:find "^%s+#" then return nil, "something stands behind the closing quote" end
  return quoted
end

--- Reads the lines of such a file.
---@param text string
---@return table<string, string>? values
---@return string? why
function M.parse(text)
  local values, number = {}, 0
  for line in (text:gsub("^\239\187\191", ""):gsub("\r\n", "\n") .. "\n"):gmatch "([^\n]*)\n" do
    number = number + 1
    local name, rest = line:match "^%s*([%a_][%w_]*)%s*=%s*(.*)$"
    if not name then name, rest = line:match "^%s*export%s+([%a_][%w_]*)%s*=%s*(.*)$" end
    if name then
      local value, why = value_of(rest)
      if not value then return nil, ("%d: %s"):format(number, why) end
      values[name] = value
    elseif not line:find "^%s*#" and not line:find "^%s*$" then
      return nil, ("%d: is no NAME=value"):format(number)
    end
  end
  return values
end

-- libpq reads these from the environment of the process, which nobody here can change.
local KEYWORDS = {
  PGHOST = "host", PGHOSTADDR = "hostaddr", PGPORT = "port", PGDATABASE = "dbname", PGUSER = "user",
  PGPASSWORD = "password", PGPASSFILE = "passfile", PGSERVICE = "service", PGOPTIONS = "options", PGSSLMODE = "sslmode",
  PGSSLROOTCERT = "sslrootcert", PGSSLCERT = "sslcert", PGSSLKEY = "sslkey", PGSSLCRL = "sslcrl",
  PGREQUIRESSL = "requiressl", PGCHANNELBINDING = "channel_binding", PGTARGETSESSIONATTRS = "target_session_attrs",
  PGCONNECT_TIMEOUT = "connect_timeout", PGKRBSRVNAME = "krbsrvname", PGGSSENCMODE = "gssencmode",
}

--- The surroundings with what a file adds. The default file may be missing, one that was named may not.
---@param env luphant.cli.env
---@param path string
---@return luphant.cli.env?
---@return string? why
function M.over(env, path)
  local handle, why = io.open(path, "rb")
  if not handle then
    if path == M.DEFAULT then return env end
    return nil, why
  end
  local text = handle:read "*a" or ""
  handle:close()
  local values
  values, why = M.parse(text)
  if not values then return nil, path .. ":" .. why end
  local pg = {}
  for name, keyword in pairs(KEYWORDS) do
    if (values[name] or "") ~= "" and (env.getenv(name) or "") == "" then pg[keyword] = values[name] end
  end
  return setmetatable({
    getenv = function(name) return env.getenv(name) or values[name] end,
    target = next(pg) and pg or nil,
  }, { __index = env })
end

return M
