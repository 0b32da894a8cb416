-- conninfo/init.lua - what the user says about a connection -> libpq's parameters and luphant's settings.
--
-- Layers, the later ones win:
--   DATABASE_URL   when no target is given, or a table that names neither server nor database
--   the target     a URL or keyword string, or a table (its `url` first, then its other fields)
--   the options    the second table
-- PG* variables, service files, pass files and everything of TLS stay with libpq: what nobody
-- names is not passed. The exceptions are DEFAULTS below, which step back for the environment and
-- for a service. client_encoding is always UTF8: every text is checked and counted as such.
--
-- Faults in a Lua table are misuse and raise at the caller's line; faults in a string, a file or
-- the environment come back as nil, err of kind "config". No message shows a password. This file
-- parses no connection string itself (libpq does) and dials nothing.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local errors = require "luphant.errors"
local layer = require "luphant.conninfo.layer"
local settings = require "luphant.settings"

local conninfo = {}

---@class luphant.conninfo.facts
---@field conninfo_parse fun(text: string): table|nil, string|nil   PQconninfoParse
---@field conninfo_keywords fun(): table[]                          PQconndefaults
---@field file_mode fun(path: string): integer|nil, string|nil
---@field getenv? fun(name: string): string|nil    default os.getenv
---@field open? fun(path: string, mode: string): any  default io.open
---@field rules? table<string, luphant.args.rule>  default settings.connection

-- libpq's own defaults leave a dead peer unnoticed for hours, and try Kerberos before anything else
-- (a round trip, and a disclosed CVE). Milliseconds and seconds as libpq has them.
local DEFAULTS = {
  keepalives_idle = "30", keepalives_interval = "10", keepalives_count = "3",
  tcp_user_timeout = "20000",
  gssencmode = "disable",
  fallback_application_name = "luphant",
}

local NAMES_A_SERVER = { "url", "host", "hostaddr", "port", "dbname", "user", "service" }

