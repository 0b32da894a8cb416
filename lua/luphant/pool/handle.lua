-- pool/handle.lua - a lent connection: all verbs of a connection, until it is given back.
--
-- Each borrowing has a handle of its own around the same session. Once it is given back the handle runs nothing
-- more, even if somebody kept it while the session is lent to the next one.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local connection = require "luphant.connection"

local handle = {}

-- What is left of a handle: any use of it is a mistake at the caller's line.
local function dead_box(why)
  return setmetatable({}, {
    __index = function(_, name)
      if name == "state" then return function() return "closed" end end
      if name == "close" or name == "set_ceiling" then return function() end end
      return function() args.misuse(why) end
    end,
  })
end

local RELEASED = dead_box "this connection was given back to its pool with conn:release(); acquire one again"
local RECLAIMED = dead_box("this connection was taken back by its pool, because the task that had borrowed it ended"
  .. " without giving it back")
local CLOSED = dead_box "this connection has been closed with conn:close(), and its pool will open another"
local GONE = { [RELEASED] = true, [RECLAIMED] = true, [CLOSED] = true }

local function take_box(self, instead)
  local box = self.box
  if GONE[box] then return false end
  self.box = instead
  return true
end

--- Gives the connection back to its pool. Once more does nothing.
local function release(self)
  if not take_box(self, RELEASED) then return end
  local session = self.session
  session.pool:give_back(session.slot)
end

--- Ends the session instead of giving it back: the pool opens another when it needs one.
local function close(self)
  if not take_box(self, CLOSED) then return end
  local session = self.session
  session.pool:discard(session.slot)
end

local function is_lent(self) return not GONE[self.box] end

--- Prepares a session of a pool for being lent: its handles find everything of it through their metatable.
---@param session luphant.connection
---@param pool luphant.pool
---@param slot integer
function handle.prepare(session, pool, slot)
  session.session, session.pool, session.slot = session, pool, slot
  session.release, session.close, session.is_lent = release, close, is_lent
  session.lent = connection.lent_metatable(session, release)
end

--- A handle for the next borrower.
---@param session luphant.connection
---@param owner any  the task that borrows
---@return luphant.connection
function handle.new(session, owner)
  return setmetatable({ box = session.box, waiting = false, owner = owner }, session.lent)
end

--- The pool takes the connection back from whoever had it.
---@param lent luphant.connection
function handle.reclaim(lent) take_box(lent, RECLAIMED) end

return handle
