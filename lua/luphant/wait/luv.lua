-- wait/luv.lua - waiting in coroutines over libuv's default loop.
--
-- libuv calls back on the main coroutine, so each wait notes in an entry who is to be resumed. An entry
-- ends once - ready, deadline, woken, or its coroutine closed - and is taken out of everything before the
-- coroutine goes on. An error that leaves a coroutine is raised in the callback that resumed it; luv
-- reports it as every error of a callback.
--
-- A poll handle (luvpolls.lua) is kept for each descriptor number and timers are kept for reuse, all of them
-- stopped: a stopped handle does not keep the loop alive. Who waits or sleeps does; who is parked without a
-- deadline does not.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local compat = require "luphant.compat"
local polls = require "luphant.wait.luvpolls"

local module = {}

local OUTSIDE = 'the waiter "luv" suspends a coroutine, and this code runs in none: start it with'
  .. ' coroutine.wrap(function() ... end)() and uv.run(), or choose waiter = "poll"'

local LONGEST = 1e9 -- milliseconds libuv is asked to wait; what is left after that is waited then

local running, status, yield = coroutine.running, coroutine.status, coroutine.yield

---@class luphant.wait.luv.entry
---@field co thread|nil   nil once it has ended
---@field over boolean    ended, other than by force; `result` is its answer
---@field timer table|nil
---@field watch table|nil { handle =, callers =, events = what libuv looks for, ready = callback }
---@field token any

local function traced(co, why)
  return type(why) == "string" and debug.traceback(co, why) or why
end

-- All of them run, even if one fails.
local function resume_all(batch)
  local failure
  for i = 1, #batch do
    local co = batch[i]
    if status(co) == "suspended" then -- not closed by one before it
      local ok, why = coroutine.resume(co)
      if not ok then failure = failure or traced(co, why) end
    end
  end
  if failure then error(failure, 0) end
end

-- Tells libuv to look for all that the callers of a watch want. Answers nil and why if it refuses.
local function refresh(watch)
  local read, write = false, false
  for _, entry in ipairs(watch.callers) do
    read, write = read or entry.events ~= "w", write or entry.events ~= "r"
  end
  local events = (read and "r" or "") .. (write and "w" or "")
  if events == watch.events then return true end
  watch.events = events
  if events == "" then return watch.handle:stop() end
  return watch.handle:start(events, watch.ready)
end

local function leave(watch, entry)
  for i, each in ipairs(watch.callers) do
    if each == entry then
      table.remove(watch.callers, i)
      break
    end
  end
  refresh(watch)
end

-- What `events` asks for and `ready` has.
local function common(events, ready)
  if events == ready then return events end
  return (events:gsub("[^" .. ready .. "]", ""))
end

