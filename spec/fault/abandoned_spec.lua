-- Operations nobody will end, and handles that are collected in any order or used after their end.
-- spec/abandoned_spec.lua counts the core's memory while it does the same.
--
-- To see it fail: let reclaim.lua of the pool take nothing for abandoned (F34, F35), let keep.lua not cancel what is
-- under way (F34), or take `closed_box` out of connection.lua (F36).
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"
local luphant = require "luphant"
local ordeal = require "spec.support.ordeal"
local probe = require "spec.support.probe"

ordeal.family("what is abandoned", {}, function(test)
  -- A connection whose next wait gives way to nobody who would come back.
  local function connect_to_abandon(world)
    local waiter = { name = "abandoning", now = core.now, sleep = coroutine.yield, park = coroutine.yield,
      wake = function() return false end, wait = core.poll }
    local conn = assert(luphant.connect(world.options { waiter = waiter }))
    waiter.wait = coroutine.yield
    return conn
  end

  test("F34 a hundred coroutines dropped in mid-query leave neither descriptors nor sessions", function(world)
    local function drop()
      local thread = coroutine.create(function()
        return connect_to_abandon(world):query "select pg_sleep(0.3)"
      end)
      assert(coroutine.resume(thread))
      assert.equal("suspended", coroutine.status(thread))
    end
    for _ = 1, 100 do coroutine.wrap(drop)() end -- on stacks that go with them
    if rawget(_G, "jit") then require("jit").flush() end
  end)

  test("F34 a connection whose user was dropped in mid-query refuses others, and can be closed", function(world)
    local conn = connect_to_abandon(world)
    local thread = coroutine.create(function() return conn:query "select pg_sleep(0.5)" end)
    assert(coroutine.resume(thread))
    thread = nil -- luacheck: ignore
    collectgarbage()
    local err = probe.fails(0.2, conn.query, conn, "select 1")
    assert.same({ "busy", "no" }, { err.kind, err.sent })
    conn:close()
    assert.is_false(conn:is_open())
  end)

  test("F36 handles may be collected in any order", function(world)
    local random = 4711
    local function pick(n)
      random = (random * 1103515245 + 12345) % 2147483648
      return random % n + 1
    end
    for _ = 1, 20 do
      local conn = assert(luphant.connect(world.options()))
      local kept = { conn, conn:values "select generate_series(1, 100), repeat('x', 50)", conn.types,
        assert(conn:query "select 1 as a, array[1, 2] as b"), assert(conn:prepare "select $1::int") }
      kept[2]()
      conn = nil -- luacheck: ignore
      while #kept > 0 do
        table.remove(kept, pick(#kept))
        collectgarbage()
        for i = 1, #kept do
          if type(kept[i]) == "function" then kept[i]() end
        end
      end
    end
  end)

  test("F36 what is used after its end says so at the caller's line", function(world)
    local conn = world.connect()
    local statement = assert(conn:prepare "select $1::int")
    local iterator = conn:values "select generate_series(1, 1000)"
    iterator()
    conn:close()
    conn:close()
    assert.is_false(conn:is_open())
    for _, call in ipairs {
      function() return conn:query "select 1" end,
      function() return conn:transaction(function() end) end,
      function() return conn:describe "select 1" end,
      function() return statement:query(1) end,
    } do
      local ok, message = pcall(call)
      assert.is_false(ok)
      assert.matches("abandoned_spec.lua:%d+: .*closed", tostring(message))
    end
    pcall(iterator) -- rows that are here already may still be given; a crash is what must not happen
  end)

  test("F36 a state that ends with everything open ends well", function(world)
    local code = [[
      local luphant = require "luphant"
      local conn = assert(luphant.connect { host = %q, port = %d, dbname = "postgres", user = "postgres",
        application_name = %q })
      KEPT = { conn, conn:values "select generate_series(1, 1000)", conn:prepare "select 1" }
      KEPT[2]()
      conn:transaction(function(tx)
        tx:execute "create temp table t ()"
        io.write "open"
        os.exit(0, true)
      end)]]
    local options = world.options()
    local output, failed = probe.script({}, code:format(options.host, options.port, options.application_name))
    assert.same({ "open" }, { output, failed })
  end)

  -- Borrows two connections and ends without giving back. `how` is given each of them.
  local function forget_in_task(world, db, how)
    local function borrow()
      local one, other = assert(db:acquire()), assert(db:acquire())
      how(one)
      how(other)
    end
    if world.spawn then
      world.join { world.spawn(borrow) }
    else
      assert(coroutine.resume(coroutine.create(borrow)))
    end
    collectgarbage()
    collectgarbage()
  end

  test("F34 connections of tasks that ended come back when the pool needs them, with a warning that names the line",
    function(world)
      local warnings = {}
      local db = world.pool(world.options { max_connections = 2,
        on_warning = function(warning) warnings[#warnings + 1] = warning.event .. ": " .. warning.message end })
      forget_in_task(world, db, function(conn) assert(conn:query "select 1") end)
      assert.equal(2, db:stats().used)
      for i = 1, 5 do assert.equal(i, db:query_value("select $1::int", i)) end
      assert.equal(2, db:stats().reclaimed)
      assert.matches("^reclaimed: .*abandoned_spec.lua:%d+", warnings[1])
      world.assert_sound(db)
    end)

  test("F34 a pool cancels the statements of coroutines that were dropped, and has its connections again",
    function(world)
      local abandoning = { name = "abandoning", now = core.now, sleep = coroutine.yield, park = coroutine.yield,
        wake = function() return false end, wait = core.poll }
      local db = world.keep(assert(luphant.open(world.options { max_connections = 5, on_warning = function() end,
        waiter = abandoning })))
      local pids = {}
      local function drop(i) -- runs in a coroutine: the stack of this test keeps nothing of what it makes
        local thread = coroutine.create(function()
          local conn = assert(db:acquire())
          pids[i] = conn:backend_pid()
          -- Dropped in the sleep itself, or while the statement is prepared for it.
          if i > 1 then assert(conn:query("select pg_sleep($1)", 0)) end
          abandoning.wait = coroutine.yield
          return conn:query("select pg_sleep($1)", 4)
        end)
        assert(coroutine.resume(thread))
        assert.equal("suspended", coroutine.status(thread))
        abandoning.wait = core.poll
      end
      for i = 1, 5 do coroutine.wrap(drop)(i) end
      if rawget(_G, "jit") then require("jit").flush() end
      collectgarbage()
      collectgarbage()
      assert(world.observer:query "select pg_sleep(0.03)") -- the pool looks for what was forgotten every 20 ms at most
      local took, value, err = probe.timed(db.query_value, db, "select 42")
      assert(value == 42, tostring(err))
      assert.is_true(took < 2 * probe.slow)
      assert.equal(5, db:stats().reclaimed)
      assert.is_true(world.eventually(function() -- long before they would have ended by themselves
        return world.observer:query_value([[select count(*)::int from pg_stat_activity
          where pid = any ($1) and state = 'active']], pids) == 0
      end, 2))
      assert.equal(5, db:stats().connected) -- cancelled, not replaced
    end)

  local function idle_in_transaction(world)
    return world.observer:query_value [[select count(*)::int from pg_stat_activity
      where application_name like 'ordeal%' and state like 'idle in transaction%']]
  end

  test("F35 a transaction whose task ended is rolled back when the pool needs its connection", function(world)
    assert(world.observer:script "drop table if exists dropped; create table dropped (n int)")
    local warnings = 0
    local db = world.pool(world.options { max_connections = 2,
      on_warning = function(warning) warnings = warnings + (warning.event == "reclaimed" and 1 or 0) end })
    forget_in_task(world, db, function(conn) assert(conn:script "begin; insert into dropped values (1)") end)
    assert.equal(2, idle_in_transaction(world))
    assert.equal(0, db:query_value "select count(*)::int from dropped")
    assert.is_true(world.eventually(function() return idle_in_transaction(world) == 0 end))
    assert.equal(2, warnings)
    world.assert_sound(db)
    assert(world.observer:script "drop table dropped")
  end)

  test("F35 a transaction whose coroutine was dropped in its function is rolled back when the pool needs it",
    function(world)
      assert(world.observer:script "drop table if exists dropped; create table dropped (n int)")
      local db = world.pool(world.options { max_connections = 1, on_warning = function() end, waiter = "poll" })
      coroutine.wrap(function() -- on a stack that goes with it
        local thread = coroutine.create(function()
          db:transaction(function(tx)
            assert(tx:execute "insert into dropped values (1)")
            coroutine.yield()
          end)
        end)
        assert(coroutine.resume(thread))
        assert.equal("suspended", coroutine.status(thread))
      end)()
      if rawget(_G, "jit") then require("jit").flush() end
      collectgarbage()
      collectgarbage()
      assert.equal(1, idle_in_transaction(world))
      assert.equal(0, db:query_value "select count(*)::int from dropped")
      assert.equal(0, idle_in_transaction(world))
      assert(world.observer:script "drop table dropped")
    end)

  test("F36 a pool may be collected with everything open, and the state may end with it", function(world)
    for _ = 1, 10 do
      local db = assert(luphant.open(world.options { max_connections = 3, waiter = "poll" }))
      local lent = assert(db:acquire())
      assert(lent:script "begin")
      assert.equal(1, db:query_value "select 1")
    end
    collectgarbage()
    collectgarbage()
    local code = [[
      local luphant = require "luphant"
      local db = assert(luphant.open { host = %q, port = %d, dbname = "postgres", user = "postgres",
        application_name = %q })
      KEPT = { db:acquire(), db }
      db:transaction(function(tx)
        tx:execute "create temp table t ()"
        io.write "open"
        os.exit(0, true)
      end)]]
    local options = world.options()
    local output, failed = probe.script({}, code:format(options.host, options.port, options.application_name))
    assert.same({ "open" }, { output, failed })
  end)
end)
