-- pool/grow.lua - new connections for a pool: one attempt after the other where it is not sure that one succeeds.
--
-- The state machine (core/pool.h) says when and how many; here they are dialled, in a task of their own where the
-- waiter can start one, else by whoever waits for them. A failure that trying again cannot mend (a wrong password, no
-- such database, a certificate that does not verify) is told to all waiters at once.
--
-- SPDX-License-Identifier: MIT

local connection = require "luphant.connection"
local core = require "luphant.core"
local deadline = require "luphant.deadline"
local dial = require "luphant.dial"
local errors = require "luphant.errors"
local handle = require "luphant.pool.handle"
local observing = require "luphant.pool.observing"

local grow = {}

-- Trying again helps only after somebody has changed something.
local PERMANENT = {
  config = true, auth = true, auth_method = true, tls_verify = true, invalid_catalog_name = true,
}

local function is_permanent(err)
  return PERMANENT[err.kind] or (err.sqlstate or ""):sub(1, 2) == "28" or err.sqlstate == "42501"
end

-- The hook said no. Trying again may help when the session was lost under it, or its time was up.
local function refusal(session, at, cause)
  if errors.is(cause, "connection") and session.box:state() ~= "idle" then return cause end
  if at and core.now() >= at then
    return errors.new("connect_timeout", "after_connect was still at work when the time for connecting was up",
      { cause = cause })
  end
  return errors.new("config", "after_connect refused the new connection"
    .. (cause == nil and " (it returned false)" or ""), { cause = cause })
end

-- Runs the user's hook on a new connection; what it says decides whether the connection is any good.
local function greet(pool, session, at)
  local hook = pool.settings.after_connect
  if not hook then return true end
  local accepted, cause = handle.ask(session, hook, at)
  if accepted then return true end
  return nil, refusal(session, at, cause)
end
grow.greet = greet

local function set_up(pool, slot, fields, at)
  local session = connection.new(fields)
  session.codecs = pool.codecs
  if pool.codecs then session.box:set_codecs(pool.codecs) end
  handle.prepare(session, pool, slot)
  local ok, err = greet(pool, session, at)
  if ok and session.box:transaction_status() == "idle" then
    session.box:clear_marks() -- what the hook has set up belongs to the connection
    return session
  end
  session.box:close()
  return nil, err or errors.new("config", "after_connect left a transaction open on the new connection")
end

-- What every waiter has to hear: what stands in its way, or that it should look again.
local function tell_waiters(pool, failure)
  if failure then
    local ticket = pool.core:dismiss()
    while ticket do
      pool.tokens[ticket].failure = failure
      pool:wake(ticket)
      ticket = pool.core:dismiss()
    end
  else
    for ticket in pairs(pool.tokens) do pool:wake(ticket) end
  end
end
grow.tell_waiters = tell_waiters

local function failed(pool, slot, err)
  pool.core:stillborn(slot)
  pool.last_error, pool.last_error_at = err, pool.waiter.now()
  pool.refusal = is_permanent(err) and err or nil
  pool.emit("connect_failed", err)
  tell_waiters(pool, pool.refusal)
  pool:rouse() -- where nobody waits it is the one to try again
  observing.failed(pool, "connect", err)
end

local function connect(pool, slot, limit)
  local now, seconds = pool.waiter.now(), pool.settings.connect_timeout
  local at = deadline.sooner(limit, seconds and now + seconds)
  local fields, err = dial.connect(pool.plan, at and math.max(at - now, 0.001))
  local session
  if fields then session, err = set_up(pool, slot, fields, pool:on_core_clock(at)) end
  if not session then return failed(pool, slot, err) end
  pool.refusal, pool.last_error = nil, nil
  pool.sessions[slot] = session
  pool.core:attach(slot, session.box)
  handle.offer(session)
  local took = pool.waiter.now() - now
  if pool.has_tasks and not pool.keeper then pool:rouse() end
  local what = pool.core:born(slot)
  if what == "retire" then return pool:discard(slot) end
  if pool.settings.observers then connection.observe(session) end -- somebody may have subscribed meanwhile
  if what then pool:hand_over(what, slot) end
  observing.connected(pool, session, took)
end

--- Connects a slot that core:grow() gave. `limit` holds where the caller has to do it itself.
---@param pool luphant.pool
---@param slot integer
---@param limit number|nil
function grow.connect(pool, slot, limit)
  local function work(at)
    local ok, err = pcall(connect, pool, slot, at)
    if ok then return end
    -- A waiter or an allocation failed: the slot must not stay "connecting" for ever.
    if pool.core:slot(slot) == "connecting" then
      failed(pool, slot, errors.is_error(err) and err or errors.new("resource", tostring(err)))
    else
      pool:discard(slot)
    end
  end
  local spawned = pool:spawn(function()
    work(nil)
    grow.more(pool)
  end)
  if spawned then return end
  -- Where tasks exist but none can be started, nobody can wait either: outside of the loop.
  if pool.has_tasks then return pool.core:stillborn(slot) end
  work(limit)
end

--- Starts what the pool lacks, as far as it may now. Where no task can be started the waiters do it.
---@param pool luphant.pool
function grow.more(pool)
  if not pool.waiter.spawn then return tell_waiters(pool) end
  local slot = pool.core:grow()
  while slot do
    grow.connect(pool, slot)
    slot = pool.core:grow()
  end
end

return grow
