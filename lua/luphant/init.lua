-- luphant - PostgreSQL for Lua. The tour and the door.
--
--   local luphant = require "luphant"
--   local conn = assert(luphant.connect "postgres://app@db.example/shop")
--   for id, name in conn:values("select id, name from users where id > $1", 100) do print(id, name) end
--
-- Verbs are on the connection (connection.lua), waiting is in luphant.wait, errors are objects
-- (errors.lua). Higher floors are modules of their own: luphant.migrate, luphant.testing.server ...
-- Nothing of them is loaded here.
--
-- SPDX-License-Identifier: MIT

local connection = require "luphant.connection"
local core = require "luphant.core"
local errors = require "luphant.errors"
local pool = require "luphant.pool"
local values = require "luphant.values"

core.set_error_metatable(errors.metatable)

local luphant = {}

luphant.version = "scm"

--- NULL where nil cannot stand: in arrays, JSON and positional rows.
luphant.NULL = values.NULL
luphant.array = values.array
luphant.json = values.json
luphant.typed = values.typed

--- Does `err` have this kind, class or SQLSTATE?
luphant.is = errors.is

--- Opens one session.
---
--- `target`: a URL or keyword string, a table of libpq keywords and options, or nil for DATABASE_URL
--- and libpq's PG* variables. `options`: a table that refines it. See docs/api/luphant.md.
---@param target? string|table
---@param options? table
---@return luphant.connection|nil conn
---@return luphant.error|nil err  kinds: config, dns, refused, connect_timeout, tls, tls_verify, auth, ...
function luphant.connect(target, options)
  local conn, err = connection.open(target, options, 2) -- no tail call: misuse is told at the caller's line
  return conn, err
end

--- Opens a pool: many connections behind one object with the same verbs, safe for all tasks of a program.
---
--- Takes what `connect` takes, and the options of a pool; see docs/api/pool.md. Dials nothing unless min_connections is
--- more than 0: db:ready(timeout) waits until a connection works.
---@param target? string|table
---@param options? table
---@return luphant.pool|nil db
---@return luphant.error|nil err
function luphant.open(target, options)
  local db, err = pool.open(target, options, 2)
  return db, err
end

return luphant
