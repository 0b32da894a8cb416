-- schema/read/schemas.lua - namespaces.
--
-- SPDX-License-Identifier: MIT

local SQL = [[
select n.nspname::text as name, quote_ident(n.nspname) as _id, {owner n.nspowner}, {comment n.oid pg_namespace},
       {grants n n.nspacl n.nspowner}
  from pg_catalog.pg_namespace n
 where {scope n} and {own pg_namespace n.oid}]]

return function(reading)
  for _, row in ipairs(reading:rows(SQL)) do reading:put("schemas", row) end
end
