-- cli/migrate/options.lua - the command line of `luphant migrate`, and what it makes of it.
--
-- SPDX-License-Identifier: MIT

local common = require "luphant.cli.migrate.common"
local shared = require "luphant.cli.migrate.shared"
local words = require "luphant.args"

local options = {}

local function whole(name)
  return function(text)
    local count = tonumber(text)
    if not count or count < 1 or count % 1 ~= 0 then return nil, name .. " must be a whole number above 0" end
    return count
  end
end

local function seconds(name)
  return function(text)
    local amount = tonumber(text)
    if not amount or amount < 0 then return nil, name .. " must be seconds, 0 or more" end
    return amount
  end
end

local function what_to_run(parser)
  parser:option("--count", "up, down: so many versioned migrations (default: all, and 1 for down).")
    :convert(whole "--count")
  parser:option("--to", "up, down: up to this version, or down to it (0: all).")
  parser:option("--only", "up: this migration alone, whatever lies before it; needs --reason."):count "*"
  parser:option("--phase", "up, plan, lint: expand (default), contract or all.")
    :choices { "expand", "contract", "all" }
  parser:flag("--allow-out-of-order", "up: also what has a lower number than something applied.")
  parser:flag("--ignore-missing", "up: applied files may be gone.")
  parser:option("--rerun", "up: a repeatable one whose text is an older one again."):count "*"
  parser:flag("--refuse-hazards", "up: not what the linter calls an error; always so in a protected environment.")
  parser:option("--allow-hazards", "up: but what these rules say, RULE,RULE,... or all."):count "*"
  parser:option("--plan-hash", "up, down: only what was reviewed; see plan.")
  parser:flag("--dry-run", "up, down, repair: only show what would be done; as plan --sql.")
  parser:option("--run", "down: the migrations of this run, or `last`.")
  parser:flag("--partial", "down: also what stopped half-way.")
  parser:option("--from", "resume: the statement to go on with."):convert(whole "--from")
  parser:flag("--assume-not-run", "resume: the statement in doubt has not run.")
  parser:flag("--applied", "resolve: it is there.")
  parser:flag("--rolled-back", "resolve: it is not there.")
  parser:option("--backup", "up, down: take a pg_dump into this folder before anything runs.")
  parser:option("--backup-cmd", "The same by a command; the first line that it writes is the backup's name.")
  parser:option("--backup-table", "With --backup: only this one, or `touched`: what the run works on."):count "*"
  parser:flag("--preserve", "up, down, redo, resume: keep copies of the rows that a statement destroys.")
  parser:flag("--verify-backup", "With --backup: restore it into a database of its own, too.")
  parser:option("--reason", "Why, for the history: resolve, skip, repair, up --only.")
  parser:flag("--yes", "In a protected environment: do not ask; with --protected.")
  parser:option("--protected", "The name of the protected environment that is meant.")
end

local function surroundings(parser)
  parser:option("--dir", "The folder of migrations."):default "migrations"
  common.connection(parser)
  parser:option("--schema", "Schema of the history tables.")
  parser:option("--tenant", "Which of several histories in one database.")
  parser:option("--tenants", "up, status: a schema for each of these, NAME,NAME,...")
  parser:option("--tenants-query", "up, status: the same, names by a query.")
  parser:option("--shared", "With tenants: a folder of migrations that run before, in the schema of all.")
  parser:flag("--create-tenants", "With tenants: make schemas that are missing.")
  parser:option("--template", "With tenants: make them as copies of this one.")
  parser:option("--jobs", "With tenants: so many at once (default: 1)."):convert(whole "--jobs")
  parser:flag("--continue-on-error", "With tenants: go on with the next one after a failure.")
  parser:option("--search-path", "Where tables without a schema go.")
  parser:option("--var", "name=value of a placeholder."):count "*"
  parser:option("--ignore", "A glob of files that are nobody's business."):count "*"
  parser:option("--lock-wait", "Seconds to wait for another runner (default: 60)."):convert(seconds "--lock-wait")
  parser:option("--lock-timeout", "Seconds a statement may wait for its lock (default: 2).")
    :convert(seconds "--lock-timeout")
  parser:option("--lock-retry-for", "Seconds to try again after that (default: 300).")
    :convert(seconds "--lock-retry-for")
  parser:option("--statement-timeout", "Seconds a statement may take (default: no limit).")
    :convert(seconds "--statement-timeout")
  parser:option("--app-version", "Release of the application, for the history.")
  parser:flag("--hide-queries", "Do not show what others run when they are in the way.")
