-- settings.lua - the options of a connection that are luphant's own, as one table of rules.
--
-- Whatever is not here is libpq's (conninfo.lua tells the two apart). The pool and others add their
-- options with `settings.extend`; nobody checks options anywhere else. An option stands here only
-- when something obeys it. All times are seconds.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"

local settings = {}

-- Seconds a server-side limit can have: milliseconds in an int4 on the other side.
local MAX_SERVER_SECONDS = 2147483

local function seconds(default, none)
  return { type = "number", above = 0, default = default, none = none }
end

local function one_of(words, default)
  return { one_of = words, default = default }
end

local function whole_milliseconds(value)
  if value and value < 0.001 then return "must be at least 0.001 (the server counts milliseconds)" end
end

local function cdata_needs_luajit(value)
  if value == "cdata" and not compat.is_luajit then
    return 'can be "cdata" on LuaJIT only: Lua 5.4 has 64-bit integers of its own'
  end
end

---@type table<string, luphant.args.rule>
settings.connection = {
  -- Time. connect_timeout covers a whole connect: all hosts, all their addresses, TLS, login.
  connect_timeout = seconds(5, true),
  -- One address of one host. Absent: each gets an equal share of what is left of connect_timeout.
  attempt_timeout = seconds(),
  timeout = seconds(nil, true),           -- client deadline of each verb
  statement_timeout = {                   -- the server's own limit
    type = "number", above = 0, max = MAX_SERVER_SECONDS, none = true, check = whole_milliseconds,
  },
  cancel_grace = { type = "number", min = 0, default = 2 }, -- for draining after a cancel

  -- Statements.
  pooler = one_of({ "session", "transaction" }, "session"),
  statement_cache_size = { type = "number", integer = true, min = 0, max = 65536, default = 256 },
  statement_cache_bytes = { type = "number", integer = true, min = 0, default = 8 * 1024 * 1024 },
  result_format = one_of({ "auto", "text", "binary", "raw" }, "auto"),
  max_result_bytes = { type = "number", integer = true, min = 1, none = true },

  -- Values.
  int8 = {
    one_of = { "auto", "string", "number", "cdata" }, default = "auto", check = cdata_needs_luajit,
  },
  numeric = one_of({ "string", "number" }, "string"),
  json = one_of({ "table", "text", "cjson" }, "table"),
  datetime = one_of({ "text", "table", "epoch" }, "text"),
  rows = one_of({ "named", "array", "columns" }, "named"),

  -- Surroundings.
  waiter = { type = { "string", "table" } },
  on_notice = { type = "function" },
  on_hook_error = { type = "function" },  -- (err, where): what a hook raised that nobody can catch any more
  plaintext_password = one_of({ "verified", "allow" }, "verified"),
}

--- The rules of a connection and some more, as a new table. A name that exists already is an error:
--- two rooms would give it two meanings.
---@param more table<string, luphant.args.rule>
---@return table<string, luphant.args.rule>
function settings.extend(more)
  local rules = compat.copy(settings.connection)
  for name, rule in pairs(more) do
    if rules[name] then error(('option "%s" is defined already'):format(name), 2) end
    rules[name] = rule
  end
  return rules
end

return settings
