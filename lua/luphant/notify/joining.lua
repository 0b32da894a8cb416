-- notify/joining.lua - the listeners of a line: how they come and go, and the task that works for them.
--
-- That task lives as long as somebody listens, and so does the loop it runs in: a program that does nothing but listen
-- goes on until listener:close() or db:close().
--
-- SPDX-License-Identifier: MIT

local backoff = require "luphant.notify.backoff"
local compat = require "luphant.compat"
local errors = require "luphant.errors"
local listener = require "luphant.notify.listener"

local STARTING = 1 -- seconds a task that was started may take to begin

local joining, methods = {}, {}

local function now(self) return self.waiter.now() end

------------------------------------------------------------------------------------------ its own task

-- Surroundings that end would wait for us for ever.
local function is_ending(self) return self.waiter.is_ending ~= nil and self.waiter.is_ending() end

local function work(self)
  while next(self.members) and not self.pool.closed and not is_ending(self) do self:turn(nil) end
  self:drop()
  if is_ending(self) then self:end_all() end
end

-- Does its task live, or will it in a moment?
local function is_at_work(self)
  local task = self.task
  if not task then return false end
  if task.since then return now(self) < task.since + STARTING end
  return task.thread ~= nil and compat.thread_status(task.thread) ~= "dead"
end

--- Starts the task that does the work, unless it lives.
function methods:start()
  if not self.has_tasks or is_at_work(self) then return end
  local task = setmetatable({ since = now(self) }, { __mode = "v" })
  self.task = task
  local spawned = self.pool:spawn(function()
    if self.task ~= task then return end
    task.thread, task.since = coroutine.running(), nil
    local ok, err = pcall(work, self)
    if self.task == task then self.task = nil end
    if self.ending then self.waiter.wake(self.ending) end
    if ok then return end
    self:drop()
    self.pool.emit("listen_failed", err)
    if next(self.members) and not self.pool.closed then
      self.retry_at = now(self) + self.pause:next()
      self:start()
    end
  end)
  if not spawned then self.task = nil end
end

-- Whoever does the work shall look up.
local function rouse(self)
  if self.token.parked then self.waiter.wake(self.token) end
end

--- The pool may have changed over to an event loop since.
function methods:settle()
  if self.pool.auto then self.pool:choose_waiter() end
  if self.waiter ~= self.pool.waiter then
    self:drop()
    self:adopt()
    self.retry_at, self.task = 0, nil
  end
  if next(self.members) then self:start() end
end

------------------------------------------------------------------------------------------- listeners

---@param channels string[]
---@return boolean
function methods:has_subscribed(channels)
  if not self.box or self.broken then return false end
  for _, channel in ipairs(channels) do
    if not self.subscribed[channel] then return false end
  end
  return true
end

local function has_failed_for_good(self, failures)
  if self.box or self.failures == failures then return false end
  return backoff.is_permanent(self.last_error) or self.last_error.kind == "out_of_memory"
end

local function rest_or_turn(self, limit)
  if not self.has_tasks then return self:turn(limit) end
  local token = {}
  self.joining[token] = true
  self.waiter.park(token, limit)
  self.joining[token] = nil
end

local function enter(self, member)
  self.members[member] = true
  for _, channel in ipairs(member.channels) do
    local listeners = self.wanted[channel] or {}
    listeners[#listeners + 1] = member
    self.wanted[channel] = listeners
  end
end

-- Until the server listens for this one. The first attempt to connect is made at once.
local function await(self, member, limit)
  enter(self, member)
  local failures = self.failures
  if not self.box then self.retry_at = 0 end
  self:sync()
  rouse(self)
  self:start()
  while not member.closed and member.times == 0 do
    if member.refused then return nil, member.refused end
    if has_failed_for_good(self, failures) then return nil, self.last_error end
    if limit and now(self) >= limit then
      return nil, errors.new("connect_timeout", "the server could not be told to listen in time", {
        cause = self.last_error, hint = self.last_error and "See the cause." or nil,
      })
    end
    rest_or_turn(self, limit)
  end
  if member.closed then return nil, member.closed_because or errors.new("closed", "the listener has been closed") end
  return true
end

--- A listener comes in. Answers true once the server listens for it; nil and why not within `limit`, and then it is
--- out again.
---@param member luphant.listener
---@param limit number|nil
---@return true|nil
---@return luphant.error|nil
function methods:join(member, limit)
  local ok, done, err = pcall(await, self, member, limit)
  if ok and done then return true end
  listener.close(member, nil)
  self:leave(member)
  if not ok then error(done, 0) end
  return nil, err
end

local function without(listeners, member)
  for i = #listeners, 1, -1 do
    if listeners[i] == member then table.remove(listeners, i) end
  end
  return listeners[1] and listeners or nil
end

--- A listener goes. With the last one the session goes, too. (Needs no memory until it is out.)
---@param member luphant.listener
function methods:leave(member)
  if not self.members[member] then return end
  self.members[member] = nil
  for i = 1, #member.channels do
    local listeners = self.wanted[member.channels[i]]
    if listeners then self.wanted[member.channels[i]] = without(listeners, member) end
  end
  if next(self.members) then
    self:sync()
  else
    self:stop()
  end
end

--- Ends the session. Who waits for it wakes up and closes.
function methods:stop()
  rouse(self)
  if not self.box then return end
  if self.has_tasks and self.task then
    self.box:shutdown()
  else
    self:drop()
  end
end

local ENDING = 0.5 -- seconds that closing waits for the task, which may be in the middle of connecting

-- The task closes the session. When the pool has been closed there shall be none.
local function await_end(self)
  if not is_at_work(self) or self.task.since or self.task.thread == coroutine.running() then return end
  self.ending = {}
  pcall(self.waiter.park, self.ending, now(self) + ENDING) -- outside of its loop nobody can wait
  self.ending = nil
end

--- The pool closes.
---@param err luphant.error
function methods:close(err)
  for member in pairs(self.members) do listener.close(member, err) end
  self.members, self.wanted = {}, {}
  self:wake_joining()
  self:stop()
  await_end(self)
end

--- For db:stats().
function methods:stats()
  local channels, listeners = 0, 0
  for _ in pairs(self.wanted) do channels = channels + 1 end
  for _ in pairs(self.members) do listeners = listeners + 1 end
  return {
    channels = channels, listeners = listeners, sessions = self.sessions, connected = self.box ~= nil,
    backend_pid = self.box and self.box:backend_pid() or nil,
    last_error = not self.box and self.last_error and tostring(self.last_error) or nil,
  }
end

function joining.add(class)
  for name, method in pairs(methods) do class[name] = method end
end

return joining
