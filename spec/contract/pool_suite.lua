-- What a pool promises under any waiter. `suite(setting)` defines the tests; for settings and their worlds see
-- spec/contract/worlds.lua. What several tasks at once may expect is in pool_crowd.lua.
--
-- SPDX-License-Identifier: MIT

-- A module does not see what busted gives a spec.
local busted = require "busted"
local describe, it, pending = busted.describe, busted.it, busted.pending
local before_each, after_each = busted.before_each, busted.after_each
local setup, teardown = busted.setup, busted.teardown
local assert = require "luassert"

local crowd = require "spec.contract.pool_crowd"
local env = require "spec.support.env"
local luphant = require "luphant"
local probe = require "spec.support.probe"
local proxy = require "luphant.testing.proxy"

local NAME = "pool_contract"

-- Tests of one task.
local function alone(test)
  for verb, expected in pairs {
    query = { { n = 1, t = "one" }, { n = 2, t = "two" } }, query_column = { 1, 2 }, execute = 2,
  } do
    test("db:" .. verb .. " gives its result, at first and again", function(open)
      local db = open()
      for _ = 1, 3 do
        assert.same(expected, db[verb](db, "select * from (values (1, 'one'), (2, $1::text)) v (n, t)", "two"))
      end
      assert.same({ 1, 1, 0 }, { db:stats().total, db:stats().idle, db:stats().used })
    end)
  end

  test("the verbs for one row, one value, iteration, description and scripts give theirs", function(open)
    local db = open()
    for _ = 1, 2 do
      assert.same({ n = 1 }, db:query_one "select 1 as n")
      assert.same({ n = 2 }, db:query_opt "select 2 as n")
      assert.equal(0, select("#", db:query_opt "select 2 as n where false") - 1)
      assert.equal(3, db:query_value("select $1::int", 3))
      local null, err = db:query_value "select null::int"
      assert.same({ n = 2 }, { null, err, n = 2 })
      local seen = {}
      for n, t in db:values "select n, 'x' || n from generate_series(1, 3) n" do seen[n] = t end
      assert.same({ "x1", "x2", "x3" }, seen)
      assert.equal("integer", assert(db:describe "select $1::int").params[1].type)
      assert.same({ { n = 2 } }, assert(db:script "select 1; select 2 as n")[2].rows)
      assert.equal("array", type(db:query({ "select 1", rows = "array" })[1][1]) == "number" and "array")
    end
    assert.equal(1, db:stats().connected)
  end)

  test("a failed statement costs no connection", function(open)
    local db = open()
    local pid = db:query_value "select pg_backend_pid()"
    for _ = 1, 2 do
      assert.equal("division_by_zero", (select(2, db:query "select 1 / 0")).kind)
      assert.equal("syntax_error", (select(2, db:script "select 1; selec 2")).kind)
      assert.equal("no_rows", (select(2, db:query_one "select 1 where false")).kind)
      local ok, err = pcall(db.values, db, "select 1 / 0")
      assert.same({ false, "division_by_zero" }, { ok, err.kind })
      assert.equal("query_timeout", (select(2, db:query { "select pg_sleep(5)", timeout = 0.02 })).kind)
      assert.equal("parameter", (select(2, db:query("select $1", coroutine.create(function() end)))).kind)
      assert.equal("parameter", (select(2, db:query("select 1", 2))).kind)
      assert.is_false((pcall(db.query, db)))
      assert.is_false((pcall(db.query, db, { "select 1", timeot = 1 })))
      assert.equal("division_by_zero", (select(2, db:with(function(conn) return conn:query "select 1 / 0" end))).kind)
    end
    assert.equal(pid, db:query_value "select pg_backend_pid()")
    assert.same({ 1, 1 }, { db:stats().connected, db:stats().idle })
  end)

  test("misuse is told at the line of the caller", function(open)
    local db = open()
    local function line() return debug.getinfo(2, "l").currentline end
    for _, case in ipairs {
      { line(), pcall(function() db:query(7) end) },
      { line(), pcall(function() db:with "no function" end) },
      { line(), pcall(function() db:transaction "no function" end) },
      { line(), pcall(function() db:acquire { timeot = 1 } end) },
      { line(), pcall(function() db:acquire { timeout = "long" } end) },
      { line(), pcall(function() db:resize { max_connection = 1 } end) },
      { line(), pcall(function() db:resize() end) },
      { line(), pcall(function() db:ready "soon" end) },
      { line(), pcall(function() db:health {} end) },
      { line(), pcall(function() db:close "soon" end) },
      { line(), pcall(function() db:describe() end) },
      { line(), pcall(function() db:script(1) end) },
      { line(), pcall(function() db:register_type(1, {}) end) },
    } do
      assert.is_false(case[2])
      assert.matches(("pool_suite.lua:%d:"):format(case[1]), tostring(case[3]), 1, true)
    end
    assert.equal(0, db:stats().used)
  end)

  test("a borrowed connection is one session, and the pool's own when it comes back", function(open)
    local db = open()
    local conn = assert(db:acquire())
    assert.same({ 1, 0, true }, { db:stats().used, db:stats().idle, conn:is_lent() })
    local pid = conn:query_value "select pg_backend_pid()"
    assert.same({ pid, pid }, { conn:backend_pid(), conn:query_value "select pg_backend_pid()" })
    conn:release()
    assert.same({ 0, 1, false }, { db:stats().used, db:stats().idle, conn:is_lent() })
    assert.equal(pid, db:with(function(same) return same:backend_pid() end))
  end)

  test("with gives the connection back, whatever happens, and answers what its function does", function(open)
    local db = open { max_connections = 1 }
    assert.same({ 1, nil, 3, n = 3 }, { n = select("#", db:with(function() return 1, nil, 3 end)),
      db:with(function() return 1, nil, 3 end) })
    local ok, err = pcall(db.with, db, function() error({ "mine" }) end)
    assert.same({ false, { "mine" } }, { ok, err })
    assert.same({ nil, "no" }, { db:with(function() return nil, "no" end) })
    db:with(function(conn) conn:release() end)
    assert.equal(1, db:stats().idle)
  end)

  test("transaction commits or rolls back, and gives the connection back", function(open)
    local db = open { max_connections = 1 }
    assert(db:script "drop table if exists pool_tx; create table pool_tx (n int primary key)")
    assert.equal("done", db:transaction(function(tx)
      assert(tx:execute "insert into pool_tx values (1)")
      return "done"
    end))
    assert.same({ nil, "no" }, { db:transaction(function(tx)
      assert(tx:execute "insert into pool_tx values (2)")
      return nil, "no"
    end) })
    local ok, err = pcall(db.transaction, db, function(tx)
      assert(tx:execute "insert into pool_tx values (3)")
      error "thrown"
    end)
    assert.is_false(ok)
    assert.matches("thrown", err)
    assert.equal("unique_violation", (select(2, db:transaction(function(tx)
      tx:execute "insert into pool_tx values (4)"
      tx:execute "insert into pool_tx values (1)"
    end))).kind)
    assert.same({ 1 }, db:query_column "select n from pool_tx")
    assert.same({ 1, 1 }, { db:stats().idle, db:stats().connected })
    assert(db:script "drop table pool_tx")
  end)

  test("what was released runs nothing more, and releasing it again disturbs nobody", function(open)
    local db = open { max_connections = 1 }
    local first = assert(db:acquire())
    local statement = assert(first:prepare "select 1")
    first:release()
    local second = assert(db:acquire())
    first:release()
    first:close()
    assert.is_true(second:is_lent())
    for _, verb in ipairs { "query", "execute", "query_value", "describe", "script", "prepare", "cancel",
      "backend_pid", "transaction_status", "stats" } do
      local ok, err = pcall(function() first[verb](first, "select 1") end)
      assert.is_false(ok)
      assert.matches("pool_suite.lua:%d+: this connection was given back to its pool", err)
    end
    assert.is_false((pcall(first.transaction, first, function() end)))
    local ok, err = pcall(function() statement:query() end)
    assert.is_false(ok)
    assert.matches("given back to its pool", err)
    assert.same({ false, 1 }, { first:is_open(), second:query_value "select 1" })
    assert.equal(1, db:stats().used)
    second:release()
  end)

  test("conn:close() ends the session, and the pool opens another", function(open)
    local db = open { max_connections = 1 }
    local conn = assert(db:acquire())
    local pid = conn:backend_pid()
    conn:close()
    conn:release()
    assert.equal(0, db:stats().total)
    assert.are_not.equal(pid, db:query_value "select pg_backend_pid()")
    assert.matches("closed with conn:close()", select(2, pcall(conn.query, conn, "select 1")), 1, true)
  end)

  -- What a borrower may leave, and what the next one must see instead.
  local LEFTOVERS = {
    ["a setting"] = { "set search_path to pg_catalog, pg_temp; set work_mem = '3MB'", "show work_mem", "4MB" },
    ["a role"] = { "set role pg_monitor", "select current_user::text", "postgres" },
    ["LISTEN"] = { "listen pool_left", "select count(*) from pg_listening_channels()", 0 },
    ["an advisory lock"] = { "select pg_advisory_lock(4711)",
      "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()", 0 },
    ["a temporary table"] = { "create temp table left_over (n int)",
      "select to_regclass('left_over') is null", true },
    ["an open transaction"] = { "begin; set local work_mem = '3MB'", "show work_mem", "4MB" },
    ["a failed transaction"] = { "begin; select 1 / 0", "select 1", 1 },
    ["a cursor WITH HOLD"] = { "declare left_over cursor with hold for select 1",
      "select count(*) from pg_cursors where name = 'left_over'", 0 },
    ["a statement of PREPARE"] = { "prepare left_over as select 1",
      "select count(*) from pg_prepared_statements where from_sql", 0 },
  }

  for what, case in pairs(LEFTOVERS) do
    test(what .. " of a borrower does not reach the next one", function(open)
      local db = open { max_connections = 1 }
      local pid = db:query_value "select pg_backend_pid()"
      local ways = {
        function() db:with(function(conn) conn:script(case[1]) end) end,
        function()
          db:with(function(conn)
            for sql in case[1]:gmatch "[^;]+" do conn:execute(sql) end
          end)
        end,
        function() db:script(case[1]) end,
      }
      for _, way in ipairs(ways) do
        way()
        assert.equal(case[3], db:query_value(case[2]))
      end
      assert.equal(pid, db:query_value "select pg_backend_pid()", "cleaned, not replaced")
      assert.equal(1, db:stats().connected)
    end)
  end

  test("a statement left under way is stopped before the next borrower comes", function(open, world)
    local db = open { max_connections = 1 }
    local thread = coroutine.create(function()
      -- A coroutine that is left while its statement runs: whoever resumed it goes away.
      local waiter = {}
      for name, fn in pairs(require("luphant.wait").choose "poll") do waiter[name] = fn end
      waiter.name, waiter.wait = "leaving", function() coroutine.yield() end
      local conn = assert(db:acquire())
      conn.waiter = waiter
      conn:query "select pg_sleep(20)"
    end)
    if world.spawn then
      -- Getting the connection has to wait in the loop.
      assert(db:query "select 1")
    end
    assert(coroutine.resume(thread))
    thread = nil -- luacheck: ignore 311
    collectgarbage()
    collectgarbage()
    local took, value = probe.timed(db.query_value, db, "select 7")
    assert.equal(7, value)
    assert.is_true(took < 3 * probe.slow)
    assert.equal(1, db:stats().reclaimed)
  end)

  test("a borrower who left nothing costs nothing beside its statements", function(open, world)
    local gate = world.gate()
    local db = open({ max_connections = 1 }, gate)
    local function trips(fn)
      for _ = 1, 2 do fn() end -- statements get prepared
      gate:stats { reset = true }
      for _ = 1, 5 do fn() end
      return gate:stats().round_trips / 5
    end
    assert.equal(1, trips(function() db:query_value "select 1" end))
    assert.equal(1, trips(function() db:with(function(conn) conn:query_value "select 1" end) end))
    assert.equal(0, trips(function() assert(db:acquire()):release() end))
    assert.equal(2, trips(function() db:with(function(conn) conn:execute "set work_mem = '3MB'" end) end))
  end)

  test("a connection the server closed while it was idle is replaced without a failed call", function(open, world)
    local db = open { max_connections = 3, reuse = "fifo" }
    for round = 1, 3 do
      local pid = db:query_value "select pg_backend_pid()"
      world.terminate(pid)
      local other, err = db:query_value "select pg_backend_pid()"
      assert.is_nil(err)
      assert.are_not.equal(pid, other)
      assert.same({ 1, round + 1 }, { db:stats().total, db:stats().connected })
    end
    world.terminate(db:query_value "select pg_backend_pid()")
    assert.equal(1, db:with(function(conn) return conn:query_value "select 1" end))
    world.terminate(db:query_value "select pg_backend_pid()")
    assert.equal("done", db:transaction(function(tx) return tx:query_value "select 'done'" end))
    assert.same({ 1, 6 }, { db:stats().total, db:stats().connected })
  end)

  test("what is lost in use is closed, told, and replaced", function(open, world)
    local db = open { max_connections = 1 }
    local conn = assert(db:acquire())
    world.terminate(conn:backend_pid())
    assert.equal("connection", (select(2, conn:query "select 1")).class)
    conn:release()
    assert.equal(1, db:query_value "select 1")
    assert.same({ 1, 2 }, { db:stats().total, db:stats().connected })
  end)

  -- One deadline for all of it. Each step stalls once.
  local function takes_as_long_as_agreed(db, kind)
    local err, took = probe.fails(0.3 + 0.6, db.acquire, db, { timeout = 0.3 })
    assert.equal(kind or "pool_timeout", err.kind)
    assert.is_true(took >= 0.25, "too early: " .. took)
    return err
  end

  test("the deadline covers connecting", function(open, world)
    local gate = world.gate()
    local db = open({ max_connections = 1 }, gate)
    gate:stall()
    takes_as_long_as_agreed(db)
    gate:resume()
  end)

  test("the deadline covers the health check", function(open, world)
    local gate = world.gate()
    local db = open({ max_connections = 1, health_check_after = 0.02 }, gate)
    assert(db:query "select 1")
    world.pause(0.05)
    gate:stall()
    takes_as_long_as_agreed(db)
    gate:resume()
  end)

  for _, name in ipairs { "after_connect", "before_acquire" } do
    test("the deadline covers the hook " .. name, function(open)
      local stall = true
      local db = open { max_connections = 1, [name] = function(conn)
        if not stall then return true end
        local ok, err = conn:execute "select pg_sleep(2)"
        return ok, err
      end }
      takes_as_long_as_agreed(db)
      stall = false
      assert.equal(1, db:query_value "select 1")
    end)
  end

  test("the deadline covers looking at a connection that may be asked for long", function(open, world)
    local gate = world.gate()
    local db = open({ max_connections = 1 }, gate)
    assert(db:query "select 1")
    gate:stall()
    local took, ok, err = probe.timed(db.ready, db, 0.2)
    assert.is_nil(ok)
    assert.is_true(took < 0.8 * probe.slow, "ready took " .. took)
    assert.equal("timeout", err.class)
    gate:resume()
    assert.is_true((db:ready(2)))
    gate:stall()
    local health
    took, health = probe.timed(db.health, db, 0.2)
    assert.is_true(took < 0.8 * probe.slow, "health took " .. took)
    assert.is_false(health.ok)
    gate:resume()
  end)

  test("a dropped handle is taken back with a warning that names the line", function(open)
    local warnings = {}
    local db = open { max_connections = 1, on_warning = function(w) warnings[#warnings + 1] = w end }
    local line = debug.getinfo(1, "l").currentline + 1
    local function lose() assert(assert(db:acquire()):execute "set work_mem = '3MB'") end
    lose()
    collectgarbage()
    collectgarbage()
    assert.equal("4MB", db:query_value "show work_mem")
    assert.same({ 1, 1, "reclaimed" }, { db:stats().reclaimed, #warnings, warnings[1].event })
    assert.matches(("pool_suite.lua:%d"):format(line), warnings[1].message, 1, true)
  end)

  test("one who asks for more than there is, and holds all, is told at once", function(open, world)
    local db = open { max_connections = 2, acquire_timeout = 20 }
    local a, b = assert(db:acquire()), assert(db:acquire())
    local kind = world.spawn and "pool_self_deadlock" or "pool_exhausted"
    local err = probe.fails(0.2, db.acquire, db)
    assert.equal(kind, err.kind)
    assert.equal(kind, probe.fails(0.2, db.query, db, "select 1").kind)
    assert.equal(kind, probe.fails(0.2, db.transaction, db, function() end).kind)
    assert.equal(2, #err.pool.holders)
    assert.matches("pool_suite.lua:", tostring(err), 1, true)
    a:release()
    assert.equal(1, db:query_value "select 1")
    b:release()
  end)

  test("limits change at work", function(open)
    local db = open { max_connections = 1 }
    local held = { assert(db:acquire()) }
    db:resize { max_connections = 3 }
    held[2], held[3] = assert(db:acquire()), assert(db:acquire())
    assert.same({ 3, 3 }, { db:stats().used, db:stats().max })
    db:resize { max_connections = 1 }
    for i = 1, 3 do
      assert.equal(i, held[i]:query_value("select $1::int", i))
      held[i]:release()
    end
    assert.same({ 1, 1 }, { db:stats().total, db:stats().max })
    db:resize { max_connections = 2, min_connections = 2 }
    assert.is_true(probe.eventually(function()
      db:query "select 1"
      return db:stats().total == 2
    end))
  end)

  test("refresh replaces all connections as they come back", function(open)
    local db = open { max_connections = 2 }
    local conn = assert(db:acquire())
    local idle = db:query_value "select pg_backend_pid()"
    db:refresh()
    assert.equal(1, conn:query_value "select 1")
    local lent = conn:backend_pid()
    conn:release()
    local fresh = db:query_value "select pg_backend_pid()"
    assert.is_true(fresh ~= idle and fresh ~= lent)
    assert.equal(1, db:stats().total)
  end)

  test("close ends all sessions, and is done once", function(open, world)
    local db = open { max_connections = 3 }
    local held = { assert(db:acquire()), assert(db:acquire()) }
    for _, conn in ipairs(held) do conn:release() end
    assert.is_true((db:close()))
    assert.is_true((db:close()))
    assert.is_true(probe.eventually(function() return world.sessions() == 0 end))
    for _, verb in ipairs { "acquire", "query", "execute", "script", "describe", "ready" } do
      local value, err = db[verb](db, verb ~= "acquire" and verb ~= "ready" and "select 1" or nil)
      assert.is_nil(value)
      assert.equal("pool_closed", err.kind)
    end
    assert.equal("pool_closed", (select(2, db:transaction(function() end))).kind)
    assert.same({ false, "pool_closed" }, { db:health().ok, db:health().kind })
    assert.matches("closed", tostring(db))
  end)

  test("close closes under its borrower what does not come back in time", function(open, world)
    local db = open { max_connections = 2 }
    local line = debug.getinfo(1, "l").currentline + 1
    local conn = assert(db:acquire())
    assert(conn:execute "begin")
    local took, ok, err = probe.timed(db.close, db, 0.2)
    assert.is_nil(ok)
    assert.equal("pool_closed", err.kind)
    assert.matches(("pool_suite.lua:%d"):format(line), tostring(err), 1, true)
    assert.is_true(took < 0.6 * probe.slow, "it took " .. took)
    assert.is_false((pcall(conn.query, conn, "select 1")))
    conn:release()
    conn:close()
    assert.is_true(probe.eventually(function() return world.sessions() == 0 end))
    assert.same({ 0, 0 }, { db:stats().total, db:stats().used })
  end)

  test("types that were registered hold on every connection", function(open)
    local db = open { max_connections = 2 }
    local early = assert(db:acquire())
    assert.is_true((db:register_type("point", { decode = function(value) return "point " .. value end })))
    local late = assert(db:acquire())
    assert.same({ "point (1,2)", "point (1,2)" },
      { early:query_value "select point(1, 2)", late:query_value "select point(1, 2)" })
    early:release()
    late:release()
    assert.equal("point (3,4)", db:query_value "select point(3, 4)")
  end)

  test("the figures add up", function(open)
    local db = open { max_connections = 2 }
    for _ = 1, 3 do db:query "select 1" end
    local conn = assert(db:acquire())
    local s = db:stats()
    assert.equal(s.total, s.idle + s.used + s.connecting)
    assert.same({ 4, 1, 0, 1 }, { s.borrowed, s.connected, s.waiting, #s.connections })
    assert.same({ "used", conn:backend_pid() }, { s.connections[1].state, s.connections[1].backend_pid })
    conn:release()
    s = db:stats()
    assert.same({ s.borrowed, s.borrowed, s.connected },
      { s.histograms.wait.count, s.histograms.use.count, s.histograms.connect.count })
  end)
end

-- The world of one test, and what all tests find in it.
local function furnish(setting, observer)
  local kept, pools = {}, {}
  local world = setting.start()

  function world.keep(thing)
    kept[#kept + 1] = thing
    return thing
  end

  function world.gate()
    local target = observer:target()
    return world.keep(assert(proxy.start { target_socket = ("%s/.s.PGSQL.%s"):format(target.host, target.port) }))
  end

  function world.terminate(pid)
    assert(observer:query_value("select pg_terminate_backend($1, 5000)", pid), "no such backend")
    world.pause(0.01) -- what was used just now is not looked at (IDLE_MOMENT in csrc/core/conn.c)
  end

  function world.sessions()
    return observer:query_value("select count(*) from pg_stat_activity where application_name = $1", NAME)
  end

  --- A pool that is closed with the test.
  function world.open(options, gate)
    local given = { application_name = NAME, waiter = world.waiter, cancel_grace = 0.2 }
    for key, value in pairs(options or {}) do given[key] = value end
    if gate then
      given.host, given.port, given.sslmode, given.dbname, given.user =
        gate.host, gate.port, "disable", "postgres", "postgres"
    else
      given.url = env.url()
    end
    local db = assert(luphant.open(given))
    pools[#pools + 1] = db
    return db
  end

  --- Inside of the loop: pools have to end where they can wait.
  function world.close_pools()
    for _, db in ipairs(pools) do db:close(0.5) end
  end

  function world.clear()
    for i = #kept, 1, -1 do (kept[i].stop or kept[i].close)(kept[i]) end
  end

  return world
end

return function(setting)
  describe("a pool under the waiter " .. setting.name, function()
    if setting.missing then
      pending(setting.missing)
      return
    end
    local observer, world

    setup(function() observer = assert(luphant.connect(env.url(), { waiter = "poll" })) end)
    teardown(function() observer:close() end)
    before_each(function() world = furnish(setting, observer) end)
    after_each(function()
      world.clear()
      world = nil
      collectgarbage()
      assert.is_true(probe.eventually(function()
        return observer:query_value("select count(*) from pg_stat_activity where application_name = $1", NAME) == 0
      end), "sessions linger on the server")
    end)

    local function test(title, fn)
      it(title, function()
        world.run(function()
          local ok, err = xpcall(function() fn(world.open, world) end, function(err)
            return type(err) == "string" and debug.traceback(err, 2) or err
          end)
          world.close_pools()
          if not ok then error(err, 0) end
        end)
      end)
    end

    alone(test)
    if setting.has_others then crowd(test) end
  end)
end
