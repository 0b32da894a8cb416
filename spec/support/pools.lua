-- spec.support.pools: a pool in a scheduler of coroutines, for specs that look at one thing of it at a time.
--
--   pools.run({ max_connections = 2 }, function(db, world) ... end)
--
-- `world`: waiter, pause(seconds), spawn(fn), join(tasks), within(seconds, condition), warnings (in their order),
-- gate (with `through = "gate"` among the options: the pool's connections pass a proxy).
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local luphant = require "luphant"
local probe = require "spec.support.probe"
local proxy = require "luphant.testing.proxy"
local scheduler = require "spec.support.scheduler"

local pools = { NAME = "pool_spec" }

--- A proxy before the shared server, and the options that lead through it.
function pools.gate()
  local conn = assert(luphant.connect(env.url(), { waiter = "poll" }))
  local target = conn:target()
  conn:close()
  local gate = assert(proxy.start { target_socket = ("%s/.s.PGSQL.%s"):format(target.host, target.port) })
  return gate, { host = gate.host, port = gate.port, sslmode = "disable", dbname = "postgres", user = "postgres" }
end

local function furnish(loop, warnings)
  local waiter = loop.waiter
  local world = { waiter = waiter, warnings = warnings }
  function world.pause(seconds) waiter.sleep(waiter.now() + seconds) end
  function world.spawn(fn) return loop:spawn(fn) end
  function world.join(tasks)
    for _, task in ipairs(tasks) do
      while not task.done do world.pause(0.002) end
    end
  end
  function world.within(seconds, condition)
    local limit = waiter.now() + seconds * probe.slow
    while not condition() do
      if waiter.now() > limit then return false end
      world.pause(0.01)
    end
    return true
  end
  return world
end

--- Runs fn(db, world) in a loop of its own with a pool, which is closed afterwards.
---@param options table
---@param fn fun(db: luphant.pool, world: table)
function pools.run(options, fn)
  local loop, given, warnings, gate = scheduler.new(), { application_name = pools.NAME }, {}, nil
  for name, value in pairs(options) do given[name] = value end
  given.waiter, given.through = loop.waiter, nil
  given.on_warning = given.on_warning or function(warning) warnings[#warnings + 1] = warning end
  if options.through == "gate" then
    local target
    gate, target = pools.gate()
    for name, value in pairs(target) do given[name] = value end
  elseif not given.host then
    given.url = env.url()
  end
  local ok, err = pcall(loop.run, loop, function()
    local db = assert(luphant.open(given))
    local world = furnish(loop, warnings)
    world.gate = gate
    local done, why = xpcall(function() fn(db, world) end, function(e)
      return type(e) == "string" and debug.traceback(e, 2) or e
    end)
    db:close(1)
    if not done then error(why, 0) end
  end)
  if gate then gate:stop() end
  if not ok then error(err, 0) end
end

return pools
