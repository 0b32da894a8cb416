-- luphant migrate dump - the schema as SQL, with what the history says is in it.
--
-- SPDX-License-Identifier: MIT

local common = require "luphant.cli.migrate.common"
local ending = require "luphant.cli.migrate.ending"
local errors = require "luphant.errors"
local json = require "luphant.cli.migrate.json"
local migrate = require "luphant.migrate"

local M = { summary = "Write the schema and its migrations as one SQL file, by pg_dump" }

--- Adds the arguments of this verb to its parser (argparse).
function M.configure(parser)
  parser:argument("file", "Where to (default: standard output)."):args "?"
  common.database(parser)
  parser:flag("--owners", "With owners.")
  parser:flag("--grants", "With privileges.")
  common.json(parser)
  parser:epilog [[
The same schema gives the same text, so the file may stand in version control. `luphant schema snapshot` writes it as
JSON, to be compared.

Examples:
  luphant migrate dump schema.sql

Exit codes: 0 written; 1 failed, no connection; 2 wrong use.]]
end

local function write(path, text)
  local handle, why = io.open(path, "wb")
  local ok = handle
  if handle then
    ok, why = handle:write(text)
    handle:close()
  end
  if ok then return true end
  return nil, errors.new("migration_file", "cannot be written: " .. why)
end

--- Runs the verb.
---@param args table what the parser made of the command line
---@param env luphant.cli.env
---@return integer exit_code
function M.run(args, env)
  if args.json and not args.file then return ending.misuse(args, env, "--json needs a file to dump to") end
  return ending.connected(args, env, function(conn)
    local text, err = migrate.dump(conn, {
      schema = args.schema, tenant = args.tenant, owners = args.owners, grants = args.grants,
    })
    if not text then return ending.report(args, env, err) end
    if not args.file then
      env.out:write(text)
      return ending.OK
    end
    local ok
    ok, err = write(args.file, text)
    if not ok then return ending.report(args, env, err) end
    if args.json then
      json.write(env, { schema_version = json.VERSION, verb = "dump", file = args.file, bytes = #text })
    else
      env.out:write("written   ", args.file, "\n")
    end
    return ending.OK
  end)
end

return M
