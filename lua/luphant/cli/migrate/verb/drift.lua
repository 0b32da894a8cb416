-- luphant migrate drift - what somebody has changed in the schema beside the migrations.
--
-- SPDX-License-Identifier: MIT

local common = require "luphant.cli.migrate.common"
local ending = require "luphant.cli.migrate.ending"
local expected = require "luphant.cli.migrate.expected"
local json = require "luphant.cli.migrate.json"
local migrate = require "luphant.migrate"
local schema = require "luphant.schema"

local M = { summary = "Compare the schema with what the applied migrations make" }

--- Adds the arguments of this verb to its parser (argparse).
function M.configure(parser)
  common.files(parser)
  common.database(parser)
  common.values(parser)
  parser:flag("--since-run", "Only whether anything was changed since the last run; needs no scratch database.")
  expected.configure(parser)
  common.json(parser)
  parser:epilog [[
The applied migrations are run again on a scratch database of the same server (the role needs CREATEDB), or of the one
--scratch names; or a snapshot in a file says what ought to be there.

Examples:
  luphant migrate drift
  luphant migrate drift --scratch postgres://ci@localhost/postgres --no-owners --no-grants
  luphant migrate drift --against schema.json
  luphant migrate drift --since-run             # every minute, if you like

Exit codes: 0 no difference, other than in the order of columns; 1 failed, no connection; 2 wrong use;
4 the schema has drifted, or what it ought to be cannot be known.]]
end

local function tell(env, found)
  local since = found.since
  if #found.differences > 0 then
    env.out:write(schema.diff_text(found.differences))
  elseif not found.different then
    env.out:write(since and ("nothing was changed since the run of %s\n"):format(since.at) or "no drift\n")
  end
  if not found.different or not since or not since.is_known then return end
  env.out:write(since.moved and ("the schema was changed since the run of %s\n"):format(since.at)
    or ("it was so already when the run of %s ended\n"):format(since.at))
end

--- Runs the verb.
---@param args table what the parser made of the command line
---@param env luphant.cli.env
---@return integer exit_code
function M.run(args, env)
  if args.since_run and (args.against or args.scratch or expected.is_narrowed(args)) then
    return ending.misuse(args, env, "--since-run compares with the last run, and nothing else says with what")
  end
  local opts, code = expected.options(args, env)
  if not opts then return code end
  opts.since_run = args.since_run
  return ending.connected(args, env, function(conn)
    local found, err = migrate.drift(conn, args.dir, opts)
    if not found then return ending.report(args, env, err) end
    if args.json then
      found.schema_version, found.verb = json.VERSION, "drift"
      json.write(env, found)
    else
      tell(env, found)
    end
    return found.different and ending.INTEGRITY or ending.OK
  end)
end

return M
