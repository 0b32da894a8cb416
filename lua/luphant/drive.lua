-- drive.lua - the step loop: the only code that waits for an operation of the core.
--
-- The core says "r", "w" or "rw"; the connection's waiter suspends the caller; the core steps again.
-- When the deadline passes first, the statement is cancelled on the server and its answer read to
-- the end within `cancel_grace`: the connection is kept if it is provably in order, else closed.
-- Nothing here knows SQL or results.
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"
local errors = require "luphant.errors"

local drive = {}

-- The core's deadlines are on core.now()'s clock, a waiter may have another.
local function on_waiters_clock(waiter, at)
  if not at or waiter.now == core.now then return at end
  return waiter.now() + (at - core.now())
end

local function turns(conn, want, limit)
  local box, wait, now = conn.box, conn.waiter.wait, conn.waiter.now
  local err, more
  while want ~= "done" do
    if not wait(box:fd(), want, limit) then return want end
    want, err, more = box:step()
    if not want then return nil, err, more end
    -- A server that never stops sending keeps the socket ready: waiting alone would see no deadline.
    if limit and want ~= "done" and now() >= limit then return want end
  end
  return want
end

-- Steps until the operation has ended. Answers "done" | nil, err, more | want when `limit` passed.
local function steps(conn, want, limit)
  conn.waiting = true -- see connection.close
  local ended, err, more = turns(conn, want, limit)
  conn.waiting = false
  return ended, err, more
end

-- Waits for a cancel request to be through. A request that is still on its way could hit whatever
-- runs next, so only a finished one counts.
local function settle(conn, cancel, limit)
  while not cancel:is_done() do
    if not conn.waiter.wait(cancel:fd(), "r", limit) then return false end
  end
  return true
end

-- Stops the statement and reads its answer. Answers how it ended: "done", "failed" (and the error),
-- or "lost" when the connection had to be closed.
local function stop(conn, want)
  local box, waiter = conn.box, conn.waiter
  local grace = conn.settings.cancel_grace
  local limit = waiter.now() + grace
  box:hold(true) -- nobody may start a statement that the request could still hit
  local cancel = box:start_cancel(grace)
  -- Nothing is read meanwhile: what the statement sends until the request reaches it would only fill memory.
  local through = cancel and settle(conn, cancel, limit)
  if cancel then cancel:close() end
  local ended, err = steps(conn, want, limit)
  box:hold(false)
  if box:state() == "idle" and through then
    if ended == "done" then return "done" end
    return "failed", err
  end
  box:close()
  return "lost", err
end

local function timed_out(how)
  local kept = how ~= "lost"
  return errors.new("query_timeout",
    "the statement ran longer than its time limit and was cancelled; the connection is "
      .. (kept and "in order" or "closed, because the server did not answer in time"), {
      sent = kept and "yes" or "maybe", connection = kept and "ok" or "closed", hint = not kept
        and "Whether the statement took effect is not known." or nil,
    })
end

local function closed_meanwhile(box)
  box:close()
  return errors.new("closed", "the connection was closed with conn:close() while this statement was under way",
    { sent = "maybe" })
end

-- A COPY whose rows can still be called off: none of them counts then.
local function call_off(conn, want)
  conn.box:discard()
  return nil, timed_out(stop(conn, want) == "lost" and "lost" or "done")
end

-- The deadline has passed. A statement that made it all the same has its result delivered: it did
-- take effect, and a failure would say the opposite.
local function expire(conn, want)
  local _, can_be_called_off = conn.box:is_copying()
  if can_be_called_off then return call_off(conn, want) end
  local is_stream = conn.box:is_streaming() -- the rest of its rows is of no use
  if is_stream then conn.box:discard() end
  local how, err = stop(conn, want)
  if how == "done" and not is_stream then return true end
  if how == "failed" and err and err.sqlstate ~= "57014" then return nil, err end
  return nil, timed_out(how)
end

--- Brings the operation that is under way on `conn` to its end.
---@param conn luphant.connection
---@param want string  what the core needs next
---@return true|nil  # ended well: the result can be taken
---@return luphant.error|nil
---@return string|nil  # "stale": see lconn.c
function drive.finish(conn, want)
  local box = conn.box
  local ended, err, more = steps(conn, want, on_waiters_clock(conn.waiter, box:deadline()))
  if conn.box ~= box then return nil, closed_meanwhile(box) end
  if ended == "done" then return true end
  if ended then return expire(conn, ended) end
  if more == "unread" then drive.abandon(conn, err) end
  return nil, err, more
end

--- After a failure in the middle of an answer (result too big): the rest of it is of no use.
---@param conn luphant.connection
---@param err luphant.error  gets to know what became of the connection
function drive.abandon(conn, err)
  local box = conn.box
  local want = box:step() -- all of it may have come already, and then there is nothing to wait for
  if box:state() == "busy" then stop(conn, want or "r") end
  err.connection = box:state() == "idle" and "ok" or "closed"
  return true
end

local DRAIN_SECONDS = 0.02 -- what is left of a short COPY has come by then

--- A COPY that nobody wants any more: rows on their way in are called off, those on their way out read away or
--- cancelled, all within cancel_grace. Answers whether the connection is in order; if not, it is closed.
---@param conn luphant.connection
---@param inward boolean
---@return boolean
function drive.leave_copy(conn, inward)
  local box, now = conn.box, conn.waiter.now
  box:discard()
  local want = box:step()
  if want and want ~= "done" then
    want = steps(conn, want, now() + (inward and conn.settings.cancel_grace or DRAIN_SECONDS))
  end
  if box:state() == "busy" then stop(conn, want or "r") end
  return box:state() == "idle"
end

--- Between two portions of a COPY: has its deadline passed? Waiting alone does not see that where nothing has to be
--- waited for, because the caller is the slow one. nil: go on; else the COPY is over and this is why.
---@param conn luphant.connection
---@param inward boolean
---@return luphant.error|nil
function drive.expire_copy(conn, inward)
  local at = conn.box:deadline()
  if not at or core.now() < at then return nil end
  return timed_out(drive.leave_copy(conn, inward) and "done" or "lost")
end

-- How much longer than its own deadline the dialling thread may take to report. It overstays only
-- inside one call of the resolver.
local REPORT_SLACK = 0.25

--- Waits until dialling has ended. The helper thread keeps the deadlines; this is the last resort
--- for a resolver that does not come back.
---@param conn luphant.connection
---@param seconds number|nil
---@return true|nil
---@return luphant.error|nil
function drive.dial(conn, seconds)
  local limit = seconds and conn.waiter.now() + seconds + REPORT_SLACK
  local ended, err = steps(conn, "r", limit)
  if ended == "done" then return true end
  if ended then
    return nil, errors.new("connect_timeout",
      ("no connection within %g seconds (still resolving a name or calculating for the password exchange)")
        :format(seconds))
  end
  return nil, err
end

--- Asks the server to stop what `conn` is doing; its verb then fails with kind query_canceled.
---@param conn luphant.connection
---@param seconds number
---@return true|nil
---@return luphant.error|nil
function drive.cancel(conn, seconds)
  local cancel, err = conn.box:start_cancel(seconds)
  if not cancel then return nil, err end
  local through = settle(conn, cancel, conn.waiter.now() + seconds)
  local sent, why
  if through then sent, why = cancel:result() end
  cancel:close()
  if sent then return true end
  return nil, errors.new("cancelled", why or ("the cancel request was not answered within %g seconds"):format(seconds))
end

return drive
