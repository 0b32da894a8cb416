-- luphant.migrate.database - databases as wholes: made, dropped, waited for.
--
-- Works from another database of the same server, "postgres" or "template1": one that is to be made is not there to
-- connect to, and one that is to be dropped must not be connected to.
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"
local dial = require "luphant.dial"
local environment = require "luphant.migrate.environment"
local luphant = require "luphant"
local tables = require "luphant.migrate.tables"
local wait = require "luphant.wait"

local M = {}

local NO_DATABASE, STARTING, NO_ROOM = "3D000", "57P03", "53300"
local POLL_FIRST, POLL_MOST = 0.1, 1

local function maintenance(target)
  local conn, err = luphant.connect(target, { dbname = "postgres" })
  if conn or err.sqlstate ~= NO_DATABASE then return conn, err end
  return luphant.connect(target, { dbname = "template1" })
end

-- The name of the database that `target` leads to, which libpq makes out as well: named, PGDATABASE, the user's name.
local function name_of(target, conn)
  local plan = dial.plan(target, nil, 2)
  local named = plan and plan.params.dbname or os.getenv "PGDATABASE"
  return (named ~= "" and named) or conn:target().user
end

--- What the database that `target` leads to is called.
---@param target string|table
---@return string?
---@return luphant.error?
function M.name(target)
  local conn, err = maintenance(target)
  if not conn then return nil, err end
  local name = name_of(target, conn)
  conn:close()
  return name
end

-- `fn(conn, name)` with a connection to another database of the server.
local function beside(target, fn)
  local conn, err = maintenance(target)
  if not conn then return nil, err end
  local answer, why = fn(conn, name_of(target, conn))
  conn:close()
  return answer, why
end

local function exists(conn, name)
  return conn:query_value("select exists(select from pg_database where datname = $1)", name)
end

---@class (exact) luphant.migrate.CreateOptions
---@field template? string
---@field owner? string

--- Makes the database that `target` leads to. One that is there already is left alone.
---@param target string|table
---@param options? luphant.migrate.CreateOptions
---@return { name: string, created: boolean }?
---@return luphant.error?
function M.create(target, options)
  options = options or {}
  return beside(target, function(conn, name)
    local is_there, err = exists(conn, name)
    if err then return nil, err end
    if is_there then return { name = name, created = false } end
    local words = { "create database " .. tables.quote(name) }
    if options.owner then words[#words + 1] = "owner " .. tables.quote(options.owner) end
    if options.template then words[#words + 1] = "template " .. tables.quote(options.template) end
    local ok
    ok, err = conn:script(table.concat(words, " "))
    -- Somebody else may have made it meanwhile: then it is there, as was wanted.
    if not ok and err.sqlstate ~= "42P04" then return nil, err end
    return { name = name, created = ok ~= nil }
  end)
end

--- Drops it. One that is not there is no error.
---@param target string|table
---@param options? { force?: boolean } force: end the sessions that use it
---@return { name: string, dropped: boolean }?
---@return luphant.error?
function M.drop(target, options)
  return beside(target, function(conn, name)
    local is_there, err = exists(conn, name)
    if err then return nil, err end
    if not is_there then return { name = name, dropped = false } end
    local force = options and options.force and " with (force)" or ""
    local ok
    ok, err = conn:script("drop database if exists " .. tables.quote(name) .. force)
    if not ok then return nil, err end
    return { name = name, dropped = true }
  end)
end

-- The server answers, whatever it says about us: a name or a password does not become right by waiting.
local function is_final(err)
  if err.sqlstate then return err.sqlstate ~= STARTING and err.sqlstate ~= NO_ROOM end
  return not err.retryable
end

--- Waits until the server takes connections.
---@param target string|table
---@param seconds number
---@return { seconds: number, exists: boolean }? answer whether the database is there, too
---@return luphant.error? the last one
function M.wait(target, seconds)
  local waiter = wait.choose(nil, 2)
  local began, pause = core.now(), POLL_FIRST
  local limit = began + seconds
  while true do
    local conn, err = luphant.connect(target, { connect_timeout = math.max(1, limit - core.now()) })
    if conn then conn:close() end
    local is_absent = err and err.sqlstate == NO_DATABASE
    if conn or is_absent then return { seconds = core.now() - began, exists = not is_absent } end
    if is_final(err) or core.now() >= limit then return nil, err end
    waiter.sleep(math.min(waiter.now() + pause, limit))
    pause = math.min(pause * 2, POLL_MOST)
  end
end

--- The database's own name for its environment; an unprotected one without a name when the database is not there.
---@param target string|table
---@param schema? string of the history, default "luphant"
---@return luphant.migrate.Environment?
---@return luphant.error?
function M.environment(target, schema)
  local conn, err = luphant.connect(target)
  if not conn then
    if err.sqlstate == NO_DATABASE then return { protected = false } end
    return nil, err
  end
  local found
  found, err = environment.read(conn, tables.place(schema or "luphant"))
  conn:close()
  return found, err
end

return M
