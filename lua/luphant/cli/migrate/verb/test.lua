-- luphant migrate test - the migrations tried out where nothing can be lost.
--
-- SPDX-License-Identifier: MIT

local args_of = require "luphant.args"
local common = require "luphant.cli.migrate.common"
local ending = require "luphant.cli.migrate.ending"
local json = require "luphant.cli.migrate.json"
local migrations = require "luphant.testing.migrations"
local order = require "luphant.migrate.order"

local M = { summary = "Try the migrations out: up, down, up, with rows, killed, two at once, and what they cost" }

local function phase(text)
  local why = args_of.problem(text, { one_of = migrations.PHASES })
  if why then return nil, "--skip " .. why end
  return text
end

--- Adds the arguments of this verb to its parser (argparse).
function M.configure(parser)
  common.files(parser)
  parser:option("--data", "The folder with rows (default: test/data, where it is there)."):default "test/data"
  parser:option("--server", "URL of a server that may be spoilt (default: a private one, gone afterwards).")
  parser:option("--template", "A database of --server, filled like the real one: what is pending there is measured "
    .. "on a copy of it.")
  parser:option("--only", "Look closely at this migration; the others are just run."):count "*"
  parser:option("--skip", "Leave out: walk, race, kill or impact."):count("*"):convert(phase)
  parser:option("--max-lock", "Seconds; a lock that others wait for longer is a finding."):convert(
    common.seconds "--max-lock")
  parser:option("--fail-on", "The lowest severity that answers exit code 5 (default: error).")
    :choices { "warning", "error" }
  parser:option("--schema", "Schema of the history tables.")
  common.values(parser)
  common.json(parser)
  parser:epilog [[
walk    each migration up, down and up again; its traces are looked for in the catalog, rows of --data are there
race    two runners at once on an empty database
kill    the runner dies by kill -9 before, inside and behind every statement, both ways, and is run again
impact  time, locks, rewrites and scans of each statement, on a copy of --template or the rows of --data

Rows: <version>.before.sql is run before a migration, <version>.after.sql and <version>.down.sql are judged behind it
and behind its way back, as migrate:verify is; start.sql is run first of all.

Examples:
  luphant migrate test
  luphant migrate test --only 20260731094500 --skip race
  luphant migrate test --server postgres://ci@db/postgres --template shop_copy --skip walk --skip kill --max-lock 1

Exit codes: 0 nothing found; 1 failed, no server; 2 wrong use; 4 the folder is not in order; 5 findings.]]
end

-- ---- for people ---------------------------------------------------------------------------------------------

local function name_of(item) return item.version and order.label(item) .. "_" .. item.name or "all" end

local WRITE = {
  phase = function(env, event) env.err:write(event.phase, "\n") end,
  finding = function(env, event)
    env.out:write(("%-8s  %s  %s: %s\n"):format(event.severity, event.phase, name_of(event),
      (event.message:gsub("\n", "\n  "))))
  end,
  impact = function(env, event)
    env.out:write(("impact    %s  line %d  %.1f ms%s\n"):format(name_of(event), event.line, event.duration_ms or 0,
      #event.lines > 0 and "  " .. table.concat(event.lines, "; ") or ""))
  end,
  held = function(env, event)
    env.out:write(("held      %s  %s on %s for %.1f ms\n"):format(name_of(event), event.mode, event.relation,
      event.duration_ms))
  end,
  summary = function(env, event)
    local errors = 0
    for _, finding in ipairs(event.findings) do errors = errors + (finding.severity == "error" and 1 or 0) end
    env.out:write(("tested    %d migrations, %d ways back, killed %d times (%d inside a statement): %d errors, "
      .. "%d warnings  (%.1f s)\n"):format(event.tested, event.downs, event.kills, event.insides, errors,
      #event.findings - errors, event.seconds))
  end,
}

local function listener(args, env)
  if args.json then return function(event) json.write(env, event) end end
  return function(event)
    if WRITE[event.event] then WRITE[event.event](env, event) end
  end
end

local function phases_of(skipped)
  local out, skip = {}, {}
  for _, name in ipairs(skipped) do skip[name] = true end
  for _, name in ipairs(migrations.PHASES) do
    if not skip[name] then out[#out + 1] = name end
  end
  return out
end

--- Runs the verb.
---@param args table what the parser made of the command line
---@param env luphant.cli.env
---@return integer exit_code
function M.run(args, env)
  if args.template and not args.server then
    return ending.misuse(args, env, "--template is a database of --server")
  end
  local opts = common.options(args)
  local report, err = migrations.test {
    dir = args.dir, ignore = opts.ignore, schema = opts.schema, values = opts.values, data = args.data,
    server = args.server, template = args.template, only = #args.only > 0 and args.only or nil,
    phases = phases_of(args.skip), max_lock = args.max_lock, on_event = listener(args, env),
  }
  if not report then return ending.report(args, env, err) end
  local is_bad = not report.ok or (args.fail_on == "warning" and #report.findings > 0)
  return is_bad and ending.FINDINGS or ending.OK
end

return M
