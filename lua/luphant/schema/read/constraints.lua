-- schema/read/constraints.lua - constraints of tables and domains.
--
-- Of an index that a constraint has made, only what differs from the plain one is told, with the constraint. Foreign
-- keys that partitions have from their parent are left out: they follow from the parent's and have nothing of their
-- own. NOT NULL is a field of the column; as a constraint (servers from 18 on) it is listed where more than that was
-- said: a name of its own, NO INHERIT, NOT VALID.
--
-- SPDX-License-Identifier: MIT

local reader = require "luphant.schema.reading"

local SQL = [[
select c.conrelid::int8 as _relation, c.contypid::int8 as _type, c.conname::text as name, c.contype::text as type,
       pg_get_constraintdef(c.oid) as definition, c.conislocal as _is_local, c.conrelid <> 0 as _of_table,
       array(select a.attname::text from unnest(c.conkey) with ordinality k (number, place)
               join pg_catalog.pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.number
              order by k.place) as columns,
       case when c.confrelid <> 0 then format('%I.%I', fn.nspname, f.relname) end as foreign_table,
       array(select a.attname::text from unnest(c.confkey) with ordinality k (number, place)
               join pg_catalog.pg_attribute a on a.attrelid = c.confrelid and a.attnum = k.number
              order by k.place) as foreign_columns,
       i.reloptions as index_options, s.spcname::text as index_tablespace,
       coalesce(x.indisclustered, false) as clustered,
       coalesce(not x.indisvalid, false) as invalid,
       (select p.conname::text from pg_catalog.pg_constraint p where p.oid = c.conparentid) as parent,
       {comment c.oid pg_constraint}, {index_comment i.oid}
  from pg_catalog.pg_constraint c
  join pg_catalog.pg_namespace n on n.oid = c.connamespace
  left join pg_catalog.pg_class f on f.oid = c.confrelid
  left join pg_catalog.pg_namespace fn on fn.oid = f.relnamespace
  left join pg_catalog.pg_index x on x.indexrelid = c.conindid and c.contype in ('p', 'u', 'x')
  left join pg_catalog.pg_class i on i.oid = x.indexrelid
  left join pg_catalog.pg_tablespace s on s.oid = i.reltablespace
  left join pg_catalog.pg_class r on r.oid = c.conrelid
  left join pg_catalog.pg_type t on t.oid = c.contypid
 where c.contype in ('c', 'f', 'n', 'p', 'u', 'x') and not (c.contype = 'f' and c.conparentid <> 0)
   and {scope n}
   and (c.contype <> 'n' or c.connoinherit or not c.convalidated or (c.conislocal
     and c.conname::text <> coalesce(t.typname::text, r.relname::text || '_' ||
       (select a.attname::text from pg_catalog.pg_attribute a
         where a.attrelid = c.conrelid and a.attnum = c.conkey[1])) || '_not_null'))]]

local TYPES = {
  c = "check", f = "foreign key", n = "not null", p = "primary key", u = "unique", x = "exclusion",
}

return function(reading)
  for _, row in ipairs(reading:rows(SQL)) do
    reader.check_there(row.definition ~= nil, row.name)
    reader.spell(row, "type", TYPES)
    reader.sort(row.index_options)
    row.inherited = row._of_table and not row._is_local
    local owner
    if row._of_table then owner = reading.relations[row._relation] else owner = reading.types[row._type] end
    reading:attach(owner, "constraints", row.name, row)
  end
end
