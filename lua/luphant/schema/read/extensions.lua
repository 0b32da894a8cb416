-- schema/read/extensions.lua - extensions, each with the objects that came with it: those stand nowhere else.
--
-- SPDX-License-Identifier: MIT

local sort = require("luphant.schema.reading").sort

local SQL = [[
select e.extname::text as name, quote_ident(e.extname) as _id, e.extversion as version, n.nspname::text as schema,
       array(select m.type || ' ' || m.identity
               from pg_catalog.pg_depend d, pg_identify_object(d.classid, d.objid, 0) m
              where d.refclassid = 'pg_catalog.pg_extension'::regclass and d.refobjid = e.oid and d.deptype = 'e'
            ) as members,
       {owner e.extowner}, {comment e.oid pg_extension}
  from pg_catalog.pg_extension e
  join pg_catalog.pg_namespace n on n.oid = e.extnamespace]]

return function(reading)
  if not reading.is_whole then return end
  for _, row in ipairs(reading:rows(SQL)) do
    sort(row.members)
    reading:put("extensions", row)
  end
end
