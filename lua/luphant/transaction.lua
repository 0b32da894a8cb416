-- transaction.lua - all or nothing, and the truth about which: conn:transaction(fn), conn:begin().
--
-- BEGIN waits for the first statement and travels with it; a transaction that runs none never talks to the server.
-- It is rolled back when fn raises, when fn returns nil and an error, and when a statement in it failed, even if fn
-- ignored that: the first failure is what the caller gets. A transaction inside a transaction is a savepoint. The end
-- is in transaction/ending.lua, running again in transaction/retry.lua, hooks in transaction/hooks.lua.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local compat = require "luphant.compat"
local core = require "luphant.core"
local ending = require "luphant.transaction.ending"
local errors = require "luphant.errors"
local levels = require "luphant.transaction.methods"
local options = require "luphant.transaction.options"
local retry = require "luphant.transaction.retry"

local now, methods, check_usable = core.now, levels.methods, levels.check_usable

local transaction = {}

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
local metatable = { __name = "luphant.transaction", __index = methods }

-------------------------------------------------------------------------------------- beginning

-- Verdicts on a result, not on a statement: what was asked of the server was done.
local VERDICTS = { no_rows = true, too_many_rows = true }

local function close_to(err, cause)
  err.kind, err.class, err.retryable, err.cause = "tx_closed", "transaction", false, cause
  err.message = "the session of this transaction is gone, and the transaction with it: nothing was sent"
end

--- The connection tells of a statement that failed while a transaction is open, whoever ran it. The
--- transaction (or savepoint) it failed in can then only be rolled back; with the session all of them are gone.
---@param conn luphant.connection
---@param err luphant.error
function transaction.note(conn, err)
  local tx = conn.tx
  if not tx or VERDICTS[err.kind] then return end
  local root = tx.root
  local is_lost = not ending.is_open(tx)
  if is_lost and root.lost then
    close_to(err, root.lost)
  elseif is_lost then
    root.lost = err
  end
  repeat
    tx.first_error = tx.first_error or err
    tx = is_lost and tx.parent
  until not tx
end

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

---@param plan luphant.transaction.plan
---@param number integer
local function start(conn, plan, number, causes)
  local box = conn.box
  local ok, err = box:txn_begin(plan.mode)
  if not ok then
    if ok == false then args.misuse(BY_HAND) end
    return nil, err
  end
  local self = setmetatable({ conn = conn, box = box, plan = plan, number = number, started = now() }, metatable)
  self.root, self.causes = self, causes
  if plan.settings then
    for _, each in ipairs(plan.settings) do box:txn_set(each[1], each[2]) end
  end
  if plan.deadline then arm(self, conn, plan) end
  conn.tx = self
  return self
end

local function nest(parent)
  local inner = setmetatable({
    conn = parent.conn, box = parent.box, plan = parent.plan, number = parent.number, started = now(), parent = parent,
    root = parent.root,
  }, metatable)
  parent.box:txn_nest()
  parent.blocked, parent.conn.tx = "child", inner
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

function attempt(conn, fn, plan, number, causes)
  local self, err = start(conn, plan, number, causes)
  if not self then
    -- It never began. Another connection may do.
    local dead = setmetatable({ conn = conn, box = conn.box, plan = plan, number = number, causes = causes }, metatable)
    return failed(dead, fn, err)
  end
  return conclude(self, fn, xpcall(fn, on_error, self))
end

-- Errors may also come from our own statements (no memory) or from a waiter: then nobody knows what the server
-- holds open, and the session ends.
local function check_ended(conn, outer, ok, ...)
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

local function check_function(fn, level)
  if type(fn) ~= "function" then error("transaction expects a function, got a " .. type(fn), (level or 2) + 1) end
end

local function check_free(conn, level)
  if conn.tx then error("a transaction is open on this connection: use tx:transaction for a savepoint", level + 1) end
end

local function set_deadlines(plan)
  if plan.timeout then plan.deadline = now() + plan.timeout end
  if plan.retry then
    local own = plan.retry.timeout and now() + plan.retry.timeout
    plan.retry_until = own and plan.deadline and math.min(own, plan.deadline) or own or plan.deadline
  end
end

--- conn:transaction(fn, options): what fn(tx) returns, after COMMIT; or nil and the reason.
--- An error raised in fn is raised again, after ROLLBACK.
---@param conn luphant.connection
---@param fn fun(tx: luphant.transaction): any ...
---@param given? luphant.transaction.options
function transaction.run(conn, fn, given)
  check_function(fn)
  local plan = options.parse(given, 2)
  check_free(conn, 2)
  if given then set_deadlines(plan) end
  return check_ended(conn, nil, pcall(attempt, conn, fn, plan, 1))
