-- share/trip.lua - the whole way of one statement on a shared connection, whatever comes in between.
--
-- Most statements never get here: they ride, arrive and are done (share/init.lua). The others were not described yet,
-- met a slow statement, a full connection or a lost one, were hit by a cancel request that was meant for their
-- neighbour, or cannot ride at all.
--
-- SPDX-License-Identifier: MIT

local carrier = require "luphant.share.carrier"
local connection = require "luphant.connection"
local core = require "luphant.core"
local deadlines = require "luphant.deadline"
local errors = require "luphant.errors"
local types = require "luphant.types"

local trip = {}

local PENDING = core.PENDING
local QUERY = 0
local AGAIN, PATIENT = 64, 128 -- flags of submit, see lshare.c

local TRIES = 3   -- on how many connections a statement that never left is tried
local HITS = 3    -- how often a statement may be hit by cancel requests for others before it travels alone
local SLOW = 0.02 -- how long to wait for a connection rather than queue behind a slow statement, at first
local LONGEST = 0.25 -- and at a time, while one is being made

---@class luphant.share.trip
---@field code integer
---@field sql string
---@field deadline number|nil
---@field limited boolean  the call gave a time limit of its own, or said that there is none

------------------------------------------------------------------------------------------------- home

-- Who has left it may have been the last.
local function get_off(self, one)
  if one and one.leaving then self.share.fleet:see_off() end
end

local function finish(self, one, result, err, more)
  if more == "notices" then connection.deliver_notices(one.conn) end
  get_off(self, one)
  if err == nil then return result end -- one value, as from the shortest way
  if err.query == nil then err.query = self.sql end
  return nil, err
end

local function timed_out(begun)
  return errors.new("query_timeout", begun
    and "the statement ran longer than its time limit on a shared connection; it is being cancelled"
    or "the time limit passed before the statement was sent", {
      sent = begun and "maybe" or "no", hint = begun and "Whether it took effect is not known." or nil,
    })
end

------------------------------------------------------------------------------------------------ alone

local function given_back(lender, conn, ok, ...)
  lender.release(conn)
  if not ok then error((...), 0) end
  return ...
end

-- Its connection was dead before anything was sent: may it be tried on another one?
local function never_left(self, err)
  return err.kind == "closed" and err.sent == "no" and self.tries < TRIES
end

-- On a connection of its own, like any statement. Whoever watches statements knows of it from the pool.
local run_alone
function run_alone(self, conn, ...)
  local lender = self.share.lender
  if not conn then
    local err
    conn, err = lender.acquire(self.deadline)
    if not conn then return finish(self, nil, nil, err) end
  end
  if self.limited or self.deadline then
    local left = self.deadline and self.deadline - lender.waiter.now()
    conn.box:set_timeout(left and math.max(left, 0.000001))
  end
  local result, err = given_back(lender, conn, pcall(connection.run, conn, self.code + connection.SEEN, self.sql, ...))
  if err == nil then return result end
  if not never_left(self, err) then return nil, err end
  self.tries = self.tries + 1
  return run_alone(self, nil, ...)
end

------------------------------------------------------------------------------------------- on the way

local answered

local function under_way(self, one, slot, ...)
  local result, what, more = carrier.await(one, slot, self.deadline)
  if what == "timeout" and result == nil then
    return finish(self, one, nil, timed_out(carrier.leave(one, slot)))
  end
  return answered(self, one, result, what, more, ...)
end

local function submitted(self, one, slot, what, more, ...)
  if what == nil then return under_way(self, one, slot, ...) end
  return answered(self, one, slot, what, more, ...)
end

-- From the beginning, or once more. Where only some statements ride nobody waits for it.
local function depart(self, ...)
  local fleet = self.share.fleet
  if fleet.choosy and (not fleet.best or fleet.queued > 0) then return run_alone(self, nil, ...) end
  local one, why = fleet:find(self.deadline, self.full)
  self.full = false
  if not one then
    return finish(self, nil, nil, why == "timeout" and timed_out(false) or why)
  end
  local slot, what, more = carrier.submit(one, self.code + self.flags, self.sql, ...)
  return submitted(self, one, slot, what, more, ...)
end

-- On board of the first connection that takes it now. Answers that one, and what submit answered.
local function board_any(self, ...)
  for _, one in ipairs(self.share.fleet.carriers) do
    local slot, what, more = carrier.submit(one, self.code + self.flags, self.sql, ...)
    if what ~= "slow" and what ~= "full" then return one, slot, what, more end
  end
