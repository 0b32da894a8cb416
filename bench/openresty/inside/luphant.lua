-- inside/luphant.lua - the service with luphant: as it is, with a connection for each query, or everything shared.
--
-- SPDX-License-Identifier: MIT

local answer = require "bench.openresty.inside.answer"
local luphant = require "luphant"

local SHARE = { shared = true, apart = false }
local share = SHARE[os.getenv "BENCH_WAY"]
local db = assert(luphant.open(os.getenv "BENCH_URL", {
  max_connections = tonumber(os.getenv "BENCH_CONNECTIONS"), share = share,
}))

local service = {}

function service.person(id)
  return assert(db:query_one("select id, name, email, balance, active from luphant_bench.person where id = $1", id))
end

function service.items(first, last)
  return assert(db:query([[select id, big, title, code, active, ratio, at, price from luphant_bench.item
    where id between $1 and $2 order by id]], first, last))
end

-- With share = true a statement known to be slow goes through db:with: docs/api/pool.md says so.
local function nap(conn, seconds) return conn:execute("select pg_sleep($1)", seconds) end

function service.nap(seconds)
  if not share then return assert(nap(db, seconds)) end
  return assert(db:with(function(conn) return nap(conn, seconds) end))
end

return answer.locations(service)
