-- dial.lua - from configuration to a connected session.
--
-- Splits what the user gave (conninfo), asks for the password, lets the core dial on its helper
-- thread and waits with the connection's own waiter. A failure names every address that was tried
-- and never the password.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"
local conninfo = require "luphant.conninfo"
local core = require "luphant.core"
local drive = require "luphant.drive"
local errors = require "luphant.errors"
local shape = require "luphant.shape"
local wait = require "luphant.wait"

local dial = {}

local facts = {
  conninfo_parse = core.conninfo_parse,
  conninfo_keywords = core.conninfo_keywords,
  file_mode = core.file_mode,
}

-- { keyword1, value1, keyword2, value2 ... }, in a fixed order
local function flat(params, password)
  local list = {}
  for _, keyword in ipairs(compat.sorted_keys(params)) do
    list[#list + 1] = keyword
    list[#list + 1] = params[keyword]
  end
  if password then
    list[#list + 1] = "password"
    list[#list + 1] = password
  end
  return list
end

-- statement_timeout belongs to the session's start: no round trip, and RESET cannot lose it.
local function with_session_options(params, settings)
  if not settings.statement_timeout then return params end
  params = compat.copy(params)
  local before = params.options or os.getenv "PGOPTIONS" or ""
  params.options = ("%s -c statement_timeout=%d"):format(before, math.floor(settings.statement_timeout * 1000 + 0.5))
  return params
end

local function new_box(settings, waiter, map)
  local cjson = settings.json == "cjson" and shape.cjson() or nil
  return core.connection {
    int8 = settings.int8, numeric = settings.numeric, json = settings.json, datetime = settings.datetime,
    result_format = settings.result_format, timeout = settings.timeout, max_result_bytes = settings.max_result_bytes,
    statement_cache_size = settings.statement_cache_size, statement_cache_bytes = settings.statement_cache_bytes,
    unnamed = settings.pooler == "transaction", types = map, keep_notices = settings.on_notice ~= nil,
    -- The plain waiter waits for one thing at a time: the core may do that wait itself.
    blocking = waiter.name == "poll",
    yields = waiter.check ~= nil,
    json_decode = cjson and cjson.decode, json_encode = cjson and cjson.encode,
    make_int64 = shape.make_int64, make_constructor = shape.make_constructor,
  }
end

local function describe_failure(err, box, params, password)
  local attempts = box:attempts()
  if #attempts > 0 then err.attempts = attempts end
  err.host, err.port = err.host or params.host, err.port or params.port
  err.dbname, err.user = params.dbname, params.user
  err.sent = "no"
  return errors.redact(err, password)
end

local function check_pooler(settings)
  if settings.pooler ~= "transaction" or not settings.statement_timeout then return true end
  return nil, errors.new("config",
    'statement_timeout cannot be kept through pooler = "transaction": the setting would reach other clients of the'
      .. " pooler. Use timeout (kept by this side), or set it on the role (alter role ... set statement_timeout).")
end

---@class luphant.dial.plan  where to connect and how, checked and ready to be dialled any number of times
---@field params table
---@field settings table
---@field waiter luphant.waiter
---@field types userdata

--- Checks what the user gave. Misuse raises; what is wrong in a string, a file or the environment is nil, err.
---@param target nil|string|table
---@param options table|nil
---@param level integer  who is to blame for misuse, as in error()
---@param rules? table<string, luphant.args.rule>  default settings.connection
---@return luphant.dial.plan|nil
---@return luphant.error|nil
function dial.plan(target, options, level, rules)
  local given = compat.copy(facts)
  given.rules = rules
  local params, settings = conninfo.parse(target, options, given, level + 1)
  if not params then return nil, settings end
  local ok, err = check_pooler(settings)
  if not ok then return nil, err end
  return {
    params = params, settings = settings, waiter = wait.choose(settings.waiter, level + 1),
    types = settings.types or core.typemap(),
  }
end

local function password_of(plan)
  local params = plan.params
  if not plan.settings.password then return nil end
  return plan.settings.password {
    host = params.host, port = params.port, dbname = params.dbname, user = params.user,
  }
end

--- Dials. Answers the fields of a connection: box, waiter, settings, params, types.
---@param plan luphant.dial.plan
---@param seconds number|nil  limit for all of it
---@return table|nil
---@return luphant.error|nil
function dial.connect(plan, seconds)
  local settings, params = plan.settings, plan.params
  if plan.waiter.check then plan.waiter.check() end -- before anything is begun
  local password, err = password_of(plan)
  if err then return nil, err end
  local self = {
    box = new_box(settings, plan.waiter, plan.types), waiter = plan.waiter, settings = settings, params = params,
    types = plan.types,
  }
  local ok
  ok, err = self.box:dial(flat(with_session_options(params, settings), password), seconds or -1,
    settings.attempt_timeout or -1, settings.plaintext_password == "allow")
  if ok then ok, err = drive.dial(self, seconds) end
  if ok then return self end
  describe_failure(err, self.box, params, password)
  self.box:close()
  return nil, err
end

return dial