---@param core { now: fun(): number, poll: function }
---@return luphant.waiter
function module.new(core)
  module.loader = module.loader or running() -- luv runs callbacks in the coroutine that loaded it: it has to stay
  local uv = require "luv"
  local now, look = core.now, core.poll
  local new_poll = polls.new(uv, core)
  local watches, idle_timers, parked = {}, {}, {}
  local waiter = { name = "luv", now = now }

  ------------------------------------------------------------------------------------------- entries

  local function forget(entry)
    if not entry.co then return end
    entry.co = nil
    local timer, watch = entry.timer, entry.watch
    if timer then
      entry.timer, timer.entry = nil, nil
      timer.handle:stop()
      idle_timers[#idle_timers + 1] = timer
    end
    if watch then leave(watch, entry) end
    if entry.token ~= nil then parked[entry.token] = nil end
  end

  local entry_class = { __close = forget }

  local function new_entry()
    local co, is_main = running()
    if not co or is_main then args.misuse(OUTSIDE) end
    return setmetatable({ co = co }, entry_class)
  end

  -- Answers the coroutine that is to go on.
  local function finish(entry, result)
    local co = entry.co
    forget(entry)
    entry.over, entry.result = true, result
    return co
  end

  -- Being resumed by anybody else ends nothing.
  local function until_over(entry)
    repeat yield() until entry.over
    return true
  end

  -- The fourth value of a `for` is closed with the coroutine on Lua 5.4, and ignored by LuaJIT.
  local function suspend(entry)
    for _ in until_over, entry, nil, entry do return entry.result end -- luacheck: ignore 512
  end

  ---------------------------------------------------------------------------------------------- soon

  local queue, queue_timer = {}, nil

  local function run_queue()
    local batch = queue
    queue = {}
    resume_all(batch)
  end

  local function resume_soon(co)
    queue[#queue + 1] = co
    if #queue > 1 then return end
    if not queue_timer or queue_timer:is_closing() then queue_timer = uv.new_timer() end
    queue_timer:start(0, 0, run_queue)
  end

  -------------------------------------------------------------------------------------------- timers

  local function start_timer(timer)
    local left = timer.entry.deadline - now()
    timer.handle:start(left > 0 and math.min(math.ceil(left * 1000), LONGEST) or 0, 0, timer.strike)
  end

  local function new_timer()
    local timer = { handle = uv.new_timer() }
    function timer.strike()
      local entry = timer.entry
      -- libuv counts whole milliseconds from when its loop last woke: it may be early.
      if now() < entry.deadline then return start_timer(timer) end
      resume_all { finish(entry, entry.fd and look(entry.fd, entry.events, 0)) }
    end
    return timer
  end

  local function limit(entry, deadline)
    if not deadline then return end
    local timer = table.remove(idle_timers)
    if not timer or timer.handle:is_closing() then timer = new_timer() end
    timer.entry, entry.timer, entry.deadline = entry, timer, deadline
    start_timer(timer)
  end

  --------------------------------------------------------------------------------------- descriptors

  local function watch_of(fd)
    local watch = watches[fd]
    if watch and not watch.handle:is_closing() then return watch end
    local handle, why, name = new_poll(fd)
    if not handle then return nil, name == "EEXIST" and why end
    watch = { handle = handle, callers = {}, events = "" }
    function watch.ready(failure, ready)
      local batch, callers, i = {}, watch.callers, 1
      while callers[i] do
        local entry = callers[i]
        local seen = failure and entry.events or common(entry.events, ready)
        if seen ~= "" then
          batch[#batch + 1] = finish(entry, seen) -- takes it out of callers
        else
          i = i + 1
        end
      end
      resume_all(batch)
    end
    watches[fd] = watch
    return watch
  end

  local function refuse(fd, why)
    args.misuse(("the loop watches descriptor %d already, for somebody else: %s"):format(fd, why))
  end

  function waiter.wait(fd, events, deadline)
    local entry = new_entry()
    if deadline and deadline <= now() then
      entry.fd, entry.events = fd, events -- looked at when the others have had their turn
    else
      local watch, taken = watch_of(fd)
      if taken then refuse(fd, taken) end
      if not watch then return events end -- closed, or a file: the next read tells
      entry.fd, entry.events, entry.watch = fd, events, watch
      watch.callers[#watch.callers + 1] = entry
      local ok, why = refresh(watch)
      if not ok then
        forget(entry)
        if why then refuse(fd, why) end
        return events -- closed, or a file
      end
    end
    limit(entry, deadline)
    return suspend(entry)
  end

  function waiter.sleep(deadline)
    if deadline == nil then args.misuse "sleep needs a deadline" end
    local entry = new_entry()
    limit(entry, deadline)
    suspend(entry)
  end

  -------------------------------------------------------------------------------------------- parking

  function waiter.park(token, deadline)
    local entry = new_entry()
    if parked[token] then args.misuse "somebody is parked with this token" end
    parked[token], entry.token = entry, token
    limit(entry, deadline)
    return suspend(entry)
  end

  function waiter.wake(token)
    local entry = parked[token]
    if not entry then return false end
    resume_soon(finish(entry, true))
    return true
  end

  function waiter.spawn(fn)
    resume_soon(coroutine.create(function() pcall(fn) end))
    return true
  end

  -- What holds the loop: active handles that are referenced, those of other people among them; the caller has
  -- none while it runs. Requests under way (files, names) are not seen, nor who is parked without a deadline.
  -- A parked keeper could do without its hold on the loop (timer:unref()), but then libuv would end while it has
  -- something to do, and a pool's connections would stay open behind its back.
  function waiter.is_alone(count)
    local others = 0
    uv.walk(function(handle)
      if handle:is_active() and handle:has_ref() and not handle:is_closing() then others = others + 1 end
    end)
    return others < count
  end

  return waiter
end

local shared

--- The one luv waiter of this Lua state.
---@return luphant.waiter
function module.waiter()
  shared = shared or module.new(require "luphant.core")
  return shared
end

--- Does libuv's loop run the caller, and can the caller be suspended?
---@return boolean
function module.runs_here()
  return compat.in_coroutine() and require "luv".loop_mode() ~= nil
end

return module
