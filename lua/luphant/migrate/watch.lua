-- luphant.migrate.watch - what goes on while a statement runs: its progress, who blocks it, and whether to stop.
--
-- The runner's connection waits in slices. Between two of them this file looks: it asks the caller whether to stop, and
-- through a second connection, made when a statement takes long, what the server does and whose locks are in the way.
-- What it cannot find out is left out: a look never fails a migration.
--
-- SPDX-License-Identifier: MIT

local M = {}

local SLICE = 0.25        -- seconds; how soon a wish to stop is heard
local FIRST_LOOK = 1      -- seconds a statement has run when the server is first asked about it
local LOOK_EVERY = 1
local LOOK_TIMEOUT = "2s" -- for our own questions

local BLOCKERS = [[
select a.pid, a.application_name, a.usename as user, host(a.client_addr) as address, a.state,
       extract(epoch from clock_timestamp() - a.xact_start)::float8 as seconds, left(a.query, 200) as query
  from unnest(pg_blocking_pids($1)) as b(pid) join pg_stat_activity a on a.pid = b.pid]]

local PROGRESS = [[
select phase, blocks_done, blocks_total, tuples_done, tuples_total, lockers_done, lockers_total
  from pg_stat_progress_create_index where pid = $1]]

---@class (exact) luphant.migrate.Watch
---@field emit fun(event: table)
---@field should_stop? fun(): any
---@field hide_queries? boolean
---@field dial fun(): luphant.connection?
---@field side? luphant.connection
---@field current? table the statement that runs: { conn, event, began, look_at }
---@field blockers? table[] who blocked it when it was last looked
---@field stop? boolean somebody wants the run to end
---@field cancelled? boolean
local Watch = {}
Watch.__index = Watch

-- ---- the waiter ---------------------------------------------------------------------------------------------

-- lua.c answers SIGINT with this error, wherever Lua happens to run; usually that is in here.
local function is_interrupt(why) return type(why) == "string" and why:find("interrupted!", 1, true) ~= nil end

local function guarded(self, fn, ...)
  local ok, answer = pcall(fn, ...)
  if ok then return answer end
  if not is_interrupt(answer) then error(answer, 0) end
  self.stop = true
end

--- A waiter that waits as `inner` does and looks around from time to time.
---@param inner luphant.waiter
---@return luphant.waiter
function Watch:waiter(inner)
  local now = inner.now
  local function in_slices(wait_until, deadline)
    while true do
      local slice = now() + (self.slice or SLICE)
      if deadline and deadline < slice then slice = deadline end
      local ready = guarded(self, wait_until, slice)
      if ready then return ready end
      if deadline and now() >= deadline then return nil end
      self:tick(now)
    end
  end
  return {
    name = "migrate", now = now, park = inner.park, wake = inner.wake, spawn = inner.spawn,
    wait = function(fd, events, deadline)
      return in_slices(function(limit) return inner.wait(fd, events, limit) end, deadline)
    end,
    sleep = function(deadline)
      in_slices(function(limit) inner.sleep(limit) end, deadline)
    end,
  }
end

-- ---- looking ------------------------------------------------------------------------------------------------

function Watch:side_connection()
  if self.side and not self.side:is_open() then self.side = nil end
  if not self.side then
    self.side = self.dial()
    if self.side then self.side:script(("set statement_timeout = '%s'"):format(LOOK_TIMEOUT)) end
  end
  return self.side
end

function Watch:look(now)
  local current = self.current
  local side = self:side_connection()
  if not side then return end
  local blockers = side:query(BLOCKERS, current.pid)
  self.blockers = blockers and #blockers > 0 and blockers or self.blockers
  if self.hide_queries then
    for _, blocker in ipairs(blockers or {}) do blocker.query = nil end
  end
  if now() - current.began < FIRST_LOOK then return end
  local event = { event = "progress", seconds = now() - current.began, blocked_by = blockers }
  for name, value in pairs(current.event) do event[name] = event[name] or value end
  event.progress = current.is_index and side:query_opt(PROGRESS, current.pid) or nil
  self.emit(event)
end

function Watch:tick(now)
  if self.busy then return end
  self.busy = true
  local ok, why = pcall(self.tick_unguarded, self, now)
  self.busy = false
  if not ok and is_interrupt(why) then
    self.stop = true
  elseif not ok then
    error(why, 0)
  end
end

function Watch:tick_unguarded(now)
  if self.should_stop and not self.stop then self.stop = self.should_stop() and true or nil end
  local current = self.current
  if not current then return end
  if self.stop and current.may_cancel and not self.cancelled then
    self.cancelled = true
    current.conn:cancel()
    return
  end
  if now() >= current.look_at then
    current.look_at = now() + math.min(LOOK_EVERY, current.lock_timeout or LOOK_EVERY)
    self:look(now)
  end
end

--- A statement begins.
---@param conn luphant.connection
---@param pid integer of the server process that runs it
---@param event table what listeners are told about it
---@param facts { may_cancel?: boolean, lock_timeout?: number, is_index?: boolean }
function Watch:begin(conn, pid, event, facts)
  local now = conn.waiter.now()
  -- Whoever is in the way is asked for when half of the patience is over: afterwards it may be gone.
  local patience = facts.lock_timeout and facts.lock_timeout > 0 and facts.lock_timeout / 2 or FIRST_LOOK
  self.slice = math.min(SLICE, patience / 2)
  self.current = {
    conn = conn, pid = pid, event = event, began = now, look_at = now + math.min(patience, FIRST_LOOK),
    lock_timeout = patience, may_cancel = facts.may_cancel, is_index = facts.is_index,
  }
  self.blockers = nil
end

--- It has ended.
function Watch:finish()
  self.current, self.slice = nil, nil
end

--- Has somebody asked to stop? Asks the caller, too.
---@return boolean
function Watch:wants_stop()
  if not self.stop and self.should_stop then self.stop = self.should_stop() and true or nil end
  return self.stop == true
end

function Watch:close()
  if self.side then self.side:close() end
  self.side = nil
end

---@param fields table emit, should_stop, hide_queries
---@return luphant.migrate.Watch
function M.new(fields) return setmetatable(fields, Watch) end

return M
