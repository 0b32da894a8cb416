-- pool/report.lua - what a pool tells about itself: figures, holders, and errors that say why.
--
-- SPDX-License-Identifier: MIT

local errors = require "luphant.errors"

local report = {}

local HOLDERS_SHOWN = 5

-- Who has a connection, since when, from where: what a tired person needs first.
local function holder_line(pool, slot, seconds)
  local words = { ("connection %d for %.3g s"):format(slot, seconds) }
  local session = pool.sessions[slot]
  local pid = session and session.box:backend_pid()
  if pid then words[#words + 1] = ("(backend %d)"):format(pid) end
  words[#words + 1] = "by " .. pool:site(slot)
  return table.concat(words, " ")
end

--- The borrowed connections, longest first: { slot =, seconds =, line = }.
---@param pool luphant.pool
function report.holders(pool)
  local list = {}
  for slot = 1, pool.core:size() do
    local state, seconds = pool.core:slot(slot)
    if state == "used" then
      list[#list + 1] = { slot = slot, seconds = seconds, line = holder_line(pool, slot, seconds) }
    end
  end
  table.sort(list, function(a, b) return a.seconds > b.seconds end)
  return list
end

local function state_line(counts)
  return ("%d of %d connections: %d used, %d idle, %d connecting; %d waiting"):format(
    counts.total, counts.max, counts.used, counts.idle, counts.connecting, counts.waiting)
end

-- The pool as it is, for an error object.
local function snapshot(pool)
  local counts = pool.core:counts()
  local holders = report.holders(pool)
  local lines = { state_line(counts) }
  for i = 1, math.min(#holders, HOLDERS_SHOWN) do lines[#lines + 1] = holders[i].line end
  if #holders > HOLDERS_SHOWN then
    lines[#lines + 1] = ("and %d more"):format(#holders - HOLDERS_SHOWN)
  end
  counts.holders = holders
  return counts, table.concat(lines, "\n")
end

local function pool_error(pool, kind, message, hint)
  local counts, detail = snapshot(pool)
  return errors.new(kind, message, { pool = counts, detail = detail, hint = hint })
end

local NONE = {}

local function own_slots(pool)
  if next(pool.handles) == nil then return NONE end -- nobody holds one
  local me, list = pool.current_task(), {}
  if not pool:is_holder(me) then return list end
  for slot = 1, pool.core:size() do
    if pool.core:slot(slot) == "used" and pool:owner_of(slot) == me then list[#list + 1] = slot end
  end
  return list
end

--- The task waited until its deadline.
---@param pool luphant.pool
---@param token? table
---@return luphant.error
function report.timed_out(pool, token)
  local err
  local mine = own_slots(pool)
  if #mine > 0 then
    err = pool_error(pool, "pool_timeout",
      ("no connection became free in time, and this task holds connection %d of the same pool itself"):format(mine[1]),
      "Use the connection (or tx) you have instead of acquiring another.")
  elseif pool.last_error then
    err = pool_error(pool, "pool_timeout", "no connection in time: the last attempt to connect failed",
      "See the cause.")
  else
    err = pool_error(pool, "pool_timeout", "no connection became free in time",
      "Hold connections for a shorter time, allow more (max_connections), or wait longer (acquire_timeout).")
  end
  err.cause = pool.last_error
  if token then err.waited = pool.waiter.now() - token.since end
  pool.timeouts = pool.timeouts + 1
  return err
end

--- Nobody else could ever give a connection back.
---@param pool luphant.pool
---@return luphant.error
function report.exhausted(pool)
  return pool_error(pool, "pool_exhausted", "all connections of the pool are lent, and in a plain script nobody else"
    .. " runs who could give one back",
    "Release one first, use the connection you have, or allow more (max_connections).")
end

---@param pool luphant.pool
---@return luphant.error
function report.overflow(pool)
  return pool_error(pool, "pool_overflow", ("%d tasks wait for a connection already"):format(pool.core:waiting()),
    "The work comes in faster than it is done; max_waiting bounds the queue.")
end

--- The hook has refused every connection of the pool and one more: it will not stop doing so.
---@param count integer
---@param cause any
---@return luphant.error
function report.refused(count, cause)
  return errors.new("config", ("before_acquire refused %d connections in a row"):format(count), { cause = cause })
end

---@return luphant.error
function report.closed()
  return errors.new("pool_closed", "the pool has been closed with db:close()")
end

-- Does the task wait for a connection of this pool?
local function is_waiting(pool, task)
  for _, other in pairs(pool.waiting_tasks) do
    if other == task then return true end
  end
  return false
end

--- An error when this task would wait for itself: it holds a connection, the pool is full, and whoever holds the
--- others is waiting for one as well.
---@param pool luphant.pool
---@return luphant.error|nil
function report.self_deadlock(pool)
  if not pool.has_tasks then return nil end -- one thread of control: told as exhausted
  local mine = own_slots(pool)[1]
  if not mine then return nil end
  local core, me = pool.core, pool.current_task()
  local counts = core:counts()
  if counts.used < counts.max then return nil end
  for slot = 1, core:size() do
    local state = core:slot(slot)
    -- Comes back by itself; was given to one who has waited for it, and is about to use it.
    if state == "tended" or core:promised(slot) then return nil end
    local owner = state == "used" and pool:owner_of(slot)
    if state == "used" and owner ~= me and (owner == nil or not is_waiting(pool, owner)) then return nil end
  end
  return pool_error(pool, "pool_self_deadlock", ("self-deadlock: this task holds connection %d and asks the same pool"
    .. " for another, while nobody is left who could give one back"):format(mine),
    "Pass the connection (or tx) you have down to the code that needs one, or allow more (max_connections).")
end

local function connection_of(pool, slot, resting)
  local state, seconds, age, uses = pool.core:slot(slot)
  if not state then return nil end
  if resting[pool.handles[slot] or NONE] then state = "idle" end
  local session = pool.sessions[slot]
  local box = session and session.box
  return {
    slot = slot, state = state, seconds = seconds, age = age, uses = uses,
    backend_pid = box and box:backend_pid(),
    last_statement = box and box:last_statement(),
    borrower = state == "used" and pool:site(slot) or nil,
  }
end

-- Shared connections without riders, as a set of handles, and how many: they are there for whoever needs one.
local function resting_of(pool)
  if not pool.shared then return NONE, 0 end
  return pool.shared:resting()
end

--- How many connections there are of each kind, as a pool's user sees them.
---@param pool luphant.pool
function report.counts(pool)
  local counts, resting, count = pool.core:counts(), resting_of(pool)
  counts.used, counts.idle = counts.used - count, counts.idle + count
  return counts, resting
end

--- See db:stats in docs/api/pool.md.
---@param pool luphant.pool
function report.stats(pool)
  local stats, resting = report.counts(pool)
  stats.timeouts, stats.leaks, stats.reclaimed = pool.timeouts, pool.leaks, pool.reclaimed
  stats.last_error = pool.last_error and tostring(pool.last_error) or nil
  stats.shared = pool.shared and pool.shared:stats() or nil
  stats.listening = pool.line and pool.line:stats() or nil
  stats.histograms = pool.core:histograms()
  stats.connections = {}
  for slot = 1, pool.core:size() do
    stats.connections[#stats.connections + 1] = connection_of(pool, slot, resting)
  end
  return stats
end

return report
