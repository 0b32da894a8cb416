-- transaction/options.lua - the options of a transaction, checked, as what the core and the loop need.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local compat = require "luphant.compat"

local options = {}

local ISOLATION = {
  ["read uncommitted"] = 1, ["read committed"] = 2, ["repeatable read"] = 3, ["serializable"] = 4,
}

local function settings_problem(given)
  for name, value in pairs(given) do
    if type(name) ~= "string" then return "must have names of settings as its keys" end
    local kind = type(value)
    if kind ~= "string" and kind ~= "number" and kind ~= "boolean" then
      return ('must have a string, number or boolean for "%s", got %s'):format(name, args.show(value))
    end
  end
end

local RETRY = {
  max = { type = "number", integer = true, min = 0, default = 10 },
  timeout = { type = "number", above = 0 },
}

local function retry_problem(given)
  if type(given) == "table" then
    local _, why = args.validate(given, RETRY, "retry option")
    return why and "is wrong: " .. why
  end
  if type(given) == "number" and (given < 0 or given % 1 ~= 0) then return "must be a whole number, 0 or more" end
end

local RULES = {
  isolation = { one_of = { "read committed", "repeatable read", "serializable", "read uncommitted" } },
  read_only = { type = "boolean" },
  deferrable = { type = "boolean" },
  timeout = { type = "number", above = 0, none = true },
  retry = { type = { "number", "boolean", "table" }, check = retry_problem },
  set = { type = "table", check = settings_problem },
  resolve = { type = "boolean" },
  name = { type = "string" },
  tags = { type = "table" },
}

-- As core's txn_begin wants it.
local function mode_of(given)
  local mode = given.isolation and ISOLATION[given.isolation] or 0
  if given.read_only ~= nil then mode = mode + (given.read_only and 16 or 8) end
  if given.deferrable ~= nil then mode = mode + (given.deferrable and 64 or 32) end
  if given.resolve ~= false and not given.read_only then mode = mode + 128 end
  return mode
end

local function retry_of(given)
  if not given then return nil end
  if given == true then return { max = RETRY.max.default } end
  if type(given) == "number" then return given > 0 and { max = given } or nil end
  return args.validate(given, RETRY)
end

local function list_of(given)
  local list = {}
  for _, name in ipairs(compat.sorted_keys(given)) do
    list[#list + 1] = { name, compat.text(given[name]) }
  end
  return list
end

---@class luphant.transaction.plan
---@field mode integer
---@field settings? { [1]: string, [2]: string }[]
---@field timeout? number
---@field retry? { max: integer, timeout?: number }
---@field must_resolve? boolean
---@field name? string
---@field tags? table
---@field lease? table
---@field limit? number  until when a connection is waited for, on the lease's clock
---@field acquire? fun(plan: luphant.transaction.plan): luphant.connection|nil, luphant.error|nil
---@field deadline? number  of the whole block, on core.now()'s clock

---@type luphant.transaction.plan
local PLAIN = { mode = 128 }

--- What a transaction is to be. `level` as in error(): who is to blame.
---@param given table|nil
---@param level integer
---@return luphant.transaction.plan
function options.parse(given, level)
  if given == nil then return PLAIN end
  local checked = args.check(given, RULES, "transaction option", level + 1)
  if checked.deferrable and not (checked.isolation == "serializable" and checked.read_only) then
    error('deferrable has an effect only with isolation = "serializable" and read_only = true', level + 1)
  end
  return {
    mode = mode_of(checked), timeout = checked.timeout, retry = retry_of(checked.retry),
    settings = checked.set and list_of(checked.set), must_resolve = checked.resolve,
    name = checked.name, tags = checked.tags,
  }
end

return options
