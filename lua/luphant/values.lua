-- values.lua - wrappers that say what a bare Lua value cannot: array, json, typed.
--
-- The marks are metatables the core knows by their registry names. They hold no state of a
-- connection and may be shared.
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"

local values = {}

--- NULL where nil cannot stand: inside arrays, JSON and positional rows. The same value as cjson.null.
values.NULL = core.NULL

--- Marks a table as an array, also when it is empty: JSON then writes [] and not {}.
--- `options.lower`: lower bounds other than 1, one per dimension.
---@generic T : table
---@param list T
---@param options? { lower: integer|integer[] }
---@return T
function values.array(list, options)
  if type(list) ~= "table" then error("luphant.array takes a table, got a " .. type(list), 2) end
  local lower = options and options.lower
  if not lower then return core.json_array(list) end
  if type(lower) == "number" then lower = { lower } end
  if type(lower) ~= "table" then error("lower is an integer, or a list with one for each dimension", 2) end
  for dimension, bound in ipairs(lower) do
    if type(bound) ~= "number" or bound ~= math.floor(bound) or bound < -2 ^ 31 or bound >= 2 ^ 31 then
      error(("lower bound %d must be an integer of 32 bits, got %s"):format(dimension, tostring(bound)), 2)
    end
  end
  return setmetatable(list, { __name = "luphant.array", lower = lower })
end

--- Sends `value` as JSON text, whatever the parameter's type: a string becomes a JSON string.
---@param value any
---@return table
function values.json(value)
  return setmetatable({ value = value }, core.wrappers.json)
end

--- Sends `value` as a parameter of the named built-in type instead of the one the server infers.
---@param value any
---@param type_name string  SQL name: "int8", "timestamptz", "text[]"
---@return table
function values.typed(value, type_name)
  local oid = type(type_name) == "string" and core.type_oid(type_name)
  if not oid then
    error(("luphant.typed knows the built-in types only; write $1::%s in the statement instead")
      :format(tostring(type_name)), 2)
  end
  return setmetatable({ value = value, oid = oid }, core.wrappers.typed)
end

return values
