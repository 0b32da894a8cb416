-- schema/read/defaults.lua - what holds for objects and sessions to come: default privileges, settings of the database.
--
-- SPDX-License-Identifier: MIT

local reader = require "luphant.schema.reading"

-- Global entries stand in place of the server's defaults, those of a schema come on top.
local PRIVILEGES = [[
select quote_ident(pg_get_userbyid(d.defaclrole)) as _role, ' in ' || quote_ident(n.nspname) as _place,
       pg_get_userbyid(d.defaclrole)::text as role, n.nspname::text as schema, d.defaclobjtype::text as objects,
       {privileges}
  from pg_catalog.pg_default_acl d
  left join pg_catalog.pg_namespace n on n.oid = d.defaclnamespace]]

local SETTINGS = [[
select coalesce('role ' || quote_ident(r.rolname), 'all roles') as _id, s.setconfig as settings
  from pg_catalog.pg_db_role_setting s
  left join pg_catalog.pg_roles r on r.oid = s.setrole
 where s.setdatabase = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())]]

-- acldefault has its own letter for sequences; for columns it is empty.
local DEFAULT = [[acldefault(case when d.defaclnamespace <> 0 then 'c'::"char"
    when d.defaclobjtype = 'S' then 's'::"char" else d.defaclobjtype end, d.defaclrole)]]

local TYPES = {
  r = "tables", S = "sequences", f = "functions", T = "types", n = "schemas", L = "large objects",
}

return function(reading)
  if not reading.is_whole then return end
  if reading.with.grants then
    local words = { privileges = reader.grants("d.defaclacl", DEFAULT, "d.defaclrole") }
    for _, row in ipairs(reading:rows(PRIVILEGES, words)) do
      reader.spell(row, "objects", TYPES)
      row._id = ("%s of %s%s"):format(row.objects, row._role, row._place or "")
      reading:put("default_privileges", row)
    end
  end
  for _, row in ipairs(reading:rows(SETTINGS)) do
    reader.sort(row.settings)
    reading:put("settings", row)
  end
end
