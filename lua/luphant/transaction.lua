-- transaction.lua - conn:transaction(fn): all or nothing, and the truth about which.
--
-- BEGIN, fn(tx), COMMIT. Rolled back when fn raises, when it returns nil and an error, and when a
-- statement in it failed, even if fn ignored that: the first failure is what the caller gets. A
-- transaction inside a transaction is a savepoint. COMMIT counts only when the server says COMMIT:
-- for a failed transaction it answers ROLLBACK, without an error.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local compat = require "luphant.compat"
local errors = require "luphant.errors"

local unpack = compat.unpack

local transaction = {}

---@class luphant.transaction
---@field private conn luphant.connection
---@field private depth integer
---@field private first_error luphant.error|nil
---@field private ended boolean
local methods = {}
local metatable = { __name = "luphant.transaction", __index = methods }

local VERBS = {
  "query", "query_one", "query_opt", "query_value", "query_column", "execute", "values", "describe", "prepare",
  "script",
}

-- A tx whose function has returned, or whose savepoint is being used instead, runs nothing.
local function check_usable(self)
  if self.ended then error("this transaction has ended", 3) end
  if self.child then error("a savepoint is open inside this transaction: use the inner tx until it ends", 3) end
end

for _, verb in ipairs(VERBS) do
  methods[verb] = function(self, ...)
    check_usable(self)
    local conn = self.conn
    return conn[verb](conn, ...)
  end
end

-- Verdicts on a result, not on a statement: what was asked of the server was done.
local VERDICTS = { no_rows = true, too_many_rows = true }

--- The connection tells of a statement that failed while a transaction is open, whoever ran it. The
--- transaction (or savepoint) it failed in can then only be rolled back; with the session all of them are gone.
---@param conn luphant.connection
---@param err luphant.error
function transaction.note(conn, err)
  local tx = conn.tx
  if not tx or VERDICTS[err.kind] then return end
  local lost = not conn:is_open()
  repeat
    tx.first_error = tx.first_error or err
    tx = lost and tx.parent
  until not tx
end

-- A transaction command: runs as plain text (nothing to prepare), answers its command tag.
local function control(conn, sql)
  local results, err = conn:script(sql)
  if not results then return nil, err end
  return results[1].command
end

-------------------------------------------------------------------------------------- how it ends

local function ended(self)
  self.ended = true
  self.conn.tx = self.parent
  if self.parent then self.parent.child = nil end
end

local function undo(self)
  local conn = self.conn
  if not conn:is_open() then return true end
  if self.depth == 1 then return control(conn, "rollback") end
  local name = "luphant_" .. self.depth
  return control(conn, ("rollback to savepoint %s; release savepoint %s"):format(name, name))
end

-- Rolls back and answers nil and the reason. A rollback that fails leaves a session nobody may use.
local function give_up(self, reason)
  local ok = undo(self)
  ended(self)
  if not ok and self.conn:is_open() then self.conn.box:close() end
  return nil, reason
end

local function failed_inside(self)
  if self.first_error then return self.first_error end
  if not self.conn:is_open() then
    return errors.new("closed", "the connection was closed inside the transaction, which ended with it")
  end
  return errors.new("tx_state", "the transaction failed before it could be committed", { sqlstate = "25P02" })
end

local function commit(self)
  local conn = self.conn
  local sql = self.depth == 1 and "commit" or "release savepoint luphant_" .. self.depth
  local tag, err = control(conn, sql)
  if tag == nil and self.depth > 1 then return give_up(self, err) end
  ended(self)
  if tag == nil then
    if not conn:is_open() and err.sent ~= "no" then
      return nil, errors.new("commit_unknown",
        "the connection was lost while COMMIT was under way: the transaction may or may not have been committed",
        { sent = "maybe", cause = err })
    end
    return nil, err
  end
  if tag ~= "COMMIT" and tag ~= "RELEASE" then return nil, failed_inside(self) end
  return true
