-- bare.lua - the least an event loop can be, for questions about many tasks: coroutines, a queue of those that may go
-- on, poll(2) when there are none. Real loops cost more; the contenders with their names show how much.
--
-- SPDX-License-Identifier: MIT

local clock = require("luphant.wait.poll").waiter().now
local poll = require("bench.loops.bare_core").poll

local loop = {}

local create, resume, yield, running = coroutine.create, coroutine.resume, coroutine.yield, coroutine.running

local ready, first, last = {}, 1, 0 -- coroutines
local parked = {}                   -- token -> coroutine
local waiting, fds, fd_count = {}, {}, 0
local sleepers = {}                 -- coroutine -> deadline

local function later(thread)
  last = last + 1
  ready[last] = thread
end

local waiter = { name = "bench", now = clock }
loop.waiter = waiter

function waiter.wait(fd, events)
  waiting[fd] = running()
  fd_count = fd_count + 1
  fds[fd_count] = fd
  yield()
  return events
end

-- The time limits of those who park here are far away and never reached.
function waiter.park(token)
  parked[token] = running()
  return yield()
end

function waiter.wake(token)
  local thread = parked[token]
  if not thread then return false end
  parked[token] = nil
  last = last + 1
  ready[last] = thread
  return true
end

function waiter.sleep(deadline)
  sleepers[running()] = deadline
  yield()
end

function waiter.spawn(fn)
  later(create(fn))
  return true
end

local found = {}

local function look(seconds)
  local before = fd_count
  local n = poll(fds, before, seconds, found)
  for i = 1, n do
    local fd = found[i]
    later(waiting[fd])
    waiting[fd] = nil
  end
  local left = 0
  for i = 1, before do
    local fd = fds[i]
    if waiting[fd] then
      left = left + 1
      fds[left] = fd
    end
  end
  fd_count = left
end

local function wake_sleepers()
  local now = clock()
  for thread, deadline in pairs(sleepers) do
    if now >= deadline then
      sleepers[thread] = nil
      later(thread)
    end
  end
end

--- Runs fn in a task, and everything it starts, until it has ended.
function loop.run(fn)
  local main = create(fn)
  later(main)
  while coroutine.status(main) ~= "dead" do
    while first <= last do
      local thread = ready[first]
      ready[first] = nil
      first = first + 1
      local ok, err = resume(thread, true)
      if not ok then error(debug.traceback(thread, tostring(err)), 0) end
    end
    first, last = 1, 0
    if coroutine.status(main) ~= "dead" then
      if next(sleepers) then
        look(0.001)
        wake_sleepers()
      else
        look(-1)
      end
    end
  end
end

return loop
