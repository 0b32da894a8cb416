-- schema/read/replication.lua - publications and subscriptions. How a subscription connects is not told: it may hold
-- a password, and only superusers can read it.
--
-- SPDX-License-Identifier: MIT

local reader = require "luphant.schema.reading"

local PUBLICATIONS = [[
select quote_ident(p.pubname) as _id, p.pubname::text as name, p.puballtables as all_tables,
       array_remove(array[case when p.pubinsert then 'insert' end, case when p.pubupdate then 'update' end,
         case when p.pubdelete then 'delete' end, case when p.pubtruncate then 'truncate' end], null) as publish,
       {via_root} as via_root, {generated} as generated_columns,
       array(select format('%I.%I', n.nspname, c.relname){row_filter}
               from pg_catalog.pg_publication_rel r
               join pg_catalog.pg_class c on c.oid = r.prrelid
               join pg_catalog.pg_namespace n on n.oid = c.relnamespace
              where r.prpubid = p.oid) as tables,
       {schemas} as schemas, {owner p.pubowner}, {comment p.oid pg_publication}
  from pg_catalog.pg_publication p
 where {own pg_publication p.oid}]]

local ROW_FILTER = [[ ||
         case when r.prattrs is not null then ' (' || (select string_agg(quote_ident(a.attname), ', ' order by a.attnum)
            from pg_catalog.pg_attribute a where a.attrelid = r.prrelid and a.attnum = any (r.prattrs)) || ')'
           else '' end ||
         coalesce(' where ' || pg_get_expr(r.prqual, r.prrelid), '')]]

local SCHEMAS = [[array(select n.nspname::text from pg_catalog.pg_publication_namespace s
          join pg_catalog.pg_namespace n on n.oid = s.pnnspid where s.pnpubid = p.oid)]]

local SUBSCRIPTIONS = [[
select quote_ident(s.subname) as _id, s.subname::text as name, s.subenabled as enabled, s.subslotname::text as slot,
       s.subpublications as publications, {owner s.subowner}{remark}
  from pg_catalog.pg_subscription s
 where s.subdbid = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())]]

local GENERATED = { n = false, s = "stored" }

local function publications(reading)
  local has_more = reading:since(15)
  local rows = reading:rows(PUBLICATIONS, {
    via_root = reading:since(13) and "p.pubviaroot" or "false",
    generated = reading:since(18) and "p.pubgencols::text" or "null::text",
    ["schemas"] = has_more and SCHEMAS or "null::text[]",
    row_filter = has_more and ROW_FILTER or "",
  })
  for _, row in ipairs(rows) do
    reader.spell(row, "generated_columns", GENERATED)
    reader.sort(row.tables)
    reader.sort(row.schemas)
    reading:put("publications", row)
  end
end

local function subscriptions(reading)
  local remark = ""
  -- Before 14 nobody but superusers could read the column oid here.
  if reading.with.comments and reading:since(14) then
    remark = ", obj_description(s.oid, 'pg_subscription') as comment"
  end
  for _, row in ipairs(reading:rows(SUBSCRIPTIONS, { remark = remark })) do
    reader.sort(row.publications)
    reading:put("subscriptions", row)
  end
end

return function(reading)
  if not reading.is_whole then return end
  publications(reading)
  subscriptions(reading)
end
