-- pool/care.lua - the inner verbs of a pool: giving back, handing over, taking back, closing, being told.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"
local core = require "luphant.core"
local errors = require "luphant.errors"
local grow = require "luphant.pool.grow"
local handle = require "luphant.pool.handle"
local keep = require "luphant.pool.keep"
local observing = require "luphant.pool.observing"
local report = require "luphant.pool.report"
local reset = require "luphant.pool.reset"
local wait = require "luphant.wait"

local care, methods = {}, {}

local running, status = coroutine.running, compat.thread_status

local SHARED_LOOK = 0.02 -- while draining: how often shared connections are asked for

local FETCH_SECONDS = 0.1 -- how long a slot waits for a waiter who may be on his way

local MAIN = {} -- LuaJIT's main program is no coroutine; it never ends before the pool does

--- Who is running now, as something that can be compared and dies with it.
function care.current_task()
  local thread, is_main = running()
  if thread == nil or is_main then return MAIN end
  return thread
end

local function to_log(waiter, event, text)
  if waiter.warn then return waiter.warn(event .. ": " .. text) end
  io.stderr:write("luphant: ", event, ": ", text, "\n")
end

--- The function that tells what nobody waits for: to `on_warning`, else to the log of the surroundings, or the standard
--- error.
---@param self luphant.pool
function care.emitter(self)
  local hook = self.settings.on_warning
  return function(event, detail, where)
    local text = (where and where .. ": " or "") .. tostring(detail)
    if hook then
      pcall(hook, { event = event, message = text, detail = detail, where = where })
    elseif event ~= "connect_failed" then -- those who wait for the connection are told
      to_log(self.waiter, event, text)
    end
  end
end

---------------------------------------------------------------------------------------- tasks and clocks

-- Runs fn as a task of its own; false where there is no such thing.
function methods:spawn(fn)
  local spawn = self.waiter.spawn
  if not spawn then return false end
  return spawn(function()
    local ok, err = pcall(fn)
    if not ok then self.emit("task_failed", err) end
  end) and true or false
end

-- The core counts on core.now(), a waiter may have another clock.
function methods:on_waiters_clock(at)
  if not at or self.waiter.now == core.now then return at end
  return self.waiter.now() + (at - core.now())
end

function methods:on_core_clock(at)
  if not at or self.waiter.now == core.now then return at end
  return core.now() + (at - self.waiter.now())
end

-- A pool that was opened before the event loop ran changes over to it; connections from before are replaced.
-- (It stays there: outside of its loop nothing of it can wait, which the waiter says.)
function methods:choose_waiter()
  if wait.running() == self.waiter.name then return end
  local chosen = wait.choose(nil)
  self.waiter, self.plan.waiter = chosen, chosen
  if chosen.name ~= "poll" then self.auto = false end
  self:settle_in()
  self.core:refresh() -- what is lent goes when it comes back
  self:close_idle()
end

-- Where tasks can be started a keeper looks after the pool, else whoever gives back looks now and then.
function methods:settle_in()
  self.next_look = 0 -- on another waiter's clock from now on
  self.has_tasks = self.waiter.spawn ~= nil
  self.core:glance(not self.has_tasks and keep.TICK or nil)
  if self.shared then self.shared:close() end
  self.shared = self.new_sharing(self)
  if self.line then self.line:settle() end
end

-- Lets the one who parked with this ticket go on. false: there is nobody any more. "perhaps": nobody is parked, either
-- because his time was up and he is about to look, or because his surroundings have dropped him.
function methods:wake(ticket)
  local token = self.tokens[ticket]
  if not token then return false end
  if not token.parked then return true end -- awake already, or about to look
  if self.waiter.wake(token) then
    token.parked = false
    return true
  end
  if self.waiter.is_exact then return false end
  local task = self.waiting_tasks[ticket]
  return task ~= nil and (task == MAIN or status(task) ~= "dead") and "perhaps"
end

------------------------------------------------------------------------------------------- coming back

