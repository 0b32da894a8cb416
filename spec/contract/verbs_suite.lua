-- What the verbs of a connection promise under any waiter. `suite(setting)` defines the tests; for settings and
-- their worlds see spec/contract/worlds.lua.
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
local proxy = require "luphant.testing.proxy"

local NAME = "contract"

-- Tests of one caller.
local function alone(test)
  for verb, expected in pairs {
    query = { { n = 1, t = "one" }, { n = 2, t = "two" } }, query_column = { 1, 2 }, execute = 2,
  } do
    test(verb .. " gives its result, at first and again", function(open)
      local conn = open()
      for _ = 1, 3 do
        assert.same(expected, conn[verb](conn, "select * from (values (1, 'one'), (2, $1::text)) v (n, t)", "two"))
      end
    end)
  end

  test("query_one, query_opt, query_value and values give theirs", function(open)
    local conn = open()
    assert.same({ n = 1 }, conn:query_one "select 1 as n")
    assert.same({ n = 2 }, conn:query_opt "select 2 as n")
    assert.is_nil((conn:query_opt "select 2 as n where false"))
    assert.equal(3, conn:query_value("select $1::int", 3))
    local seen = {}
    for n, t in conn:values "select n, 'x' || n from generate_series(1, 3) n" do seen[n] = t end
    assert.same({ "x1", "x2", "x3" }, seen)
    assert.equal("no_rows", (select(2, conn:query_one "select 1 where false")).kind)
  end)

  test("script, describe and prepare work", function(open)
    local conn = open()
    local list = assert(conn:script "create temp table t (n int); insert into t values (1), (2); select * from t")
    assert.same({ { n = 1 }, { n = 2 } }, list[3].rows)
    assert.equal("integer", assert(conn:describe "select n from t where n = $1").params[1].type)
    local statement = assert(conn:prepare "select n from t where n = $1")
    assert.equal(2, statement:query_value(2))
  end)

  test("a failure is told and the next statement works", function(open)
    local conn = open()
    for _ = 1, 3 do
      assert.equal("division_by_zero", (select(2, conn:query "select 1 / 0")).kind)
      assert.equal("undefined_table", (select(2, conn:query "select * from nowhere")).kind)
      assert.equal("syntax_error", (select(2, conn:script "select 1; selec 2")).kind)
      local ok, err = pcall(conn.values, conn, "select 1 / 0")
      assert.same({ false, "division_by_zero" }, { ok, err.kind })
      probe.usable(conn)
    end
  end)

  test("types of the user are looked up on the way", function(open)
    local conn = open()
    assert(conn:script "create type pg_temp.mood as enum ('sad', 'fine'); create type pg_temp.pair as (a int, b text)")
    assert.same({ m = "fine", p = { a = 1, b = "x" } },
      conn:query_one("select $1::pg_temp.mood as m, row(1, 'x')::pg_temp.pair as p", "fine"))
  end)

  test("a stale statement is healed", function(open)
    local conn = open()
    assert.equal(1, conn:query_value "select 1 as stale")
    assert(conn:script "do $$ begin execute 'deallocate all'; end $$")
    assert.equal(1, conn:query_value "select 1 as stale")
  end)

  test("notices reach the hook", function(open)
    local seen = {}
    local conn = open { on_notice = function(notice) seen[#seen + 1] = notice.message end }
    assert(conn:execute "do $$ begin raise notice 'one'; raise notice 'two'; end $$")
    assert.same({ "one", "two" }, seen)
  end)

  test("results and parameters may be large", function(open)
    local conn = open()
    assert.equal(20000, #assert(conn:query "select n, repeat('x', 500) as x from generate_series(1, 20000) n"))
    local large = ("abc"):rep(2000000)
    assert.equal(large, conn:query_value("select $1::text", large))
  end)

  test("a deadline cancels the statement and keeps the connection", function(open)
    local conn = open()
    for _ = 1, 3 do
      local err, took = probe.fails(1, conn.query, conn, { "select pg_sleep(5)", timeout = 0.05 })
      assert.equal("query_timeout", err.kind)
      assert.is_true(took >= 0.045)
      probe.usable(conn)
    end
  end)

  test("a result that is too big is given up", function(open)
    local conn = open { max_result_bytes = 100000 }
    local _, err = conn:query "select repeat('x', 1000) from generate_series(1, 50000)"
    assert.equal("result_too_big", err.kind)
    probe.usable(conn)
  end)

  test("transactions commit, roll back and nest", function(open)
    local conn = open()
    assert(conn:script "create temp table t (n int primary key)")
    assert.equal("done", conn:transaction(function(tx)
      assert(tx:execute "insert into t values (1)")
      tx:transaction(function(sp) return sp:execute "insert into t values (1)" end)
      assert(tx:execute "insert into t values (2)")
      return "done"
    end))
    assert.is_nil((conn:transaction(function(tx)
      assert(tx:execute "insert into t values (3)")
      return nil, "no"
    end)))
    assert.is_false((pcall(conn.transaction, conn, function() error "thrown" end)))
    assert.same({ 1, 2 }, conn:query_column "select n from t order by n")
  end)

  test("COPY takes rows in and gives them back, more than any buffer holds", function(open)
    local conn, name = open(), ("x"):rep(90)
    assert(conn:execute "create temp table t (n int, name text)")
    local w = assert(conn:copy_in "t")
    for n = 1, 20000 do assert(w:row(n, name)) end
    assert.equal(20000, w:finish())
    local rows = 0
    for row in assert(conn:copy_out "t") do rows = rows + (row.name == name and 1 or 0) end
    assert.equal(20000, rows)
    local bytes, r = 0, assert(conn:copy_out("t", { format = "csv" }))
    for piece in r.read, r do bytes = bytes + #piece end
    assert.is_true(bytes > 1900000)
    probe.usable(conn)
  end)

  test("a COPY that is given up, left, refused or too slow leaves the connection usable", function(open)
    local conn = open()
    assert(conn:execute "create temp table t (n int primary key, name text)")
    local w = assert(conn:copy_in "t")
    for n = 1, 5000 do assert(w:row(n, ("x"):rep(90))) end
    w:abort()
    local r = assert(conn:copy_out "select n from generate_series(1, 5000000) n")
    assert.equal(1, r:rows()().n)
    r:close()
    w = assert(conn:copy_in "t")
    assert(w:rows { { 1, "a" }, { 1, "b" } })
    assert.equal("unique_violation", (select(2, w:finish())).kind)
    local err
    r, err = conn:copy_out("select n, pg_sleep(0.05) from generate_series(1, 1000) n", { timeout = 0.1 })
    if r then err = select(2, pcall(function() for _ in r do end end)) end -- luacheck: ignore
    assert.equal("query_timeout", err.kind)
    assert.equal(0, conn:query_value "select count(*) from t")
    probe.usable(conn)
  end)

  test("a network that does not answer is left in time", function(open, world)
    local target = open():target()
    local gate = world.keep(assert(proxy.start { target_socket = ("%s/.s.PGSQL.%s"):format(target.host, target.port) }))
    local conn = open { host = gate.host, port = gate.port, sslmode = "disable", cancel_grace = 0.1 }
    gate:stall()
    assert.equal("query_timeout", probe.fails(1, conn.query, conn, { "select 1", timeout = 0.1 }).kind)
    assert.is_false(conn:is_open())
    local err = probe.fails(1, luphant.connect, { host = gate.host, port = gate.port, dbname = "postgres",
      user = "postgres", connect_timeout = 0.2, waiter = world.waiter })
    assert.equal("connect_timeout", err.kind)
  end)
end

-- Tests of several callers at once. `ticking(fn)` runs fn and answers the longest time in which nobody else could run.
local function together(test, ticking)
  local STILL = 0.06 * probe.slow -- an event loop that stands still for so long has been blocked

  test("several connections wait at the same time", function(open, world)
    local tasks = {}
    local took = probe.timed(function()
      for i = 1, 8 do
        local conn = open()
        tasks[i] = world.spawn(function()
          assert.equal(i, conn:query_value("select $1::int from pg_sleep(0.3)", i))
          return i
        end)
      end
      world.join(tasks)
    end)
    assert.is_true(took < 1.2 * probe.slow, "one after the other: " .. took)
  end)

  test("the others go on while a COPY waits for a server that does not take its rows", function(open)
    local conn, other = open(), open()
    assert(other:script "drop table if exists copied; create table copied (n int, name text)")
    assert(other:script "begin; lock table copied")
    local longest, ticks = ticking(function()
      local _, err = conn:copy_in("copied", { timeout = 0.3 })
      assert.equal("query_timeout", err.kind)
    end)
    assert.is_true(longest < STILL, "nobody ran for " .. longest)
    assert.is_true(ticks > 10)
    assert(other:script "rollback; drop table copied")
  end)

  test("answers never change hands", function(open, world)
    local tasks = {}
    for i = 1, 10 do
      tasks[i] = world.spawn(function()
        local conn = open()
        for n = 1, 50 do
          local value = assert(conn:query_value("select $1::int * 1000 + $2::int", i, n))
          assert.equal(i * 1000 + n, value)
        end
      end)
    end
    world.join(tasks)
  end)

  test("the others go on while a statement runs", function(open)
    local conn = open()
    local longest, ticks = ticking(function() assert(conn:query "select pg_sleep(0.3)") end)
    assert.is_true(longest < STILL, "nobody ran for " .. longest)
    assert.is_true(ticks > 20)
  end)

  test("the others go on while a deadline strikes and the statement is cancelled", function(open)
    local conn = open()
    local longest = ticking(function()
      for _ = 1, 3 do
        assert.equal("query_timeout", (select(2, conn:query { "select pg_sleep(5)", timeout = 0.1 })).kind)
      end
    end)
    assert.is_true(longest < STILL, "nobody ran for " .. longest)
    probe.usable(conn)
  end)

  test("the others go on while a cancellation gets no answer", function(open, world)
    local target = open():target()
    local gate = world.keep(assert(proxy.start { target_socket = ("%s/.s.PGSQL.%s"):format(target.host, target.port) }))
    local conn = open { host = gate.host, port = gate.port, sslmode = "disable", cancel_grace = 0.3 }
    gate:stall()
    local longest = ticking(function()
      assert.equal("query_timeout", (select(2, conn:query { "select 1", timeout = 0.1 })).kind)
    end)
    assert.is_true(longest < STILL, "nobody ran for " .. longest)
    assert.is_false(conn:is_open())
  end)

  test("the others go on while a server does not answer a connect", function(_, world)
    local deaf, port = probe.deaf_listener()
    world.keep(deaf)
    for _, sslmode in ipairs { "disable", "require" } do
      local longest, ticks = ticking(function()
        local conn, err = luphant.connect { host = "127.0.0.1", port = port, dbname = "postgres", user = "postgres",
          sslmode = sslmode, connect_timeout = 0.3, waiter = world.waiter }
        assert.is_nil(conn)
        assert.equal("connect_timeout", err.kind)
      end)
      assert.is_true(longest < STILL, "nobody ran for " .. longest)
      assert.is_true(ticks > 20)
    end
  end)

  test("the others go on while connections are made and closed", function(open)
    local longest = ticking(function()
      for _ = 1, 10 do open():close() end
    end)
    assert.is_true(longest < STILL, "nobody ran for " .. longest)
  end)

  test("a connection that is busy refuses a second caller and serves the first", function(open, world)
    local conn = open()
    local first = world.spawn(function() return conn:query_value "select 1 from pg_sleep(0.2)" end)
    world.pause(0.05)
    for _, verb in ipairs { "query", "execute", "script", "describe" } do
      local value, err = conn[verb](conn, "select 2")
      assert.is_nil(value)
      assert.same({ "busy", "no" }, { err.kind, err.sent })
    end
    world.join { first }
    assert.equal(1, first.result)
    probe.usable(conn)
  end)

  test("another caller may cancel what runs", function(open, world)
    local conn = open()
    for _ = 1, 3 do
      local failure
      local running = world.spawn(function() failure = select(2, conn:query "select pg_sleep(10)") end)
      world.pause(0.1)
      assert.is_true((conn:cancel()))
      local took = probe.timed(world.join, { running })
      assert.is_true(took < 2 * probe.slow)
      assert.same({ "query_canceled", "57014" }, { failure.kind, failure.sqlstate })
      probe.usable(conn)
    end
  end)

  test("a cancellation that comes too late hits nothing", function(open, world)
    local conn = open()
    for i = 1, 20 do
      local running = world.spawn(function() return conn:query_value("select $1::int from pg_sleep(0.01)", i) end)
      world.pause(0.001 * i)
      conn:cancel()
      world.join { running }
      assert.equal(i + 1000, conn:query_value("select $1::int + 1000", i))
    end
  end)

  test("another caller may close the connection: the one who waits is told at once", function(open, world)
    local conn = open()
    local failure
    local waiting = world.spawn(function() failure = select(2, conn:query "select pg_sleep(10)") end)
    world.pause(0.1)
    conn:close()
    local took = probe.timed(world.join, { waiting })
    assert.is_true(took < 1 * probe.slow, "it took " .. took)
    assert.equal("closed", failure.kind)
    assert.matches("conn:close()", failure.message, 1, true)
  end)

  -- What a pool is made of: connections that are taken and given back, callers that queue for them.
  local function lending(open, world, count)
    local f, free, queue = world.functions, {}, {}
    for i = 1, count do free[i] = open() end
    return function(fn)
      local conn = table.remove(free)
      if not conn then
        local ticket = {}
        queue[#queue + 1] = ticket
        assert.is_true(f.park(ticket, f.now() + 60))
        conn = ticket.conn
      end
      fn(conn)
      local ticket = table.remove(queue, 1)
      if ticket then
        ticket.conn = conn
        assert.is_true(f.wake(ticket))
      else
        free[#free + 1] = conn
      end
    end
  end

  test("200 callers share 8 connections, and nobody gets what is another's", function(open, world)
    local with = lending(open, world, 8)
    local tasks, using, most, done = {}, 0, 0, 0
    for i = 1, 200 do
      tasks[i] = world.spawn(function()
        for n = 1, 3 do
          with(function(conn)
            using = using + 1
            most = math.max(most, using)
            local naps = i % 20 == 0 and 0.02 or 0
            assert.equal(i * 10 + n,
              conn:query_value("select $1::int * 10 + $2::int from pg_sleep($3::float8)", i, n, naps))
            assert.equal(conn:backend_pid(), conn:query_value "select pg_backend_pid()")
            using, done = using - 1, done + 1
          end)
        end
      end)
    end
    world.join(tasks)
    assert.same({ 8, 600, 0 }, { most, done, using })
  end)

  test("some are cancelled and some run out of time while others work undisturbed", function(open, world)
    local tasks = {}
    for i = 1, 12 do
      tasks[i] = world.spawn(function()
        local conn = open()
        for n = 1, 5 do
          if i % 3 == 0 then
            local _, err = conn:query { "select pg_sleep(10)", timeout = 0.02 }
            assert.equal("query_timeout", err.kind)
          elseif i % 3 == 1 then
            local killer = world.spawn(function()
              world.pause(0.02)
              assert.is_true((conn:cancel()))
            end)
            assert.equal("query_canceled", (select(2, conn:query "select pg_sleep(10)")).kind)
            world.join { killer }
          end
          assert.equal(i * 100 + n, conn:query_value("select $1::int * 100 + $2::int", i, n))
        end
      end)
    end
    world.join(tasks)
  end)

  test("the others go on while a large result arrives", function(open)
    local conn = open()
    local longest = ticking(function()
      local rows = assert(conn:query "select n, repeat('x', 100) as x from generate_series(1, 20000) n")
      assert.equal(20000, #rows)
    end)
    assert.is_true(longest < 4 * STILL, "nobody ran for " .. longest)
  end)

  test("connections that idle, and callers who wait for an answer or for each other, use no CPU", function(open, world)
    local f, tasks, parked = world.functions, {}, {}
    for i = 1, 16 do
      local conn = open()
      conn:query "select 1"
      if i <= 8 then
        tasks[#tasks + 1] = world.spawn(function() assert(conn:query "select pg_sleep(1.4)") end)
      end
    end
    for i = 1, 50 do
      parked[i] = world.spawn(function() f.park(parked[i], i % 2 == 0 and f.now() + 60 or nil) end)
    end
    world.pause(0.1)
    local before = os.clock()
    world.pause(1)
    local used = os.clock() - before
    assert.is_true(used < 0.02 * probe.slow, "CPU seconds used in one second of idling: " .. used)
    for i = 1, 50 do f.wake(parked[i]) end
    world.join(tasks)
    world.join(parked)
  end)

  test("a connection that listens and idles takes what comes, keeps nothing of it and disturbs nobody",
    function(open, world)
      local listener, sender = open(), open()
      assert(listener:execute "listen contract_channel")
      local talker = world.spawn(function()
        for _ = 1, 20 do
          assert(sender:execute "select pg_notify('contract_channel', repeat('x', 7000)) from generate_series(1, 50)")
          world.pause(0.005)
        end
      end)
      world.join { talker }
      assert.equal("LISTEN", assert(listener:script "listen contract_channel")[1].command)
      assert.equal(42, listener:query_value "select 42")
      assert.same({ "contract_channel" }, listener:query_column "select pg_listening_channels()")
      assert(listener:execute "unlisten *")
    end)

  test("a transaction belongs to who has begun it, however callers alternate", function(open, world)
    local tasks = {}
    local setup_conn = open()
    assert(setup_conn:script "drop table if exists contract_tx; create table contract_tx (who int, n int)")
    for who = 1, 4 do
      tasks[who] = world.spawn(function()
        local conn = open()
        for n = 1, 5 do
          conn:transaction(function(tx)
            assert(tx:execute("insert into contract_tx values ($1, $2)", who, n))
            world.pause(0.002)
            if n % 2 == 0 then return nil, "even numbers are not wanted" end
            return true
          end)
        end
      end)
    end
    world.join(tasks)
    assert.equal(12, setup_conn:query_value "select count(*) from contract_tx")
    assert.equal(0, setup_conn:query_value "select count(*) from contract_tx where n % 2 = 0")
    assert(setup_conn:script "drop table contract_tx")
  end)
end

return function(setting)
  describe("under the waiter " .. setting.name, function()
    if setting.missing then
      pending(setting.missing)
      return
    end
    local world, open

    before_each(function()
      open = {}
      world = setting.start()
    end)
    after_each(function()
      for _, each in ipairs(open) do (each.stop or each.close)(each) end
    end)

    local function keep(thing)
      open[#open + 1] = thing
      return thing
    end

    local function open_one(options)
      local given = { application_name = NAME, waiter = world.waiter }
      for key, value in pairs(options or {}) do given[key] = value end
      if not given.host then
        given.url = env.url()
      else
        given.dbname, given.user = "postgres", "postgres"
      end
      return keep(assert(luphant.connect(given)))
    end

    local function test(title, fn)
      it(title, function()
        world.keep = keep
        world.run(function() fn(open_one, world) end)
      end)
    end

    local function ticking(fn)
      local longest, ticks, stop = 0, 0, false
      local last = probe.now()
      world.spawn(function()
        while not stop do
          world.pause(0.005)
          ticks = ticks + 1
          local now = probe.now()
          longest, last = math.max(longest, now - last), now
        end
      end)
      world.pause(0.01)
      longest, last = 0, probe.now()
      fn()
      stop = true
      return math.max(longest, probe.now() - last), ticks
    end

    alone(test)
    if setting.has_others then together(test, ticking) end
  end)
end
