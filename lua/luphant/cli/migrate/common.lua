-- cli/migrate/common.lua - arguments that several verbs of `luphant migrate` have, by one name and with one meaning.
--
-- SPDX-License-Identifier: MIT

local dotenv = require "luphant.cli.dotenv"

local M = {}

--- The folder.
function M.files(parser)
  parser:option("--dir", "The folder of migrations."):default "migrations"
  parser:option("--ignore", "A glob of files that are nobody's business."):count "*"
end

--- Where the database is.
function M.connection(parser)
  parser:option("-d --database", "URL (default: LUPHANT_MIGRATION_URL, DATABASE_URL, then PG* variables).")
  parser:option("--env-file", "Variables from this file, where the environment lacks them (default: .env, if there)."
    ):default(dotenv.DEFAULT):show_default(false)
  parser:flag("--no-dotenv", "Read no such file.")
end

--- The database and its history.
function M.database(parser)
  M.connection(parser)
  parser:option("--schema", "Schema of the history tables.")
  parser:option("--tenant", "Which of several histories in one database.")
end

--- Values of placeholders.
function M.values(parser)
  parser:option("--var", "name=value of a placeholder."):count("*"):convert(function(text)
    local name, value = text:match "^([%a_][%w_]*)=(.*)$"
    if not name then return nil, "--var must be name=value" end
    return { name = name, value = value }
  end)
end

function M.json(parser)
  parser:flag("--json", "Write JSON: one object, or a line for each event.")
end

--- Answers to what would be asked.
function M.consent(parser)
  parser:flag("--yes", "Do not ask.")
  parser:option("--protected", "The name of a protected environment: --yes counts there, too.")
end

--- A converter of seconds, 0 or more.
function M.seconds(name)
  return function(text)
    local amount = tonumber(text)
    if not amount or amount < 0 then return nil, name .. " must be seconds, 0 or more" end
    return amount
  end
end

--- The options for luphant.migrate that these arguments say.
---@param args table
---@return table
function M.options(args)
  local values = {}
  for _, item in ipairs(args.var or {}) do values[item.name] = item.value end
  return {
    schema = args.schema, tenant = args.tenant, ignore = args.ignore and #args.ignore > 0 and args.ignore or nil,
    values = next(values) and values or nil,
  }
end

return M
