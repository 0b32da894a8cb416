-- wait/openresty.lua - waiting in an nginx worker: requests, timers and light threads of ngx_lua.
--
-- A caller sleeps in a semaphore of ngx_lua. For a descriptor it is posted from nginx's own event loop, in which the
-- core has put an epoll of ours: started at the first wait in each worker and tried out before it is relied on. Where
-- that cannot be had, descriptors are polled once a millisecond, after a warning.
--
-- The core does the waiting but for the yield itself (bind/lnginxwait.c). Semaphores are made here and never given up.
-- Every wait in one has an end: its timer also keeps a worker that is told to exit until we are through.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local tasks = require "luphant.wait.nginxtasks"

local module = {}

local CANNOT = 'the waiter "openresty" cannot wait in %s: nginx does not suspend code there. Do it in a timer'
  .. ' (ngx.timer.at(0, function() ... end)), or choose waiter = "poll", which blocks the whole worker meanwhile'

-- Where ngx_lua suspends code.
local SUSPENDS = {
  rewrite = true, server_rewrite = true, access = true, content = true, timer = true, preread = true,
  ssl_cert = true, ssl_session_fetch = true, ssl_client_hello = true,
}

local function place_of(phase)
  if SUSPENDS[phase] then return "a function that C has called (table.sort, string.gsub, require ...)" end
  return phase .. "_by_lua"
end

local READY = { "r", "w", "rw" } -- by the core's numbers
local LONGEST = 60       -- seconds of one sleep
local POLL_PAUSE = 0.001
local TRIAL = 1          -- seconds for the first event to arrive
local RETRY = 10         -- seconds until what failed for want of something is tried again

-- Milliseconds are what nginx counts in; a sleep cuts off what is less.
local function in_milliseconds(seconds)
  return (math.max(math.ceil(seconds * 1000), 1) + 0.5) / 1000
end

---@param core table
---@return luphant.waiter
function module.new(core)
  local ngx = require "ngx"
  local ffi = require "ffi"
  local semaphore = require "ngx.semaphore"

  local now, look, can_yield = core.now, core.poll, core.can_yield
  local yield = assert(rawget(coroutine, "_yield")) -- that of ngx_lua's own waits
  local nginx = assert(core.nginx(ngx.config.subsystem))
  local semaphores, parked = {}, {}
  local waiter = { name = "openresty", now = now, is_exact = true }

  function waiter.warn(text) ngx.log(ngx.WARN, "luphant: ", text) end

  local function address(pointer) return tonumber(ffi.cast("uintptr_t", pointer)) end

  local function refuse() args.misuse(CANNOT:format(place_of(ngx.get_phase()))) end

  function waiter.check()
    if not can_yield() then refuse() end
  end
  local check = waiter.check

  ------------------------------------------------------------------------------------------- sleeping

  -- No slot is free: those of callers that are gone, or one more.
  local function make_room()
    if nginx:sweep() then
      for token, pass in pairs(parked) do
        if pass == 0 or nginx:is_over(pass) then parked[token] = nil end
      end
    else
      local sem = assert(semaphore.new(0))
      semaphores[#semaphores + 1] = sem
      nginx:slot(address(sem.sem))
    end
  end

  local tools = {} -- for nginxtasks.lua

  -- Goes on with what nginx:wait or nginx:park has answered, to the end.
  local function sleep_on(result, pass, deadline)
    while result == nil do
      if pass == nil then refuse() end
      yield()
      tools.prod()
      result, pass = nginx:again(pass, deadline)
    end
    return result
  end

  local function await(fd, events, deadline)
    tools.prod()
    local result, pass = nginx:wait(fd, events, deadline)
    if result == 0 then
      make_room()
      result, pass = nginx:wait(fd, events, deadline)
    end
    return READY[sleep_on(result, pass, deadline)]
  end

  local state, limit = "new", 0 -- "new" | "trial" | "ready" | "polling"; until when it is not looked at again

  local function fall_back(why, retry)
    waiter.warn(("%s: sockets are polled once a millisecond instead, which is slow"):format(why))
    state, limit = "polling", retry and now() + retry or math.huge
  end

  -- Somebody whose request ended under him leaves the trial to the next.
  local function start()
    if state == "new" then tasks.look_at_cache(waiter, nginx) end
    if os.getenv "LUPHANT_OPENRESTY" == "polling" then return fall_back "LUPHANT_OPENRESTY says polling" end
    local ok, why, passes = nginx:start()
    if not ok then return fall_back(why, passes and RETRY) end
    state, limit = "trial", now() + TRIAL + 1
    if await(nginx:bell(), "w", now() + TRIAL) then
      state = "ready"
      nginx:ready(true)
    else
      fall_back(("no event of nginx arrived within %g s"):format(TRIAL), RETRY)
    end
  end

  local function is_started()
    if state == "ready" then return true end
    if state == "new" or now() >= limit then start() end
    return state == "ready"
  end

  local function poll(fd, events, deadline)
    while true do
      ngx.sleep(POLL_PAUSE)
      local ready = look(fd, events, 0)
      if ready or (deadline and now() >= deadline) then return ready end
    end
  end

  -- One turn of the event loop.
  local function give_way()
    if state == "ready" then await(nginx:bell(), "w") else ngx.sleep(POLL_PAUSE) end
  end

  function waiter.wait(fd, events, deadline)
    if deadline and deadline <= now() then
      check()
      give_way()
      return look(fd, events, 0)
    end
    if state == "ready" or (check() or is_started()) then return await(fd, events, deadline) end
    return poll(fd, events, deadline)
  end

  function waiter.sleep(deadline)
    if deadline == nil then args.misuse "sleep needs a deadline" end
    check()
    if deadline <= now() then return give_way() end
    repeat
      ngx.sleep(in_milliseconds(math.min(deadline - now(), LONGEST)))
    until now() >= deadline
  end

  -------------------------------------------------------------------------------------------- parking

  function waiter.park(token, deadline)
    local before = parked[token]
    if before then
      check()
      if before ~= 0 and not nginx:is_over(before) then args.misuse "somebody is parked with this token" end
    end
    tools.prod()
    parked[token] = 0 -- room for what must not fail later
    local result, pass = nginx:park(deadline)
    if result == 0 then
      make_room()
      parked[token] = 0
      result, pass = nginx:park(deadline)
    end
    parked[token] = pass -- nil: cannot be suspended
    result = sleep_on(result, pass, deadline)
    if parked[token] ~= nil then parked[token] = nil end
    return result or nil
  end

  function waiter.wake(token)
    local pass = parked[token]
    if not pass then return false end
    parked[token] = nil
    return pass ~= 0 and nginx:wake(pass)
  end

  tools.ngx, tools.nginx, tools.now, tools.address = ngx, nginx, now, address
  function tools.new_semaphore() return semaphore.new(0) end
  tasks.add(waiter, tools)
  waiter.travel = { nginx = nginx, yield = yield, when_lost = tools.when_lost }
  return waiter
end

local shared

--- The one openresty waiter of this Lua state.
---@return luphant.waiter
function module.waiter()
  shared = shared or module.new(require "luphant.core")
  return shared
end

local is_nginx

--- Does nginx run the caller? (`ngx` may be there without it: in stand-ins for tests.)
---@return boolean
function module.runs_here()
  if is_nginx == nil then
    local ngx = package.loaded.ngx
    is_nginx = type(ngx) == "table" and type(ngx.config) == "table" and ngx.config.subsystem ~= nil
      and (pcall(require, "resty.core.base")) and (pcall(require, "ngx.semaphore"))
  end
  return is_nginx
end

return module