-- Taken away from a waiter it was handed to and who has not come for it: he is gone, or stands in line again.
function methods:withdraw(slot)
  local ticket = self.core:promised(slot)
  if not ticket then return end
  self.tokens[ticket], self.waiting_tasks[ticket] = nil, nil
  self.core:leave(ticket)
end

function methods:forget_borrower(slot)
  self.owners[slot], self.handles[slot] = nil, nil
  self:unwatch(slot)
  if self.told[slot] then self.told[slot] = nil end
end

-- A slot was given to the waiter with this ticket. One who is gone leaves it to the next.
function methods:hand_over(ticket, slot)
  self:forget_borrower(slot)
  self.owners[slot] = self.waiting_tasks[ticket]
  local answer = self:wake(ticket)
  if answer == false then return self:pass_on(ticket, slot) end
  if answer == true then return end
  local token = self.tokens[ticket]
  self:spawn(function()
    self.waiter.sleep(self.waiter.now() + FETCH_SECONDS)
    if self.tokens[ticket] == token and self.core:served(ticket) == slot then self:pass_on(ticket, slot) end
  end)
end

-- The one with this ticket does not come: the slot goes to the next.
function methods:pass_on(ticket, slot)
  self.tokens[ticket], self.waiting_tasks[ticket] = nil, nil
  self.core:leave(ticket)
  self:settle(slot, self.core:give(slot))
end

-- Goes on with what core:give said.
function methods:settle(slot, what)
  if what == nil then return end
  if type(what) == "number" then return self:hand_over(what, slot) end
  if what == "clean" then return self:clean(slot) end
  if what == "glance" then return keep.glance(self) end
  self:discard(slot)
end

-- In the background where possible: the borrower has nothing to wait for.
function methods:clean(slot)
  local function work() keep.clean(self, slot, reset.session) end
  if not self:spawn(work) then work() end
end

-- A borrower is through with a lent slot.
function methods:give_back(slot)
  local told = self.settings.observers and observing.releasing(self, slot, "given back")
  self:forget_borrower(slot)
  if not self.tidies then
    local what = self.core:give(slot)
    if what ~= nil then self:settle(slot, what) end
  else
    self.core:tend(slot)
    self:clean(slot)
  end
  if self.closed then
    self:note_return()
  elseif self.has_tasks and not self.keeper then
    keep.start(self)
  end
  if told then observing.released(self, told) end
end

-- Something is missing that nobody waits for: the keeper shall not sleep on.
function methods:rouse()
  if self.has_tasks and not self.closed then keep.rouse(self) end
end

-- Ends the session of a slot, whatever it is doing. Somebody else may get a new one. With `session`: unless it has
-- gone already, while a hook or an answer was waited for, and the slot may be another's.
local function discard(self, slot, session)
  if session and self.sessions[slot] ~= session then return end
  local lent = self.handles[slot]
  session = self.sessions[slot]
  self.sessions[slot] = nil
  self:withdraw(slot)
  self:forget_borrower(slot)
  if lent then handle.reclaim(lent) end
  self.core:drop(slot)
  if session then
    -- Closed under somebody who waits for the socket, most loops would never wake him: he closes it himself.
    if session.waiting or (lent and lent.waiting) then session.box:shutdown() else session.box:close() end
  end
  if self.closed then return self:note_return() end
  if self.core:waiting() > 0 then return grow.more(self) end
  local counts = self.core:counts()
  if counts.total < counts.min then self:rouse() end
end

function methods:discard(slot, session)
  local told = self.settings.observers and observing.releasing(self, slot, "closed")
  discard(self, slot, session)
  if told then observing.released(self, told) end
end

------------------------------------------------------------------------------------------- taking back

--- Who has the slot; nil: nobody who still exists. A handle knows its borrower, and is forgotten with whatever
--- referred to it; a verb under way has no handle.
function methods:owner_of(slot)
  local lent = self.handles[slot]
  if lent then return lent.owner end
  return self.owners[slot]
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
  if lent then handle.reclaim(lent) end
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

