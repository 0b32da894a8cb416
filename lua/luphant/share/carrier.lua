-- share/carrier.lua - one shared connection, and how the tasks on it wait.
--
-- Of the tasks whose statements ride on a connection one is the *reader*: it waits for the socket, takes in what
-- has come and wakes those whose answers are there. The others are parked. A reader whose own answer has come passes
-- the reading on to the next and leaves: there is no task in the background, and an idle connection costs nothing.
--
-- Surroundings may kill a reader without a word. So nobody parks for longer than NAP: whoever wakes from one and
-- finds that answers wait for a reader who has had his chance becomes the reader himself. While there is a reader
-- nobody else reads: his own answer would be taken in, and he would go on waiting for it. What a task that is gone
-- (dead, or collected: they are known by weak references) has left is given up, and its statement cancelled.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"
local core = require "luphant.core"
local stopping = require "luphant.share.stopping"

local carrier = {}

local mind_cancel = stopping.mind
local running, status = coroutine.running, compat.thread_status

local NAP = 0.5     -- how long a task parks at most before it looks after the reader
local CHANCE = 0.02 -- what a reader gets once its socket is known to be ready

local MAIN = {} -- stands for the main program, which is no coroutine on LuaJIT and never ends
local BY_WEAK_VALUES = { __mode = "v" }

-- The methods of every core connection are the same: looked up once.
local pump, submit, collect

---@class luphant.share.carrier
---@field conn luphant.connection
---@field box userdata
---@field rides integer  under way, as far as known
---@field depth integer  how many may be, rather than on another one
---@field place integer|nil  among those of the fleet; the first ones are filled first
---@field reader boolean
---@field lost boolean

--- A connection that has been made a shared one.
---@param owner table  the share: waiter, settings, on_room, on_lost
---@param conn luphant.connection
---@return luphant.share.carrier
function carrier.new(owner, conn)
  local box = conn.box
  if not pump then pump, submit, collect = box.pump, box.submit, box.collect end
  local waiter = owner.waiter
  local self
  local function abandoned(token) carrier.abandon(self, token.slot) end
  local tokens = setmetatable({}, { __index = function(list, slot)
    local token = { slot = slot, abandoned = abandoned }
    list[slot] = token
    return token
  end })
  self = {
    owner = owner, conn = conn, box = box, fd = box:fd(), tokens = tokens, tasks = setmetatable({}, BY_WEAK_VALUES),
    news = {}, rides = 0, depth = 1, term = 0, pumps = 0,
    submit = submit, reader = false, want = "r", nap = waiter.now() + NAP, used = waiter.now(), lost = false,
    now = waiter.now, wait = waiter.wait, park = waiter.park, wake = waiter.wake, sleep = waiter.sleep,
    guard = waiter.guard, unguard = waiter.unguard,
  }
  return self
end

---------------------------------------------------------------------------------------------- reading

-- Nobody will come for the answer in this slot.
local function is_gone(self, slot)
  local task = self.tasks[slot]
  return task == nil or (task ~= MAIN and status(task) == "dead")
end

-- Takes in what has come and wakes whom it is for. Answers whether `mine` is among them.
local function take_in(self, mine)
  local list, tokens, wake = self.news, self.tokens, self.wake
  local rides, news, depth, first, stuck, unflushed, swollen = pump(self.box, list)
  local found = false
  self.pumps = self.pumps + 1
  self.rides, self.first, self.want = rides, first, unflushed and "rw" or "r"
  for i = 1, news or 0 do
    local slot = list[i]
    if slot == mine then
      found = true
    elseif not wake(tokens[slot]) and is_gone(self, slot) then
      self.box:leave(slot)
    end
  end
  if depth then self.depth = depth end
  if rides < self.depth and self.place then self.owner:has_room(self) end
  if stuck or self.stuck or self.cancel then
    self.stuck, self.swollen = stuck, swollen
    mind_cancel(self)
  end
  if rides < 0 and not self.lost then
    self.lost, self.rides = true, 0
    self.owner:on_lost(self)
  elseif self.owner.queued > 0 then
    self.owner:on_room(news)
  end
  return found
end
carrier.take_in = take_in

-- The reading goes to whoever waits longest. One that is not parked is about to run, and will see for itself; or it is
-- dead.
local function pass_on(self)
  self.reader = false
  if self.rides == 0 or not self.first or self.wake(self.tokens[self.first]) then return end
  local list, wake = {}, self.wake
  for i = 1, self.box:riders(list) do
    if wake(self.tokens[list[i]]) then return end
  end
end

-- How long the reader waits for its socket. Never for ever: what libpq reads while it cannot get rid of its bytes
-- does not show on the socket any more.
local function patience(self, at, deadline)
  local limit = at + ((self.stuck or self.cancel) and stopping.IMPATIENCE or NAP)
  return deadline and deadline < limit and deadline or limit
end

