-- schema/json.lua - snapshots as JSON for files: sorted, in short lines, so that a change is a change of few lines.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"
local core = require "luphant.core"

local json = {}

local WIDTH = 120

local encode

local function is_list(value) return value[1] ~= nil end

-- Texts of the parts of a table: each value, with its name where it has one.
local function parts_of(value, indent)
  local parts = {}
  if is_list(value) then
    for i, element in ipairs(value) do parts[i] = encode(element, indent) end
    return parts
  end
  for i, name in ipairs(compat.sorted_keys(value)) do
    parts[i] = encode(name) .. ": " .. encode(value[name], indent)
  end
  return parts
end

-- Tables of plain values stand in one line as long as that is short enough.
local function table_text(value, indent)
  local open, close = "{", "}"
  if is_list(value) then open, close = "[", "]" end
  local inner = indent .. " "
  local parts = parts_of(value, inner)
  if #parts == 0 then return open .. close end
  local line = open .. table.concat(parts, ", ") .. close
  if #indent + #line <= WIDTH and not line:find("\n", 1, true) then return line end
  return open .. "\n" .. inner .. table.concat(parts, ",\n" .. inner) .. "\n" .. indent .. close
end

function encode(value, indent)
  if type(value) == "table" then return table_text(value, indent) end
  return assert(core.json_encode(value))
end

--- A snapshot as JSON; the same snapshot gives the same bytes.
---@param snapshot luphant.schema.Snapshot
---@return string
function json.encode(snapshot)
  return encode(snapshot, "") .. "\n"
end

--- The table in a text, or nil and why there is none.
---@param text string
---@return table|nil
---@return string|nil
function json.decode(text)
  local value, why = core.json_decode(text)
  if type(value) ~= "table" then return nil, why or "no JSON object" end
  return value
end

return json