end

local function release(plan, ok, ...)
  if plan.conn then plan.lease.release(plan.conn) end
  if not ok then error((...), 0) end
  return ...
end

local function run_on_lease(plan, fn)
  local conn, err = plan.acquire()
  if not conn then return nil, err end
  return attempt(conn, fn, plan, 1)
end

--- The same for a pool. The connection is kept from attempt to attempt, unless it was lost.
---@param lease { acquire: (fun(deadline: number|nil): luphant.connection|nil, luphant.error|nil),
---release: fun(conn: luphant.connection), now?: fun(): number }  `now`: the clock of `deadline`, default core.now
---@param fn fun(tx: luphant.transaction): any ...
---@param given? luphant.transaction.options
---@param level? integer  who is to blame for misuse, as in error(); default: the caller
function transaction.run_leased(lease, fn, given, level)
  level = (level or 1) + 1
  check_function(fn, level)
  local plan = options.parse(given or {}, level)
  set_deadlines(plan)
  local clock = lease.now or now
  local limit = plan.timeout and clock() + plan.timeout
  plan.lease = lease
  function plan.acquire()
    local conn, err = lease.acquire(limit)
    plan.conn = conn
    return conn, err
  end
  return release(plan, pcall(run_on_lease, plan, fn))
end

-------------------------------------------------------------------------------------- by hand

--- conn:begin(options): a transaction that its user ends, by tx:commit(), tx:rollback(), or by leaving the block it is
--- a `<close>` variable of (then it is rolled back).
---@param conn luphant.connection
---@param given? luphant.transaction.options
---@return luphant.transaction|nil
---@return luphant.error|nil
function transaction.begin(conn, given)
  local plan = options.parse(given, 2)
  if plan.retry then error("retry needs a function to run again: conn:transaction(fn, { retry = ... })", 2) end
  check_free(conn, 2)
  if given then set_deadlines(plan) end
  return start(conn, plan, 1)
end

-- A savepoint in a transaction that has failed would only be told so.
local function refuse_savepoint(self)
  if not self.first_error or self.box:transaction_status() ~= "inerror" then return nil end
  return errors.new("tx_state", "the transaction has failed already: no savepoint can begin in it",
    { sqlstate = "25P02", cause = self.first_error })
end

local function check_no_options(given)
  if given and next(given) then error("a savepoint takes no options; give them to the outer transaction", 3) end
end

local function inner_attempt(inner, fn)
  return conclude(inner, fn, xpcall(fn, on_error, inner))
end

--- tx:transaction(fn): a savepoint. Its failure leaves the outer transaction usable.
---@param fn fun(tx: luphant.transaction): any ...
function methods:transaction(fn, given)
  check_function(fn)
  check_usable(self, 2)
  check_no_options(given)
  local err = refuse_savepoint(self)
  if err then return nil, err end
  return check_ended(self.conn, self, pcall(inner_attempt, nest(self), fn))
end

--- tx:begin(): a savepoint that its user ends, by commit or rollback.
---@return luphant.transaction|nil
---@return luphant.error|nil
function methods:begin(given)
  check_usable(self, 2)
  check_no_options(given)
  local err = refuse_savepoint(self)
  if err then return nil, err end
  return nest(self)
end

------------------------------------------------------------------------------------ for others

--- connection.lua gives the verbs, which are its own.
transaction.define = levels.define

--- What connection.lua does for us.
---@param deliver_notices fun(conn: luphant.connection)
---@param query_and_commit fun(conn: luphant.connection, sql: string|table, ...): table[]|nil, luphant.error|nil
function transaction.serve(deliver_notices, query_and_commit)
  ending.deliver_notices, ending.query_and_commit = deliver_notices, query_and_commit
end

--- Sends a BEGIN that waits for its first statement.
transaction.open = ending.open

--- Something that is open inside the transaction, with a method close: it is closed before the transaction ends.
---@param tx luphant.transaction
---@param resource { close: fun(self: any) }
function transaction.register(tx, resource)
  local list = tx.open_resources or {}
  tx.open_resources = list
  list[#list + 1] = resource
end

--- It has been closed before that.
function transaction.unregister(tx, resource)
  local list = tx.open_resources or {}
  for i = #list, 1, -1 do
    if list[i] == resource then table.remove(list, i) end
  end
end

function metatable.__tostring(self)
  local name = self.plan.name
  return ("luphant.transaction (%s%s)"):format(name and name .. ", " or "", self.state and "ended" or "open")
end

--- A `<close>` variable that was not committed is rolled back.
function metatable.__close(self, reason)
  if not self.state then levels.abandon(self, reason) end
end

return transaction
