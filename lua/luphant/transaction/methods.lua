-- transaction/methods.lua - what a tx offers beside the verbs of its connection.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local bulk = require "luphant.bulk"
local compat = require "luphant.compat"
local core = require "luphant.core"
local ending = require "luphant.transaction.ending"
local hooks = require "luphant.transaction.hooks"
local lock = require "luphant.transaction.lock"

local methods = {}
local members = { methods = methods }

-------------------------------------------------------------------------------------- the verbs

local BLOCKED = {
  ended = "this transaction has ended",
  child = "a savepoint is open inside this transaction: use the inner tx until it ends",
}

-- A tx that has ended, or whose savepoint is being used instead, runs nothing.
function members.check_usable(self, level)
  if self.blocked then error(BLOCKED[self.blocked], (level or 1) + 1) end
end

local check_usable = members.check_usable

--- A verb of the connection: `run(conn, sql, ...)`.
---@param name string
---@param code integer  of the core
---@param complete function
function members.define(name, code, complete)
  methods[name] = function(self, sql, ...)
    if self.blocked then check_usable(self, 2) end
    local conn = self.conn
    local verb = code + conn.style
    local result, err, more = conn.box:run(verb, sql, ...)
    if err == nil and more == nil then return result end
    return complete(conn, verb, result, err, more, sql, ...)
  end
end

for _, name in ipairs {
  "values", "describe", "prepare", "script", "batch", "copy_in", "copy_out", "notify", "stream", "cursor",
} do
  methods[name] = function(self, ...)
    check_usable(self, 2)
    local conn = self.conn
    return conn[name](conn, ...)
  end
end

--- Any number of rows into a table; see luphant.connection. A failure counts like that of a statement.
---@param target string
---@param columns string[]
---@param rows table|fun(): table|nil
---@param options? luphant.bulk.options
---@return integer|table[]|nil
---@return luphant.error|nil
function methods:insert_many(target, columns, rows, options)
  check_usable(self, 2)
  local conn = self.conn
  local result, err = bulk.insert_many(self, conn, conn.settings.rows, target, columns, rows, options)
  if err == nil then return result end
  return nil, err
end

------------------------------------------------------------------------------------ how it ends

--- The innermost levels first, whoever left them open.
function members.abandon(self, reason)
  while self.conn.tx and self.conn.tx ~= self do ending.roll_back(self.conn.tx, reason) end
  ending.roll_back(self, reason)
end

local function end_level(self)
  if self.parent then return ending.release(self) end
  return ending.commit(self)
end

--- Ends the transaction (or savepoint): true once the server has answered COMMIT, else nil and the reason. It has
--- ended either way. Raises what a before_commit hook raised, after ROLLBACK.
---@return true|nil
---@return any
function methods:commit()
  check_usable(self, 2)
  local ok, done, why = pcall(end_level, self)
  if ok and done then return true end
  if ok then return nil, why end
  if not self.state then ending.roll_back(self, done) end
  error(done, 0)
end

--- The last statement, with COMMIT in the same flight: one round trip instead of two. Answers what tx:query answers;
--- unless the statement failed, the transaction has ended.
---@param sql string|table
---@param ... any
---@return table[]|nil
---@return luphant.error|nil
function methods:commit_with(sql, ...)
  check_usable(self, 2)
  if self.parent then error("commit_with ends the whole transaction; this is a savepoint in it", 2) end
  if type(sql) == "table" and sql.sql then sql = sql.sql end -- a prepared statement
  return ending.commit_with(self, sql, ...)
end

--- Rolls back and ends the transaction (or savepoint). Answers its arguments, or true without any, so that
--- `return tx:rollback(value)` leaves conn:transaction with a value and without an error.
function methods:rollback(...)
  check_usable(self, 2)
  ending.roll_back(self, nil)
  if select("#", ...) == 0 then return true end
  return ...
end

local function hook(kind)
  methods[kind] = function(self, fn)
    if type(fn) ~= "function" then error(kind .. " expects a function, got " .. args.show(fn), 2) end
    check_usable(self, 2)
    hooks.add(self, kind, fn)
  end
end

--- Before COMMIT leaves: fn(tx) may run statements; when it raises or returns nil and a reason, it is a rollback.
---@param fn fun(tx: luphant.transaction): any, any
function methods:before_commit(fn) end -- luacheck: ignore
hook "before_commit"

--- Once the server has answered COMMIT: fn(tx).
---@param fn fun(tx: luphant.transaction)
function methods:after_commit(fn) end -- luacheck: ignore
hook "after_commit"

--- Once the transaction, or the savepoint it was registered in, is rolled back: fn(tx, reason, traceback).
---@param fn fun(tx: luphant.transaction, reason: any, traceback: string|nil)
function methods:after_rollback(fn) end -- luacheck: ignore
hook "after_rollback"

--- When nobody knows whether it was committed: fn(tx, err).
---@param fn fun(tx: luphant.transaction, err: any)
function methods:after_unknown(fn) end -- luacheck: ignore
hook "after_unknown"

------------------------------------------------------------------------------------ what it tells

--- Is the transaction still open? Not when it has ended, its session is gone, or a statement inside ended it.
---@return boolean
function methods:is_open()
  if self.state or not ending.is_open(self) then return false end
  local _, _, has_strayed = self.box:txn_state()
  return not has_strayed
end

--- The transaction's id on the server, as digits: asks for it where it is not known. nil without an error when it has
--- none, because nothing was written yet. Answers while the transaction is open, and in its hooks.
---@return string|nil
---@return luphant.error|nil
function methods:id()
  if self.state then return self.root.last_id end
  if not ending.is_ours(self) then return nil end
  local id = self.box:txn_id()
  if id then return id end
  check_usable(self, 2)
  local _, begun = self.box:txn_state()
  if not begun then return nil end
  local value, err = self.conn:query_value(lock.id_query(self.conn))
  return value, err
end

--- Which attempt this is: 1, and one more each time that `retry` runs the function again.
---@return integer
function methods:attempt() return self.number end

--- Seconds since it began.
---@return number
function methods:elapsed() return core.now() - self.started end

--- A table for whatever belongs to the transaction: hooks and logs see it. It starts with the `tags` of the options
--- and their `name`; one for all levels of a transaction, a new one for each attempt.
---@return table
function methods:context()
  local root = self.root
  if not root.tags then
    root.tags = compat.copy(root.plan.tags)
    root.tags.name = root.plan.name
  end
  return root.tags
end

--- What is open inside it and will be closed before it ends: streams, cursors.
---@return table[]
function methods:resources()
  local list = {}
  for i, resource in ipairs(self.open_resources or {}) do list[i] = resource end
  return list
end

--- Takes an advisory lock that the end of the transaction releases. `key`: an integer, { integer, integer }, or a
--- string, of which the server takes hashtextextended(key, 0). Answers true, or false with `try` when somebody else
--- has it, or nil and an error (lock_not_available after `timeout` seconds); the transaction goes on then.
---@param key integer|integer[]|string
---@param given? { try?: boolean, shared?: boolean, timeout?: number }
---@return boolean|nil
---@return luphant.error|nil
function methods:advisory_lock(key, given)
  check_usable(self, 2)
  return lock.take(self, key, given)
end

return members
