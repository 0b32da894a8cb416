-- luphant.testing.migrations.template - a migrated database that is made once, and copies of it for tests.
--
-- Its name holds the hash of all files, so one that does not fit them any more is never taken. Many processes may ask
-- at once: one makes it, under an advisory lock, the others wait. Nobody can connect to it, since it can only be copied
-- while nobody does.
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"
local hooks = require "luphant.migrate.hooks"
local luphant = require "luphant"
local scratch = require "luphant.migrate.scratch"
local tables = require "luphant.migrate.tables"

local M = {}

local PREFIX = "luphant_template_"
local LOCK_CLASS = 0x6c7074 -- "lpt" in ASCII

local function name_of(self)
  local lines = {}
  for i, migration in ipairs(self.list) do
    lines[i] = ("%s %s %s"):format(migration.kind, migration.version, migration.checksum)
  end
  for _, line in ipairs(hooks.lines(self.list.hooks)) do lines[#lines + 1] = line end
  local names = {}
  for name, value in pairs(self.options.values) do names[#names + 1] = name .. "=" .. value end
  table.sort(names)
  lines[#lines + 1] = self.options.place.schema .. "\n" .. table.concat(names, "\n")
  return PREFIX .. core.sha256(table.concat(lines, "\n")):sub(1, 24)
end

local function exists(conn, name)
  return conn:query_value("select exists(select from pg_database where datname = $1)", name)
end

-- Made under another name, so that whoever sees the right one sees a whole one.
local function make(self, conn, name)
  local s, err = scratch.open(self.target)
  if not s then return nil, err end
  local done
  done, err = self:up(s, #self.list)
  if not done then
    s:close()
    return nil, err
  end
  local made = s:keep()
  return conn:script(("alter database %s rename to %s; alter database %s with allow_connections false"):format(
    tables.quote(made), name, name))
end

local function ensure(self, conn, name)
  local is_there, err = exists(conn, name)
  if is_there or err then return is_there, err end
  local ok
  ok, err = conn:execute("select pg_advisory_lock($1, hashtext($2))", LOCK_CLASS, name)
  if not ok then return nil, err end
  is_there, err = exists(conn, name)
  if err == nil and not is_there then is_there, err = make(self, conn, name) end
  conn:execute("select pg_advisory_unlock($1, hashtext($2))", LOCK_CLASS, name)
  if not is_there then return nil, err end
  return true
end

---@class luphant.testing.migrations.Database
---@field name string
---@field params table for luphant.connect and luphant.open
---@field private scratch luphant.migrate.Scratch
local Database = {}
Database.__index = Database

--- One more connection.
---@return luphant.connection?
---@return luphant.error?
function Database:connect() return self.scratch:connect() end

--- Drops it; whoever is still connected is put out.
---@return true?
---@return luphant.error?
function Database:close() return self.scratch:close() end

--- Leaves it there, for somebody to look at what a test has done; answers its name.
---@return string
function Database:keep() return self.scratch:keep() end

-- What psql needs to find it; a password is none of it.
local FINDS = { "host", "hostaddr", "port", "user" }

--- Where it is, in words of libpq.
---@return string
function Database:address()
  local out = {}
  for _, keyword in ipairs(FINDS) do
    local value = self.params[keyword]
    if value then out[#out + 1] = ("%s='%s'"):format(keyword, (tostring(value):gsub("[\\']", "\\%0"))) end
  end
  out[#out + 1] = ("dbname='%s'"):format(self.name)
  return table.concat(out, " ")
end

--- A copy for one test.
---@param self luphant.testing.migrations.Context
---@return luphant.testing.migrations.Database?
---@return luphant.error?
function M.copy(self)
  local conn, err = luphant.connect(self.target)
  if not conn then return nil, err end
  local name = name_of(self)
  local ok
  ok, err = ensure(self, conn, name)
  conn:close()
  if not ok then return nil, err end
  local s
  s, err = scratch.open(self.target, name)
  if not s then return nil, err end
  return setmetatable({ name = s.name, params = s.plan.params, scratch = s }, Database)
end

--- Drops all templates of a server.
---@param target string|table
---@return integer?
---@return luphant.error?
function M.forget(target)
  local conn, err = luphant.connect(target)
  if not conn then return nil, err end
  local names
  names, err = conn:query_column("select datname::text from pg_database where datname like $1", PREFIX .. "%")
  for _, name in ipairs(names or {}) do
    local ok
    ok, err = conn:script("drop database if exists " .. tables.quote(name))
    if not ok then break end
  end
  conn:close()
  if err then return nil, err end
  return #names
end

return M
