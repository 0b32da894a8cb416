-- cli/migrate/scratch.lua - a database for one run and nobody else, gone afterwards.
--
-- SPDX-License-Identifier: MIT

local luphant = require "luphant"
local server = require "luphant.testing.server"

local M = {}

-- Unlikely to be there: the name of a table's address, which differs from run to run, and the time.
local function new_name()
  return ("luphant_scratch_%s_%d"):format(tostring({}):match "(%x+)$", os.time())
end

local function in_database(conn, url, fn)
  local name = new_name()
  local ok, err = conn:execute("create database " .. name .. " template template0")
  if not ok then return nil, err end
  local answer, why
  local scratch
  scratch, why = luphant.connect(url, { dbname = name })
  if scratch then
    answer, why = fn(scratch)
    scratch:close()
  end
  ok, err = conn:execute("drop database " .. name)
  if answer and not ok then return nil, err end
  return answer, why
end

local function on_server(url, fn)
  local conn, err = luphant.connect(url)
  if not conn then return nil, err end
  local answer
  answer, err = in_database(conn, url, fn)
  conn:close()
  return answer, err
end

--- Calls `fn` with a connection to a new empty database on the server of `url`, or on a private one.
---@param url string?
---@param fn fun(conn: table): any, table?
---@return any answer
---@return table|string? err
function M.run(url, fn)
  if url then return on_server(url, fn) end
  local private, why = server.start()
  if not private then return nil, why end
  local answer, err = on_server(private:url(), fn)
  private:stop()
  return answer, err
end

return M
