-- transaction/resolve.lua - what became of a transaction whose COMMIT was never answered.
--
-- The server remembers how each of the last two thousand million transactions ended; all it takes is the id. The
-- connection learns it before COMMIT leaves (core/flight.h).
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local core = require "luphant.core"
local errors = require "luphant.errors"

local resolve = {}

local function unresolved(message, cause)
  return errors.new("commit_unresolved", message, { cause = cause, sent = "no" })
end

local STATUS, OLD_STATUS = "select pg_catalog.pg_xact_status($1::text::pg_catalog.xid8)",
  "select pg_catalog.txid_status($1::text::bigint)"

local function ask(q, id)
  local status, err = q:query_value(STATUS, id)
  if errors.is(err, "undefined_object", "undefined_function") then -- before version 13
    status, err = q:query_value(OLD_STATUS, id)
  end
  if err then return nil, err end
  if status == nil then
    return nil, unresolved "the transaction is too long ago: the server has forgotten how it ended"
  end
  return status
end

local OPTIONS = { timeout = { type = "number", above = 0 } }
local PAUSE = 0.05

--- Asks the server what became of the transaction: "committed", "aborted", or "in progress" (its session is still
--- being served: ask again). nil and an error when that cannot be known or asked.
---@param err luphant.error  of kind commit_unknown
---@param q luphant.connection  a connection or pool to the same server
---@param given? { timeout?: number }  go on asking for so long while it is in progress
---@return "committed"|"aborted"|"in progress"|nil
---@return luphant.error|nil
function resolve.run(err, q, given)
  if err.kind ~= "commit_unknown" then
    error("resolve is for errors of kind commit_unknown; this one is " .. tostring(err.kind), 2)
  end
  if type(q) ~= "table" or not q.query_value then
    error("resolve needs a connection or pool to ask, got " .. args.show(q), 2)
  end
  local options = args.check(given or {}, OPTIONS, "resolve option", 2)
  if not err.xid then
    return nil, unresolved("this cannot be told: " .. err.hint, err)
  end
  local limit = options.timeout and core.now() + options.timeout
  while true do
    local status, why = ask(q, err.xid)
    if status ~= "in progress" or not limit or core.now() + PAUSE > limit then return status, why end
    q.waiter.sleep(q.waiter.now() + PAUSE)
  end
end

errors.add_method("resolve", resolve.run)

return resolve
