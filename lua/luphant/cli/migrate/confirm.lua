-- cli/migrate/confirm.lua - asks before what cannot be taken back, and twice where the environment is protected.
--
-- Where nobody can be asked (a job, a pipe) the command line has to say it: --yes, and for a protected environment its
-- name as well, so that a command that was written for one database does not work on another.
--
-- SPDX-License-Identifier: MIT

local ending = require "luphant.cli.migrate.ending"
local errors = require "luphant.errors"

local M = {}

local function refuse(args, env, message, hint)
  return nil, ending.report(args, env, errors.new("migration_protected", message, { hint = hint }))
end

local function ask(env, question)
  return env.ask and env.ask(question)
end

local function ask_name(args, env, deed, environment)
  if args.protected == environment.name then return true end
  if args.protected then
    return refuse(args, env, ("this database belongs to %s, not to %s; nothing was done"):format(environment.name,
      args.protected))
  end
  local answer = ask(env, ("%s: this is %s, which is protected. Type its name to go on: "):format(deed,
    environment.name))
  if answer == environment.name then return true end
  return refuse(args, env, ("%s is protected; nothing was done"):format(environment.name),
    ("if it is meant, say --protected %s"):format(environment.name))
end

local function ask_consent(args, env, deed)
  if args.yes then return true end
  local answer = ask(env, deed .. "? Type yes to go on: ")
  if answer == "yes" then return true end
  return refuse(args, env, deed .. ": nobody has said yes; nothing was done", "if it is meant, say --yes")
end

--- May it be done? True, or nil and the exit code.
---@param args table with `yes` and `protected`
---@param env luphant.cli.env
---@param deed string what is about to be done: "drop the database shop"
---@param environment? luphant.migrate.Environment
---@return true?
---@return integer? exit_code
function M.ask(args, env, deed, environment)
  if environment and environment.protected then
    local named = { name = environment.name or "this environment" }
    local ok, code = ask_name(args, env, deed, named)
    if not ok then return nil, code end
  end
  return ask_consent(args, env, deed)
end

return M
