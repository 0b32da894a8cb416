-- wait/nginxtasks.lua - tasks of our own in an nginx worker, and what is held for requests that end under it.
--
-- `spawn`: each running timer takes one of the worker's connections and counts for lua_max_running_timers, beyond
-- which nginx drops timers it has accepted. So one timer starts all tasks that have come together, as light threads;
-- and while one is overdue whoever waits asks for it again.
--
-- `guard`: a request that is ended - its client has gone, an error, ngx.exit - stops in the middle of whatever it
-- does. The core counts what is held for each request, and wakes the *janitor* when one has ended holding something.
--
-- `at_end`: nginx tells nobody that the worker is to exit, but runs the timers that are waiting, early.
--
-- SPDX-License-Identifier: MIT

local tasks = {}

local MOST_AT_ONCE = 64 -- tasks in one timer: ngx_lua looks them up one after the other
local OVERDUE = 1       -- seconds after which a timer that has not run was dropped
local LOOK = 60         -- seconds between two looks of those who wait for the end of something
local LAST_LOOK = 0.05  -- the same in a worker that is exiting, with requests that go on

local NO_CACHE = "lua_code_cache is off: each request has Lua modules, and a pool with connections, of its own. That"
  .. " is for development only"

---@param waiter luphant.waiter
---@param tools table
local function add_spawn(waiter, tools)
  local ngx, now = tools.ngx, tools.now
  local queue, first, last, due = {}, 1, 0, nil
  local run

  local function call_timer()
    if due and now() < due then return true end
    local called, ok, why = pcall(ngx.timer.at, 0, run)
    if not (called and ok) then return nil, tostring(called and why or ok) end
    due = now() + OVERDUE
    return true
  end

  -- Is a timer under way? One that nginx has dropped is asked for anew.
  function tools.prod()
    if not due then return false end
    if now() >= due and not call_timer() then due = now() + OVERDUE end
    return true
  end

  function run()
    due = nil
    local count = 0
    while first <= last and count < MOST_AT_ONCE do
      local fn = queue[first]
      queue[first] = nil
      first, count = first + 1, count + 1
      ngx.thread.spawn(function() pcall(fn) end)
    end
    if first <= last then call_timer() end
  end

  function waiter.spawn(fn)
    last = last + 1
    queue[last] = fn
    local ok, why = call_timer()
    if ok then return true end
    queue[last], last = nil, last - 1
    return nil, why
  end
end

local function add_end(waiter, tools)
  local ngx, nginx = tools.ngx, tools.nginx
  local watchers, watching = {}, false
  local exiting = ngx.worker.exiting

  -- With lua_code_cache off each request has a Lua state of its own, which shall end with it.
  local function is_passing()
    if not nginx then return false end
    local generation, is_latest = nginx:generation()
    return generation > 1 or not is_latest
  end

  local function watch()
    if watching or is_passing() or exiting() then return end
    local called, ok = pcall(ngx.timer.at, LOOK, function(premature)
      watching = false
      if not premature then return watch() end
      for _, fn in pairs(watchers) do pcall(fn) end
    end)
    watching = called and ok and true or false
  end

  function waiter.at_end(name, fn)
    watchers[name] = fn
    watch()
  end

  -- What looks after things ends with its worker, and with a Lua state that was replaced.
  function waiter.is_alone() return exiting() or is_passing() end
  waiter.is_ending = waiter.is_alone
  return is_passing
end

local HELLO = "ssl_client_hello_by_lua waits for the database: nginx can resume a handshake there only with a patch of"
  .. " OpenResty's, and without it closes the connection"

-- Once in a worker. (Of what its nginx was made only its configuration tells.)
local function new_phase_look(waiter, ngx)
  local told = false
  return function()
    if told or ngx.get_phase() ~= "ssl_client_hello" then return end
    told = true
    if not ngx.config.nginx_configure():find("../ngx_lua-", 1, true) then waiter.warn(HELLO) end
  end
end

local function add_guard(waiter, tools, is_passing)
  local nginx, now, request = tools.nginx, tools.now, tools.request
  local held, called_at = {}, nil -- thing -> the request's record
  local look_at_phase, latest = new_phase_look(waiter, tools.ngx), nil
  local sem = assert(tools.new_semaphore())
  nginx:janitor(tools.address(sem.sem))

  local function abandon(serial)
    local lost = {}
    for thing, its in pairs(held) do
      if its == serial then lost[#lost + 1] = thing end
    end
    for _, thing in ipairs(lost) do
      held[thing], thing.guarded_by = nil, nil
      local ok, why = pcall(thing.abandoned, thing)
      if not ok then waiter.warn("what a request held could not be put in order: " .. tostring(why)) end
    end
  end

  local function look()
    local serial = nginx:ended()
    while serial do
      abandon(serial)
      serial = nginx:ended()
    end
  end

  local function clean()
    repeat
      called_at = math.huge
      look()
      local ends = waiter.is_alone()
      if ends and nginx:guarded() == 0 then break end
      sem:wait(ends and LAST_LOOK or LOOK)
    until false
    called_at = nil
  end

  function waiter.guard(thing)
    if held[thing] then waiter.unguard(thing) end
    local r = not is_passing() and request()
    local serial = r and nginx:guard(r)
    if not serial then return false end
    held[thing], thing.guarded_by = serial, r
    if serial ~= latest then
      latest = serial
      look_at_phase()
    end
    if not called_at or now() - called_at > OVERDUE then
      called_at = now()
      waiter.spawn(clean)
      waiter.at_end("janitor", function() sem:post(1) end)
    end
    return true
  end

  function waiter.unguard(thing)
    local serial = held[thing]
    if not serial then return end
    nginx:unguard(thing.guarded_by, serial)
    held[thing], thing.guarded_by = nil, nil
  end
end

--- Once in a worker: says it when its requests have Lua states of their own.
function tasks.look_at_cache(waiter, nginx)
  if nginx and nginx:generation() == 2 then waiter.warn(NO_CACHE) end
end

--- Gives the waiter spawn, is_alone, at_end and, where nginx lets us see the end of a request, guard and unguard.
---@param waiter luphant.waiter
---@param tools table  ngx, nginx (or nil), now, new_semaphore, address, request
function tasks.add(waiter, tools)
  add_spawn(waiter, tools)
  local is_passing = add_end(waiter, tools)
  if tools.nginx then add_guard(waiter, tools, is_passing) end
end

return tasks