end

local function of_baseline(parser)
  parser:option("--at", "baseline: the version, as an option.")
  parser:flag("--from-db", "baseline: write what is in the database to a baseline, and record that as applied.")
  parser:option("--name", "baseline: with --from-db, what the file is called behind its version (default: baseline).")
  parser:option("--scratch", "baseline: with --from-db, URL of another server for the scratch database.")
end

--- Adds the arguments to a parser (argparse); without that of the verb where the parser belongs to one.
function options.configure(parser, verb)
  if not verb then parser:argument("verb", "What to do."):choices(shared.NAMES) end
  parser = shared.filter(parser, verb)
  parser:argument("version", "resume, resolve, skip, baseline, history: which migration; behind up and down: how many.")
    :args "?"
  what_to_run(parser)
  surroundings(parser)
  of_baseline(parser)
  parser:flag("--exit-code", "status: 3 when something is pending, 4 when something is wrong.")
  parser:flag("--down", "plan: of the way back.")
  parser:flag("--sql", "plan: with the statements, and what they are known to do.")
  parser:option("--stats-file", 'plan, --dry-run: row counts of another database, {"schema.table": rows}.')
  parser:option("--limit", "history: so many events."):convert(whole "--limit")
  parser:flag("--quiet", "Tell errors and warnings only.")
  parser:flag("--verbose", "Tell each statement, too.")
  parser:flag("--json", "Write JSON: one object, or a line for each event.")
end

local NEEDS_VERSION = { resume = true, resolve = true, skip = true, baseline = true }
local NEEDS_REASON = { resolve = true, skip = true, repair = true }

local function filled(list) return #list > 0 and list or nil end

