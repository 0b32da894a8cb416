-- spec.support.scheduler: the smallest event loop there can be, for specs: coroutines that wait for descriptors, for a
-- time or for each other. Its waiter keeps the contract of luphant.wait. A descriptor that is closed under a coroutine
-- that waits for it is an error here: real loops would leave that coroutine asleep for ever.
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"

local socket = require "socket"

local scheduler = {}
scheduler.__index = scheduler

--- `options.random(n)`: in which order those run who could go on, instead of first come, first served;
--- `options.after_step()`: looks at things each time a task has given way.
---@param options? { random?: (fun(n: integer): integer), after_step?: fun() }
function scheduler.new(options)
  local self = setmetatable({ ready = {}, waiting = {}, parked = {}, options = options or {} }, scheduler)
  local waiter = { name = "scheduler", now = core.now }
  function waiter.wait(fd, events, deadline)
    return coroutine.yield { fd = fd, events = events, deadline = deadline }
  end
  function waiter.sleep(deadline)
    if deadline == nil then error("sleep needs a deadline", 2) end
    coroutine.yield { deadline = deadline }
  end
  function waiter.park(token, deadline)
    if self.parked[token] then error("somebody is parked with this token", 2) end
    return coroutine.yield { token = token, deadline = deadline }
  end
  function waiter.wake(token)
    local task = self.parked[token]
    if not task then return false end
    self.parked[token] = nil
    self:resume_later(task, true)
    return true
  end
  function waiter.spawn(fn)
    self:spawn(function() pcall(fn) end)
    return true
  end
  function waiter.is_alone(count) return self.left <= count end
  self.waiter = waiter
  return self
end

function scheduler:resume_later(task, value)
  self.waiting[task] = nil
  self.ready[#self.ready + 1] = { task = task, value = value }
end

--- Starts fn in a coroutine of its own. With `is_daemon`, `run` does not wait for it. Answers a task with `done`,
--- `failed` and `result`.
function scheduler:spawn(fn, is_daemon)
  local task = { thread = coroutine.create(fn), is_daemon = is_daemon }
  if not is_daemon then self.left = (self.left or 0) + 1 end
  self:resume_later(task)
  return task
end

--- Forgets a task that waits: it never goes on.
function scheduler:kill(task)
  local request = self.waiting[task]
  if request and request.token ~= nil then self.parked[request.token] = nil end
  self.waiting[task], task.done, task.killed = nil, true, true
  self.left = self.left - 1
end

local function shuffle(list, random)
  for i = #list, 2, -1 do
    local k = random(i)
    list[i], list[k] = list[k], list[i]
  end
end

local function step(self, task, value)
  if task.killed then return end
  local ok, request = coroutine.resume(task.thread, value)
  if coroutine.status(task.thread) == "dead" then
    task.done, task.failed, task.result = true, not ok and request or nil, request
    if not task.is_daemon then self.left = self.left - 1 end
    if not ok and not self.failure then self.failure = { request, debug.traceback(task.thread) } end
    return
  end
  self.waiting[task] = request
  if request.token ~= nil then self.parked[request.token] = task end
end

local function descriptor(fd)
  return { getfd = function() return fd end, dirty = function() return false end, fd = fd }
end

-- Which descriptors are ready: { [fd] = "r" | "w" | "rw" }. Waits until the first deadline at most.
local function look(self)
  local reads, writes, first = {}, {}, nil
  for _, request in pairs(self.waiting) do
    if request.fd then
      if request.events:find("r", 1, true) then reads[#reads + 1] = descriptor(request.fd) end
      if request.events:find("w", 1, true) then writes[#writes + 1] = descriptor(request.fd) end
    end
    if request.deadline then first = math.min(first or math.huge, request.deadline) end
  end
  local seconds = first and math.max(0, first - core.now()) or 5
  local can_read, can_write = socket.select(reads, writes, #self.ready > 0 and 0 or seconds)
  local found = {}
  for i = 1, #can_read do found[can_read[i].fd] = "r" end
  for i = 1, #can_write do found[can_write[i].fd] = (found[can_write[i].fd] or "") .. "w" end
  return found
end

local function wake_ready(self)
  local found, now = look(self), core.now()
  for task, request in pairs(self.waiting) do
    local events = request.fd and found[request.fd]
    if events then
      local wanted = events:gsub("[^" .. request.events .. "]", "")
      if wanted ~= "" then self:resume_later(task, wanted) end
    elseif request.deadline and now >= request.deadline then
      if request.token ~= nil then self.parked[request.token] = nil end
      self:resume_later(task, nil)
    end
  end
end

--- Runs fn and all it spawns to the end; raises the first error of any of them.
function scheduler:run(fn)
  local main = self:spawn(fn)
  local limit = core.now() + 60
  while self.left > 0 and not self.failure do
    local batch = self.ready
    self.ready = {}
    if self.options.random then shuffle(batch, self.options.random) end
    for _, entry in ipairs(batch) do
      if not self.failure then step(self, entry.task, entry.value) end
      if self.options.after_step and not self.failure then self.options.after_step() end
    end
    if self.left > 0 and not self.failure then wake_ready(self) end
    if core.now() > limit then self.failure = { "the scheduler's tasks do not end", debug.traceback(main.thread) } end
  end
  if self.failure then
    local err, trace = self.failure[1], self.failure[2]
    error(type(err) == "string" and err .. "\n" .. trace or err, 0)
  end
  return main.result
end

return scheduler
