-- compat/pgmoon/arrays.lua - what `require "pgmoon.arrays"` gives: arrays between Lua and PostgreSQL's text.
--
-- Made without lpeg. Where pgmoon takes the element "NULL" (quoted) for a NULL, here only the unquoted word is one.
--
-- SPDX-License-Identifier: MIT

local literal = require "luphant.compat.pgmoon.literal"

local arrays = {}

-- OIDs of the arrays that hold what a Lua type is sent as: bool[], numeric[], text[].
local OIDS = { boolean = 1000, number = 1231, string = 1009 }
local ARRAYS = { [1000] = true, [1231] = true, [1009] = true, [199] = true, [3807] = true }

local function quoted(text) return '"' .. text:gsub('[\\"]', "\\%0") .. '"' end

local serialize

local function element(value, pg)
  local kind = type(value)
  if value == pg.NULL then return "NULL" end
  if kind == "number" then return tostring(value) end
  if kind == "string" then return quoted(value) end
  if kind == "boolean" then return value and "t" or "f" end
  local mt = kind == "table" and getmetatable(value)
  if not mt or not mt.pgmoon_serialize then return nil end
  local oid, text = mt.pgmoon_serialize(value, pg)
  if oid == nil then return nil end
  return ARRAYS[oid] and text or quoted(text)
end

function serialize(list, pg)
  local texts, oid = {}, nil
  for i, value in ipairs(list) do
    texts[i] = element(value, pg)
    if not texts[i] then return nil, "table does not implement pgmoon_serialize, can't serialize" end
    if oid == nil and value ~= pg.NULL then oid = OIDS[type(value)] or 0 end
  end
  return oid or 0, "{" .. table.concat(texts, ",") .. "}"
end

local base = { pgmoon_serialize = serialize }
base.__index = base

--- Marks a table as an array: as a parameter it is sent as one, and results' arrays have this mark.
arrays.PostgresArray = setmetatable({ __base = base }, {
  __call = function(_, list) return setmetatable(list, base) end,
})

local function append(escape, list)
  local texts = {}
  for i, value in ipairs(list) do
    local is_inner = type(value) == "table" and not getmetatable(value)
    texts[i] = is_inner and "[" .. append(escape, value) .. "]" or escape(value)
  end
  return table.concat(texts, ",")
end

--- ARRAY[1,2,3] for a statement's text.
---@param list table
---@param escape? fun(value: any): string
---@return string
function arrays.encode_array(list, escape)
  return "ARRAY[" .. append(escape or literal.value, list) .. "]"
end

local function refuse() error("failed to parse postgresql array", 0) end

-- A quoted element from the opening quote at `at`: its text, and where the rest begins.
local function read_quoted(text, at)
  local from, pieces = at + 1, {}
  while true do
    local stop = text:find('["\\]', from)
    if not stop then refuse() end
    pieces[#pieces + 1] = text:sub(from, stop - 1)
    if text:sub(stop, stop) == '"' then return table.concat(pieces), stop + 1 end
    pieces[#pieces + 1] = text:sub(stop + 1, stop + 1)
    from = stop + 2
  end
end

local read_list

local function read_element(text, at, convert, null)
  local first = text:sub(at, at)
  if first == "{" then return read_list(text, at, convert, null) end
  local value
  if first == '"' then
    value, at = read_quoted(text, at)
  else
    value = text:match("^[^,{}\"%s\\]+", at) or refuse()
    at = at + #value
    if value == "NULL" then return null, at end
  end
  if convert then value = convert(value) end
  return value, at
end

function read_list(text, at, convert, null)
  local list = {}
  at = at + 1
  if text:sub(at, at) == "}" then return list, at + 1 end
  while true do
    list[#list + 1], at = read_element(text, at, convert, null)
    local mark = text:sub(at, at)
    if mark == "}" then return list, at + 1 end
    if mark ~= "," then refuse() end
    at = at + 1
  end
end

--- A table from the text of an array; raises when it is none. `convert(text)` makes values of the elements.
---@param text string
---@param convert? fun(text: string): any
---@param pg? table  whose NULL stands for NULL
---@return table
function arrays.decode_array(text, convert, pg)
  local null = (pg or literal).NULL
  local body = text:match "^%[[%d:%[%]%-]*=(.*)$" or text -- lower bounds other than 1
  if body:sub(1, 1) ~= "{" then refuse() end
  local list, at = read_list(body, 1, convert, null)
  if at ~= #body + 1 then refuse() end
  return setmetatable(list, base)
end

return arrays
