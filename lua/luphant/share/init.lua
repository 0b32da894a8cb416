-- share/init.lua - single statements of many tasks on few connections at the same time.
--
-- Each statement is a transaction of its own, whatever rides beside it: its failure, its deadline and its cancel are
-- nobody else's. What needs a session to itself (transactions, SET, LISTEN, temporary tables, scripts, procedures)
-- never comes on board; a statement that is not known to be harmless runs on a connection of its own, unasked.
--
-- Connections are borrowed from a lender while there is something to do, and given back:
--   lender.acquire(deadline) -> connection | nil, err    on the waiter's clock; nil = the lender's own limit
--   lender.release(connection)                           in order and idle, or closed
--   lender.may_open() -> boolean                         optional: is one idle, being made, or may be?
--   lender.is_due(connection) -> boolean                 optional: is it to be given back once nothing rides on it?
--   lender.apart(sql)                                    optional: this text was not taken, and runs on one of its own
--   lender.waiter, lender.settings                       of those connections
--
-- Here is the way of a statement to which nothing happens. What else may is in share/trip.lua; which connection it
-- takes, in share/fleet.lua; how tasks wait on one connection, in share/carrier.lua.
--
-- SPDX-License-Identifier: MIT

local carrier = require "luphant.share.carrier"
local fleet = require "luphant.share.fleet"
local request = require "luphant.request"
local trip = require "luphant.share.trip"

local share = {}

---@class luphant.share
local methods = {}
local metatable = { __name = "luphant.share", __index = methods }

local await = carrier.await

-- { "select ...", rows =, timeout = }
local function run_request(self, code, value, ...)
  local read = request.read(value)
  local style = read.style or code - code % 16
  local timeout = self.timeout
  if read.has_timeout then timeout = read.timeout end
  local deadline = timeout and self.waiter.now() + timeout
  return trip.depart(trip.new(self, code % 16 + style, read.sql, deadline, read.has_timeout), ...)
end

-- Whatever is not the usual case.
local function go_on(self, code, deadline, one, slot, what, more, sql, ...)
  if what == "request" or type(sql) ~= "string" then return run_request(self, code, sql, ...) end
  local this = trip.new(self, code, sql, deadline)
  if not one then return trip.depart(this, ...) end
  if what == "timeout" then return trip.expire(this, one, slot) end
  return trip.answered(this, one, slot, what, more, ...)
end

--- Runs one statement. `code` is a verb's number and its style of rows, as in luphant.connection.
---@param code integer
---@param sql string|table
---@param ... any
---@return any
---@return luphant.error|nil
function methods:run(code, sql, ...)
  local boats, timeout, check = self.fleet, self.timeout, self.check
  local one = boats.best
  if check then check() end -- before it is sent: who cannot wait must not have begun anything
  local deadline = timeout and self.waiter.now() + timeout
  if not one or boats.queued > 0 then -- nobody overtakes those who wait for room
    return go_on(self, code, deadline, nil, nil, nil, nil, sql, ...)
  end
  local slot, what, more = one.submit(one.box, code, sql, ...)
  if what ~= nil then
    if what ~= "unflushed" then return go_on(self, code, deadline, one, slot, what, more, sql, ...) end
    one.want = "rw"
  end
  -- See fleet.board; a call would be a tenth of what all of this costs.
  local rides = one.rides + 1
  one.rides = rides
  if rides >= one.depth then boats:move_on(one) end
  local result, err
  result, err, more = await(one, slot, deadline)
  if err == nil and more == nil then
    if one.leaving then boats:see_off() end
    return result
  end
  if err == "timeout" and result == nil then result = slot end
  return go_on(self, code, deadline, one, result, err, more, sql, ...)
end

--- Gives connections back on which nothing is under way, and nothing was for so many seconds (0).
---@param seconds? number
---@return integer  how many
function methods:shrink(seconds)
  return self.fleet:shrink(seconds or 0)
end

--- Ends sharing at once: what is under way fails, every connection is given back.
function methods:close()
  self.fleet:close()
end

--- { connections =, rides =, waiting = }
function methods:stats()
  local rides = 0
  for _, one in ipairs(self.fleet.carriers) do rides = rides + (one.box:load()) end
  return { connections = #self.fleet.carriers, rides = rides, waiting = self.fleet.queued }
end

--- The connections on which nothing is under way, as a set, and how many.
---@return table<luphant.connection, true>
---@return integer
function methods:resting()
  local set, count = {}, 0
  for _, one in ipairs(self.fleet.carriers) do
    if (one.box:load()) == 0 then
      set[one.conn], count = true, count + 1
    end
  end
  return set, count
end

--- `options.connections`: how many are borrowed at most (4). `options.choosy`: statements that took long the last
--- times, or whose result was long, run on a connection of their own the next time; `lender.apart(sql)` is told.
---@param lender { acquire: function, release: function, waiter: luphant.waiter, settings: table, apart: function? }
---@param options? { connections?: integer, choosy?: boolean }
---@return luphant.share
function share.new(lender, options)
  return setmetatable({
    lender = lender, waiter = lender.waiter, timeout = lender.settings.timeout, check = lender.waiter.check,
    fleet = fleet.new(lender, options and options.connections or 4, options ~= nil and options.choosy == true),
  }, metatable)
end

return share
