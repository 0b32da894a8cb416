-- luphant migrate import - from another tool: its files, and what its history says is applied.
--
-- SPDX-License-Identifier: MIT

local common = require "luphant.cli.migrate.common"
local ending = require "luphant.cli.migrate.ending"
local failure = require "luphant.migrate.failure"
local json = require "luphant.cli.migrate.json"
local migrate = require "luphant.migrate"

local M = { summary = "Take over the files and the history of another tool" }

--- Adds the arguments of this verb to its parser (argparse).
function M.configure(parser)
  parser:argument("source", "Its folder of migrations; of lapis the file migrations.lua, of kong that with init.lua.")
  parser:option("--from", "The tool."):count "1"
    :choices { "sqlx", "dbmate", "goose", "golang-migrate", "flyway", "lapis", "kong" }
  parser:option("--dir", "The folder to write to; made when missing."):default "migrations"
  parser:option("--table", "Its history table, where it has not the usual name.")
  parser:flag("--files", "The files alone, no database.")
  parser:option("--reason", "Why, for the history.")
  common.database(parser)
  common.values(parser)
  common.json(parser)
  parser:epilog [[
Files and tables of the other tool are only read. All is written or nothing.

Examples:
  luphant migrate import db/migrations --from dbmate --dir migrations
  luphant migrate import sql --from flyway --table public.flyway_schema_history
  luphant migrate import migrations.lua --from lapis --files

Exit codes: 0 done; 1 failed, no connection; 2 wrong use; 4 what is there cannot be taken over as it is.]]
end

local function tell(args, env, done)
  if args.json then
    json.write(env, {
      schema_version = json.VERSION, verb = "import", files = done.files, applied = done.applied, problems = done.notes,
    })
  else
    for _, path in ipairs(done.files) do env.out:write("written   ", path, "\n") end
    for _, note in ipairs(done.notes) do env.out:write("note      ", failure.describe(note), "\n") end
    env.out:write(("imported  %d files, %d of them applied here\n"):format(#done.files, done.applied))
  end
  return ending.OK
end

--- Runs the verb.
---@param args table what the parser made of the command line
---@param env luphant.cli.env
---@return integer exit_code
function M.run(args, env)
  local opts = common.options(args)
  opts.from, opts.table, opts.reason = args.from, args.table, args.reason
  local function import(conn)
    local done, err = migrate.import(conn, args.source, args.dir, opts)
    if not done then return ending.report(args, env, err) end
    return tell(args, env, done)
  end
  if args.files then return import(nil) end
  return ending.connected(args, env, import)
end

return M
