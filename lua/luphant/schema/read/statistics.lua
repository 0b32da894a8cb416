-- schema/read/statistics.lua - extended statistics, with the table they are about.
--
-- SPDX-License-Identifier: MIT

local reader = require "luphant.schema.reading"

local SQL = [[
select x.stxrelid::int8 as _relation, format('%I.%I', n.nspname, x.stxname) as _id, n.nspname::text as schema,
       x.stxname::text as name, pg_get_statisticsobjdef(x.oid) as definition, {target} as target,
       {owner x.stxowner}, {comment x.oid pg_statistic_ext}
  from pg_catalog.pg_statistic_ext x
  join pg_catalog.pg_namespace n on n.oid = x.stxnamespace
 where {scope n} and {own pg_statistic_ext x.oid}]]

return function(reading)
  local words = { target = reading:since(13) and "nullif(x.stxstattarget::int4, -1)" or "null::int4" }
  for _, row in ipairs(reading:rows(SQL, words)) do
    reader.check_there(row.definition ~= nil, row._id)
    reading:attach(reading.relations[row._relation], "statistics", row._id, row)
  end
end
