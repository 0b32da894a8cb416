-- Databases of their own for the specs of luphant.schema, with or without one of everything in them.
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local everything = require "spec.schema.everything"
local luphant = require "luphant"

local scratch = {}

local ROLES = { "luphant_reader", '"luphant ""writer"""', "luphant_keeper" }

-- Warnings about wal_level and the like are no business of these specs.
local QUIET = "set client_min_messages = error;"

--- URL of the shared server with another database in it.
---@param database string
---@return string
function scratch.url(database)
  return (env.url():gsub("(//[^/]*/)[^?]*", "%1" .. database))
end

--- Drops a database, also one that subscribes to something.
---@param admin table
---@param database string
function scratch.drop(admin, database)
  local is_there = "select exists (select from pg_database where datname = $1)"
  if not admin:query_value(is_there, database) then return end
  local conn = assert(luphant.connect(scratch.url(database)))
  for _, name in ipairs(assert(conn:query_column [[
    select s.subname from pg_subscription s join pg_database d on d.oid = s.subdbid
     where d.datname = current_database()]])) do
    assert(conn:execute("drop subscription " .. name))
  end
  conn:close()
  assert(admin:execute("drop database " .. database .. (admin:server_version() >= 130000 and " with (force)" or "")))
end

--- An empty database; also one that stood there before is gone.
---@return table conn
function scratch.create(admin, database)
  scratch.drop(admin, database)
  assert(admin:execute("create database " .. database .. " template template0"))
  return assert(luphant.connect(scratch.url(database)))
end

--- A database with everything in it.
---@return table conn
function scratch.fill(admin, database)
  assert(admin:script(everything.roles))
  local conn = scratch.create(admin, database)
  assert(conn:script(QUIET .. everything.sql(conn:server_version())))
  return conn
end

--- The roles of everything.lua go when no database needs them any more.
function scratch.drop_roles(admin)
  for _, role in ipairs(ROLES) do assert(admin:execute("drop role if exists " .. role)) end
end

return scratch
