-- luphant migrate - the migration runner on the command line.
--
-- Translates arguments into one call of luphant.migrate, and its events and answer into lines or JSON. Exit codes:
--
--   0  done, or nothing to do          5  the linter found something
--   1  a migration or the database     6  another runner holds the lock
--      failed, and nothing was applied 7  stopped half-way: some were applied, or one is half done
--   2  wrong use or configuration      130  interrupted by Ctrl-C
--   3  pending (status --exit-code)
--   4  files and history do not fit together, or are not what was reviewed; nothing was run
--
-- SPDX-License-Identifier: MIT

local json = require "luphant.cli.migrate.json"
local lines = require "luphant.cli.migrate.lines"
local lint = require "luphant.cli.migrate.lint"
local luphant = require "luphant"
local migrate = require "luphant.migrate"
local options = require "luphant.cli.migrate.options"

local M = { summary = "Apply numbered migrations, take them back, show and set right their state, lint them" }

local OK, FAILED, USAGE, PENDING, INTEGRITY, LOCKED, HALF_WAY, INTERRUPTED = 0, 1, 2, 3, 4, 6, 7, 130
local EXIT = {
  migration_invalid = INTEGRITY, migration_moved = INTEGRITY, migration_locked = LOCKED, migration_pooler = USAGE,
  config = USAGE, migration_behind = PENDING,
}

--- Adds the arguments of this command to its parser (argparse).
function M.configure(parser)
  options.configure(parser)
  lint.configure(parser)
end

-- ---- verbs that run -----------------------------------------------------------------------------------------

local RUN = {
  up = function(db, args, opts) return migrate.up(db, args.dir, opts) end,
  down = function(db, args, opts) return migrate.down(db, args.dir, nil, opts) end,
  redo = function(db, args, opts) return migrate.redo(db, args.dir, opts) end,
  resume = function(db, args, opts) return migrate.resume(db, args.dir, args.version, opts) end,
  resolve = function(db, args, opts)
    return migrate.resolve(db, args.dir, args.version, args.applied and "applied" or "rolled_back", opts)
  end,
  skip = function(db, args, opts) return migrate.skip(db, args.dir, args.version, opts) end,
  repair = function(db, args, opts) return migrate.repair(db, args.dir, opts) end,
  baseline = function(db, args, opts) return migrate.baseline(db, args.dir, args.version, opts) end,
}

-- ---- verbs that read: the answer as a document, and as lines -------------------------------------------------

local function mapped(list, fn)
  local out = {}
  for i, item in ipairs(list) do out[i] = fn(item) end
  return out
end

local IS_WRONG = { failed = true, interrupted = true, changed = true, missing = true, returned = true }

local function status_code(entries)
  local code = OK
  for _, entry in ipairs(entries) do
    if IS_WRONG[entry.state] or entry.out_of_order then return INTEGRITY end
    if (entry.state == "pending" and not entry.deferred) or entry.state == "outdated" then code = PENDING end
  end
  return code
end

local function status(db, args, env)
  local entries, err = migrate.status(db, args.dir, options.of(args))
  if not entries then return nil, err end
  if args.json then
    json.write(env, { schema_version = json.VERSION, verb = "status", migrations = mapped(entries, json.entry) })
  else
    lines.status(env, entries)
  end
  return args.exit_code and status_code(entries) or OK
end

local function plan(db, args, env)
  local direction = (args.down or args.verb == "down") and "down" or "up"
  local opts = options.of(args, direction)
  opts.direction, opts.plan_hash = direction, nil
  local found, err = migrate.plan(db, args.dir, opts)
  if not found then return nil, err end
  if args.json then
    json.write(env, {
      schema_version = json.VERSION, verb = "plan", direction = direction, plan_hash = found.hash,
      steps = mapped(found.steps, json.step),
      waiting = mapped(found.waiting, function(item)
        return { version = item.entry.version, name = item.entry.name, kind = item.entry.kind, reason = item.reason }
      end),
    })
  else
    lines.plan(env, found, args.sql or args.dry_run)
  end
  return OK
end

local function history(db, args, env)
  local events, err = migrate.history(db, {
    schema = args.schema, tenant = args.tenant, version = args.version, limit = args.limit,
  })
  if not events then return nil, err end
  if args.json then
    json.write(env, { schema_version = json.VERSION, verb = "history", events = events })
  else
    lines.history(env, events)
  end
  return OK
end

local READ = { status = status, plan = plan, history = history }

-- ---- the end ------------------------------------------------------------------------------------------------

local function exit_of(err)
  if err.kind == "migration_interrupted" then return INTERRUPTED end
  if EXIT[err.kind] then return EXIT[err.kind] end
  if err.half_done or (err.done and #err.done > 0) then return HALF_WAY end
  return FAILED
end

local function report(args, env, err)
  if args.json then
    json.write(env, { event = "error", schema_version = json.VERSION, error = json.error(err) })
  else
    env.err:write("luphant migrate: ", tostring(err), "\n")
  end
  return exit_of(err)
end

local function run(db, args, env)
  local opts = options.of(args, args.verb)
  opts.on_event = args.json and function(event) json.write(env, event) end or lines.listener(env)
  local done, err = RUN[args.verb](db, args, opts)
  if not done then return report(args, env, err) end
  if not args.json and #done == 0 and not done.event then env.out:write "nothing to do\n" end
  return OK
end

local function url_of(args, env)
  local function filled(text) return text ~= "" and text or nil end
  return args.database or filled(env.getenv "LUPHANT_MIGRATION_URL") or filled(env.getenv "DATABASE_URL")
end

--- Runs the command.
---@param args table what the parser made of the command line
---@param env luphant.cli.env
---@return integer exit_code
function M.run(args, env)
  local problem = options.problem(args)
  if problem then
    env.err:write("luphant migrate: ", problem, "\n")
    return USAGE
  end
  if args.verb == "lint" then return lint.run(args, env) end
  local conn, err = luphant.connect(url_of(args, env))
  if not conn then return report(args, env, err) end
  local read = READ[args.verb] or (args.dry_run and (args.verb == "up" or args.verb == "down") and plan)
  local code
  if read then
    code, err = read(conn, args, env)
    if not code then code = report(args, env, err) end
  else
    code = run(conn, args, env)
  end
  conn:close()
  return code
end

return M
