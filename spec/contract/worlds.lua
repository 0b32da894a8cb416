-- spec.contract.worlds - every way of waiting, as surroundings in which a suite can run. A suite is one loop:
--
--   for _, setting in ipairs(worlds.all) do suite(setting) end
--
--   setting.name         of the waiter, for titles
--   setting.missing      why it cannot be had on this Lua; a suite marks itself as pending then
--   setting.has_others   others can run while one waits; without it, world.spawn is nil and suites leave the
--                        tests of several callers out
--   setting.start()      -> world, made anew for each test:
--     world.waiter         what luphant.connect is given
--     world.functions      the waiter itself, whatever connect is given
--     world.run(fn)        runs fn where the waiter may be used, with all it spawns to their ends; raises the first
--                          error of any of them, or when they do not end
--     world.spawn(fn)      starts fn beside the caller -> task { done =, result =, failed = }
--     world.pause(seconds) lets the others run
--     world.join(tasks)    until they are done
--     world.kill(task)     ends a suspended task from outside; nil where the surroundings cannot
--
-- `worlds.loops` are those of real event loops, `worlds.others` all where others can run; `worlds.named` has each by
-- its name, also where LUPHANT_TEST_WORLDS leaves it out of the suites.
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"
local poll = require "luphant.wait.poll"
local scheduler = require "spec.support.scheduler"
local wait = require "luphant.wait"

local worlds = { named = {}, all = {}, others = {}, loops = {} }

local LIMIT = 60 * (tonumber(os.getenv("LUPHANT_TEST_SLOW_FACTOR") or "") or 1)

-- LUPHANT_TEST_WORLDS: "poll,cqueues" - only these; runs that look at the core and not at waiters (sanitizers, the
-- rock) need no more.
local chosen = os.getenv "LUPHANT_TEST_WORLDS"

