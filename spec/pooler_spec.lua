-- Behind a real PgBouncer in transaction mode, with one server session for two clients: what one prepares
-- the other may meet, and what it prepared may be gone. pooler = "transaction" does not depend on any of it; the
-- default mode heals where it can and says what to do where it cannot.
--
-- SPDX-License-Identifier: MIT

local luphant = require "luphant"
local pgbouncer = require "spec.support.pgbouncer"
local probe = require "spec.support.probe"
local server = require "luphant.testing.server"

describe("behind PgBouncer in transaction mode", function()
  local pg, pooler, open

  setup(function()
    pg = assert(server.start())
    assert(pg:psql [[create table account (id int primary key, balance numeric not null);
      insert into account select n, 100 from generate_series(1, 10) n;
      create type mood as enum ('glad', 'sad')]])
    pooler = assert(pgbouncer.start(pg, { pool_size = 1 }))
  end)

  teardown(function()
    pooler:stop()
    pg:stop()
  end)

  before_each(function() open = {} end)
  after_each(function()
    for _, each in ipairs(open) do each:close() end
    -- Whatever a test left on the one server session is gone for the next one.
    assert(pooler:psql "reconnect")
  end)

  local function connect(options)
    local conn, err = luphant.connect(pooler:url(), options)
    assert(conn, tostring(err))
    open[#open + 1] = conn
    return conn
  end

  -- The statements that exist on the server session which all clients share.
  local function prepared(conn)
    return conn:query_value "select count(*)::int from pg_prepared_statements"
  end

  describe("pooler = \"transaction\"", function()
    local a, b

    before_each(function()
      a, b = connect { pooler = "transaction" }, connect { pooler = "transaction" }
    end)

    it("runs the statements of two clients in turn over one server session", function()
      local pid = a:query_value "select pg_backend_pid()"
      assert.equal(pid, b:query_value "select pg_backend_pid()") -- one session indeed
      for i = 1, 50 do
        assert.equal(i, a:query_value("select $1::int", i))
        assert.equal("b" .. i, b:query_value("select $1::text", "b" .. i))
        assert.equal(tostring(i), a:query_value("select $1::text", tostring(i)))
        local row = assert(b:query_one("select id, balance from account where id = $1", i % 10 + 1))
        assert.same({ id = i % 10 + 1, balance = "100" }, row)
      end
    end)

    it("leaves no prepared statement on the server", function()
      for i = 1, 20 do assert.equal(i, a:query_value("select $1::int + 0 * " .. i, i)) end
      assert.equal(0, prepared(b))
    end)

    it("keeps a transaction together while the other waits for its turn", function()
      assert(a:transaction(function(tx)
        assert(tx:execute("update account set balance = balance - $2 where id = $1", 1, "30"))
        assert(tx:execute("update account set balance = balance + $2 where id = $1", 2, "30"))
        return true
      end))
      assert.same({ "70", "130" }, b:query_column("select balance from account where id <= $1 order by id", 2))
      assert(b:execute "update account set balance = 100")
    end)

    it("reads types of the user, arrays of them, and everything binary", function()
      assert.same({ m = "sad", many = { "glad", "sad" } },
        a:query_one("select $1::mood as m, array['glad', $1]::mood[] as many", "sad"))
      assert.same({ ts = "2024-02-29 12:00:00+00" }, b:query_one("select $1::timestamptz as ts",
        "2024-02-29 12:00:00+00"))
    end)

    it("prepare gives a statement that works, whoever used the session in between", function()
      local mine = assert(a:prepare "select $1::int * 2 as n")
      for i = 1, 10 do
        assert.equal(2 * i, assert(mine:query(i))[1].n)
        assert.equal(i, b:query_value("select $1::int", i))
      end
    end)

    it("survives that PgBouncer gets itself a new server session", function()
      assert.equal(1, a:query_value("select $1::int", 1))
      assert(pooler:psql "reconnect")
      assert.equal(2, a:query_value("select $1::int", 2))
    end)

    it("tells errors as ever, and goes on", function()
      for _ = 1, 3 do
        assert.equal("22012", (select(2, a:query("select 1 / $1::int", 0))).sqlstate)
        assert.equal("23505", (select(2, b:query("insert into account values ($1, 0)", 1))).sqlstate)
        probe.usable(a)
        probe.usable(b)
      end
    end)

    it("keeps the client deadline, and the other client gets no cancellation", function()
      for i = 1, 10 do
        local err = probe.fails(1.5, a.query, a, { "select pg_sleep(5)", timeout = 0.05 })
        assert.equal("query_timeout", err.kind)
        assert.equal(i, b:query_value("select $1::int", i))
        if not a:is_open() then a = connect { pooler = "transaction" } end
        probe.usable(a)
      end
    end)

    it("survives DDL under a statement that was used before", function()
      assert(a:script "drop table if exists shape; create table shape (n int); insert into shape values (1)")
      assert.same({ { n = 1 } }, { (assert(a:query "select * from shape"))[1] })
      assert(b:script "alter table shape add column s text default 'new'")
      assert.same({ { n = 1, s = "new" } }, { (assert(a:query "select * from shape"))[1] })
      assert(b:script "drop table shape")
    end)
  end)

  describe("the default mode", function()
    -- "deallocate all" is what a new server session means to a client: what it prepared is gone.
    it("heals a prepared statement that is gone", function()
      local conn = connect()
      assert.equal(1, conn:query_value("select $1::int", 1))
      assert(pooler:psql("deallocate all", pg.database))
      assert.equal(2, conn:query_value("select $1::int", 2))
      assert(pooler:psql "reconnect")
      assert.equal(3, conn:query_value("select $1::int", 3))
    end)

    it("never runs a statement of another client", function()
      local a, b = connect(), connect()
      for i = 1, 30 do
        assert.equal("a" .. i, a:query_value("select 'a' || $1::text", i .. ""))
        assert.equal("b" .. i, b:query_value("select 'b' || $1::text", i .. ""))
        if i % 7 == 0 then assert(pooler:psql("deallocate all", pg.database)) end
      end
    end)

    it("says what to do when the statement is gone inside a transaction", function()
      local conn = connect()
      assert.equal(1, conn:query_value("select $1::int", 1))
      assert(pooler:psql("deallocate all", pg.database))
      assert(conn:script "begin")
      local _, err = conn:query_value("select $1::int", 2)
      assert.equal("26000", err.sqlstate)
      assert.matches('pooler = "transaction"', tostring(err), 1, true)
      assert(conn:script "rollback")
      assert.equal(3, conn:query_value("select $1::int", 3)) -- and outside it heals
    end)
  end)
end)
