-- cursor.lua - q:cursor(sql, params, options): a cursor on the server, moved by hand.
--
-- Its rows are read where the program wants them, forward and backward with `scroll`; between two fetches the
-- connection is free. It lives as long as the transaction it was declared in, or, with `hold`, as long as the session.
-- Nothing is asked for in advance: `update ... where current of` means the row that was fetched last.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local compat = require "luphant.compat"
local errors = require "luphant.errors"
local options = require "luphant.stream.options"
local portal = require "luphant.stream.portal"
local transaction = require "luphant.transaction"

local cursor = {}

local CURSOR = 10 -- verb of the core
local MOST_PARAMS = 65535

local KEYS = {
  scroll = { type = "boolean" },
  hold = { type = "boolean" },
  rows = { one_of = { "named", "array" } },
  timeout = { type = "number", above = 0, none = true },
}

---@class luphant.cursor
---@field name string  for `where current of`: needs no quotes
---@field private conn luphant.connection
---@field private box userdata
---@field private core userdata
---@field private step fun(): any, any
---@field private closed boolean
local methods = {}
local metatable = { __name = "luphant.cursor", __index = methods }

-- connection.run is given by connection.lua, which requires this file.
local run

--------------------------------------------------------------------------------------- positions

-- What FETCH and MOVE call a position: whether a number belongs to it, and whether "all" may stand for it.
local POSITIONS = {
  next = {}, prior = {}, first = {}, last = {}, all = {},
  absolute = { number = true }, relative = { number = true },
  forward = { number = true, all = true, bare = true }, backward = { number = true, all = true, bare = true },
}

local function is_whole(value)
  return type(value) == "number" and value == math.floor(value) and value >= -2 ^ 31 and value < 2 ^ 31
end

-- The words behind FETCH or MOVE; misuse raises.
local function direction(where, count)
  if where == nil then return "next" end
  if is_whole(where) and count == nil then return "forward " .. compat.digits(where) end
  local position = type(where) == "string" and POSITIONS[where]
  if not position then
    args.misuse("a position is a number of rows, or one of next, prior, first, last, absolute, relative, forward,"
      .. " backward and all; got " .. args.show(where))
  end
  if count == nil and (position.bare or not position.number) then return where end
  if count == "all" and position.all then return where .. " all" end
  if position.number and is_whole(count) then return where .. " " .. compat.digits(count) end
  args.misuse(('"%s" takes %s, got %s'):format(where,
    position.number and "a whole number" .. (position.all and ' or "all"' or "") or "no number", args.show(count)))
end

----------------------------------------------------------------------------------------- reading

local function gone(self)
  if self.closed then args.misuse "this cursor has been closed" end
  if self.conn.box ~= self.box then args.misuse "the connection of this cursor has been given back or closed" end
end

local function failed(self, err, text)
  if err.query == nil then err.query = text end
  transaction.note(self.conn, err)
  return nil, err
end

-- Runs a command of the cursor; its rows or its count are the core's then.
local function command(self, text)
  local sent, err = portal.ask(self, text)
  if sent then sent, err = portal.await(self) end
  if not sent then return failed(self, err, text) end
  return true
end