local function split(list)
  local out = {}
  for _, text in ipairs(list) do
    for name in text:gmatch "[^,%s]+" do out[#out + 1] = name end
  end
  return filled(out)
end

local function unknown_rule(args)
  local names = split(args.allow_hazards)
  if not names then return nil end
  local known = {}
  for i, rule in ipairs(require("luphant.migrate.lint").rules()) do known[i], known[rule.name] = rule.name, true end
  for _, name in ipairs(names) do
    if name ~= "all" and not known[name] then
      return ("--allow-hazards: there is no rule %s%s"):format(name, words.did_you_mean(name, known))
    end
  end
end

local OF_TENANTS = { "jobs", "template", "shared", "create_tenants", "continue_on_error" }

-- `down 7` takes seven back. What looks like a version is none of this, and is not guessed at.
local COUNTS = { up = true, down = true }

local function number_problem(args)
  if NEEDS_VERSION[args.verb] or args.verb == "history" then return nil end
  if not COUNTS[args.verb] then return ("%s takes no version; see --only and --to"):format(args.verb) end
  if args.count then return "a number of migrations and --count say the same" end
  if not args.version:find "^[1-9]%d?%d?$" then
    return ("%s takes a number of migrations; up to a version goes --to %s"):format(args.verb, args.version)
  end
end

local function baseline_problem(args)
  if args.from_db then
    return args.name and not args.name:find "^[%w_%-]+$" and "--name must be letters, digits, _ and -" or nil
  end
  if args.verb == "baseline" and (args.name or args.scratch) then return "--name and --scratch belong to --from-db" end
end

--- What is wrong with the command line although each word of it is right; nil when nothing is.
---@param args table
---@return string?
function options.problem(args)
  if NEEDS_VERSION[args.verb] and not args.version and not args.from_db then return args.verb .. " needs a version" end
  local wrong = args.version and number_problem(args) or baseline_problem(args)
  if wrong then return wrong end
  local is_look = args.verb == "repair" and args.dry_run
  if (NEEDS_REASON[args.verb] or #args.only > 0) and not is_look and (args.reason or "") == "" then
    return ("%s needs --reason"):format(NEEDS_REASON[args.verb] and args.verb or "--only")
  end
  if args.verb == "resolve" and (args.applied == true) == (args.rolled_back == true) then
    return "resolve needs --applied or --rolled-back"
  end
  if (args.tenants or args.tenants_query) and args.verb ~= "up" and args.verb ~= "status" then
    return ("%s takes one --tenant; many work with up and status"):format(args.verb)
  end
  if not args.tenants and not args.tenants_query then
    for _, name in ipairs(OF_TENANTS) do
      if args[name] then return ("--%s needs --tenants or --tenants-query"):format((name:gsub("_", "-"))) end
    end
  end
  if args.trace and args.verb ~= "lint" then
    if args.verb ~= "plan" and not (args.dry_run and (args.verb == "up" or args.verb == "down")) then
      return "--trace needs --dry-run; only then is what it runs rolled back"
    elseif type(args.trace) == "string" or (type(args.trace) == "table" and args.trace[1]) then
      return "--trace takes a URL with lint only; --database says where"
    end
  end
  local unknown = unknown_rule(args)
  if unknown then return unknown end
  if args.quiet and (args.verbose or args.json) then
    return ("--quiet and --%s exclude each other"):format(args.json and "json" or "verbose")
  end
  if args.backup and args.backup_cmd then return "--backup and --backup-cmd exclude each other" end
  if args.verify_backup and not args.backup then return "--verify-backup needs --backup" end
  if #args.backup_table > 0 and not args.backup then return "--backup-table needs --backup" end
  for _, text in ipairs(args.var) do
    if not text:find "^[%a_][%w_]*=" then return "--var must be name=value" end
  end
end

local function values_of(list)
  local values = {}
  for _, text in ipairs(list) do
    local name, value = text:match "^([^=]+)=(.*)$"
    values[name] = value
  end
  return values
end

local function of_all(args)
  return {
    schema = args.schema, tenant = args.tenant, ignore = filled(args.ignore), search_path = args.search_path,
    lock_wait = args.lock_wait, lock_timeout = args.lock_timeout, lock_retry_for = args.lock_retry_for,
    statement_timeout = args.statement_timeout, values = values_of(args.var), app_version = args.app_version,
    hide_queries = args.hide_queries, preserve = args.preserve, reason = args.reason,
  }
end

-- The names of tenants, or what asks for them; nil where there are none.
local function tenants_of(args)
  if args.tenants_query then return { query = args.tenants_query } end
  if not args.tenants then return nil end
  local names = {}
  for name in args.tenants:gmatch "[^,]+" do names[#names + 1] = name end
  return names
end

local OF_UP = { "count", "to", "phase", "allow_out_of_order", "ignore_missing", "plan_hash" }
local OF_DOWN = { "count", "to", "partial", "plan_hash" }

--- The options for luphant.migrate.
---@param args table
---@param verb string up, down, resume, or anything else
---@return table
function options.of(args, verb)
  local out = of_all(args)
  if args.backup then
    local only = filled(args.backup_table)
    if only and only[1] == "touched" then only = "touched" end
    out.backup = { dir = args.backup, restore = args.verify_backup, tables = only }
  end
  if args.backup_cmd then out.backup = { command = args.backup_cmd } end
  if verb == "baseline" then
    out.from_db, out.name, out.scratch = args.from_db, args.name, args.scratch
  elseif verb == "up" then
    for _, name in ipairs(OF_UP) do out[name] = args[name] end
    out.only, out.rerun = filled(args.only), filled(args.rerun)
    out.tenants = tenants_of(args)
    out.hazards, out.allow_hazards = args.refuse_hazards and "refuse" or "allow", split(args.allow_hazards)
    if out.tenants then
      out.shared, out.create, out.continue_on_error = args.shared, args.create_tenants, args.continue_on_error
      out.template, out.jobs = args.template, args.jobs
    end
  elseif verb == "down" then
    for _, name in ipairs(OF_DOWN) do out[name] = args[name] end
    out.run = args.run == "last" or args.run
  elseif verb == "resume" then
    out.from, out.assume_not_run = args.from, args.assume_not_run
  end
  return out
end

return options
