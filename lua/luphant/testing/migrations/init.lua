-- luphant.testing.migrations - a folder of migrations tried out: on the command line (luphant migrate test), in specs.
--
--   local migrations = require "luphant.testing.migrations"
--   for _, case in ipairs(migrations.cases { dir = "migrations" }) do it(case.name, case.run) end
--
-- Everything runs on scratch databases of a private server, or of one that is named. A server that is named may keep
-- what migrations do beyond their database: roles, settings of the server.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local context = require "luphant.testing.migrations.context"
local core = require "luphant.core"
local errors = require "luphant.errors"
local fixtures = require "luphant.testing.migrations.fixtures"
local impact = require "luphant.testing.migrations.impact"
local kill = require "luphant.testing.migrations.kill"
local migrate = require "luphant.migrate"
local race = require "luphant.testing.migrations.race"
local server = require "luphant.testing.server"
local shell = require "luphant.testing.shell"
local template = require "luphant.testing.migrations.template"
local walk = require "luphant.testing.migrations.walk"

local M = {}

M.PHASES = { "walk", "race", "kill", "impact" }

local PHASE = { one_of = M.PHASES }

local function phases_problem(list)
  for _, name in ipairs(list) do
    local why = args.problem(name, PHASE)
    if why then return why end
  end
end

local DATABASE = {
  dir = { type = "string" }, server = { type = { "string", "table" } }, schema = { type = "string" },
  values = { type = "table" }, ignore = { type = "table" },
}
local TEST = {
  data = { type = "string" }, template = { type = "string" }, only = { type = "table" },
  phases = { type = "table", check = phases_problem }, max_lock = { type = "number", min = 0 },
  on_event = { type = "function" },
}
for name, rule in pairs(DATABASE) do TEST[name] = rule end

local function check(opts, rules, name)
  local options = args.check(opts, rules, "option", 3)
  if not options.dir then error(('%s needs the folder: { dir = "migrations" }'):format(name), 3) end
  return options
end

local function runner_options(options)
  return { schema = options.schema, values = options.values, ignore = options.ignore }
end

-- ---- the server ---------------------------------------------------------------------------------------------

local function with_server(options, fn)
  if options.server then return fn(options.server) end
  local private, why = server.start()
  if not private then return nil, errors.new("refused", why) end
  local fine, answer, err = pcall(fn, private:url())
  private:stop()
  if not fine then error(answer, 0) end
  return answer, err
end

-- ---- test ---------------------------------------------------------------------------------------------------

local function set_of(list)
  local out = {}
  for _, name in ipairs(list) do out[name] = true end
  return out
end

local function has_errors(self)
  for _, finding in ipairs(self.findings) do
    if finding.severity == "error" then return true end
  end
  return false
end

-- What follows a walk that did not arrive would only say the same again.
local function run_phases(self, wanted)
  local final
  for _, phase in ipairs(M.PHASES) do
    local is_open = phase == "walk" or phase == "impact" or final or not wanted.walk
    if wanted[phase] and is_open then
      self.phase = phase
      self:emit { event = "phase", phase = phase }
      local answer, err
      if phase == "walk" then
        answer, err = walk.run(self)
        final = answer
      else
        answer, err = ({ race = race, kill = kill, impact = impact })[phase].run(self, final)
      end
      if not answer and err then return nil, err end
    end
  end
  return true
end

---@class (exact) luphant.testing.migrations.Report
---@field ok boolean no errors among the findings
---@field findings luphant.testing.migrations.Finding[]
---@field migrations integer
---@field downs integer ways back that were tried
---@field kills integer moments at which the runner died
---@field insides integer how many of them were inside of a statement
---@field seconds number

local function report_of(self, began)
  return {
    ok = not has_errors(self), findings = self.findings, migrations = #self.list, downs = self.downs or 0,
    kills = self.kills or 0, insides = self.insides or 0, seconds = core.now() - began,
  }
end

