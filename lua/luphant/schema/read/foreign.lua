-- schema/read/foreign.lua - foreign data: wrappers, servers, user mappings. Of a user mapping only the names of the
-- options are told: their values are how one logs in elsewhere.
--
-- SPDX-License-Identifier: MIT

local sort = require("luphant.schema.reading").sort

local WRAPPERS = [[
select quote_ident(w.fdwname) as _id, w.fdwname::text as name, w.fdwoptions as options,
       nullif(w.fdwhandler::regprocedure::text, '-') as handler,
       nullif(w.fdwvalidator::regprocedure::text, '-') as validator,
       {owner w.fdwowner}, {comment w.oid pg_foreign_data_wrapper}, {grants F w.fdwacl w.fdwowner}
  from pg_catalog.pg_foreign_data_wrapper w
 where {own pg_foreign_data_wrapper w.oid}]]

local SERVERS = [[
select quote_ident(s.srvname) as _id, s.srvname::text as name, w.fdwname::text as wrapper, s.srvtype as type,
       s.srvversion as version, s.srvoptions as options,
       {owner s.srvowner}, {comment s.oid pg_foreign_server}, {grants S s.srvacl s.srvowner}
  from pg_catalog.pg_foreign_server s
  join pg_catalog.pg_foreign_data_wrapper w on w.oid = s.srvfdw
 where {own pg_foreign_server s.oid}]]

-- The view shows the options to those who may see them.
local MAPPINGS = [[
select format('%s on %I', case m.umuser when 0 then 'public' else quote_ident(m.usename) end, m.srvname) as _id,
       case m.umuser when 0 then 'public' else m.usename::text end as user, m.srvname::text as server,
       array(select o.option_name::text from pg_options_to_table(m.umoptions) o) as option_names
  from pg_catalog.pg_user_mappings m]]

return function(reading)
  if not reading.is_whole then return end
  for _, row in ipairs(reading:rows(WRAPPERS)) do
    sort(row.options)
    reading:put("foreign_data_wrappers", row)
  end
  for _, row in ipairs(reading:rows(SERVERS)) do
    sort(row.options)
    reading:put("servers", row)
  end
  for _, row in ipairs(reading:rows(MAPPINGS)) do
    sort(row.option_names)
    reading:put("user_mappings", row)
  end
end
