-- wait/poll.lua - waiting in a plain script: poll(2), the whole program stands still.
--
-- Nobody else can run while we wait, so parking would hang for ever: it is refused at once. Inside
-- someone's event loop this waiter works but stops the loop; choose the loop's own there.
--
-- SPDX-License-Identifier: MIT

local poll = {}

local ALONE = "nobody else runs in a plain script, so nobody could ever give a connection back:"
  .. " release one first, or allow more connections"

local NO_DESCRIPTOR = -1 -- poll(2) ignores it and only the time passes

--- A waiter over the given core: its now() and poll(fd, events, seconds).
---@param core { now: fun(): number, poll: fun(fd: integer, events: string, seconds: number|nil): string|nil }
---@return luphant.waiter
function poll.new(core)
  local now, core_poll = core.now, core.poll
  local waiter = { name = "poll", now = now }

  function waiter.wait(fd, events, deadline)
    repeat
      local left = deadline and deadline - now()
      local ready = core_poll(fd, events, left and (left > 0 and left or 0))
      if ready then return ready end
      -- nil before the time is up: a signal came in between. Go on with what is left.
    until deadline and now() >= deadline
    return nil
  end

  function waiter.sleep(deadline)
    if deadline == nil then error("sleep needs a deadline", 2) end
    waiter.wait(NO_DESCRIPTOR, "r", deadline)
  end

  function waiter.park()
    return nil, ALONE
  end

  function waiter.wake()
    return false
  end

  return waiter
end

local shared

--- The one poll waiter of this Lua state.
---@return luphant.waiter
function poll.waiter()
  shared = shared or poll.new(require "luphant.core")
  return shared
end

return poll
