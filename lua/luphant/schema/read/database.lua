-- schema/read/database.lua - the database itself: who may connect to it and make things in it. Its name and owner are
-- those of the place, not of the schema.
--
-- SPDX-License-Identifier: MIT

local SQL = [[
select {remark}, {grants d d.datacl d.datdba}
  from pg_catalog.pg_database d
 where d.datname = current_database()]]

return function(reading)
  if not reading.is_whole then return end
  local remark = reading.with.comments and "shobj_description(d.oid, 'pg_database') as comment"
    or "null::text as comment"
  reading.snapshot.database = reading:object(reading:rows(SQL, { remark = remark })[1])
end
