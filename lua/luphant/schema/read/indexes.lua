-- schema/read/indexes.lua - indexes, but for those a constraint has made: they are told with the constraint.
--
-- SPDX-License-Identifier: MIT

local reader = require "luphant.schema.reading"

local SQL = [[
select x.indrelid::int8 as _relation, format('%I.%I', n.nspname, i.relname) as _id, n.nspname::text as schema,
       i.relname::text as name, pg_get_indexdef(x.indexrelid) as definition, x.indisunique as unique,
       am.amname::text as method,
       array(select pg_get_indexdef(x.indexrelid, k, false) from generate_series(1, x.indnkeyatts::int4) k) as columns,
       array(select pg_get_indexdef(x.indexrelid, k, false)
               from generate_series(x.indnkeyatts + 1, x.indnatts::int4) k) as include,
       pg_get_expr(x.indpred, x.indrelid) as where, x.indisclustered as clustered,
       not x.indisvalid as invalid, s.spcname::text as tablespace,
       array(select a.attnum || ': ' || a.attstattarget from pg_catalog.pg_attribute a
              where a.attrelid = x.indexrelid and a.attstattarget >= 0 order by a.attnum) as statistics,
       (select format('%I.%I', pn.nspname, p.relname)
          from pg_catalog.pg_inherits h
          join pg_catalog.pg_class p on p.oid = h.inhparent
          join pg_catalog.pg_namespace pn on pn.oid = p.relnamespace
         where h.inhrelid = x.indexrelid) as parent,
       {comment x.indexrelid pg_class}
  from pg_catalog.pg_index x
  join pg_catalog.pg_class i on i.oid = x.indexrelid
  join pg_catalog.pg_namespace n on n.oid = i.relnamespace
  join pg_catalog.pg_am am on am.oid = i.relam
  left join pg_catalog.pg_tablespace s on s.oid = i.reltablespace
 where {scope n} and {own pg_class x.indexrelid}
   and not exists (select from pg_catalog.pg_constraint c
                    where c.conindid = x.indexrelid and c.contype in ('p', 'u', 'x'))]]

return function(reading)
  for _, row in ipairs(reading:rows(SQL)) do
    reader.check_there(row.definition ~= nil, row._id)
    reading:attach(reading.relations[row._relation], "indexes", row._id, row)
  end
end
