-- schema/read/conversions.lua - conversions between encodings.
--
-- SPDX-License-Identifier: MIT

local SQL = [[
select format('%I.%I', n.nspname, c.conname) as _id, n.nspname::text as schema, c.conname::text as name,
       pg_encoding_to_char(c.conforencoding)::text as source, pg_encoding_to_char(c.contoencoding)::text as target,
       c.conproc::oid::regprocedure::text as function, c.condefault as is_default,
       {owner c.conowner}, {comment c.oid pg_conversion}
  from pg_catalog.pg_conversion c
  join pg_catalog.pg_namespace n on n.oid = c.connamespace
 where {scope n} and {own pg_conversion c.oid}]]

return function(reading)
  for _, row in ipairs(reading:rows(SQL)) do reading:put("conversions", row) end
end
