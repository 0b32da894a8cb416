-- conninfo/layer.lua - one layer of what the user says: a connection string, or a table.
--
-- A layer is { params = keyword -> text, options = name -> value, password = source | nil }: libpq's
-- part, luphant's part unchecked (the rules are applied once, to the merged whole), and where the
-- password comes from. Faults are answered as sentences; whether they raise is the caller's matter.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local compat = require "luphant.compat"
local explain = require "luphant.conninfo.explain"
local password = require "luphant.conninfo.password"

local layer = {}

-- Values libpq would refuse only while connecting; a pool that has not dialled yet should not
-- find out at night. Unknown keywords of newer versions simply have no entry.
local VALUES = {
  sslmode = { "disable", "allow", "prefer", "require", "verify-ca", "verify-full" },
  channel_binding = { "disable", "prefer", "require" },
  gssencmode = { "disable", "prefer", "require" },
  target_session_attrs = {
    "any", "read-write", "read-only", "primary", "standby", "prefer-standby",
  },
  load_balance_hosts = { "disable", "random" },
  sslnegotiation = { "postgres", "direct" },
}
local IS_SWITCH = { keepalives = true, sslcompression = true, sslsni = true }
local IS_LIST = { host = true, hostaddr = true, port = true }
local SPECIAL = { url = true, password = true, password_file = true }
local UTF8 = { utf8 = true, unicode = true }

-- "u:p@ss@db" has the host "ss@db" for libpq: the rest of the password would be looked up in the DNS
-- and named in every message. (A leading @ is an abstract socket, a leading / a directory.)
local function host_problem(list)
  for host in list:gmatch("[^,]+") do
    if host:find("^[^/@].*@") then return 'a host holds an "@"; in a URL, write @ in a password as %40' end
  end
end

local function port_problem(list)
  for port in list:gmatch("[^,]+") do
    local number = tonumber(port:match("^%s*(%d+)%s*$"))
    if not number or number < 1 or number > 65535 then
      return "port must be a number between 1 and 65535"
    end
  end
end

--- Why a keyword cannot have this text: a sentence, or nil.
---@param keyword string
---@param value string
---@return string|nil
function layer.value_problem(keyword, value)
  if value:find("\0", 1, true) then return ("%s holds a NUL byte"):format(keyword) end
  local words = VALUES[keyword]
  if words and value ~= "" then
    -- Never repeated: whoever mixed the keywords up may have put the password here.
    local why = args.problem(value, { one_of = words, secret = true })
    if why then return ("%s %s"):format(keyword, why) end
  end
  if keyword == "client_encoding" and not UTF8[value:lower():gsub("[-_]", "")] then
    return "client_encoding can only be UTF8: luphant checks and counts texts as UTF-8"
      .. " (the server converts from and to the database's own encoding)"
  end
  if keyword == "host" then return host_problem(value) end
  if keyword == "port" then return port_problem(value) end
end

---@class luphant.conninfo.layer
---@field params table<string, string>
---@field options table<string, any>
---@field password? fun(info: table?): string?, luphant.error?
---@field is_password_file? boolean

---@return luphant.conninfo.layer
function layer.new() return { params = {}, options = {} } end

--- libpq's connect_timeout means luphant's, wherever it comes from. Answers what is wrong with it.
---@param to luphant.conninfo.layer
---@param text string
---@return string|nil
function layer.put_connect_timeout(to, text)
  local number = tonumber(text)
  if not number then return "connect_timeout must be a number of seconds" end
  to.options.connect_timeout = number > 0 and number or false -- libpq: zero or less waits for ever
end

