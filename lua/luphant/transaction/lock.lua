-- transaction/lock.lua - advisory locks that end with the transaction.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local compat = require "luphant.compat"

local lock = {}

local OPTIONS = {
  try = { type = "boolean" },
  shared = { type = "boolean" },
  timeout = { type = "number", above = 0, max = 2147483 },
}

local KEYS = "expects an integer, two integers { a, b }, or a string"

-- The arguments of the lock function, and the SQL for them.
local function arguments_of(key)
  if type(key) == "string" then return "pg_catalog.hashtextextended($1::text, 0)", { key } end
  if type(key) == "table" then
    if not (compat.is_integral(key[1]) and compat.is_integral(key[2])) then args.misuse("advisory_lock " .. KEYS) end
    return "$1::int4, $2::int4", { key[1], key[2] }
  end
  if not compat.is_integral(key) then args.misuse(("advisory_lock %s, got %s"):format(KEYS, args.show(key))) end
  return "$1::int8", { key }
end

-- One statement: the limit is set, the lock taken and the limit put back, in this order. A table of one row that is
-- not pulled up into the query around it is what keeps the order.
local LIMITED = [[select pg_catalog.set_config('lock_timeout', limited.before, true) from (
  select pg_catalog.current_setting('lock_timeout') as before,
    pg_catalog.set_config('lock_timeout', $%d::text, true), %s offset 0) limited]]

-- In a savepoint: a lock that was not to be had must not cost the transaction.
local function take_limited(tx, call, values, seconds)
  values[#values + 1] = ("%.0fms"):format(math.max(1, seconds * 1000))
  return tx:transaction(function(inner)
    local ok, err = inner:query_column(LIMITED:format(#values, call), compat.unpack(values))
    if not ok then return nil, err end
    return true
  end)
end

---@param tx luphant.transaction
function lock.take(tx, key, given)
  local options, why = args.validate(given or {}, OPTIONS, "advisory_lock option")
  if not options then args.misuse(why) end
  if options.try and options.timeout then args.misuse "try does not wait: it takes no timeout" end
  local arguments, values = arguments_of(key)
  local call = ("pg_catalog.pg_%sadvisory_xact_lock%s(%s)"):format(options.try and "try_" or "",
    options.shared and "_shared" or "", arguments)
  if options.timeout then return take_limited(tx, call, values, options.timeout) end
  local rows, err = tx:query_column("select " .. call, compat.unpack(values))
  if not rows then return nil, err end
  return not options.try or rows[1]
end

--- The query for the id of the transaction, in the words of the server's version.
function lock.id_query(conn)
  if conn:server_version() < 130000 then return "select pg_catalog.txid_current_if_assigned()::text" end
  return "select pg_catalog.pg_current_xact_id_if_assigned()::text"
end

return lock
