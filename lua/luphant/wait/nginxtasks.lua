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
local CLEANING = math.huge -- in the place of when the janitor was called: it is there
local LOOK = 60         -- seconds between two looks of those who wait for the end of something
local LAST_LOOK = 0.05  -- the same in a worker that is exiting, with requests that go on

local NO_CACHE = "lua_code_cache is off: each request has Lua modules, and a pool with connections, of its own. That"
  .. " is for development only"

---@param waiter luphant.waiter
---@param tools table
local function add_spawn(waiter, tools)
  local ngx, nginx, now = tools.ngx, tools.nginx, tools.now
  local queue, first, last, due = {}, 1, 0, nil
  local run

  local function call_timer()
    if due and now() < due then return true end
    local called, ok, why = pcall(ngx.timer.at, 0, run)
    if not (called and ok) then return nil, tostring(called and why or ok) end
    due = now() + OVERDUE
    nginx:brief(true)
    return true
  end

  -- A timer that nginx has dropped is asked for anew. Whoever waits calls this each time; nobody sleeps for long before
  -- it has run.
  function tools.prod()
    if due and now() >= due and not call_timer() then due = now() + OVERDUE end
  end

  function run()
    due = nil
    nginx:brief(false)
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
end

local HELLO = "ssl_client_hello_by_lua waits for the database: nginx can resume a handshake there only with a patch of"
  .. " OpenResty's, and without it closes the connection"

-- (Of what its nginx was made only its configuration tells.)
local function look_at_phase(waiter, ngx)
  if ngx.get_phase() == "ssl_client_hello" and not ngx.config.nginx_configure():find("../ngx_lua-", 1, true) then
    waiter.warn(HELLO)
  end
end

-- What is held has a number, small and used again, where it stands in three arrays.
local function add_guard(waiter, tools)
  local nginx, now = tools.nginx, tools.now
  local held, serials, requests, free, count = {}, {}, {}, {}, 0
  local called_at
  local heirs = setmetatable({}, { __mode = "k" })
  local sem = assert(tools.new_semaphore())
  nginx:janitor(tools.address(sem.sem))

  local function let_go(number)
    held[number].guard = false
    held[number], serials[number] = false, false
    count = count + 1
    free[count] = number
  end

  local function abandon(serial)
    local lost = {}
    for number, its in ipairs(serials) do
      if its == serial then lost[#lost + 1] = number end
    end
    for _, number in ipairs(lost) do
      local thing = held[number]
      let_go(number)
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
    for thing, fn in pairs(heirs) do
      local ok, why = pcall(fn, thing)
      if not ok then waiter.warn("what a request held could not be put in order: " .. tostring(why)) end
    end
  end

  -- What the core holds for requests, on behalf of `thing`: fn(thing) is called when any has ended holding something.
  function tools.when_lost(thing, fn) heirs[thing] = fn end

  local function clean()
    repeat
      called_at = CLEANING
      nginx:tended(true)
      look()
      local ends = waiter.is_alone()
      if ends and nginx:guarded() == 0 then break end
      sem:wait(ends and LAST_LOOK or LOOK)
    until false
    called_at = nil
    nginx:tended(false)
  end

  local function call_janitor()
    called_at = now()
    waiter.spawn(clean)
    waiter.at_end("janitor", function() sem:post(1) end)
  end

  function waiter.unguard(thing)
    local number = thing.guard
    if not number then return end
    nginx:unguard(requests[number], serials[number])
    let_go(number)
  end

  function waiter.guard(thing)
    if thing.guard then waiter.unguard(thing) end
    local serial, request, is_first = nginx:guard()
    if not serial then return false end
    if is_first then look_at_phase(waiter, tools.ngx) end
    local number = #held + 1
    if count > 0 then number, count = free[count], count - 1 end
    held[number], serials[number], requests[number], thing.guard = thing, serial, request, number
    if called_at ~= CLEANING and (not called_at or now() - called_at > OVERDUE) then call_janitor() end
    return true
  end
end

--- Once in a worker: says it when its requests have Lua states of their own.
function tasks.look_at_cache(waiter, nginx)
  if nginx:generation() == 2 then waiter.warn(NO_CACHE) end
end

--- Gives the waiter spawn, is_alone, at_end, guard and unguard.
---@param waiter luphant.waiter
---@param tools table  ngx, nginx, now, new_semaphore, address
function tasks.add(waiter, tools)
  add_spawn(waiter, tools)
  add_end(waiter, tools)
  add_guard(waiter, tools)
end

return tasks
