-- bulk/clock.lua - one time limit for all that an insert_many asks of the server, piece by piece.
--
-- Each flight gets what is left. One that finds nothing left is not sent; between two portions nobody waits, so this is
-- also where rows that came too slowly are noticed.
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"
local errors = require "luphant.errors"

local clock, methods = {}, {}
local metatable = { __index = methods }

local LEAST = 0.001 -- for the flight that is under way anyhow; a limit of 0 would be none

--- `timeout`: seconds, false for none, nil where each flight has the limit of its connection.
---@param timeout number|false|nil
function clock.new(timeout)
  return setmetatable({ timeout = timeout, at = timeout and core.now() + timeout or nil }, metatable)
end

--- What a flight gets as its `timeout`.
---@return number|false|nil
function methods:left()
  if not self.at then return self.timeout end
  return math.max(self.at - core.now(), LEAST)
end

--- Why nothing more may be sent; nil: it may.
---@return luphant.error|nil
function methods:expired()
  if not self.at or core.now() < self.at then return nil end
  return errors.new("query_timeout",
    ("not all rows were inserted within %g seconds; nothing of them was kept"):format(self.timeout),
    { sent = "yes", connection = "ok" })
end

return clock
