-- luphant.migrate - applies numbered migrations to a database, each exactly once, and takes them back.
--
-- The door: it checks what callers give and hands on. What is to run is decided by plan.lua, without any database;
-- run.lua carries it out, on a connection of its own, under a lock. What went wrong half-way is set right by amend.lua.
-- The verbs of tools.lua stand around that.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local border = require "luphant.migrate.border"

local M = {}

-- Each room is loaded by the first verb that needs it: a program that checks at its start has no use for an importer,
-- and a master of nginx keeps whatever it loads for all of its workers.
local rooms = setmetatable({}, {
  __index = function(self, name)
    local room = require("luphant.migrate." .. name)
    self[name] = room
    return room
  end,
})

local TOOLS = {
  "new", "import", "check", "drift", "squash", "dump", "load_dump", "seed", "environment", "set_environment",
}

-- Called in the place of the verb, so that misuse is told where the verb was called.
for _, name in ipairs(TOOLS) do
  M[name] = function(...) return rooms.tools[name](...) end
end

local COUNT = { type = "number", integer = true, min = 1 }

local function check(name, target, dir, given, rules)
  border.target(target, name, 3)
  args.argument(dir, "string", 2, name, 3)
  return border.options(rules or name, given, 3)
end

local function check_text(value, index, name)
  return args.argument(value, "string", index, name, 3)
end

local function check_reason(options, name)
  if (options.reason or "") ~= "" then return end
  error(("%s needs a reason: { reason = \"...\" }"):format(name), 3)
end

-- Reading verbs need no session of their own; a URL gets one all the same.
local function reading(target, options, level, fn)
  if type(target) == "table" and target.query then return fn(target) end
  return rooms.run.with_session(target, options, level + 1, function(s) return fn(s.conn) end)
end

--- Reads a folder of migrations without any database.
---@param dir string
---@param opts? { ignore?: string[] }
---@return luphant.migrate.Migration[]? list in order
---@return luphant.error? err kind "migration_invalid", with `problems`
function M.load(dir, opts)
  args.argument(dir, "string", 1, "load")
  return rooms.run.load(dir, border.options("load", opts, 2))
end

--- Which migrations are applied, pending, edited since, gone, stopped half-way? Creates nothing.
---@param db any a pool, a connection, a URL
---@param dir string
---@param opts? table
---@return luphant.migrate.Entry[]? entries
---@return luphant.error? err
function M.status(db, dir, opts)
  local options = check("status", db, dir, opts)
  local list, err = rooms.run.load(dir, options)
  if not list then return nil, err end
  return reading(db, options, 2, function(q)
    local rows, why = rooms.history.read(q, options.place)
    if not rows then return nil, why end
    local holder
    holder, why = rooms.lock.holder(q, options.place)
    if why then return nil, why end
    return rooms.plan.compare(list, rows, { lock_is_held = holder ~= nil })
  end)
end

-- Options of a plan, and what makes it.
local function planning(name, db, dir, opts)
  local given, direction = {}, "up"
  for key, value in pairs(opts or {}) do given[key] = value end
  direction, given.direction = given.direction or direction, nil
  if direction ~= "up" and direction ~= "down" then error('direction must be "up" or "down"', 3) end
  border.target(db, name, 3)
  args.argument(dir, "string", 2, name, 3)
  return border.options("plan", given, 3), direction == "up" and rooms.plan.make or rooms.plan.revert
end

--- What `up` (or `down`, with `direction = "down"`) would do. Runs and creates nothing.
---@param db any
---@param dir string
---@param opts? table
---@return luphant.migrate.Plan? plan
---@return luphant.error? err
function M.plan(db, dir, opts)
  local options, make = planning("plan", db, dir, opts)
  local list, err = rooms.run.load(dir, options)
  if not list then return nil, err end
  options.with_catalog = true
  return reading(db, options, 2, function(q)
    return rooms.run.plan(q, list, options, make)
  end)
end

--- The same, run in one transaction that is rolled back, with what each statement did. Takes real locks meanwhile.
---@param db any
---@param dir string
---@param opts? table
---@return luphant.migrate.Plan? plan with `traced`, and `failed` where a statement did
---@return luphant.error? err
function M.trace(db, dir, opts)
  local options, make = planning("trace", db, dir, opts)
  options.with_catalog = true
  return rooms.rehearsal.run(db, dir, options, make, 2)
end

--- Applies what is pending, in order.
---@param db any
---@param dir string
---@param opts? table
---@return table[]? done what was applied; empty when nothing was pending
---@return luphant.error? err `err.done` lists what was applied before the failure
function M.up(db, dir, opts)
  local options = check("up", db, dir, opts)
  if options.only then check_reason(options, "up with `only`") end
  return rooms.run.run(db, dir, options, rooms.plan.make, 2)
end

--- Applies what is pending in each of many schemas, one after the other, each with a history of its own.
---@param db any
---@param dir string
---@param opts table with `tenants`: a list of schemas, or { query = "select ..." }
---@return luphant.migrate.TenantReport[]? reports
---@return luphant.error? err of kind migration_tenants, with `tenants`
function M.tenants(db, dir, opts)
  local options = check("tenants", db, dir, opts)
  if not options.tenants then error("tenants needs their names: { tenants = { ... } }", 2) end
  if options.tenant ~= "" then error("`tenant` is one, `tenants` are many: give one of them", 2) end
  if options.only then check_reason(options, "tenants with `only`") end
  return rooms.tenants.run(db, dir, options, 2)
end