end

-- What `fn` returned: pcall's answer, packed.
local function conclude(self, result)
  if not result[1] then
    local reason = result[2]
    give_up(self, reason)
    error(reason, 0)
  end
  if result[2] == nil and result[3] ~= nil then return give_up(self, result[3]) end
  if self.first_error or not self.conn:is_open() then return give_up(self, failed_inside(self)) end
  local status = self.conn:transaction_status()
  if status == "inerror" then return give_up(self, failed_inside(self)) end
  if status ~= "intrans" then
    ended(self)
    return nil, errors.new("tx_state",
      "the transaction was ended by a statement inside it (COMMIT or ROLLBACK); leave that to transaction()")
  end
  local ok, err = commit(self)
  if not ok then return nil, err end
  return unpack(result, 2, result.n)
end

------------------------------------------------------------------------------------- how it begins

local OPTIONS = {
  isolation = { one_of = { "read committed", "repeatable read", "serializable", "read uncommitted" } },
  read_only = { type = "boolean" },
  deferrable = { type = "boolean" },
}

local function begin_text(options)
  local words = { "begin" }
  if options.isolation then words[#words + 1] = "isolation level " .. options.isolation end
  if options.read_only ~= nil then words[#words + 1] = options.read_only and "read only" or "read write" end
  if options.deferrable ~= nil then words[#words + 1] = options.deferrable and "deferrable" or "not deferrable" end
  return table.concat(words, " ")
end

local function run(self, fn, sql)
  local tag, err = control(self.conn, sql)
  if not tag then
    ended(self)
    return nil, err
  end
  return conclude(self, compat.pack(pcall(fn, self)))
end

-- run, whose errors may also come from its own statements (no memory): then nobody knows what the server
-- holds open, and the session ends.
local function check_ended(self, ok, ...)
  if ok then return ... end
  if not self.ended then
    ended(self)
    self.conn.box:close()
  end
  error((...), 0)
end

local function attempt(self, fn, sql)
  return check_ended(self, pcall(run, self, fn, sql))
end

local function check_function(fn)
  if type(fn) ~= "function" then error("transaction expects a function, got a " .. type(fn), 3) end
end

--- conn:transaction(fn, options): what fn(tx) returns, after COMMIT; or nil and the reason.
--- An error raised in fn is raised again, after ROLLBACK.
---@param conn luphant.connection
---@param fn fun(tx: luphant.transaction): any ...
---@param options? { isolation?: string, read_only?: boolean, deferrable?: boolean }
function transaction.run(conn, fn, options)
  check_function(fn)
  options = args.check(options or {}, OPTIONS, "transaction option", 2)
  if conn.tx then error("a transaction is open on this connection: use tx:transaction for a savepoint", 2) end
  if conn:transaction_status() == "intrans" or conn:transaction_status() == "inerror" then
    error("a transaction was begun on this connection by hand: end it before conn:transaction", 2)
  end
  local self = setmetatable({ conn = conn, depth = 1, ended = false }, metatable)
  local sql = begin_text(options)
  conn.tx = self
  return attempt(self, fn, sql)
end

--- tx:transaction(fn): a savepoint. Its failure leaves the outer transaction usable.
---@param fn fun(tx: luphant.transaction): any ...
function methods:transaction(fn, options)
  check_function(fn)
  check_usable(self)
  if options and next(options) then error("a savepoint takes no options; give them to the outer transaction", 2) end
  local inner = setmetatable({ conn = self.conn, depth = self.depth + 1, parent = self, ended = false }, metatable)
  local sql = "savepoint luphant_" .. inner.depth
  self.child, self.conn.tx = inner, inner
  return attempt(inner, fn, sql)
end

--- Is the transaction still open?
function methods:is_open()
  return not self.ended and self.conn:is_open()
end

function metatable:__tostring()
  return ("luphant.transaction (%s)"):format(self.ended and "ended" or "open")
end

return transaction
