-- wait/copas1.lua - what copas 1.x lacks and later versions have: to sleep, to be woken, to begin later.
--
-- copas 1.x knows descriptors only, and its loop waits as long as the program told it to. So its `step` is
-- replaced by one that never waits beyond the first sleeper's time; that is where time passes for them.
-- Whoever shall go on is hung up behind a "bell": an object for LuaSocket's select that is always ready.
--
-- With this copas a thread that was started for a client's socket and waited here last ends without having
-- that socket closed (copas closes what it passed in at the thread's last turn): close it yourself.
--
-- SPDX-License-Identifier: MIT

local copas1 = {}

local NOWHERE = { insert = function() end, push = function() end } -- a queue that forgets

local bell_class = {}
bell_class.__index = bell_class
function bell_class.dirty() return true end
function bell_class.close() end
-- select() looks at objects with a descriptor only, so a bell needs one: of a socket that nobody knows.
function bell_class:getfd() return self.quiet:getfd() end

--- Functions as copas 2 and later have them: sleep(seconds), less than 0 for ever; wakeup(co); addthread(fn).
--- `reading` is copas' queue of readers, `nowhere` the one to yield to when nothing shall happen.
---@param copas table
---@param reading table
---@param now fun(): number
function copas1.complete(copas, reading, now)
  local socket = require "socket"
  local quiet = assert((socket.udp4 or socket.udp)()) -- in LuaSocket 3, udp() has no descriptor yet
  local sleepers = {} -- coroutine -> when it wants to be woken

  local function go_on(co)
    local bell = setmetatable({ quiet = quiet }, bell_class)
    reading:insert(bell)
    reading:push(bell, co)
  end

  local function wakeup(co)
    if not sleepers[co] then return end
    sleepers[co] = nil
    go_on(co)
  end

  -- Wakes whose time has come; answers how long the next one sleeps.
  local function wake_due()
    local time, first, due = now(), nil, {}
    for co, at in pairs(sleepers) do
      if at <= time then
        due[#due + 1] = co
      elseif not first or at < first then
        first = at
      end
    end
    for _, co in ipairs(due) do wakeup(co) end
    return first and first < math.huge and first - time or nil
  end

  local step = copas.step
  function copas.step(timeout)
    local left = wake_due()
    return step(left and math.min(left, timeout or left) or timeout)
  end

  return {
    nowhere = NOWHERE,
    wakeup = wakeup,
    sleep = function(seconds)
      sleepers[coroutine.running()] = seconds < 0 and math.huge or now() + seconds
      coroutine.yield(true, NOWHERE)
    end,
    addthread = function(fn) go_on(coroutine.create(fn)) end,
  }
end

return copas1
