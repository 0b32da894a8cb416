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
local reads = require "luphant.pool.reads"
local share = require "luphant.share"

local sharing = {}

local MOST = 4 -- connections that are shared when nothing else is said

-- Stands for all riders; never ends.
local RIDERS = compat.endless_task()
sharing.RIDERS = RIDERS

-- What the pool is to share: "reads", "all" or nothing, on how many connections. Reads leave half of them to whoever
-- needs one for himself. Inside of nginx, where many requests ask for the same, that is the usual case.
local function plan_of(pool)
  local settings, wanted = pool.settings, pool.settings.share
  if wanted == nil and pool.waiter.name == "openresty" then wanted = "reads" end
  local only_reads = wanted == "reads" or type(wanted) == "table" and wanted.reads
  if not wanted then return nil end
  local most = only_reads and math.floor(settings.max_connections / 2) or settings.max_connections
  local count = math.min(type(wanted) == "table" and wanted.connections or MOST, most)
  if count < 1 then return nil end
  return only_reads and "reads" or "all", count
end

--- What is wrong with the option, or nil.
---@param settings table
---@return string|nil
function sharing.problem(settings)
  if type(settings.share) == "string" and settings.share ~= "reads" then
    return ('share must be true, false, "reads" or a table, got "%s"'):format(settings.share)
  end
  if type(settings.share) ~= "table" then return nil end
  for name in pairs(settings.share) do
    if name ~= "connections" and name ~= "reads" then
      return ('share has no field "%s"; it has: connections, reads'):format(tostring(name))
    end
  end
  if settings.share.reads ~= nil and type(settings.share.reads) ~= "boolean" then
    return "share.reads must be a boolean, got " .. type(settings.share.reads)
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

--- The limits of a pool have changed.
---@param pool luphant.pool
function sharing.resize(pool)
  local _, connections = plan_of(pool)
  if pool.shared then pool.shared.fleet:resize(connections or 0) end -- 0: none of reads, which have another way
end

--- The shared pipelines of a pool; nil where nobody else runs or none are wanted. The second answer: which texts ride
-- on them, where not all do.
---@param pool luphant.pool
---@return luphant.share|nil
---@return luphant.pool.reads|nil
function sharing.new(pool)
  local what, connections = plan_of(pool)
  if not what or not pool.has_tasks then return nil end
  local texts = what == "reads" and reads.new(pool.core) or nil
  local made = share.new({
    acquire = function(limit) return lend(pool, limit) end,
    release = function(lent) lent:release() end,
    may_open = function() return may_open(pool) end,
    is_due = function(lent) return not pool.closed and pool.core:is_due(lent.slot) end,
    apart = texts and function(sql) reads.keep_apart(texts, sql) end,
    waiter = pool.waiter, settings = pool.settings,
  }, { connections = connections, choosy = texts ~= nil })
  return observing.view(pool, made), texts
end

return sharing
