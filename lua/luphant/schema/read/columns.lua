-- schema/read/columns.lua - columns of tables and views, attributes of composite types.
--
-- The option pg_attver is the server's own mark on a column (servers of late minor versions set it by themselves,
-- pg_dump hides it): different in each database, so it is left out.
--
-- SPDX-License-Identifier: MIT

local reader = require "luphant.schema.reading"

local SQL = [[
select a.attrelid::int8 as _relation, a.attnum::int4 as _number, a.attname::text as name,
       format_type(a.atttypid, a.atttypmod) as type, a.attnotnull as not_null,
       case when {generated} = '' then pg_get_expr(d.adbin, d.adrelid) end as default,
       case when {generated} <> '' then pg_get_expr(d.adbin, d.adrelid) end as generated,
       d.oid is not null as _has_expression, {generated} as _generated, a.attidentity::text as identity,
       case when a.attcollation not in (0, t.typcollation) then
         format('%I.%I', cn.nspname, co.collname) end as collation,
       case when a.attstorage <> t.typstorage then a.attstorage::text end as storage, {compression} as compression,
       nullif(a.attstattarget::int4, -1) as statistics,
       array(select o from unnest(a.attoptions) o where o not like 'pg\_attver=%') as options,
       a.attfdwoptions as server_options,
       not a.attislocal as inherited, {remark} as comment, {grants c a.attacl c.relowner}
  from pg_catalog.pg_attribute a
  join pg_catalog.pg_class c on c.oid = a.attrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_type t on t.oid = a.atttypid
  left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
  left join pg_catalog.pg_collation co on co.oid = a.attcollation
  left join pg_catalog.pg_namespace cn on cn.oid = co.collnamespace
 where a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'p', 'f', 'v', 'm', 'c') and {scope n}
 order by a.attrelid, a.attnum]]

local IDENTITY = { [""] = false, a = "always", d = "by default" }
local STORAGE = { p = "plain", e = "external", m = "main", x = "extended" }
local COMPRESSION = { [""] = false, p = "pglz", l = "lz4" }

local function words(reading)
  return {
    generated = reading:since(12) and "a.attgenerated::text" or "''",
    compression = reading:since(14) and "a.attcompression::text" or "null::text",
    remark = reading.with.comments and "col_description(a.attrelid, a.attnum)" or "null::text",
  }
end

return function(reading)
  for _, row in ipairs(reading:rows(SQL, words(reading))) do
    local relation = reading.relations[row._relation]
    if relation then
      reader.check_there(not row._has_expression or (row.default or row.generated) ~= nil, row.name)
      reader.spell(row, "identity", IDENTITY)
      reader.spell(row, "storage", STORAGE)
      reader.spell(row, "compression", COMPRESSION)
      reader.sort(row.options)
      reader.sort(row.server_options)
      if row._generated == "v" then row.virtual = true end
      local column = reading:object(row)
      local field = relation.kind == "composite type" and "attributes" or "columns"
      relation[field] = relation[field] or {}
      table.insert(relation[field], column)
      reading.columns[row._relation] = reading.columns[row._relation] or {}
      reading.columns[row._relation][row._number] = column
    end
  end
end
