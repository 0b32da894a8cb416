-- luphant migrate squash - many migrations become one baseline.
--
-- SPDX-License-Identifier: MIT

local common = require "luphant.cli.migrate.common"
local ending = require "luphant.cli.migrate.ending"
local json = require "luphant.cli.migrate.json"
local migrate = require "luphant.migrate"

local M = { summary = "Write a baseline that stands for many migrations, and prove that it does" }

--- Adds the arguments of this verb to its parser (argparse).
function M.configure(parser)
  common.files(parser)
  common.database(parser)
  common.values(parser)
  parser:option("--to", "Up to this version (default: all).")
  parser:option("--name", "What the file is called behind its version (default: squashed).")
  parser:flag("--remove", "Remove the files it stands for.")
  parser:option("--scratch", "URL of another server for the scratch databases.")
  common.json(parser)
  parser:epilog [[
Needs pg_dump, and the right to make databases: the migrations run on one scratch database, the baseline on another,
and nothing is written unless schema and rows are the same. Databases that have the migrations need nothing; one that
stopped in the middle of them has to be brought up to date with a release that still has the files.

Examples:
  luphant migrate squash --to 20260101000000 --remove

Exit codes: 0 written; 1 it would not make the same database, or failed; 2 wrong use; 4 the folder is not in order.]]
end

--- Runs the verb.
---@param args table what the parser made of the command line
---@param env luphant.cli.env
---@return integer exit_code
function M.run(args, env)
  if args.name and not args.name:find "^[%w_%-]+$" then
    return ending.misuse(args, env, "--name must be letters, digits, _ and -")
  end
  local opts = common.options(args)
  opts.to, opts.name, opts.remove, opts.scratch = args.to, args.name, args.remove, args.scratch
  return ending.connected(args, env, function(conn)
    local done, err = migrate.squash(conn, args.dir, opts)
    if not done then return ending.report(args, env, err) end
    if args.json then
      done.schema_version, done.verb = json.VERSION, "squash"
      json.write(env, done)
    else
      env.out:write(("written   %s  stands for %d migrations\n"):format(done.file, done.migrations))
      for _, path in ipairs(done.removed) do env.out:write("removed   ", path, "\n") end
    end
    return ending.OK
  end)
end

return M
