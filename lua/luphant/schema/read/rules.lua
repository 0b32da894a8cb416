-- schema/read/rules.lua - rewrite rules, but for the one that makes a view a view.
--
-- SPDX-License-Identifier: MIT

local reader = require "luphant.schema.reading"

local SQL = [[
select r.ev_class::int8 as _relation, r.rulename::text as name, pg_get_ruledef(r.oid) as definition,
       r.ev_enabled::text as enabled, {comment r.oid pg_rewrite}
  from pg_catalog.pg_rewrite r
  join pg_catalog.pg_class c on c.oid = r.ev_class
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where r.rulename <> '_RETURN' and {scope n} and {own pg_rewrite r.oid}]]

local ENABLED = { O = false, D = "disabled", R = "replica", A = "always" }

return function(reading)
  for _, row in ipairs(reading:rows(SQL)) do
    reader.check_there(row.definition ~= nil, row.name)
    reader.spell(row, "enabled", ENABLED)
    reading:attach(reading.relations[row._relation], "rules", row.name, row)
  end
end
