-- pool/borrow.lua - getting a slot: an idle one, or a place in the queue until there is one.
--
-- One deadline covers all of it: waiting, connecting, checking, hooks. Waiters are served in order; each has a ticket
-- of the state machine and a token to park with. A slot that was meant for a task that is gone goes to the next.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"
local connection = require "luphant.connection"
local deadline = require "luphant.deadline"
local errors = require "luphant.errors"
local grow = require "luphant.pool.grow"
local handle = require "luphant.pool.handle"
local keep = require "luphant.pool.keep"
local observing = require "luphant.pool.observing"
local report = require "luphant.pool.report"

local borrow = {}

local CHECK_SECONDS = 5
local LOOK_SECONDS = 0.02 -- between two looks for borrowers that ended; in between, whoever waits looks a little later

-- Each waiter gets an error object of its own to write on.
local function copy_of(err)
  return setmetatable(compat.copy(err), errors.metatable)
end

local function is_past(pool, limit) return limit ~= nil and pool.waiter.now() >= limit end

-- While nothing is connected and the last attempt failed for good, the pause before the next one has the same answer.
-- `refusal`: that of the pool, if there is any.
local function known_refusal(pool, refusal)
  if refusal and pool.core:grow_at() and pool.core:counts().total == 0 then return refusal end
end

-- Nobody could ever give a connection back. But one that was lost without being released can be: it is garbage.
local function find_lost(pool)
  collectgarbage()
  return pool:reclaim_abandoned(true)
end

-- What belonged to tasks that ended comes back. A busy pool is not searched for each waiter.
local function look_for_ended(pool, now)
  if now < pool.next_look then return false end
  pool.next_look = now + LOOK_SECONDS
  pool.core:looked(pool:on_core_clock(pool.next_look))
  return pool:reclaim_abandoned(true)
end

-- Parks until something changes, or the pause after a failed attempt ends (`again`). nil, err: waiting has no point.
local function rest(pool, token, limit, again)
  local waiter, at, look = pool.waiter, limit, nil
  if again then at = deadline.sooner(limit, pool:on_waiters_clock(again)) end
  -- The first time somebody may have looked for ended borrowers a moment ago; then it is for us to look again.
  if not token.looked then token.looked, look = true, pool.next_look end
  token.parked = true
  local woken, alone = waiter.park(token, look and deadline.sooner(at, look) or at)
  token.parked = false
  if woken then return true end
  if not alone then
    if look then borrow.look(pool) end
    return true
  end
  if again then
    waiter.sleep(at)
  elseif not find_lost(pool) then
    return nil, report.exhausted(pool)
  end
  return true
end

-- The program stood still for so long that our place in the queue was given up, or what we were given taken away.
local PASSED_OVER = {}

-- Answers the slot; or nil, and why waiting has no point any more. `lacking`: may the pool want to grow?
local function await(pool, ticket, token, limit, lacking)
  local core = pool.core
  while true do
    local grown, again, failure
    if lacking then
      grown, again = core:grow()
      failure = known_refusal(pool, pool.refusal)
    end
    lacking = true
    if grown then
      grow.connect(pool, grown, limit)
    else
      if failure then return nil, copy_of(failure) end
      local ok, err = rest(pool, token, limit, again)
      if not ok then return nil, err end
    end
    if pool.tokens[ticket] ~= token then return nil, PASSED_OVER end
    local slot = core:collect(ticket)
    if slot then
      pool.tokens[ticket], pool.waiting_tasks[ticket] = nil, nil
      return slot
    end
    failure = token.failure or known_refusal(pool, pool.refusal)
    if failure then return nil, copy_of(failure) end
    if is_past(pool, limit) then return nil, report.timed_out(pool, token) end
  end
end

local function leave(pool, ticket, token)
  if pool.tokens[ticket] ~= token then return nil end
  pool.tokens[ticket], pool.waiting_tasks[ticket] = nil, nil
  return pool.core:leave(ticket)
end

-- The request of the one who waited has ended. What this needs is in the token: the stack of a coroutine that nginx has
-- ended is used for others, and with it what functions made in there had for upvalues (ngx_lua 0.10.23).
local function abandoned(token)
  local pool = token.pool
  local slot = leave(pool, token.ticket, token)
  if slot then pool:give_back(slot) end
end

local queue_up