--- A slot is lent to the caller: where he may be ended from outside, that will be told.
function methods:watch_over(slot)
  local watch = self.waiter.guard
  if not watch then return end
  local guard = self.guards[slot]
  if not guard then
    guard = { pool = self, slot = slot, abandoned = abandoned }
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
    if state == "used" and seconds >= limit and self:is_borrowed(slot) and not self.told[slot] then
      self.told[slot] = true
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
    if state == "used" and self:is_borrowed(slot) and not self.told[slot] then
      soonest = math.min(soonest or limit, limit - seconds)
    end
  end
  return soonest and self.waiter.now() + math.max(soonest, 0.001)
end

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
  local lent, task = self.handles[slot], self.owners[slot]
  if lent and lent.owner == self.riders then return "statements of many tasks (share)" end
  if task ~= nil and not lent then return site_of_verb(task) end
  local frames, words, i = self.core:site(slot) or {}, {}, 1
  while frames[i + 1] do
    if not is_ours(frames[i]) then words[#words + 1] = ("%s:%d"):format(frames[i], frames[i + 1]) end
    i = i + 2
  end
  return #words > 0 and table.concat(words, " < ") or site_of_verb(nil)
end

-- Where the borrower is now.
function methods:whereabouts(slot)
  local owner = self:owner_of(slot)
  if type(owner) ~= "thread" or status(owner) == "dead" then return "its borrower is not known any more" end
  return (debug.traceback(owner, "the borrower is now at"))
end

------------------------------------------------------------------------------------------------- closing

function methods:note_return()
  local closing = self.closing
  if closing and self.core:counts().total == 0 then self.waiter.wake(closing) end
end

-- A forked child: the parent's sessions are none of ours. Boxes that are dropped close their descriptors only.
function methods:restart()
  for slot, session in pairs(self.sessions) do
    session.box:close()
    self.sessions[slot] = nil
  end
  for slot, lent in pairs(self.handles) do
    handle.reclaim(lent)
    self.handles[slot] = nil
  end
  self.tokens, self.told, self.keeper = {}, {}, nil
  self.core:restart()
end

function methods:close_idle()
  for slot = 1, self.core:size() do
    if self.core:slot(slot) == "idle" then
      self.core:tend(slot)
      self:discard(slot)
    end
  end
end

-- Waits until what is lent has come back. True when all did.
local function drain(self, at)
  self.closing = {}
  while self.core:counts().total > 0 and self.waiter.now() < at do
    if self.shared then self.shared:shrink() end
    -- Outside of its event loop nobody can wait, and nothing comes back any more.
    local next_look = self.shared and math.min(at, self.waiter.now() + SHARED_LOOK) or at
    local ok, woken, alone = pcall(self.waiter.park, self.closing, next_look)
    if not ok or (not woken and alone) then break end
  end
  return self.core:counts().total == 0
end

-- db:close
function care.close(self, timeout)
  if self.closed then return true end
  self.closed = true
  self.core:close()
  grow.tell_waiters(self, report.closed())
  if self.line then self.line:close(report.closed()) end
  self:close_idle()
  local drained = drain(self, self.waiter.now() + (timeout or 10))
  if self.shared then self.shared:close() end
  local left = report.holders(self)
  for slot = 1, self.core:size() do
    if self.core:slot(slot) and self.core:slot(slot) ~= "connecting" then self:discard(slot) end
  end
  if self.keeper then self.waiter.wake(self.keeper) end
  if drained or #left == 0 then return true end
  local lines = {}
  for i, holder in ipairs(left) do lines[i] = holder.line end
  return nil, errors.new("pool_closed", ("%d connection%s had not been given back and %s closed under %s borrower%s")
    :format(#left, #left == 1 and "" or "s", #left == 1 and "was" or "were", #left == 1 and "its" or "their",
      #left == 1 and "" or "s"), { detail = table.concat(lines, "\n") })
end

function care.add(class)
  for name, method in pairs(methods) do class[name] = method end
end

return care
