-- luphant.migrate - applies numbered SQL files to a database, each exactly once, and takes them back.
--
-- Every migration runs in a transaction of its own, and the row that says so is written in that same
-- transaction: either both are there or neither. One session lock keeps two runners apart. The
-- folder is judged as a whole before the first statement runs.
--
-- Needs one connection for itself (not a pool: the lock belongs to the session). Not for statements
-- that cannot run in a transaction (create index concurrently, vacuum).
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local errors = require "luphant.errors"
local history = require "luphant.migrate.history"
local load = require "luphant.migrate.load"
local order = require "luphant.migrate.order"
local plan = require "luphant.migrate.plan"

local M = {}

---@class (exact) luphant.migrate.Options
---@field schema? string where the history table lives (default "luphant")
---@field lock_wait? number seconds to wait for another runner (default 60)
---@field on_event? fun(event: luphant.migrate.Event) told before and after each migration

---@class (exact) luphant.migrate.Event
---@field event "start"|"applied"|"reverted"
---@field version string
---@field name string
---@field file? string
---@field duration_ms? integer once applied

local OPTIONS = {
  schema = { type = "string", default = "luphant" },
  lock_wait = { type = "number", min = 0, default = 60 },
  on_event = { type = "function", default = function() end },
}

local COUNT = { type = "number", integer = true, min = 1 }

local function describe(problem)
  local place = problem.file and problem.file .. (problem.line and ":" .. problem.line or "") .. ": " or ""
  return place .. problem.message .. (problem.hint and "; " .. problem.hint or "")
end

-- One error for a folder in disorder; the message holds the whole list.
local function invalid(problems)
  local lines = {}
  for i, problem in ipairs(problems) do lines[i] = describe(problem) end
  local head = #problems == 1 and "" or ("%d problems with the migrations:\n  "):format(#problems)
  return errors.new("migration_invalid", head .. table.concat(lines, "\n  "), {
    class = "usage", problems = problems,
  })
end

-- On which line of the file does the error stand? The server counts characters of the script.
local function line_of(err, section)
  local position = err.position
  if not position then return section.line end
  local line, seen = section.line, 0
  for char in section.text:gmatch "[%z\1-\127\194-\244][\128-\191]*" do
    seen = seen + 1
    if seen >= position then break end
    if char == "\n" then line = line + 1 end
  end
  return line
end

-- What went wrong inside a file, with the place in it; the server's error is the cause.
local function failed(entry, part, section, cause)
  local file = order.file_of(entry)
  local line = section and line_of(cause, section)
  local message = ("migrate:%s: %s"):format(part, cause.message)
  return errors.new("migration_failed", describe { file = file, line = line, message = message }, {
    file = file, line = line, version = entry.version, sqlstate = cause.sqlstate,
    cause = errors.is_error(cause) and cause or nil,
  })
end

-- A script must not end the transaction it runs in, else its row would be written elsewhere.
local function run_section(tx, entry, part, section)
  local results, why = tx:script(section.text)
  if not results then return nil, failed(entry, part, section, why) end
  if not tx:is_open() then
    return nil, failed(entry, part, section, {
      message = "ends the transaction it runs in; take COMMIT, ROLLBACK and the like out of the file",
    })
  end
  return results
end

-- What a query of a verify block objects to: nil when it answered no row or nothing but true.
local function objection(result)
  local seen = {}
  for _, column in ipairs(result.columns) do
    -- Rows are keyed by name, so of two columns with one name only the last would be looked at.
    if seen[column.name] then return ("has two columns called %s; give them names"):format(column.name) end
    seen[column.name] = true
  end
  for _, row in ipairs(result.rows) do
    if #result.columns == 0 then return "answered a row" end
    for _, column in ipairs(result.columns) do
      local value = row[column.name]
      if value ~= true then
        return ("answered %s = %s"):format(column.name, value == nil and "NULL" or tostring(value))
      end
    end
  end
end

local function verify(tx, entry, section)
  local results, err = run_section(tx, entry, "verify", section)
  if not results then return nil, err end
  for index, result in ipairs(results) do
    local complaint = result.columns and objection(result)
    if complaint then
      return nil, failed(entry, "verify", section, { message = ("statement %d %s"):format(index, complaint) })
    end
  end
  return true
end

local function apply(conn, entry, options)
  local migration = entry.migration
  return conn:transaction(function(tx)
    local ok, err = run_section(tx, entry, "up", migration.up)
    if ok and migration.verify then ok, err = verify(tx, entry, migration.verify) end
    if not ok then return nil, err end
    return history.record(tx, options.schema, migration)
  end)
end

local function revert(conn, step, options)
  return conn:transaction(function(tx)
    local ok, err = run_section(tx, step, "down", step.section)
    if not ok then return nil, err end
    return history.forget(tx, options.schema, step.version)
  end)
end

