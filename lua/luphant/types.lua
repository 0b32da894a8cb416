-- types.lua - user types from the catalog, and the user's own codecs.
--
-- The core knows every built-in type. A statement that mentions another one (enum, domain, composite, range,
-- type of an extension) waits until this file has looked it up: one query brings all types that are missing with
-- everything they are made of. The map is shared by the connections of a pool.
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"
local errors = require "luphant.errors"
local UNTOLD = require("luphant.request").UNTOLD

local types = {}

-- Servers before 14 have no multiranges (and no column for them).
local MULTIRANGE = "union all select r.rngtypid from pg_catalog.pg_range r where r.rngmultitypid = t.oid"
local MULTIRANGE_OF = "(select r.rngtypid from pg_catalog.pg_range r where r.rngmultitypid = t.oid)"

local CATALOG = [[
with recursive wanted(oid) as (
  select unnest($1::pg_catalog.oid[])
  union
  select part.oid from wanted w join pg_catalog.pg_type t on t.oid = w.oid,
  lateral (
    select t.typbasetype where t.typtype = 'd'
    union all select t.typelem where t.typinput = 'pg_catalog.array_in'::pg_catalog.regproc
    union all select r.rngsubtype from pg_catalog.pg_range r where r.rngtypid = t.oid
    union all select a.atttypid from pg_catalog.pg_attribute a
      where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
    %s
  ) part(oid) where part.oid <> 0)
select t.oid, pg_catalog.format_type(t.oid, null) as name, t.typtype::text as class, t.typname::text as typname,
  t.typinput = 'pg_catalog.array_in'::pg_catalog.regproc as is_array, t.typelem as elem, t.typdelim::text as delim,
  t.typbasetype as base,
  (select r.rngsubtype from pg_catalog.pg_range r where r.rngtypid = t.oid) as subtype,
  %s as range,
  (select array_agg(a.attname::text order by a.attnum) from pg_catalog.pg_attribute a
    where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped) as field_names,
  (select array_agg(a.atttypid order by a.attnum) from pg_catalog.pg_attribute a
    where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped) as field_types
from wanted w join pg_catalog.pg_type t on t.oid = w.oid]]

-- Below are the types that come with the server. The core knows those that tables have; the others (row types of
-- system catalogs, domains of the information schema) are user types to us.
local FIRST_USER_OID = 16384

-- Base types of well-known extensions whose wire form is understood; the others are read as text.
local EXTENSION_KINDS = {
  citext = "text", hstore = "hstore", ltree = "versioned", lquery = "versioned", ltxtquery = "versioned",
}

local function fields_of(row)
  local list = {}
  for i, name in ipairs(row.field_names or {}) do list[i] = { name = name, oid = row.field_types[i] } end
  return list
end

-- One row of the catalog as the core's map takes it; nil while the base of a domain is not defined.
local function definition(row, map)
  local out = { oid = row.oid, name = row.name, delim = row.delim }
  if row.class == "e" then
    out.kind = "enum"
  elseif row.class == "d" then
    if not map:name(row.base) then return nil end
    out.kind, out.elem = "alias", row.base
  elseif row.class == "c" then
    out.kind, out.fields = "composite", fields_of(row)
  elseif row.class == "r" then
    out.kind, out.elem = "range", row.subtype
  elseif row.class == "m" then
    out.kind, out.elem = "multirange", row.range
  elseif row.is_array then
    out.kind, out.elem = "array", row.elem
  else
    out.kind = EXTENSION_KINDS[row.typname] or "opaque"
  end
  return out
end

-- Domains over domains come in any order: go round until nothing more can be defined.
local function define_all(map, rows)
  local waiting = {}
  for _, row in ipairs(rows) do
    local is_builtin = row.oid < FIRST_USER_OID and map:name(row.oid)
    if not is_builtin then waiting[#waiting + 1] = row end
  end
  repeat
    local left = {}
    for _, row in ipairs(waiting) do
      local out = definition(row, map)
      if out then map:define(out) else left[#left + 1] = row end
    end
    local progress = #left < #waiting
    waiting = left
  until not progress or #waiting == 0
end

-- A type the catalog does not show (dropped meanwhile) is read as text rather than asked for again.
local function define_unseen(map, oids)
  for _, oid in ipairs(oids) do
    if not map:name(oid) then map:define { oid = oid, name = ("type %.0f"):format(oid), kind = "opaque" } end
  end
end

--- Looks up the types that the last statement lacks. `query(sql, ...)` runs a statement on the same connection.
---@param box userdata  the core's connection
---@param map userdata  core.typemap()
---@param query fun(sql: string, ...): table|nil, luphant.error|nil
---@return true|nil
---@return luphant.error|nil
function types.load(box, map, query)
  return types.learn(box:unknown_types(), box, map, query)
end

--- Looks up the types among `oids` that are not known.
---@param oids integer[]
---@param box userdata
---@param map userdata
---@param query fun(sql: string, ...): table|nil, luphant.error|nil
---@return true|nil
---@return luphant.error|nil
function types.learn(oids, box, map, query)
  local has_multirange = box:server_version() >= 140000
  local sql = CATALOG:format(has_multirange and MULTIRANGE or "",
    has_multirange and MULTIRANGE_OF or "null::pg_catalog.oid")
  local rows, err = query(sql, oids)
  if not rows then return nil, err end
  define_all(map, rows)
  define_unseen(map, oids)
  return true
end

--- The OID of a type by its SQL name, as this session sees it.
---@param name string
---@param query_value fun(sql: table, ...): any, luphant.error|nil
---@return integer|nil
---@return luphant.error|nil
function types.oid(name, query_value)
  local oid = core.type_oid(name)
  if oid then return oid end
  local err
  oid, err = query_value({ "select pg_catalog.to_regtype($1)::pg_catalog.oid", [UNTOLD] = true }, name)
  if oid or err then return oid, err end
  return nil, errors.new("undefined_object", ("there is no type %q in this database"):format(name), { class = "query" })
end

return types
