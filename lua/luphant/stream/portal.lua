-- stream/portal.lua - the form "portal": a cursor on the server, from which rows are fetched by the portion.
--
-- The next portion is asked for before the rows of this one are handed out, so that the server works meanwhile. How
-- many rows one has is chosen by their size: as much as fits a socket's buffer, since what does not fit waits for us.
-- Outside of a transaction the stream makes one of its own.
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"
local settle = require "luphant.stream.settle"
local transaction = require "luphant.transaction"

local PENDING = core.PENDING
local PORTAL = 9 -- verb of the core

local FIRST_ROWS, MOST_ROWS, GROWTH = 16, 10000, 8
local PORTION_BYTES = 192 * 1024 -- as libpq counts: about twice what is on the wire

-- A cursor's plan is made to give its first rows soon; who goes through all of them wants the statement's own plan.
local OWN = { set = { cursor_tuple_fraction = "1" } }

local portal = {}

local names = 0

--- A name no other cursor of this program has.
---@return string
function portal.new_name()
  names = names + 1
  return ("luphant_cursor_%d"):format(names)
end

local function fetch_text(self) return ("fetch forward %d from %s"):format(self.asked, self.name) end

-- How many rows the next portion shall have, seen from this one.
local function choose_size(self, rows, bytes)
  if self.fetch_size then return self.fetch_size end
  local size = math.floor(PORTION_BYTES * rows / math.max(bytes, 1))
  return math.max(1, math.min(size, self.asked * GROWTH, MOST_ROWS))
end

--- Sends a command for the cursor of `self`, whatever else a stream has asked for in advance. With `rows` it is a FETCH
--- of so many, which nobody waits for yet.
function portal.ask(self, text, rows)
  local conn, box = self.conn, self.box
  local sent, err = box:stream_ask(self.core, text, rows)
  if sent == PENDING then
    sent, err = settle.run(conn)
    if sent then sent, err = box:stream_ask(self.core, text, rows) end
  end
  return sent, err
end

--- Waits for what was asked for: true, false when it was nothing, or nil and an error.
function portal.await(self)
  local box, stream = self.box, self.core
  while true do
    local more, want = box:stream_more(stream)
    if more ~= PENDING then return more, want end
    local ok, err = settle.finish(self.conn, want)
    if not ok then
      box:stream_detach()
      return nil, err
    end
  end
end

-- A portion has come: asks for the next one, unless the core has done that already with the size of before. Answers
-- whether there are rows in it.
local function look_ahead(self)
  local rows, bytes, _, is_asked = self.core:portion()
  self.is_last = rows < self.asked
  if self.is_last then return rows > 0 end
  if is_asked then return true end
  self.asked = choose_size(self, rows, bytes)
  settle.set_reader(self.conn, self)
  local sent, err = portal.ask(self, fetch_text(self), self.asked)
  if not sent then self.failure = err end -- the rows that have come go first
  return true
end

function portal.more(self)
  if self.failure then return nil, self.failure end
  if self.is_last then return false end
  local more, err = portal.await(self)
  if more == false then
    more, err = portal.ask(self, fetch_text(self))
    if more then more, err = portal.await(self) end
  end
  if not more then return nil, err end
  return look_ahead(self)
end

--- DECLARE and the first FETCH in one flight, with BEGIN when there is no transaction.
---@param plan luphant.stream.plan
function portal.begin(self, plan, run, ...)
  local conn, box = self.conn, self.box
  self.name, self.fetch_size, self.asked = portal.new_name(), plan.fetch_size, plan.fetch_size or FIRST_ROWS
  if not plan.is_inside then
    local tx, err = transaction.begin(conn, OWN)
    if not tx then return nil, err end
    self.own, tx.of_stream = tx, true
  end
  box:set_portal(("declare %s no scroll cursor for "):format(self.name), fetch_text(self))
  if plan.has_timeout then box:set_timeout(plan.timeout) end
  local stream, err = run(conn, PORTAL + plan.style, plan.sql, ...)
  if not stream then
    if self.own then self.own:rollback() end
    return nil, err
  end
  self.core = stream
  if self.own then box:stream_claim(stream) end
  look_ahead(self)
  return stream
end

-- The cursor's memory on the server shall not wait for the end of a long transaction.
local function close_cursor(self)
  local sent, err = portal.ask(self, "close " .. self.name)
  if sent then sent, err = portal.await(self) end
  return not sent and err or nil
end

--- After the last row. Answers an error when COMMIT or CLOSE failed.
---@return luphant.error|nil
function portal.finish(self)
  if not self.own then return close_cursor(self) end
  self.core:close()
  local done, err = self.own:commit()
  return not done and err or nil
end

--- Leaves before the end. Answers what that cost, if anything.
---@return luphant.error|nil
function portal.leave(self)
  local conn, box = self.conn, self.box
  if self.own then
    self.core:close()
    if box:state() == "busy" then settle.abandon(conn) end
    box:stream_detach()
    if not self.own.state then self.own:rollback() end
    return nil
  end
  if box:transaction_status() == "inerror" then return nil end -- it is gone with the transaction
  local err = close_cursor(self)
  self.core:close()
  if err then settle.run(conn) end
  return err and err.kind ~= "closed" and err or nil
end

return portal