end

local function is_late(self) return self.deadline and self.share.waiter.now() >= self.deadline end

-- The statement that runs on `one` is slow: onto another connection, or one of its own; behind it only when there is
-- none, and none will be in a moment.
local function avoid(self, one, ...)
  local fleet, lender = self.share.fleet, self.share.lender
  if not one.stuck and carrier.has_news(one) then -- it is this program that is late, not the server
    local slot, what, more = carrier.submit(one, self.code + self.flags % PATIENT + PATIENT, self.sql, ...)
    return submitted(self, one, slot, what, more, ...)
  end
  local seconds, conn = SLOW
  repeat
    local other, slot, what, more = board_any(self, ...)
    if other then return submitted(self, other, slot, what, more, ...) end
    conn = lender.acquire(deadlines.sooner(self.deadline, lender.waiter.now() + seconds))
    seconds = math.min(seconds * 2, LONGEST)
  until conn or is_late(self) or not (lender.may_open and lender.may_open())
  if not conn and is_late(self) then return finish(self, nil, nil, timed_out(false)) end
  if conn and not fleet:may_grow() then return run_alone(self, conn, ...) end
  if not (conn and fleet:add(conn)) then self.flags = self.flags % PATIENT + PATIENT end
  return depart(self, ...)
end

-- What can be done about an answer that is no result: true, it is submitted again; "here", on the same connection,
-- which knows it now; "alone"; nil, the answer stands.
local function reconsider(self, one, what)
  if what == "again" then
    self.flags = AGAIN
    return not one.lost and "here" or true
  elseif what == "full" then
    self.full = not carrier.make_room(one)
    self.flags = self.flags % PATIENT -- in the meantime there may be a connection with less on it
  elseif what == "types" then
    local ok, err = types.load(one.box, one.conn.types, function(...) return self.share:run(QUERY, ...) end)
    if not ok then return nil, err end
    self.flags = AGAIN
  else
    return "alone"
  end
  return true
end

-- The same for an error. Each of these proves that the statement left no trace.
local function recover(self, one, err, more)
  if more == "stale" and not self.stale then
    self.stale = true
    return true
  elseif more == "hit" then
    self.hits = self.hits + 1
    return self.hits <= HITS or "alone"
  elseif never_left(self, err) then
    self.tries = self.tries + 1
    carrier.give_up(one) -- it is nobody's choice any more
    return true
  elseif err.kind == "forked" then
    return "alone" -- the lender makes everything anew when it is asked for a connection
  end
end

function answered(self, one, result, what, more, ...)
  if what == nil or more == "notices" then return finish(self, one, result, nil, more) end
  if result == PENDING and (what == "slow" or what == "full") and self.share.fleet.choosy then
    get_off(self, one)
    return run_alone(self, nil, ...)
  end
  if result == PENDING and what == "slow" then return avoid(self, one, ...) end
  local go_on, err
  if result == PENDING then
    go_on, err = reconsider(self, one, what)
  else
    go_on = recover(self, one, what, more)
  end
  if go_on ~= "here" then get_off(self, one) end
  if go_on == "alone" then
    local apart = self.share.lender.apart
    if apart then apart(self.sql) end
    return run_alone(self, nil, ...)
  end
  if go_on == "here" then
    result, what, more = carrier.submit(one, self.code + self.flags, self.sql, ...)
    return submitted(self, one, result, what, more, ...)
  end
  if go_on then return depart(self, ...) end
  return finish(self, one, nil, err or what)
end

------------------------------------------------------------------------------------------------ begin

--- A statement that is about to travel.
---@param share luphant.share
---@param code integer
---@param sql string
---@param deadline number|nil
---@param limited boolean|nil
---@return luphant.share.trip
function trip.new(share, code, sql, deadline, limited)
  return {
    share = share, code = code, sql = sql, deadline = deadline, limited = limited, flags = 0, tries = 0, hits = 0,
  }
end

trip.depart = depart     -- (trip, ...): from the beginning
trip.answered = answered -- (trip, carrier, result, what, more, ...): submit or collect answered that
trip.expire = function(self, one, slot) return finish(self, one, nil, timed_out(carrier.leave(one, slot))) end

return trip
