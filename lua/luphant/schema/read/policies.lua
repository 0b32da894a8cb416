-- schema/read/policies.lua - policies of row level security.
--
-- SPDX-License-Identifier: MIT

local reader = require "luphant.schema.reading"

local SQL = [[
select p.polrelid::int8 as _relation, p.polname::text as name, p.polcmd::text as command,
       not p.polpermissive as restrictive,
       array(select case r when 0 then 'public' else pg_get_userbyid(r)::text end from unnest(p.polroles) r) as roles,
       pg_get_expr(p.polqual, p.polrelid) as using, pg_get_expr(p.polwithcheck, p.polrelid) as check,
       {comment p.oid pg_policy}
  from pg_catalog.pg_policy p
  join pg_catalog.pg_class c on c.oid = p.polrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where {scope n}]]

local COMMANDS = { ["*"] = "all", r = "select", a = "insert", w = "update", d = "delete" }

return function(reading)
  for _, row in ipairs(reading:rows(SQL)) do
    reader.spell(row, "command", COMMANDS)
    reader.sort(row.roles)
    reading:attach(reading.relations[row._relation], "policies", row.name, row)
  end
end