-- The libpq keywords of this build: an array of names, a set, and the environment's values.
local function keyword_facts(facts)
  local known, set, found = {}, {}, {}
  for _, option in ipairs(facts.conninfo_keywords()) do
    known[#known + 1] = option.keyword
    set[option.keyword] = true
    found[option.keyword] = option
  end
  return known, set, found
end

local function count(list) return list and select(2, list:gsub(",", "")) + 1 or 0 end

local function lists_problem(params)
  local hosts, addresses, ports = count(params.host), count(params.hostaddr), count(params.port)
  if hosts > 0 and addresses > 0 and hosts ~= addresses then
    return ("%d hosts but %d hostaddrs"):format(hosts, addresses)
  end
  local servers = math.max(hosts, addresses, 1)
  if ports > 1 and ports ~= servers then
    return ("%d ports for %d host%s (one port for all, or one for each)")
      :format(ports, servers, servers == 1 and "" or "s")
  end
end

local function add_defaults(all, ctx)
  local params = all.params
  local has_service = params.service ~= nil or (ctx.getenv("PGSERVICE") or "") ~= ""
  for keyword, value in pairs(DEFAULTS) do
    local option = ctx.found[keyword]
    local variable = option and option.envvar
    local is_set = variable and (ctx.getenv(variable) or "") ~= ""
    if option and params[keyword] == nil and not is_set and not has_service then
      params[keyword] = value
    end
  end
  params.client_encoding = "UTF8"
  local seconds = ctx.getenv("PGCONNECT_TIMEOUT")
  if all.options.connect_timeout == nil and seconds and seconds ~= "" then
    local why = layer.put_connect_timeout(all, seconds)
    return why and why .. " (PGCONNECT_TIMEOUT)"
  end
end

local function check_settings(all, ctx)
  local checked, message = args.validate(all.options, ctx.rules)
  if not checked then return nil, message end
  checked.password = all.password
  return checked
end

-- Which strings and tables stand in which order: { { text = } | { given = } ... }.
local function sources(target, options, ctx)
  local list = {}
  local first = target
  if first == nil then first = options end
  local wants_database_url = type(target) ~= "string"
  if type(first) == "table" then
    if first.url ~= nil then list[1] = { text = first.url } end
    for _, name in ipairs(NAMES_A_SERVER) do
      -- Without a target the options refine DATABASE_URL; a target that names a server replaces it.
      if first[name] ~= nil and (target ~= nil or name == "url") then wants_database_url = false end
    end
  end
  local from_environment = wants_database_url and ctx.getenv("DATABASE_URL")
  if from_environment and from_environment ~= "" then
    list[1] = { text = from_environment, name = "DATABASE_URL" }
  end
  if type(target) == "string" then list[1] = { text = target } end
  if type(target) == "table" then list[#list + 1] = { given = target } end
  if options ~= nil then list[#list + 1] = { given = options } end
  return list
end

local function argument_problem(target, options)
  local kind = type(target)
  if target ~= nil and kind ~= "string" and kind ~= "table" then
    return "expected a URL, a keyword string or a table of options, got a " .. kind
  end
  if options ~= nil and type(options) ~= "table" then
    return "the options must be a table, got a " .. type(options)
  end
  for _, given in ipairs { kind == "table" and target or {}, options or {} } do
    if given.url ~= nil and type(given.url) ~= "string" then
      return "url must be a string, got a " .. type(given.url)
    end
  end
  if target ~= nil and options and options.url ~= nil then
    return "the first argument says already where to connect: url has no place in the second"
  end
end

local function config_error(message) return errors.new("config", message) end

-- params, settings | nil, misuse sentence | nil, error object
local function build(target, options, ctx)
  local why = argument_problem(target, options)
  if why then return nil, why end
  local layers = {}
  for i, source in ipairs(sources(target, options, ctx)) do
    local read = source.text and layer.from_string or layer.from_table
    layers[i], why = read(source.text or source.given, ctx)
    if not layers[i] then
      if source.given then return nil, why end
      return nil, config_error(source.name and ("%s: %s"):format(source.name, why) or why)
    end
  end
  local all = layer.merge(layers)
  why = lists_problem(all.params) or layer.environment_problem(all.params, ctx.found)
    or add_defaults(all, ctx)
  if why then return nil, config_error(why) end
  local checked, message = check_settings(all, ctx)
  if not checked then return nil, message end
  if all.is_password_file then
    local secret, err = all.password() -- bad configuration fails now, not at the first connect
    if not secret then return nil, err end
  end
  return all.params, checked
end

--- Splits what the user gave. `params` (keyword -> text, for PQconnectStartParams) never holds the
--- password: `settings.password` is nil or a function(info) -> password | nil, err.
---@param target nil|string|table
---@param options table|nil
---@param facts luphant.conninfo.facts
---@param level? integer  who is to blame for misuse, as in error(); 2 = the caller of our caller
---@return table|nil params
---@return table|luphant.error settings
function conninfo.parse(target, options, facts, level)
  local known, is_keyword, found = keyword_facts(facts)
  local ctx = {
    known = known, is_keyword = is_keyword, found = found,
    rules = facts.rules or settings.connection,
    getenv = facts.getenv or os.getenv,
    facts = {
      conninfo_parse = facts.conninfo_parse, file_mode = facts.file_mode, open = facts.open or io.open,
    },
  }
  local params, result = build(target, options, ctx)
  if not params and type(result) == "string" then error(result, (level or 2) + 1) end
  return params, result
end

--- One line for messages: where a connection goes, without anything secret.
---@param params table
---@return string
function conninfo.describe(params)
  local words = {}
  for _, keyword in ipairs { "service", "host", "hostaddr", "port", "dbname", "user" } do
    local value = params[keyword]
    if value and value ~= "" then
      if value:find("[%s']") then value = "'" .. value:gsub("['\\]", "\\%0") .. "'" end
      words[#words + 1] = keyword .. "=" .. value
    end
  end
  return #words > 0 and table.concat(words, " ") or "libpq's defaults"
end

return conninfo
