-- copy/course.lua - what a writer and a reader of COPY have in common: beginning, waiting, ending, being forgotten.
--
-- While one is open it is noted in its connection (weakly) and, in a transaction, among its resources. A connection
-- whose writer or reader was forgotten is put in order by whoever needs it next.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local core = require "luphant.core"
local drive = require "luphant.drive"
local errors = require "luphant.errors"
local settle = require "luphant.stream.settle"
local transaction = require "luphant.transaction"

local PENDING = core.PENDING

local course = { PENDING = PENDING }

-- From connection.lua.
function course.serve(deliver_notices) course.deliver_notices = deliver_notices end

-- An error that leaves the step loop (a waiter's, or no memory) leaves an operation nobody will end.
local function check_finished(box, ok, ...)
  if ok then return ... end
  box:close()
  error((...), 0)
end

-- Whatever happens meanwhile, afterwards the connection is in order or closed.
local function leave_copy(conn, inward)
  return check_finished(conn.box, pcall(drive.leave_copy, conn, inward))
end

--- Waits until it is our turn again: what box:take() gives (true, or a count when the COPY has ended), or nil and why.
---@param conn luphant.connection
---@param result any  what the core answered
---@param err any
---@param more any
function course.await(conn, result, err, more)
  local box = conn.box
  while result == PENDING do
    local ok
    ok, err, more = check_finished(box, pcall(drive.finish, conn, err))
    result = nil
    if ok then result, err = box:take() end
  end
  if result == nil and more == "unread" and box:state() == "busy" then drive.abandon(conn, err) end
  return result, err
end

--- Between two portions: ends a COPY whose deadline has passed, and answers why; nil: go on.
---@param conn luphant.connection
---@param inward boolean
---@return luphant.error|nil
function course.expired(conn, inward)
  return check_finished(conn.box, pcall(drive.expire_copy, conn, inward))
end

---------------------------------------------------------------------------------------- forgotten

--- Is there a COPY in the way that nobody can end any more? Then it is ended. Answers whether the connection is free.
---@param conn luphant.connection
---@return boolean
function course.settle(conn)
  local open = conn.copying
  if not open or open.box ~= conn.box then return false end
  if open.ref[1] then collectgarbage() end
  if open.ref[1] then return false end
  conn.copying = nil
  if not conn.box:is_copying() then return conn.box:state() == "idle" end
  return leave_copy(conn, open.inward)
end

local function close_forgotten(open, conn)
  local object = open.ref[1]
  if object then return object:close() end
  if conn.copying == open then
    conn.copying = nil
    if conn.box == open.box and conn.box:is_copying() then leave_copy(conn, open.inward) end
  end
end

-- Before anything is sent: whatever raises from here on leaves a COPY that can be found and ended.
local function note_open(self)
  local conn = self.conn
  local open = {
    ref = setmetatable({ self }, { __mode = "v" }), box = self.box, inward = self.plan.inward, settle = course.settle,
  }
  self.open, conn.copying = open, open
  self.tx = conn.tx
  if self.tx then
    open.close = function() close_forgotten(open, conn) end
    transaction.register(self.tx, open)
  end
end

----------------------------------------------------------------------------------------- beginning

local function start(conn, plan)
  if plan.has_timeout then conn.box:set_timeout(plan.timeout) end
  return conn.box:copy_start(plan.sql, plan.inward)
end

--- One that came to nothing: tells whoever listens. Answers nil and the error.
---@param conn luphant.connection
---@param inward boolean
---@param target string
---@param err luphant.error
function course.refused(conn, inward, target, err)
  local observers = conn.settings.observers
  if observers then
    observers:finished("copy", conn, {
      direction = inward and "in" or "out", target = target, rows = 0, bytes = 0, seconds = 0, error = err,
    })
  end
  return nil, err
end

local function fail(conn, plan, err)
  if err.query == nil then err.query = plan.sql end
  transaction.note(conn, err)
  return course.refused(conn, plan.inward, plan.target, err)
end

local NOT_OURS = "this COPY does not go through the connection (it reads or writes a file of the server): use execute"

local function begin(conn, plan)
  local result, err, more = start(conn, plan)
  if result == PENDING and err == "ahead" then
    result, err = settle.run(conn)
    if result then result, err, more = start(conn, plan) end
  end
  if result == PENDING and err == "open" then
    result, err = transaction.open(conn)
    if result then result, err, more = start(conn, plan) end
  end
  result, err = course.await(conn, result, err, more)
  if not result then return fail(conn, plan, err) end
  if result ~= true then
    return nil, errors.new("usage", NOT_OURS, { sent = "yes", query = plan.sql })
  end
  return true
end

-- From here on somebody can end it.
local function take_over(self)
  local guard, why = self.box:copy_guard(self.plan.names, self.plan.oids)
  if not guard then return why end
  self.guard, self.started = guard, core.now()
end

local function forget(self)
  if self.conn.copying == self.open then self.conn.copying = nil end
  if self.tx then transaction.unregister(self.tx, self.open) end
end

local function busy(self)
  return fail(self.conn, self.plan, errors.new("busy",
    "a COPY is under way on this connection (finish or abort its writer, close its reader)"))
end

--- Begins the COPY of `plan`; the guard of the core, noted under `self`.
---@param self luphant.copy_writer|luphant.copy_reader
---@return table|nil self
---@return luphant.error|nil
function course.begin(self)
  if self.conn.copying then course.settle(self.conn) end
  if self.conn.copying then return busy(self) end
  note_open(self)
  local begun, err = begin(self.conn, self.plan)
  if not begun then
    forget(self)
    return nil, err
  end
  local ok, why = pcall(take_over, self)
  if ok and not why then return self end
  forget(self)
  leave_copy(self.conn, self.plan.inward)
  if not ok then error(why, 0) end
  args.misuse(why)
end

--------------------------------------------------------------------------------------------- ending

local function tell(self, conn, err)
  local rows, bytes = self.guard:counts()
  conn.settings.observers:finished("copy", conn, {
    direction = self.plan.inward and "in" or "out", target = self.plan.target, rows = self.count or rows,
    bytes = bytes, seconds = core.now() - self.started, error = err,
  })
end

--- The COPY has ended, well or not; the first time counts.
---@param self luphant.copy_writer|luphant.copy_reader
---@param err luphant.error|nil
function course.close(self, err)
  if self.over then return end
  self.over, self.failure = true, err
  local conn = self.conn
  forget(self)
  if conn.settings.on_notice and self.box:has_notices() then course.deliver_notices(conn) end
  if err then
    if err.query == nil then err.query = self.plan.sql end
    transaction.note(conn, err)
  end
  if conn.settings.observers then tell(self, conn, err) end
  local lent = self.lent
  self.lent = nil
  if lent then lent:release() end
end

--- Ends what is under way without an answer that anybody wants.
---@param self luphant.copy_writer|luphant.copy_reader
function course.leave(self)
  if self.over then return end
  if self.guard:is_live() and self.conn.box == self.box then leave_copy(self.conn, self.plan.inward) end
end

--- Calls fn; when it raises, nobody knows how far it came, and the session ends.
---@param box userdata
function course.carefully(box, fn, ...)
  return check_finished(box, pcall(fn, ...))
end

--- For calls on something that has ended.
---@param self luphant.copy_writer|luphant.copy_reader
---@param what string
function course.ended(self, what)
  if self.failure then return nil, self.failure end
  if not self.over and self.guard:is_live() then
    return nil, errors.new("busy", "another task is using this " .. what .. " just now")
  end
  args.misuse(("this %s has ended: begin another COPY"):format(what))
end

return course
