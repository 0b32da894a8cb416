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
  -- Under another task that waits for an answer here nothing can be put in order: the session ends.
  if self.waiting then return session.pool:discard(session.slot) end
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

--- Lets a hook of the user's have the session, its statements bounded by `at` (core.now()'s clock). Answers whether it
--- consents: by returning anything but `false`, or `nil` and a reason. If not, what it said instead, and whether by
--- an error.
---@param session luphant.connection
---@param hook fun(conn: luphant.connection): any, any
---@param at number|nil
---@return boolean
---@return any
---@return boolean|nil
function handle.ask(session, hook, at)
  local pool, slot = session.pool, session.slot
  local lent = handle.new(session, pool.current_task())
  pool.handles[slot] = lent
  session.box:set_ceiling(at)
  local ok, answer, reason = pcall(hook, lent)
  if pool.handles[slot] == lent then pool.handles[slot] = nil end
  take_box(lent, RECLAIMED)
  session.box:set_ceiling(nil)
  if not ok then return false, answer, true end
  if answer == false or (answer == nil and reason ~= nil) then return false, reason end
  return true
end

--- The pool takes the connection back from whoever had it.
---@param lent luphant.connection
function handle.reclaim(lent) take_box(lent, RECLAIMED) end

return handle
