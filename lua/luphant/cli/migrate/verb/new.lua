-- luphant migrate new - a new file with the next version. Needs no database.
--
-- SPDX-License-Identifier: MIT

local common = require "luphant.cli.migrate.common"
local ending = require "luphant.cli.migrate.ending"
local json = require "luphant.cli.migrate.json"
local migrate = require "luphant.migrate"

local M = { summary = "Write a new migration from a template, with the next version" }

--- Adds the arguments of this verb to its parser (argparse).
function M.configure(parser)
  parser:argument("name", "What it does, in a few words.")
  parser:option("--dir", "The folder of migrations; made when missing."):default "migrations"
  parser:flag("--lua", "A migration in Lua.")
  parser:flag("--pair", "Two files, .up.sql and .down.sql.")
  parser:flag("--repeatable", "One that runs again whenever its text changes: R__name.sql.")
  parser:flag("--no-transaction", "For what cannot run in a transaction, like create index concurrently.")
  parser:option("--version", "This version instead of the next one.")
  parser:option("--versions", "Versions by time (UTC) or by number (default: as in the folder; time).")
    :choices { "time", "number" }
  common.json(parser)
  parser:epilog [[
Examples:
  luphant migrate new "add invoices"
  luphant migrate new "index invoices by customer" --no-transaction
  luphant migrate new active_users --repeatable

Exit codes: 0 written; 1 it clashes with a file that is there, or cannot be written; 2 wrong use.]]
end

local function problem(args)
  if args.lua and args.pair then return "a migration is in Lua or in a pair of files, not both" end
  if args.repeatable and args.pair then return "only versioned migrations come in pairs" end
  if args.repeatable and args.version then return "a repeatable migration has no version" end
  if args.version and not args.version:find "^%d+$" then return "--version must be digits" end
end

--- Runs the verb.
---@param args table what the parser made of the command line
---@param env luphant.cli.env
---@return integer exit_code
function M.run(args, env)
  local why = problem(args)
  if why then return ending.misuse(args, env, why) end
  local made, err = migrate.new(args.dir, args.name, {
    style = args.lua and "lua" or args.pair and "pair" or "sql", repeatable = args.repeatable, version = args.version,
    versions = args.versions, transaction = not args.no_transaction,
  })
  if not made then return ending.report(args, env, err) end
  if args.json then
    made.schema_version, made.verb = json.VERSION, "new"
    json.write(env, made)
  else
    for _, path in ipairs(made.files) do env.out:write(path, "\n") end
  end
  return ending.OK
end

return M
