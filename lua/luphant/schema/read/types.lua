-- schema/read/types.lua - enums, domains, composite types, ranges, base types and shells. The types that come with a
-- table, with another type (arrays, multiranges) or with an extension stand nowhere.
--
-- SPDX-License-Identifier: MIT

local reader = require "luphant.schema.reading"

local SQL = [[
select t.oid::int8 as _oid, t.typrelid::int8 as _relation, format('%I.%I', n.nspname, t.typname) as _id,
       n.nspname::text as schema, t.typname::text as name,
       case when t.typisdefined then t.typtype::text else 'shell' end as kind,
       array(select e.enumlabel::text from pg_catalog.pg_enum e where e.enumtypid = t.oid
              order by e.enumsortorder) as labels,
       case when t.typtype = 'd' then format_type(t.typbasetype, t.typtypmod) end as type, t.typnotnull as not_null,
       coalesce(pg_get_expr(t.typdefaultbin, 'pg_catalog.pg_type'::regclass), t.typdefault) as default,
       case when t.typtype = 'd' and t.typcollation <> b.typcollation then
         (select format('%I.%I', cn.nspname, co.collname) from pg_catalog.pg_collation co
            join pg_catalog.pg_namespace cn on cn.oid = co.collnamespace where co.oid = t.typcollation)
       end as collation,
       {owner t.typowner}, {comment t.oid pg_type}, {grants T t.typacl t.typowner}
  from pg_catalog.pg_type t
  join pg_catalog.pg_namespace n on n.oid = t.typnamespace
  left join pg_catalog.pg_type b on b.oid = t.typbasetype
  left join pg_catalog.pg_class c on c.oid = t.typrelid
 where t.typtype <> 'm' and (t.typrelid = 0 or c.relkind = 'c')
   and not exists (select from pg_catalog.pg_type element where element.typarray = t.oid)
   and {scope n} and {own pg_type t.oid}]]

local RANGES = [[
select r.rngtypid::int8 as _type, format_type(r.rngsubtype, null) as subtype,
       case when not o.opcdefault then format('%I.%I', opn.nspname, o.opcname) end as operator_class,
       case when r.rngcollation not in (0, s.typcollation) then
         format('%I.%I', cn.nspname, co.collname) end as collation,
       nullif(r.rngcanonical::oid::regprocedure::text, '-') as canonical,
       nullif(r.rngsubdiff::oid::regprocedure::text, '-') as difference, {multirange} as multirange
  from pg_catalog.pg_range r
  join pg_catalog.pg_type t on t.oid = r.rngtypid
  join pg_catalog.pg_namespace n on n.oid = t.typnamespace
  join pg_catalog.pg_type s on s.oid = r.rngsubtype
  join pg_catalog.pg_opclass o on o.oid = r.rngsubopc
  join pg_catalog.pg_namespace opn on opn.oid = o.opcnamespace
  left join pg_catalog.pg_collation co on co.oid = r.rngcollation
  left join pg_catalog.pg_namespace cn on cn.oid = co.collnamespace
 where {scope n}]]

local BASES = [[
select t.oid::int8 as _type, t.typinput::oid::regprocedure::text as input,
       t.typoutput::oid::regprocedure::text as output,
       nullif(t.typreceive::oid::regprocedure::text, '-') as receive,
       nullif(t.typsend::oid::regprocedure::text, '-') as send,
       nullif(t.typmodin::oid::regprocedure::text, '-') as modifier_in,
       nullif(t.typmodout::oid::regprocedure::text, '-') as modifier_out,
       nullif(t.typanalyze::oid::regprocedure::text, '-') as analyze, {subscript} as subscript,
       t.typlen::int4 as length,
       t.typbyval as by_value, t.typalign::text as alignment, t.typstorage::text as storage,
       t.typcategory::text as category, t.typispreferred as preferred, t.typdelim::text as delimiter,
       case when t.typelem <> 0 then format_type(t.typelem, null) end as element, t.typcollation <> 0 as collatable
  from pg_catalog.pg_type t
  join pg_catalog.pg_namespace n on n.oid = t.typnamespace
 where t.typtype = 'b' and t.typisdefined and {scope n}
   and not exists (select from pg_catalog.pg_type element where element.typarray = t.oid)]]

local KINDS = { b = "base type", c = "composite type", d = "domain", e = "enum", r = "range", shell = "shell type" }
local STORAGE = { p = "plain", e = "external", m = "main", x = "extended" }
local ALIGNMENT = { c = "char", s = "int2", i = "int4", d = "double" }

local function add(reading, rows)
  for _, row in ipairs(rows) do
    local kind = reading.types[row._type]
    if kind then
      for field, value in pairs(reading:object(row)) do kind[field] = value end
    end
  end
end

return function(reading)
  for _, row in ipairs(reading:rows(SQL)) do
    reader.spell(row, "kind", KINDS)
    local object = reading:put("types", row)
    reading.types[row._oid] = object
    if row._relation ~= 0 then reading.relations[row._relation] = object end
  end
  local multirange = "null::text"
  if reading:since(14) then multirange = "format_type(r.rngmultitypid, null)" end
  add(reading, reading:rows(RANGES, { multirange = multirange }))
  local subscript = "null::text"
  if reading:since(14) then subscript = "nullif(t.typsubscript::oid::regprocedure::text, '-')" end
  local bases = reading:rows(BASES, { subscript = subscript })
  for _, row in ipairs(bases) do
    reader.spell(row, "storage", STORAGE)
    reader.spell(row, "alignment", ALIGNMENT)
  end
  add(reading, bases)
end
