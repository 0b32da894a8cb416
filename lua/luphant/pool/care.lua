-- pool/care.lua - the inner verbs of a pool: giving back, handing over, closing, being told. Taking back: reclaim.lua.
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
local hand_on

local running, status = coroutine.running, compat.thread_status

local SHARED_LOOK = 0.02 -- while draining: how often shared connections are asked for

local FETCH_SECONDS = 0.1 -- how long a slot waits for a waiter who may be on his way

local MAIN = handle.MAIN

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
  self.shared, self.texts = self.new_sharing(self)
  if self.line then self.line:settle() end
  if self.waiter.travel then self.waiter.travel.when_lost(self, self.collect_lost) end
  self:set_lane()
end

-- Whether the core may lend and take back without a word of ours. `swift`: the same for the verbs of the pool, which
-- travel inside of nginx; `reads`: texts that may ride instead.
function methods:set_lane()
  local unwatched = self.direct and not self.closed and not self.waiter.guard
  self.core:lane(unwatched and (not self.has_tasks or self.keeper ~= nil), self.auto)
  self.swift = self.direct and not self.closed and (not self.shared or self.texts ~= nil)
  self.reads = self.swift and self.texts or nil
  local travel = self.swift and self.keeper and self.waiter.travel
  self.core:travels(travel and travel.nginx or nil)
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
end

-- A slot was given to the waiter with this ticket. One who is gone leaves it to the next.
function methods:hand_over(ticket, slot)
  self:forget_borrower(slot)
  hand_on(self, ticket, slot)
end

-- The same for a slot whose borrower has been forgotten.
function hand_on(self, ticket, slot)
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
    if type(what) == "number" then
      hand_on(self, what, slot)
    elseif what ~= nil then
      self:settle(slot, what)
    end
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
  local travels = self.core:traveller(slot)
  self.sessions[slot] = nil
  self:withdraw(slot)
  self:forget_borrower(slot)
  if lent then handle.reclaim(lent) end
  self.core:drop(slot)
  if session then
    -- Closed under somebody who waits for the socket, most loops would never wake him: he closes it himself.
    if session.waiting or travels or (lent and lent.waiting) then session.box:shutdown() else session.box:close() end
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
  self.tokens, self.keeper = {}, nil
  self.core:restart()
  self.shared, self.texts = self.new_sharing(self) -- the old is the parent's; closing it would shut his sockets down
  self:set_lane()
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
  self:set_lane()
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
