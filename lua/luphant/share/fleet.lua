-- share/fleet.lua - the shared connections together: borrowing them, choosing one, waiting for room.
--
-- A task that finds none borrows one itself; the others wait in a queue. Once there is one, more are fetched by a task
-- of their own (where the waiter can start one) while statements ride on those that are there.
--
-- SPDX-License-Identifier: MIT

local carrier = require "luphant.share.carrier"
local compat = require "luphant.compat"
local errors = require "luphant.errors"
local order = require "luphant.share.order"

local fleet = {}

local TRIES = 3        -- how often a connection that turns out to be lost is replaced
local GROWTH_PAUSE = 1 -- after the lender had nothing to lend
local NAP = 0.5        -- whoever waits in the queue looks for himself that often
local PATIENCE = 0.1   -- with a connection that is to be given back, before another one is

---@class luphant.share.fleet
---@field carriers luphant.share.carrier[]
---@field best luphant.share.carrier|nil  where the next one goes on board
---@field queued integer  tasks that wait for a connection, or for room on one
local methods = {}
local metatable = { __index = methods }

order.add(methods)

--------------------------------------------------------------------------------------------- the queue

local function enqueue(self, entry)
  self.last = self.last + 1
  self.queue[self.last] = entry
  self.queued = self.queued + 1
end

--- Lets so many of the queue go on, first come, first served; with `err`: home.
---@param count integer
---@param err? luphant.error
function methods:admit(count, err)
  while count > 0 and self.queued > 0 do
    local entry = self.queue[self.first]
    self.queue[self.first] = nil
    self.first = self.first + 1
    if entry then -- false: it has left
      self.queued = self.queued - 1
      entry.called, entry.err = true, err
      if self.waiter.wake(entry) then count = count - 1 end
    end
  end
end

local function leave_queue(self, entry)
  for i = self.first, self.last do
    if self.queue[i] == entry then
      self.queue[i] = false
      self.queued = self.queued - 1
      return
    end
  end
end

-- Answers true when it is our turn, or worth another look; or nil and why not.
local function wait_for_room(self, deadline)
  local entry, now = {}, self.waiter.now
  enqueue(self, entry)
  local limit = now() + NAP
  if deadline and deadline < limit then limit = deadline end
  local _, why = self.waiter.park(entry, limit)
  if not entry.called then leave_queue(self, entry) end
  if entry.err then return nil, entry.err end
  if why then return nil, errors.new("busy", why) end
  if deadline and now() >= deadline then return nil, "timeout" end
  return true
end

------------------------------------------------------------------------------------------ connections

local function remove(self, gone)
  for i, one in ipairs(self.carriers) do
    if one == gone then
      table.remove(self.carriers, i)
      gone.place = nil
      return order.arrange(self)
    end
  end
end

--- For the carrier: its session is lost, and all of its riders know.
function methods:on_lost(lost)
  remove(self, lost)
  self.sick[lost] = nil
  self.lender.release(lost.conn)
  self:admit(1)
end

--- For the carrier: so many rides have landed.
function methods:on_room(count) self:admit(count) end

--- For the carrier: it is of no use any more (the server does not even obey a cancel request). Nobody new comes on
--- board; who is there may wait.
function methods:on_sick(one)
  if one.sick then return end
  one.sick, self.sick[one] = true, true
  remove(self, one)
end

