-- luphant.migrate.backfill - changes all rows of a large table piece by piece, along a key, each in a transaction.
--
--   db:batch { table = "orders", set = "cents = (total * 100)::bigint", where = "cents is null", size = 1000 }
--   db:batch { table = "orders", delete = true, where = "created_at < '2020-01-01'" }
--   db:batch { table = "orders", sql = "insert into totals select id, total from orders where {range}" }
--
-- The last key of each piece is written to the row of the migration in the transaction of that piece: whatever ends the
-- process, the next run goes on behind the last piece that was committed. A piece that does not get its locks is tried
-- again; nothing is held between two of them.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local compat = require "luphant.compat"
local errors = require "luphant.errors"
local history = require "luphant.migrate.history"
local lock = require "luphant.migrate.lock"
local tables = require "luphant.migrate.tables"

local M = {}

local unpack = compat.unpack

local TELL_EVERY = 1 -- seconds

local RULES = {
  table = { type = "string" }, key = { type = "string" }, set = { type = "string" }, delete = { type = "boolean" },
  sql = { type = "string" }, where = { type = "string" }, name = { type = "string" },
  size = { type = "number", integer = true, min = 1, max = 1000000, default = 1000 },
  pause = { type = "number", min = 0, max = 3600, default = 0 },
}

--- Checks what was given to db:batch.
---@param given table
---@return table? options
---@return string? why
function M.check(given)
  local options, why = args.validate(given, RULES, "batch option")
  if not options then return nil, why end
  if not options.table then return nil, 'a batch needs its table: { table = "orders", ... }' end
  local count = (options.set and 1 or 0) + (options.delete and 1 or 0) + (options.sql and 1 or 0)
  if count ~= 1 then return nil, "a batch does one of three things: set, delete or sql" end
  if options.sql and not options.sql:find "{range" then
    return nil, "the sql of a batch needs {range}, where the rows of a piece are chosen"
  end
  if options.sql and options.where then return nil, "write `where` into the sql" end
  return options
end

-- ---- the table and its key ----------------------------------------------------------------------------------

local FACTS = [[
select c.oid::regclass::text as name, greatest(c.reltuples, 0)::float8 as estimate,
       (select jsonb_agg(jsonb_build_array(a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull))
          from pg_attribute a
         where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
           and case when $2::text is null
                    then a.attnum = any (select unnest(i.indkey) from pg_index i
                                          where i.indrelid = c.oid and i.indisprimary)
                    else a.attname = $2 end) as key
  from pg_class c where c.oid = to_regclass($1)]]

local function facts_of(conn, options)
  local found, err = conn:query_opt(FACTS, options.table, options.key)
  if err then return nil, err end
  local function refuse(message) return nil, errors.new("migration_refused", message) end
  if not found then return refuse(("there is no table %s"):format(options.table)) end
  local key = found.key or {}
  if #key ~= 1 then
    if options.key then return refuse(("%s has no column %s"):format(options.table, options.key)) end
    return refuse(("%s has no primary key of one column: name a unique column, { key = ... }"):format(options.table))
  end
  -- Rows without a key lie in no piece.
  if not key[1][3] then return refuse(("the key %s of %s may be NULL"):format(key[1][1], options.table)) end
  return { table = found.name, estimate = found.estimate, key = tables.quote(key[1][1]), type = key[1][2] }
end

-- ---- SQL ----------------------------------------------------------------------------------------------------

-- Keys travel as text, whatever their type is, and a constant on the server's side is one for an index.
local function border(n, facts) return ("$%d::text::%s"):format(n, facts.type) end

-- The last key of the next piece, and how many rows it has.
local function look_sql(facts, options, is_first)
  return ("select k::text as last, n from (select k, count(*) over ()::int as n from (select %s as k from %s%s"
    .. " order by %s limit %d) a) b order by b.k desc limit 1"):format(facts.key, facts.table,
    is_first and "" or (" where %s > %s"):format(facts.key, border(1, facts)), facts.key, options.size)
end

