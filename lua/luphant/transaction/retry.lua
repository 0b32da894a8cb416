-- transaction/retry.lua - running a transaction's function, and running it again.
--
-- Again, as a whole and in a new transaction, when it failed because of others: serialization_failure (40001) and
-- deadlock_detected (40P01), wherever they came up, COMMIT included. The pauses in between are random, up to 5 ms,
-- 10 ms, 20 ms ... 1 s ("full jitter"), so that those who met do not meet again. Nothing is run again after
-- commit_unknown, and no savepoint on its own.
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"
local ending = require "luphant.transaction.ending"
local errors = require "luphant.errors"

local FIRST_PAUSE, LONGEST_PAUSE = 0.005, 1

local retry = {}

-- Park and Miller's generator: LuaJIT's math.random gives every process the same pauses, and is the program's.
local seed = math.floor((os.time() * 1000 + core.now() * 1e6) % 2147483646) + 1
local function random()
  seed = seed * 16807 % 2147483647
  return seed / 2147483647
end

--- How long to wait after so many failed attempts; `chance` between 0 and 1.
---@param failed integer
---@param chance number
---@return number seconds
function retry.pause(failed, chance)
  return chance * math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ^ math.min(failed - 1, 30))
end

local function may_help(plan, reason)
  if errors.is(reason, "40001", "40P01") then return true end
  -- A lent connection that turned out to be dead before anything had left: another one may not be.
  return plan.lease ~= nil and errors.is_error(reason) and reason.kind == "closed" and reason.sent == "no"
end

-- Errors that were made on the way: the last one carries them.
local function annotate(reason, causes, number)
  if number > 1 and errors.is_error(reason) then
    reason.attempts, reason.causes = number, causes
  end
end

-- The pause before the next attempt; nil: there is none.
local function pause_of(tx, reason)
  local plan = tx.plan
  local policy = plan.retry
  if not policy or tx.state == "unknown" or tx.state == "committed" then return nil end
  if tx.number > policy.max or not may_help(plan, reason) then return nil end
  if not plan.lease and not ending.is_open(tx) then return nil end
  local pause = retry.pause(tx.number, random())
  if plan.retry_until and core.now() + pause >= plan.retry_until then return nil end
  return pause
end

-- The connection for the next attempt: the same one, unless it is gone.
local function connection_for(tx)
  local plan, conn = tx.plan, tx.conn
  if ending.is_open(tx) then return conn end
  plan.lease.release(conn)
  plan.conn = nil
  local err
  conn, err = plan:acquire()
  return conn, err
end

--- After an attempt that was rolled back. Answers what the next ones came to - a function of the loop, its
--- connection, its causes - or nothing when there is none.
---@param tx luphant.transaction
---@param reason any  what the attempt failed with
---@return luphant.connection|nil
---@return any err  when another connection could not be had
function retry.next(tx, reason)
  if not tx.plan.retry then return nil end
  local pause = pause_of(tx, reason)
  if not pause then
    annotate(reason, tx.causes, tx.number)
    return nil
  end
  local causes = tx.causes or {}
  causes[#causes + 1] = reason
  tx.causes = causes
  local waiter = tx.conn.waiter
  waiter.sleep(waiter.now() + pause)
  return connection_for(tx)
end

return retry
