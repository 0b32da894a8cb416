-- stream/options.lua - what a stream is asked for, and which of the two forms it takes.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local core = require "luphant.core"
local request = require "luphant.request"
local sqltext = require "luphant.sqltext"

local options = {}

local STYLES = { named = 0, array = 16, values = 48 } -- what is added to a verb's number (lconn.h)

local KEYS = {
  rows = { one_of = { "named", "array", "values" } },
  timeout = { type = "number", above = 0, none = true },
  via = { one_of = { "rows", "portal" } },
  fetch_size = { type = "number", integer = true, min = 1, max = 1000000 },
}

local READS = { select = true, values = true, table = true, with = true }
local WRITES = { insert = true, update = true, delete = true, merge = true, into = true }

-- DECLARE takes queries only, and a failure of it would cost the transaction: in doubt the answer is no. (A WITH can
-- hold statements that write, a SELECT can make a table.)
local function is_query(sql)
  local first
  for kind, from, to in sqltext.scan(sql) do
    if kind == "word" then
      local word = sql:sub(from, to):lower()
      if not first then
        first = word
        if not READS[word] then return false end
      elseif WRITES[word] and (first == "with" or word == "into") then
        return false
      end
    end
  end
  return first ~= nil
end

local HAS_CHUNKS = core.features().chunked_rows

-- Between BEGIN and COMMIT the connection is most likely needed for what is done with the rows. Outside of it a portal
-- costs a transaction, and still less than the other form where libpq makes a result of each single row.
local function choose(sql, conn, is_inside)
  if not is_inside and (HAS_CHUNKS or conn.box:taps_rows()) then return "rows" end
  return is_query(sql) and "portal" or "rows"
end

--- Is a transaction open, ours or one that was begun by hand?
---@param conn luphant.connection
---@return boolean
function options.is_inside(conn)
  if conn.tx then return true end
  local status = conn.box:transaction_status()
  return status == "intrans" or status == "inerror"
end

--- Row style of the core, for options or for the settings of a connection; there are no columns in a stream.
---@param rows string|nil
---@param conn luphant.connection
---@return integer
function options.style(rows, conn)
  return STYLES[rows or conn.settings.rows] or STYLES.named
end

---@class luphant.stream.plan
---@field sql string
---@field style integer
---@field via "rows"|"portal"
---@field fetch_size integer|nil
---@field has_timeout boolean
---@field timeout number|nil
---@field is_inside boolean

--- Reads what stands in the place of SQL text. Misuse raises at the caller of the verb.
---@param value string|table
---@param conn luphant.connection
---@return luphant.stream.plan
function options.read(value, conn)
  local given = {}
  if type(value) == "table" then
    value, given = request.split(value, KEYS)
  elseif type(value) ~= "string" then
    args.misuse("SQL text expected (or a table { sql, rows =, timeout =, via =, fetch_size = }), got "
      .. args.show(value))
  end
  local is_inside = options.is_inside(conn)
  return {
    sql = value, style = options.style(given.rows, conn), is_inside = is_inside, fetch_size = given.fetch_size,
    via = given.via or given.fetch_size and "portal" or choose(value, conn, is_inside),
    has_timeout = given.has_timeout or false, timeout = given.timeout,
  }
end

return options
