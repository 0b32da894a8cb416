-- pool/keep.lua - what happens to connections nobody is using: cleaning after a borrower, closing, pinging.
--
-- A connection goes back to the idle ones only when it is provably in order: between two statements, no transaction,
-- nothing of the last borrower left in the session. What can be put in order is (cancelled and drained, rolled back,
-- reset), the rest is closed. All of it has a time limit, and runs in a task of its own where the waiter can start one.
--
-- SPDX-License-Identifier: MIT

local connection = require "luphant.connection"
local core = require "luphant.core"
local drive = require "luphant.drive"
local grow = require "luphant.pool.grow"
local handle = require "luphant.pool.handle"

local keep = {}

local CLEANING_SECONDS = 5 -- for rollback, reset and the hook together
local PING_SECONDS = 5
local SHARED_IDLE = 5 -- seconds without riders after which a shared connection goes back
local SHORTEST_PAUSE = 0.001
local TICK = 1 -- seconds between two looks at what is due, where nobody looks in the background
keep.TICK = TICK

-- A statement whose borrower has gone.
local function stop_statement(session)
  local box = session.box
  session.waiting = false -- a verb that was left behind in the middle of its wait; nobody waits any more
  box:stream_detach()
  if box:hold(false) then return false end -- its cancel request may still be on its way, and hit the next statement
  if box:state() == "busy" then
    box:discard()
    drive.abandon(session, {})
  end
  return box:state() == "idle"
end

local function after_release(pool, session, at)
  local hook = pool.settings.after_release
  if not hook then return true end
  local accepted, cause, raised = handle.ask(session, hook, at)
  if raised then pool.emit("hook_failed", cause, "after_release") end
  return accepted
end

local function leave_transaction(session)
  session.box:txn_end() -- also one whose BEGIN was never sent
  local status = session.box:transaction_status()
  if status == "idle" then return true end
  return (connection.script(session, "rollback")) ~= nil
end

-- Whether the connection is as good as new.
local function put_in_order(pool, session, reset)
  local box = session.box
  if not stop_statement(session) then return false end
  local at = core.now() + CLEANING_SECONDS
  box:set_ceiling(at)
  local ok = leave_transaction(session) and reset(pool, session, pool.settings.reset == "always")
    and after_release(pool, session, at)
  box:set_ceiling(at) -- the hook has ended its own
  ok = ok and leave_transaction(session) and reset(pool, session, false)
  box:set_ceiling(nil)
  return ok and box:state() == "idle" and box:transaction_status() == "idle"
end

--- Puts the connection of a tended slot in order and gives it back, or closes it.
---@param pool luphant.pool
---@param slot integer
---@param reset fun(pool: luphant.pool, session: luphant.connection, always: boolean): boolean
function keep.clean(pool, slot, reset)
  local session = pool.sessions[slot]
  if not session then return end -- closed before its turn came
  local ok, clean = pcall(put_in_order, pool, session, reset)
  if not ok then pool.emit("cleaning_failed", clean) end
  if not (ok and clean) or pool.sessions[slot] ~= session then return pool:discard(slot, session) end
  local what = pool.core:give(slot)
  if what == "clean" then return pool:discard(slot) end -- not again
  pool:settle(slot, what)
end

local function ping(pool, slot)
  local session = pool.sessions[slot]
  if not session then return end
  session.box:set_ceiling(pool:on_core_clock(pool.waiter.now() + PING_SECONDS))
  local ok, alive = pcall(connection.script, session, "")
  session.box:set_ceiling(nil)
  if not (ok and alive) or pool.sessions[slot] ~= session then return pool:discard(slot, session) end
  pool:settle(slot, pool.core:give(slot))
end

--- Does what is due now.
---@param pool luphant.pool
function keep.tick(pool)
  local now = pool.waiter.now()
  pool:reclaim_abandoned(pool.core:waiting() > 0)
  pool:look_for_leaks()
  if pool.shared then pool.shared:shrink(pool.core:waiting() > 0 and 0 or SHARED_IDLE) end
  if pool.shared and pool.core:waiting() > 0 and pool.core:is_spent() then pool.shared.fleet:spare() end
  local chore, slot = pool.core:chore()
  while chore do
    if chore == "close" then
      pool:discard(slot)
    elseif chore == "connect" then
      grow.connect(pool, slot, now + (pool.settings.connect_timeout or CLEANING_SECONDS))
    else
      local number = slot
      if not pool:spawn(function() ping(pool, number) end) then ping(pool, number) end
    end
    chore, slot = pool.core:chore()
  end
end

--- For pools without a keeper: a look now and then, by whoever comes along.
---@param pool luphant.pool
function keep.glance(pool)
  pool.core:glance(TICK)
  keep.tick(pool)
end

-- When the keeper looks again; nil: there is nothing to look after. What comes back meanwhile may be due soon.
local function next_look(pool)
  local at = pool:on_waiters_clock(pool.core:chore_at())
  if not at and pool.core:counts().total == 0 then return nil end
  local tick = pool.waiter.now() + TICK
  return math.min(at or tick, pool:next_leak_look() or tick, tick)
end

-- Tokens of the keepers that live, by waiter: they are no reason for a loop to go on, not even two of them. (One whose
-- loop was closed counts until it is collected.)
local keepers = setmetatable({}, { __mode = "k" })

local function count_keepers(waiter)
  local count = 0
  for _ in pairs(keepers[waiter]) do count = count + 1 end
  return count
end

local function wake_all(waiter)
  for token in pairs(keepers[waiter]) do waiter.wake(token) end
end

local function watch(pool, token)
  local waiter = pool.waiter
  while not pool.closed do
    keep.tick(pool)
    local at = next_look(pool)
    if not at then break end
    -- An event loop whose tasks have all ended shall not go on for the sake of idle connections.
    if waiter.is_alone and pool.core:waiting() == 0 and waiter.is_alone(count_keepers(waiter)) then break end
    token.parked = true
    waiter.park(token, math.max(at, waiter.now() + SHORTEST_PAUSE))
    token.parked = false
  end
end

local function set_keeper(pool, token)
  pool.keeper = token
  pool:set_lane()
end

--- Starts the task that keeps the pool's connections in order, unless it runs or cannot run here.
---@param pool luphant.pool
function keep.start(pool)
  if pool.keeper then return end
  local waiter, token = pool.waiter, { parked = false }
  if not keepers[waiter] then
    keepers[waiter] = setmetatable({}, { __mode = "k" })
    if waiter.at_end then waiter.at_end("keepers", function() wake_all(waiter) end) end
  end
  local function leave()
    keepers[waiter][token] = nil
    if pool.keeper == token then set_keeper(pool, nil) end
  end
  keepers[waiter][token] = true
  set_keeper(pool, token)
  local started = pool:spawn(function()
    local ok, err = pcall(watch, pool, token)
    leave()
    if not ok then pool.emit("keeper_failed", err) end
  end)
  if not started then leave() end
end

--- Something is due now: the keeper shall not sleep on.
---@param pool luphant.pool
function keep.rouse(pool)
  local keeper = pool.keeper
  if keeper and not pool.waiter.wake(keeper) and keeper.parked then
    -- It has gone with the loop it was parked in.
    keepers[pool.waiter][keeper] = nil
    set_keeper(pool, nil)
  end
  keep.start(pool)
end

return keep
