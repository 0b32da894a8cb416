-- pool/sharing.lua - some of a pool's connections as shared pipelines: single statements of many tasks ride on them.
--
-- luphant.share borrows them here like anybody else, only that nobody in particular holds them: they are neither
-- reported as leaks nor taken back from a task that ended. The rest of the pool is for whoever needs a session.
--
-- SPDX-License-Identifier: MIT

local borrow = require "luphant.pool.borrow"
local compat = require "luphant.compat"
local handle = require "luphant.pool.handle"
local keep = require "luphant.pool.keep"
local observing = require "luphant.pool.observing"
local share = require "luphant.share"

local sharing = {}

local MOST = 4 -- connections that are shared when nothing else is said

-- Stands for all riders; never ends.
local RIDERS = compat.endless_task()
sharing.RIDERS = RIDERS

local function limit_of(settings)
  local wanted = type(settings.share) == "table" and settings.share.connections or MOST
  return math.min(wanted, settings.max_connections)
end

--- What is wrong with the option, or nil.
---@param settings table
---@return string|nil
function sharing.problem(settings)
  if type(settings.share) ~= "table" then return nil end
  for name in pairs(settings.share) do
    if name ~= "connections" then return ('share has no field "%s"; it has: connections'):format(tostring(name)) end
  end
  local count = settings.share.connections
  if count == nil then return nil end
  if type(count) ~= "number" or count % 1 ~= 0 or count < 1 or count > settings.max_connections then
    return ("share.connections must be a whole number from 1 to max_connections (%d), got %s"):format(
      settings.max_connections, tostring(count))
  end
end

local function lend(pool, limit)
  local now = pool.waiter.now()
  local slot, err = borrow.slot(pool, limit or (pool.settings.acquire_timeout and now + pool.settings.acquire_timeout))
  if not slot then return nil, err end
  local lent = handle.new(pool.sessions[slot], RIDERS)
  pool.handles[slot], pool.owners[slot] = lent, nil
  pool:unwatch(slot)
  pool.core:forget(slot)
  keep.start(pool) -- it gives back what has had no riders for a while
  return lent
end

-- Is there a connection that nobody has, or will there be another? Not while connecting fails.
local function may_open(pool)
  if pool.closed or pool.last_error then return false end
  local counts = pool.core:counts()
  return counts.idle > 0 or counts.connecting > 0 or counts.total < counts.max
end

--- The shared pipelines of a pool; nil where nobody else runs or none are wanted.
---@param pool luphant.pool
---@return luphant.share|nil
function sharing.new(pool)
  if not pool.settings.share or not pool.has_tasks then return nil end
  local made = share.new({
    acquire = function(limit) return lend(pool, limit) end,
    release = function(lent) lent:release() end,
    may_open = function() return may_open(pool) end,
    waiter = pool.waiter, settings = pool.settings,
  }, { connections = limit_of(pool.settings) })
  return observing.view(pool, made)
end

return sharing
