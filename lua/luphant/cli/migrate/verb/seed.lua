-- luphant migrate seed - rows for development and tests.
--
-- SPDX-License-Identifier: MIT

local common = require "luphant.cli.migrate.common"
local ending = require "luphant.cli.migrate.ending"
local json = require "luphant.cli.migrate.json"
local migrate = require "luphant.migrate"

local M = { summary = "Run a folder of seeds: rows for development and tests" }

--- Adds the arguments of this verb to its parser (argparse).
function M.configure(parser)
  parser:option("--seeds", "The folder."):default "seeds"
  common.database(parser)
  common.json(parser)
  parser:epilog [[
Files are .sql, or .lua that returns a function(db); they run in the order of their names, each in one transaction, and
again each time. Those of a folder inside with the name of the environment follow. A protected environment has no seeds.

Examples:
  luphant migrate db reset --yes && luphant migrate seed

Exit codes: 0 done; 1 failed, nothing was run; 2 wrong use, or the environment is protected; 4 the folder is not in
order; 7 stopped half-way.]]
end

--- Runs the verb.
---@param args table what the parser made of the command line
---@param env luphant.cli.env
---@return integer exit_code
function M.run(args, env)
  return ending.connected(args, env, function(conn)
    local done, err = migrate.seed(conn, args.seeds, {
      schema = args.schema, tenant = args.tenant,
      on_event = function(event)
        if args.json then json.write(env, event) else env.out:write("seeded    ", event.file, "\n") end
      end,
    })
    if not done then return ending.report(args, env, err) end
    if args.json then json.write(env, { event = "summary", done = done }) end
    return ending.OK
  end)
end

return M
