-- schema/read/event_triggers.lua - event triggers.
--
-- SPDX-License-Identifier: MIT

local reader = require "luphant.schema.reading"

local SQL = [[
select quote_ident(t.evtname) as _id, t.evtname::text as name, t.evtevent::text as event,
       t.evtfoid::regprocedure::text as function, t.evtenabled::text as enabled, t.evttags as tags,
       {owner t.evtowner}, {comment t.oid pg_event_trigger}
  from pg_catalog.pg_event_trigger t
 where {own pg_event_trigger t.oid}]]

local ENABLED = { O = false, D = "disabled", R = "replica", A = "always" }

return function(reading)
  if not reading.is_whole then return end
  for _, row in ipairs(reading:rows(SQL)) do
    reader.spell(row, "enabled", ENABLED)
    reader.sort(row.tags)
    reading:put("event_triggers", row)
  end
end
