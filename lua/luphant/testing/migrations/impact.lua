-- luphant.testing.migrations.impact - what each statement costs where there are rows: time, locks and how long they are
-- held, tables that are written anew or read as a whole.
--
-- Runs on a copy of a database that is filled like the real one; without such a one on the rows of the fixtures. Each
-- migration runs in a transaction that is rolled back, to be looked at, and then for good. Of one in Lua each call of
-- the database is measured.
--
-- SPDX-License-Identifier: MIT

local fixtures = require "luphant.testing.migrations.fixtures"
local history = require "luphant.migrate.history"
local locks_of = require "luphant.migrate.lint.locks"
local plan = require "luphant.migrate.plan"
local referee = require "luphant.migrate.lint.referee"
local scratch = require "luphant.migrate.scratch"
local trace = require "luphant.migrate.lint.trace"

local M = {}

local SQL_LENGTH = 200

local function strongest(list)
  local best = {}
  for _, lock in ipairs(list) do
    local old = best[lock.relation]
    if not old or locks_of.LEVEL[lock.mode] > locks_of.LEVEL[old] then best[lock.relation] = lock.mode end
  end
  return best
end

-- ---- one migration ------------------------------------------------------------------------------------------

local function tell_statement(self, migration, i, entry)
  local seen = entry.seen
  local event = {
    event = "impact", phase = self.phase, kind = migration.kind, version = migration.version, name = migration.name,
    file = migration.file, statement = i, line = entry.statement.line, sql = entry.statement.sql:sub(1, SQL_LENGTH),
    duration_ms = entry.duration_ms, assumed = entry.assumed or nil, lines = referee.describe(entry),
  }
  if seen then
    event.locks, event.rewritten, event.scanned, event.built = seen.locks, seen.rewritten, seen.scanned, seen.built
  end
  self:emit(event)
end

-- In a transaction a lock is held until its end: how long each table keeps others waiting, in milliseconds.
local function held_of(traced, migration)
  local held, modes = {}, {}
  for _, entry in ipairs(traced.statements) do
    local now = entry.seen and strongest(migration.transaction and entry.seen.held or entry.seen.locks) or {}
    for relation, mode in pairs(now) do
      if locks_of.is_strong(mode) then
        held[relation], modes[relation] = (held[relation] or 0) + (entry.duration_ms or 0), mode
      end
    end
  end
  return held, modes
end

local function judge(self, migration, traced)
  local held, modes = held_of(traced, migration)
  local names = {}
  for relation in pairs(held) do names[#names + 1] = relation end
  table.sort(names)
  for _, relation in ipairs(names) do
    self:emit {
      event = "held", phase = self.phase, kind = migration.kind, version = migration.version, name = migration.name,
      relation = relation, mode = locks_of.sql_name(modes[relation]), duration_ms = held[relation],
    }
    if self.max_lock and held[relation] > self.max_lock * 1000 then
      self:find("error", migration, ("holds %s on %s for %.0f ms; others wait that long"):format(
        locks_of.sql_name(modes[relation]), relation, held[relation]), { relation = relation })
    end
  end
end

local function look(self, s, migration)
  local traced, err = s:with(function(conn)
    local ok, why = fixtures.run(self.fixtures, migration, "before", conn)
    if not ok and not self.template then
      self:find("error", migration, "the rows of the test: " .. why)
      return {}
    end
    conn:execute "analyze"
    return trace.run(conn, { migration }, self:wants(migration) and { [migration.file] = true } or {})
  end)
  if not traced then return nil, err end
  local found = traced[1]
  if not found then return true end
  if found.skipped then self:find("warning", migration, "was not measured: it " .. found.skipped) end
  for i, entry in ipairs(found.statements) do tell_statement(self, migration, i, entry) end
  judge(self, migration, found)
  if found.failed then
    self:find("error", migration, ("line %d fails on these rows: %s"):format(found.failed.statement.line,
      tostring(found.failed.err)), { line = found.failed.statement.line })
    return false
  end
  return true
end

-- ---- all of them --------------------------------------------------------------------------------------------

-- What is pending where the rows are.
local function pending(self, s)
  local rows, err = s:with(function(conn) return history.read(conn, self.options.place) end)
  if not rows then return nil, err end
  local found, problems = plan.make(self.list, rows, self.options)
  if not found then
    for _, problem in ipairs(problems) do
      self:find("error", nil, (problem.file and problem.file .. ": " or "") .. problem.message)
    end
    return {}
  end
  local out = {}
  for i, step in ipairs(found.steps) do out[i] = step.migration end
  return out
end

--- Measures.
---@param self luphant.testing.migrations.Context
---@return true?
---@return luphant.error?
function M.run(self)
  local s, err = scratch.open(self.target, self.template)
  if not s then return nil, err end
  local fine, answer, why = pcall(function()
    local list, fault = pending(self, s)
    if not list then return nil, fault end
    if not self.template then s:with(function(conn) return fixtures.run(self.fixtures, nil, "before", conn) end) end
    for _, migration in ipairs(list) do
      local ok, reason = look(self, s, migration)
      if ok == nil then return nil, reason end
      if not ok then break end
    end
    return true
  end)
  s:close()
  if not fine then error(answer, 0) end
  return answer, why
end

return M