local function work_sql(facts, options, is_first)
  local function range(alias)
    local key = (alias ~= "" and alias .. "." or "") .. facts.key
    if is_first then return ("%s <= %s"):format(key, border(1, facts)) end
    return ("%s > %s and %s <= %s"):format(key, border(1, facts), key, border(2, facts))
  end
  if options.sql then
    return (options.sql:gsub("{range:?([%w_]*)}", function(alias) return "(" .. range(alias) .. ")" end))
  end
  local head = options.delete and "delete from " .. facts.table or ("update %s set %s"):format(facts.table, options.set)
  return head .. " where " .. range "" .. (options.where and (" and (%s)"):format(options.where) or "")
end

-- ---- one piece ----------------------------------------------------------------------------------------------

local function piece(context, facts, options, state, tx)
  local parameters = { state.last }
  local found, err = tx:query_opt(look_sql(facts, options, not state.last), unpack(parameters))
  if err then return nil, err end
  if not found then return { is_last = true } end
  parameters[#parameters + 1] = found.last
  local affected
  affected, err = tx:execute(work_sql(facts, options, not state.last), unpack(parameters))
  if not affected then return nil, err end
  local held
  held, err = lock.confirm(tx, context.session.place)
  if not held then return nil, err end
  local after = { last = found.last, rows = state.rows + found.n, affected = state.affected + affected }
  local ok
  ok, err = history.keep_progress(tx, context.session.place, context.step, context.session.run_id, options.name, after)
  if not ok then return nil, err end
  return after
end

-- While it runs the run can be stopped and looked at like any other statement.
local function watched(context, facts, options, state)
  local session = context.session
  local event = context.event { part = "batch", table = facts.table }
  session.watch:begin(session.conn, session.pid, event, { may_cancel = true, lock_timeout = context.lock_timeout })
  local after, err = session.conn:transaction(function(tx) return piece(context, facts, options, state, tx) end,
    { set = context.settings })
  session.watch:finish()
  return after, err
end

local function stopped(options, state)
  return nil, errors.new("migration_interrupted",
    ("stopped on request after %d rows of %s; resume goes on behind them"):format(state.rows, options.table))
end

local function next_piece(context, facts, options, state)
  local session = context.session
  local tries = { count = 1, began = session.conn.waiter.now() }
  while true do
    if session.watch:wants_stop() then return stopped(options, state) end
    local after, err = watched(context, facts, options, state)
    if after then return after end
    if session.watch.cancelled then return stopped(options, state) end
    if not session:is_open() or not context.try_again(err, tries) then return nil, err end
  end
end

-- ---- all of them --------------------------------------------------------------------------------------------

local function tell(context, facts, options, state, is_done)
  local now = context.session.conn.waiter.now()
  if not is_done and now - state.told < TELL_EVERY then return end
  state.told = now
  context.session.emit(context.event {
    event = "batch", table = facts.table, batch = options.name, rows = state.rows, affected = state.affected,
    rows_estimate = facts.estimate, seconds = now - state.began, is_done = is_done or false,
  })
end

local function nap(context, seconds)
  local waiter, watch = context.session.conn.waiter, context.session.watch
  local till = waiter.now() + seconds
  while waiter.now() < till and not watch:wants_stop() do waiter.sleep(math.min(waiter.now() + 0.25, till)) end
end

--- Runs the pieces from where an earlier run has stopped.
---@param context luphant.migrate.ScriptContext
---@param options table as `check` answers them
---@return integer? affected rows in all, those of earlier runs included
---@return luphant.error?
function M.run(context, options)
  context.batches = context.batches + 1
  options.name = options.name or ("%d"):format(context.batches)
  local session = context.session
  local facts, err = facts_of(session.conn, options)
  if not facts then return nil, err end
  local kept
  kept, err = history.progress_of(session.conn, session.place, context.step, options.name)
  if err then return nil, err end
  local began = session.conn.waiter.now()
  local state = {
    last = kept and kept.last, rows = kept and kept.rows or 0, affected = kept and kept.affected or 0, began = began,
    told = began,
  }
  while true do
    local after
    after, err = next_piece(context, facts, options, state)
    if not after then return nil, err end
    if after.is_last then break end
    state.last, state.rows, state.affected = after.last, after.rows, after.affected
    tell(context, facts, options, state)
    if options.pause > 0 then nap(context, options.pause) end
  end
  tell(context, facts, options, state, true)
  return state.affected
end

return M
