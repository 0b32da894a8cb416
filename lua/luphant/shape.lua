-- shape.lua - functions the core calls while it builds values: where Lua code beats the C API, and
-- where another library does the work.
--
-- On LuaJIT a table constructor with constant keys is compiled; filling the same table through the
-- C API is not (bench/ has the figures). On Lua 5.4 the C API is faster, so there is none.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"

local shape = {}

if compat.is_luajit then
  local concat = table.concat

  --- function(v1, v2, ...) -> { [name1] = v1, ... }, generated for one list of column names.
  ---@param names string[]
  ---@return function
  function shape.make_constructor(names)
    local values, fields = {}, {}
    for i = 1, #names do
      values[i] = "v" .. i
      fields[i] = ("[%q] = v%d"):format(names[i], i)
    end
    local source = ("return function(%s) return { %s } end"):format(concat(values, ","), concat(fields, ","))
    return assert(compat.load(source, "=row", {}))()
  end

  local ffi = require "ffi"
  local int64 = ffi.typeof "int64_t"
  local word = int64(2 ^ 32)

  --- A 64-bit cdata from its signed high and unsigned low word.
  ---@param high number
  ---@param low number
  function shape.make_int64(high, low)
    return int64(high) * word + int64(low)
  end
end

--- lua-cjson, for json = "cjson". Raises with advice when it is not installed.
---@return { decode: function, encode: function }
function shape.cjson()
  local ok, cjson = pcall(require, "cjson")
  if ok then return cjson end
  error('json = "cjson" needs lua-cjson (luarocks install lua-cjson); without the option luphant reads JSON itself', 0)
end

return shape
