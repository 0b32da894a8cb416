-- luphant migrate new - a new file with the next version. Needs no database, but for --from-diff.
--
-- SPDX-License-Identifier: MIT

local common = require "luphant.cli.migrate.common"
local ending = require "luphant.cli.migrate.ending"
local json = require "luphant.cli.migrate.json"
local migrate = require "luphant.migrate"

local function rename(text)
  local from, to = text:match "^(.+%..+)=([^=]+)$"
  if not from then return nil, "--rename must be OLD=NEW, as in public.orders.note=remark" end
  return { from = from, to = to }
end

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
  parser:option("--from-diff", "A draft of what makes the schema of the files like this database (a URL).")
  parser:option("--base", "With --from-diff: compare with this database, not with what the files make.")
  parser:option("--rename", "With --from-diff: OLD=NEW, a table or column that was renamed, not dropped."):count "*"
    :convert(rename)
  parser:option("--scratch", "With --from-diff: URL of another server to run the files on, on a scratch database.")
  common.values(parser)
  common.json(parser)
  parser:epilog [[
Examples:
  luphant migrate new "add invoices"
  luphant migrate new "index invoices by customer" --no-transaction
  luphant migrate new active_users --repeatable
  luphant migrate new "what I tried" --from-diff postgres://localhost/shop_dev --rename public.orders.note=remark

A draft knows no rows and no locks: read it, and lint it. What it finds no statement for stands in the file and on
stderr.

Exit codes: 0 written; 1 it clashes with a file that is there, or cannot be written; 2 wrong use.]]
end

local function problem(args)
  if args.lua and args.pair then return "a migration is in Lua or in a pair of files, not both" end
  if args.repeatable and args.pair then return "only versioned migrations come in pairs" end
  if args.repeatable and args.version then return "a repeatable migration has no version" end
  if not args.from_diff and (args.base or args.scratch or #args.rename > 0) then
    return "--base, --rename and --scratch belong to --from-diff"
  end
  if args.from_diff and (args.lua or args.repeatable) then return "a draft is in SQL, and has a version" end
  if args.version and not args.version:find "^%d+$" then return "--version must be digits" end
end

local function add_draft(opts, args)
  if not args.from_diff then return end
  opts.from_diff, opts.base, opts.scratch, opts.renames = args.from_diff, args.base, args.scratch, {}
  for _, item in ipairs(args.rename) do opts.renames[item.from] = item.to end
  opts.values = common.options(args).values
end

--- Runs the verb.
---@param args table what the parser made of the command line
---@param env luphant.cli.env
---@return integer exit_code
function M.run(args, env)
  local why = problem(args)
  if why then return ending.misuse(args, env, why) end
  local opts = {
    style = args.lua and "lua" or args.pair and "pair" or "sql", repeatable = args.repeatable, version = args.version,
    versions = args.versions, transaction = not args.no_transaction,
  }
  add_draft(opts, args)
  local made, err = migrate.new(args.dir, args.name, opts)
  if not made then return ending.report(args, env, err) end
  if args.json then
    made.schema_version, made.verb = json.VERSION, "new"
    json.write(env, made)
  else
    for _, path in ipairs(made.files) do env.out:write(path, "\n") end
    for _, line in ipairs(made.left or {}) do env.err:write("left to you: ", (line:gsub("\n+$", "")), "\n") end
  end
  return ending.OK
end

return M
