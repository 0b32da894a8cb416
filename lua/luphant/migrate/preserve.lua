-- luphant.migrate.preserve - copies of the rows that a statement is about to destroy or overwrite.
--
-- They go as JSON into one table, <schema>.kept, in the transaction of the statement: a copy of the table itself would
-- hold on to types that the migration drops next. What goes as a whole is copied before; what is deleted or updated is
-- caught by triggers that exist for that statement only, so that also rows are kept that a foreign key takes along.
-- jsonb_populate_record makes rows of them again.
--
-- SPDX-License-Identifier: MIT

local history = require "luphant.migrate.history"
local losses = require "luphant.migrate.losses"
local tables = require "luphant.migrate.tables"

local M = {}

local function about(step, event)
  event.kind, event.version, event.name, event.file = step.kind, step.version, step.name, step.file
  return event
end

-- ---- the table ----------------------------------------------------------------------------------------------

-- The function writes as whoever made it: a migration may have changed its role.
local KEPT = [[
create table if not exists %(kept) (
  id        bigint generated always as identity primary key,
  kept_at   timestamptz not null default clock_timestamp(),
  run_id    uuid, tenant text not null, kind text not null, version text not null, statement integer not null,
  relation  text not null,
  row       jsonb not null
);
comment on table %(kept) is 'Rows that migrations with --preserve have destroyed. Delete them when nobody needs them.';
create or replace function %(keep)() returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $keep$
begin
  insert into %(kept) (run_id, tenant, kind, version, statement, relation, row)
  select tg_argv[0]::uuid, tg_argv[1], tg_argv[2], tg_argv[3], tg_argv[4]::integer, tg_argv[5], to_jsonb(gone)
    from luphant_gone gone;
  return null;
end $keep$]]

local function names_of(place)
  local prefix = tables.quote(place.schema) .. "."
  return { kept = prefix .. "kept", keep = prefix .. "keep" }
end

local function filled(text, names) return (text:gsub("%%%((%w+)%)", names)) end

local function make_table(tx, place)
  local names = names_of(place)
  local there, err = tx:query_value("select to_regclass($1) is not null", names.kept)
  if there or err then return there, err end
  return tx:script(filled(KEPT, names))
end

-- ---- which relations ----------------------------------------------------------------------------------------

-- A table with its partitions and heirs, and with who refers to it: by foreign keys that take along, or by any where
-- all rows go. $2: 'none', 'all', or 'actions' that change rows.
local TABLES = [[
with recursive found (id) as (
  select $1::text::oid
  union
  select x.id from found f, lateral (
    select inhrelid from pg_inherits where inhparent = f.id
    union all
    select conrelid from pg_constraint
     where confrelid = f.id and contype = 'f'
       and ($2 = 'all' or $2 = 'actions' and (confdeltype in ('c', 'n', 'd') or confupdtype in ('c', 'n', 'd')))
  ) x (id))
select c.oid::text as id, format('%I.%I', n.nspname, c.relname) as name
  from found f join pg_class c on c.oid = f.id join pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p') order by 2]]

local function relations(tx, name, following)
  local id, err = tx:query_value("select to_regclass($1)::oid::text", name)
  if err then return nil, err end
  if not id then return {} end -- the statement will say so, or IF EXISTS is content
  return tx:query(TABLES, id, following)
end

-- ---- copies -------------------------------------------------------------------------------------------------

local COPY = [[
insert into %s (run_id, tenant, kind, version, statement, relation, row)
select $1, $2, $3, $4, $5, $6, %s from only %s t where %s]]

local function copy(work, relation, row, condition)
  return work.tx:execute(COPY:format(work.names.kept, row, relation.name, condition), work.session.run_id,
    work.session.place.tenant, work.step.kind, work.step.version, work.index, relation.name)
end

local KEY = [[
select quote_ident(a.attname) as name, quote_literal(a.attname) as label
  from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey)
 where i.indrelid = $1::text::oid and i.indisprimary order by a.attnum]]

local function has_column(work, relation, column)
  return work.tx:query_value([[select exists(select from pg_attribute
    where attrelid = $1::text::oid and attname = $2 and not attisdropped and attnum > 0)]], relation.id, column)
end

-- The key and the value; the whole row where there is no key. NULL is no loss.
local function copy_column(work, relation, column)
  local there, err = has_column(work, relation, column)
  if not there then return err == nil, err end
  local key
  key, err = work.tx:query(KEY, relation.id)
  if not key then return nil, err end
  local quoted = tables.quote(column)
  local row = "to_jsonb(t)"
  if #key > 0 then
    local pairs_of = { ("'%s', t.%s"):format(column:gsub("'", "''"), quoted) }
    for i, item in ipairs(key) do pairs_of[i + 1] = ("%s, t.%s"):format(item.label, item.name) end
    row = ("jsonb_build_object(%s)"):format(table.concat(pairs_of, ", "))
  end
  return copy(work, relation, row, ("t.%s is not null"):format(quoted))
end

local function each(list, err, fn)
  if not list then return nil, err end
  for _, item in ipairs(list) do
    local ok, why = fn(item)
    if not ok then return nil, why end
  end
  return true
end

local BEFORE = {}

function BEFORE.rows(work, loss)
  local list, err = relations(work.tx, loss.name, loss.with_cascade and "all" or "none")
  return each(list, err, function(relation) return copy(work, relation, "to_jsonb(t)", "true") end)
end

function BEFORE.column(work, loss)
  local list, err = relations(work.tx, loss.name, "none")
  return each(list, err, function(relation) return copy_column(work, relation, loss.column) end)
end

function BEFORE.schema(work, loss)
  local list, err = work.tx:query([[
    select c.oid::text as id, format('%I.%I', n.nspname, c.relname) as name
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'p') and n.oid = to_regnamespace($1) order by 2]], loss.name)
  return each(list, err, function(relation) return copy(work, relation, "to_jsonb(t)", "true") end)
