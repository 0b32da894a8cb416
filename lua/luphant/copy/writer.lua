-- copy/writer.lua - rows on their way into a table: what copy_in returns.
--
--   local w = assert(db:copy_in("users", { columns = { "name", "email" } }))
--   assert(w:row("Ann", "ann@example.com"))
--   print(assert(w:finish()))
--
-- All rows or none: the server has them for good only when finish answers. A row that was refused dooms the whole.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local core = require "luphant.core"
local course = require "luphant.copy.course"
local errors = require "luphant.errors"
local meter = require "luphant.copy.meter"

---@class luphant.copy_writer
---@field private guard userdata
---@field private conn luphant.connection
---@field private box userdata
---@field private plan luphant.copy.plan
local methods = {}
local metatable = { __name = "luphant.copy_writer", __index = methods, has_verbs = true }

local writer = {}

local function put_back(self, err)
  course.close(self, err)
  return nil, err
end

-- Sends what has been gathered; true when there is room again.
local function push(self)
  local result, err = course.await(self.conn, self.box:copy_push())
  if result ~= nil then err = course.expired(self.conn, true) end
  if err then return put_back(self, err) end
  if self.meter then meter.tick(self.meter, self.guard) end
  return true
end

-- What the guard said is not "go on".
local function go_on(self, more, err, row)
  if more == false then return push(self) end
  if err == nil then return course.ended(self, "writer") end
  if err.kind ~= "parameter" then return nil, err end
  err.row, err.query = row, self.plan.sql
  self.refusal = self.refusal or err
  return nil, err
end

-- Rows and bytes do not mix, and bytes alone go where no types are known.
local function enter(self, mode)
  if self.mode == mode then return end
  if self.mode then
    args.misuse(mode == "rows" and "bytes have been written: rows cannot follow"
      or "rows have been put: bytes cannot follow")
  end
  if mode == "rows" and not self.plan.oids then
    args.misuse("rows need types: name a table without format = \"csv\", header, delimiter or null, or give types "
      .. "for a COPY statement; bytes go in with write")
  end
  self.mode = mode
end

-- The `row` of a writer that has got one: it is called a million times, and looks nothing up.
local function quick_row(self)
  local put, goes_on = self.guard:putter(self, go_on)
  if goes_on then return put end
  return function(_, ...)
    local more, err, row = put(self, ...)
    if more then return true end
    return go_on(self, more, err, row)
  end
end

--- One row: its values in the order of the columns; nil is NULL, and must stand where one is meant.
---@param ... any
---@return true|nil
---@return luphant.error|nil err  names row and column; the row was left out, and finish will fail
function methods:row(...)
  enter(self, "rows")
  self.row = quick_row(self)
  return self:row(...)
end

local function send_if(self, is_full)
  if is_full then return push(self) end
  return true
end

local function put_list(self, list)
  local at, last = 1, #list
  while at <= last do
    local full, row
    at, full, row = self.guard:put_rows(list, at)
    if not at then return go_on(self, nil, full, row) end
    local ok, err = send_if(self, full)
    if not ok then return nil, err end
  end
  return true
end

local CHUNK = 256 -- rows of an iterator that are handed on together

local function put_each(self, next_row, state, control)
  local chunk, n = {}, 0
  for row in next_row, state, control do
    n = n + 1
    chunk[n] = row
    if n == CHUNK then
      local ok, err = put_list(self, chunk)
      if not ok then return nil, err end
      chunk, n = {}, 0
    end
  end
  return put_list(self, chunk)
end

--- Many rows: an array of them, or an iterator as in a `for` loop. Each is a table, with the values in the order of
--- the columns (NULL is nil or luphant.NULL) or by their names.
---@param source table|function
---@return true|nil
---@return luphant.error|nil
function methods:rows(source, state, control)
  enter(self, "rows")
  if type(source) == "function" then return put_each(self, source, state, control) end
  return put_list(self, args.argument(source, { "table", "function" }, 1, "rows", 2))
end

