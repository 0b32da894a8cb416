-- luphant.migrate.lint.facts - what a database knows and the text of a migration does not: how many rows a table has,
-- types of columns, indexes and whether they are valid, constraints, partitions, and which functions are volatile.
--
-- Reads catalogs only. A read-only role on the production database is the best source: row counts are estimates of its
-- last ANALYZE.
--
-- SPDX-License-Identifier: MIT

local M = {}

---@class (exact) luphant.migrate.lint.Facts
---@field relations? table[] each { schema, name, kind, rows, columns, indexes, constraints, parent, ... }
---@field functions? table<string, "v"|"s"|"i"> volatility by name
---@field counted_days? number for how long the server has counted who reads which index

local KINDS = { r = "table", p = "table", v = "view", m = "materialized view", f = "foreign table" }

local RELATIONS = [[
select c.oid::text as id, n.nspname as schema, c.relname as name, c.relkind::text as kind,
       greatest(c.reltuples, 0)::float8 as rows, p.relname as parent, d.relname as default_partition
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  left join pg_inherits i on i.inhrelid = c.oid and c.relispartition
  left join pg_class p on p.oid = i.inhparent
  left join pg_partitioned_table t on t.partrelid = c.oid
  left join pg_class d on d.oid = t.partdefid
 where c.relkind in ('r', 'p', 'v', 'm', 'f')
   and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)'
 order by 2, 3]]

local COLUMNS = [[
select a.attrelid::text as id, a.attname as name, format_type(a.atttypid, a.atttypmod) as type,
       a.attnotnull as not_null, pg_get_expr(d.adbin, d.adrelid) as "default"
  from pg_attribute a
  join pg_class c on c.oid = a.attrelid
  left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
 where a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'p', 'v', 'm', 'f') and c.oid >= 16384
 order by 1, a.attnum]]

local INDEXES = [[
select i.indrelid::text as id, c.relname as name, i.indisunique as "unique", i.indisvalid as valid,
       i.indpred is not null as partial, s.idx_scan::float8 as reads,
       substr(pg_get_indexdef(i.indexrelid), position(' USING ' in pg_get_indexdef(i.indexrelid)) + 1) as definition,
       array(select coalesce(a.attname, '') from unnest(i.indkey::int2[]) with ordinality as k (attnum, place)
               left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum and k.attnum > 0
              where k.place <= i.indnkeyatts order by k.place)::text[] as columns
  from pg_index i
  join pg_class c on c.oid = i.indexrelid
  left join pg_stat_all_indexes s on s.indexrelid = i.indexrelid
 where i.indexrelid >= 16384
 order by 1, 2]]

local CONSTRAINTS = [[
select o.conrelid::text as id, o.conname as name, o.contype::text as kind, o.convalidated as validated,
       case when o.contype = 'c' then pg_get_expr(o.conbin, o.conrelid) end as expression,
       n.nspname as other_schema, f.relname as other,
       array(select a.attname from unnest(o.conkey) with ordinality as k (attnum, place)
               join pg_attribute a on a.attrelid = o.conrelid and a.attnum = k.attnum
              order by k.place)::text[] as columns
  from pg_constraint o
  left join pg_class f on f.oid = o.confrelid
  left join pg_namespace n on n.oid = f.relnamespace
 where o.conrelid >= 16384 and o.contype in ('c', 'f', 'p', 'u', 'x')
 order by 1, 2]]

-- Of the server's own functions only the volatile ones are asked for: the rest are taken to be steady by name.
local FUNCTIONS = [[
select p.proname as name, max(p.provolatile::text) as volatility
  from pg_proc p
 where p.prokind = 'f' and (p.oid >= 16384 or p.provolatile = 'v')
 group by 1]]

-- Since the counters were set back, or the server was started for the first time.
local COUNTED = [[
select extract(epoch from now() - coalesce(stats_reset, pg_postmaster_start_time()))::float8 / 86400
  from pg_stat_database where datname = current_database()]]

local CONSTRAINT_KINDS = { c = "check", f = "foreign_key", p = "primary_key", u = "unique", x = "exclude" }

local function rows_of(conn, sql)
  local result, err = conn:query(sql)
  if not result then return nil, err end
  return result
end

local function index_relations(rows)
  local list, by_id = {}, {}
  for i, row in ipairs(rows) do
    list[i] = {
      schema = row.schema, name = row.name, kind = KINDS[row.kind], rows = row.rows, parent = row.parent,
      default_partition = row.default_partition, is_partitioned = row.kind == "p",
      columns = {}, indexes = {}, constraints = {},
    }
    by_id[row.id] = list[i]
  end
  return list, by_id
end

local function plain_list(array, empty)
  local list = {}
  for i = 1, #array do
    local item = array[i]
    if item == "" then item = empty end
    list[i] = item
  end
  return list
end

local function add_all(rows, by_id, field, make)
  for _, row in ipairs(rows) do
    local relation = by_id[row.id]
    local list = relation and relation[field]
    if list then list[#list + 1] = make(row) end
  end
end

local function column_of(row)
  return { name = row.name, type = row.type, not_null = row.not_null, default = row.default }
end

local function index_of(row)
  return { name = row.name, unique = row.unique, valid = row.valid, partial = row.partial, definition = row.definition,
    reads = row.reads, columns = plain_list(row.columns, false) }
end

local function constraint_of(row)
  return {
    name = row.name, kind = CONSTRAINT_KINDS[row.kind], validated = row.validated, expression = row.expression,
    columns = plain_list(row.columns), references = row.other and { schema = row.other_schema, name = row.other,
      text = row.other, from = 1 } or nil,
  }
end

--- Reads the facts of a database.
---@param conn table a connection
---@return luphant.migrate.lint.Facts? facts
---@return table? err
function M.read(conn)
  local found = {}
  for name, sql in pairs { relations = RELATIONS, columns = COLUMNS, indexes = INDEXES, constraints = CONSTRAINTS,
    functions = FUNCTIONS } do
    local rows, err = rows_of(conn, sql)
    if not rows then return nil, err end
    found[name] = rows
  end
  local relations, by_id = index_relations(found.relations)
  add_all(found.columns, by_id, "columns", column_of)
  add_all(found.indexes, by_id, "indexes", index_of)
  add_all(found.constraints, by_id, "constraints", constraint_of)
  local functions = {}
  for _, row in ipairs(found.functions) do functions[row.name] = row.volatility end
  local days, err = conn:query_value(COUNTED)
  if err then return nil, err end
  return { relations = relations, functions = functions, counted_days = days }
end

return M
