-- schema/read/sequences.lua - sequences; those of identity columns are told with the column. What a sequence has
-- counted up to is data.
--
-- SPDX-License-Identifier: MIT

local reader = require "luphant.schema.reading"

local SQL = [[
select format('%I.%I', n.nspname, c.relname) as _id, n.nspname::text as schema, c.relname::text as name,
       c.relpersistence::text as persistence, format_type(q.seqtypid, null) as type, q.seqstart::text as start,
       q.seqincrement::text as increment, q.seqmin::text as minimum, q.seqmax::text as maximum,
       q.seqcache::text as cache, q.seqcycle as cycle,
       case d.deptype when 'a' then format('%I.%I.%I', tn.nspname, t.relname, a.attname) end as owned_by,
       case d.deptype when 'i' then d.refobjid::int8 end as _relation, d.refobjsubid::int4 as _number,
       {owner c.relowner}, {comment c.oid pg_class}, {grants s c.relacl c.relowner}
  from pg_catalog.pg_sequence q
  join pg_catalog.pg_class c on c.oid = q.seqrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  left join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid
    and d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjsubid <> 0 and d.deptype in ('a', 'i')
  left join pg_catalog.pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
  left join pg_catalog.pg_class t on t.oid = a.attrelid
  left join pg_catalog.pg_namespace tn on tn.oid = t.relnamespace
 where {scope n} and {own pg_class c.oid}]]

local PERSISTENCE = { p = false, u = "unlogged", t = "temporary" }
local LARGEST = { smallint = "32767", integer = "2147483647", bigint = "9223372036854775807" }
local SMALLEST = { smallint = "-32768", integer = "-2147483648", bigint = "-9223372036854775808" }

-- What CREATE SEQUENCE would have chosen by itself is left out.
local function drop_defaults(row)
  local is_descending = row.increment:sub(1, 1) == "-"
  local minimum = is_descending and SMALLEST[row.type] or "1"
  local maximum = is_descending and "-1" or LARGEST[row.type]
  if row.start == (is_descending and row.maximum or row.minimum) then row.start = nil end
  if row.minimum == minimum then row.minimum = nil end
  if row.maximum == maximum then row.maximum = nil end
  if row.increment == "1" then row.increment = nil end
  if row.cache == "1" then row.cache = nil end
end

return function(reading)
  for _, row in ipairs(reading:rows(SQL)) do
    drop_defaults(row)
    reader.spell(row, "persistence", PERSISTENCE)
    if row._relation then
      local column = (reading.columns[row._relation] or {})[row._number]
      -- It has the type and the owner of the column's table.
      row.type, row.owner, row.schema = nil, nil, nil
      if column then column.sequence = reading:object(row) end
    else
      reading:put("sequences", row)
    end
  end
end
