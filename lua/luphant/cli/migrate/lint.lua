-- luphant migrate lint - lints the folder of migrations, or what a branch changes in it.
--
-- No database is needed. With --database its catalogs are asked for what the text does not tell; with --trace the
-- migrations run on a scratch database, of a private server unless a URL names another. Exit codes: 0 nothing at or
-- above --fail-on, 1 no connection or no trace, 2 wrong use, 4 the folder is not in order, 5 findings.
--
-- SPDX-License-Identifier: MIT

local ending = require "luphant.cli.migrate.ending"
local errors = require "luphant.errors"
local git = require "luphant.cli.git"
local lint = require "luphant.migrate.lint"
local luphant = require "luphant"
local migrate = require "luphant.migrate"
local scratch = require "luphant.cli.migrate.scratch"
local style = require "luphant.cli.style"

local M = {}

local OK, FAILED, USAGE, FINDINGS = 0, 1, 2, 5

local FORMATS = { "text", "json", "sarif", "github", "gitlab" }

local function read_rule(text)
  local name, level = text:match "^([%w%-]+)=(%a+)$"
  if not name then return nil, "--rule must be NAME=LEVEL" end
  return { name = name, level = level }
end

--- Adds the options of lint to the parser of `luphant migrate`.
function M.configure(parser)
  parser:option("--format", "lint: text, json, sarif, github or gitlab."):choices(FORMATS)
  parser:option("--base", "lint: judge only what was added or edited since this branch or commit.")
  parser:option("--fail-on", "lint: the lowest severity that answers exit code 5 (default: warning).")
    :choices { "note", "warning", "error" }
  parser:option("--rule", "lint: another severity for a rule, NAME=off|note|warning|error; repeatable.")
    :count("*"):convert(read_rule)
  parser:option("--trace", "lint: run everything on a scratch database; URL of a server that may be spoilt, "
    .. "or nothing for a private one. plan, up and down with --dry-run: run it on this database and roll it back.")
    :args("?")
  parser:flag("--fix", "lint: write what is mechanical into the files; with --base or --database, which tell what is "
    .. "not applied yet.")
  parser:flag("--no-color", "lint: no colour, even on a terminal.")
end

local function severities(args)
  local out = {}
  for _, rule in ipairs(args.rule or {}) do out[rule.name] = rule.level end
  return out
end

local function fail(args, env, code, message)
  if errors.is_error(message) then
    ending.report(args, env, message)
  else
    ending.misuse(args, env, tostring(message))
  end
  return nil, code
end

