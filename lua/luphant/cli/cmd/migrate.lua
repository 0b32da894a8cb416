-- luphant migrate - the migration runner on the command line.
--
-- Translates arguments into one call of luphant.migrate, and its events and answer into lines or JSON. The verbs of
-- this file share one parser; those of cli/migrate/verb are commands of their own. Exit codes: cli/migrate/ending.lua.
--
-- SPDX-License-Identifier: MIT

local confirm = require "luphant.cli.migrate.confirm"
local effects = require "luphant.cli.migrate.effects"
local ending = require "luphant.cli.migrate.ending"
local json = require "luphant.cli.migrate.json"
local lines = require "luphant.cli.migrate.lines"
local lint = require "luphant.cli.migrate.lint"
local migrate = require "luphant.migrate"
local options = require "luphant.cli.migrate.options"
local shared = require "luphant.cli.migrate.shared"
local signals = require "luphant.cli.signals"
local verbs = require "luphant.cli.migrate.verbs"
local version = require "luphant.migrate.version"

local M = { summary = "Apply numbered migrations, take them back, show and set right their state, lint them" }

local OK, PENDING, INTEGRITY = ending.OK, ending.PENDING, ending.INTEGRITY
local report = ending.report

local EPILOG = [[


Examples:
  luphant migrate status --exit-code
  luphant migrate plan --sql
  luphant migrate up --plan-hash 4f0c...     # what was reviewed, or nothing
  luphant migrate down --to 20260731094500
  luphant migrate resolve 0007 --rolled-back --reason "dropped the half built index by hand"

Exit codes: 0 done; 1 failed, nothing was applied; 2 wrong use; 3 pending; 4 files, history and database do not fit
together; 5 findings; 6 locked by another runner; 7 stopped half-way; 130 interrupted, 143 by SIGTERM.]]

