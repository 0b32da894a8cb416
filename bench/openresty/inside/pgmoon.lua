-- inside/pgmoon.lua - the service with pgmoon: connect, query, keepalive, as its documentation has it.
--
-- The ways: `parameters` ($1), `literal` (escape_literal), `execute` (a statement prepared by hand on each connection,
-- run by EXECUTE). Not more requests at a time go to the database than there may be connections, by a semaphore, as
-- luphant's pool does it: pgmoon is faster so. `ungated` is `parameters` without it.
--
-- pgmoon sends every Lua number as numeric; compared with an int4 key that reads the whole table. Hence the casts.
--
-- SPDX-License-Identifier: MIT

local answer = require "bench.openresty.inside.answer"
local pgmoon = require(os.getenv "BENCH_PGMOON")
local semaphore = require "ngx.semaphore"

local way, connections = os.getenv "BENCH_WAY", tonumber(os.getenv "BENCH_CONNECTIONS")
local pool_size = way == "ungated" and 100 or connections
local config = {
  host = os.getenv "BENCH_HOST", port = os.getenv "BENCH_PORT", database = os.getenv "BENCH_DATABASE",
  user = os.getenv "BENCH_USER", pool_size = pool_size,
}
local gate = way ~= "ungated" and semaphore.new(connections)

local PERSON = "select id, name, email, balance, active from luphant_bench.person where id = "
local ITEMS = "select id, big, title, code, active, ratio, at, price from luphant_bench.item where id between "

-- Calls fn(pg, ...) with a connection. An error in here ends the benchmark: nothing is put in order.
local function with(fn, ...)
  if gate then assert(gate:wait(60)) end
  local pg = pgmoon.new(config)
  assert(pg:connect())
  local result = assert(fn(pg, ...))
  assert(pg:keepalive(60000, pool_size))
  if gate then gate:post(1) end
  return result
end

local by_parameters = {
  person = function(pg, id) return pg:query(PERSON .. "$1::int4", id) end,
  items = function(pg, first, last) return pg:query(ITEMS .. "$1::int4 and $2::int4 order by id", first, last) end,
}
local by_literal = {
  person = function(pg, id) return pg:query(PERSON .. pg:escape_literal(id)) end,
  items = function(pg, first, last)
    return pg:query(ITEMS .. pg:escape_literal(first) .. " and " .. pg:escape_literal(last) .. " order by id")
  end,
}

-- Runs an EXECUTE; on a connection that has not got the statement yet, prepares it.
local function execute(pg, run, prepare)
  local result, err = pg:query(run)
  if result or not tostring(err):find("does not exist", 1, true) then return result, err end
  assert(pg:query(prepare))
  return pg:query(run)
end

local by_execute = {
  person = function(pg, id)
    return execute(pg, ("execute person(%d)"):format(id), "prepare person(int4) as " .. PERSON .. "$1")
  end,
  items = function(pg, first, last)
    return execute(pg, ("execute items(%d, %d)"):format(first, last),
      "prepare items(int4, int4) as " .. ITEMS .. "$1 and $2 order by id")
  end,
}

local ways = { parameters = by_parameters, ungated = by_parameters, literal = by_literal, execute = by_execute }
local ask = ways[way]

local service = {}

function service.person(id) return with(ask.person, id)[1] end

function service.items(first, last) return with(ask.items, first, last) end

function service.nap(seconds)
  return with(function(pg) return pg:query("select pg_sleep(" .. pg:escape_literal(seconds) .. ")") end)
end

return answer.locations(service)
