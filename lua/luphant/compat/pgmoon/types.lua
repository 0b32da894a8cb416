-- compat/pgmoon/types.lua - values of results and parameters, by pgmoon's tables.
--
-- The connection gives every value as the server's text (result_format = "raw"), so that deserializers of a program
-- see what they saw with pgmoon. PG_TYPES says what a column's OID means; here is what becomes of it.
--
-- SPDX-License-Identifier: MIT

local arrays = require "luphant.compat.pgmoon.arrays"
local compat = require "luphant.compat"
local core = require "luphant.core"
local hstore = require "luphant.compat.pgmoon.hstore"
local json = require "luphant.compat.pgmoon.json"
local literal = require "luphant.compat.pgmoon.literal"

local types = {}

local BOOL, TEXT, INT8, NUMERIC = 16, 25, 20, 1700
local EXACT = 2 ^ 53

types.PG_TYPES = { [17] = "bytea", [114] = "json", [3802] = "json", [1041] = "array_inet" }
for word, oids in pairs {
  boolean = { BOOL }, number = { INT8, 21, 23, 700, 701, NUMERIC }, array_boolean = { 1000 },
  array_number = { 1005, 1007, 1016, 1021, 1022, 1231 }, array_string = { 1009, 1015, 1002, 1014, 2951 },
  array_json = { 199, 3807 },
} do
  for _, oid in ipairs(oids) do types.PG_TYPES[oid] = word end
end

-- ------------------------------------------------------------------------------------------- results

local function to_boolean(text) return text == "t" end

-- A text that no Lua number can hold ("NaN" on Lua 5.4) stays one.
local function to_number(text) return tonumber(text) or text end

types.deserializers = {
  json = function(_, text) return json.decode_json(text) end,
  bytea = function(_, text) return literal.bytes(text) end,
  array_boolean = function(pg, text) return arrays.decode_array(text, to_boolean, pg) end,
  array_number = function(pg, text) return arrays.decode_array(text, to_number, pg) end,
  array_string = function(pg, text) return arrays.decode_array(text, nil, pg) end,
  array_inet = function(pg, text) return arrays.decode_array(text, nil, pg) end,
  array_json = function(pg, text) return arrays.decode_array(text, json.decode_json, pg) end,
  hstore = function(_, text) return hstore.decode_hstore(text) end,
}

local function read_boolean(_, text) return text == "t" end
local function read_number(_, text) return to_number(text) end

-- Digits that a number of LuaJIT cannot hold would be lost without anybody noticing.
local function read_int8(_, text)
  local number = tonumber(text)
  if number and (compat.has_integers or (number < EXACT and number > -EXACT)) then return number end
  return text
end

local function reader_of(pg, oid)
  local word = pg.PG_TYPES[oid]
  if word == nil or word == "string" then return nil end
  if word == "boolean" then return read_boolean end
  if word == "number" then return oid == INT8 and read_int8 or read_number end
  return pg.type_deserializers[word], word
end

--- Makes of rows as they came what pgmoon gives. The rows are changed in place.
---@param pg table
---@param rows table[]
---@param columns { name: string, oid: integer }[]
function types.read(pg, rows, columns)
  local null = pg.convert_null and pg.NULL or nil
  local done = {}
  for i = #columns, 1, -1 do -- of columns with the same name the last one is in the row
    local name = columns[i].name
    local read, word = reader_of(pg, columns[i].oid)
    if not done[name] and (read or null ~= nil) then
      for _, row in ipairs(rows) do
        local text = row[name]
        if text == nil then
          row[name] = null
        elseif read then
          row[name] = read(pg, text, word)
        end
      end
    end
    done[name] = true
  end
end

-- ---------------------------------------------------------------------------------------- parameters

local NUMBERS = { [INT8] = true, [21] = true, [23] = true, [26] = true, [700] = true, [701] = true }

local function typed(oid, value)
  if oid == 0 then return value end
  if NUMBERS[oid] then value = tonumber(value) or value end
  return setmetatable({ value = value, oid = oid }, core.wrappers.typed)
end

types.serializers = {
  string = function(_, value) return TEXT, value end,
  boolean = function(_, value) return BOOL, value and "t" or "f" end,
  number = function(_, value) return NUMERIC, tostring(value) end,
  table = function(pg, value)
    local mt = getmetatable(value)
    if mt and mt.pgmoon_serialize then return mt.pgmoon_serialize(value, pg) end
    return nil, "table does not implement pgmoon_serialize, can't serialize"
  end,
}

local PLAIN = { string = types.serializers.string, boolean = types.serializers.boolean,
  number = types.serializers.number }

local function one(pg, value, index, as_pgmoon)
  if value == nil or value == pg.NULL then return nil end
  local kind = type(value)
  local serialize = pg.type_serializers[kind]
  if serialize == nil then return tostring(value) end
  if not as_pgmoon and serialize == PLAIN[kind] then return value end
  local oid, text = serialize(pg, value)
  if oid == nil then
    return nil, ("pgmoon: param %d: %s"):format(index, text or "failed to serialize type: " .. kind)
  end
  if oid == BOOL then return typed(oid, text == "t") end
  return typed(oid, text)
end

--- The parameters of a statement as luphant takes them: { n =, ... }.
---@param pg table
---@param given table       { n =, ... }
---@param as_pgmoon boolean  with the types pgmoon announces, instead of those the server infers
---@return table|nil
---@return string|nil message
function types.write(pg, given, as_pgmoon)
  local out = { n = given.n }
  for i = 1, given.n do
    local value, why = one(pg, given[i], i, as_pgmoon)
    if why then return nil, why end
    out[i] = value
  end
  return out
end

return types
