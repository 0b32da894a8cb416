-- luphant.migrate.tidy - the state of the session in which each migration begins, and what the last one left of it.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"

local M = {}

local CHECK_EVERY = "1s" -- how soon the server notices that a client is gone while a statement runs

-- A time limit of the server for a dead client exists since version 14, and not on every system.
local function set_check(conn)
  if (conn:server_version() or 0) >= 140000 then
    conn:script(("set client_connection_check_interval = '%s'"):format(CHECK_EVERY))
  end
end

local function literal(text) return "'" .. text:gsub("'", "''") .. "'" end

--- Puts the session into the state in which each migration finds it.
---@param conn luphant.connection
---@param options table
---@return true?
---@return luphant.error?
function M.settle(conn, options)
  local lines = {
    "set lock_timeout = " .. compat.digits(math.floor(options.lock_timeout * 1000 + 0.5)), "set statement_timeout = 0",
    "set idle_in_transaction_session_timeout = 0",
  }
  if options.search_path then
    lines[#lines + 1] = ("select set_config('search_path', %s, false)"):format(literal(options.search_path))
  end
  if (conn:server_version() or 0) >= 140000 then lines[#lines + 1] = "set idle_session_timeout = 0" end
  local ok, err = conn:script(table.concat(lines, "; "))
  if not ok then return nil, err end
  set_check(conn)
  return true
end

local STATE = [[
select string_agg(name || '=' || setting, E'\n' order by name)
  from pg_settings where source = 'session']]
local FACTS = [[
select current_user::text as role, session_user::text as session_role, (]] .. STATE .. [[) as settings,
  (select string_agg(quote_ident(relname), ', ') from pg_class
    where relnamespace = pg_my_temp_schema() and relkind in ('r', 'v', 'S')) as temp,
  pg_backend_pid() as pid]]

--- That state, to be compared later.
---@param conn luphant.connection
---@return table?
---@return luphant.error?
function M.facts(conn) return conn:query_one(FACTS) end

-- Names of settings that differ between two states.
local function differing(before, after)
  local known, out = {}, {}
  for line in ((before or "") .. "\n"):gmatch "([^\n]*)\n" do known[line] = true end
  for line in ((after or "") .. "\n"):gmatch "([^\n]*)\n" do
    if line ~= "" and not known[line] then out[#out + 1] = line:match "^[^=]*" end
  end
  return out
end

--- What has changed since: parts of a sentence.
---@param conn luphant.connection
---@param before table as `facts` answered
---@return string[]?
---@return luphant.error?
function M.leftovers(conn, before)
  local after, err = M.facts(conn)
  if not after then return nil, err end
  local out = {}
  for _, name in ipairs(differing(before.settings, after.settings)) do out[#out + 1] = "the setting " .. name end
  if after.role ~= before.role or after.session_role ~= before.session_role then
    out[#out + 1] = "the role " .. after.role
  end
  if after.temp then out[#out + 1] = "temporary tables (" .. after.temp .. ")" end
  return out
end

--- Undoes all of it.
---@param conn luphant.connection
---@return table[]?
---@return luphant.error?
function M.reset(conn) return conn:script "reset session authorization; reset role; reset all; discard temp" end

return M
