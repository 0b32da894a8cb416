-- wait/cqueues.lua - waiting inside a cqueues controller.
--
-- A controller keeps what it was asked about a descriptor until the coroutine yields again, and passes
-- every later change on to the kernel. A descriptor closed in between makes that call fail, and the
-- controller then ends whichever coroutine happens to run. So each wait ends with a cancel: two system
-- calls a wait, and nothing to remember for whoever closes connections (the garbage collector among them).
--
-- Coroutines of the user's own inside a cqueues coroutine have to be resumed with cqueues.auxlib.resume,
-- as for everything that waits in cqueues.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"

local module = {}

local OUTSIDE = 'the waiter "cqueues" can only wait inside a running controller: start this code with'
  .. ' cq:wrap(function() ... end) and cq:loop(), or choose waiter = "poll"'

---@param core { now: fun(): number, poll: function }
---@return luphant.waiter
function module.new(core)
  local cqueues, condition = require "cqueues", require "cqueues.condition"
  local now, look, running = core.now, core.poll, cqueues.running
  local poll = cqueues.poll
  local waiter = { name = "cqueues", now = now }
  -- Weak: a record lives on the stack of who is parked. Closing a controller drops its coroutines.
  local parked = setmetatable({}, { __mode = "v" })

  local function here()
    local loop = running()
    if not loop then args.misuse(OUTSIDE) end
    return loop
  end

  local function left_until(deadline)
    local left = deadline and deadline - now()
    return left and (left > 0 and left or 0)
  end

  -- How many wait for a descriptor, by controller. A cancel wakes everybody, so only the last one may.
  local users = setmetatable({}, { __mode = "k" })

  local function enter(loop, fd)
    local of_loop = users[loop]
    if not of_loop then
      of_loop = {}
      users[loop] = of_loop
    end
    of_loop[fd] = (of_loop[fd] or 0) + 1
    return of_loop
  end

  local function leave(loop, of_loop, fd)
    local count = of_loop[fd]
    if count > 1 then
      of_loop[fd] = count - 1
    else
      of_loop[fd] = nil
      loop:cancel(fd)
    end
  end

  -- `poll` answers which of its objects are ready. It may be none: a failed descriptor wakes and says
  -- nothing, and so does one that is ready for somebody else who waits for it. Then we look ourselves, as
  -- at the deadline: of very many descriptors a controller may not have come to ours.
  local function wait_for(fd, events, deadline)
    local reading = events ~= "w" and { pollfd = fd, events = "r" } or nil
    local writing = events ~= "r" and { pollfd = fd, events = "w" } or nil
    repeat
      local ready = poll(reading or writing, left_until(deadline), reading and writing)
      if ready == (reading or writing) and events ~= "rw" then return events end
      local seen = look(fd, events, 0)
      if seen then return seen end
    until deadline and now() >= deadline
  end

  function waiter.wait(fd, events, deadline)
    local loop = here()
    if fd < 0 then return events end
    local of_loop = enter(loop, fd)
    local ready = wait_for(fd, events, deadline)
    leave(loop, of_loop, fd)
    return ready
  end

  function waiter.sleep(deadline)
    if deadline == nil then args.misuse "sleep needs a deadline" end
    here()
    poll(left_until(deadline))
  end

  function waiter.park(token, deadline)
    local loop = here()
    if parked[token] then args.misuse "somebody is parked with this token" end
    local record = { loop = loop, signal = condition.new() }
    parked[token] = record
    repeat
      poll(record.signal, left_until(deadline))
    until record.woken or deadline and now() >= deadline
    if record.woken then return true end
    parked[token] = nil
    return nil
  end

  function waiter.wake(token)
    local record = parked[token]
    if not record then return false end
    parked[token] = nil
    if cqueues.type(record.loop) ~= "controller" then return false end -- closed, with all that waited in it
    record.woken = true
    record.signal:signal()
    return true
  end

  function waiter.spawn(fn)
    local loop = running()
    if not loop then return nil, "no cqueues controller runs here" end
    loop:wrap(function() pcall(fn) end)
    return true
  end

  function waiter.is_alone(count)
    local loop = running()
    return loop ~= nil and loop:count() <= count
  end

  return waiter
end

local shared

--- The one cqueues waiter of this Lua state.
---@return luphant.waiter
function module.waiter()
  shared = shared or module.new(require "luphant.core")
  return shared
end

--- Does a controller run the caller?
---@return boolean
function module.runs_here()
  return (require "cqueues".running()) ~= nil
end

return module
