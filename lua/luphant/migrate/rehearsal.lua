-- luphant.migrate.rehearsal - a plan run on the real database in one transaction that is rolled back, with a look at
-- what each statement did: locks, tables written anew, tables read, indexes built, and how long it took.
--
-- The locks are real, and held until the end, so this belongs onto a copy, or into a quiet hour. What cannot be rolled
-- back is not run: migrations without a transaction, and those in Lua, which may do things elsewhere. Nothing behind
-- such a one is run either, because it may need it.
--
-- SPDX-License-Identifier: MIT

local ddl_of = require "luphant.migrate.ddl"
local execute = require "luphant.migrate.execute"
local failure = require "luphant.migrate.failure"
local locks_of = require "luphant.migrate.lint.locks"
local observe = require "luphant.migrate.lint.observe"
local parts = require "luphant.migrate.parts"
local run = require "luphant.migrate.run"
local transact = require "luphant.migrate.transact"

local M = {}

---@class (exact) luphant.migrate.Rehearsed what one statement did
---@field part string
---@field statement integer
---@field line integer
---@field sql string
---@field duration_ms integer
---@field affected? integer
---@field locks { relation: string, mode: string }[] on relations that were there before the migration
---@field rewritten string[]
---@field scanned string[]
---@field built string[]

local function plain_name(relation) return (relation.text:gsub("^public%.", "")) end

-- Locks that an earlier migration of the same transaction holds already cannot be seen to be taken again: there the
-- text has to tell.
local function add_known(seen, sql)
  local there = {}
  for _, lock in ipairs(seen.locks) do there[lock.relation .. " " .. lock.mode] = true end
  for _, known in ipairs(locks_of.of(ddl_of.read(sql))) do
    local name = plain_name(known.relation)
    for _, held in ipairs(seen.held) do
      local is_it = held.relation == name and locks_of.LEVEL[held.mode] >= locks_of.LEVEL[known.mode]
      if is_it and not there[name .. " " .. known.mode] then
        there[name .. " " .. known.mode] = true
        seen.locks[#seen.locks + 1] = { relation = name, mode = known.mode }
      end
    end
  end
end

-- Only the strongest lock on each, none of plain reading.
local function strongest(locks)
  local best, order = {}, {}
  for _, lock in ipairs(locks) do
    local old = best[lock.relation]
    if not old then order[#order + 1] = lock.relation end
    if not old or locks_of.LEVEL[lock.mode] > locks_of.LEVEL[old] then best[lock.relation] = lock.mode end
  end
  table.sort(order)
  local out = {}
  for _, relation in ipairs(order) do
    if locks_of.LEVEL[best[relation]] > 1 then out[#out + 1] = { relation = relation, mode = best[relation] } end
  end
  return out
end

local function look(session, tx, where, facts)
  local before, err = observe.snapshot(tx)
  if not before then return nil, err end
  local now = session.conn.waiter.now
  local began = now()
  local results
  results, err = execute.statement(session, tx, where, facts)
  if not results then return nil, err end
  local took = math.floor((now() - began) * 1000 + 0.5)
  local after
  after, err = observe.snapshot(tx)
  if not after then return nil, failure.failed(where, err) end
  local seen = observe.difference(facts.origin, before, after)
  add_known(seen, where.statement.sql)
  local list = facts.traced.statements
  list[#list + 1] = {
    part = where.part, statement = where.index, line = where.statement.line, sql = where.statement.sql,
    duration_ms = took, affected = results[1] and results[1].affected, locks = strongest(seen.locks),
    rewritten = seen.rewritten, scanned = seen.scanned, built = seen.built,
  }
  return results
end

local function rehearse_step(session, tx, step, facts)
  local origin, err = observe.snapshot(tx)
  if not origin then return nil, err end
  facts.origin = origin
  for _, part in ipairs(parts.of(step)) do
    local ok
    ok, err = execute.part(session, tx, step, part, {
      in_transaction = true, run = function(_, q, where) return look(session, q, where, facts) end,
    })
    if not ok then return nil, err end
  end
  return true
end

local function reason_to_skip(step)
  if not step.transaction then return "has no transaction, so nothing of it could be rolled back" end
  for _, part in ipairs(parts.of(step)) do
    if part.fn then return "is written in Lua, which may do what cannot be rolled back" end
  end
end

local function rehearse_all(session, tx, found)
  local after
  for _, step in ipairs(found.steps) do
    local traced = execute.event(step, { statements = {} })
    found.traced[#found.traced + 1] = traced
    traced.skipped = after and ("comes after %s_%s, which was not run"):format(after.version, after.name)
      or reason_to_skip(step)
    if traced.skipped then
      after = after or step
    else
      local ok, err = rehearse_step(session, tx, step, { traced = traced, may_cancel = true,
        lock_timeout = session.options.lock_timeout })
      if not ok then
        traced.failed = err
        return err
      end
    end
  end
end

local function in_transaction(session, found)
  found.traced = {}
  local failed
  local _, err = session.conn:transaction(function(tx)
    failed = rehearse_all(session, tx, found)
    return nil, "rolled back, as it was meant"
  end, { set = transact.settings(session) })
  -- Whatever the end of the transaction says beyond that is a lost connection.
  if not session:is_open() then return nil, failed or err end
  found.failed = failed
  return found
end

--- Plans with `make`, runs that, and undoes all of it. Answers the plan with `traced`, one for each step, and `failed`.
---@param target any
---@param dir string
---@param options table
---@param make function of plan.lua
---@param level integer
---@return luphant.migrate.Plan?
---@return luphant.error?
function M.run(target, dir, options, make, level)
  options.preserve = nil -- nothing is lost
  local list, err = run.load(dir, options)
  if not list then return nil, err end
  return run.with_session(target, options, level + 1, function(session)
    local ok, why = session:lock()
    if not ok then return nil, why end
    local found
    found, why = run.plan(session.conn, list, options, make)
    if not found then return nil, why end
    return in_transaction(session, found)
  end)
end

return M
