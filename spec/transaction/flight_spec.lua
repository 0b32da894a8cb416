-- What travels with what: BEGIN, savepoints and COMMIT cost no round trips of their own, and a flight that fails fails
-- as a whole. Round trips are counted by a proxy.
--
-- To see it fail: let lph_flight_before of core/flight.c put a Sync behind each step.
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local luphant = require "luphant"
local probe = require "spec.support.probe"
local proxy = require "luphant.testing.proxy"

local NAME = "flight_spec"

describe("a transaction travels", function()
  local gate, conn, direct

  setup(function()
    direct = assert(luphant.connect(env.url()))
    local target = direct:target()
    gate = assert(proxy.start { target_socket = ("%s/.s.PGSQL.%s"):format(target.host, target.port) })
  end)
  teardown(function()
    direct:close()
    gate:stop()
  end)

  local function connect(options)
    local given = { host = gate.host, port = gate.port, dbname = "postgres", user = "postgres", sslmode = "disable",
      application_name = NAME }
    for key, value in pairs(options or {}) do given[key] = value end
    return assert(luphant.connect(given))
  end

  before_each(function()
    assert(direct:script "drop table if exists flights; create table flights (n int primary key)")
    conn = connect()
    assert(conn:execute("insert into flights values ($1)", 0)) -- described from here on
    assert(conn:query_value "select count(*)::int from flights")
  end)
  after_each(function()
    if conn:is_open() then
      assert.equal("idle", conn:transaction_status())
      probe.usable(conn)
    end
    conn:close()
    assert(direct:script "drop table flights")
  end)

  -- How often the client spoke and waited while fn ran.
  local function trips(fn)
    gate:stats { reset = true }
    fn()
    return gate:stats().round_trips
  end

  local function insert(tx, n) return tx:execute("insert into flights values ($1)", n) end
  local function rows()
    return direct:query_value "select string_agg(n::text, ',' order by n) from flights where n > 0"
  end

  it("without a word when no statement runs", function()
    assert.equal(0, trips(function()
      assert.equal(7, conn:transaction(function() return 7 end, { isolation = "serializable", timeout = 5 }))
      conn:transaction(function(tx)
        tx:transaction(function() return "inner" end)
        return nil, "away"
      end)
      assert(conn:begin()):rollback()
      assert.is_true(assert(conn:begin { set = { ["app.x"] = "1" } }):commit())
      pcall(conn.transaction, conn, function() error "no" end)
    end))
    assert.equal("idle", conn:transaction_status())
  end)

  it("in two round trips with one statement, in one with commit_with", function()
    assert.equal(2, trips(function() assert(conn:transaction(function(tx) return insert(tx, 1) end)) end))
    assert.equal(2, trips(function()
      local tx = assert(conn:begin())
      assert(insert(tx, 2))
      assert(tx:commit())
    end))
    assert.equal(1, trips(function()
      assert(conn:transaction(function(tx) return tx:commit_with("insert into flights values ($1)", 3) end))
    end))
    assert.equal(2, trips(function()
      assert(conn:transaction(function(tx)
        assert(insert(tx, 4))
        return tx:commit_with("insert into flights values ($1)", 5)
      end))
    end))
    assert.equal("1,2,3,4,5", rows())
  end)

  it("with settings, deadline and isolation in the same flight", function()
    local shown
    assert.equal(2, trips(function()
      shown = assert(conn:transaction(function(tx) return tx:query_one(
        "select current_setting('app.tenant') as tenant, current_setting('statement_timeout') as timeout, "
        .. "current_setting('transaction_isolation') as isolation") end,
        { isolation = "serializable", timeout = 4, set = { ["app.tenant"] = "it's 7" } }))
    end) - 1) -- and one to describe the query
    assert.same({ tenant = "it's 7", timeout = "5s", isolation = "serializable" }, shown)
    assert.same({ "", "0" }, { conn:query_value "select current_setting('app.tenant', true)",
      conn:query_value "select current_setting('statement_timeout')" })
  end)

  it("with the preparation of a statement that is new", function()
    assert.equal(3, trips(function() -- BEGIN and preparation, execution, COMMIT
      assert(conn:transaction(function(tx) return tx:query_value "select 1 as never_before" end))
    end))
    assert.equal(2, trips(function()
      assert(conn:transaction(function(tx) return tx:commit_with "select 2 as never_before" end))
    end))
  end)

  it("with a script, whose errors have their own positions", function()
    local function two(tx) return tx:script "insert into flights values (1); insert into flights values (2)" end
    assert.equal(2, trips(function() assert(conn:transaction(two, { resolve = false })) end))
    assert(direct:execute "delete from flights where n > 0")
    assert.equal(3, trips(function() assert(conn:transaction(two)) end)) -- and one for the id, before COMMIT
    local results
    local value, err = conn:transaction(function(tx)
      results = assert(tx:script "insert into flights values (3); select 'shown' as word")
      return tx:script "select 1; selekt 2"
    end)
    assert.same({ nil, "syntax_error", 11 }, { value, err.kind, err.position })
    assert.same({ 2, "INSERT", "shown" }, { #results, results[1].command, results[2].rows[1].word })
    value, err = conn:transaction(function(tx) return tx:script "selekt 2" end)
    assert.same({ nil, "syntax_error", 1, "selekt 2" }, { value, err.kind, err.position, err.query })
    -- With settings BEGIN goes first: their values are no text.
    assert.equal("1,2", rows())
    assert.equal("'", conn:transaction(function(tx)
      assert(tx:script "insert into flights values (4)")
      return tx:query_value "select current_setting('app.quote')"
    end, { set = { ["app.quote"] = "'" } }))
    assert.equal("1,2,4", rows())
  end)

  it("with savepoints, which cost nothing unless they are undone", function()
    assert.equal(3, trips(function()
      assert(conn:transaction(function(tx)
        assert(tx:transaction(function(sp)
          return sp:transaction(function(deeper) return insert(deeper, 1) end)
        end))
        return tx:transaction(function(sp) return insert(sp, 2) end)
      end))
    end))
    assert.equal(4, trips(function() -- two inserts, one ROLLBACK TO, COMMIT
      assert(conn:transaction(function(tx)
        assert(insert(tx, 3))
        tx:transaction(function() return nil, "it had nothing to undo" end)
        tx:transaction(function(sp)
          assert(insert(sp, 4))
          return nil, "undone"
        end)
        return true
      end))
    end))
    assert.equal("1,2,3", rows())
  end)

  it("behind COPY to the server's own files", function()
    assert.equal("done", conn:transaction(function(tx)
      assert(tx:execute "copy flights to '/dev/null'")
      assert(tx:commit_with "/* again */ COPY flights to '/dev/null'")
      return "done"
    end))
    local value, err = conn:transaction(function(tx) return tx:execute "copy flights to stdout" end)
    assert.same({ nil, "usage" }, { value, err.kind })
    value, err = conn:transaction(function(tx) return tx:commit_with "copy flights from stdin" end)
    assert.same({ nil, "usage" }, { value, err.kind })
  end)

  it("through unnamed statements too", function()
    local pooled = connect { pooler = "transaction" }
    assert.equal(1, pooled:transaction(function(tx)
      assert(insert(tx, 1))
      tx:transaction(function(sp) return insert(sp, 1) end)
      local found = assert(tx:commit_with "select count(*)::int as n from flights where n > 0")
      return found[1].n
    end))
    assert.equal(0, pooled:query_value "select count(*)::int from pg_prepared_statements")
    pooled:close()
  end)

  describe("and fails as a whole:", function()
    it("no statement runs when BEGIN fails, and the error is BEGIN's", function()
      assert(conn:execute "create or replace function never_run() returns int language sql as 'select 1'")
      local function start(fn)
        -- The server's own way of refusing: no such setting, or not for everybody.
        return conn:transaction(fn, { set = { ["no such.setting!"] = "1" } })
      end
      local value, err = start(function(tx) return insert(tx, 1) end)
      assert.same({ nil, "set local" }, { value, err.query })
      assert.matches("no such.setting!", err.message, 1, true)
      value, err = start(function(tx)
        local ok, why = tx:commit_with("insert into flights values ($1)", 2)
        assert.same({ nil, "set local" }, { ok, why.query })
        return "as if nothing had been"
      end)
      assert.same({ nil, "set local" }, { value, err.query })
      value, err = start(function(tx) return tx:script "insert into flights values (3)" end)
      assert.same({ nil, "set local" }, { value, err.query })
      assert.is_nil(rows())
      assert(conn:execute "drop function never_run()")
    end)

    it("BEGIN that the server refuses is told as such", function()
      -- A standby refuses serializable; here a session that has become read only to begin with.
      local standby = connect { options = "-c default_transaction_read_only=on" }
      local value, err = standby:transaction(function(tx)
        assert(tx:query_value "select 1")
        return tx:execute "insert into flights values (1)"
      end)
      assert.same({ nil, "read_only_sql_transaction" }, { value, err.kind })
      standby:close()
    end)

    it("COMMIT is not executed behind a statement that failed", function()
      local value, err = conn:transaction(function(tx)
        assert(insert(tx, 1))
        local rowset, why = tx:commit_with("insert into flights values ($1)", 0)
        assert.same({ nil, "unique_violation", true }, { rowset, why.kind, tx:is_open() })
        return "swallowed"
      end)
      assert.same({ nil, "unique_violation" }, { value, err.kind })
      assert.matches("^insert", err.query)
      assert.is_nil(rows())
    end)

    it("a value that does not fit is refused before anything leaves, also BEGIN", function()
      assert.equal(0, trips(function()
        local value, err = conn:transaction(function(tx)
          return tx:commit_with("insert into flights values ($1)", "x")
        end)
        assert.same({ nil, "parameter" }, { value, err.kind })
      end))
    end)

    it("a COMMIT that fails behind its statement undoes it, and comes back as its own error", function()
      assert(conn:script [[create table later (n int, constraint once unique (n) deferrable initially deferred)]])
      local value, err = conn:transaction(function(tx)
        local rowset, why = tx:commit_with "insert into later values (1), (1) returning n"
        assert.same({ nil, "once", "commit", false }, { rowset, why.constraint, why.query, tx:is_open() })
        return "swallowed"
      end)
      assert.same({ nil, "unique_violation", "once" }, { value, err.kind, err.constraint })
      assert.equal(0, conn:query_value "select count(*)::int from later")
      assert(conn:execute "drop table later")
    end)
  end)

  it("again when the plan of its first statement is out of date", function()
    assert(conn:query_one "select * from flights where n = 0")
    assert(direct:execute "alter table flights add column note text default 'new'")
    local row = assert(conn:transaction(function(tx)
      assert.equal("new", assert(tx:query_one "select * from flights where n = 0").note)
      return tx:query_one "select * from flights where n = 0"
    end))
    assert.equal("new", row.note)
    assert(direct:execute "alter table flights drop column note")
    assert.same({ n = 0 }, conn:transaction(function(tx)
      return tx:transaction(function(sp) return sp:query_one "select * from flights where n = 0" end)
    end))
    -- When it is not run again: what BEGIN has left on the server goes.
    assert(direct:execute "alter table flights add column note text default 'new'")
    local value, err = conn:transaction(function(tx)
      assert(tx:query_value "select 1")
      return tx:query_one "select * from flights where n = 0"
    end)
    assert.same({ nil, "0A000" }, { value, err.sqlstate })
  end)

  it("also after the session has forgotten what was prepared", function()
    for _, sql in ipairs { "deallocate all", "discard all", "do $$ begin execute 'deallocate all'; end $$" } do
      assert(conn:execute(sql))
      assert.equal(1, conn:transaction(function(tx) return insert(tx, 9) end), sql)
      assert(conn:execute "delete from flights where n = 9")
    end
  end)

  it("through ten thousand savepoints, and the server's memory stays flat", function()
    local function memory(tx)
      return assert(tx:query_value "select sum(total_bytes)::float8 from pg_backend_memory_contexts")
    end
    local before, after
    assert(conn:transaction(function(tx)
      memory(tx)
      for i = 1, 10000 do
        if i == 1000 then before = memory(tx) end
        local ok = tx:transaction(function(sp)
          assert(sp:query_value "select 1")
          if i % 10 == 0 then return nil, "undone" end
          return true
        end)
        assert.equal(i % 10 ~= 0 or nil, ok)
      end
      after = memory(tx)
      return true
    end))
    assert(after < before * 1.2 + 65536, ("%d bytes, then %d"):format(before, after))
  end)

  it("through ten thousand savepoints in each other", function()
    local tx = assert(conn:begin())
    local levels = { tx }
    for i = 1, 10000 do levels[i + 1] = assert(levels[i]:begin()) end
    assert(insert(levels[10001], 1))
    for i = 10001, 2, -1 do assert.is_true(levels[i]:commit()) end
    assert(insert(tx, 2))
    assert.is_true(tx:commit())
    assert.equal("1,2", rows())
  end)
end)
