-- luphant.migrate.scratch - a database for one purpose and nobody else, on the server of another one; gone afterwards.
--
-- What a migration does beyond its database (roles, tablespaces, settings of the server) stays: a scratch database is
-- no scratch server.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"
local connection = require "luphant.connection"
local core = require "luphant.core"
local dial = require "luphant.dial"
local session = require "luphant.migrate.session"
local sqltext = require "luphant.sqltext"
local tables = require "luphant.migrate.tables"
local wait = require "luphant.wait"

local M = {}

local PREFIX = "luphant_scratch_"
local IN_USE = "55006"

---@class luphant.migrate.Scratch
---@field name string
---@field plan luphant.dial.plan how to connect to it
---@field private admin luphant.connection
local Scratch = {}
Scratch.__index = Scratch

local function open(plan, dbname)
  local settings = compat.copy(plan.settings)
  settings.timeout, settings.statement_timeout, settings.rows = nil, nil, "named"
  local params = compat.copy(plan.params)
  params.dbname = dbname or params.dbname
  local fields, err = dial.connect({
    params = params, settings = settings, waiter = wait.choose(settings.waiter, 2), types = core.typemap(),
  }, settings.connect_timeout)
  if not fields then return nil, err end
  return connection.new(fields)
end

--- One more connection to it.
---@return luphant.connection?
---@return luphant.error?
function Scratch:connect() return open(self.plan) end

--- `fn(conn)` with a connection that is closed afterwards.
---@generic T
---@param fn fun(conn: luphant.connection): T?, luphant.error?
---@return T?
---@return luphant.error?
function Scratch:with(fn)
  local conn, err = self:connect()
  if not conn then return nil, err end
  local fine, answer, why = pcall(fn, conn)
  conn:close()
  if not fine then error(answer, 0) end
  return answer, why
end

local function of(admin, plan, name)
  local own = compat.copy(plan)
  own.params = compat.copy(plan.params)
  own.params.dbname = name
  return setmetatable({ name = name, plan = own, admin = admin }, Scratch)
end

local function create(admin, name, template)
  return admin:script(("create database %s template %s"):format(tables.quote(name), tables.quote(template)))
end

--- A copy of it, which needs that nobody is connected to it.
---@return luphant.migrate.Scratch?
---@return luphant.error?
function Scratch:copy()
  local name = M.name()
  local ok, err = create(self.admin, name, self.name)
  if not ok then return nil, err end
  local copy = of(self.admin, self.plan, name)
  copy.is_copy = true
  return copy
end

--- Drops it, whoever is connected. Idempotent.
---@return true?
---@return luphant.error?
function Scratch:close()
  if not self.name then return true end
  local ok, err = self.admin:script(("drop database if exists %s with (force)"):format(tables.quote(self.name)))
  -- Before version 13 nobody else can be put out.
  if not ok and err.sqlstate == "42601" then
    ok, err = self.admin:script("drop database if exists " .. tables.quote(self.name))
  end
  self.name = nil
  if not self.is_copy then self.admin:close() end
  if not ok then return nil, err end
  return true
end

--- Leaves it where it is, for somebody to look at.
---@return string name
function Scratch:keep()
  local name = self.name
  self.name = nil
  if not self.is_copy then self.admin:close() end
  return name
end

-- The names in a search_path: docs, "Odd, one"
local function names_of(path)
  local out = {}
  for _, token in ipairs((sqltext.tokens(path))) do
    if token.kind == "word" then out[#out + 1] = token.text:lower() end
    if token.kind == "quoted" then out[#out + 1] = (token.text:sub(2, -2):gsub('""', '"')) end
  end
  return out
end

-- Where the connection's search_path leads to schemas that somebody has made beside the migrations, an empty database
-- has none of them, and unqualified names would go elsewhere or nowhere.
local function make_schemas(s)
  return s:with(function(conn)
    local path, err = conn:query_value "select current_setting('search_path')"
    if not path then return nil, err end
    for _, name in ipairs(names_of(path)) do
      if name ~= "$user" and not name:find "^pg_" then
        local ok
        ok, err = conn:script("set client_min_messages = warning; create schema if not exists " .. tables.quote(name))
        if not ok then return nil, err end
      end
    end
    return true
  end)
end

--- A name that nobody has.
---@return string
function M.name() return PREFIX .. session.new_id():gsub("%-", ""):sub(1, 20) end

--- Makes one on the server of `target`, empty or as a copy of the database `template`.
---@param target any a pool, a connection, a URL or a table
---@param template? string default "template0"
---@return luphant.migrate.Scratch?
---@return luphant.error?
function M.open(target, template)
  local plan, err = session.plan_of(target, 2)
  if not plan then return nil, err end
  local admin
  admin, err = open(plan)
  if not admin then return nil, err end
  local name = M.name()
  local ok
  ok, err = create(admin, name, template or "template0")
  if not ok then
    if err.sqlstate == IN_USE then err.hint = "close all sessions of the database that is to be copied" end
    admin:close()
    return nil, err
  end
  local s = of(admin, plan, name)
  ok, err = make_schemas(s)
  if ok then return s end
  s:close()
  return nil, err
end

--- `fn(scratch)` with one that is dropped afterwards, whatever happens.
---@generic T
---@param target any
---@param fn fun(scratch: luphant.migrate.Scratch): T?, luphant.error?
---@return T?
---@return luphant.error?
function M.with(target, fn)
  local scratch, err = M.open(target)
  if not scratch then return nil, err end
  local fine, answer, why = pcall(fn, scratch)
  local ok, fault = scratch:close()
  if not fine then error(answer, 0) end
  if answer ~= nil and not ok then return nil, fault end
  return answer, why
end

return M