--- Makes a connection that has just been borrowed a shared one.
---@return luphant.share.carrier|nil
---@return luphant.error|nil
function methods:add(conn)
  local ok, err = conn.box:share_begin(self.choosy)
  if ok then
    local one = carrier.new(self, conn)
    self.carriers[#self.carriers + 1] = one
    order.arrange(self)
    return one
  end
  self.lender.release(conn)
  return nil, err
end

-- Dead tasks acquire nothing: what they had begun does not count.
local function count_pending(self)
  local n = 0
  for task in pairs(self.pending) do
    if compat.thread_status(task) == "dead" then self.pending[task] = nil else n = n + 1 end
  end
  return n
end

--- May one more connection be borrowed for sharing?
---@return boolean
function methods:may_grow()
  return not self.closed and #self.carriers + count_pending(self) < self.limit
end

local function borrowed(self, task, ok, conn, err)
  self.pending[task] = nil
  if not ok then error(conn, 0) end
  if not conn then return nil, err end
  if not self.closed then return self:add(conn) end
  self.lender.release(conn)
  return nil, errors.new("closed", "the shared connections have been closed")
end

-- Stands for the program itself where nobody is in a coroutine; never resumed, so never dead.
local MAIN = compat.endless_task()

local function borrow(self, deadline)
  local task = coroutine.running() or MAIN
  self.pending[task] = true
  return borrowed(self, task, pcall(self.lender.acquire, deadline))
end

--- Every connection is busy: one more, if somebody else can go and get it.
function methods:grow()
  local waiter = self.waiter
  if not waiter.spawn then return end
  local now = waiter.now()
  if now < self.grow_after or not self:may_grow() then return end
  self.grow_after = now + GROWTH_PAUSE -- one at a time
  waiter.spawn(function()
    local ok, one = pcall(borrow, self)
    if ok and one then
      self.grow_after = 0
      self:admit(self.queued)
    end
  end)
end

-- Borrows one for this task, and tells those who wait how it went.
local function borrow_for_all(self, deadline)
  local one, err = borrow(self, deadline)
  self:admit(self.queued, not one and #self.carriers == 0 and err or nil)
  return one, err
end

--- A connection to ride on; waits for one. `full`: those that are there have no room.
---@param deadline number|nil
---@param full boolean
---@return luphant.share.carrier|nil
---@return luphant.error|"timeout"|nil
function methods:find(deadline, full)
  local tries = 0
  while not self.closed do
    local one = not full and self.best
    if one then return one end
    local err
    if self:may_grow() then
      one, err = borrow_for_all(self, deadline)
      tries = tries + 1
      if one or err.sent ~= "no" or err.kind ~= "closed" or tries == TRIES then return one, err end
    else
      local ok
      ok, err = wait_for_room(self, deadline)
      if not ok then return nil, err end
    end
    full = false
  end
  return nil, errors.new("closed", "the shared connections have been closed")
end

---------------------------------------------------------------------------------------------- the end

-- Nobody new comes on board of what its lender wants back: it is given back when the last rider has left. Only where
-- there is another way for those who come later, which is that of choosy ones.
local function set_aside(self, one)
  one.leaving, self.sick[one] = self.waiter.now(), true
  remove(self, one)
end

local function give_back(self, one)
  remove(self, one)
  self.sick[one] = nil
  self.lender.release(one.conn)
end

-- Of no use: the session is gone, or nobody waits for what it is still doing.
local function is_finished(one)
  if one.lost then return false end -- its riders are just being told
  if one.box:state() == "closed" then return true end
  return one.box:riders {} == 0 and not (one.leaving and (one.box:load()) == 0)
end

--- Those nobody comes on board of any more go when they can.
function methods:see_off()
  for one in pairs(self.sick) do
    carrier.sweep(one)
    if one.leaving and carrier.release(one) then
      give_back(self, one)
    elseif is_finished(one) then
      carrier.close(one)
    end
  end
end

--- Gives connections back on which nothing is under way, and nothing was for so many seconds; choosy ones that the
--- lender wants back as soon as nothing is.
---@param seconds number
---@return integer  how many
function methods:shrink(seconds)
  local before, count = self.waiter.now() - seconds, 0
  -- One after the other: the others go on meanwhile.
  local is_due = self.choosy and next(self.sick) == nil and self.lender.is_due
  for i = #self.carriers, 1, -1 do
    local one = self.carriers[i]
    carrier.sweep(one)
    if one.used <= before and carrier.release(one) then
      give_back(self, one)
      count = count + 1
    elseif is_due and one.place and is_due(one.conn) then
      set_aside(self, one)
      is_due = nil
    end
  end
  self:see_off()
  return count
end

--- How many connections at most from now on. Those there are stay until somebody needs them.
---@param limit integer
function methods:resize(limit)
  self.limit = limit
  order.arrange(self)
end

-- One is on its way, and it does not take long.
local function is_leaving(self)
  for one in pairs(self.sick) do
    if one.leaving and self.waiter.now() - one.leaving < PATIENCE then return true end
  end
  return false
end

--- Somebody has waited for a connection for a while: one comes back; of choosy ones, if need be after its last rider.
function methods:spare()
  if self:shrink(0) > 0 or not self.choosy or is_leaving(self) then return end
  if self.pending[coroutine.running() or MAIN] then return end -- he wants one more of them
  local chosen = self.carriers[#self.carriers]
  for _, one in ipairs(self.carriers) do -- behind a slow statement it would not come back soon
    if one.used > chosen.used then chosen = one end
  end
  if chosen then set_aside(self, chosen) end
end

--- Ends sharing at once: what is under way fails, every connection is given back.
function methods:close()
  self.closed = true
  self:shrink(0)
  local all = {}
  for _, one in ipairs(self.carriers) do all[#all + 1] = one end
  for one in pairs(self.sick) do all[#all + 1] = one end
  for _, one in ipairs(all) do carrier.close(one) end
  self:admit(self.queued)
end

---@param lender table  see luphant.share
---@param limit integer  how many connections at most
---@param choosy boolean
---@return luphant.share.fleet
function fleet.new(lender, limit, choosy)
  return setmetatable({
    lender = lender, waiter = lender.waiter, settings = lender.settings, limit = limit, choosy = choosy, carriers = {},
    sick = {},
    pending = setmetatable({}, { __mode = "k" }), grow_after = 0, short = true,
    queue = {}, first = 1, last = 0, queued = 0,
  }, metatable)
end

return fleet
