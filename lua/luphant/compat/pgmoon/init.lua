-- compat/pgmoon/init.lua - the interface of pgmoon over luphant: a program moves by changing one require.
--
--   local pgmoon = require "luphant.compat.pgmoon"
--   local pg = pgmoon.new { database = "shop", user = "app" }
--   assert(pg:connect())
--   local rows = assert(pg:query("select id, name from users where id = $1", 7))
--   pg:keepalive()
--
-- Behind it is a pool of ours: connect borrows, keepalive gives back, disconnect ends the session. What is different
-- is listed in docs/api/compat-pgmoon.md. For new programs luphant's own interface is the better one.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"
local literal = require "luphant.compat.pgmoon.literal"
local notifications = require "luphant.compat.pgmoon.notifications"
local pools = require "luphant.compat.pgmoon.pools"
local types = require "luphant.compat.pgmoon.types"

local unpack = compat.unpack

-- Methods, and what instances find when they have no such field of their own; also callable, as pgmoon's class is.
local Postgres = {
  NULL = literal.NULL, convert_null = false, PG_TYPES = types.PG_TYPES, type_deserializers = types.deserializers,
  type_serializers = types.serializers, sock_type = "luphant",
  default_config = { application_name = "pgmoon", user = "postgres", host = "127.0.0.1", port = "5432", ssl = false },
}
Postgres.__base = Postgres

local instance = { __index = Postgres, __name = "luphant.compat.pgmoon" }

local pgmoon = { Postgres = Postgres, VERSION = "luphant" }

------------------------------------------------------------------------------------------- connection

--- A connection to be; see docs/api/compat-pgmoon.md for the fields of `config`.
---@param config? table
---@return table
function pgmoon.new(config)
  local self = setmetatable({ config = compat.copy(Postgres.default_config), busy = false }, instance)
  for name, value in pairs(config or {}) do self.config[name] = value end
  if self.config.convert_null ~= nil then self.convert_null = self.config.convert_null end
  return self
end
setmetatable(Postgres, { __call = function(_, config) return pgmoon.new(config) end })

local CLOSED = "closed: the connection is not open; call connect first"

-- The text pgmoon makes of an error of the server; ours say what went wrong in their own words.
local function text_of(err)
  if not err.severity then return tostring(err) end
  local text = ("%s: %s"):format(err.severity, err.message)
  if err.position then text = ("%s (%d)"):format(text, err.position) end
  if err.detail then text = text .. "\n" .. err.detail end
  return text
end

local function failed(self, err)
  if err.kind == "busy" then error("pgmoon: connection is busy", 0) end
  self.last_error = err
  return nil, text_of(err)
end

