-- luphant.migrate.lint.script - runs the way forward of a migration written in Lua, and looks what each call of the
-- database does.
--
-- In a transaction it runs twice, as one in SQL does: to be looked at and rolled back, then for good. Without one it
-- runs once; the locks of a statement that has committed are gone and cannot be seen, so they are those that its text
-- lets expect. What comes row by row (streams, cursors) passes unobserved. A backfill in pieces (db:batch) is done in
-- one statement: there is no history here to remember a piece in.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"
local core = require "luphant.core"
local ddl_of = require "luphant.migrate.ddl"
local locks_of = require "luphant.migrate.lint.locks"
local observe = require "luphant.migrate.lint.observe"
local script = require "luphant.migrate.script"

local M = {}

local OBSERVED = {}
for name in ([[query query_one query_opt query_value query_column execute values script batch insert_many
  copy_in copy_out]]):gmatch "%S+" do OBSERVED[name] = true end

local DEEPEST = 60 -- calls between the file and the database, at most

-- The line of the file that is being run.
local function line_of(file)
  for level = 3, DEEPEST do
    local info = debug.getinfo(level, "Sl")
    if not info then return 1 end
    if info.source == "@" .. file then return info.currentline end
  end
  return 1
end

-- What the call says: its SQL, or its name and the table.
local function text_of(name, first)
  if type(first) ~= "string" then return name end
  return (name == "insert_many" or name:find "^copy_") and name .. " " .. first or first
end

local function assumed_locks(sql)
  local list = {}
  for i, lock in ipairs(locks_of.of(ddl_of.read(sql))) do
    list[i] = { relation = (lock.relation.text:gsub("^public%.", "")), mode = lock.mode }
  end
  return list
end

local function add(run, sql, line, before, after, duration)
  local seen = observe.difference(run.origin, before, after)
  if not run.transaction then seen.locks, seen.held = assumed_locks(sql), assumed_locks(sql) end
  run.traced.statements[#run.traced.statements + 1] = {
    statement = { sql = sql, line = line, column = 1 }, seen = seen, assumed = not run.transaction,
    duration_ms = duration,
  }
end

local function results_of(...) return { count = select("#", ...), ... } end

local function observed(run, q, name, verb, ...)
  local sql, line = text_of(name, (...)), line_of(run.file)
  local before = observe.snapshot(q)
  local began = core.now()
  local results = results_of(verb(q, ...))
  local duration = (core.now() - began) * 1000
  local after = before and observe.snapshot(q) -- nil behind a statement that has failed
  if after then add(run, sql, line, before, after, duration) end
  return compat.unpack(results, 1, results.count)
end

-- Stands for a connection or a transaction; what it answers is theirs.
local function stand_in(run, q)
  local self = {}
  return setmetatable(self, {
    __index = function(_, name)
      local value = q[name]
      if type(value) ~= "function" then return value end
      return function(first, ...)
        if not rawequal(first, self) then return value(first, ...) end
        if name == "transaction" then
          local fn = ...
          return value(q, function(inner) return fn(stand_in(run, inner)) end, select(2, ...))
        end
        if OBSERVED[name] then return observed(run, q, name, value, ...) end
        return value(q, ...)
      end
    end,
  })
end

-- The statement that does all pieces at once.
local function in_one(given)
  if given.sql then return (given.sql:gsub("{range}", "true")) end
  local where = given.where and " where " .. given.where or ""
  if given.delete then return ("delete from %s%s"):format(given.table, where) end
  return ("update %s set %s%s"):format(given.table, given.set, where)
end

local NEVER_STOPS = { watch = { wants_stop = function() return false end } }

-- What the runner would call the function with.
local function view_of(run, q)
  local view = script.view({ session = NEVER_STOPS, in_transaction = run.transaction }, q)
  local self = {}
  return setmetatable(self, {
    __index = function(_, name)
      local value = view[name]
      if type(value) ~= "function" then return value end
      return function(first, given, ...)
        if not rawequal(first, self) then return value(first, given, ...) end
        local is_backfill = name == "batch" and type(given) == "table" and given.table and not run.transaction
        if is_backfill then return q:execute(in_one(given)) end
        return value(view, given, ...)
      end
    end,
  })
end

-- As the runner judges it: it fails when it raises, answers false, or nil and a reason.
local function call(fn, q)
  local ok, answer, reason = pcall(fn, q)
  if not ok then return nil, answer end
  if answer == false or (answer == nil and reason ~= nil) then return nil, reason or "answered false" end
  return true
end

local UNDO = {}

local function failed(run, err)
  local message = type(err) == "table" and err.message or tostring(err)
  local line = message:match(run.file:gsub("%p", "%%%0") .. ":(%d+): ")
  run.traced.failed = {
    statement = { sql = "", line = tonumber(line) or 1, column = 1 },
    err = type(err) == "table" and err or { message = message },
  }
end

local function look(run, conn, fn)
  local done, err = conn:transaction(function(tx)
    local why
    run.origin, why = observe.snapshot(tx)
    if not run.origin then return nil, why end
    local ok
    ok, why = call(fn, view_of(run, stand_in(run, tx)))
    return nil, ok and UNDO or why
  end)
  if done or err == UNDO then return end
  failed(run, err)
end

local function for_good(run, conn, fn)
  local done, err = conn:transaction(function(tx) return call(fn, view_of(run, tx)) end)
  if not done then failed(run, err) end
end

local function without_transaction(run, conn, fn)
  local err
  run.origin, err = observe.snapshot(conn)
  if not run.origin then return nil, err end
  local done
  done, err = call(fn, view_of(run, run.is_wanted and stand_in(run, conn) or conn))
  if not done then failed(run, err) end
  return true
end

--- Runs it, and fills `traced`.
---@param conn table
---@param migration luphant.migrate.Migration
---@param traced luphant.migrate.lint.Traced
---@param is_wanted boolean is it to be looked at?
---@return true?
---@return table? err the connection was lost
function M.run(conn, migration, traced, is_wanted)
  local fn = migration.script.up
  local run = {
    traced = traced, file = migration.file, transaction = migration.transaction ~= false, is_wanted = is_wanted,
  }
  if not run.transaction then return without_transaction(run, conn, fn) end
  if is_wanted then look(run, conn, fn) end
  if not traced.failed then for_good(run, conn, fn) end
  if conn:is_open() then return true end
  return nil, traced.failed and traced.failed.err
end

return M
