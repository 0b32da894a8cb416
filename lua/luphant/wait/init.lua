-- wait/init.lua - the waiter contract, and the choice of a waiter.
--
-- The core never waits. It says which socket it needs and in which direction; a *waiter* suspends
-- whoever asked until that is possible. A waiter is a table with a `name` and five functions, called
-- without self. Times are seconds on the waiter's own clock; a deadline is a point on that clock,
-- nil is "no limit".
--
--   now()                       monotonic time; only differences mean anything
--   wait(fd, events, deadline)  suspends the caller, and only the caller where others can run, until
--                               `fd` is ready for "r", "w" or "rw". Answers the events that are ready
--                               (a failed descriptor is ready: the next read says why), or nil once
--                               the deadline is past. A timeout is no error: never raises for it.
--                               A deadline in the past still looks once. Nothing may be remembered
--                               about `fd`: it can be closed and its number reused before the next call.
--   sleep(deadline)             the same without a descriptor; the deadline is required
--   park(token, deadline)       suspends the caller until someone calls wake(token). Answers true, or
--                               nil when the deadline is past, or nil and a reason at once when
--                               nobody else could ever call wake.
--   wake(token)                 lets the one who parked with this token go on (not before the caller
--                               has given way). Answers whether someone was parked with it.
--
-- A token is any Lua value; one caller per token. If the surroundings kill a suspended caller, the
-- waiter forgets its descriptor and token. Suites under spec/contract hold every waiter to this.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"

local wait = {}

---@class luphant.waiter
---@field name string
---@field now fun(): number
---@field wait fun(fd: integer, events: string, deadline: number|nil): string|nil
---@field sleep fun(deadline: number)
---@field park fun(token: any, deadline: number|nil): boolean|nil, string|nil
---@field wake fun(token: any): boolean

local FUNCTIONS = { "now", "wait", "sleep", "park", "wake" }

-- Each way of waiting loads only when it is chosen: its loop library need not be installed.
local MODULES = {
  poll = "luphant.wait.poll",
}

local function names()
  local out = {}
  for name in pairs(MODULES) do out[#out + 1] = name end
  table.sort(out)
  return out
end

--- The names `choose` takes, alphabetically.
wait.names = names

-- What is missing in a table that should be a waiter.
local function contract_problem(waiter)
  for _, name in ipairs(FUNCTIONS) do
    if type(waiter[name]) ~= "function" then
      return ("the waiter has no function %s (see luphant.wait for the contract)"):format(name)
    end
  end
end

--- A waiter by name, or the given table after a look whether it is one. nil chooses "poll".
--- Raises at the caller's caller for anything else (`level` as in error()).
---@param choice string|luphant.waiter|nil
---@param level? integer
---@return luphant.waiter
function wait.choose(choice, level)
  level = (level or 2) + 1
  if type(choice) == "table" then
    local why = contract_problem(choice)
    if why then error(why, level) end
    return choice
  end
  local name = choice == nil and "poll" or choice
  if not MODULES[name] then
    error(('unknown waiter %s%s; there is: %s'):format(args.show(name),
      type(name) == "string" and args.did_you_mean(name, names()) or "", table.concat(names(), ", ")), level)
  end
  return require(MODULES[name]).waiter()
end

return wait
