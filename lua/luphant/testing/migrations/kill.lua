-- luphant.testing.migrations.kill - the runner dies at every statement of every migration and of its way back: before
-- it, inside of it and behind it; and is run again.
--
-- Whatever the moment, running it again has to lead to the same schema: by `up` (or `down`) where there is a
-- transaction, by `resume` where there is none. A statement without a transaction of which nobody can know whether it
-- ended is told: it is the one that somebody has to look at in the night.
--
-- SPDX-License-Identifier: MIT

local errors = require "luphant.errors"
local fixtures = require "luphant.testing.migrations.fixtures"
local history = require "luphant.migrate.history"
local inside = require "luphant.testing.migrations.inside"
local moments = require "luphant.testing.migrations.moments"
local plan = require "luphant.migrate.plan"
local scratch = require "luphant.migrate.scratch"
local shell = require "luphant.testing.shell"
local worker = require "luphant.testing.migrations.worker"

local M = {}

local KILLED = 137

---@class (exact) luphant.testing.migrations.Way
---@field i integer place of the migration in the list
---@field migration luphant.migrate.Migration
---@field part "up"|"down"
---@field to? string back, down to this version
---@field section? luphant.migrate.Section nil: in Lua
---@field transaction boolean

-- ---- dying ----------------------------------------------------------------------------------------------------

local function job_of(self, way, moment, gate)
  local migration = way.migration
  return {
    dir = self.dir, ignore = self.options.ignore, values = self.options.values, schema = self.options.schema,
    count = way.i, to = way.to,
    die = {
      kind = migration.kind, version = migration.version, part = way.part, event = moment.event, nth = moment.nth,
      gate = gate,
    },
  }
end

-- Answers where it was when it died: that of the moment, or "behind" where a statement could not be held up.
local function die(self, s, way, moment)
  local gate = moment.event == "inside" and inside.gate() or nil
  local command, path = worker.command(s, job_of(self, way, moment, gate))
  local where, message
  if gate then
    local statement = way.section and way.section.statements[moment.nth]
    where, message = inside.kill(s, command, gate, statement, self.options.place.schema)
  else
    -- With something behind it the inner shell is the one that sees it die, and says so where nobody has to read it.
    local output, failure, code = shell.run(command .. "; exit $?")
    where, message = not output and code == KILLED and moment.event or nil, output or failure
  end
  os.remove(path)
  if where then return where end
  return nil, ("the runner was to die and did not: %s"):format(message)
end

-- ---- and run again ------------------------------------------------------------------------------------------

local function resume(self, s, way, more)
  return self:run(s, self:prefix(way.i), function(list, rows, options)
    return plan.resume(list, rows, way.migration.version, options)
  end, more)
end

local function once_more(self, s, way, more)
  if way.part == "up" then return self:up(s, way.i, more) end
  more = more or {}
  more.to = way.to
  return self:down(s, way.i, more)
end

-- Of what is written in Lua no statements are counted: all of it is run again, which it has to be written for.
local function all_of_it_again(self, s, way)
  if way.part == "down" then return once_more(self, s, way, { partial = true }) end
  local ok, err = s:with(function(conn)
    return history.set_state(conn, self.options.place, way.migration, "reverted")
  end)
  if not ok then return nil, err end
  return once_more(self, s, way)
end

local function tell_doubt(self, way, moment, where)
  local statement = way.section.statements[moment.nth]
  self:find("warning", way.migration,
    ("killed %s statement %d%s nobody can know whether it ended, and it cannot just be run again; if [not] exists "
      .. "would help"):format(where, moment.nth, way.part == "down" and " of the way back" or ""),
    { line = statement.line, statement = moment.nth })
end

-- Whether the statement in doubt has run is known here, and nowhere else.
local function go_on(self, s, way, moment, where)
  if not way.section then return all_of_it_again(self, s, way) end
  local done, err = resume(self, s, way)
  if done or not errors.is(err, "migration_invalid") then return done, err end
  if where ~= "statement" then tell_doubt(self, way, moment, where == "inside" and "inside" or "behind") end
  local is_done = where == "statement_done" or where == "behind"
  return resume(self, s, way, is_done and { from = moment.nth + 1 } or { assume_not_run = true })
