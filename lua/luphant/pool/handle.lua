-- pool/handle.lua - a lent connection: all verbs of a connection, until it is given back.
--
-- Each borrowing has a handle of its own around the same session. Once it is given back the handle runs nothing
-- more, even if somebody kept it while the session is lent to the next one.
--
-- A handle is a table without fields: its metatable leads to the session, which has everything. A session has one
-- metatable for the handle that is lent, and one for each way in which a handle ends; so nothing but another metatable
-- ends it, and the usual borrowing is done by the core (llend.c). A field of its own - who borrows, unless that is the
-- main program; a wait, a transaction - it gets when there is something to say.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local connection = require "luphant.connection"
local core = require "luphant.core"

local give_back = core.give_back

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

--- Stands for the main program, which is no coroutine on LuaJIT; it never ends before a pool does.
handle.MAIN = {}

-- The metatable of handles that have ended: what is not their box they still know, for messages.
local function dead_metatable(session, box)
  local dead = connection.lent_metatable(session)
  dead.__index = setmetatable({ box = box }, { __index = session })
  return dead
end

-- Ends a handle that is lent. false: it has ended already.
local function end_lending(self, session, box)
  if getmetatable(self) ~= session.lent then return false end
  local dead = session.dead[box]
  if not dead then
    dead = dead_metatable(session, box)
    session.dead[box] = dead
  end
  setmetatable(self, dead)
  -- One that was collected and came back with its owner's finalizer: the slot may be another's.
  return session.pool.sessions[session.slot] == session
end

-- Gives back what is not in order, or what somebody waits for. `what`: see give_back in llend.c.
local function release_slowly(self, what)
  local session = self.session
  if what == "retire" then return session.pool:settle(session.slot, what) end
  if not end_lending(self, session, RELEASED) then return end
  -- Where a hook has it while it is made or cleaned, it is the pool's.
  if session.pool.core:slot(session.slot) ~= "used" then return end
  -- Under another task that waits for an answer here nothing can be put in order: the session ends.
  if self.waiting then return session.pool:discard(session.slot) end
  session.pool:give_back(session.slot)
end

-- conn:release(): gives the connection back to its pool. Once more does nothing.
local release = core.releaser(release_slowly) or function(self)
  local what = give_back(self)
  if what ~= nil then release_slowly(self, what) end
end

--- Ends the session instead of giving it back: the pool opens another when it needs one.
local function close(self)
  local session = self.session
  if end_lending(self, session, CLOSED) then session.pool:discard(session.slot) end
end

local function is_lent(self) return getmetatable(self) == self.session.lent end

-- A metatable for handles that will be lent; its list is what the core has to know about them (llend.c).
local function renew(session)
  local pool, released = session.pool, dead_metatable(session, RELEASED)
  session.dead = { [RELEASED] = released }
  session.lent = connection.lent_metatable(session)
  session.lent[1], session.lent[2], session.lent[3], session.lent[4] = pool.core, released, session.slot, pool.handles
end

--- Prepares a session of a pool for being lent: its handles find everything of it through their metatable.
---@param session luphant.connection
---@param pool luphant.pool
---@param slot integer
function handle.prepare(session, pool, slot)
  session.session, session.pool, session.slot = session, pool, slot
  session.release, session.close, session.is_lent, session.owner = release, close, is_lent, handle.MAIN
  renew(session)
end

--- From now on the session can be borrowed.
---@param session luphant.connection
function handle.offer(session) session.pool.core:offer(session.slot, session.lent) end

--- The handle that was lent has been collected. One that comes back nevertheless, with a finalizer, is of no use.
---@param session luphant.connection
function handle.retire(session)
  session.lent.__index = dead_metatable(session, RECLAIMED).__index
  renew(session)
  handle.offer(session)
end

--- A handle for the next borrower.
---@param session luphant.connection
---@param owner any  the task that borrows
---@return luphant.connection
function handle.new(session, owner)
  return setmetatable(owner ~= handle.MAIN and { owner = owner } or {}, session.lent)
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
  end_lending(lent, session, RECLAIMED)
  session.box:set_ceiling(nil)
  if not ok then return false, answer, true end
  if answer == false or (answer == nil and reason ~= nil) then return false, reason end
  return true
end

--- The pool takes the connection back from whoever had it.
---@param lent luphant.connection
function handle.reclaim(lent) end_lending(lent, lent.session, RECLAIMED) end

return handle
