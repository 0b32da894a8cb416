-- pool/rules.lua - the options of a pool, beside those of its connections. All times are seconds.
--
-- SPDX-License-Identifier: MIT

local settings = require "luphant.settings"

local MOST = 65535 -- slots of core/pool.h

local function count(default, min)
  return { type = "number", integer = true, min = min, max = MOST, default = default }
end

local function limit(default)
  return { type = "number", above = 0, default = default, none = true }
end

local hook = { type = "function" }

---@type table<string, luphant.args.rule>
return settings.extend {
  -- How many.
  max_connections = count(15, 1),
  min_connections = count(0, 0),
  max_waiting = { type = "number", integer = true, min = 1, max = MOST, default = 1000, none = true },
  share = { type = { "boolean", "string", "table" } },
  reuse = { one_of = { "lifo", "fifo" }, default = "lifo" },

  -- How long.
  acquire_timeout = limit(5),
  idle_timeout = limit(600),
  max_lifetime = limit(1800),
  lifetime_jitter = { type = "number", min = 0, max = 1, default = 0.2 },
  max_uses = { type = "number", integer = true, min = 1, none = true },

  -- Listening (luphant.notify).
  listen_keepalive = limit(30),

  -- In what order.
  health_check_after = limit(0.5),
  keepalive_interval = limit(120),
  reset = { one_of = { "auto", "always", "off" }, default = "auto" },
  after_connect = hook,
  before_acquire = hook,
  after_release = hook,

  -- What is told.
  leak_timeout = limit(60),
  leak_frames = { type = "number", integer = true, min = 1, max = 20, default = 1 },
  on_warning = hook,
}