local function take_rows(self)
  local list, step = {}, self.step
  local row, err = step()
  while row ~= nil do
    list[#list + 1] = row
    row, err = step()
  end
  if err then return failed(self, err, self.sql) end
  return list
end

--- The rows at a position, in the order in which the cursor meets them: fetch() the next one, fetch(10) so many,
--- fetch("prior"), fetch("absolute", 5), fetch("backward", "all") ... An empty list at either end.
---@param where? integer|string
---@param count? integer|"all"
---@return table[]|nil
---@return luphant.error|nil
function methods:fetch(where, count)
  gone(self)
  local text = ("fetch %s from %s"):format(direction(where, count), self.name)
  local ok, err = command(self, text)
  if not ok then return nil, err end
  return take_rows(self)
end

--- Goes to a position without reading: how many rows fetch would have given.
---@param where? integer|string
---@param count? integer|"all"
---@return integer|nil
---@return luphant.error|nil
function methods:move(where, count)
  gone(self)
  local ok, err = command(self, ("move %s in %s"):format(direction(where, count), self.name))
  if not ok then return nil, err end
  local _, _, rows = self.core:portion()
  return rows
end

local function single(name, has_number)
  methods[name] = function(self, number)
    if has_number and not is_whole(number) then
      args.misuse(name .. " takes a whole number, got " .. args.show(number))
    end
    local rows, err = methods.fetch(self, name, has_number and number or nil)
    if not rows then return nil, err end
    return rows[1]
  end
end

--- The row behind the one where the cursor stands; nil without an error when there is none. So are the other five.
---@return table|nil
---@return luphant.error|nil
function methods:next() end -- luacheck: ignore
single "next"

--- The row in front of it (`scroll`).
function methods:prior() end -- luacheck: ignore
single "prior"

--- The first row (`scroll`).
function methods:first() end -- luacheck: ignore
single "first"

--- The last row (`scroll`).
function methods:last() end -- luacheck: ignore
single "last"

--- The row with this number, counted from the end when it is negative; 0 is in front of the first (`scroll`).
---@param number integer
function methods:absolute(number) end -- luacheck: ignore
single("absolute", true)

--- So many rows further, or back (`scroll`).
---@param number integer
function methods:relative(number) end -- luacheck: ignore
single("relative", true)

------------------------------------------------------------------------------------- its two ends

--- Ends the cursor; once more does nothing. It ends by itself with its transaction.
---@return true|nil
---@return luphant.error|nil
function methods:close()
  if self.closed then return true end
  self.closed = true
  if self.level then transaction.unregister(self.level, self) end
  local ok, err, conn = true, nil, self.conn
  local is_there = conn.box == self.box and self.box:state() ~= "closed"
  if is_there and self.box:transaction_status() ~= "inerror" then -- else it went with its session or transaction
    ok, err = command(self, "close " .. self.name)
  end
  self.core:close()
  if self.is_lent then conn:release() end
  if not ok then return nil, err end
  return true
end
metatable.__close = function(self) methods.close(self) end

function metatable:__tostring()
  return ("luphant.cursor (%s, %s)"):format(self.name, self.closed and "closed" or "open")
end

local function check_place(given, is_inside)
  if is_inside or given.hold then return end
  args.misuse("a cursor lives in a transaction: use tx:cursor inside of conn:transaction, or { hold = true }")
end

-- The core would say it, too; but LuaJIT cannot pass on so many values.
local function too_many(count)
  return errors.new("parameter", ("%d parameters; PostgreSQL takes at most %d (send an array instead)"):format(
    count, MOST_PARAMS), { sent = "no" })
end

local function head(name, given)
  return ("declare %s %sscroll cursor %s hold for "):format(name, given.scroll and "" or "no ",
    given.hold and "with" or "without")
end

local function check_params(params)
  if params ~= nil and type(params) ~= "table" then
    args.misuse("the parameters of a cursor stand in a table, got " .. args.show(params))
  end
  return params or {}
end

--- Declares one on `conn`. With `is_lent` it gives the connection back when it is closed.
---@param conn luphant.connection
---@param is_lent boolean
---@param sql string
---@param params? table  `n` tells how many there are when the last are nil
---@param given? { scroll?: boolean, hold?: boolean, rows?: string, timeout?: number|false }
---@return luphant.cursor|nil
---@return luphant.error|nil
function cursor.open(conn, is_lent, sql, params, given)
  if type(sql) ~= "string" then args.misuse("SQL text expected, got " .. args.show(sql)) end
  params = check_params(params)
  local checked, problem = args.validate(given or {}, KEYS, "cursor option")
  if not checked then args.misuse(problem) end
  check_place(checked, options.is_inside(conn))
  local count = params.n or #params
  if count > MOST_PARAMS then return nil, too_many(count) end
  local self = { conn = conn, box = conn.box, sql = sql, name = portal.new_name(), closed = false, is_lent = is_lent }
  conn.box:set_portal(head(self.name, checked))
  if given and given.timeout ~= nil then conn.box:set_timeout(checked.timeout) end
  local opened, err = run(conn, CURSOR + options.style(checked.rows, conn), sql, compat.unpack(params, 1, count))
  if not opened then return nil, err end
  self.core, self.step = opened, opened:stepper()
  if conn.tx and not checked.hold then
    self.level = conn.tx
    transaction.register(conn.tx, self)
  end
  return setmetatable(self, metatable)
end

--- conn:cursor(sql, params, options): a cursor, moved by hand; see docs/api/stream.md.
---@param conn luphant.connection
---@param sql string
---@param params? table
---@param given? { scroll?: boolean, hold?: boolean, rows?: string, timeout?: number|false }
---@return luphant.cursor|nil
---@return luphant.error|nil
function cursor.of_connection(conn, sql, params, given)
  local opened, err = cursor.open(conn, false, sql, params, given)
  return opened, err
end

--- What connection.lua does for us.
function cursor.serve(run_verb) run = run_verb end

return cursor
