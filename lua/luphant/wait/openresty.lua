-- wait/openresty.lua - waiting in an nginx worker: requests, timers and light threads of ngx_lua.
--
-- A caller sleeps in a semaphore of ngx_lua. For a descriptor it is posted from nginx's own event loop, in which the
-- core has put an epoll of ours (bind/lnginx.c): started at the first wait in each worker and tried out before it is
-- relied on. Where that cannot be had, descriptors are polled once a millisecond, after a warning.
--
-- Semaphores are never given up: one that was collected could be posted all the same, and wake a stranger. An *entry*
-- is a semaphore with what it is used for now. Its caller may be ended from outside at any time; then nobody waits in
-- the semaphore, which it can be asked.
--
-- Every wait in a semaphore has an end: its timer also keeps a worker that is told to exit until we are through.
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

local LONGEST = 60       -- seconds of one wait in a semaphore
local BRIEF = 1          -- the same while tasks are to be started, which nginx may drop
local POLL_PAUSE = 0.001
local TRIAL = 1          -- seconds for the first event to arrive
local RETRY = 10         -- seconds until what failed for want of something is tried again

-- Milliseconds are what nginx counts in; a semaphore cuts off what is less.
local function in_milliseconds(seconds)
  return (math.max(math.ceil(seconds * 1000), 1) + 0.5) / 1000
end

---@class luphant.wait.openresty.entry
---@field sem table
---@field pointer number   of the semaphore, for the core
---@field slot integer|nil the core's
---@field busy boolean
---@field fired boolean|nil  woken
---@field token any

---@param core table
---@return luphant.waiter
function module.new(core)
  local ngx = require "ngx"
  local base = require "resty.core.base"
  local ffi = require "ffi"
  local semaphore = require "ngx.semaphore"

  local now, look, can_yield = core.now, core.poll, core.can_yield
  local entries, free, parked, live = {}, {}, {}, 0
  local waiter = { name = "openresty", now = now, is_exact = true }

  function waiter.warn(text) ngx.log(ngx.WARN, "luphant: ", text) end

  local function address(pointer) return tonumber(ffi.cast("uintptr_t", pointer)) end

  local nginx, missing = core.nginx(ngx.config.subsystem)

  function waiter.check()
    if not can_yield() then args.misuse(CANNOT:format(place_of(ngx.get_phase()))) end
  end
  local check = waiter.check

  ------------------------------------------------------------------------------------------- entries

  -- Its caller is gone: who waits makes the count negative, and who was woken takes what was posted.
  local function is_dead(entry)
    local posted = entry.fired or (entry.waits and nginx:ready(entry.slot) ~= nil)
    return entry.sem:count() > (posted and 0 or -1)
  end

  local function release(entry)
    if entry.waits then nginx:stop(entry.slot) end
    if entry.token ~= nil and parked[entry.token] == entry then parked[entry.token] = nil end
    entry.busy, entry.fired, entry.waits, entry.token = false, nil, nil, nil
    while entry.sem:count() > 0 do entry.sem:wait(0) end
    free[#free + 1] = entry
  end

  local function sweep()
    for _, entry in ipairs(entries) do
      if entry.busy and is_dead(entry) then release(entry) end
    end
    live = #entries - #free
  end

  local function take()
    if #free == 0 and #entries >= 2 * live + 16 then sweep() end
    local entry = table.remove(free)
    if not entry then
      local sem = assert(semaphore.new(0))
      entry = { sem = sem, pointer = address(sem.sem) }
      entries[#entries + 1] = entry
    end
    entry.busy = true
    return entry
  end

  local tools = {} -- for nginxtasks.lua

  -- Sleeps until is_over(entry) or the deadline. What is posted by accident is slept over.
  local function sleep_in(entry, deadline, is_over)
    local result = is_over(entry)
    while not result do
      local longest = tools.prod() and BRIEF or LONGEST
      local left = deadline and deadline - now() or longest
      if left <= 0 then return nil end
      local ok, why = entry.sem:wait(in_milliseconds(left < longest and left or longest))
      result = is_over(entry)
      if not result and not ok and why ~= "timeout" then
        release(entry)
        args.misuse(CANNOT:format(place_of(ngx.get_phase())))
      end
    end
    return result
  end

  --------------------------------------------------------------------------------------- descriptors

  local function is_ready(entry) return nginx:ready(entry.slot) end

  local function await(fd, events, deadline)
    local entry = take()
    entry.slot = entry.slot or nginx:slot(entry.pointer)
    if not nginx:await(entry.slot, fd, events) then
      release(entry)
      return events -- closed, or a file, which is always ready: the next read tells
    end
    entry.waits = true
    local ready = sleep_in(entry, deadline, is_ready)
    release(entry)
    return ready
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
    if not nginx then return fall_back(missing) end
    local ok, why = nginx:start()
    if not ok then return fall_back(why, RETRY) end
    state, limit = "trial", now() + TRIAL + 1
    if await(nginx:bell(), "w", now() + TRIAL) then
      state = "ready"
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
    check()
    if deadline and deadline <= now() then
      give_way()
      return look(fd, events, 0)
    end
    if not is_started() then return poll(fd, events, deadline) end
    return await(fd, events, deadline)
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

  local function has_fired(entry) return entry.fired end

  function waiter.park(token, deadline)
    check()
    local before = parked[token]
    if before then
      if not is_dead(before) then args.misuse "somebody is parked with this token" end
      release(before)
    end
    local entry = take()
    parked[token], entry.token = entry, token
    local woken = sleep_in(entry, deadline, has_fired)
    release(entry)
    return woken
  end

  function waiter.wake(token)
    local entry = parked[token]
    if not entry then return false end
    if is_dead(entry) then
      release(entry)
      return false
    end
    parked[token], entry.fired = nil, true
    entry.sem:post(1)
    return true
  end

  tools.ngx, tools.nginx, tools.now, tools.address = ngx, nginx, now, address
  function tools.new_semaphore() return semaphore.new(0) end
  function tools.request()
    local request = base.get_request()
    return request ~= nil and address(request) or nil
  end
  tasks.add(waiter, tools)
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
