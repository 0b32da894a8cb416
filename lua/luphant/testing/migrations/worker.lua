-- luphant.testing.migrations.worker - a runner of migrations in a process of its own, which may be told to die.
--
-- It dies by kill -9 of itself, at an event of the runner: nothing of it can be caught, flushed or rolled back, and it
-- is always the same statement. To die inside of a statement is the work of whoever started it (see inside.lua): it
-- only stops before that statement until it may go on. What the process is to do stands in a file that only this user
-- can read, since it holds where to connect.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"
local interpreter = require "luphant.testing.interpreter"
local poll = require "luphant.wait.poll"
local shell = require "luphant.testing.shell"

local M = {}

local NAP = 0.005 -- seconds

local SELF = "luphant.testing.migrations.worker" -- what the other process requires

-- ---- the process that starts it -----------------------------------------------------------------------------

local function literal(value)
  if type(value) ~= "table" then return type(value) == "string" and ("%q"):format(value) or tostring(value) end
  local parts = {}
  for _, key in ipairs(compat.sorted_keys(value)) do
    parts[#parts + 1] = ("[%s]=%s"):format(literal(key), literal(value[key]))
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

local function array(list)
  local parts = {}
  for i, value in ipairs(list) do parts[i] = literal(value) end
  return "{" .. table.concat(parts, ",") .. "}"
end

local function password_of(plan)
  local params, given = plan.params, plan.settings.password
  if type(given) ~= "function" then return given or params.password end
  return (given { host = params.host, port = params.port, dbname = params.dbname, user = params.user })
end

-- tmpname makes the file, and for this user only; what is written into it keeps that.
local function write_job(job)
  local path = os.tmpname()
  shell.write_file(path, "return " .. job)
  return path
end

---@class (exact) luphant.testing.migrations.Job
---@field dir string
---@field ignore? string[]
---@field values table<string, string>
---@field schema? string
---@field count integer how many of the list
---@field to? string back, down to this version
---@field die? { kind: string, version: string, part: string, event: string, nth: integer, gate: string? }

--- A command line that runs a job on a scratch database, and the file to be removed afterwards.
---@param scratch luphant.migrate.Scratch
---@param job luphant.testing.migrations.Job
---@return string command
---@return string path
function M.command(scratch, job)
  local target = compat.copy(scratch.plan.params)
  target.password = password_of(scratch.plan)
  local form = "{ target=%s, dir=%q, ignore=%s, values=%s, schema=%s, count=%d, to=%s, die=%s, path=%q, cpath=%q }"
  local text = form:format(
    literal(target), job.dir, job.ignore and array(job.ignore) or "nil", literal(job.values), literal(job.schema),
    job.count, literal(job.to), job.die and literal(job.die) or "nil", package.path, package.cpath)
  local path = write_job(text)
  local code = ("local job = dofile(%q); package.path, package.cpath = job.path, job.cpath;"
    .. " require(%q).work(job)"):format(path, SELF)
  return interpreter.run(code), path
end

-- ---- the process itself -------------------------------------------------------------------------------------

-- Tells its process id in one file, and waits for another.
local function stop_at(gate)
  os.execute(("echo $PPID > %s && mv %s %s"):format(shell.quote(gate .. ".new"), shell.quote(gate .. ".new"),
    shell.quote(gate .. ".at")))
  local waiter = poll.waiter()
  while not shell.is_file(gate .. ".go") do waiter.sleep(waiter.now() + NAP) end
end

-- It has come through the statement, which nothing could hold up.
local function passed(gate)
  shell.write_file(gate .. ".past", "")
  os.execute "kill -9 $PPID"
end

local function killer(die)
  local seen, is_inside = 0, false
  return function(event)
    if event.version ~= die.version or event.kind ~= die.kind then return end
    if is_inside and event.event ~= "notice" then passed(die.gate) end
    if event.event ~= (die.gate and "statement" or die.event) or (event.part or die.part) ~= die.part then return end
    seen = seen + 1
    if seen ~= die.nth then return end
    if not die.gate then os.execute "kill -9 $PPID" end
    stop_at(die.gate)
    is_inside = true
  end
end

--- Does the job; ends the process with 1 when the migrations fail.
---@param job table
function M.work(job)
  local luphant = require "luphant"
  local context = require "luphant.testing.migrations.context"
  local plan = require "luphant.migrate.plan"
  local run = require "luphant.migrate.run"
  local list = assert(require("luphant.migrate").load(job.dir, { ignore = job.ignore }))
  local self = context.new {
    list = list,
    runner = {
      schema = job.schema, values = job.values, ignore = job.ignore, to = job.to,
      on_event = job.die and killer(job.die) or nil,
    },
  }
  local conn = assert(luphant.connect(job.target))
  local done, err = run.with_session(conn, self.options, 2, function(s)
    return run.within(s, self:prefix(job.count), job.to and plan.revert or plan.make)
  end)
  conn:close()
  if done then return end
  io.stderr:write(tostring(err), "\n")
  os.exit(1)
end

return M