-- Reads until the answer for `slot` has come, the deadline passed or the session is lost.
local function lead(self, slot, deadline)
  local term, now = self.term + 1, self.now
  self.term, self.reader, self.leader = term, true, slot
  repeat
    local at = now()
    self.nap, self.used = at + NAP, at
    local fd, want = self.fd, self.want
    if self.swollen and self.cancel then fd, want = self.cancel:fd(), "r" end
    local ok, ready = pcall(self.wait, fd, want, patience(self, at, deadline))
    if self.term ~= term then -- taken for dead: somebody else reads
      if not ok then error(ready, 0) end
      return
    end
    if not ok then
      self.box:leave(slot)
      pass_on(self)
      error(ready, 0)
    end
    local mine = take_in(self, slot)
    local over = mine or self.lost or (deadline and now() >= deadline)
  until over
  pass_on(self)
end

-- There is something to read, and nobody has yet.
local function look_after_reader(self)
  local term, pumps = self.term, self.pumps
  -- A reader that is alive was woken with us at the latest, and takes its turn now.
  self.sleep(self.now() + CHANCE)
  if self.term == term and self.pumps == pumps and self.reader then self.reader = false end
end

-- A park has ended by its time: is there still somebody who reads?
local function watch(self, why)
  if why then error(why, 0) end
  if self.now() < self.nap then return end
  if self.reader and carrier.has_news(self) then look_after_reader(self) end
  self.nap = self.now() + NAP
end

--- Waits until the ride has landed and answers what collect answers; or nil, "timeout".
---@param self luphant.share.carrier
---@param slot integer
---@param deadline number|nil
function carrier.await(self, slot, deadline)
  local box, token, unguard = self.box, self.tokens[slot], self.unguard
  self.tasks[slot] = running() or MAIN
  if unguard then self.guard(token) end
  repeat
    if not self.reader then
      lead(self, slot, deadline)
    else
      local limit = self.nap
      if deadline and deadline < limit then limit = deadline end
      local ok, why = self.park(token, limit)
      if not ok then watch(self, why) end
    end
    local result, err, more = collect(box, slot)
    if err ~= "wait" then
      if unguard then unguard(token) end
      return result, err, more
    end
  until deadline and self.now() >= deadline
  if unguard then unguard(token) end
  return nil, "timeout"
end

-- Somebody has left.
local function look_at_head(self)
  if self.lost then return end
  local _
  _, _, self.stuck = self.box:load()
  if self.stuck then mind_cancel(self, true) end
end

--- Gives a ride up. Answers whether its statement may have run.
function carrier.leave(self, slot)
  local begun = self.box:leave(slot)
  look_at_head(self)
  return begun
end

--- Gives up what tasks that are gone have left here.
function carrier.sweep(self)
  for slot in pairs(self.tokens) do
    if is_gone(self, slot) then self.box:leave(slot) end
  end
  if self.reader and is_gone(self, self.leader) then pass_on(self) end
  if not self.reader and self.rides > 0 then -- before it is cancelled: it may have ended
    take_in(self)
    if not self.reader then pass_on(self) end -- who was called to read may have his answer by now
  end
  look_at_head(self)
end

--- The task whose statement this was is gone, and the reader with it if that was him.
function carrier.abandon(self, slot)
  if self.reader and self.leader == slot then pass_on(self) end
  carrier.leave(self, slot)
end

--- Submits a statement; see lshare.c.
function carrier.submit(self, code, sql, ...)
  local slot, what, more = submit(self.box, code, sql, ...)
  if what ~= nil and what ~= "unflushed" then return slot, what, more end
  if what then self.want = "rw" end
  self.owner:board(self)
  return slot
end

--- Has something come that nobody has read yet?
function carrier.has_news(self) return core.poll(self.fd, "r", 0) ~= nil end

--- The session is no good any more. Where somebody waits for its socket the closing is left to him.
function carrier.give_up(self)
  if self.lost then return end
  if self.reader then self.owner:on_sick(self) else take_in(self) end
end

--- Nobody can submit here: makes room if that can be done. Answers whether there is some.
function carrier.make_room(self)
  if self.lost or self.reader then return self.lost end
  local before = self.rides
  take_in(self)
  -- Nothing is under way, and yet every slot is taken: by answers nobody has collected, of tasks that are dead.
  if self.rides == 0 and before == 0 then carrier.close(self) end
  return self.rides < before or self.lost
end

-------------------------------------------------------------------------------------------------- end

--- Makes the connection an ordinary one again, when nothing is under way on it and nobody has an answer left to
--- collect. Answers whether it is one.
function carrier.release(self)
  if not self.reader and (self.rides > 0 or self.stuck or self.cancel) then
    take_in(self)
    if not self.reader then pass_on(self) end
  end
  if self.lost or self.rides > 0 or self.cancel then return false end
  local _, occupied = self.box:load()
  if occupied > 0 then return false end
  return self.box:share_end() and true or false
end

--- Ends the session under whatever rides on it: each gets its error.
function carrier.close(self)
  if self.lost then return end
  if self.reader then
    self.box:shutdown() -- whoever waits for the socket wakes up and does the rest
  else
    self.box:close()
    take_in(self)
  end
end

return carrier
