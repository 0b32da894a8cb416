-- luphant migrate load - an empty database becomes what a dump says.
--
-- SPDX-License-Identifier: MIT

local common = require "luphant.cli.migrate.common"
local ending = require "luphant.cli.migrate.ending"
local json = require "luphant.cli.migrate.json"
local migrate = require "luphant.migrate"

local M = { summary = "Load a file of `dump` into an empty database, all of it or nothing" }

--- Adds the arguments of this verb to its parser (argparse).
function M.configure(parser)
  parser:argument("file", "What dump has written.")
  common.database(parser)
  common.json(parser)
  parser:epilog [[
Examples:
  luphant migrate db create && luphant migrate load schema.sql && luphant migrate up

Exit codes: 0 loaded; 1 failed or not empty, and nothing was loaded; 2 wrong use; 4 the file is no SQL.]]
end

--- Runs the verb.
---@param args table what the parser made of the command line
---@param env luphant.cli.env
---@return integer exit_code
function M.run(args, env)
  return ending.connected(args, env, function(conn)
    local done, err = migrate.load_dump(conn, args.file, { schema = args.schema, tenant = args.tenant })
    if not done then return ending.report(args, env, err) end
    if args.json then
      done.schema_version, done.verb = json.VERSION, "load"
      json.write(env, done)
    else
      env.out:write(("loaded    %s  %d statements, %d migrations\n"):format(args.file, done.statements,
        done.migrations))
    end
    return ending.OK
  end)
end

return M
