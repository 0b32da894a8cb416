-- luphant.migrate.restore - a dump into an empty database, all of it or nothing.
--
-- SPDX-License-Identifier: MIT

local dump = require "luphant.migrate.dump"
local errors = require "luphant.errors"
local failure = require "luphant.migrate.failure"
local history = require "luphant.migrate.history"
local sqltext = require "luphant.sqltext"
local tables = require "luphant.migrate.tables"

local M = {}

-- What is there that did not come with an extension, beside empty tables of the runner.
local THERE = [[
select format('%I.%I', n.nspname, c.relname)
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where n.nspname !~ '^pg_' and n.nspname not in ('information_schema', $1)
   and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid
                                             and d.deptype = 'e')
 order by 1 limit 1]]

local function check_empty(conn, place)
  local there, err = conn:query_column(THERE, place.schema)
  if not there then return nil, err end
  if there[1] then
    return nil, errors.new("migration_refused", ("the database is not empty: %s is there"):format(there[1]),
      { hint = "make a new one: luphant migrate db create" })
  end
  local rows
  rows, err = history.read(conn, place)
  if not rows then return nil, err end
  if #rows > 0 then
    return nil, errors.new("migration_refused", "the database has a history of migrations already")
  end
  return true
end

local function place_of(file, statement, err)
  return errors.new("migration_failed",
    failure.describe { file = file, line = statement.line, message = err.message },
    { file = file, line = statement.line, class = err.class, sqlstate = err.sqlstate, detail = err.detail,
      hint = err.hint, cause = err, retryable = false })
end

local function run_all(tx, file, statements)
  local ok, err = tx:script(dump.SETTINGS)
  if not ok then return nil, err end
  for _, statement in ipairs(statements) do
    ok, err = tx:script(statement.sql)
    if not ok then return nil, place_of(file, statement, err) end
  end
  return true
end

--- Loads the text of a dump.
---@param conn luphant.connection
---@param text string
---@param file string how messages call it
---@param options table as border.lua checks them
---@return { statements: integer, migrations: integer }?
---@return luphant.error?
function M.restore(conn, text, file, options)
  local statements, problems = sqltext.split(text)
  if not statements or (problems and #problems > 0) then
    for _, problem in ipairs(problems) do problem.file = file end
    return nil, failure.invalid(problems)
  end
  local place = options.place
  local ok, err = check_empty(conn, place)
  if ok then ok, err = tables.ensure(conn, place) end
  if not ok then return nil, err end
  ok, err = conn:transaction(function(tx)
    local done, why = run_all(tx, file, statements)
    if not done then return nil, why end
    return history.tell(tx, place, { action = "load", reason = options.reason, detail = { file = file } })
  end)
  if not ok then return nil, err end
  local rows
  rows, err = history.read(conn, place)
  if not rows then return nil, err end
  return { statements = #statements, migrations = #rows }
end

return M
