-- compat/pgmoon/notifications.lua - LISTEN on a connection of pgmoon's kind, which runs statements as well.
--
-- Connections drop notifications, but one that is about to run LISTEN keeps them from then on. Nobody else can have
-- such a session: it ends where another would go back to the pool. Whoever does nothing but listen is better off with
-- db:listen, which comes back when its connection is lost.
--
-- SPDX-License-Identifier: MIT

local deadline = require "luphant.deadline"
local errors = require "luphant.errors"

local notifications = {}

local LISTEN = "%f[%w_][lL][iI][sS][tT][eE][nN]%f[^%w_]"
local LOOK = 0.5 -- seconds; surroundings that end tell nobody who waits for a socket

-- From now on notifications are kept.
local function begin(conn)
  if conn.hears then return true end
  local ok, err = conn.box:hear_begin(true)
  if ok then conn.hears = true end
  return ok, err
end

--- Before a text is run: does it listen? (One that only has the word in it costs its session a place in the pool.)
---@param conn luphant.connection
---@param sql string
function notifications.look(conn, sql)
  if not conn.hears and sql:find(LISTEN) then begin(conn) end
end

local function next_one(box)
  local channel, payload, pid = box:next_notification()
  if channel then return { operation = "notification", channel = channel, payload = payload, pid = pid } end
end

--- Those that came with an answer; nil: none.
---@param conn luphant.connection
---@return table[]|nil
function notifications.take(conn)
  if not conn.hears then return nil end
  local list, one = {}, next_one(conn.box)
  while one do
    list[#list + 1] = one
    one = next_one(conn.box)
  end
  return list[1] and list or nil
end

local function why_not(waiter, limit, seconds)
  if limit and waiter.now() >= limit then
    return errors.new("query_timeout", ("no notification came within %g seconds"):format(seconds))
  end
  if waiter.is_ending and waiter.is_ending() then return errors.new("closed", "the process that listens is ending") end
end

local function hear(conn, seconds)
  local box, waiter = conn.box, conn.waiter
  local limit = seconds and waiter.now() + seconds
  while true do
    local one = next_one(box)
    if one then return one end
    local ok, err = box:hear()
    if not ok then return nil, err end
    one = next_one(box)
    if one then return one end
    if not box:has_input() then
      err = why_not(waiter, limit, seconds)
      if err then return nil, err end
      waiter.wait(box:fd(), "r", deadline.sooner(limit, waiter.is_ending and waiter.now() + LOOK or nil))
    end
  end
end

--- The next notification; nil and an error when none comes within `seconds` (nil: no limit) or the session is lost.
---@param conn luphant.connection
---@param seconds number|nil
---@return { operation: string, channel: string, payload: string, pid: integer }|nil
---@return luphant.error|nil
function notifications.wait(conn, seconds)
  local ok, err = begin(conn)
  if not ok then return nil, err end
  conn.waiting = true -- whoever releases it meanwhile ends the session, as with a statement under way
  local fine, one, why = pcall(hear, conn, seconds)
  conn.waiting = false
  if not fine then error(one, 0) end
  return one, why
end

--- Before its session ends: nobody waits for its descriptor any more.
---@param conn luphant.connection
function notifications.finish(conn)
  if conn.hears then conn.box:hear_end() end
end

return notifications
