-- PgBouncer in transaction mode, one server session for all: a client may not count on anything that the session keeps.
-- spec/pooler_spec.lua has the whole of it; here are the faults of the table, under each way of waiting.
--
-- To see it fail: let stmt.c use names under pooler = "transaction", or take the healing of 26000 out of
-- connection.lua.
--
-- SPDX-License-Identifier: MIT

local luphant = require "luphant"
local ordeal = require "spec.support.ordeal"
local pgbouncer = require "spec.support.pgbouncer"
local probe = require "spec.support.probe"
local server = require "luphant.testing.server"

local function start() return assert(server.start()) end

local missing = not pgbouncer.is_installed() and "pgbouncer is not installed" or nil

ordeal.family("behind PgBouncer in transaction mode", { server = start, missing = missing }, function(test)
  -- Two clients of a pooler that has one server session.
  local function clients(world, options)
    local pooler = world.keep(assert(pgbouncer.start(world.server, { pool_size = 1 })))
    local function connect()
      local given = { waiter = world.waiter }
      for name, value in pairs(options or {}) do given[name] = value end
      local conn, err = luphant.connect(pooler:url(), given)
      assert(conn, tostring(err))
      return world.keep(conn)
    end
    return connect(), connect(), pooler
  end

  test("F47 a prepared statement that is gone is healed outside of a transaction, and told inside", function(world)
    local a, b, pooler = clients(world)
    assert.equal(1, a:query_value("select $1::int", 1))
    assert(pooler:psql("deallocate all", world.server.database))
    assert.equal(2, a:query_value("select $1::int", 2))
    assert(pooler:psql("deallocate all", world.server.database))
    -- Nothing has run in a transaction when its first statement begins: that one is healed as well.
    assert.equal(3, a:transaction(function(tx) return tx:query_value("select $1::int", 3) end))
    local value, err = a:transaction(function(tx)
      assert(tx:query_value("select $1::int", 3))
      tx:execute "do $$ begin execute 'deallocate all'; end $$"
      return tx:query_value("select $1::int", 3)
    end)
    assert.is_nil(value)
    assert.equal("26000", err.sqlstate)
    assert.matches('pooler = "transaction"', tostring(err), 1, true)
    assert.equal(4, a:query_value("select $1::int", 4))
    probe.usable(b)
  end)

  test("F47 a prepared statement of another client is never run in its place", function(world)
    local a, b, pooler = clients(world)
    for i = 1, 20 do
      assert.equal("a" .. i, a:query_value("select 'a' || $1::text", i .. ""))
      assert.equal("b" .. i, b:query_value("select 'b' || $1::text", i .. ""))
      if i % 5 == 0 then assert(pooler:psql("deallocate all", world.server.database)) end
    end
  end)

  test("F47 unnamed statements need nothing that the session keeps", function(world)
    local a, b, pooler = clients(world, { pooler = "transaction" })
    for i = 1, 20 do
      assert.equal(i, a:query_value("select $1::int", i))
      assert.equal("b" .. i, b:query_value("select $1::text", "b" .. i))
      if i == 10 then assert(pooler:psql "reconnect") end
    end
    assert.equal(0, a:query_value "select count(*)::int from pg_prepared_statements")
    assert.equal("done", a:transaction(function(tx)
      assert(tx:execute "set local statement_timeout = 5000")
      assert.equal("5s", tx:query_value "show statement_timeout")
      return "done"
    end))
    assert.equal("0", b:query_value "show statement_timeout") -- what is local to a transaction does not leak
  end)

  test("F47 a limit that the pooler would hand to others is refused with what to do instead", function(world)
    local value, err = luphant.connect(world.options { pooler = "transaction", statement_timeout = 1 })
    assert.same({ nil, "config" }, { value, err.kind })
    assert.matches("timeout", err.message, 1, true)
  end)

  test("F47 a deadline cancels the statement of its own client", function(world)
    local a, b = clients(world, { pooler = "transaction" })
    for i = 1, 5 do
      local err = world.fails(1.5, a.query, a, { "select pg_sleep(5)", timeout = 0.05 })
      assert.equal("query_timeout", err.kind)
      assert.equal(i, b:query_value("select $1::int", i))
      if a:is_open() then probe.usable(a) end
    end
  end)

  test("F47 a pool in front of the pooler keeps transactions together and callers apart", function(world)
    local pooler = world.keep(assert(pgbouncer.start(world.server, { pool_size = 2 })))
    assert(world.server:psql "drop table if exists spent; create table spent (caller int, n int)")
    local db = world.pool { url = pooler:url(), waiter = world.waiter, pooler = "transaction", max_connections = 6 }
    local function work(caller)
      for n = 1, 5 do
        assert.equal(caller * 100 + n, db:query_value("select $1::int", caller * 100 + n))
        assert(db:transaction(function(tx)
          assert(tx:execute("insert into spent values ($1, $2)", caller, n))
          assert.equal(n, tx:query_value("select count(*)::int from spent where caller = $1", caller))
          return true
        end))
      end
    end
    local tasks = {}
    for caller = 1, 8 do
      if world.spawn then tasks[caller] = world.spawn(function() work(caller) end) else work(caller) end
    end
    if world.spawn then world.join(tasks) end
    assert.equal(40, db:query_value "select count(*)::int from spent")
    assert(pooler:psql "reconnect")
    world.assert_sound(db)
  end)
end)