-- Answers the slot, and the token where that is guarded: the slot is watched over by the same guard from now on.
-- Nothing: there is an idle one by now. `since`: the time.
function queue_up(pool, limit, since)
  if pool.closed then return nil, report.closed() end
  local deadlock = report.self_deadlock(pool)
  if deadlock and not find_lost(pool) then return nil, deadlock end
  local ticket, lacking = pool.core:enqueue()
  if not ticket then return nil, lacking and report.overflow(pool) end
  local guard = pool.waiter.guard
  local token = {
    parked = false, looked = false, since = since, pool = pool, ticket = ticket, abandoned = abandoned,
    slot = false, session = false, guard = false, -- set later: a table grows at a price
  }
  pool.tokens[ticket], pool.waiting_tasks[ticket] = token, pool.current_task()
  local guarded = guard and guard(token)
  if pool.has_tasks and not pool.keeper then keep.start(pool) end -- it finds borrowers that end meanwhile
  local ok, slot, err = pcall(await, pool, ticket, token, limit, lacking)
  if ok and slot then return slot, guarded and token or nil end
  local late = leave(pool, ticket, token)
  if guarded then pool.waiter.unguard(token) end
  if err == PASSED_OVER then return queue_up(pool, limit, since) end
  if ok and late then return late end -- served at the last moment
  if late then pool:give_back(late) end
  if not ok then error(slot, 0) end
  return nil, err
end

-- The round trip before a connection that was idle for long is lent. A network that swallows it must leave time for
-- a new connection: half of what there is.
local function answers(pool, slot, limit)
  local session, now = pool.sessions[slot], pool.waiter.now()
  local seconds = limit and math.min((limit - now) / 2, CHECK_SECONDS) or CHECK_SECONDS
  session.box:set_ceiling(pool:on_core_clock(now + seconds))
  local ok, alive = pcall(connection.script, session, "")
  session.box:set_ceiling(nil)
  if not ok or not alive then return false end
  pool.core:touch(slot)
  return true
end

-- The user's word on whether this connection shall be lent. If not: what the hook gave as reason.
local function is_welcome(pool, slot, limit)
  local hook = pool.settings.before_acquire
  if not hook then return true end
  local session = pool.sessions[slot]
  local accepted, cause, raised = handle.ask(session, hook, pool:on_core_clock(limit))
  if raised then pool.emit("hook_failed", cause, "before_acquire") end
  if not accepted then return false, cause end
  if session.box:state() == "idle" and session.box:transaction_status() == "idle" then return true end
  return false, "it left the connection busy, in a transaction or lost"
end

-- What take() said about an idle slot. Answers whether it can be lent.
local function is_sound(pool, slot, due, limit)
  if due == "retire" or due == "lost" then return false end
  return due ~= "check" or answers(pool, slot, limit)
end

-- Nothing is idle: what is lent to nobody who needs it comes back, or the caller stands in line. Answers as queue_up.
local function wait_for_slot(pool, limit)
  if pool.shared and pool.shared:shrink() > 0 then return nil end
  local now = pool.waiter.now()
  if look_for_ended(pool, now) then return nil end
  return queue_up(pool, limit, now)
end

local function find_slot(pool, limit, slot, due)
  local refusals = 0
  while true do
    local told -- the token of the slot that was waited for, or why there is none
    if pool.closed then
      if slot then pool:give_back(slot) end
      return nil, report.closed()
    end
    if slot == nil then slot, due = pool.core:take() end
    if due == "forked" then
      pool:restart()
    elseif not slot then
      slot, told = wait_for_slot(pool, limit)
      if told and not slot then return nil, told end
    else
      pool.owners[slot] = pool.current_task() -- of one that was waited for, whoever gave it back has noted it
    end
    if slot then
      pool:watch_over(slot, told)
      local session = pool.sessions[slot]
      local sound = is_sound(pool, slot, due, limit)
      local welcome, cause = false, nil
      if sound then welcome, cause = is_welcome(pool, slot, limit) end
      if welcome then return slot end
      pool:discard(slot, session)
      slot, due = nil, nil
      if is_past(pool, limit) then return nil, report.timed_out(pool) end
      if sound then refusals = refusals + 1 end
      if refusals > pool.settings.max_connections then return nil, report.refused(refusals, cause) end
    end
  end
end

--- For one who has stood in the core's queue for a while: it is his turn to look.
---@param pool luphant.pool
function borrow.look(pool)
  local shared = pool.shared
  if shared and pool.core:is_spent() then shared.fleet:spare() elseif shared then shared:shrink() end
  look_for_ended(pool, pool.waiter.now())
end

--- Nothing came free in time for one who stood in the core's queue since then.
---@param pool luphant.pool
---@param since number
---@return luphant.error
function borrow.timed_out(pool, since)
  local err = report.timed_out(pool, { since = since })
  if pool.settings.observers then observing.acquired(pool, pool.waiter.now() - since, nil, err) end
  return err
end

--- A connected slot for the caller, who gives it back or discards it.
---@param pool luphant.pool
---@param limit number|nil  deadline on the waiter's clock
---@param slot? integer|false  one that was taken already; false: there is none to be taken
---@param due? string  what was said about it
---@return integer|nil slot
---@return luphant.error|nil
function borrow.slot(pool, limit, slot, due)
  if not pool.settings.observers then return find_slot(pool, limit, slot, due) end
  local from = pool.waiter.now()
  local found, err = find_slot(pool, limit, slot, due)
  if observing.acquired(pool, pool.waiter.now() - from, found, err) then return found, err end
  return nil, report.closed()
end

return borrow
