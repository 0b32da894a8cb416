-- luphant.migrate.ddl.datatype - names of types as written -> one spelling, and which changes of type leave the table
-- as it lies on disk.
--
-- SPDX-License-Identifier: MIT

local M = {}

---@class (exact) luphant.migrate.ddl.Type
---@field text string as written
---@field base string without length, in the spelling of format_type()
---@field modifiers number[]
---@field array boolean

local ALIASES = {
  int = "integer", int4 = "integer", int8 = "bigint", int2 = "smallint", bool = "boolean", float8 = "double precision",
  float4 = "real", float = "double precision", decimal = "numeric", dec = "numeric", varchar = "character varying",
  ["char varying"] = "character varying", char = "character", bpchar = "character", nchar = "character",
  varbit = "bit varying", timestamptz = "timestamp with time zone", timestamp = "timestamp without time zone",
  timetz = "time with time zone", time = "time without time zone", serial4 = "serial", serial8 = "bigserial",
  serial2 = "smallserial", ["national character"] = "character", ["national character varying"] = "character varying",
}

--- Reads the text of a type.
---@param text string
---@return luphant.migrate.ddl.Type
function M.read(text)
  local bare = text:gsub("%s+", " ")
  if not bare:find '"' then bare = bare:lower() end
  local array = bare:find "%[" ~= nil or bare:find " array" ~= nil
  bare = bare:gsub("%s*%[[^%]]*%]", ""):gsub(" array$", ""):gsub("^setof ", "")
  local modifiers = {}
  local inside = bare:match "%(([^)]*)%)"
  for number in (inside or ""):gmatch "%d+" do modifiers[#modifiers + 1] = tonumber(number) end
  local base = bare:gsub("%s*%([^)]*%)", ""):gsub("^pg_catalog%.", "")
  base = base:gsub("^%s+", ""):gsub("%s+$", "")
  return { text = text, base = ALIASES[base] or base, modifiers = modifiers, array = array }
end

local SERIAL = { serial = "integer", bigserial = "bigint", smallserial = "smallint" }

--- The type behind serial and its kin, or nil.
---@param type luphant.migrate.ddl.Type
---@return string?
function M.serial(type) return SERIAL[type.base] end

local TEXT = { text = true, ["character varying"] = true }

-- Longer or without length: nothing of a value changes.
local function is_wider(from, to)
  local old, new = from.modifiers[1], to.modifiers[1]
  return new == nil or (old ~= nil and new >= old)
end

-- numeric(p,s): more digits, the same scale.
local function is_wider_numeric(from, to)
  if #to.modifiers == 0 then return true end
  if #from.modifiers == 0 then return false end
  return to.modifiers[1] >= from.modifiers[1] and (to.modifiers[2] or 0) == (from.modifiers[2] or 0)
end

local LENGTHS = {
  ["character varying"] = is_wider, ["bit varying"] = is_wider, numeric = is_wider_numeric,
  ["timestamp with time zone"] = is_wider, ["timestamp without time zone"] = is_wider,
  ["time with time zone"] = is_wider, ["time without time zone"] = is_wider,
}

--- Does ALTER COLUMN TYPE from one to the other neither rewrite the table nor read it?
---@param from luphant.migrate.ddl.Type
---@param to luphant.migrate.ddl.Type
---@return boolean
function M.is_free_change(from, to)
  if from.array ~= to.array then return false end
  if from.base == to.base then
    local rule = LENGTHS[to.base]
    if rule then return rule(from, to) end
    return #from.modifiers == 0 and #to.modifiers == 0
  end
  if TEXT[from.base] and to.base == "text" then return true end
  if from.base == "text" and to.base == "character varying" then return #to.modifiers == 0 end
  return from.base == "cidr" and to.base == "inet"
end

return M
