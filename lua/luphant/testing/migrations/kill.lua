-- luphant.testing.migrations.kill - the runner dies at every statement of every migration, and is run again.
--
-- Whatever the moment, running it again has to lead to the same schema: by `up` where the migration has a transaction,
-- by `resume` where it has none. A statement without a transaction of which nobody can know whether it ended is told:
-- it is the one that somebody has to look at in the night.
--
-- SPDX-License-Identifier: MIT

local errors = require "luphant.errors"
local history = require "luphant.migrate.history"
local plan = require "luphant.migrate.plan"
local scratch = require "luphant.migrate.scratch"
local shell = require "luphant.testing.shell"
local worker = require "luphant.testing.migrations.worker"

local M = {}

local KILLED = 137

-- Moments to die at. In a transaction nothing but its end makes a difference to the server, so it is once for each
-- statement; without one also before it is sent.
local function moments_of(migration)
  local out = {}
  local function add(event, nth) out[#out + 1] = { event = event, nth = nth } end
  if not migration.up then
    add("statement", 1)
    return out
  end
  for i = 1, #migration.up.statements do
    if not migration.transaction then add("statement", i) end
    add("statement_done", i)
  end
  add("applied", 1)
  return out
end

local function describe(moment, migration)
  if not migration.up then return "killed while it ran" end
  if moment.event == "applied" then return "killed behind its COMMIT" end
  return ("killed %s statement %d of %d"):format(moment.event == "statement" and "before" or "behind", moment.nth,
    #migration.up.statements)
end

local function die(self, s, i, moment)
  local migration = self.list[i]
  local command, path = worker.command(s, {
    dir = self.dir, ignore = self.options.ignore, values = self.options.values, schema = self.options.schema, count = i,
    die = { kind = migration.kind, version = migration.version, event = moment.event, nth = moment.nth },
  })
  -- With something behind it the inner shell is the one that sees it die, and says so where nobody has to read it.
  local output, failure, code = shell.run(command .. "; exit $?")
  os.remove(path)
  if not output and code == KILLED then return true end
  return nil, ("the runner was to die and did not: %s"):format(output or failure)
end

-- ---- and run again ------------------------------------------------------------------------------------------

-- Whether the statement in doubt has run is known here, and nowhere else.
local function truth(migration, moment)
  if moment.event == "statement" then return { assume_not_run = true } end
  return { from = math.min(moment.nth + 1, #migration.up.statements + 1) }
end

local function resume(self, s, i, more)
  local migration = self.list[i]
  return self:run(s, self:prefix(i), function(list, rows, options)
    return plan.resume(list, rows, migration.version, options)
  end, more)
end

-- Of what is written in Lua no statements are counted: all of it is run again, which it has to be written for.
local function all_of_it_again(self, s, i)
  local migration = self.list[i]
  local ok, err = s:with(function(conn)
    return history.set_state(conn, self.options.place, migration, "reverted")
  end)
  if not ok then return nil, err end
  return self:up(s, i)
end

local function go_on(self, s, i, moment)
  local migration = self.list[i]
  if migration.language == "lua" then return all_of_it_again(self, s, i) end
  local done, err = resume(self, s, i)
  if done or not errors.is(err, "migration_invalid") then return done, err end
  if moment.event == "statement_done" then
    local statement = migration.up.statements[moment.nth]
    self:find("warning", migration,
      ("killed behind statement %d nobody can know whether it ended, and it cannot just be run again; if [not] exists "
        .. "would help"):format(moment.nth), { line = statement.line, statement = moment.nth })
  end
  return resume(self, s, i, truth(migration, moment))
end

local function again(self, s, i, moment)
  local done, err = self:up(s, i)
  local is_stopped = not done and not self.list[i].transaction and errors.is(err, "migration_invalid")
  if is_stopped then return go_on(self, s, i, moment) end
  return done, err
end

-- Answers the schema that is reached, or nil.
local function try(self, base, i, moment)
  local migration = self.list[i]
  local copy, err = base:copy()
  if not copy then error(err, 0) end
  local fine, answer = pcall(function()
    local dead, message = die(self, copy, i, moment)
    if not dead then return self:find("error", migration, describe(moment, migration) .. ": " .. message) end
    local done, fault = again(self, copy, i, moment)
    if done then return self:snapshot(copy) end
    self:find("error", migration, ("%s: running it again fails: %s"):format(describe(moment, migration),
      tostring(fault)))
  end)
  copy:close()
  if not fine then error(answer, 0) end
  self.kills = self.kills + 1
  return answer
end

-- Does the runner, undisturbed, run it at all? What a baseline stands for is covered.
local function is_run(self, base, i)
  local rows, err = base:with(function(conn) return history.read(conn, self.options.place) end)
  if not rows then error(err, 0) end
  local found = plan.make(self:prefix(i), rows, self.options)
  return found ~= nil and #found.steps > 0
end

local function try_all(self, base, i)
  local migration, reached = self.list[i], {}
  local moments = self:wants(migration) and is_run(self, base, i) and moments_of(migration) or {}
  for n, moment in ipairs(moments) do
    self:emit {
      event = "kill", phase = self.phase, kind = migration.kind, version = migration.version, name = migration.name,
      at = describe(moment, migration),
    }
    reached[n] = try(self, base, i, moment) or false
  end
  local done, err = self:up(base, i)
  if not done then error(err, 0) end
  local after = #moments > 0 and self:snapshot(base)
  for n, moment in ipairs(moments) do
    if reached[n] then
      self:compare(migration, after, reached[n], describe(moment, migration) .. ": run again it makes something else")
    end
  end
end

--- Tries all moments.
---@param self luphant.testing.migrations.Context
---@return true?
---@return luphant.error?
function M.run(self)
  self.kills = 0
  return scratch.with(self.target, function(base)
    for i = 1, #self.list do try_all(self, base, i) end
    return true
  end)
end

return M
