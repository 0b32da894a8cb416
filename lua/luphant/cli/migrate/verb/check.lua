-- luphant migrate check - everything CI needs to know, with exit codes to branch on.
--
-- SPDX-License-Identifier: MIT

local common = require "luphant.cli.migrate.common"
local ending = require "luphant.cli.migrate.ending"
local expected = require "luphant.cli.migrate.expected"
local failure = require "luphant.migrate.failure"
local json = require "luphant.cli.migrate.json"
local migrate = require "luphant.migrate"
local order = require "luphant.migrate.order"
local schema = require "luphant.schema"

local M = { summary = "Judge the folder, alone or against a database: order, edits, pending, drift" }

--- Adds the arguments of this verb to its parser (argparse).
function M.configure(parser)
  common.files(parser)
  common.database(parser)
  common.values(parser)
  parser:flag("--files", "The files alone, no database.")
  parser:flag("--drift", "Also whether the schema is what the migrations make; see luphant migrate drift.")
  parser:flag("--allow-out-of-order", "Lower numbers than what is applied are no problem.")
  parser:flag("--ignore-missing", "Applied files may be gone.")
  expected.configure(parser)
  common.json(parser)
  parser:epilog [[
Examples:
  luphant migrate check --files                 # in every merge request
  luphant migrate check --drift --json          # nightly, against production

Exit codes: 0 all is well, nothing is pending; 1 failed, no connection; 2 wrong use; 3 all is well, and migrations are
pending; 4 the folder is not in order, does not fit the history, or the schema has drifted.]]
end

local function tell(env, report)
  for _, problem in ipairs(report.problems) do env.out:write("problem   ", failure.describe(problem), "\n") end
  for _, step in ipairs(report.pending) do
    env.out:write("pending   ", order.label(step), "_", step.name, "\n")
  end
  if report.drift then env.out:write("drift\n", schema.diff_text(report.differences)) end
  if report.ok then env.out:write(("%d migrations, in order\n"):format(report.files)) end
end

--- Runs the verb.
---@param args table what the parser made of the command line
---@param env luphant.cli.env
---@return integer exit_code
function M.run(args, env)
  if args.files and (args.drift or args.against) then
    return ending.misuse(args, env, "--files asks no database, so it cannot see drift")
  end
  local opts, code = expected.options(args, env)
  if not opts then return code end
  opts.drift, opts.allow_out_of_order, opts.ignore_missing = args.drift, args.allow_out_of_order, args.ignore_missing
  local function check(conn)
    local report, err = migrate.check(conn, args.dir, opts)
    if not report then return ending.report(args, env, err) end
    if args.json then
      report.schema_version, report.verb = json.VERSION, "check"
      json.write(env, report)
    else
      tell(env, report)
    end
    return not report.ok and ending.INTEGRITY or #report.pending > 0 and ending.PENDING or ending.OK
  end
  if args.files then return check(nil) end
  return ending.connected(args, env, check)
end

return M
