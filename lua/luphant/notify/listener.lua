-- notify/listener.lua - what db:listen gives: its notifications in their order, and how they reach the program.
--
-- The line (notify/line.lua) puts what happens into the listener's queue: notifications, "listening again", "lost".
-- Where tasks can be started one of them takes it out and calls the program's functions, as long as there is something:
-- a function that takes long holds up this listener and no other. Without a function, and in plain scripts, whoever
-- calls listener:wait takes it out.
--
-- The queue is bounded. What does not fit is dropped, and the program is told to read again ("overflow").
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local compat = require "luphant.compat"
local errors = require "luphant.errors"
local hooks = require "luphant.hooks"

local listener = {}

---@class luphant.listener
---@field private line luphant.notify.line
---@field channels string[]
---@field private queue table  events from `first` to `last`
---@field private waiters table[]  tokens of tasks that wait for the next notification, in order
local methods = {}
local metatable = { __name = "luphant.listener", __index = methods }

listener.methods = methods

function metatable:__tostring()
  return ("luphant.listener (%s%s)"):format(table.concat(self.channels, ", "), self.closed and ", closed" or "")
end

---@param line luphant.notify.line
---@param channels string[]
---@param fn function|nil
---@param options table
function listener.new(line, channels, fn, options)
  return setmetatable({
    line = line, channels = channels, fn = fn, on_ready = options.on_ready, on_lost = options.on_lost,
    most = options.max_queued, queue = {}, first = 1, last = 0, waiters = {}, times = 0,
  }, metatable)
end

---------------------------------------------------------------------------------------------- queue

local function count(self) return self.last - self.first + 1 end

local function append(self, event)
  self.last = self.last + 1
  self.queue[self.last] = event
end

local function take(self)
  if self.first > self.last then return nil end
  local event = self.queue[self.first]
  self.queue[self.first] = nil
  self.first = self.first + 1
  if self.first > self.last then
    self.first, self.last = 1, 0
    if self.overflow then
      self.overflow = false
      append(self, { ready = "overflow" })
    end
  end
  return event
end

------------------------------------------------------------------------------------------- delivery

local function call(self, name, fn, ...)
  local settings, channel = self.line.pool.settings, self.channels[1]
  local ok, err = hooks.contained(settings, ("%s of the listener for %s"):format(name, channel), fn, ...)
  if not ok and settings.observers then settings.observers:failed("listen", err, { channel = channel }) end
end

-- Calls the functions of one event. Answers whether it was a notification.
local function deliver(self, event)
  if event.ready then
    if self.on_ready then call(self, "on_ready", self.on_ready, event.ready) end
  elseif event.lost then
    if self.on_lost then call(self, "on_lost", self.on_lost, event.lost) end
  else
    if self.fn then call(self, "the function", self.fn, event.payload, event.channel, event.pid) end
    return true
  end
  return false
end

-- Those who wait are served in order; what nobody takes any more goes to the next.
local function hand_to_waiter(self, event)
  while self.waiters[1] do
    local token = table.remove(self.waiters, 1)
    token.event = event
    if self.line.waiter.wake(token) then return true end
    token.event = nil
  end
  return false
end

local function drain(self)
  while not self.closed do
    local event = take(self)
    if not event then return end
    if deliver(self, event) then hand_to_waiter(self, event) end
  end
end

local STARTING = 1 -- seconds a task that was started may take to begin

-- The task that calls the functions lives as long as there is something for it. One that was ended from outside
-- (coroutine.close, a loop that is no more) is replaced.
local function is_draining(self)
  local drainer = self.drainer
  if not drainer then return false end
  if drainer.since then return self.line.waiter.now() < drainer.since + STARTING end
  return drainer.thread ~= nil and compat.thread_status(drainer.thread) ~= "dead"
end

local function start_draining(self)
  if is_draining(self) then return end
  local mine = setmetatable({ since = self.line.waiter.now() }, { __mode = "v" })
  self.drainer = mine
  local spawned = self.line.waiter.spawn(function()
    if self.drainer ~= mine then return end
    mine.thread, mine.since = coroutine.running(), nil
    local ok, err = pcall(drain, self)
    if self.drainer == mine then self.drainer = nil end
    if not ok then hooks.report(self.line.pool.settings, "a listener's task", err) end
  end)
  if not spawned then self.drainer = nil end
end

--- Something has happened: { payload =, channel =, pid = }, { ready = text } or { lost = err }.
---@param self luphant.listener
---@param event table
function listener.push(self, event)
  if self.closed then return end
  if event.ready then self.times = self.times + 1 end
  if event.payload and count(self) >= self.most then
    self.overflow = true
    return
  end
  append(self, event)
  if self.fn and self.line.has_tasks then
    start_draining(self)
  else
    hand_to_waiter(self, {}) -- he looks into the queue himself
  end
end

-------------------------------------------------------------------------------------------- waiting

local function closed_error(self)
  return self.closed_because or errors.new("closed", "the listener has been closed with listener:close()")
end

-- The next notification that is there already.
local function next_of_queue(self)
  local event = take(self)
  while event do
    if deliver(self, event) then return event end
    if self.closed then return nil end
    event = take(self)
  end
end

-- Whoever waits in a plain script does the line's work meanwhile.
local function wait_here(self, limit)
  local line, is_first = self.line, true
  while true do
    local event = next_of_queue(self)
    if event then return event end
    if self.closed then return nil, closed_error(self) end
    if limit and not is_first and line.waiter.now() >= limit and not line:is_behind() then return nil end
    is_first = false
    line:turn(limit)
  end
end

local function leave_queue(self, token)
  for i, each in ipairs(self.waiters) do
    if each == token then
      table.remove(self.waiters, i)
      return
    end
  end
end

local function wait_parked(self, limit)
  local waiter = self.line.waiter
  while true do
    local event = not self.fn and next_of_queue(self)
    if event then return event end
    if self.closed then return nil, closed_error(self) end
    if limit and waiter.now() >= limit then return nil end
    self.line:start()
    local token = {}
    table.insert(self.waiters, token)
    waiter.park(token, limit)
    leave_queue(self, token)
    if token.event and token.event.payload then return token.event end
  end
end

--- The next notification: its payload, channel and the process id of the session that sent it. nil when none comes
--- within `timeout` seconds; nil and an error once the listener is closed. The listener's functions are called first.
---@param timeout? number  default: as long as it takes
---@return string|nil payload
---@return string|luphant.error|nil channel
---@return integer|nil pid
function methods:wait(timeout)
  if timeout ~= nil then args.argument(timeout, "number", 1, "wait", 2) end
  local line = self.line
  line:settle()
  local limit = timeout and line.waiter.now() + timeout
  local wait = line.has_tasks and wait_parked or wait_here
  local event, err = wait(self, limit)
  if event then return event.payload, event.channel, event.pid end
  if err then return nil, err end
  return nil
end

-------------------------------------------------------------------------------------------- the end

--- Is the server listening for all of its channels right now, as far as can be known?
---@return boolean
function methods:is_listening()
  return not self.closed and self.line:has_subscribed(self.channels)
end

function listener.close(self, err)
  if self.closed then return end
  self.closed, self.closed_because = true, err
  for i = self.first, self.last do self.queue[i] = nil end
  self.first, self.last = 1, 0
  while self.waiters[1] do self.line.waiter.wake(table.remove(self.waiters, 1)) end
end

--- Ends listening: no function is called any more, whoever waits is told. Idempotent.
function methods:close()
  listener.close(self, nil)
  self.line:leave(self) -- also when memory ran out in the middle of it the last time
end
metatable.__close = methods.close

return listener
