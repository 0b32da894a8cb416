-- db:strict(): the same verbs, and errors that are raised.
--
-- To see it fail: let `raised` in lua/luphant/strict.lua return what it gets.
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local luphant = require "luphant"

describe("a strict view of a pool", function()
  local db, strict

  before_each(function()
    db = assert(luphant.open(env.url(), { max_connections = 2 }))
    strict = db:strict()
  end)

  after_each(function()
    assert.equal(0, db:stats().used)
    db:close()
  end)

  local function raised(fn, ...)
    local ok, err = pcall(fn, ...)
    assert.is_false(ok)
    return err
  end

  it("returns what the verbs return", function()
    assert.equal(42, strict:query_value("select $1::int", 42))
    assert.same({ { n = 1 } }, { { n = strict:query("select 1 as n")[1].n } })
    assert.is_nil(strict:query_opt "select 1 where false")
    assert.is_nil(strict:query_value "select null::int")
    assert.equal(0, strict:execute "update pg_catalog.pg_class set relname = relname where false")
  end)

  it("raises the error object itself", function()
    local err = raised(strict.query, strict, "select 1/0")
    assert.equal("division_by_zero", err.kind)
    assert.equal("no_rows", raised(strict.query_one, strict, "select 1 where false").kind)
    assert.equal("no_rows", raised(strict.query_value, strict, "select 1 where false").kind)
  end)

  it("gives strict connections and transactions to functions", function()
    local err = raised(strict.transaction, strict, function(tx) tx:execute "select 1/0" end)
    assert.equal("division_by_zero", err.kind)
    err = raised(strict.with, strict, function(conn) conn:query "select nothing" end)
    assert.equal("undefined_column", err.kind)
    assert.equal(7, strict:transaction(function(tx) return tx:query_value "select 7" end))
    local conn = strict:acquire()
    assert.equal("division_by_zero", raised(conn.query, conn, "select 1/0").kind)
    conn:release()
  end)

  it("raises misuse as the verbs do, and says how it is called", function()
    assert.is_truthy(tostring(raised(strict.query, strict, nil)):find("SQL text expected", 1, true))
    assert.is_truthy(tostring(raised(strict.query, {})):find("strict:query", 1, true))
  end)

  it("closes what it is a view of", function()
    strict:close()
    local rows, err = db:query "select 1"
    assert.is_nil(rows)
    assert.equal("pool_closed", err.kind)
  end)
end)
