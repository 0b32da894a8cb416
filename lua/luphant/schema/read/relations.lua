-- schema/read/relations.lua - tables of all sorts and views, without what hangs on them.
--
-- SPDX-License-Identifier: MIT

local reader = require "luphant.schema.reading"

local SQL = [[
select c.oid::int8 as _oid, format('%I.%I', n.nspname, c.relname) as _id, n.nspname::text as schema,
       c.relname::text as name, c.relkind::text as kind, c.relpersistence::text as persistence, {method},
       s.spcname::text as tablespace, c.reloptions as options, toast.reloptions as _toast_options,
       c.relreplident::text as replica_identity,
       (select i.relname::text from pg_catalog.pg_index x join pg_catalog.pg_class i on i.oid = x.indexrelid
         where x.indrelid = c.oid and x.indisreplident) as _replica_index,
       c.relrowsecurity as row_security, c.relforcerowsecurity as force_row_security,
       case when c.relkind = 'p' then pg_get_partkeydef(c.oid) end as partition_key,
       case when c.relispartition then pg_get_expr(c.relpartbound, c.oid) end as bound, {pending},
       array(select format('%I.%I', pn.nspname, p.relname)
               from pg_catalog.pg_inherits h
               join pg_catalog.pg_class p on p.oid = h.inhparent
               join pg_catalog.pg_namespace pn on pn.oid = p.relnamespace
              where h.inhrelid = c.oid order by h.inhseqno) as inherits,
       case when c.reloftype <> 0 then format_type(c.reloftype, null) end as of_type,
       case when c.relkind in ('v', 'm') then pg_get_viewdef(c.oid) end as definition,
       c.relkind = 'm' and not c.relispopulated as unpopulated,
       fs.srvname::text as server, ft.ftoptions as server_options,
       {owner c.relowner}, {comment c.oid pg_class}, {grants r c.relacl c.relowner}
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  left join pg_catalog.pg_tablespace s on s.oid = c.reltablespace
  left join pg_catalog.pg_class toast on toast.oid = c.reltoastrelid
  left join pg_catalog.pg_foreign_table ft on ft.ftrelid = c.oid
  left join pg_catalog.pg_foreign_server fs on fs.oid = ft.ftserver
  {joins}
 where c.relkind in ('r', 'p', 'f', 'v', 'm') and {scope n} and {own pg_class c.oid}]]

local KINDS = {
  r = "table", p = "partitioned table", f = "foreign table", v = "view", m = "materialized view",
}
local PERSISTENCE = { p = false, u = "unlogged", t = "temporary" }
local REPLICA_IDENTITY = { d = false, n = "nothing", f = "full" }

-- What differs between servers: access methods of tables came with 12, detaching without a lock with 14.
local function words(reading)
  local out = { method = "null::text as access_method", joins = "", pending = "false as detach_pending" }
  if reading:since(12) then
    out.method = "nullif(am.amname::text, 'heap') as access_method"
    out.joins = "left join pg_catalog.pg_am am on am.oid = c.relam"
  end
  if reading:since(14) then
    out.pending = [[exists (select from pg_catalog.pg_inherits h
      where h.inhrelid = c.oid and h.inhdetachpending) as detach_pending]]
  end
  return out
end

-- Storage parameters in one order, those of the TOAST table as one writes them.
local function options_of(row)
  local list = {}
  for _, option in ipairs(row.options or {}) do list[#list + 1] = option end
  for _, option in ipairs(row._toast_options or {}) do list[#list + 1] = "toast." .. option end
  reader.sort(list)
  return list
end

local function refine(row)
  row.options = options_of(row)
  reader.sort(row.server_options)
  if row.replica_identity == "i" then
    -- Without the index, rows are told apart by nothing.
    row.replica_identity = row._replica_index and "index " .. row._replica_index or "nothing"
  else
    reader.spell(row, "replica_identity", REPLICA_IDENTITY)
  end
  if row.kind == "v" or row.kind == "f" then row.replica_identity = nil end -- "n" is what they all have
  if row.bound then
    row.partition_of, row.inherits = row.inherits[1], nil
  end
  reader.spell(row, "persistence", PERSISTENCE)
  reader.spell(row, "kind", KINDS)
end

return function(reading)
  for _, row in ipairs(reading:rows(SQL, words(reading))) do
    local is_view = row.kind == "v" or row.kind == "m"
    reader.check_there(not is_view or row.definition ~= nil, row._id)
    refine(row)
    reading.relations[row._oid] = reading:put(is_view and "views" or "tables", row)
  end
end