end

local function again(self, s, way, moment, where)
  local done, err = once_more(self, s, way)
  local is_stopped = not done and not way.transaction and errors.is(err, "migration_invalid")
  if is_stopped then return go_on(self, s, way, moment, where) end
  return done, err
end

-- The rows have to be right, too.
local function judge_rows(self, s, way, at)
  local part = way.part == "up" and "after" or "down"
  local ok, why = s:with(function(conn) return fixtures.run(self.fixtures, way.migration, part, conn) end)
  if not ok then self:find("error", way.migration, ("%s: run again, the rows of the test: %s"):format(at, why)) end
end

-- Answers the schema that is reached, or nil.
local function try(self, base, way, moment, at)
  local copy, err = base:copy()
  if not copy then error(err, 0) end
  local fine, answer = pcall(function()
    local where, message = die(self, copy, way, moment)
    if not where then return self:find("error", way.migration, at .. ": " .. message) end
    self.insides = self.insides + (where == "inside" and 1 or 0)
    local done, fault = again(self, copy, way, moment, where)
    if not done then
      return self:find("error", way.migration, ("%s: running it again fails: %s"):format(at, tostring(fault)))
    end
    judge_rows(self, copy, way, at)
    return self:snapshot(copy)
  end)
  copy:close()
  if not fine then error(answer, 0) end
  self.kills = self.kills + 1
  return answer
end

-- All moments of one way from where `base` is; answers what each reached, `false` where that was told already.
local function try_moments(self, base, way)
  local reached = {}
  for n, moment in ipairs(moments.of(way)) do
    local at = moments.describe(moment, way)
    self:emit {
      event = "kill", phase = self.phase, kind = way.migration.kind, version = way.migration.version,
      name = way.migration.name, at = at,
    }
    reached[n] = { at = at, schema = try(self, base, way, moment, at) or false }
  end
  return reached
end

local function compare_all(self, way, expected, reached)
  for _, item in ipairs(reached) do
    if item.schema then
      self:compare(way.migration, expected, item.schema, item.at .. ": run again it makes something else")
    end
  end
end

-- ---- one migration ------------------------------------------------------------------------------------------

-- Does the runner, undisturbed, run it at all? What a baseline stands for is covered.
local function is_run(self, base, i)
  local rows, err = base:with(function(conn) return history.read(conn, self.options.place) end)
  if not rows then error(err, 0) end
  local found = plan.make(self:prefix(i), rows, self.options)
  return found ~= nil and #found.steps > 0
end

local function forth(self, base, i)
  local migration = self.list[i]
  local way = {
    i = i, migration = migration, part = "up", section = migration.up, transaction = migration.transaction,
  }
  local reached = self:wants(migration) and is_run(self, base, i) and try_moments(self, base, way) or {}
  local done, err = self:up(base, i)
  if not done then error(err, 0) end
  if #reached > 0 then compare_all(self, way, self:snapshot(base), reached) end
  return #reached > 0
end

-- What is undisturbed, on a copy; nil where the way back fails, which the walk has told.
local function undisturbed(self, base, way)
  local copy, err = base:copy()
  if not copy then error(err, 0) end
  local fine, answer = pcall(function()
    return once_more(self, copy, way) and self:snapshot(copy) or nil
  end)
  copy:close()
  if not fine then error(answer, 0) end
  return answer
end

local function back(self, base, i)
  local way = moments.way_back(self.list, i)
  local expected = way and undisturbed(self, base, way)
  if expected then compare_all(self, way, expected, try_moments(self, base, way)) end
end

-- Rows for the statements to work on; what is wrong with them the walk tells.
local function fill(self, base, migration)
  base:with(function(conn) return fixtures.run(self.fixtures, migration, "before", conn) end)
end

--- Tries all moments.
---@param self luphant.testing.migrations.Context
---@return true?
---@return luphant.error?
function M.run(self)
  self.kills, self.insides = 0, 0
  return scratch.with(self.target, function(base)
    fill(self, base, nil)
    for i, migration in ipairs(self.list) do
      fill(self, base, migration)
      if forth(self, base, i) then back(self, base, i) end
    end
    return true
  end)
end

return M
