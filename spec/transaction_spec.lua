-- conn:transaction: all or nothing, and the truth about which; whatever the function, the server and the network do.
--
-- SPDX-License-Identifier: MIT

local luphant = require "luphant"
local probe = require "spec.support.probe"
local proxy = require "luphant.testing.proxy"
local server = require "luphant.testing.server"

local NAME = "transaction_spec"

describe("a transaction", function()
  local pg, conn, open

  setup(function()
    pg = assert(server.start())
    assert(pg:psql [[create table t (n int primary key, note text check (note <> 'bad'));
      create table deferred (n int unique deferrable initially deferred)]])
  end)
  teardown(function() pg:stop() end)

  before_each(function()
    assert(pg:psql "truncate t, deferred")
    open = {}
    conn = assert(luphant.connect(pg:url { application_name = NAME }))
    open[1] = conn
  end)

  after_each(function()
    if conn:is_open() then
      assert.equal("idle", conn:transaction_status())
      probe.usable(conn)
    end
    for _, each in ipairs(open) do (each.stop or each.close)(each) end
    assert.is_true(probe.eventually(function() return probe.sessions(pg, NAME) == 0 end))
  end)

  -- What another session sees in t.
  local function seen(name)
    local rows = assert(pg:psql("select coalesce(string_agg(n::text, ',' order by n), '') from " .. (name or "t")))
    return (rows:gsub("%s", ""))
  end

  local function insert(q, n, note) return q:execute("insert into t values ($1, $2)", n, note) end

  describe("is committed", function()
    it("when its function returns, and gives what that returned", function()
      local values = { n = select("#", conn:transaction(function() return 1, nil, "three", nil end)),
        conn:transaction(function(tx)
          assert(insert(tx, 1))
          assert.equal("", seen()) -- nobody else sees it yet
          return 1, nil, "three", nil
        end) }
      assert.same({ 4, 1, "three" }, { values.n, values[1], values[3] })
      assert.equal("1", seen())
    end)

    it("when its function returns nothing, nil or false", function()
      for i, fn in ipairs {
        function(tx) assert(insert(tx, 1)) end,
        function(tx) assert(insert(tx, 2)) return nil end,
        function(tx) assert(insert(tx, 3)) return false, "not a reason" end,
      } do
        local _, err = conn:transaction(fn)
        assert.equal(i == 3 and "not a reason" or nil, err)
      end
      assert.equal("1,2,3", seen())
    end)

    it("with its options", function()
      for _, isolation in ipairs { "read committed", "repeatable read", "serializable", "read uncommitted" } do
        assert.equal(isolation, conn:transaction(function(tx) return tx:query_value "show transaction_isolation" end,
          { isolation = isolation }))
      end
      local function setting(name, options)
        return conn:transaction(function(tx) return tx:query_value("select current_setting($1)", name) end, options)
      end
      assert.equal("on", setting("transaction_read_only", { read_only = true }))
      assert.equal("off", setting("transaction_read_only", { read_only = false }))
      assert.equal("on", setting("transaction_deferrable", { isolation = "serializable", read_only = true,
        deferrable = true }))
      local value, err = conn:transaction(function(tx) return insert(tx, 1) end, { read_only = true })
      assert.is_nil(value)
      assert.equal("read_only_sql_transaction", err.kind)
    end)

    it("when no row or too many rows came, and its function does not mind", function()
      assert.equal("fine", conn:transaction(function(tx)
        assert(insert(tx, 1))
        assert.equal("no_rows", (select(2, tx:query_one "select 1 where false")).kind)
        assert.equal("too_many_rows", (select(2, tx:query_value "select generate_series(1, 2)")).kind)
        return "fine"
      end))
      assert.equal("1", seen())
    end)

    it("with every verb of its own", function()
      assert.is_true(conn:transaction(function(tx)
        assert(tx:script "insert into t values (1); insert into t values (2)")
        assert.equal(2, #assert(tx:query "select * from t"))
        assert.equal(1, assert(tx:query_one "select * from t where n = 1").n)
        assert.is_nil((tx:query_opt "select * from t where n = 9"))
        assert.equal(2, tx:query_value "select max(n) from t")
        assert.same({ 1, 2 }, tx:query_column "select n from t order by n")
        local sum = 0
        for n in tx:values "select n from t" do sum = sum + n end
        assert.equal(3, sum)
        assert.equal("n", assert(tx:describe "select n from t").columns[1].name)
        assert.equal(1, assert(tx:prepare "insert into t values ($1)"):execute(sum))
        assert.same({ { 1 } }, { (assert(tx:query { "select n from t where n = 1", rows = "array" }))[1] })
        return tx:is_open()
      end))
      assert.equal("1,2,3", seen())
    end)
  end)

  describe("is rolled back", function()
    it("when its function returns nil and a reason, which the caller gets", function()
      local reason = { "anything" }
      local value, err, more = conn:transaction(function(tx)
        assert(insert(tx, 1))
        return nil, reason, "more"
      end)
      assert.is_nil(value)
      assert.equal(reason, err)
      assert.is_nil(more)
      assert.equal("", seen())
    end)

    it("when its function raises, and raises the same value", function()
      local thrown = setmetatable({}, { __tostring = function() return "a thing" end })
      local ok, err = pcall(conn.transaction, conn, function(tx)
        assert(insert(tx, 1))
        error(thrown)
      end)
      assert.same({ false, true }, { ok, rawequal(err, thrown) })
      assert.equal("", seen())
      ok, err = pcall(conn.transaction, conn, function() error() end)
      assert.is_false(ok)
      assert.is_nil(err)
    end)

    it("when it raises the error object of a statement", function()
      local ok, err = pcall(conn.transaction, conn, function(tx)
        assert(insert(tx, 1))
        for _ in tx:values "select 1 / 0" do error "no row here" end
      end)
      assert.same({ false, "division_by_zero" }, { ok, err.kind })
      assert.equal("", seen())
    end)

    for name, run in pairs {
      ["of the tx"] = function(tx) return insert(tx, 1, "bad") end,
      ["of the connection"] = function() return insert(conn, 1, "bad") end,
      ["of a prepared statement"] = function(tx)
        return assert(tx:prepare "insert into t values ($1, 'bad')"):execute(1)
      end,
      ["in a script"] = function(tx) return tx:script "insert into t values (8); insert into t values (9, 'bad')" end,
      ["in a loop that was caught"] = function(tx)
        pcall(function() for _ in tx:values "select 1 / 0" do error "no row" end end)
      end,
      ["that could not be prepared"] = function(tx) return tx:query "select * from nowhere" end,
      ["in describe"] = function(tx) return tx:describe "select * from nowhere" end,
      ["refused for a parameter"] = function(tx) return insert(tx, "not a number") end,
      ["refused for its deadline"] = function(tx) return tx:query { "select pg_sleep(3)", timeout = 0.05 } end,
    } do
      it("when a statement " .. name .. " failed and its function ignored that", function()
        local value, err = conn:transaction(function(tx)
          assert(insert(tx, 5))
          run(tx)
          tx:query "select 'as if nothing had been'"
          return "all is well"
        end)
        assert.is_nil(value)
        assert(luphant.is(err, "check_violation", "division_by_zero", "undefined_table", "parameter", "query_timeout"),
          tostring(err))
        assert.equal("", seen())
      end)
    end

    it("when a deferred constraint refuses COMMIT: the server's reason comes back", function()
      local value, err = conn:transaction(function(tx)
        assert(tx:execute "insert into deferred values (1), (1)")
        return true
      end)
      assert.is_nil(value)
      assert.same({ "unique_violation", "deferred", "commit" }, { err.kind, err.table, err.query })
      assert.equal("", seen "deferred")
    end)

    it("when COMMIT outlives the deadline", function()
      assert(pg:psql [[create table slow (n int);
        create function dawdle() returns trigger language plpgsql as 'begin perform pg_sleep(5); return null; end';
        create constraint trigger dawdle after insert on slow deferrable initially deferred
          for each row execute function dawdle()]])
      local hurried = assert(luphant.connect(pg:url { application_name = NAME }, { timeout = 0.2 }))
      open[#open + 1] = hurried
      local value, err = hurried:transaction(function(tx) return tx:execute "insert into slow values (1)" end)
      assert.is_nil(value)
      assert.equal("query_timeout", err.kind)
      probe.usable(hurried)
      assert.equal("", seen "slow")
      assert(pg:psql "drop table slow; drop function dawdle")
    end)

    it("when the server answers COMMIT with ROLLBACK behind our back", function()
      -- A failure nobody of ours saw: another part of the program drives the same session below the verbs.
      local value, err = conn:transaction(function(tx)
        assert(insert(tx, 1))
        conn.box:script "select 1 / 0"
        return true
      end)
      assert.is_nil(value)
      assert.equal("tx_state", err.kind)
      assert.equal("", seen())
    end)
  end)

  it("that a statement inside has ended says so", function()
    for i, sql in ipairs { "commit", "rollback" } do
      local value, err = conn:transaction(function(tx)
        assert(insert(tx, i))
        assert(tx:execute(sql))
        return true
      end)
      assert.is_nil(value)
      assert.same({ "tx_state", "transaction" }, { err.kind, err.class })
      assert.matches("leave that to transaction", err.message, 1, true)
    end
    assert.equal("1", seen())
  end)

  it("that cannot begin says why and runs nothing", function()
    local ran = false
    local closed = assert(luphant.connect(pg:url { application_name = NAME }))
    open[#open + 1] = closed
    assert(pg:psql(("select pg_terminate_backend(%d)"):format(closed:backend_pid())))
    probe.eventually(function() return probe.sessions(pg, NAME) == 1 end)
    local value, err = closed:transaction(function() ran = true end)
    assert.is_nil(value)
    assert.same({ "closed", "no", true, false }, { err.kind, err.sent, err.retryable, ran })
  end)

  describe("inside a transaction", function()
    it("is a savepoint: committed with the whole", function()
      assert.equal("inner", conn:transaction(function(tx)
        assert(insert(tx, 1))
        local value = tx:transaction(function(sp)
          assert(insert(sp, 2))
          return sp:transaction(function(deeper)
            assert(insert(deeper, 3))
            return "inner"
          end)
        end)
        assert(insert(tx, 4))
        return value
      end))
      assert.equal("1,2,3,4", seen())
    end)

    it("fails alone, by reason, by raising, and by a failure that was ignored", function()
      assert(conn:transaction(function(tx)
        assert(insert(tx, 1))
        local value, err = tx:transaction(function(sp)
          assert(insert(sp, 2))
          return nil, "enough"
        end)
        assert.same({ nil, "enough" }, { value, err })
        local ok, raised = pcall(tx.transaction, tx, function(sp)
          assert(insert(sp, 3))
          error("thrown", 0)
        end)
        assert.same({ false, "thrown" }, { ok, raised })
        value, err = tx:transaction(function(sp)
          assert(insert(sp, 4))
          insert(sp, 1) -- is there already
          return "ignored"
        end)
        assert.is_nil(value)
        assert.equal("unique_violation", err.kind)
        return insert(tx, 5)
      end))
      assert.equal("1,5", seen())
    end)

    it("goes down with the whole", function()
      assert.is_nil((conn:transaction(function(tx)
        assert(tx:transaction(function(sp) return insert(sp, 1) end))
        return nil, "no"
      end)))
      assert.equal("", seen())
    end)

    it("at any depth fails alone", function()
      assert(conn:transaction(function(tx)
        local function nest(q, depth)
          assert(insert(q, depth))
          if depth == 20 then return nil, "the bottom" end
          q:transaction(function(inner) return nest(inner, depth + 1) end)
          return true
        end
        return nest(tx, 1)
      end))
      local expected = {}
      for i = 1, 19 do expected[i] = i end
      assert.equal(table.concat(expected, ","), seen())
    end)

    it("raises through all of them when nobody catches it", function()
      local ok, err = pcall(conn.transaction, conn, function(tx)
        assert(insert(tx, 1))
        tx:transaction(function(sp)
          assert(insert(sp, 2))
          sp:transaction(function() error("from below", 0) end)
        end)
      end)
      assert.same({ false, "from below" }, { ok, err })
      assert.equal("", seen())
    end)

    it("lets types, tables and statements of a savepoint that failed be forgotten", function()
      assert(conn:transaction(function(tx)
        tx:transaction(function(sp)
          assert(sp:script "create type word as enum ('x'); create table inner_t (w word)")
          assert.equal(0, #assert(sp:query "select * from inner_t"))
          return nil, "away with it"
        end)
        assert(tx:script "create table inner_t (n int, m int); insert into inner_t values (1, 2)")
        assert.same({ { n = 1, m = 2 } }, tx:query "select * from inner_t")
        return tx:execute "drop table inner_t"
      end))
    end)
  end)

  describe("refuses misuse at the caller's line:", function()
    local function raises(pattern, fn, ...)
      local ok, message = pcall(fn, ...)
      assert.is_false(ok)
      assert.matches("transaction_spec.lua:%d+: .*" .. pattern, message)
    end

    it("a second one on the same connection", function()
      assert(conn:transaction(function()
        raises("tx:transaction", function() conn:transaction(function() end) end)
        return true
      end))
    end)

    it("one after a BEGIN by hand, also a failed one", function()
      assert(conn:execute "begin")
      raises("by hand", function() conn:transaction(function() end) end)
      conn:query "select 1 / 0"
      raises("by hand", function() conn:transaction(function() end) end)
      assert(conn:execute "rollback")
    end)

    it("the outer tx while a savepoint is open", function()
      assert(conn:transaction(function(tx)
        return tx:transaction(function(sp)
          for _, verb in ipairs { "query", "execute", "values", "script", "transaction" } do
            raises("savepoint is open", function()
              local value = tx[verb](tx, verb == "transaction" and print or "select 1")
              return value
            end)
          end
          return sp:query_value "select 1"
        end)
      end))
    end)

    it("a tx whose function has returned, raised or failed", function()
      local kept = {}
      conn:transaction(function(tx) kept[1] = tx end)
      pcall(conn.transaction, conn, function(tx)
        kept[2] = tx
        error "no"
      end)
      conn:transaction(function(tx)
        tx:transaction(function(sp) kept[3] = sp end)
        return nil, "no"
      end)
      for i = 1, 3 do
        assert.is_false(kept[i]:is_open())
        assert.matches("ended", tostring(kept[i]), 1, true)
        for _, verb in ipairs { "query", "query_one", "query_opt", "query_value", "query_column", "execute", "values",
          "describe", "prepare", "script", "transaction" } do
          raises("has ended", function()
            local value = kept[i][verb](kept[i], verb == "transaction" and print or "select 1")
            return value
          end)
        end
      end
    end)

    it("options of a savepoint, and unknown ones", function()
      assert(conn:transaction(function(tx)
        raises("no options", function() tx:transaction(function() end, { read_only = true }) end)
        return true
      end))
      raises("isolation", function() conn:transaction(function() end, { isolation = "none" }) end)
      raises("function", function() conn:transaction() end)
    end)
  end)

  describe("whose session is lost", function()
    local gate

    local function through(options)
      gate = assert(proxy.start { target_socket = ("%s/.s.PGSQL.%d"):format(pg.socket_dir, pg.port) })
      open[#open + 1] = gate
      local given = { host = "127.0.0.1", port = gate.port, dbname = "postgres", user = "postgres", sslmode = "disable",
        application_name = NAME }
      for key, value in pairs(options or {}) do given[key] = value end
      local cut = assert(luphant.connect(given))
      table.insert(open, 1, cut)
      return cut
    end

    it("between two statements is rolled back, and nothing of it runs elsewhere", function()
      local cut = through()
      local after = {}
      local value, err = cut:transaction(function(tx)
        assert(insert(tx, 1))
        gate:cut()
        for i = 1, 3 do after[i] = { insert(tx, 10 + i) } end
        assert.is_false(tx:is_open())
        return "committed?"
      end)
      assert.is_nil(value)
      assert.same({ "closed", "connection" }, { err.kind, err.class })
      assert.not_equal("commit_unknown", err.kind)
      assert.equal("closed", after[1][2].kind)
      for i = 2, 3 do -- the transaction went with it, and says how
        assert.same({ "tx_closed", "transaction", "no" }, { after[i][2].kind, after[i][2].class, after[i][2].sent })
        assert.equal(after[1][2], after[i][2].cause)
      end
      assert.is_false(cut:is_open())
      assert.is_true(probe.eventually(function() return probe.sessions(pg, NAME) == 1 end))
      assert.equal("", seen())
    end)

    it("before COMMIT was sent is known to be rolled back", function()
      local value, err = conn:transaction(function(tx)
        assert(insert(tx, 1))
        assert(pg:psql(("select pg_terminate_backend(%d)"):format(conn:backend_pid())))
        assert.is_true(probe.eventually(function() return probe.sessions(pg, NAME) == 0 end))
        return true
      end)
      assert.is_nil(value)
      assert.same({ "closed", "57P01", "no", true }, { err.kind, err.sqlstate, err.sent, err.retryable })
      assert.equal("", seen())
    end)

    it("while COMMIT was on its way says that nobody knows", function()
      for bytes = 1, 11 do
        local cut = through()
        local value, err = cut:transaction(function(tx)
          assert(insert(tx, bytes))
          gate:cut_after { from = "client", bytes = bytes }
          return true
        end)
        assert.is_nil(value)
        assert.same({ "commit_unknown", "transaction", "maybe", false },
          { err.kind, err.class, err.sent, err.retryable })
        assert.equal("closed", err.cause.kind)
        assert.matches("cause: closed", tostring(err), 1, true)
        assert.is_false(cut:is_open())
      end
      assert.is_true(probe.eventually(function() return probe.sessions(pg, NAME) == 1 end))
      assert.equal("", seen())
    end)

    it("while COMMIT's answer was on its way says the same, though it was committed", function()
      local cut = through()
      local value, err = cut:transaction(function(tx)
        assert(insert(tx, 1))
        gate:cut_after { from = "server", bytes = 3 }
        return true
      end)
      assert.is_nil(value)
      assert.equal("commit_unknown", err.kind)
      assert.is_true(probe.eventually(function() return seen() == "1" end))
    end)

    it("because COMMIT's answer did not come in time says the same", function()
      local cut = through { timeout = 0.2, cancel_grace = 0.2 }
      local value, err = cut:transaction(function(tx)
        assert(insert(tx, 1))
        gate:stall { from = "server" }
        return true
      end)
      assert.is_nil(value)
      assert.equal("commit_unknown", err.kind)
      assert.equal("query_timeout", err.cause.kind)
      gate:resume()
    end)

    it("in a savepoint ends the whole", function()
      local cut = through()
      local value, err = cut:transaction(function(tx)
        assert(insert(tx, 1))
        local inner, why = tx:transaction(function(sp)
          assert(insert(sp, 2))
          gate:cut()
          return insert(sp, 3)
        end)
        assert.is_nil(inner)
        assert.equal("closed", why.kind)
        return "ignored"
      end)
      assert.is_nil(value)
      assert.equal("closed", err.kind)
    end)

    it("because its function closed it says so", function()
      local mine = through()
      local value, err = mine:transaction(function(tx)
        assert(insert(tx, 1))
        mine:close()
        return "committed?"
      end)
      assert.is_nil(value)
      assert.equal("closed", err.kind)
      assert.is_true(probe.eventually(function() return probe.sessions(pg, NAME) == 1 end))
      assert.equal("", seen())
    end)
  end)

  it("works through unnamed statements too", function()
    local pooled = assert(luphant.connect(pg:url { application_name = NAME }, { pooler = "transaction" }))
    open[#open + 1] = pooled
    assert(pooled:transaction(function(tx)
      assert(insert(tx, 1))
      tx:transaction(function(sp) return insert(sp, 1) end)
      return insert(tx, 2)
    end))
    assert.equal("1,2", seen())
    assert.is_nil((pooled:transaction(function(tx)
      insert(tx, 1)
      return true
    end)))
    probe.usable(pooled)
  end)
end)
