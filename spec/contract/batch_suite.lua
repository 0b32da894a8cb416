-- What a batch promises under any waiter. `suite(setting)` defines the tests; for settings and their worlds see
-- spec/contract/worlds.lua.
--
-- To see it fail: let fill() in bind/lbatchrun.c send without lph_batch_has_room (buffers fill up), take the ROLLBACK
-- out of lph_batch_end (half a batch is kept), or take lph_batch_stop out of bind/lcancel.c (a deadline does not end a
-- batch).
--
-- SPDX-License-Identifier: MIT

-- A module does not see what busted gives a spec.
local busted = require "busted"
local describe, it, pending = busted.describe, busted.it, busted.pending
local before_each, after_each = busted.before_each, busted.after_each
local assert = require "luassert"

local env = require "spec.support.env"
local luphant = require "luphant"
local probe = require "spec.support.probe"

local NAME = "contract"

-- Where every step is slow (sanitizers), fewer statements do: the ring of those under way is still full many times.
local MANY = probe.slow > 1 and 5000 or 100000

local function tests(test)
  test("results come in order, each as its verb gives it", function(open)
    local conn = open()
    assert(conn:script "create temp table t (id int primary key, name text)")
    local results = assert(conn:batch(function(b)
      assert.equal(1, b:execute("insert into t values ($1, $2)", 1, "one"))
      b:execute("insert into t values ($1, $2)", 2, nil)
      b:query "select id, name from t order by id"
      b:query({ "select id, name from t order by id", rows = "array" })
      b:query_one("select name from t where id = $1", 1)
      b:query_opt("select name from t where id = $1", 3)
      b:query_value "select count(*) from t"
      assert.equal(8, b:query_column "select id from t order by id desc")
    end))
    assert.same({
      1, 1, { { id = 1, name = "one" }, { id = 2 } }, { { 1, "one" }, { 2, luphant.NULL } }, { name = "one" }, nil, 2,
      { 2, 1 }, n = 8,
    }, results)
    assert.equal("SELECT", results[3].command)
  end)

  test("a list says the same", function(open)
    local conn = open()
    local results = assert(conn:batch {
      "select 1 as n",
      { "select $1::int + $2::int", 2, 3, verb = "query_value" },
      { "select $1::text is null and $2::text is null as t", nil, nil, n = 2, rows = "array" },
    })
    assert.same({ { { n = 1 } }, 5, { { true } }, n = 3 }, results)
  end)

  test("it is one transaction, and a failure says where", function(open)
    local conn = open()
    assert(conn:script "create temp table t (id int primary key)")
    local _, err = conn:batch(function(b)
      b:execute "insert into t values (1)"
      b:execute("insert into t values ($1)", 2)
      b:execute("insert into t values ($1)", 2)
      b:execute("insert into t values ($1)", 3)
    end)
    assert.same({ "unique_violation", 3, "insert into t values ($1)", "yes" },
      { err.kind, err.index, err.query, err.sent })
    assert.equal("statement 3 of 4; those behind it were not run, and nothing of the batch was kept", err.batch)
    assert.equal(0, conn:query_value "select count(*) from t")
    assert.equal("idle", conn:transaction_status())
    probe.usable(conn)
  end)

  test("isolated statements stand for themselves", function(open)
    local conn = open()
    assert(conn:script "create temp table t (id int primary key)")
    local results = assert(conn:batch({
      { "insert into t values (1)", verb = "execute" }, { "insert into t values (1)", verb = "execute" },
      { "insert into nowhere values (1)", verb = "execute" }, { "insert into t values ($1)", "two" },
      { "insert into t values ($1)", 2, verb = "execute" }, { "select count(*) from t", verb = "query_value" },
    }, { isolated = true }))
    assert.same({ 1, nil, nil, nil, 1, 2 }, { results[1], results[2], results[3], results[4], results[5], results[6] })
    assert.equal("unique_violation", results.errors[2].kind)
    assert.equal("undefined_table", results.errors[3].kind)
    assert.same({ "parameter", 4, "no" }, { results.errors[4].kind, results.errors[4].index, results.errors[4].sent })
    assert.is_nil(results.errors[1] or results.errors[5] or results.errors[6])
    probe.usable(conn)
  end)

  test(("%d statements are one batch as well as three"):format(MANY), function(open)
    local conn = open()
    assert(conn:script "create temp table t (id int primary key, name text)")
    local results = assert(conn:batch(function(b)
      for i = 1, MANY do b:execute("insert into t values ($1, $2)", i, "row") end
    end))
    assert.same({ MANY, 1, 1 }, { results.n, results[1], results[MANY] })
    assert.equal(MANY, conn:query_value "select count(*) from t")
  end)

  test("large answers and large parameters do not wait for each other", function(open)
    local conn = open()
    local large = ("x"):rep(40000)
    local results = assert(conn:batch(function(b)
      for _ = 1, 400 do b:query_value("select $1::text || $1::text", large) end
    end))
    for i = 1, 400 do assert.equal(80000, #results[i]) end
    probe.usable(conn)
  end)

  test("types of the user are looked up on the way, and nothing runs twice", function(open)
    local conn = open()
    assert(conn:script [[
      create type pg_temp.mood as enum ('sad', 'fine');
      create temp table log (n int, m pg_temp.mood)]])
    local results = assert(conn:batch(function(b)
      b:execute "insert into log (n) values (1)"
      b:query_column("insert into log values (2, $1) returning m", "fine")
      b:query_value "select count(*) from log"
    end))
    assert.same({ 1, { "fine" }, 2, n = 3 }, results)
  end)

  test("what the batch itself creates can be used in it", function(open)
    local conn = open()
    for _ = 1, 2 do
      local results = assert(conn:batch {
        "create temp table made (a int)",
        { "insert into made values ($1)", 5, verb = "execute" },
        { "select * from made", verb = "query_one" },
        "alter table made add b text default 'new'",
        { "select * from made", verb = "query_one" },
        "create type pg_temp.hue as enum ('red')",
        { "select $1::pg_temp.hue", "red", verb = "query_value" },
        "drop type pg_temp.hue", "drop table made",
      })
      assert.same({ { a = 5 }, { a = 5, b = "new" }, "red" }, { results[3], results[5], results[7] })
    end
  end)

  test("a statement that went stale is healed, and nothing runs twice", function(open)
    local conn, other = open(), open()
    assert(other:script "drop table if exists contract_stale; create table contract_stale (id int)")
    local function run()
      return conn:batch {
        { "insert into contract_stale (id) values ($1)", 1, verb = "execute" },
        { "select * from contract_stale limit 1", verb = "query_one" },
        { "select count(*) from contract_stale", verb = "query_value" },
      }
    end
    assert.same({ 1, { id = 1 }, 1, n = 3 }, run())
    assert(other:script "alter table contract_stale add name text default 'x'")
    assert.same({ 1, { id = 1, name = "x" }, 2, n = 3 }, run())
    assert(conn:script "do $$ begin execute 'deallocate all'; end $$")
    assert.equal(3, assert(run())[3])
    assert(other:script "drop table contract_stale")
  end)

  test("a deadline ends all of it and keeps the connection", function(open)
    local conn = open()
    assert(conn:script "create temp table t (id int)")
    for _, isolated in ipairs { false, true } do
      local err = probe.fails(2, conn.batch, conn, function(b)
        b:execute "insert into t values (1)"
        b:execute "select pg_sleep(5)"
        for _ = 1, 5000 do b:execute "insert into t values (2)" end
      end, { timeout = 0.1, isolated = isolated })
      assert.equal("query_timeout", err.kind)
      probe.usable(conn)
      assert.equal(isolated and 1 or 0, conn:query_value "select count(*) from t where id = 1")
      if isolated then
        assert.equal(1, err.results[1])
        assert.equal("query_canceled", err.results.errors[2].kind)
        assert.equal("not_run", err.results.errors[5002].kind)
      end
    end
  end)

  test("a result that is too big is given up, and the batch with it", function(open)
    local conn = open { max_result_bytes = 100000 }
    assert(conn:script "create temp table t (id int)")
    local _, err = conn:batch {
      "insert into t values (1)", "select repeat('x', 1000) from generate_series(1, 50000)", "insert into t values (2)",
    }
    assert.same({ "result_too_big", 2 }, { err.kind, err.index })
    probe.usable(conn)
    assert.equal(0, conn:query_value "select count(*) from t")
  end)

  test("inside a transaction it shares its fate", function(open)
    local conn = open()
    assert(conn:script "create temp table t (id int primary key)")
    assert.equal("done", conn:transaction(function(tx)
      assert(tx:batch { "insert into t values (1)", { "insert into t values ($1)", 2 } })
      return "done"
    end))
    local _, err = conn:transaction(function(tx)
      tx:batch { "insert into t values (3)", "insert into t values (1)", "insert into t values (4)" }
      return true -- ignoring it does not help
    end)
    assert.same({ "unique_violation", 2 }, { err.kind, err.index })
    assert.equal("statement 2 of 3; those behind it were not run", err.batch)
    assert.is_true(conn:transaction(function(tx)
      tx:transaction(function(sp) return sp:batch { "insert into t values (5)", "insert into t values (1)" } end)
      assert(tx:batch { "insert into t values (6)" })
      return true
    end))
    assert.same({ 1, 2, 6 }, conn:query_column "select id from t order by id")
  end)

  test("insert_many inserts all rows or names the one that was refused", function(open)
    local conn = open()
    assert(conn:script "create temp table t (id int primary key, name text)")
    local function rows(n, at)
      local i = 0
      return function()
        i = i + 1
        if i <= n then return { i == at and 1 or i, "row" } end
      end
    end
    for _, via in ipairs { "unnest", "values", "copy" } do
      assert.equal(3000, conn:insert_many("t", { "id", "name" }, rows(3000), { via = via }))
      assert(conn:execute "delete from t")
      local _, err = conn:insert_many("t", { "id", "name" }, rows(3000, 2500), { via = via })
      assert.same({ "unique_violation", 2500 }, { err.kind, err.row })
      assert.equal(0, conn:query_value "select count(*) from t")
    end
    local many = MANY > 20000 and 20000 or MANY -- more than one portion
    assert.equal(many, conn:insert_many("t", { "id", "name" }, rows(many)))
  end)

  test("a session that ends in the middle is told", function(open)
    local conn, other = open(), open()
    local pid = conn:backend_pid()
    assert(other:script "drop table if exists contract_lost; create table contract_lost (id int)")
    local _, err = conn:batch {
      "insert into contract_lost values (1)", { "select pg_terminate_backend($1)", pid }, "select pg_sleep(1)",
    }
    assert.same({ "admin_shutdown", "no" }, { err.kind, err.sent })
    assert.is_false(conn:is_open())
    assert.equal(0, other:query_value "select count(*) from contract_lost")
    assert(other:script "drop table contract_lost")
  end)

  test("notices reach the hook, and a codec's error its caller", function(open)
    local seen = {}
    local conn = open { on_notice = function(notice) seen[#seen + 1] = notice.message end }
    assert(conn:batch { "do $$ begin raise notice 'one'; end $$", "do $$ begin raise notice 'two'; end $$" })
    assert.is_nil((conn:batch { "select 1", { "select $1::int", "x" } })) -- its ROLLBACK is not one
    assert.same({ "one", "two" }, seen)
    assert(conn:register_type("int4", { decode = function() error "thrown" end }))
    assert.error_matches(function() conn:batch { "select 'a'::text", "select 1::int4", "select 2::int4" } end, "thrown")
    assert(conn:register_type("int4", {}))
    probe.usable(conn)
  end)
end

return function(setting)
  describe("under " .. setting.name .. ", a batch:", function()
    if setting.missing then
      return it("keeps the contract", function() pending(setting.missing) end)
    end
    local world, open

    before_each(function()
      world, open = setting.start(), {}
    end)

    after_each(function()
      for _, each in ipairs(open) do each:close() end
    end)

    local function open_one(options)
      local given = { application_name = NAME, waiter = world.waiter, url = env.url() }
      for key, value in pairs(options or {}) do given[key] = value end
      local conn = assert(luphant.connect(given))
      open[#open + 1] = conn
      return conn
    end

    local function test(title, fn)
      it(title, function()
        world.run(function() fn(open_one, world) end)
      end)
    end

    tests(test)
  end)
end
