-- schema/read/triggers.lua - triggers. Clones that partitions have of their parent's triggers are left out, unless one
-- was switched on or off by itself.
--
-- SPDX-License-Identifier: MIT

local reader = require "luphant.schema.reading"

local SQL = [[
select t.tgrelid::int8 as _relation, t.tgname::text as name, pg_get_triggerdef(t.oid, false) as definition,
       t.tgenabled::text as enabled, {comment t.oid pg_trigger}
  from pg_catalog.pg_trigger t
  join pg_catalog.pg_class c on c.oid = t.tgrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  left join pg_catalog.pg_trigger parent on parent.oid = {parent}
 where {scope n} and {own pg_trigger t.oid}
   and ((not t.tgisinternal and parent.oid is null) or t.tgenabled <> parent.tgenabled)]]

-- Before 13 a clone knows its parent by a dependency only.
local OLD_PARENT = [[(select d.refobjid from pg_catalog.pg_depend d
   where d.classid = 'pg_catalog.pg_trigger'::regclass and d.objid = t.oid
     and d.refclassid = 'pg_catalog.pg_trigger'::regclass)]]

local ENABLED = { O = false, D = "disabled", R = "replica", A = "always" }

return function(reading)
  local words = { parent = reading:since(13) and "nullif(t.tgparentid, 0)" or OLD_PARENT }
  for _, row in ipairs(reading:rows(SQL, words)) do
    reader.check_there(row.definition ~= nil, row.name)
    reader.spell(row, "enabled", ENABLED)
    reading:attach(reading.relations[row._relation], "triggers", row.name, row)
  end
end
