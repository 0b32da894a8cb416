-- compat/pgmoon/pools.lua - the pool behind a configuration of pgmoon's: one per process (nginx: per worker).
--
-- Configurations that say the same share a pool.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"
local errors = require "luphant.errors"
local luphant = require "luphant"
local wait = require "luphant.wait"

local pools = {}

local open = {} -- what was asked for, as text -> pool

local KEPT = 30 -- connections that nginx keeps of one cosocket pool, when nothing else is said

local SOCKETS = { nginx = "openresty", luasocket = "poll", luaposix = "poll", cqueues = "cqueues" }
local PROTOCOLS = { tlsv1_2 = "TLSv1.2", tlsv1_3 = "TLSv1.3" }

-- LuaSec's options, where the others say nothing.
local function with_luasec(config)
  local given = config.luasec_opts
  if not given then return config end
  local out = compat.copy(config)
  for name, ours in pairs { cafile = "cafile", certificate = "cert", key = "key", protocol = "ssl_version" } do
    if out[ours] == nil then out[ours] = given[name] end
  end
  local verify = type(given.verify) == "table" and table.concat(given.verify, " ") or given.verify
  if out.ssl_verify == nil and verify then out.ssl_verify = verify:find("peer", 1, true) ~= nil end
  return out
end

-- A wish for safety that is not understood must not be passed over.
local function tls_of(config)
  if not config.ssl then return { sslmode = "disable" } end
  if config.cqueues_openssl_context then
    error("cqueues_openssl_context means nothing to libpq: say what it says with ssl_verify, cafile, cert and key", 5)
  end
  config = with_luasec(config)
  local version = config.ssl_version and PROTOCOLS[config.ssl_version:lower():gsub("%.", "_")]
  if config.ssl_version and not version and config.ssl_version:lower() ~= "any" then
    error("ssl_version is tlsv1_2, tlsv1_3 or any, got " .. tostring(config.ssl_version), 5)
  end
  return {
    sslmode = config.ssl_verify and "verify-full" or config.ssl_required and "require" or "prefer",
    sslrootcert = config.cafile, sslcert = config.cert, sslkey = config.key,
    ssl_min_protocol_version = version, ssl_max_protocol_version = version,
  }
end

-- pgmoon takes LuaSocket where nginx cannot suspend code yet.
local function waiter_of(config)
  local ngx = config.socket_type == nil and wait.running() == "openresty" and package.loaded.ngx
  if ngx then return ngx.get_phase() == "init" and "poll" or nil end
  local waiter = SOCKETS[config.socket_type]
  if config.socket_type and not waiter then
    error("got unknown or unset socket type: " .. tostring(config.socket_type), 5)
  end
  return waiter
end

local function place(config)
  local path = config.socket_path
  if not path then return config.host, config.port end
  local dir, port = path:match "^(.*)/%.s%.PGSQL%.(%d+)$"
  if not dir then error("socket_path must end in /.s.PGSQL.<port>, got " .. tostring(path), 4) end
  return dir, port
end

-- What cosockets take for a number of connections, or of those who wait for one.
local function check_count(config, name, least)
  local value = config[name]
  if value == nil or (type(value) == "number" and value >= least and value % 1 == 0) then return value end
  error(("%s is a whole number from %d on, got %s"):format(name, least, tostring(value)), 5)
end

local function options_of(config)
  local host, port = place(config)
  local out = tls_of(config)
  if check_count(config, "backlog", 0) then out.max_waiting = false end -- pools.crowded sees to it
  for name, value in pairs {
    host = host, port = tostring(port), dbname = config.database, user = config.user, password = config.password,
    application_name = config.application_name, waiter = waiter_of(config),
    max_connections = check_count(config, "pool_size", 1) or KEPT,
  } do
    out[name] = value
  end
  for name, value in pairs(config.luphant or {}) do out[name] = value end
  out.result_format = "raw"
  return out
end

local function key_of(options, name)
  local words = { tostring(name) }
  for _, key in ipairs(compat.sorted_keys(options)) do
    words[#words + 1] = ("%s=%s"):format(key, tostring(options[key]))
  end
  return table.concat(words, "\0")
end

--- The pool for `config`, opened when there is none yet.
---@param config table
---@return luphant.pool|nil
---@return luphant.error|nil
function pools.get(config)
  if not config.database then error("missing database for connect", 3) end
  local options = options_of(config)
  local key = key_of(options, config.pool_name)
  if open[key] then return open[key] end
  local pool, err = luphant.open(options)
  open[key] = pool
  return pool, err
end

--- The error for whoever comes when all connections are in use and as many as `backlog` says wait for one already; nil:
--- there is room, or no such limit.
---@param pool luphant.pool
---@param config table
---@return luphant.error|nil
function pools.crowded(pool, config)
  local backlog = config.backlog
  if not backlog then return nil end
  local counts = pool.core:counts()
  if counts.used + counts.waiting < counts.max + backlog then return nil end
  return errors.new("pool_overflow", "too many waiting connect operations",
    { hint = ("backlog = %d lets no more wait for one of %d connections."):format(backlog, counts.max) })
end

--- Is it of no use to anybody else? What the master process of nginx has opened must not live on in its workers.
---@param conn luphant.connection
---@return boolean
function pools.is_passing(conn)
  return conn.waiter.name == "poll" and wait.running() == "openresty"
end

--- Closes all of them.
---@param timeout? number  seconds for those that are in use
function pools.close(timeout)
  local all = open
  open = {}
  for _, pool in pairs(all) do pool:close(timeout) end
end

return pools
