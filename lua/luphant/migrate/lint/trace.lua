-- luphant.migrate.lint.trace - the referee: runs migrations on a scratch database and looks what they do.
--
-- Each migration runs twice: first in a transaction that is rolled back, statement by statement, with a look at locks,
-- files and scans after each; then for good, so that the next one finds what it needs. What cannot run in a
-- transaction is looked at without CONCURRENTLY where that is the reason; its locks are known and not observed.
--
-- Needs an empty database that nobody else uses, on a server that may be spoilt: roles and settings of the server that
-- a migration makes stay.
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"
local ddl_of = require "luphant.migrate.ddl"
local judge = require "luphant.migrate.judge"
local locks_of = require "luphant.migrate.lint.locks"
local observe = require "luphant.migrate.lint.observe"
local plan = require "luphant.migrate.plan"
local script = require "luphant.migrate.lint.script"

local M = {}

---@class (exact) luphant.migrate.lint.Traced
---@field file string
---@field version string
---@field statements table[] each { statement, seen, assumed }: an Observation, and whether its locks are known only
---@field failed? { statement: luphant.sqltext.Statement, err: table }
---@field skipped? string why nothing was run

-- What cannot run in a transaction for another reason than CONCURRENTLY is not looked at.
local function observable(statement, ddl)
  if not judge.needs_no_transaction(statement) then return statement.sql, false end
  if not ddl.concurrently and not (ddl.actions[1] and ddl.actions[1].concurrently) then return nil end
  return (statement.sql:gsub("%s[cC][oO][nN][cC][uU][rR][rR][eE][nN][tT][lL][yY]", "", 1)), true
end

-- The locks that are known, in the form of those observed.
local function assumed_locks(ddl)
  local list = {}
  for i, lock in ipairs(locks_of.of(ddl)) do
    list[i] = { relation = (lock.relation.text:gsub("^public%.", "")), mode = lock.mode }
  end
  return list
end

local function look(conn, origin, statement, ddl)
  local sql, is_assumed = observable(statement, ddl)
  if not sql then return nil, nil, true end
  local before, err = observe.snapshot(conn)
  if not before then return nil, err end
  local done
  local began = core.now()
  done, err = conn:script(sql)
  if not done then return nil, err end
  local duration = (core.now() - began) * 1000
  local after
  after, err = observe.snapshot(conn)
  if not after then return nil, err end
  local seen = observe.difference(origin, before, after)
  if is_assumed then seen.locks, seen.held = assumed_locks(ddl), assumed_locks(ddl) end
  return seen, nil, is_assumed, duration
end

-- Up, and what verifies it in the same transaction.
local function statements_of(migration)
  local list = {}
  for _, part in ipairs { "up", "verify" } do
    for _, statement in ipairs(migration[part] and migration[part].statements or {}) do list[#list + 1] = statement end
  end
  return list
end

-- In one transaction that is rolled back.
local function look_together(conn, traced, statements)
  local ok, err = conn:script "begin"
  if not ok then return nil, err end
  local origin
  origin, err = observe.snapshot(conn)
  if not origin then return nil, err end
  for _, statement in ipairs(statements) do
    local seen, why, is_assumed, duration = look(conn, origin, statement, ddl_of.read(statement.sql))
    if why then
      traced.failed = { statement = statement, err = why }
      break
    end
    traced.statements[#traced.statements + 1] = {
      statement = statement, seen = seen, assumed = is_assumed or false, duration_ms = duration,
    }
  end
  return conn:script "rollback"
end

-- Where the file has no transaction each statement is looked at alone, and then done.
local function look_apart(conn, traced, statements)
  for _, statement in ipairs(statements) do
    local ok, err = look_together(conn, traced, { statement })
    if not ok then return nil, err end
    if traced.failed then return true end
    ok, err = conn:script(statement.sql)
    if not ok then
      traced.failed = { statement = statement, err = err }
      return true
    end
  end
  return true
end

local function text_of(statements)
  local list = {}
  for i, statement in ipairs(statements) do list[i] = statement.sql end
  return table.concat(list, ";\n")
end

-- Why nothing of a migration can be run here, or nil.
local function reason_to_skip(migration)
  if migration.script then return nil end
  if not migration.up then return "has nothing to run" end
  if #migration.vars > 0 then return "has placeholders" end
  for _, statement in ipairs(statements_of(migration)) do
    local is_alone = migration.transaction and judge.needs_no_transaction(statement)
    if is_alone or judge.refusal(statement, migration.transaction) then return "would be refused by the runner" end
  end
end

-- Looks, and then does it for good.
local function look_and_run(conn, traced, statements, is_wanted)
  if is_wanted then
    local ok, err = look_together(conn, traced, statements)
    if not ok then return nil, err end
  end
  if traced.failed then return true end
  local ok, err = conn:script("begin;\n" .. text_of(statements) .. ";\ncommit")
  if ok then return true end
  traced.failed = { statement = statements[1], err = err }
  return conn:script "rollback"
end

local function run_one(conn, migration, is_wanted)
  local traced = { file = migration.file, version = migration.version, statements = {} }
  traced.skipped = reason_to_skip(migration)
  if traced.skipped then return traced end
  if migration.script then
    local ok, err = script.run(conn, migration, traced, is_wanted)
    return ok and traced, err
  end
  if #migration.up.statements == 0 then return traced end
  local run = migration.transaction and look_and_run or look_apart
  local ok, err = run(conn, traced, statements_of(migration), is_wanted)
  if not ok then return nil, err end
  return traced
end

-- As the runner would do it on an empty database: a baseline instead of what it stands for.
local function in_order(list)
  local found = plan.make(list, {}, { phase = "all" })
  if not found then return list end -- what the runner objects to has rules of its own
  local out = {}
  for i, step in ipairs(found.steps) do out[i] = step.migration end
  return out
end

--- Runs migrations on an empty scratch database.
---@param conn table a connection to it
---@param list luphant.migrate.Migration[] all of a folder, in order
---@param only? table<string, boolean> files to look at; the others are just run
---@return luphant.migrate.lint.Traced[]? traced
---@return table? err the connection was lost
function M.run(conn, list, only)
  observe.prepare(conn)
  local out = {}
  for _, migration in ipairs(in_order(list)) do
    local is_wanted = not only or only[migration.file] or false
    local traced, err = run_one(conn, migration, is_wanted)
    if not traced then return nil, err end
    if is_wanted then out[#out + 1] = traced end
    -- Settings and roles of one migration are not the next one's.
    local ok
    ok, err = conn:script "reset all; reset role"
    if not ok then return nil, err end
  end
  return out
end

return M