local function lists_of(self, given)
  local fixed = type(given.n) == "number" and given.n or nil -- else a column of that name
  local lists, last = {}, fixed
  for i, name in ipairs(self.plan.names) do
    local list = given[name] or given[i]
    if type(list) ~= "table" then
      args.misuse(('columns needs a list for "%s", got %s'):format(name, args.show(list)))
    end
    lists[i] = list
    last = last or list.n or #list
    if not fixed and (list.n or #list) ~= last then
      args.misuse(('the list for "%s" has %d values, others have %d (luphant.NULL stands for NULL)'):format(
        name, list.n or #list, last))
    end
  end
  return lists, last or 0
end

--- Rows as one list for each column, by name or in order: { id = { 1, 2 }, name = { "a", "b" } }. They are equally
--- long (or `n` says how long); NULL is luphant.NULL.
---@param given table
---@return true|nil
---@return luphant.error|nil
function methods:columns(given)
  args.argument(given, "table", 1, "columns", 2)
  enter(self, "rows")
  local lists, last = lists_of(self, given)
  local at = 1
  while at <= last do
    local full, row
    at, full, row = self.guard:put_columns(lists, at, last)
    if not at then return go_on(self, nil, full, row) end
    local ok, err = send_if(self, full)
    if not ok then return nil, err end
  end
  return true
end

--- Bytes in the format of the COPY, cut anywhere.
---@param bytes string
---@return true|nil
---@return luphant.error|nil
function methods:write(bytes)
  args.argument(bytes, "string", 1, "write", 2)
  enter(self, "bytes")
  local at, size = 1, #bytes
  while at <= size do
    local full
    at, full = self.guard:put_bytes(bytes, at)
    if not at then return go_on(self, nil, full) end
    local ok, err = send_if(self, full)
    if not ok then return nil, err end
  end
  return true
end

local function tell_reason(self, reason)
  self.box:set_deadline(core.now() + self.conn.settings.cancel_grace)
  local _, err = course.await(self.conn, self.box:copy_end(reason))
  return err
end

local function call_off(self, reason)
  return course.carefully(self.box, tell_reason, self, reason)
end

local function refusal_of(self)
  if self.refusal then return self.refusal end
  local _, _, is_doomed = self.guard:counts()
  if not is_doomed then return nil end
  return errors.new("parameter", "a row could not be put, so none of them are", { query = self.plan.sql })
end

--- The end: how many rows the server has taken, all of them for good (with the transaction, inside of one). Once more
--- answers the same.
---@return integer|nil
---@return luphant.error|nil
function methods:finish()
  if self.count then return self.count end
  if self.over or not self.guard:is_live() then return course.ended(self, "writer") end
  local refusal = refusal_of(self)
  if refusal then
    call_off(self, "a row was refused")
    return put_back(self, refusal)
  end
  if self.mode == "rows" or (not self.mode and self.plan.oids) then self.guard:put_end() end
  local count, err = course.await(self.conn, self.box:copy_end())
  if count == nil then return put_back(self, err) end
  local _, bytes = self.guard:counts()
  self.count = count
  course.close(self)
  if self.meter then meter.finish(self.meter, count, bytes) end
  return count
end

--- No row of this COPY comes to be. Once more, or after finish, does nothing.
---@param reason? string  the server's log and error say it
---@return true
function methods:abort(reason)
  if self.over then return true end
  local err
  if self.guard:is_live() and self.conn.box == self.box then
    err = call_off(self, type(reason) == "string" and reason or "it was given up by the client")
  end
  course.close(self, err)
  return true
end

--- `abort` for a writer that was not finished.
function methods:close() self:abort() end

metatable.__close = function(self, reason)
  self:abort(reason ~= nil and tostring(reason) or nil)
end

function metatable:__tostring()
  return ("luphant.copy_writer (%s)"):format(self.over and "ended" or self.plan.sql)
end

--- Begins the COPY of `plan` on `conn`.
---@param conn luphant.connection
---@param plan luphant.copy.plan
---@return luphant.copy_writer|nil
---@return luphant.error|nil
function writer.open(conn, plan)
  local self = setmetatable({ conn = conn, box = conn.box, plan = plan, over = false }, metatable)
  self.meter = meter.new(plan.options)
  return course.begin(self)
end

return writer
