-- notify/backoff.lua - how long to rest between two attempts: ever longer, and never all of them at the same time.
--
-- SPDX-License-Identifier: MIT

local backoff = {}

local FIRST, LONGEST = 0.1, 10 -- seconds

local methods = {}
local metatable = { __index = methods }

function backoff.new() return setmetatable({ failures = 0 }, metatable) end

--- The next pause: between the half and the whole of a limit that doubles from FIRST to LONGEST.
---@return number seconds
function methods:next()
  local limit = math.min(FIRST * 2 ^ self.failures, LONGEST)
  self.failures = math.min(self.failures + 1, 30)
  return limit * (0.5 + math.random() / 2)
end

function methods:reset() self.failures = 0 end

local PERMANENT = { config = true, auth = true, auth_method = true, tls_verify = true, invalid_catalog_name = true }

--- Would trying again right away help? Not before somebody has changed something.
---@param err luphant.error
---@return boolean
function backoff.is_permanent(err)
  return PERMANENT[err.kind] or (err.sqlstate or ""):sub(1, 2) == "28"
end

-- Classes of SQLSTATE that say what a server is or understands, not how it is doing.
local REFUSALS = { ["0A"] = true, ["22"] = true, ["25"] = true, ["42"] = true, ["54"] = true }

--- Will a server that answered LISTEN with this answer the same again? A standby does, until it is promoted.
---@param err luphant.error
---@return boolean
function backoff.is_refusal(err)
  return REFUSALS[(err.sqlstate or ""):sub(1, 2)] or false
end

return backoff