end

function BEFORE.type(work, loss)
  local list, err = work.tx:query([[
    select c.oid::text as id, format('%I.%I', n.nspname, c.relname) as name, a.attname as column
      from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
      join pg_type t on t.oid = a.atttypid
     where c.relkind in ('r', 'p') and not a.attisdropped and to_regtype($1)::oid in (t.oid, t.typelem)
     order by 2, 3]], loss.name)
  return each(list, err, function(relation) return copy_column(work, relation, relation.column) end)
end

-- ---- triggers -----------------------------------------------------------------------------------------------

local TRIGGERS = { luphant_keep_deleted = "delete", luphant_keep_updated = "update" }

local function literal(text) return "'" .. text:gsub("'", "''") .. "'" end

function BEFORE.changes(work, loss)
  local list, err = relations(work.tx, loss.name, "actions")
  return each(list, err, function(relation)
    if work.watched[relation.id] then return true end
    work.watched[relation.id] = relation.name
    local session, step = work.session, work.step
    local lines = {}
    for name, verb in pairs(TRIGGERS) do
      lines[#lines + 1] = ([[create trigger %s after %s on %s referencing old table as luphant_gone
        for each statement execute function %s(%s, %s, %s, %s, '%d', %s)]]):format(name, verb, relation.name,
        work.names.keep, literal(session.run_id), literal(session.place.tenant), literal(step.kind),
        literal(step.version), work.index, literal(relation.name))
    end
    return work.tx:script(table.concat(lines, ";\n"))
  end)
end

local function drop_triggers(work)
  for _, name in pairs(work.watched) do
    for trigger in pairs(TRIGGERS) do
      local ok, err = work.tx:script(("drop trigger if exists %s on %s"):format(trigger, name))
      if not ok then return nil, err end
    end
  end
  return true
end

-- ---- around a statement -------------------------------------------------------------------------------------

-- What was kept, for the listeners and for the history.
local function tell(work)
  local session, step = work.session, work.step
  local list, err = work.tx:query(([[
    select relation, count(*)::int as rows from %s
     where run_id = $1 and tenant = $2 and kind = $3 and version = $4 and statement = $5
     group by relation order by relation]]):format(work.names.kept), session.run_id, session.place.tenant, step.kind,
    step.version, work.index)
  if not list then return nil, err end
  if #list == 0 then return true end
  session.emit(about(step, { event = "preserved", statement = work.index, relations = list }))
  return history.tell(work.tx, session.place, {
    run_id = session.run_id, action = "preserve", kind = step.kind, version = step.version, name = step.name,
    reason = session.options.reason, detail = { statement = work.index, relations = list },
  })
end

-- A migration may have changed its role; what is ours is done by whoever runs migrations.
local function as_runner(work, fn)
  local role, err = work.tx:query_value "select nullif(current_user, session_user)::text"
  if err then return nil, err end
  local ok = true
  if role then ok, err = work.tx:script "set local role none" end
  if ok then ok, err = fn() end
  if ok and role then ok, err = work.tx:script("set local role " .. tables.quote(role)) end
  if not ok then return nil, err end
  return true
end

local function prepare(work, list)
  local ok, err = make_table(work.tx, work.session.place)
  if not ok then return nil, err end
  return each(list, nil, function(loss) return BEFORE[loss.what](work, loss) end)
end

local function finish(work)
  local ok, err = drop_triggers(work)
  if not ok then return nil, err end
  return tell(work)
end

local function around(work, list, run)
  local ok, err = as_runner(work, function() return prepare(work, list) end)
  if not ok then return nil, err end
  local results, failure, took = run(work.tx)
  if not results then return nil, failure, took end
  ok, err = as_runner(work, function() return finish(work) end)
  if not ok then return nil, err end
  return results, nil, took
end

local function warn(session, where)
  session.emit(about(where.step, {
    event = "warning", message = ("statement %d may destroy rows, but its text does not tell which: they are not kept")
      :format(where.index),
  }))
end

--- Runs a statement, and keeps what it destroys. Without a transaction around it, it gets one.
---@param session luphant.migrate.Session
---@param q table the connection or the transaction
---@param where luphant.migrate.Where
---@param sql string with its values
---@param run fun(q: table): table[]?, luphant.error?, integer?
---@return table[]? results
---@return luphant.error? err
---@return integer? duration_ms
function M.around(session, q, where, sql, run)
  local list, is_blind = losses.of(sql)
  if is_blind then warn(session, where) end
  if #list == 0 then return run(q) end
  local work = {
    session = session, step = where.step, index = where.index, names = names_of(session.place), watched = {}, tx = q,
  }
  if q ~= session.conn then return around(work, list, run) end
  local took
  local results, err = q:transaction(function(tx)
    work.tx = tx
    local answer, why
    answer, why, took = around(work, list, run)
    return answer, why
  end)
  return results, err, took
end

return M