--- Takes the last `count` applied migrations back, newest first; or those behind `to`, or of one `run`.
---@param db any
---@param dir string
---@param count? integer default 1
---@param opts? table
---@return table[]? done
---@return luphant.error? err `err.done` lists what was taken back before the failure
function M.down(db, dir, count, opts)
  local options = check("down", db, dir, opts)
  local why = count ~= nil and args.problem(count, COUNT)
  if why then error("bad argument #3 to 'down': the count " .. why, 2) end
  options.count = count or options.count
  return rooms.run.run(db, dir, options, rooms.plan.revert, 2)
end

--- Goes on with a migration that stopped half-way outside of a transaction.
---@param db any
---@param dir string
---@param version string
---@param opts? table
---@return table[]? done
---@return luphant.error? err
function M.resume(db, dir, version, opts)
  local options = check("resume", db, dir, opts)
  check_text(version, 3, "resume")
  return rooms.run.run(db, dir, options, function(list, rows, given)
    return rooms.plan.resume(list, rows, version, given)
  end, 2)
end

--- Takes the last applied migration back and applies it again.
---@param db any
---@param dir string
---@param opts? table
---@return table[]? done
---@return luphant.error? err
function M.redo(db, dir, opts)
  local options = check("redo", db, dir, opts)
  local done, err = rooms.run.run(db, dir, options, rooms.plan.revert, 2)
  if not done or #done == 0 then return done, err end
  local again
  options.only = { done[1].version }
  again, err = rooms.run.run(db, dir, options, rooms.plan.make, 2)
  if not again then
    table.insert(err.done or {}, 1, done[1])
    return nil, err
  end
  for _, each in ipairs(again) do done[#done + 1] = each end
  return done
end

--- Says what is true of a migration that stopped half-way or was done by hand: `as` is "applied" or "rolled_back".
---@param db any
---@param dir string
---@param version string
---@param as "applied"|"rolled_back"
---@param opts table with a `reason`
---@return table? event
---@return luphant.error? err
function M.resolve(db, dir, version, as, opts)
  local options = check("resolve", db, dir, opts, "amend")
  check_text(version, 3, "resolve")
  if as ~= "applied" and as ~= "rolled_back" then error('the fourth argument is "applied" or "rolled_back"', 2) end
  check_reason(options, "resolve")
  return rooms.amend.resolve(db, dir, version, as, options, 2)
end

--- Passes a pending migration over for good.
---@param db any
---@param dir string
---@param version string
---@param opts table with a `reason`
---@return table? event
---@return luphant.error? err
function M.skip(db, dir, version, opts)
  local options = check("skip", db, dir, opts, "amend")
  check_text(version, 3, "skip")
  check_reason(options, "skip")
  return rooms.amend.skip(db, dir, version, options, 2)
end

local function edited_since(db, dir, opts, options)
  local given = {}
  for name, value in pairs(opts) do given[name] = value end
  given.dry_run, given.on_event = nil, nil
  local entries, err = M.status(db, dir, given)
  if not entries then return nil, err end
  local out = {}
  for i, edited in ipairs(rooms.repair.list(entries, options.values)) do
    out[i] = rooms.repair.event(edited)
    options.emit(out[i])
  end
  return out
end

--- Records the texts of applied files as they are now. Runs nothing. With `dry_run`: only tells what was edited.
---@param db any
---@param dir string
---@param opts table with a `reason`, or `dry_run`
---@return table[]? done each with its `changes`
---@return luphant.error? err
function M.repair(db, dir, opts)
  local options = check("repair", db, dir, opts, "repair")
  if options.dry_run then return edited_since(db, dir, opts, options) end
  check_reason(options, "repair")
  return rooms.repair.run(db, dir, options, 2)
end

--- Begins the history of a database that was made otherwise: all migrations up to `version` count as applied. With
--- `from_db` what is in it is written to a baseline before; without a version that has the time.
---@param db any
---@param dir string
---@param version? string
---@param opts? table
---@return table? event
---@return luphant.error? err
function M.baseline(db, dir, version, opts)
  local options = check("baseline", db, dir, opts, "baseline")
  if options.from_db then
    if version ~= nil then check_text(version, 3, "baseline") end
    return rooms.adopt.adopt(db, dir, version, options, 2)
  end
  check_text(version, 3, "baseline")
  return rooms.amend.baseline(db, dir, version, options, 2)
end

--- What was ever done here, the latest first. Creates nothing.
---@param db any
---@param opts? { schema?: string, tenant?: string, version?: string, limit?: integer }
---@return table[]? events
---@return luphant.error? err
function M.history(db, opts)
  border.target(db, "history", 2)
  local options = border.options("history", opts, 2)
  local session_options = border.options("amend", { schema = options.schema, tenant = options.tenant }, 2)
  return reading(db, session_options, 2, function(q)
    return rooms.history.events(q, options.place, options.version, options.limit)
  end)
end

--- What a program does at its start: checks, applies, waits for another one to apply, or nothing.
---@param db any
---@param opts { dir: string, on_startup?: "check"|"apply"|"wait"|"off" }
---@return { state: string, applied: table[], behind: table[], ahead: table[] }? answer
---@return luphant.error? err of kind migration_behind when the database lacks something
function M.run(db, opts)
  border.target(db, "run", 2)
  local options = border.options("run", opts, 2)
  if not options.dir then error("run needs the folder: { dir = \"migrations\" }", 2) end
  return rooms.startup.run(db, options, 2)
end

--- Is the database as far as the folder? For readiness probes.
---@param db any
---@param dir string
---@param opts? table
---@return boolean?
---@return luphant.error? err
function M.ready(db, dir, opts)
  local options = check("ready", db, dir, opts, "status")
  local entries, err = M.status(db, dir, opts)
  if not entries then return nil, err end
  local found = rooms.startup.judge(entries, options.phase)
  return #found.behind == 0 and #found.problems == 0
end

return M