-- What --base leaves to be judged.
local function add_base(options, args, env)
  if not args.base then return true end
  local changes, why = git.changes(args.dir, args.base)
  if not changes then return fail(args, env, USAGE, "--base: " .. why) end
  local only = {}
  for _, path in ipairs(changes.added) do only[#only + 1] = path end
  for _, path in ipairs(changes.edited) do only[#only + 1] = path end
  options.only, options.base = only, { name = args.base, files = changes.files, edited = changes.edited }
  return true
end

local function add_facts(options, args, env)
  if not args.database then return true end
  local conn, err = luphant.connect(args.database)
  if not conn then return fail(args, env, FAILED, err) end
  options.facts, err = lint.facts(conn)
  conn:close()
  if not options.facts then return fail(args, env, FAILED, err) end
  return true
end

-- A way back of its own file counts for the migration it belongs to.
local function only_files(list, only)
  if not only then return nil end
  local wanted, out = {}, {}
  for _, path in ipairs(only) do wanted[path] = true end
  for _, migration in ipairs(list) do
    if wanted[migration.file] or wanted[migration.down_file or ""] then out[#out + 1] = migration.file end
  end
  return out
end

local function add_trace(options, list, args, env)
  if not args.trace then return true end
  -- argparse gives a list for an option whose argument may be missing.
  local url = args.trace
  if type(url) == "table" then url = url[1] end
  local traced, err = scratch.run(url, function(conn) return lint.trace(conn, list, options.only) end)
  if not traced then return fail(args, env, FAILED, err) end
  options.traced = traced
  return true
end

local function colours(env, args)
  local paint = style.new(env, args.no_color)
  return { error = paint.red, warning = paint.yellow, note = paint.dim, dim = paint.dim, bold = paint.bold }
end

-- Options of lint that say more than the command line does; or nil and an exit code.
local function prepare(list, args, env)
  local options = { severity = severities(args), phase = args.phase ~= "all" and args.phase or nil }
  for _, step in ipairs { add_base, add_facts } do
    local ok, code = step(options, args, env)
    if not ok then return nil, code end
  end
  options.only = only_files(list, options.only)
  local ok, code = add_trace(options, list, args, env)
  if not ok then return nil, code end
  return options
end

-- ---- --fix ------------------------------------------------------------------------------------------------------

local MOST_PASSES = 100 -- one remedy for each file and pass; a file with more of them is linted again by hand

-- Files that no database has applied: the new ones of a branch, or those the database does not know.
local function fixable(list, options, args, env)
  if not args.base and not args.database then
    return fail(args, env, USAGE, "--fix wants --base or --database, so that no file is edited that is applied")
  end
  local is_open = {}
  if args.base then
    local edited = {}
    for _, path in ipairs(options.base.edited) do edited[path] = true end
    for _, path in ipairs(options.only) do is_open[path] = not edited[path] or nil end
  else
    for _, migration in ipairs(list) do is_open[migration.file] = true end
  end
  if not args.database then return is_open end
  local entries, err = migrate.status(args.database, args.dir, { schema = args.schema })
  if not entries then return fail(args, env, FAILED, err) end
  for _, entry in ipairs(entries) do
    if entry.file and entry.state ~= "pending" then is_open[entry.file] = nil end
  end
  return is_open
end

local function only_open(report, is_open)
  local findings = {}
  for _, finding in ipairs(report.findings) do
    if is_open[finding.file] then findings[#findings + 1] = finding end
  end
  return { findings = findings }
end

-- Until nothing is left to be mended; answers the folder as it is then.
local function fix_all(list, options, args, env)
  local is_open, code = fixable(list, options, args, env)
  if not is_open then return nil, code end
  for _ = 1, MOST_PASSES do
    local fixed, err = lint.fix(only_open(lint.migrations(list, options), is_open))
    if not fixed then return fail(args, env, FAILED, err) end
    if #fixed == 0 then break end
    for _, finding in ipairs(fixed) do
      env.err:write(("fixed     %s:%d: %s [%s]\n"):format(finding.file, finding.line, finding.message, finding.rule))
    end
    list, err = migrate.load(args.dir)
    if not list then return fail(args, env, ending.code(err), err) end
  end
  return list
end

--- Runs the command.
---@param args table what the parser made of the command line
---@param env luphant.cli.env
---@return integer exit_code
function M.run(args, env)
  local list, err = migrate.load(args.dir)
  if not list then return ending.report(args, env, err) end
  local options, code = prepare(list, args, env)
  if not options then return code end
  local fine, report = pcall(lint.migrations, list, options)
  if not fine and tostring(report):find "interrupted!$" then error(report, 0) end
  if not fine then
    -- A rule or severity that does not exist: the only options that come from the command line unchecked.
    return ending.misuse(args, env, "--rule: " .. tostring(report):gsub("^.-:%d+: ", ""))
  end
  if args.fix then
    list, code = fix_all(list, options, args, env)
    if not list then return code end
    options, code = prepare(list, args, env) -- lines have moved
    if not options then return code end
    report = lint.migrations(list, options)
  end
  local name = args.format or (args.json and "json") or "text"
  local format = require("luphant.migrate.lint.format." .. name)
  env.out:write(format(report, name == "text" and colours(env, args) or nil))
  return lint.fails(report, args.fail_on or "warning") and FINDINGS or OK
end

return M
