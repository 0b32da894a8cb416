-- bulk/gather.lua - the caller's rows, portion by portion, in the form that goes out.
--
-- A portion ("group") is one flight of a few statements ("chunks"), so that the server inserts one while the next is
-- encoded. Its size is bounded in rows and in bytes, however many rows there are.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local compat = require "luphant.compat"
local core = require "luphant.core"
local errors = require "luphant.errors"

local gather = {}

local NULL = core.NULL

local CHUNK_ROWS = 1000      -- more gain nothing: the statement is a small part of what its rows cost
local GROUP_CHUNKS = 16
local GROUP_ROWS = 8000      -- of statements for one row each
local GROUP_BYTES = 4 * 2 ^ 20

---@class luphant.bulk.chunk
---@field first integer  number of its first row
---@field n integer
---@field columns any[][]|nil   unnest: a list for each column
---@field rows any[][]|nil      values: a list for each row

--- Where rows come from: `next()` answers one after the other.
---@param rows table|fun(): table|nil
---@return fun(): table|nil
function gather.source(rows)
  if type(rows) == "function" then return rows end
  if type(rows) ~= "table" then
    args.misuse("rows must be a list or a function that answers one row after the other, got " .. args.show(rows))
  end
  local at = 0
  return function()
    at = at + 1
    return rows[at]
  end
end

local function bad_row(number, why)
  return errors.new("parameter", ("row %s: %s"):format(compat.digits(number), why), { row = number })
end

-- Values of a row by position; nil: it is none.
local function by_position(row, columns, values)
  local count = #columns
  for key, value in pairs(row) do
    if type(key) ~= "number" or key < 1 or key > count or key % 1 ~= 0 then return nil, key end
    values[key] = value
  end
  return values
end

local function by_name(row, place, values)
  for key, value in pairs(row) do
    local at = place[key]
    if not at then return nil, key end
    values[at] = value
  end
  return values
end

-- { 1, "a" } or { id = 1, name = "a" }, as a list with NULL for what is not there.
local function values_of(self, row, number, values)
  if type(row) ~= "table" then return nil, bad_row(number, "a table expected, got " .. args.show(row)) end
  local count = #self.columns
  for i = 1, count do values[i] = NULL end
  local read, stray
  if type(next(row)) == "string" then
    read, stray = by_name(row, self.place, values)
  else
    read, stray = by_position(row, self.columns, values)
  end
  if read then return values end
  local hint = type(stray) == "string" and args.did_you_mean(stray, self.columns) or ""
  return nil, bad_row(number, ("there is no column for %s%s"):format(args.show(stray), hint))
end

local function size_of(values)
  local bytes = 0
  for i = 1, #values do
    local value = values[i]
    if type(value) == "string" then bytes = bytes + #value end
  end
  return bytes
end

-- For the row that was just read, and those behind it.
local function new_chunk(self)
  local chunk = { first = self.read, n = 0 }
  if self.plan.via == "unnest" then
    chunk.columns = {}
    for i = 1, #self.columns do chunk.columns[i] = {} end
  else
    chunk.rows = {}
  end
  return chunk
end

local function put(chunk, values)
  local n = chunk.n + 1
  chunk.n = n
  if chunk.rows then
    chunk.rows[n] = values
    return
  end
  local columns = chunk.columns
  for i = 1, #columns do columns[i][n] = values[i] end
end

-- A row by position without anything else in it goes straight into the columns: the usual case, and half the price.
-- Answers its bytes; nil: not that easy.
local function put_plainly(chunk, row, width)
  local columns = chunk.columns
  if not columns or type(row) ~= "table" or row[1] == nil then return nil end
  local count = #row
  if count > width or next(row, count) ~= nil then return nil end
  local n, bytes = chunk.n + 1, 0
  chunk.n = n
  for i = 1, width do
    local value = row[i]
    if value == nil then value = NULL end
    columns[i][n] = value
    if type(value) == "string" then bytes = bytes + #value end
  end
  return bytes
end

-- Puts a row; answers its bytes, or nil and why it is none.
local function put_row(self, chunk, row)
  local bytes = put_plainly(chunk, row, #self.columns)
  if bytes then return bytes end
  local values, err = values_of(self, row, self.read, {})
  if not values then return nil, err end
  put(chunk, values)
  return size_of(values)
end

---@param plan luphant.bulk.plan
---@param source fun(): table|nil
function gather.new(plan, source)
  local place = {}
  for i, name in ipairs(plan.columns) do place[name] = i end
  return { plan = plan, source = source, columns = plan.columns, place = place, read = 0, is_over = false }
end

--- The next portion: chunks; an empty list at the end; nil and an error for a row that is none.
---@param self table
---@return luphant.bulk.chunk[]|nil
---@return luphant.error|nil
function gather.group(self)
  local is_unnest = self.plan.via == "unnest"
  local chunk_rows = is_unnest and CHUNK_ROWS or GROUP_ROWS
  local most = is_unnest and GROUP_CHUNKS or 1
  local chunks, chunk, bytes = {}, nil, 0
  while bytes < GROUP_BYTES do
    if #chunks == most and chunk.n == chunk_rows then break end
    local row = self.source()
    if row == nil then
      self.is_over = true
      break
    end
    self.read = self.read + 1
    if not chunk or chunk.n == chunk_rows then
      chunk = new_chunk(self)
      chunks[#chunks + 1] = chunk
    end
    local more, err = put_row(self, chunk, row)
    if not more then return nil, err end
    bytes = bytes + more
  end
  return chunks
end

--- For COPY, which takes rows one by one: the next row's values; nil at the end; nil and an error for what is none.
---@param self table
---@param values any[]  is filled, and answered
---@return any[]|nil
---@return luphant.error|nil
function gather.row(self, values)
  local row = self.source()
  if row == nil then return nil end
  self.read = self.read + 1
  return values_of(self, row, self.read, values)
end

return gather
