-- pool/reclaim.lua - connections whose borrower will not give them back: found, told about, taken back.
--
-- A borrower is a coroutine. When it has ended, or nothing refers to it or to what it was lent any more, the connection
-- comes back through the cleaning; one that is merely slow is reported as a leak, with where it was borrowed and where
-- its borrower is now.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"
local handle = require "luphant.pool.handle"
local observing = require "luphant.pool.observing"

local reclaim, methods = {}, {}

local status = compat.thread_status

-- Whose verb runs there; it has no handle.
local function runner_of(self, slot)
  local traveller = self.core:traveller(slot)
  if traveller == nil then return self.owners[slot] end
  return traveller or nil
end

--- Who has the slot; nil: nobody who still exists. A handle knows its borrower, and is forgotten with whatever
--- referred to it.
function methods:owner_of(slot)
  local lent = self.handles[slot]
  if lent then return lent.owner end
  return runner_of(self, slot)
end

-- Has this task borrowed a connection by hand? (One that runs a verb of the pool asks for no other meanwhile.)
function methods:is_holder(task)
  for _, lent in pairs(self.handles) do
    if lent.owner == task then return true end
  end
  return false
end

-- Does somebody hold it who could forget it? Not a verb of the pool, nor the riders of a shared connection.
function methods:is_borrowed(slot)
  local lent = self.handles[slot]
  return lent ~= nil and lent.owner ~= self.riders
end

-- "forgot": nobody can use it any more. "ended": its borrower has, though somebody may have its handle. A verb that
-- runs in one call of the core (`entered`) has no owner to be found.
local function fate_of(self, slot)
  local state, _, _, _, entered = self.core:slot(slot)
  if state ~= "used" or entered then return nil end
  local owner = self:owner_of(slot)
  if owner == nil then return "forgot it" end
  return type(owner) == "thread" and status(owner) == "dead" and "ended" or nil
end

local function take_back(self, slot, fate)
  local lent = self.handles[slot]
  self:withdraw(slot) -- or what passes it on to the next waiter would do so while it is being cleaned
  self.reclaimed = self.reclaimed + 1
  self.emit("reclaimed", ("connection %d was borrowed by %s, which %s without giving it back"):format(
    slot, self:site(slot), fate))
  if lent and lent.waiting then return self:discard(slot) end -- somebody else may be waiting for its answer
  local told = self.settings.observers and observing.releasing(self, slot, "taken back")
  if lent then handle.reclaim(lent) else handle.retire(self.sessions[slot]) end
  self:forget_borrower(slot)
  self.core:tend(slot)
  self:clean(slot)
  if told then observing.released(self, told) end
end

-- The request a connection was lent to has ended, and whatever ran in it has stopped where it was: no verb under way
-- will go on, and nobody waits for an answer.
local function abandoned(guard)
  local self, slot = guard.pool, guard.slot
  local session, lent = self.sessions[slot], self.handles[slot]
  if session ~= guard.session or self.core:slot(slot) ~= "used" then return end
  self:withdraw(slot)
  self.reclaimed = self.reclaimed + 1
  if lent and not (lent.waiting or session.waiting) then
    self.emit("reclaimed", ("connection %d was borrowed by %s, whose request ended without giving it back"):format(
      slot, self:site(slot)))
  end
  session.waiting = false
  if lent then
    lent.waiting = false
    handle.reclaim(lent)
  end
  self:forget_borrower(slot)
  self.core:tend(slot)
  self:clean(slot)
end

--- The same for verbs that the core has under way (ltrip.c).
function methods:collect_lost()
  local slot = self.core:lost()
  while slot do
    self.reclaimed = self.reclaimed + 1
    self:forget_borrower(slot)
    self.core:tend(slot)
    self:clean(slot)
    slot = self.core:lost()
  end
end