--- All verbs: each is a command of its own.
M.verbs = {}
for _, list in ipairs { shared.NAMES, verbs } do
  for _, name in ipairs(list) do M.verbs[#M.verbs + 1] = name end
end

local function configure(parser, verb)
  options.configure(parser, verb)
  local only = shared.filter(parser, verb)
  if not verb or verb == "lint" then return lint.configure(only) end
  only:flag("--trace", "Run the plan on this database, roll it back, and tell what it did (up, down: with --dry-run).")
end

---@param name string
---@return table command
function M.verb(name)
  return shared.command(name, configure, M.run) or require("luphant.cli.migrate.verb." .. name:gsub("%-", "_"))
end

--- Adds the arguments of this command to its parser (argparse), for a verb that does not stand first.
function M.configure(parser)
  configure(parser)
  local lines_of_help = { "Verbs (luphant migrate VERB --help tells the rest):" }
  for _, name in ipairs(M.verbs) do
    lines_of_help[#lines_of_help + 1] = ("  %-12s %s"):format(name, M.verb(name).summary)
  end
  parser:epilog(table.concat(lines_of_help, "\n") .. EPILOG)
end

-- ---- verbs that run -----------------------------------------------------------------------------------------

local RUN = {
  up = function(db, args, opts)
    return (opts.tenants and migrate.tenants or migrate.up)(db, args.dir, opts)
  end,
  down = function(db, args, opts) return migrate.down(db, args.dir, nil, opts) end,
  redo = function(db, args, opts) return migrate.redo(db, args.dir, opts) end,
  resume = function(db, args, opts) return migrate.resume(db, args.dir, args.version, opts) end,
  resolve = function(db, args, opts)
    return migrate.resolve(db, args.dir, args.version, args.applied and "applied" or "rolled_back", opts)
  end,
  skip = function(db, args, opts) return migrate.skip(db, args.dir, args.version, opts) end,
  repair = function(db, args, opts)
    opts.dry_run = args.dry_run
    return migrate.repair(db, args.dir, opts)
  end,
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

local function status_of_tenants(db, args, env)
  local opts = options.of(args, "up")
  opts.dry_run, opts.only, opts.continue_on_error = true, nil, nil
  local reports, err = migrate.tenants(db, args.dir, opts)
  if not reports then return nil, err end
  local code = OK
  for _, one in ipairs(reports) do
    for _, item in ipairs(one.pending) do
      code = IS_WRONG[item.state] and INTEGRITY or math.max(code, PENDING)
    end
    if not args.json then lines.tenant(env, one) end
  end
  if args.json then json.write(env, { schema_version = json.VERSION, verb = "status", tenants = reports }) end
  return args.exit_code and code or OK
end

local function status(db, args, env)
  if args.tenants or args.tenants_query then return status_of_tenants(db, args, env) end
  local entries, err = migrate.status(db, args.dir, options.of(args))
  if not entries then return nil, err end
  if args.json then
    json.write(env, { schema_version = json.VERSION, verb = "status", migrations = mapped(entries, json.entry) })
  else
    lines.status(env, entries)
  end
  return args.exit_code and status_code(entries) or OK
end

-- What each step of a plan does, and what the linter says of them; or nil, an error and an exit code.
local function effects_in(db, args, env, found, direction)
  local source, err, misuse = effects.source(db, args.stats_file)
  if misuse then return nil, nil, ending.misuse(args, env, misuse) end
  if not source then return nil, err end
  local findings, out = direction == "up" and effects.findings(found, source) or {}, {}
  for i, step in ipairs(found.steps) do out[i] = effects.of(step, source, findings) end
  return out, findings
end

local function plan(db, args, env)
  local direction = (args.down or args.verb == "down") and "down" or "up"
  local opts = options.of(args, direction)
  opts.direction, opts.plan_hash = direction, nil
  local found, err = (args.trace and migrate.trace or migrate.plan)(db, args.dir, opts)
  if not found then return nil, err end
  local effects_of, findings, code
  if args.json or args.sql or args.dry_run or args.trace then
    effects_of, findings, code = effects_in(db, args, env, found, direction)
    if not effects_of then return code, findings end
  end
  if args.json then
    json.write(env, {
      schema_version = json.VERSION, verb = "plan", direction = direction, plan_hash = found.hash,
      steps = json.steps(found, effects_of), findings = direction == "up" and json.findings(findings) or nil,
      hooks = mapped(found.hooks, function(hook) return { hook = hook.name, file = hook.file } end),
      waiting = mapped(found.waiting, function(item)
        return { version = item.entry.version, name = item.entry.name, kind = item.entry.kind, reason = item.reason }
      end),
    })
  else
    lines.plan(env, found, effects_of)
  end
  if found.failed then return nil, found.failed end
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

local function run(db, args, env, environment)
  local opts = options.of(args, args.verb)
  if args.verb == "up" and environment.protected then opts.hazards = "refuse" end
  local told = 0
  local listener = args.json and function(event) json.write(env, event) end
    or lines.listener(env, { together = (args.jobs or 1) > 1, quiet = args.quiet, verbose = args.verbose })
  function opts.on_event(event)
    told = told + 1
    listener(event)
  end
  opts.should_stop = signals.wants_stop
  local done, err = signals.during(RUN[args.verb], db, args, opts)
  if not done then return report(args, env, err) end
  if args.json then
    if told == 0 then json.nothing(env) end
  elseif not args.quiet and #done == 0 and not done.event then
    env.out:write "nothing to do\n"
  end
  return OK
end

-- What takes something away, or sets the history right by hand, asks twice in a protected environment.
local GUARDED = { down = true, redo = true, resolve = true, skip = true, repair = true }

local function allowed(conn, args, env)
  -- Who only reads needs no right to read this.
  if not GUARDED[args.verb] and args.verb ~= "up" and args.trace == nil then return { protected = false } end
  local environment, err = migrate.environment(conn, { schema = args.schema })
  if not environment then return nil, report(args, env, err) end
  local is_guarded = GUARDED[args.verb] or (args.verb == "up" and #args.only > 0)
  -- What is rolled back takes its locks all the same.
  local is_free = args.trace == nil and (not is_guarded or args.dry_run)
  if is_free or not environment.protected then return environment end
  local deed = "migrate " .. args.verb .. (args.trace and " with --trace" or "")
  local ok, code = confirm.ask(args, env, deed, environment)
  return ok and environment, code
end

local function act(conn, args, env)
  local read = READ[args.verb] or (args.dry_run and (args.verb == "up" or args.verb == "down") and plan)
  local environment, refused = allowed(conn, args, env)
  if not environment then return refused end
  if not read then return run(conn, args, env, environment) end
  local code, err = read(conn, args, env)
  return code or report(args, env, err)
end

-- `up 2` as what it stands for. Answers what speaks against that.
local function counted(args)
  if args.version and (args.verb == "up" or args.verb == "down") then
    for _, migration in ipairs(migrate.load(args.dir, { ignore = args.ignore }) or {}) do
      if migration.kind == "versioned" and version.key(migration.version) == version.key(args.version) then
        return ("%s may be a number of migrations or a version: say --count %s or --to %s"):format(args.version,
          args.version, args.version)
      end
    end
    args.count, args.version = tonumber(args.version), nil
  end
end

--- Runs the command.
---@param args table what the parser made of the command line
---@param env luphant.cli.env
---@return integer exit_code
function M.run(args, env)
  if args.verb == "baseline" then args.version = args.version or args.at end
  if args.verb == "finish" then args.verb, args.phase = "up", args.phase or "contract" end
  local problem = options.problem(args) or counted(args)
  if problem then return ending.misuse(args, env, problem) end
  if args.verb == "lint" then return lint.run(args, env) end
  return ending.connected(args, env, function(conn) return act(conn, args, env) end)
end

return M