local function add(setting)
  worlds.named[setting.name] = setting
  if chosen and not ("," .. chosen .. ","):find("," .. setting.name .. ",", 1, true) then return end
  worlds.all[#worlds.all + 1] = setting
  if setting.has_others then worlds.others[#worlds.others + 1] = setting end
  if setting.is_loop then worlds.loops[#worlds.loops + 1] = setting end
end

-- ---- where nobody else runs ------------------------------------------------------------------------------

local function run_here(fn) fn() end

local function alone(waiter, functions)
  return {
    run = run_here, waiter = waiter, functions = functions,
    pause = function(seconds) functions.sleep(functions.now() + seconds) end,
  }
end

add {
  name = "poll",
  start = function() return alone("poll", poll.waiter()) end,
}

-- The core knows the plain waiter by name and then waits in C; under another name every step goes through Lua.
add {
  name = "poll, step by step",
  start = function()
    local waiter = {}
    for key, value in pairs(poll.waiter()) do waiter[key] = value end
    waiter.name = "step by step"
    return alone(waiter, waiter)
  end,
}

-- ---- where others run ------------------------------------------------------------------------------------

local function with_pauses(world)
  function world.pause(seconds) world.functions.sleep(world.functions.now() + seconds) end
  function world.join(tasks)
    for _, task in ipairs(tasks) do
      while not task.done do world.pause(0.002) end
    end
  end
  return world
end

add {
  name = "a scheduler of coroutines",
  has_others = true,
  start = function()
    local loop = scheduler.new()
    return with_pauses {
      waiter = loop.waiter, functions = loop.waiter,
      run = function(fn) return loop:run(fn) end,
      spawn = function(fn) return loop:spawn(fn) end,
      kill = function(task) loop:kill(task) end,
    }
  end,
}

-- Tasks over any loop: `begin(fn)` starts fn in it, `drive(is_over)` runs it until is_over() says so or nothing is
-- left to do, `stop()` leaves it at once. Errors end up in the task and in world.run, never in the loop.
local function over_loop(name, begin, drive, stop)
  local world, left, failure = { waiter = name, functions = wait.choose(name) }, 0, nil

  function world.spawn(fn)
    local task = {}
    left = left + 1
    begin(function()
      task.thread = coroutine.running()
      local ok, value = xpcall(fn, function(err)
        return type(err) == "string" and debug.traceback(err, 2) or err
      end)
      task.done, left = true, left - 1
      if ok then
        task.result = value
      else
        task.failed = value
        failure = failure or { value }
      end
      if failure or left == 0 then stop() end
    end)
    return task
  end

  -- For a task that was killed, and so never tells that it is over.
  function world.forget(task)
    task.done, left = true, left - 1
  end

  function world.run(fn)
    local main, limit = world.spawn(fn), core.now() + LIMIT
    drive(function() return failure or left == 0 or core.now() > limit end, LIMIT)
    if failure then error(failure[1], 0) end
    if left > 0 then
      error(core.now() > limit and "the tasks do not end" or "the loop has ended while tasks wait", 0)
    end
    return main.result
  end

  return with_pauses(world)
end

-- Inside of nginx no other loop is loaded: there they have nothing to run, and some do not expect a coroutine to load
-- them that ends.
local ngx = package.loaded.ngx

local function missing(module)
  if ngx then return "nginx runs everything here" end
  local ok, why = pcall(require, module)
  if not ok then return ("%s is not installed for this Lua: %s"):format(module, tostring(why):match "^[^\n]*") end
end

add {
  name = "cqueues",
  missing = missing "cqueues",
  has_others = true,
  is_loop = true,
  start = function()
    local loop = require("cqueues").new()
    local function drive(is_over, limit)
      while not is_over() and not loop:empty() do
        local ok, why = loop:step(limit)
        if not ok then error("the controller failed: " .. tostring(why), 0) end
      end
      loop:close()
    end
    return over_loop("cqueues", function(fn) loop:wrap(fn) end, drive, function() end)
  end,
}

add {
  name = "luv",
  missing = missing "luv",
  has_others = true,
  is_loop = true,
  start = function()
    local uv = require "luv"
    local waiter = wait.choose "luv"
    local function drive(is_over, limit)
      local alarm = uv.new_timer()
      alarm:start(math.ceil(limit * 1000), 0, uv.stop)
      alarm:unref() -- uv.run has to go on because of those who wait, not because of us
      while not is_over() and uv.run() do end
      alarm:stop() -- closed without a turn of the loop after it, luv would free it too early
    end
    local world = over_loop("luv", waiter.spawn, drive, uv.stop)
    local close = coroutine.close -- luacheck: ignore (Lua 5.4 only)
    if close then
      function world.kill(task)
        assert(close(task.thread))
        world.forget(task)
      end
    end
    return world
  end,
}

-- copas is written in Lua, and Debian installs it, with all it needs, for Lua 5.1 and 5.2 only.
local function missing_copas()
  local why = missing "copas"
  if why then
    package.path = package.path .. ";/usr/share/lua/5.2/?.lua"
    why = missing "copas"
  end
  return why
end

add {
  name = "copas",
  missing = missing_copas(),
  has_others = true,
  is_loop = true,
  start = function()
    local copas, waiter = require "copas", wait.choose "copas"
    local function drive(is_over, limit)
      while not is_over() do copas.step(limit) end
    end
    return over_loop("copas", waiter.spawn, drive, function() end)
  end,
}

-- Only inside of nginx, where spec/openresty has the suites run in a request; tasks are its light threads.
local function in_nginx()
  local world, tasks, failure = { waiter = "openresty", functions = wait.choose "openresty" }, {}, nil

  function world.spawn(fn)
    local task = {}
    tasks[#tasks + 1] = task
    task.thread = ngx.thread.spawn(function()
      world.pause(0) -- a light thread runs before its parent goes on
      local ok, value = xpcall(fn, function(err)
        return type(err) == "string" and debug.traceback(err, 2) or err
      end)
      task.done = true
      if ok then
        task.result = value
      else
        task.failed = value
        failure = failure or { value }
      end
    end)
    return task
  end

  function world.kill(task)
    assert(ngx.thread.kill(task.thread))
    task.done = true
  end

  function world.run(fn)
    local ok, result = xpcall(fn, function(err)
      return type(err) == "string" and debug.traceback(err, 2) or err
    end)
    if not ok then failure = failure or { result } end
    local limit = core.now() + LIMIT
    for _, task in ipairs(tasks) do
      while not task.done and not failure and core.now() < limit do ngx.sleep(0.002) end
      if not task.done then
        failure = failure or { "the tasks do not end" }
        ngx.thread.kill(task.thread)
      end
    end
    if failure then error(failure[1], 0) end
    return result
  end

  return with_pauses(world)
end

if ngx and wait.running() == "openresty" then
  worlds.named.openresty = { name = "openresty", has_others = true, start = in_nginx }
end

return worlds
