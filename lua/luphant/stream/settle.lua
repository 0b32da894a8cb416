-- stream/settle.lua - making a connection free again on which a stream has something under way.
--
-- Either the stream is a portal that has asked for its next rows in advance: they are taken in and put aside for it. Or
-- nobody reads it any more - a loop that was left, a task that ended: what is under way is stopped and read away.
-- Otherwise the connection stays the stream's, and whoever wants it is told so.
--
-- LuaJIT does not tell anybody that a loop is left by `break` or an error, and what a stack has held may look alive for
-- long. There a statement takes the connection from a stream that is between two rows; should its loop go on, it is
-- told.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"
local core = require "luphant.core"
local drive = require "luphant.drive"
local ending = require "luphant.transaction.ending"

local PENDING = core.PENDING

local settle = {}

local function check_finished(conn, ok, ...)
  if ok then return ... end
  conn.box:close() -- an error that leaves the step loop leaves an operation nobody will end
  error((...), 0)
end

--- drive.finish for operations of streams.
---@param conn luphant.connection
function settle.finish(conn, want) return check_finished(conn, pcall(drive.finish, conn, want)) end

--- What is under way is of no use to anybody: stops it and reads the answer away.
---@param conn luphant.connection
function settle.abandon(conn)
  conn.box:discard()
  return check_finished(conn, pcall(drive.abandon, conn, {}))
end

-- A stream with a transaction of its own is gone, and nobody will end that.
local function detach_and_roll_back(conn, tx)
  conn.box:stream_detach()
  if tx and tx.of_stream then ending.roll_back(tx, nil) end
end

-- What raises before it is detached leaves that to the next statement; behind it nobody would know of the transaction.
local function end_forsaken(conn)
  local ok, why = pcall(detach_and_roll_back, conn, conn.tx)
  if ok then return end
  conn.box:close()
  error(why, 0)
end

-- The stream on a connection, which nothing but its loop keeps alive.
local function reader_of(conn)
  return conn.reading and conn.reading.stream
end

--- Remembers it.
function settle.set_reader(conn, stream)
  local reading = conn.reading
  if reading then
    reading.stream = stream
  else
    conn.reading = setmetatable({ stream = stream }, { __mode = "v" })
  end
end

-- The rows that were to come next could not be had: the stream shall tell the same when it gets there.
local function tell_reader(conn, err)
  local reader = reader_of(conn)
  if reader then reader.failure = err end
end

-- Its loop may have been left without a word. Answers whether there was anything to do.
local function take_over(conn)
  if not compat.is_luajit or not reader_of(conn) then -- a variable with it would keep it alive
    collectgarbage() -- a coroutine that died in its loop, a stream that memory did not suffice for
    if not reader_of(conn) then conn.box:stream_disown() end -- and what a stale slot of a stack still holds of it
    return true
  end
  local reader = reader_of(conn)
  if reader.is_waiting or reader.closed then return false end
  reader.was_displaced = true
  reader:close()
  return true
end

--- Answers true when the connection is free, or nil and why not.
---@param conn luphant.connection
---@return true|nil
---@return luphant.error|nil
function settle.run(conn)
  local box, looked = conn.box, false
  while true do
    local done, what = box:stream_settle()
    if done == PENDING and what == "cancel" then
      settle.abandon(conn)
    elseif done == PENDING and what == "forsaken" then
      end_forsaken(conn)
    elseif done == PENDING then
      local ok, err = settle.finish(conn, what)
      if not ok then
        tell_reader(conn, err)
        box:stream_detach()
        return nil, err
      end
    elseif done then
      return true
    elseif what.kind == "busy" and not looked and take_over(conn) then
      looked = true
    else
      if what.kind ~= "busy" then tell_reader(conn, what) end
      return nil, what
    end
  end
end

return settle
