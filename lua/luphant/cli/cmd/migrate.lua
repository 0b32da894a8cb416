-- luphant migrate - the migration runner on the command line.
--
-- Translates arguments into one call of luphant.migrate and its answer into lines or one JSON
-- object. Exit codes beside those of main.lua: 4 the folder and the history do not fit together,
-- 6 another runner holds the lock. `status` answers 0 whatever the state is.
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"
local luphant = require "luphant"
local migrate = require "luphant.migrate"

local M = { summary = "Apply numbered SQL migrations, take them back, show their state" }

local OK, FAILED, NO_CONNECTION = 0, 1, 3
local EXIT = { migration_invalid = 4, migration_locked = 6 }

--- Adds the arguments of this command to its parser (argparse).
function M.configure(parser)
  parser:argument("action", "What to do."):choices { "up", "down", "status" }
  parser:option("--dir", "The folder of migrations."):default "migrations"
  parser:option("-d --database", "URL of the database (default: DATABASE_URL, then PG* variables).")
  parser:option("--schema", "Schema of the history table.")
  parser:option("--count", "down: how many migrations to take back (default: 1)."):convert(function(text)
    local count = tonumber(text)
    if not count or count < 1 or count % 1 ~= 0 then return nil, "--count must be a whole number above 0" end
    return count
  end)
  parser:option("--lock-wait", "Seconds to wait for another runner (default: 60)."):convert(function(text)
    local seconds = tonumber(text)
    if not seconds or seconds < 0 then return nil, "--lock-wait must be seconds, 0 or more" end
    return seconds
  end)
  parser:flag("--json", "Print one JSON object instead of lines.")
end

local ACTIONS = {
  up = function(conn, args, opts) return migrate.up(conn, args.dir, opts) end,
  down = function(conn, args, opts) return migrate.down(conn, args.dir, args.count, opts) end,
  status = function(conn, args, opts) return migrate.status(conn, args.dir, opts) end,
}

local function write_done(out, event)
  if event.event == "start" then return end
  local took = event.duration_ms and ("  (%d ms)"):format(event.duration_ms) or ""
  out:write(("%-8s  %s_%s%s\n"):format(event.event, event.version, event.name, took))
end

local function write_status(out, entries)
  for _, entry in ipairs(entries) do
    out:write(("%-8s  %s_%s%s\n"):format(entry.state, entry.version, entry.name,
      entry.applied and "  " .. entry.applied.applied_at or ""))
  end
  if #entries == 0 then out:write "no migrations\n" end
end

-- What --json prints: plain data, the same fields for all actions.
local function plain(list)
  local out = {}
  for i, item in ipairs(list or {}) do
    out[i] = {
      event = item.event, state = item.state, version = item.version, name = item.name, file = item.file,
      duration_ms = item.duration_ms, applied_at = item.applied and item.applied.applied_at,
    }
  end
  return out
end

local function write_json(out, action, list, err)
  local document = { action = action, migrations = core.json_array(plain(list or err and err.done)) }
  if err then
    document.error = {
      kind = err.kind, message = err.message, file = err.file, line = err.line, sqlstate = err.sqlstate,
      problems = err.problems,
    }
  end
  out:write(assert(core.json_encode(document)), "\n")
end

local function report(args, env, list, err)
  if args.json then
    write_json(env.out, args.action, list, err)
  elseif args.action == "status" and list then
    write_status(env.out, list)
  elseif list and #list == 0 then
    env.out:write "nothing to do\n"
  end
  if not err then return OK end
  if not args.json then env.err:write("luphant migrate: ", tostring(err), "\n") end
  return EXIT[err.kind] or FAILED
end

--- Runs the command.
---@param args table what the parser made of the command line
---@param env luphant.cli.env
---@return integer exit_code
function M.run(args, env)
  local conn, err = luphant.connect(args.database or env.getenv "DATABASE_URL")
  if not conn then
    report(args, env, nil, err)
    return NO_CONNECTION
  end
  local on_event = not args.json and function(event) write_done(env.out, event) end or nil
  local opts = { schema = args.schema, lock_wait = args.lock_wait, on_event = on_event }
  local list
  list, err = ACTIONS[args.action](conn, args, opts)
  conn:close()
  return report(args, env, list, err)
end

return M
