-- wait/copas.lua - waiting inside copas threads.
--
-- copas waits for its own sockets only: a thread yields (object, queue), and LuaSocket's select is given the
-- object. So a descriptor becomes a `watch`, an object with what select asks for, put into the queues of
-- readers and writers; who waits sleeps meanwhile and is woken. There is one watch for a descriptor, because
-- select tells of one object only. The queues themselves copas does not give away: they are what its own
-- receive() and connect() yield.
--
-- select takes descriptors below 1024. Who is parked without a deadline does not keep copas.loop() going.
-- What copas 1.x lacks is in copas1.lua.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local compat = require "luphant.compat"
local copas1 = require "luphant.wait.copas1"

local module = {}

local OUTSIDE = 'the waiter "copas" can only wait inside a copas thread: start this code with'
  .. ' copas.addthread(function() ... end) and copas.loop(), or choose waiter = "poll"'

-- The queue that `io`, waiting for `object`, yields it to.
local function queue_of(io, object)
  local co, found = coroutine.create(io), nil
  local ok, what, queue = coroutine.resume(co, object)
  while coroutine.status(co) == "suspended" do -- it may pause in between, to be fair
    if what == object then found, object.is_ready = queue, true end
    ok, what, queue = coroutine.resume(co)
  end
  if not (ok and found) then error("this version of copas is not known: " .. tostring(what), 0) end
  return found
end

local probe_class = { settimeout = function() end }
probe_class.__index = probe_class
function probe_class:receive()
  if not self.is_ready then return nil, "timeout" end
  return ""
end
function probe_class:connect()
  if not self.is_ready then return nil, "timeout" end
  return 1
end

local function new_probe() return setmetatable({}, probe_class) end

-- The sleeping queue is what sleep() yields to.
local function facilities(copas, now)
  local reading, writing = queue_of(copas.receive, new_probe()), queue_of(copas.connect, new_probe())
  local own
  if copas.sleep and copas.wakeup then
    local _, nowhere = coroutine.wrap(copas.sleep)(-1)
    own = { sleep = copas.sleep, wakeup = copas.wakeup, nowhere = nowhere }
    function own.addthread(fn)
      copas.addthread(function()
        copas.sleep(0) -- before version 4.4 it would begin at once
        fn()
      end)
    end
  else
    own = copas1.complete(copas, reading, now)
  end
  own.reading, own.writing = reading, writing
  return own
end

local watch_class = {}
watch_class.__index = watch_class
function watch_class:getfd() return self.fd end
function watch_class.dirty() return false end
function watch_class.close() end -- copas.cancelall() closes what it finds

---@param core { now: fun(): number, poll: function }
---@return luphant.waiter
function module.new(core)
  local copas = require "copas"
  local too_large = require "socket"._SETSIZE or 1024
  local now, look = core.now, core.poll
  local own = facilities(copas, now)
  local watches = {}
  local parked = setmetatable({}, { __mode = "v" }) -- an entry lives on the stack of who is parked
  local waiter = { name = "copas", now = now }

  local function new_entry(events)
    if not compat.in_coroutine() then args.misuse(OUTSIDE) end
    return { co = coroutine.running(), events = events }
  end

  -- Sleeps until the entry is over, or to the deadline. Somebody else may wake the thread: that ends nothing.
  local function suspend(entry, deadline)
    repeat
      local left = deadline and deadline - now()
      own.sleep(not left and -1 or left > 0 and left or 0)
    until entry.over or deadline and now() >= deadline
    return entry.over
  end

  local function end_entry(entry, result)
    entry.over = result
    own.wakeup(entry.co)
  end

  --------------------------------------------------------------------------------------- descriptors

  local herald = {} -- the coroutine that copas resumes when a watch is ready, by queue

  -- Puts a watch where it belongs, or takes it away.
  local function place(watch, queue, wanted)
    if (watch[queue] or false) == wanted then return end
    watch[queue] = wanted
    if wanted then
      queue:insert(watch)
      queue:push(watch, herald[queue])
    else
      queue:remove(watch)
      queue:pop(watch)
    end
  end

  local function refresh(watch)
    local read, write = false, false
    for _, entry in ipairs(watch.callers) do
      read, write = read or entry.events ~= "w", write or entry.events ~= "r"
    end
    place(watch, own.reading, read)
    place(watch, own.writing, write)
    if not read and not write then watches[watch.fd] = nil end
  end

  local function ready(watch)
    local callers = watch.callers
    watch.callers = {}
    for _, entry in ipairs(callers) do
      local seen = look(watch.fd, entry.events, 0)
      if seen then
        end_entry(entry, seen)
      else
        table.insert(watch.callers, entry)
      end
    end
    refresh(watch)
  end

  -- copas has taken a watch that is ready out of its queue before it resumes us.
  local function new_herald(queue)
    return coroutine.create(function(watch)
      while true do
        watch[queue] = false
        ready(watch)
        watch = coroutine.yield(-1, own.nowhere)
      end
    end)
  end
  herald[own.reading], herald[own.writing] = new_herald(own.reading), new_herald(own.writing)

  local function leave(watch, entry)
    for i, each in ipairs(watch.callers) do
      if each == entry then table.remove(watch.callers, i) break end
    end
    refresh(watch)
  end

  local function watch_of(fd)
    if fd >= too_large then
      args.misuse(("copas cannot wait for descriptor %d: its select() takes those below %d"):format(fd, too_large))
    end
    local watch = watches[fd] or setmetatable({ fd = fd, callers = {} }, watch_class)
    watches[fd] = watch
    return watch
  end

  function waiter.wait(fd, events, deadline)
    local entry = new_entry(events)
    if fd < 0 then return events end
    if not deadline or deadline > now() then
      local watch = watch_of(fd)
      table.insert(watch.callers, entry)
      refresh(watch)
      if suspend(entry, deadline) then return entry.over end
      leave(watch, entry)
    else
      suspend(entry, deadline) -- a turn for the others
    end
    return look(fd, events, 0)
  end

  function waiter.sleep(deadline)
    if deadline == nil then args.misuse "sleep needs a deadline" end
    suspend(new_entry(), deadline)
  end

  -------------------------------------------------------------------------------------------- parking

  function waiter.park(token, deadline)
    local entry = new_entry()
    if parked[token] then args.misuse "somebody is parked with this token" end
    parked[token] = entry
    if suspend(entry, deadline) then return true end
    parked[token] = nil
    return nil
  end

  function waiter.wake(token)
    local entry = parked[token]
    if not entry then return false end
    parked[token] = nil
    end_entry(entry, true)
    return true
  end

  function waiter.spawn(fn)
    own.addthread(function() pcall(fn) end)
    return true
  end

  -- copas 1.x never ends by itself; later versions count who holds the loop. The caller is in none of the lists, but
  -- copas' own task for timeouts is always among the sleepers.
  if copas.status then
    function waiter.is_alone(count)
      local s = copas.status()
      return s.read + s.write + s.active + s.timer <= count
    end
  elseif copas.finished then
    function waiter.is_alone(count) return count == 1 and copas.finished() end
  end

  return waiter
end

local shared

--- The one copas waiter of this Lua state.
---@return luphant.waiter
function module.waiter()
  shared = shared or module.new(require "luphant.core")
  return shared
end

--- Is the caller in a coroutine while copas.loop() runs? copas 1.x does not tell.
---@return boolean
function module.runs_here()
  return compat.in_coroutine() and require "copas".running == true
end

return module
