-- stream/init.lua - q:stream(sql, ...): an iterator over rows that never has more than a portion of them in memory.
--
--   for row in conn:stream("select * from events") do ... end
--
-- What it gives to the generic `for` is an object that can be called: `stream:close()` leaves it, and on Lua 5.4 the
-- loop does that itself, however it ends. Its two forms, rows and portal, have the same four functions: begin, more,
-- finish, leave. Errors raise out of the loop.
--
-- A stream of a pool holds a connection until it has ended; one that is forgotten in the middle comes back as any
-- borrowing that was forgotten.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local errors = require "luphant.errors"
local levels = require "luphant.transaction.levels"
local options = require "luphant.stream.options"
local portal = require "luphant.stream.portal"
local rows = require "luphant.stream.rows"
local settle = require "luphant.stream.settle"
local transaction = require "luphant.transaction"

local stream, methods = {}, {}

local FORMS = { rows = rows, portal = portal }

---@class luphant.stream
---@field private conn luphant.connection
---@field private box userdata
---@field private core userdata
---@field private step fun(): any, any
---@field private form table
---@field private closed boolean
---@field private over boolean
stream.methods = methods

-- connection.run and connection.deliver_notices are given by connection.lua, which requires this file.
local run, deliver_notices

-------------------------------------------------------------------------------------- how it ends

local function part(self)
  self.closed = true
  self.core:close()
  if self.level then transaction.unregister(self.level, self) end
  local conn = self.conn
  if conn.settings.on_notice and conn.box == self.box and self.box:has_notices() then deliver_notices(conn) end
  if self.is_lent then conn:release() end
end

-- A connection of a pool that was given back or closed under the stream is none of its business any more; neither is
-- what its pool can put in order in the background.
local function leave(self)
  local is_ours = self.conn.box == self.box and self.box:state() ~= "closed"
  local err
  if is_ours and not self.is_lent then err = self.form.leave(self) end
  if self.own and not self.own.state and not self.is_lent then self.own:rollback() end -- it went with its session
  if err then transaction.note(self.conn, err) end
  part(self)
end

--- Ends the stream now. Once more does nothing. The connection is in order then, or closed.
function methods:close()
  if self.closed then return end
  self.closed = true
  local ok, why = pcall(leave, self)
  if ok then return end
  self.box:close() -- no memory, or an error of the waiter: nobody knows what is still open
  error(why, 0)
end

local function fail(self, err)
  if err.query == nil then err.query = self.sql end
  if self.conn.box == self.box then transaction.note(self.conn, err) end
  if not self.closed then methods.close(self) end
  error(err, 0)
end

local function was_closed(self)
  return errors.new("closed", "this stream was closed before its last row" .. (self.was_displaced
    and ", because another statement ran on its connection" or ""), { sent = "yes" })
end

----------------------------------------------------------------------------------------- its rows

local next_row

-- The portion at hand is at its end, or a value of it could not be read.
local function advance(self, err)
  if self.over then return nil end
  if self.closed then error(was_closed(self), 0) end
  if self.is_waiting then args.misuse "another task is waiting for a row of this stream" end
  local more
  if not err then
    if self.conn.box ~= self.box then return fail(self, was_closed(self)) end
    self.is_waiting = true
    more, err = self.form.more(self)
    self.is_waiting = false
  end
  if self.closed then error(was_closed(self), 0) end -- by another task
  if more then return next_row(self) end
  if not err then
    self.over = true
    local outer = self.conn.tx
    if self.own then outer = nil end
    err = levels.check_ended(self.conn, outer, pcall(self.form.finish, self))
    if not err then return part(self) end
  end
  return fail(self, err)
end

-- The values of a row are handed on only when there is one.
local function pass(self, first, ...)
  if first ~= nil then return first, ... end
  return advance(self, (...))
end

function next_row(self) return pass(self, self.step(self)) end

local function one_table(self)
  local row, err = self.step(self)
  if row ~= nil then return row end
  return advance(self, err)
end

local function tostring_stream(self)
  return ("luphant.stream (%s, %s)"):format(self.plan.via, self.over and "ended" or self.closed and "closed" or "open")
end

local function metatable(call)
  return {
    __name = "luphant.stream", __index = methods, __call = call, __tostring = tostring_stream, __close = methods.close,
  }
end

local tables, values = metatable(one_table), metatable(next_row)

-- Where the core's step can go on by itself, the loop calls nothing else.
local function metatable_of(self, goes_on)
  if goes_on then return metatable(self.step) end
  return self.plan.style >= 48 and values or tables
end

----------------------------------------------------------------------------------------- opening

local function settle_in(self, opened)
  local conn = self.conn
  local goes_on
  self.core = opened
  self.step, goes_on = opened:stepper(advance)
  setmetatable(self, metatable_of(self, goes_on))
  settle.set_reader(conn, self)
  if conn.tx and not self.own then
    self.level = conn.tx
    transaction.register(conn.tx, self)
  end
end

local function open(conn, is_lent, sql, ...)
  local plan = options.read(sql, conn)
  local self = {
    conn = conn, box = conn.box, plan = plan, sql = plan.sql, form = FORMS[plan.via], is_inside = plan.is_inside,
    is_lent = is_lent, closed = false, over = false,
  }
  local opened, err = self.form.begin(self, plan, run, ...)
  if not opened then return nil, err end
  local ok, why = pcall(settle_in, self, opened)
  if not ok then
    opened:close()
    error(why, 0)
  end
  return self, nil, nil, self
end

--- A stream on `conn`. With `is_lent` it gives the connection back when it ends. Answers what a generic `for` takes, or
--- nil and an error. An error that comes when a transaction of its own has begun ends the session.
---@param conn luphant.connection
---@param is_lent boolean
---@param sql string|table
function stream.open(conn, is_lent, sql, ...)
  return levels.check_ended(conn, conn.tx, pcall(open, conn, is_lent, sql, ...))
end

local function opened_or_raised(self, err, ...)
  if self == nil then error(err, 0) end
  return self, err, ...
end

--- `for row in conn:stream(sql, ...)`: rows that are never all in memory; see docs/api/stream.md. Raises what keeps it
--- from beginning.
---@param conn luphant.connection
---@param sql string|table  { sql, rows =, via =, fetch_size =, timeout = } for options
---@param ... any
---@return luphant.stream
function stream.of_connection(conn, sql, ...)
  return opened_or_raised(stream.open(conn, false, sql, ...))
end

stream.opened_or_raised = opened_or_raised

--- What connection.lua does for us.
function stream.serve(run_verb, deliver)
  run, deliver_notices = run_verb, deliver
end

return stream
