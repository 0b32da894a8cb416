-- deadline.lua - seconds become a deadline once, at the public border; below it only deadlines travel.
--
-- A deadline is a point on a monotonic clock, nil is "no limit". The clock comes in from outside
-- (the waiter's now()), so that tests own the time. This file never waits.
--
-- SPDX-License-Identifier: MIT

local deadline = {}

local huge = math.huge

--- The earlier of two deadlines, either of which may be nil.
---@param a number|nil
---@param b number|nil
---@return number|nil
function deadline.sooner(a, b)
  if a and b then return a < b and a or b end
  return a or b
end

--- Deadlines of one clock.
---@param now fun(): number  monotonic seconds
---@return luphant.deadline.clock
function deadline.clock(now)
  ---@class luphant.deadline.clock
  local clock = { now = now }

  --- The deadline `seconds` from now. nil and infinity give none; zero or less is past at once.
  ---@param seconds number|nil
  ---@return number|nil
  function clock.after(seconds)
    if seconds == nil or seconds == huge then return nil end
    return now() + seconds
  end

  --- Seconds left, never negative; nil when there is no limit.
  ---@param at number|nil
  ---@return number|nil
  function clock.left(at)
    if at == nil then return nil end
    local seconds = at - now()
    return seconds > 0 and seconds or 0
  end

  ---@param at number|nil
  ---@return boolean
  function clock.is_past(at)
    return at ~= nil and now() >= at
  end

  return clock
end

return deadline
