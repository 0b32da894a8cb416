-- request.lua - { "select ...", rows = "array", timeout = 2 }: SQL text with the options of one call.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"

local request = {}

-- What the core adds to a verb's number for each shape of rows (lconn.h).
local STYLES = { named = 0, array = 16, columns = 32 }
request.styles = STYLES

--- { "select ...", [request.UNTOLD] = true }: a look-up of our own, of which hooks are not told.
request.UNTOLD = {}

local UNTOLD = request.UNTOLD

local KEYS = {
  rows = { one_of = { "named", "array", "columns" } },
  timeout = { type = "number", above = 0, none = true },
}

---@class luphant.request
---@field sql string
---@field style integer|nil    nil: that of the connection
---@field has_timeout boolean
---@field timeout number|nil   nil with has_timeout: none, in spite of the default
---@field is_untold boolean|nil

--- The text and the options of a verb that has options of its own; misuse raises at the caller of the verb.
---@param value any
---@param keys table<string, luphant.args.rule>
---@return string sql
---@return table options  with `has_timeout`: a timeout was given, if only `false` for none
function request.split(value, keys)
  if type(value) ~= "table" or type(value[1]) ~= "string" then
    args.misuse("SQL text expected (or a table { sql, rows =, timeout = }), got " .. args.show(value))
  end
  local given = {}
  for key, option in pairs(value) do
    if key ~= 1 and key ~= UNTOLD then given[key] = option end
  end
  local options, message = args.validate(given, keys, "request option")
  if not options then args.misuse(message) end
  options.has_timeout = value.timeout ~= nil
  return value[1], options
end

--- Reads what stands in the place of SQL text; misuse raises at the caller of the verb.
---@param value any
---@return luphant.request
function request.read(value)
  local sql, options = request.split(value, KEYS)
  return {
    sql = sql, style = options.rows and STYLES[options.rows], has_timeout = options.has_timeout,
    timeout = options.timeout, is_untold = value[UNTOLD],
  }
end

return request
