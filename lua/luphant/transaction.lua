-- transaction.lua - all or nothing, and the truth about which: conn:transaction(fn), conn:begin().
--
-- BEGIN waits for the first statement and travels with it; a transaction that runs none never talks to the server.
-- It is rolled back when fn raises, when fn returns nil and an error, and when a statement in it failed, even if fn
-- ignored that: the first failure is what the caller gets. A transaction inside a transaction is a savepoint. How a
-- level runs is in transaction/levels.lua, how it ends in ending.lua, running it again in retry.lua.
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"
local ending = require "luphant.transaction.ending"
local errors = require "luphant.errors"
local levels = require "luphant.transaction.levels"
local members = require "luphant.transaction.methods"
local options = require "luphant.transaction.options"

local now, methods, check_usable = core.now, members.methods, members.check_usable

local transaction = {}

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
  if conn.tx then check_free(conn, 2) end
  if given then set_deadlines(plan) end
  return levels.check_ended(conn, nil, pcall(levels.attempt, conn, fn, plan, 1))
end

local function release(plan, ok, ...)
  local conn = plan.conn
  if conn and not ok then pcall(levels.check_ended, conn, nil, false, (...)) end
  if conn then plan.lease.release(conn) end
  if not ok then error((...), 0) end
  return ...
end

-- No closure over the plan: a pool keeps the functions on the way to a borrowing, to tell where it was, and with them
-- the connection and the coroutine that holds it, which then could never be found abandoned.
local function acquire(plan)
  local conn, err = plan.lease.acquire(plan.limit)
  plan.conn = conn
  return conn, err
end

local function run_on_lease(plan, fn)
  local conn, err = acquire(plan)
  if not conn then return nil, err end
  return levels.attempt(conn, fn, plan, 1)
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
  local plan = options.parse(given, level)
  if given then
    set_deadlines(plan)
    local clock = lease.now or now
    plan.limit = plan.timeout and clock() + plan.timeout
    plan.lease, plan.acquire = lease, acquire
  else
    plan = { mode = plan.mode, lease = lease, acquire = acquire } -- it gets a connection; the plain plan is everybody's
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
  return levels.check_ended(conn, nil, pcall(levels.start, conn, plan, 1))
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


--- tx:transaction(fn): a savepoint. Its failure leaves the outer transaction usable.
---@param fn fun(tx: luphant.transaction): any ...
function methods:transaction(fn, given)
  check_function(fn)
  check_usable(self, 2)
  check_no_options(given)
  local err = refuse_savepoint(self)
  if err then return nil, err end
  return levels.check_ended(self.conn, self, pcall(levels.run_inner, levels.nest(self), fn))
end

--- tx:begin(): a savepoint that its user ends, by commit or rollback.
---@return luphant.transaction|nil
---@return luphant.error|nil
function methods:begin(given)
  check_usable(self, 2)
  check_no_options(given)
  local err = refuse_savepoint(self)
  if err then return nil, err end
  return levels.nest(self)
end

------------------------------------------------------------------------------------ for others

--- connection.lua gives the verbs, which are its own.
transaction.define = members.define

--- What connection.lua does for us.
---@param deliver_notices fun(conn: luphant.connection)
---@param complete function  brings a call that did not end in one go to its end
---@param query_code integer  conn:query with COMMIT in the same flight, as a verb's number
---@param settle fun(conn: luphant.connection): true|nil, luphant.error|nil  see stream/settle.lua
function transaction.serve(deliver_notices, complete, query_code, settle)
  ending.deliver_notices, ending.complete, ending.query_code = deliver_notices, complete, query_code
  ending.settle = settle
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

return transaction

