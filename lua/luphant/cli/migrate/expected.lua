-- cli/migrate/expected.lua - the options of verbs that look for drift: what the schema ought to be, and what counts.
--
-- SPDX-License-Identifier: MIT

local common = require "luphant.cli.migrate.common"
local ending = require "luphant.cli.migrate.ending"
local schema = require "luphant.schema"

local M = {}

--- Adds the arguments to a parser (argparse).
function M.configure(parser)
  parser:option("--against", "What it ought to be: a file of `luphant schema snapshot`, instead of the migrations.")
  parser:option("--scratch", "URL of another server to run the migrations on, on a scratch database.")
  parser:option("--except", "Not this schema, or those that match (*, ?).")
    :count "*"
  parser:flag("--no-owners", "Owners do not count.")
  parser:flag("--no-grants", "Privileges do not count.")
  parser:flag("--no-comments", "Comments do not count.")
end

local function read(path)
  local handle, why = io.open(path, "rb")
  if not handle then return nil, why end
  local text = handle:read "*a"
  handle:close()
  local snapshot, err = schema.from_json(text or "")
  return snapshot, err and ("%s: %s"):format(path, err.message)
end

--- Is anything left out?
---@param args table
---@return boolean
function M.is_narrowed(args)
  return #args.except > 0 or args.no_owners == true or args.no_grants == true or args.no_comments == true
end

local function scope_of(args)
  if not M.is_narrowed(args) then return nil end
  local except
  if #args.except > 0 then
    except = { args.schema or "luphant" }
    for _, name in ipairs(args.except) do except[#except + 1] = name end
  end
  return {
    except = except, owners = not args.no_owners, grants = not args.no_grants, comments = not args.no_comments,
  }
end

--- The options for luphant.migrate, or nil and an exit code.
---@param args table
---@param env luphant.cli.env
---@return table?
---@return integer? exit_code
function M.options(args, env)
  local opts = common.options(args)
  opts.scratch, opts.snapshot = args.scratch, scope_of(args)
  if args.against then
    local why
    opts.against, why = read(args.against)
    if not opts.against then return nil, ending.misuse(args, env, why) end
  end
  return opts
end

return M