local function prepare(options)
  local list, err = migrate.load(options.dir, { ignore = options.ignore })
  if not list then return nil, err end
  local found, problems = fixtures.load(options.data, list)
  if not found then
    return nil, errors.new("migration_invalid", table.concat(problems, "\n  "), { class = "usage", problems = {} })
  end
  return context.new {
    list = list, fixtures = found, dir = options.dir, template = options.template, only = options.only,
    max_lock = options.max_lock, on_event = options.on_event, runner = runner_options(options),
  }
end

local function test(options)
  local self, err = prepare(options)
  if not self then return nil, err end
  local began = core.now()
  return with_server(options, function(target)
    self.target = target
    local ok, why = run_phases(self, set_of(options.phases or M.PHASES))
    if not ok then return nil, why end
    local report = report_of(self, began)
    self:emit {
      event = "summary", ok = report.ok, findings = report.findings, seconds = report.seconds, downs = report.downs,
      kills = report.kills, insides = report.insides, tested = report.migrations,
    }
    return report
  end)
end

--- Tries a folder out: up, down and up again with rows, two runners at once, kill -9 before, inside and behind
--- every statement both ways, and what each
--- statement costs.
---@param opts table
---@return luphant.testing.migrations.Report?
---@return luphant.error? err the folder is not in order, or the server is not there
function M.test(opts)
  local options = check(opts, TEST, "test")
  return test(options)
end

-- ---- for specs ----------------------------------------------------------------------------------------------

local TITLES = {
  walk = "go up, down and up again, and leave no trace", race = "are applied once by two runners",
  kill = "survive kill -9 at every statement", impact = "hold no lock for long",
}

local function raise(options, phase)
  options.phases = { phase }
  local report, err = test(options)
  if not report then error(tostring(err), 0) end
  local lines = {}
  for _, finding in ipairs(report.findings) do
    if finding.severity == "error" then
      lines[#lines + 1] = (finding.file and finding.file .. ": " or "") .. finding.message
    end
  end
  if #lines > 0 then error(table.concat(lines, "\n"), 0) end
end

--- The same as cases for a framework of tests: each has a `name`, and a `run` that raises what it finds.
---@param opts table as `test` takes it
---@return { name: string, run: fun() }[]
function M.cases(opts)
  local options = check(opts, TEST, "cases")
  local cases = {}
  for _, phase in ipairs(options.phases or M.PHASES) do
    cases[#cases + 1] = {
      name = ("the migrations of %s %s"):format(options.dir, TITLES[phase]),
      run = function()
        local own = {}
        for name, value in pairs(options) do own[name] = value end
        raise(own, phase)
      end,
    }
  end
  return cases
end

local function check_server(options, name)
  if not options.server then error(name .. " needs a server: { server = url }", 3) end
end

local function database_of(options)
  local list, err = migrate.load(options.dir, { ignore = options.ignore })
  if not list then return nil, err end
  local self = context.new { list = list, target = options.server, runner = runner_options(options) }
  return template.copy(self)
end

--- A migrated database for one test, copied from one that is made once and kept as long as the files are the same.
---@param opts table `dir` and `server`
---@return luphant.testing.migrations.Database?
---@return luphant.error?
function M.database(opts)
  local options = check(opts, DATABASE, "database")
  check_server(options, "database")
  return database_of(options)
end

local function finish(database, fine, ...)
  if fine then
    local ok, err = database:close()
    if not ok then return nil, err end
    return ...
  end
  io.stderr:write("the database of the test that failed is kept: psql ", shell.quote(database:address()), "\n")
  database:keep()
  error((...), 0)
end

--- `fn(database)` with such a one, which is dropped afterwards. Where `fn` raises it is kept for a look, standard error
--- says where, and the error goes on.
---@param opts table `dir` and `server`
---@param fn fun(database: luphant.testing.migrations.Database): ...
---@return any ... what fn answers
function M.with_database(opts, fn)
  local options = check(opts, DATABASE, "with_database")
  check_server(options, "with_database")
  args.argument(fn, "function", 2, "with_database")
  local database, err = database_of(options)
  if not database then return nil, err end
  return finish(database, pcall(fn, database))
end

--- Drops what `database` keeps on a server. Answers how many.
---@param target string|table
---@return integer?
---@return luphant.error?
function M.forget(target) return template.forget(target) end

return M