local function take_notices(self)
  local box, list = self.conn.box, nil
  local notice = box:next_notice()
  while notice do
    list = list or {}
    list[#list + 1] = text_of(notice)
    notice = box:next_notice()
  end
  return list
end

function Postgres:connect()
  if self.conn then self:disconnect() end
  local pool, err = pools.get(self.config)
  err = err or pools.crowded(pool, self.config)
  if err then return failed(self, err) end
  self.conn, err = pool:acquire(self.timeout and { timeout = self.timeout } or nil)
  if not self.conn then return failed(self, err) end
  take_notices(self) -- of whoever had it before
  return true
end

--- Milliseconds for connect and each query from now on; nil: no limit.
function Postgres:settimeout(milliseconds)
  self.timeout = milliseconds and milliseconds / 1000 or nil
end

function Postgres:disconnect()
  local conn = self.conn
  if not conn then return nil, CLOSED end
  self.conn = nil
  notifications.finish(conn)
  conn:close()
  return 1
end

--- Back to the pool. The arguments that cosockets take mean nothing here.
function Postgres:keepalive()
  local conn = self.conn
  if not conn then return nil, CLOSED end
  local is_open = conn:is_open()
  if not is_open or conn.hears or pools.is_passing(conn) then
    self:disconnect()
    if not is_open then return nil, CLOSED end
    return 1
  end
  self.conn = nil
  conn:release()
  return 1
end

---------------------------------------------------------------------------------------------- queries

local COUNTS = { INSERT = true, UPDATE = true, DELETE = true, MERGE = true, SELECT = true, COPY = true, FETCH = true,
  MOVE = true }

-- One statement's answer in pgmoon's shape; nothing for an empty statement.
local function shape(self, command, affected, rows, columns)
  local word = command and command:match "^%w+"
  affected = COUNTS[word] and affected or nil
  if not rows then
    if affected then return { affected_rows = affected } end
    return true
  end
  types.read(self, rows, columns)
  if word ~= "SELECT" then rows.affected_rows = affected end
  return rows
end

-- Of one statement the answer itself, of several a list of them.
local function shape_all(self, results)
  local shaped = {}
  for _, result in ipairs(results) do
    if result.command and result.command ~= "" then
      shaped[#shaped + 1] = shape(self, result.command, result.affected, result.rows, result.columns)
    end
  end
  if #shaped < 2 then return shaped[1], #shaped end
  return shaped, #shaped
end

local function ready(self, sql)
  if not self.conn then return nil, CLOSED end
  if self.busy then error("pgmoon: connection is busy", 0) end
  if sql:find("\0", 1, true) then return nil, "invalid null byte in query" end
  notifications.look(self.conn, sql)
  return true
end

--- One statement or several, without parameters.
function Postgres:simple_query(sql)
  local ok, why = ready(self, sql)
  if not ok then return nil, why end
  if self.timeout then self.conn.box:set_timeout(self.timeout) end
  local results, err = self.conn:script(sql)
  local notices = take_notices(self)
  if not results then
    local _, text = failed(self, err)
    return nil, text, nil, 0, notifications.take(self.conn), notices
  end
  local result, count = shape_all(self, results)
  return result, count, notifications.take(self.conn), notices
end

local function run(self, sql, given, as_pgmoon)
  local params, why = types.write(self, given, as_pgmoon)
  if not params then return nil, nil, why end
  local text = self.timeout and { sql, timeout = self.timeout } or sql
  return self.conn:query(text, unpack(params, 1, params.n))
end

--- One statement with parameters: prepared once in each session, with the types the server infers. Where a value does
--- not fit these (a number for a text), with the types pgmoon announces.
function Postgres:extended_query(sql, ...)
  local ok, why = ready(self, sql)
  if not ok then return nil, why end
  local given = compat.pack(...)
  local rows, err, refused = run(self, sql, given, false)
  if err and err.kind == "parameter" then rows, err, refused = run(self, sql, given, true) end
  if refused then return nil, refused end
  local notices = take_notices(self)
  if not rows then
    local _, text = failed(self, err)
    return nil, text, nil, 0, notifications.take(self.conn), notices
  end
  local columns, command, affected = rows.columns, rows.command, rows.affected
  setmetatable(rows, nil)
  local has_rows = #columns > 0 or rows[1] ~= nil
  return shape(self, command, affected, has_rows and rows or nil, columns), 1, notifications.take(self.conn), notices
end

--- Several statements without parameters, or one with them. Answers result, number of statements, notifications,
--- notices; or nil, message, nil, 0, notifications, notices.
function Postgres:query(sql, ...)
  if select("#", ...) > 0 then return self:extended_query(sql, ...) end
  return self:simple_query(sql)
end

--- The next notification of what this connection listens to, { operation =, channel =, payload =, pid = }; nil and a
--- message when none comes in time (settimeout), or the connection is lost.
function Postgres:wait_for_notification()
  local ok, why = ready(self, "")
  if not ok then return nil, why end
  self.busy = true
  local fine, one, err = pcall(notifications.wait, self.conn, self.timeout)
  self.busy = false
  if not fine then error(one, 0) end
  if not one then return failed(self, err) end
  return one
end

------------------------------------------------------------------------------------------------ values

-- A table of this instance alone instead of the one all share.
local function own(self, name)
  if not rawget(self, name) then self[name] = compat.copy(self[name]) end
  return self[name]
end

--- Columns with this OID are read as `name` says: "number", "boolean", "string", or by fn(pg, text, name).
function Postgres:set_type_deserializer(oid, name, fn)
  own(self, "PG_TYPES")[assert(tonumber(oid), "the OID of a type is a number")] = name
  if fn then own(self, "type_deserializers")[name] = fn end
end

--- Columns of hstore are read as tables from now on.
function Postgres:setup_hstore()
  local rows = assert(self:query "select oid from pg_type where typname = 'hstore'")
  self:set_type_deserializer(assert(rows[1], "hstore oid not found").oid, "hstore")
end

-- `self` may be nil: the functions are used without an instance, too.
function Postgres:escape_literal(value) return literal.value(value, (self or Postgres).NULL) end
function Postgres.escape_identifier(_, name) return literal.identifier(name) end
function Postgres.encode_bytea(_, bytes) return literal.bytea(bytes) end
function Postgres.decode_bytea(_, text) return literal.bytes(text) end

function instance:__tostring()
  return ("<Postgres luphant: %s>"):format(self.conn and tostring(self.conn) or "closed")
end

----------------------------------------------------------------------------------------------- module

--- From now on `require "pgmoon"` gives this module, and pgmoon.arrays, .json and .hstore their counterparts: for
--- libraries that require pgmoon themselves, such as Lapis. Before they do so.
function pgmoon.stand_in()
  for _, name in ipairs { "", ".arrays", ".json", ".hstore" } do
    local ours = "luphant.compat.pgmoon" .. name
    package.loaded["pgmoon" .. name] = nil
    package.preload["pgmoon" .. name] = function() return require(ours) end
  end
end

--- Closes the pools behind all connections; those in use have `timeout` seconds (default 10).
---@param timeout? number
function pgmoon.close(timeout) pools.close(timeout) end

return pgmoon
