-- pool/lending.lua - borrowing a connection for more than one statement: acquire, with, transaction.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local borrow = require "luphant.pool.borrow"
local deadline = require "luphant.deadline"
local handle = require "luphant.pool.handle"
local keep = require "luphant.pool.keep"
local transaction = require "luphant.transaction"

local lending, methods = {}, {}

local ACQUIRE = { timeout = { type = "number", above = 0, none = true } }

-- Until when a borrower waits; `timeout`: false = as long as it takes, nil = as usual.
local function limit_of(self, timeout)
  if self.auto then self:choose_waiter() end -- before its clock is asked
  if timeout == nil then timeout = self.settings.acquire_timeout end
  return timeout and self.waiter.now() + timeout or nil
end

local function timeout_of(options, level)
  if options == nil then return nil end
  local given = args.check(options, ACQUIRE, "acquire option", level + 1)
  return options.timeout and given.timeout
end

local function lend(self, slot)
  local lent = handle.new(self.sessions[slot], self.current_task())
  self.handles[slot] = lent
  if self.owners[slot] then self.owners[slot] = nil end
  self:watch_over(slot)
  self.core:remember(slot)
  if self.has_tasks and not self.keeper then keep.start(self) end -- also if it never comes back
  return lent
end

-- What self.lend could not do. `slot, due`: what it had taken already.
local function acquire_slowly(self, limit, slot, due)
  if slot == nil then
    local lent
    lent, slot, due = self.core:lend(true) -- the waiter has been chosen by now
    if lent then return lent end
  end
  if slot == nil and not self.closed then slot, due = self.core:take() end
  if slot == nil or due ~= nil or not self.direct then
    local err
    slot, err = borrow.slot(self, limit, slot, due)
    if not slot then return nil, err end
  end
  return lend(self, slot)
end

-- A connection within so many seconds: false = as long as it takes, nil = as usual; not later than `limit`.
local function acquire(self, timeout, limit)
  local lent, slot, due = self.core:lend()
  if lent then return lent end
  return acquire_slowly(self, deadline.sooner(limit, limit_of(self, timeout)), slot, due)
end

--- Borrows a connection: give it back with conn:release() (or let `<close>` do it).
---@param options? { timeout?: number|false }  seconds to wait for one; default acquire_timeout
---@return luphant.connection|nil conn
---@return luphant.error|nil err  kinds: pool_timeout, pool_exhausted, pool_self_deadlock, pool_overflow, pool_closed,
---and those of connecting when that cannot succeed
function methods:acquire(options)
  local lent, slot, due, err
  if options == nil then
    lent, slot, due = self.core:lend()
    if lent then return lent end
  end
  lent, err = acquire_slowly(self, limit_of(self, timeout_of(options, 2)), slot, due)
  return lent, err
end

--- The same where the core's function is the method: what that could not do.
function lending.acquire_from_core(self, options, slot, due)
  local lent, err = acquire_slowly(self, limit_of(self, timeout_of(options, 3)), slot, due)
  return lent, err
end

local function give_back(lent, ok, ...)
  lent:release()
  if not ok then error((...), 0) end
  return ...
end

--- Calls fn with a borrowed connection and gives it back, whatever happens. Answers what fn returns; an error is
--- raised again.
---@param fn fun(conn: luphant.connection): any ...
---@param options? { timeout?: number|false }
function methods:with(fn, options)
  if type(fn) ~= "function" then error("with expects a function, got " .. args.show(fn), 2) end
  local timeout = timeout_of(options, 2)
  local lent, err = acquire(self, timeout)
  if not lent then return nil, err end
  return give_back(lent, pcall(fn, lent))
end

--- After something was tried that keeps the connection when it works.
function lending.keep_or_release(lent, ok, kept, ...)
  if not (ok and kept) then lent:release() end
  if not ok then error(kept, 0) end
  return kept, ...
end

local function release(lent) lent:release() end

-- Where a transaction gets its connection, and another one when it runs again after losing it.
local function lease_of(self)
  if not self.lease then
    self.lease = {
      acquire = function(limit) return acquire(self, nil, limit) end,
      release = release,
      now = function() return self.waiter.now() end,
    }
  end
  return self.lease
end

-- What keeps a call from being a tail call, whose caller's line nobody could tell any more.
local function through(...) return ... end

--- conn:transaction on a borrowed connection; see docs/guide/transactions.md.
---@param fn fun(tx: luphant.transaction): any ...
---@param options? table
function methods:transaction(fn, options)
  return through(transaction.run_leased(lease_of(self), fn, options, 2))
end

--- Connects min_connections now.
---@return true|nil
---@return luphant.error|nil
function lending.fill(self)
  keep.tick(self)
  if self.has_tasks then -- they are on it
    keep.start(self)
    return true
  end
  if self.core:counts().total < self.settings.min_connections then return nil, self.last_error end
  return true
end

function lending.add(class)
  for name, method in pairs(methods) do class[name] = method end
end

lending.limit_of, lending.acquire, lending.acquire_within = limit_of, acquire, acquire_slowly
return lending
