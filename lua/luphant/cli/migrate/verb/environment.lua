-- luphant migrate environment - what the database says about itself: its name, and whether it is protected.
--
-- SPDX-License-Identifier: MIT

local common = require "luphant.cli.migrate.common"
local confirm = require "luphant.cli.migrate.confirm"
local ending = require "luphant.cli.migrate.ending"
local json = require "luphant.cli.migrate.json"
local migrate = require "luphant.migrate"

local M = { summary = "Show or say which environment a database is, and whether it is protected" }

--- Adds the arguments of this verb to its parser (argparse).
function M.configure(parser)
  parser:argument("name", "What it is from now on: production, staging ..."):args "?"
  parser:mutex(
    parser:flag("--protect", "What destroys asks twice from now on."),
    parser:flag("--unprotect", "It does not any more."))
  common.database(parser)
  common.consent(parser)
  common.json(parser)
  parser:epilog [[
Databases called production, prod or live are protected unless they were told not to be.

Examples:
  luphant migrate environment production
  luphant migrate environment review --unprotect

Exit codes: 0 done; 1 failed, no connection; 2 wrong use, or not confirmed.]]
end

local function tell(args, env, found)
  if args.json then
    json.write(env, {
      schema_version = json.VERSION, verb = "environment", name = found.name, protected = found.protected,
    })
  else
    env.out:write(found.name or "no name", found.protected and "  protected" or "", "\n")
  end
  return ending.OK
end

local function wanted(args)
  if args.protect then return true end
  if args.unprotect then return false end
end

-- To take the protection away is what destroys would begin with.
local function may_change(args, env, before)
  if not before.protected then return true end
  return confirm.ask(args, env, "change what this database says about itself", before)
end

--- Runs the verb.
---@param args table what the parser made of the command line
---@param env luphant.cli.env
---@return integer exit_code
function M.run(args, env)
  return ending.connected(args, env, function(conn)
    local opts = { schema = args.schema, tenant = args.tenant }
    local found, err = migrate.environment(conn, opts)
    if not found then return ending.report(args, env, err) end
    if not args.name and wanted(args) == nil then return tell(args, env, found) end
    local ok, code = may_change(args, env, found)
    if not ok then return code end
    opts.protected = wanted(args)
    found, err = migrate.set_environment(conn, args.name, opts)
    if not found then return ending.report(args, env, err) end
    return tell(args, env, found)
  end)
end

return M