--- A slot is lent to the caller: where he may be ended from outside, that will be told. `token`: what he had guarded
--- while he waited for the slot, and may go on with.
function methods:watch_over(slot, token)
  local watch = self.waiter.guard
  if not watch then return end
  if token then
    token.slot, token.session, token.abandoned = slot, self.sessions[slot], abandoned
    self.guards[slot] = token
    return
  end
  local guard = self.guards[slot]
  if not guard then
    guard = { pool = self, slot = slot, abandoned = abandoned, session = false, guard = false }
    self.guards[slot] = guard
  end
  guard.session = self.sessions[slot]
  watch(guard)
end

function methods:unwatch(slot)
  local guard = self.guards[slot]
  if guard then self.waiter.unguard(guard) end
end

-- Connections whose borrower forgot them come back through the cleaning; with `wanted`, because somebody waits for one,
-- also those of borrowers that have ended. Answers whether there were any.
function methods:reclaim_abandoned(wanted)
  local found = false
  for slot = 1, self.core:size() do
    local fate = fate_of(self, slot)
    if fate and (wanted or fate ~= "ended") then
      found = true
      take_back(self, slot, fate)
    end
  end
  return found
end

-- Reports, once per borrowing, what has been lent for longer than leak_timeout. (A verb of the pool that takes long
-- is a slow statement, and comes back by itself.)
function methods:look_for_leaks()
  local limit = self.settings.leak_timeout
  if not limit then return end
  for slot = 1, self.core:size() do
    local state, seconds = self.core:slot(slot)
    if state == "used" and seconds >= limit and self:is_borrowed(slot) and not self.core:told(slot, true) then
      self.leaks = self.leaks + 1
      self.emit("leak", ("connection %d has been lent for %.3g s (leak_timeout %g s) by %s\n%s"):format(
        slot, seconds, limit, self:site(slot), self:whereabouts(slot)))
    end
  end
end

function methods:next_leak_look()
  local limit, soonest = self.settings.leak_timeout, nil
  if not limit then return nil end
  for slot = 1, self.core:size() do
    local state, seconds = self.core:slot(slot)
    if state == "used" and self:is_borrowed(slot) and not self.core:told(slot) then
      soonest = math.min(soonest or limit, limit - seconds)
    end
  end
  return soonest and self.waiter.now() + math.max(soonest, 0.001)
end

-------------------------------------------------------------------------------------------- telling

-- Lines of this library are of no interest to whoever looks for his own.
local function is_ours(source) return source:find("[/\\]luphant[/\\]%w+[/\\]?%w*%.lua$") ~= nil end

local MOST_LEVELS = 40

-- A verb notes nothing when it begins; its task can be asked where it is. The innermost lines are the loop's, then come
-- ours, then those of who called.
local function site_of_verb(task)
  local is_alive, inside = type(task) == "thread" and status(task) ~= "dead", false
  for level = 0, is_alive and MOST_LEVELS or -1 do
    local info = debug.getinfo(task, level, "Sl")
    if not info then break end
    if is_ours(info.short_src) then
      inside = true
    elseif inside and info.currentline > 0 then
      return ("a query verb of the pool at %s:%d"):format(info.short_src, info.currentline)
    end
  end
  return "a query verb of the pool"
end

-- "shop.lua:12 < main.lua:40": where the connection was borrowed.
function methods:site(slot)
  local lent, task = self.handles[slot], runner_of(self, slot)
  if lent and lent.owner == self.riders then return "statements of many tasks (share)" end
  if task ~= nil and not lent then return site_of_verb(task) end
  local frames, words = self.core:site(slot), {}
  for i = 1, #frames, 2 do words[#words + 1] = ("%s:%d"):format(frames[i], frames[i + 1]) end
  return #words > 0 and table.concat(words, " < ") or site_of_verb(nil)
end

-- Where the borrower is now.
function methods:whereabouts(slot)
  local owner = self:owner_of(slot)
  if type(owner) ~= "thread" or status(owner) == "dead" then return "its borrower is not known any more" end
  return (debug.traceback(owner, "the borrower is now at"))
end

function reclaim.add(class)
  for name, method in pairs(methods) do class[name] = method end
end

return reclaim
