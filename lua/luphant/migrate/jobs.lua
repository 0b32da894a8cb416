-- luphant.migrate.jobs - several workers at once, in whatever loop the caller runs, or in a small one of their own.
--
-- Where the caller's waiter can spawn, the workers are tasks of its loop. In a plain script nobody else runs: there
-- they are coroutines, and one poll(2) waits for all of their sockets. Either way a worker is plain code that waits
-- with the waiter it is given. Nothing here knows what they do.
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"

local M = {}

local INTERRUPT = "interrupted!" -- as lua.c says it

local function is_interrupt(why) return type(why) == "string" and why:find(INTERRUPT, 1, true) ~= nil end

-- ---- a loop of our own --------------------------------------------------------------------------------------

-- Yields { fd, events, deadline }; answers the events that are ready, or nil when the time is over.
local function waiter_of(inner)
  local waiter = { name = "jobs", now = inner.now, park = inner.park, wake = inner.wake }
  function waiter.wait(fd, events, deadline)
    local ready = coroutine.yield { fd = fd, events = events, deadline = deadline }
    if ready == INTERRUPT then error(INTERRUPT, 0) end
    return ready
  end
  function waiter.sleep(deadline) waiter.wait(nil, nil, deadline) end
  return waiter
end

-- What all tasks wait for, as poll_any wants it.
local function wishes(tasks, now)
  local descriptors, wants, owners, soonest = {}, {}, {}, nil
  for _, task in ipairs(tasks) do
    local wish = task.wish
    if wish.fd then
      local i = #descriptors + 1
      descriptors[i], wants[i], owners[i] = wish.fd, wish.events, task
    end
    if wish.deadline and (not soonest or wish.deadline < soonest) then soonest = wish.deadline end
  end
  return descriptors, wants, owners, soonest and math.max(soonest - now(), 0)
end

local function go_on(task, with)
  local fine, wish = coroutine.resume(task.thread, with)
  if not fine then error(wish, 0) end -- the workers catch their own: this is ours
  task.wish = coroutine.status(task.thread) ~= "dead" and wish or nil
end

-- One look at all of them. An interrupt that lua.c raises in here belongs to the workers: they know what to do with it.
local function turn(tasks, now)
  local fine, ready, owners = pcall(function()
    local descriptors, wants, list, seconds = wishes(tasks, now)
    return core.poll_any(descriptors, wants, seconds), list
  end)
  if not fine and not is_interrupt(ready) then error(ready, 0) end
  local events = {}
  for i, what in pairs(fine and ready or {}) do events[owners[i]] = what end
  local time, left = now(), {}
  for _, task in ipairs(tasks) do
    local deadline = task.wish.deadline
    if not fine then
      go_on(task, INTERRUPT)
    elseif events[task] or (deadline and deadline <= time) then
      go_on(task, events[task])
    end
    if task.wish then left[#left + 1] = task end
  end
  return left
end

local function by_ourselves(count, inner, work)
  local waiter, tasks = waiter_of(inner), {}
  for _ = 1, count do
    local task = { thread = coroutine.create(work) }
    go_on(task, waiter)
    if task.wish then tasks[#tasks + 1] = task end
  end
  while #tasks > 0 do tasks = turn(tasks, inner.now) end
end

-- ---- the loop that runs ---------------------------------------------------------------------------------------

local function in_loop(count, inner, work)
  local token, running, is_waiting = {}, 0, false
  for _ = 2, count do
    local ok = inner.spawn(function()
      work(nil)
      running = running - 1
      if running == 0 and is_waiting then inner.wake(token) end
    end)
    if not ok then break end -- as many as there can be
    running = running + 1
  end
  work(nil)
  is_waiting = true
  if running > 0 then inner.park(token) end
end

--- Runs `work(waiter)` in `count` workers and comes back when all have ended. `waiter` is what a worker has to wait
--- with; nil: the one of the loop that runs. Errors of one are raised when all have ended.
---@param count integer
---@param inner luphant.waiter of the caller
---@param work fun(waiter: luphant.waiter?)
function M.run(count, inner, work)
  local failed, why = false, nil
  local function guarded(waiter)
    local fine, message = pcall(work, waiter)
    if not fine and not failed then failed, why = true, message end
  end
  if count == 1 then
    guarded(nil)
  elseif inner.spawn then
    in_loop(count, inner, guarded)
  else
    by_ourselves(count, inner, guarded)
  end
  if failed then error(why, 0) end
end

return M
