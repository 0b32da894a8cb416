-- transaction/levels.lua - a level of a transaction: how it begins, and how a function runs in it.
--
-- The outermost level is the transaction, each one inside it a savepoint. A function that raises, returns an error or
-- overlooks one has its level undone; the outermost level may then begin again (transaction/retry.lua).
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local compat = require "luphant.compat"
local core = require "luphant.core"
local ending = require "luphant.transaction.ending"
local members = require "luphant.transaction.methods"
local retry = require "luphant.transaction.retry"

local now = core.now

local levels = {}

---@class luphant.transaction
---@field private conn luphant.connection
---@field private box userdata
---@field private plan luphant.transaction.plan
---@field private root luphant.transaction
---@field private parent luphant.transaction|nil
---@field private number integer  which attempt
---@field private blocked "ended"|"child"|nil  why no statement may run in it now
---@field private state "committed"|"rolled back"|"released"|"unknown"|nil  nil: open
---@field private first_error luphant.error|nil
---@field private failure any  why it did not commit, though its function may not know
local metatable = { __name = "luphant.transaction", __index = members.methods }

function metatable.__tostring(self)
  local name = self.plan.name
  return ("luphant.transaction (%s%s)"):format(name and name .. ", " or "", self.state and "ended" or "open")
end

--- A `<close>` variable that was not committed is rolled back.
function metatable.__close(self, reason)
  if not self.state then members.abandon(self, reason) end
end

-------------------------------------------------------------------------------------- beginning

-- The server stops a statement a little later than we do: for when we are not there any more.
local SERVER_SLACK = 1

local function arm(self, conn, plan)
  local box = conn.box
  local at = plan.deadline
  local before = box:set_ceiling(at)
  self.has_ceiling, self.ceiling_before = true, before
  if before and before < at then box:set_ceiling(before) end
  local milliseconds = math.ceil((math.max(at - now(), 0) + SERVER_SLACK) * 1000)
  box:txn_set("statement_timeout", compat.digits(math.min(milliseconds, 2147483647)) .. "ms")
end

local BY_HAND = "a transaction was begun on this connection by hand: end it before beginning another"

--- Begins: the transaction, or nil and why not.
---@param conn luphant.connection
---@param plan luphant.transaction.plan
---@param number integer  which attempt it is
---@param causes? any[]   what the attempts before it failed with
function levels.start(conn, plan, number, causes)
  local box = conn.box
  local self = setmetatable({ conn = conn, box = box, plan = plan, number = number, started = 0 }, metatable)
  self.root, self.causes = self, causes
  conn.tx = self -- before the core begins: what raises from here on is noticed by check_ended
  local ok, at, listened = box:txn_begin(plan.mode)
  if ok == core.PENDING then -- a stream has something under way
    ok, at = ending.settle(conn)
    if ok then ok, at, listened = box:txn_begin(plan.mode) end
  end
  if ok == nil and conn.copying and conn.copying.settle(conn) then ok, at, listened = box:txn_begin(plan.mode) end
  if not ok then
    conn.tx = nil
    if ok == false then args.misuse(BY_HAND) end
    return nil, at
  end
  self.started = at
  if plan.settings then
    for _, each in ipairs(plan.settings) do box:txn_set(each[1], each[2]) end
  end
  if plan.deadline then arm(self, conn, plan) end
  if listened then conn.settings.observers:transaction_began(self) end
  return self
end

--- A savepoint in `parent`.
---@param parent luphant.transaction
function levels.nest(parent)
  local inner = setmetatable({
    conn = parent.conn, box = parent.box, plan = parent.plan, number = parent.number, started = now(), parent = parent,
    root = parent.root,
  }, metatable)
  parent.blocked, parent.conn.tx = "child", inner
  parent.box:txn_nest()
  local observers = parent.conn.settings.observers
  if observers then observers:transaction_began(inner) end
  return inner
end

---------------------------------------------------------------------------------------- scoped

local last_traceback

local function on_error(err)
  last_traceback = debug.traceback("", 2)
  return err
end

local attempt

-- fn raised. Whether that can be helped or not, the transaction is over.
local function raised(self, fn, reason)
  local traceback = last_traceback
  if not self.state then ending.roll_back(self, reason, traceback) end
  if self.parent then error(reason, 0) end
  local conn, err = retry.next(self, reason)
  if conn then return attempt(conn, fn, self.plan, self.number + 1, self.causes) end
  if err ~= nil then return nil, err end
  error(reason, 0)
end

local function failed(self, fn, reason)
  if self.parent then return nil, reason end
  local conn, err = retry.next(self, reason)
  if conn then return attempt(conn, fn, self.plan, self.number + 1, self.causes) end
  return nil, err == nil and reason or err
end

local function end_level(self)
  if self.parent then return ending.release(self) end
  return ending.commit(self)
end

-- Only a before_commit hook can raise here, and it makes it a rollback.
local function end_protected(self, fn, ...)
  local ok, done, why = xpcall(end_level, on_error, self)
  if not ok then return raised(self, fn, done) end
  if not done then return failed(self, fn, why) end
  return ...
end

local function conclude(self, fn, ok, ...)
  if not ok then return raised(self, fn, (...)) end
  if self.state then -- fn has ended it
    if self.failure ~= nil then return failed(self, fn, self.failure) end
    return ...
  end
  local value, reason = ...
  if value == nil and reason ~= nil then
    ending.roll_back(self, reason)
    return failed(self, fn, reason)
  end
  if self.hooks then return end_protected(self, fn, ...) end
  local done, why = end_level(self)
  if not done then return failed(self, fn, why) end
  return ...
end

--- Runs fn in a new transaction, again and again if the plan says so: what fn returned, after COMMIT, or nil and the
--- reason; raises what fn raised.
---@param fn fun(tx: luphant.transaction): any ...
function attempt(conn, fn, plan, number, causes)
  local self, err = levels.start(conn, plan, number, causes)
  if not self then
    -- It never began. Another connection may do.
    local dead = setmetatable({ conn = conn, box = conn.box, plan = plan, number = number, causes = causes }, metatable)
    return failed(dead, fn, err)
  end
  return conclude(self, fn, xpcall(fn, on_error, self))
end

levels.attempt = attempt

--- The same in a level that has begun inside another.
function levels.run_inner(inner, fn)
  return conclude(inner, fn, xpcall(fn, on_error, inner))
end

-- Errors may also come from our own statements (no memory) or from a waiter: then nobody knows what the server
-- holds open, and the session ends.
function levels.check_ended(conn, outer, ok, ...)
  if ok then return ... end
  local tx = conn.tx
  if tx ~= outer then
    local box = tx.box
    box:close()
    repeat
      tx.state, tx.blocked = tx.state or "rolled back", "ended"
      tx = tx.parent
    until tx == outer
    conn.tx = outer
    if outer then
      outer.blocked = nil
    else
      box:txn_end()
    end
  end
  error((...), 0)
end

return levels
