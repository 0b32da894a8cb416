-- luphant.migrate.lock - one runner at a time: an advisory lock that belongs to the session that runs the migrations.
--
-- Taken by asking again and again, never by the blocking pg_advisory_lock: whoever waits inside that has a snapshot,
-- for which CREATE INDEX CONCURRENTLY of the lock's holder would wait in turn. Between two questions the session idles.
-- Never of transaction level: it would end with the first migration. The server gives the lock back when the session
-- ends, however that happens.
--
-- SPDX-License-Identifier: MIT

local errors = require "luphant.errors"
local tables = require "luphant.migrate.tables"

local M = {}

local FIRST_PAUSE, LONGEST_PAUSE, GROWTH = 0.05, 2, 1.5
local TELL_EVERY = 5 -- seconds between two events about the same holder

local MINE = [[
  l.locktype = 'advisory' and l.granted and l.objsubid = 2
  and l.database = (select oid from pg_database where datname = current_database())
  and l.classid::bigint = $1 and l.objid::bigint = hashtext($2)::bit(32)::bigint]]

local TRY = "select pg_try_advisory_lock($1, hashtext($2))"
local HELD = "select exists(select from pg_locks l where l.pid = pg_backend_pid() and " .. MINE .. ")"
local HOLDER = [[
select a.pid, a.application_name, a.usename as user, host(a.client_addr) as address, a.state,
       extract(epoch from clock_timestamp() - a.backend_start)::float8 as seconds, left(a.query, 200) as query
  from pg_locks l join pg_stat_activity a on a.pid = l.pid
 where ]] .. MINE .. " limit 1"

---@class (exact) luphant.migrate.Holder who has the lock
---@field pid integer
---@field application_name string
---@field user string
---@field address? string nil on a Unix socket
---@field state? string
---@field seconds number for so long its session has been there
---@field query? string what it runs, or ran last

--- Who has the lock? May be out of date when it is read.
---@param q table
---@param place luphant.migrate.Place
---@return luphant.migrate.Holder?
---@return luphant.error?
function M.holder(q, place)
  return q:query_opt(HOLDER, tables.LOCK_CLASS, place.lock_name)
end

--- The holder in words.
---@param holder luphant.migrate.Holder?
---@return string
function M.describe(holder)
  if not holder then return "its holder could not be found" end
  local name = (holder.application_name or "") ~= "" and (' "%s"'):format(holder.application_name) or ""
  return ("held by server process %d%s%s"):format(holder.pid, name,
    holder.address and " from " .. holder.address or "")
end

--- Does the session that answers hold the lock?
---@param q table
---@param place luphant.migrate.Place
---@return boolean?
---@return luphant.error?
function M.is_held(q, place)
  return q:query_value(HELD, tables.LOCK_CLASS, place.lock_name)
end

--- The same, as an error when it does not.
---@param q table
---@param place luphant.migrate.Place
---@return true?
---@return luphant.error?
function M.confirm(q, place)
  local held, err = M.is_held(q, place)
  if held then return true end
  return nil, err or errors.new("migration_lock_lost",
    "this session does not hold the lock of the migrations any more: a statement has given it up, or a pooler has"
      .. " changed the session")
end

local function locked(holder, patience)
  return errors.new("migration_locked",
    ("another run of migrations is under way (%s); gave up after %g seconds"):format(M.describe(holder), patience),
    { class = "timeout", retryable = true, holder = holder })
end

local function interrupted()
  return errors.new("migration_interrupted", "stopped while waiting for another run of migrations; nothing was run")
end

---@class (exact) luphant.migrate.LockOptions
---@field patience number seconds
---@field emit fun(event: table)
---@field should_stop? fun(): any
---@field hide_queries? boolean
---@field on_wait? fun(holder: luphant.migrate.Holder?, waited: number)

-- Says who is in the way, when that has changed or was said long ago.
local function tell(conn, place, options, state, waited)
  local holder = M.holder(conn, place)
  local pid = holder and holder.pid
  if options.on_wait then options.on_wait(holder, waited) end
  if pid ~= state.pid or not state.told or waited - state.told >= TELL_EVERY then
    state.pid, state.told = pid, waited
    if holder and options.hide_queries then holder.query = nil end
    options.emit { event = "lock_wait", holder = holder, waited = waited }
  end
  return holder
end

--- Takes the lock.
---@param conn luphant.connection
---@param place luphant.migrate.Place
---@param options luphant.migrate.LockOptions
---@return number? waited seconds
---@return luphant.error? err of kind migration_locked when patience ran out
function M.acquire(conn, place, options)
  local now, sleep = conn.waiter.now, conn.waiter.sleep
  local began, pause, state = now(), FIRST_PAUSE, {}
  while true do
    local held, err = conn:query_value(TRY, tables.LOCK_CLASS, place.lock_name)
    if err then return nil, err end
    local waited = now() - began
    if held then return waited end
    local holder = tell(conn, place, options, state, waited)
    if waited >= options.patience then return nil, locked(holder, options.patience) end
    if options.should_stop and options.should_stop() then return nil, interrupted() end
    -- Half of each pause by chance: many that began together do not ask together.
    local nap = math.min(pause * (0.5 + math.random() / 2), options.patience - waited)
    sleep(now() + nap)
    pause = math.min(pause * GROWTH, LONGEST_PAUSE)
  end
end

--- Gives the lock back; false when this session did not have it.
---@param conn luphant.connection
---@param place luphant.migrate.Place
---@return boolean?
---@return luphant.error?
function M.release(conn, place)
  return conn:query_value("select pg_advisory_unlock($1, hashtext($2))", tables.LOCK_CLASS, place.lock_name)
end

return M
