-- copy/reader.lua - rows on their way out: what copy_out returns.
--
--   for row in assert(db:copy_out "users") do print(row.id, row.name) end
--
-- Nothing is read ahead of whoever takes the rows, beyond what the socket and libpq hold. Left early, it is closed:
-- by a `for` loop of Lua 5.4 that breaks, by reader:close(), or when it is collected.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local core = require "luphant.core"
local course = require "luphant.copy.course"
local drive = require "luphant.drive"
local meter = require "luphant.copy.meter"
local request = require "luphant.request"

local PENDING = core.PENDING
local STYLES = request.styles

---@class luphant.copy_reader
---@field private guard userdata
---@field private conn luphant.connection
---@field private box userdata
---@field private plan luphant.copy.plan
local methods = {}
local metatable = { __name = "luphant.copy_reader", __index = methods, has_verbs = true }

local reader = {}

local BATCH = 256 -- rows at most that are made at a time

local function fail(self, err, more)
  self.count, self.bytes = self.guard:counts()
  if more == "unread" and self.box:state() == "busy" then drive.abandon(self.conn, err) end
  course.leave(self)
  course.close(self, err)
  return nil, err
end

local function finish(self)
  if self.over then return nil end
  local rows, bytes = self.guard:counts()
  self.count, self.bytes = rows, bytes
  course.close(self)
  if self.meter then meter.finish(self.meter, rows, bytes) end
  return nil
end

local function wait(self, want)
  local err = course.expired(self.conn, false)
  if err then return fail(self, err) end
  local result
  result, err = course.await(self.conn, PENDING, want)
  if result == nil then return fail(self, err) end
  return true
end

local pull

-- What a method of the guard answered.
local function received(self, name, a, b, first, err, more, ...)
  if first == PENDING then
    local ok, why = wait(self, err)
    if not ok then return nil, why end
    return pull(self, name, a, b)
  end
  if first == nil and err == nil then return finish(self) end
  if first == nil then return fail(self, err, more) end
  if self.meter then meter.tick(self.meter, self.guard) end
  return first, err, more, ...
end

function pull(self, name, a, b)
  local guard = self.guard
  return received(self, name, a, b, guard[name](guard, a, b))
end

local function check_open(self, needs_types)
  if self.over and self.failure then return nil, self.failure end
  if self.left then args.misuse "this reader was closed, or ended with its transaction: begin another COPY" end
  if needs_types and not self.plan.oids then
    args.misuse("rows need types: name a table or a query without format = \"csv\", header, delimiter or null, or "
      .. "give types for a COPY statement; bytes come with read")
  end
  if not self.over and not self.guard:is_live() and not self.guard:has_ended() then
    return course.ended(self, "reader")
  end
  return true
end

--- The next bytes in the format of the COPY, some 64 kB of whole rows; nil at the end.
---@return string|nil
---@return luphant.error|nil
function methods:read()
  local ok, err = check_open(self)
  if not ok then return nil, err end
  if self.over then return nil end
  local bytes
  bytes, err = pull(self, "get_bytes")
  if bytes == nil and err ~= nil then return nil, err end
  return bytes
end

-- An iterator raises what fails, so that a loop never ends as if all had come.
local function checked(value, err, ...)
  if value == nil and err ~= nil then error(err, 0) end
  return value, err, ...
end

--- `for bytes in reader:chunks() do`: as `read`, but a failure raises the error object out of the loop.
---@return fun(): string|nil
function methods:chunks()
  checked(check_open(self))
  return function() return checked(self:read()) end, nil, nil, self
end

--- `for row in reader:rows() do`: tables by column name, or as arrays with rows = "array" (NULL: luphant.NULL).
--- A failure raises the error object out of the loop.
---@return fun(): table|nil
function methods:rows()
  checked(check_open(self, true))
  local style = STYLES[self.plan.options.rows or "named"]
  local list, size, at = nil, 0, 0
  local function next_row()
    at = at + 1
    if at > size then
      if self.over then return checked(self.left and check_open(self), self.failure) end
      list = checked(pull(self, "get_rows", BATCH, style))
      if not list then return nil end
      size, at = #list, 1
    end
    return list[at]
  end
  return next_row, nil, nil, self
end

--- `for id, name in reader:values() do`: plain values, no table made; NULL is luphant.NULL.
---@return fun(): any ...
function methods:values()
  checked(check_open(self, true))
  return function()
    if self.over then return checked(self.left and check_open(self), self.failure) end
    return checked(pull(self, "get_values"))
  end, nil, nil, self
end

--- The next rows, at most `most`, as one list for each column by its name, and how many they are; nil at the end. NULL
--- is luphant.NULL. The way that makes the fewest tables.
---@param most? integer  default 1000
---@return table<string, any[]>|nil
---@return integer|luphant.error|nil
function methods:columns(most)
  if most == nil then most = 1000 end
  args.argument(most, "number", 1, "columns", 2)
  local ok, err = check_open(self, true)
  if not ok then return nil, err end
  if self.over then return nil end
  local lists, named, count = {}, {}
  count, err = pull(self, "get_columns", most, lists)
  if not count then return nil, err end
  for i, name in ipairs(self.plan.names) do named[name] = lists[i] end
  return named, count
end

--- How many rows and bytes have come so far.
---@return integer rows
---@return integer bytes
function methods:counts()
  if self.over then return self.count, self.bytes end
  local rows, bytes = self.guard:counts()
  return rows, bytes
end

--- No more rows are wanted: what is left is read away or cancelled, and the connection usable. Once more does nothing.
function methods:close()
  if self.over then return end
  self.left = true
  self.count, self.bytes = self.guard:counts()
  course.leave(self)
  course.close(self)
end

metatable.__close = methods.close

-- for row in reader do
function metatable:__call()
  if not self.next_row then self.next_row = self:rows() end
  return self.next_row()
end

function metatable:__tostring()
  return ("luphant.copy_reader (%s)"):format(self.over and "ended" or self.plan.sql)
end

--- Begins the COPY of `plan` on `conn`.
---@param conn luphant.connection
---@param plan luphant.copy.plan
---@return luphant.copy_reader|nil
---@return luphant.error|nil
function reader.open(conn, plan)
  local self = setmetatable({ conn = conn, box = conn.box, plan = plan, over = false }, metatable)
  self.meter = meter.new(plan.options)
  return course.begin(self)
end

return reader
