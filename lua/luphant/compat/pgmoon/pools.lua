-- compat/pgmoon/pools.lua - the pool behind a configuration of pgmoon's: one per process (nginx: per worker).
--
-- Configurations that say the same share a pool.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"
local luphant = require "luphant"

local pools = {}

local open = {} -- what was asked for, as text -> pool

local KEPT = 30 -- connections that nginx keeps of one cosocket pool, when nothing else is said

local function sslmode(config)
  if not config.ssl then return "disable" end
  if config.ssl_verify then return "verify-full" end
  return config.ssl_required and "require" or "prefer"
end

local function place(config)
  local path = config.socket_path
  if not path then return config.host, config.port end
  local dir, port = path:match "^(.*)/%.s%.PGSQL%.(%d+)$"
  if not dir then error("socket_path must end in /.s.PGSQL.<port>, got " .. tostring(path), 4) end
  return dir, port
end

local function options_of(config)
  local host, port = place(config)
  local out = {
    host = host, port = tostring(port), dbname = config.database, user = config.user, password = config.password,
    application_name = config.application_name, sslmode = sslmode(config), sslrootcert = config.cafile,
    sslcert = config.cert, sslkey = config.key, max_connections = config.pool_size or KEPT,
  }
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

--- Closes all of them.
---@param timeout? number  seconds for those that are in use
function pools.close(timeout)
  local all = open
  open = {}
  for _, pool in pairs(all) do pool:close(timeout) end
end

return pools
