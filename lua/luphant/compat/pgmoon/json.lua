-- compat/pgmoon/json.lua - what `require "pgmoon.json"` gives. NULL inside of JSON is cjson.null.
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"
local literal = require "luphant.compat.pgmoon.literal"

local json = {}

--- JSON as a literal for a statement's text.
---@param value any
---@param escape? fun(text: string): string
---@return string
function json.encode_json(value, escape)
  local text, why = core.json_encode(value)
  if not text then error(why, 2) end
  return (escape or literal.value)(text)
end

--- The Lua value of a JSON text.
---@param text string
---@return any
function json.decode_json(text)
  local value, why = core.json_decode(text)
  if value == nil then error(why, 2) end
  return value
end

return json
