-- luphant.migrate.lint.observe - what one statement did: locks, files written anew, tables read.
--
-- Looks with the session that runs the statement, before its transaction ends: pg_locks, the file of each relation,
-- and the counters of scans. Where the role may make one, an event trigger tells rewrites as well. Names are taken
-- before the statement, because a dropped table has none afterwards.
--
-- SPDX-License-Identifier: MIT

local M = {}

-- Everything that was there and is not the server's own.
local RELATIONS = [[
select c.oid::text as id, n.nspname as schema, c.relname as name, c.relkind::text as kind,
       pg_relation_filenode(c.oid)::text as file, pg_stat_get_xact_numscans(c.oid)::float8 as scans,
       i.indrelid::text as table_id
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  left join pg_index i on i.indexrelid = c.oid
 where c.relkind in ('r', 'p', 'm', 'v', 'i', 'I', 'S') and c.oid >= 16384
   and n.nspname not in ('luphant_trace', 'information_schema') and n.nspname !~ '^pg_toast']]

local LOCKS = [[
select l.relation::text as id, l.mode
  from pg_locks l
 where l.pid = pg_backend_pid() and l.locktype = 'relation' and l.granted and l.relation >= 16384
 order by 1, 2]]

local TRIGGER = [[
create schema luphant_trace;
create function luphant_trace.note() returns event_trigger language plpgsql as $$
begin
  perform set_config('luphant.rewrites', coalesce(current_setting('luphant.rewrites', true), '') || ' '
    || pg_event_trigger_table_rewrite_oid()::oid::text, true);
end $$;
create event trigger luphant_trace_rewrite on table_rewrite execute function luphant_trace.note();]]

--- Sets up the event trigger, where the role may.
---@param conn table
---@return boolean is_there
function M.prepare(conn)
  return conn:script(TRIGGER) ~= nil
end

local function by_id(rows)
  local map = {}
  for _, row in ipairs(rows) do map[row.id] = row end
  return map
end

---@class (exact) luphant.migrate.lint.Snapshot
---@field relations table<string, table>
---@field locks table<string, boolean> "id mode"
---@field list table[]

--- The state of things, in the current transaction.
---@param conn table
---@return luphant.migrate.lint.Snapshot? snapshot
---@return table? err
function M.snapshot(conn)
  local rows, err = conn:query(RELATIONS)
  if not rows then return nil, err end
  local locks
  locks, err = conn:query(LOCKS)
  if not locks then return nil, err end
  local rewrites
  rewrites, err = conn:query_value "select coalesce(current_setting('luphant.rewrites', true), '')"
  if rewrites == nil and err then return nil, err end
  local held = {}
  for _, lock in ipairs(locks) do held[lock.id .. " " .. lock.mode] = true end
  return { relations = by_id(rows), locks = held, list = locks, rewrites = rewrites }
end

local function name_of(row) return row.schema == "public" and row.name or row.schema .. "." .. row.name end

local TABLES = { r = true, p = true, m = true, v = true }

-- What changed about one relation.
local function compare(out, old, new)
  if TABLES[old.kind] then
    if new and old.file ~= new.file and new.file then out.rewritten[#out.rewritten + 1] = name_of(old) end
    if new and (new.scans or 0) > (old.scans or 0) then out.scanned[#out.scanned + 1] = name_of(old) end
  elseif old.kind == "i" and new and old.file ~= new.file then
    out.built[#out.built + 1] = name_of(old)
  end
end

---@class (exact) luphant.migrate.lint.Observation
---@field locks { relation: string, mode: string }[] new ones, on relations older than the migration
---@field held { relation: string, mode: string }[] all that are held after the statement
---@field rewritten string[]
---@field scanned string[]
---@field built string[] indexes written

local function sorted(list)
  table.sort(list)
  return list
end

local function lock_lists(origin, before, after)
  local new, held = {}, {}
  for _, lock in ipairs(after.list) do
    local row = origin.relations[lock.id]
    if row and TABLES[row.kind] then
      local item = { relation = name_of(row), mode = lock.mode }
      held[#held + 1] = item
      if not before.locks[lock.id .. " " .. lock.mode] then new[#new + 1] = item end
    end
  end
  return new, held
end

-- Indexes that are new on tables that were there. One made again over the old file (ALTER COLUMN TYPE does so where the
-- order of values stays) has not been built.
local function new_indexes(out, origin, before, after)
  local old_files = {}
  for _, row in pairs(before.relations) do old_files[row.file or ""] = true end
  for id, row in pairs(after.relations) do
    local is_new = row.kind == "i" and not before.relations[id] and not old_files[row.file or ""]
    if is_new and origin.relations[row.table_id] then
      out.built[#out.built + 1] = name_of(row)
    end
  end
end

--- The difference a statement made.
---@param origin luphant.migrate.lint.Snapshot before the migration
---@param before luphant.migrate.lint.Snapshot
---@param after luphant.migrate.lint.Snapshot
---@return luphant.migrate.lint.Observation
function M.difference(origin, before, after)
  local out = { rewritten = {}, scanned = {}, built = {} }
  out.locks, out.held = lock_lists(origin, before, after)
  for id in pairs(origin.relations) do
    if before.relations[id] then compare(out, before.relations[id], after.relations[id]) end
  end
  new_indexes(out, origin, before, after)
  sorted(out.rewritten)
  sorted(out.scanned)
  sorted(out.built)
  local noted = after.rewrites:sub(#before.rewrites + 1)
  out.noted = {} -- what the event trigger said
  for id in noted:gmatch "%d+" do
    local row = origin.relations[id]
    if row then out.noted[#out.noted + 1] = name_of(row) end
  end
  return out
end

return M
