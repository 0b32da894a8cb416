-- luphant.migrate.dump - the schema of a database as statements, by pg_dump, without what changes from day to day.
--
-- pg_dump knows the grammar of its server better than anybody. What it writes beside statements (versions, a token that
-- is new each time, settings of its session) is left out, so that the same schema gives the same text.
--
-- SPDX-License-Identifier: MIT

local errors = require "luphant.errors"
local programs = require "luphant.migrate.programs"
local sqltext = require "luphant.sqltext"
local tables = require "luphant.migrate.tables"

local M = {}

-- How whoever runs the statements has to be set: names are written in full, and a function may stand before a table.
M.SETTINGS = "set local search_path = '';\nset local check_function_bodies = off"

-- ---- pg_dump ------------------------------------------------------------------------------------------------

local function command(prefix, place, options)
  local words = { prefix .. "pg_dump --no-password" }
  words[#words + 1] = options.data and "--column-inserts" or "--schema-only"
  if not options.owners then words[#words + 1] = "--no-owner" end
  if not options.grants then words[#words + 1] = "--no-privileges" end
  local which = options.only and "--schema=" or "--exclude-schema="
  words[#words + 1] = which .. programs.quote(tables.quote(options.only or place.schema))
  words[#words + 1] = "--dbname=" .. programs.quote("service=" .. programs.SERVICE)
  return table.concat(words, " ")
end

local function run(plan, place, options)
  return programs.with_service(plan, function(prefix)
    local ok, output = programs.shell(command(prefix, place, options))
    if ok then return output end
    return nil, errors.new("migration_program", "pg_dump failed: " .. output)
  end)
end

-- ---- statements ---------------------------------------------------------------------------------------------

-- Settings of pg_dump's own session; those that say where the next table goes are kept unless they say "as usual".
local NOISE = {
  statement_timeout = true, lock_timeout = true, idle_in_transaction_session_timeout = true, transaction_timeout = true,
  client_encoding = true, standard_conforming_strings = true, check_function_bodies = true, xmloption = true,
  client_min_messages = true, row_security = true,
}
local USUAL = {
  "^[Ss][Ee][Tt]%s+default_tablespace%s*=%s*''$", "^[Ss][Ee][Tt]%s+default_table_access_method%s*=%s*heap$",
}

local function is_noise(statement)
  local words, sql = statement.words, statement.sql
  if words[1] == "set" then
    for _, pattern in ipairs(USUAL) do
      if sql:find(pattern) then return true end
    end
    return NOISE[words[2]] == true
  end
  -- Sequences that nobody has used yet begin where they begin anyway.
  return sql:find("^SELECT pg_catalog%.set_config%('search_path'") ~= nil
    or sql:find("^SELECT pg_catalog%.setval%(.*, 1, false%)$") ~= nil
end

-- What newer ones write around all of it, against psql commands in what was dumped: it is for psql alone.
local function without_commands(text)
  text = ("\n" .. text .. "\n"):gsub("\n\\restrict [^\n]*", "\n", 1)
  return (text:gsub("\n\\unrestrict [^\n]*%s*$", "\n"))
end

---@class (exact) luphant.migrate.DumpOptions
---@field data? boolean with the rows, as INSERT
---@field owners? boolean
---@field grants? boolean
---@field only? string this schema alone

--- The statements that make the schema of the database that `plan` leads to.
---@param plan luphant.dial.plan
---@param place luphant.migrate.Place whose schema is left out
---@param options luphant.migrate.DumpOptions
---@return string[]?
---@return luphant.error?
function M.statements(plan, place, options)
  local text, err = run(plan, place, options)
  if not text then return nil, err end
  local found, problems = sqltext.split(without_commands(text))
  if not found or (problems and #problems > 0) then
    return nil, errors.new("migration_program", "what pg_dump wrote cannot be read: " .. problems[1].message)
  end
  local out = {}
  for _, statement in ipairs(found) do
    if not is_noise(statement) then out[#out + 1] = statement.sql end
  end
  return out
end

-- ---- history ------------------------------------------------------------------------------------------------

local HISTORY = [[
select format('insert into %%s (tenant, version, kind, name, state, checksum, checksum_kind, statement_hash, earlier, '
         || 'down_sql, vars)' || chr(10) || 'values (%%L, %%L, %%L, %%L, %%L, %%L, %%L, %%L, %%L, %%L, %%L)',
         $1::text, tenant, version, kind, name, state, checksum, checksum_kind, statement_hash, earlier, down_sql, vars)
  from %s where state in ('applied', 'skipped') order by tenant, kind, version collate "C"]]

local HALF_DONE = "select count(*)::int4 from %s where state in ('running', 'failed')"

local function history_of(q, place)
  local format, err = tables.format(q, place)
  if err then return nil, err end
  if not format then return {} end
  local count
  count, err = q:query_value(HALF_DONE:format(place.migrations))
  if err then return nil, err end
  if count > 0 then
    return nil, errors.new("migration_refused",
      "a migration has stopped half-way here: a dump would say that it is neither there nor not",
      { hint = "resume or resolve it first" })
  end
  return q:query_column(HISTORY:format(place.migrations), place.migrations)
end

local HEAD = [[
-- Written by `luphant migrate dump`: the schema, and which migrations it contains. `luphant migrate load` makes an
-- empty database of the same kind of it. Do not edit.

]]

--- A whole dump: the schema, and what the history says is in it.
---@param q luphant.connection
---@param plan luphant.dial.plan
---@param place luphant.migrate.Place
---@param options luphant.migrate.DumpOptions
---@return string?
---@return luphant.error?
function M.text(q, plan, place, options)
  local history, err = history_of(q, place)
  if not history then return nil, err end
  local statements
  statements, err = M.statements(plan, place, options)
  if not statements then return nil, err end
  for _, sql in ipairs(history) do statements[#statements + 1] = sql end
  if #statements == 0 then return HEAD end
  return HEAD .. table.concat(statements, ";\n\n") .. ";\n"
end

return M