--- A connection string. `ctx` has facts, known (libpq's keywords), is_keyword and rules.
---@param text string
---@param ctx table
---@return luphant.conninfo.layer|nil
---@return string|nil why
function layer.from_string(text, ctx)
  if text:find("\0", 1, true) then return nil, "the connection string holds a NUL byte" end
  local misread = explain.misread(text)
  if misread then return nil, misread end
  local parsed, message = ctx.facts.conninfo_parse(text)
  if not parsed then return nil, explain.refusal(text, message, ctx.known, ctx.rules) end
  local made = layer.new()
  for keyword, value in pairs(parsed) do
    local why = layer.value_problem(keyword, value)
    if keyword == "connect_timeout" then
      why = why or layer.put_connect_timeout(made, value)
    elseif keyword == "password" then
      made.password = value ~= "" and password.literal(value) or nil
    else
      made.params[keyword] = value
    end
    if why then return nil, why end
  end
  return made
end

-- A Lua value as libpq's text, or nil and why not.
local function as_text(keyword, value)
  if type(value) == "string" then return value end
  if type(value) == "boolean" and IS_SWITCH[keyword] then return value and "1" or "0" end
  if compat.is_integral(value) then return compat.digits(value) end
  local wanted = IS_SWITCH[keyword] and "a boolean or a string" or "a string or an integer"
  return nil, ("%s must be %s, got %s"):format(keyword, wanted, args.show(value, true))
end

local function list_text(keyword, list)
  local out = {}
  for i, item in ipairs(list) do
    local text, why = as_text(keyword, item)
    if not text then return nil, why end
    if text:find(",", 1, true) then return nil, ("an entry of the list %s holds a comma"):format(keyword) end
    out[i] = text
  end
  if #out == 0 then return nil, ("the list %s is empty"):format(keyword) end
  return table.concat(out, ",")
end

local function put_keyword(to, keyword, value)
  local text, why
  if IS_LIST[keyword] and type(value) == "table" then
    text, why = list_text(keyword, value)
  else
    text, why = as_text(keyword, value)
  end
  if not text then return why end
  to.params[keyword] = text
  return layer.value_problem(keyword, text)
end

local function put_password(to, given, ctx)
  local secret, path = given.password, given.password_file
  if secret ~= nil and path ~= nil then return "password and password_file exclude each other" end
  if type(secret) == "function" then
    to.password = password.from_function(secret)
  elseif type(secret) == "string" then
    if secret:find("\0", 1, true) then return "password holds a NUL byte" end
    to.password = secret ~= "" and password.literal(secret) or nil
  elseif secret ~= nil then
    return "password must be a string or a function, got a " .. type(secret)
  elseif type(path) == "string" then
    to.password, to.is_password_file = password.from_file(path, ctx.facts), true
  elseif path ~= nil then
    return "password_file must be a path, got a " .. type(path)
  end
end

local function unknown_option(key, ctx)
  if type(key) ~= "string" then
    return ("options have names, but one was given at [%s]"):format(tostring(key))
  end
  local names = compat.sorted_keys(ctx.rules)
  for _, name in ipairs(ctx.known) do names[#names + 1] = name end
  for name in pairs(SPECIAL) do names[#names + 1] = name end
  return ('unknown option "%s"%s'):format(key, explain.suggest(key, names))
end

--- A table of options; its `url` is a layer of its own and left alone here.
---@param given table
---@param ctx table
---@return luphant.conninfo.layer|nil
---@return string|nil why
function layer.from_table(given, ctx)
  local made = layer.new()
  local why = put_password(made, given, ctx)
  if why then return nil, why end
  for key, value in pairs(given) do
    if ctx.rules[key] then
      made.options[key] = value
    elseif not SPECIAL[key] then
      if not ctx.is_keyword[key] then return nil, unknown_option(key, ctx) end
      why = put_keyword(made, key, value)
      if why then return nil, why end
    end
  end
  return made
end

--- Puts layers together, later ones over earlier ones.
---@param layers luphant.conninfo.layer[]
---@return luphant.conninfo.layer
function layer.merge(layers)
  local all = layer.new()
  for _, one in ipairs(layers) do
    -- A new host without an address of its own must not be reached at the old host's address.
    if one.params.host and not one.params.hostaddr then all.params.hostaddr = nil end
    for keyword, value in pairs(one.params) do all.params[keyword] = value end
    for name, value in pairs(one.options) do all.options[name] = value end
    if one.password then all.password, all.is_password_file = one.password, one.is_password_file end
  end
  return all
end

--- Values of the environment that nothing overrides and libpq would refuse. `found` has libpq's
--- keywords with the value each has now.
---@param params table<string, string>
---@param found table<string, table>
---@return string|nil why
function layer.environment_problem(params, found)
  for keyword in pairs(VALUES) do
    local option = found[keyword]
    if option and option.value and not params[keyword] then
      local why = layer.value_problem(keyword, option.value)
      if why then return why .. " (it comes from the environment)" end
    end
  end
end

return layer