-- What the format knows and this runner does not do.
local function unsupported(step)
  local migration = step.migration
  local section = step.section or (migration and migration.up)
  if step.kind ~= "versioned" then return step.kind .. " migrations" end
  if migration and migration.language == "lua" then return "migrations in Lua" end
  if not step.transaction then return "transaction:false" end
  if migration and migration.check then return "migrate:check" end
  if migration and #migration.vars > 0 then return "placeholders" end
  for _, name in ipairs { "lock_timeout", "statement_timeout", "retry" } do
    if section.options[name] ~= nil then return "the option " .. name end
  end
end

local function check_supported(steps)
  local problems = {}
  for _, step in ipairs(steps) do
    local what = unsupported(step)
    if what then
      problems[#problems + 1] = {
        file = step.file or step.name, message = ("this runner cannot do %s yet"):format(what),
      }
    end
  end
  if #problems > 0 then return nil, invalid(problems) end
  return steps
end

local function read_both(conn, dir, options)
  local list, problems = load.load(dir)
  if not list then return nil, invalid(problems) end
  local applied, err = history.read(conn, options.schema)
  if not applied then return nil, err end
  return list, applied
end

-- The steps of a plan, or the error that lists what speaks against it.
local function planned(found, problems)
  if not found then return nil, invalid(problems) end
  return check_supported(found.steps)
end

-- Runs `fn` while this session holds the lock. An error of `fn` outweighs one of unlocking: then the
-- session is usually gone, and the lock with it.
local function locked(conn, options, fn)
  local held, err = history.lock(conn, options.schema, options.lock_wait)
  if not held then
    if type(err) ~= "string" then return nil, err end
    return nil, errors.new("migration_locked",
      ("another run of migrations is under way (%s); gave up after %g seconds"):format(err, options.lock_wait),
      { class = "timeout", retryable = true })
  end
  local fine, result, why = pcall(fn)
  local released, unlock_err = history.unlock(conn, options.schema)
  if not fine then error(result, 0) end
  if result == nil then return nil, why end
  if not released then return nil, unlock_err end
  return result
end

-- Runs `step` for each entry, telling the listener. After a failure the error knows what was done.
local function run_all(conn, entries, options, step, word)
  local done = {}
  for _, entry in ipairs(entries) do
    local event = { event = "start", version = entry.version, name = entry.name, file = entry.file }
    options.on_event(event)
    local answer, err = step(conn, entry, options)
    if not answer then
      err.done = done
      return nil, err
    end
    done[#done + 1] = {
      event = word, version = entry.version, name = entry.name, file = entry.file,
      duration_ms = word == "applied" and answer or nil,
    }
    options.on_event(done[#done])
  end
  return done
end

local function check_border(conn, dir, opts, name)
  args.argument(conn, { "table", "userdata" }, 1, name, 3)
  args.argument(dir, "string", 2, name, 3)
  return args.check(opts, OPTIONS, "option", 3)
end

--- Reads a folder of migrations without any database.
---@param dir string
---@return luphant.migrate.Migration[]? list in order
---@return table? err kind "migration_invalid", with `problems`
function M.load(dir)
  args.argument(dir, "string", 1, "load")
  local list, problems = load.load(dir)
  if not list then return nil, invalid(problems) end
  return list
end

--- Which migrations are applied, pending, edited since, or gone? Creates nothing.
---@param conn table a connection
---@param dir string
---@param opts? luphant.migrate.Options
---@return luphant.migrate.Entry[]? entries
---@return table? err
function M.status(conn, dir, opts)
  local list, applied = read_both(conn, dir, check_border(conn, dir, opts, "status"))
  if not list then return nil, applied end
  return plan.compare(list, applied)
end

--- Applies what is pending, in order.
---@param conn table a connection
---@param dir string
---@param opts? luphant.migrate.Options
---@return luphant.migrate.Event[]? done what was applied; empty when nothing was pending
---@return table? err `err.done` lists what was applied before the failure
function M.up(conn, dir, opts)
  local options = check_border(conn, dir, opts, "up")
  return locked(conn, options, function()
    local list, applied = read_both(conn, dir, options)
    if not list then return nil, applied end
    local steps, err = planned(plan.make(list, applied))
    if not steps then return nil, err end
    if #steps > 0 then
      local ready
      ready, err = history.ensure(conn, options.schema)
      if not ready then return nil, err end
    end
    return run_all(conn, steps, options, apply, "applied")
  end)
end

--- Takes the last `count` applied migrations back, newest first.
---@param conn table a connection
---@param dir string
---@param count? integer default 1
---@param opts? luphant.migrate.Options
---@return luphant.migrate.Event[]? done
---@return table? err `err.done` lists what was taken back before the failure
function M.down(conn, dir, count, opts)
  local options = check_border(conn, dir, opts, "down")
  local why = count ~= nil and args.problem(count, COUNT)
  if why then error("bad argument #3 to 'down': the count " .. why, 2) end
  return locked(conn, options, function()
    local list, applied = read_both(conn, dir, options)
    if not list then return nil, applied end
    local steps, err = planned(plan.revert(list, applied, { count = count }))
    if not steps then return nil, err end
    return run_all(conn, steps, options, revert, "reverted")
  end)
end

return M
