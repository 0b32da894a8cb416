-- A server that ends sessions, crashes, stops and starts, with sessions at work, idle, and in transactions.
--
-- To see it fail: let on_notice in csrc/core/conn.c drop what it gets (F4: the reason is gone then), or let
-- pool/verbs.lua run a statement again that may have been sent (F1).
--
-- SPDX-License-Identifier: MIT

local host = require "luphant.testing.host"
local liar = require "spec.support.liar"
local luphant = require "luphant"
local ordeal = require "spec.support.ordeal"
local probe = require "spec.support.probe"
local server = require "luphant.testing.server"
local shell = require "luphant.testing.shell"

local function start() return assert(server.start { settings = { log_connections = true } }) end

ordeal.family("a server that goes away", { server = start }, function(test)
  -- What statements say whose server crashed under them: what libpq saw, or the server's last words.
  local CRASHED = { closed = true, crash_shutdown = true, admin_shutdown = true }

  local function comes_back(world)
    local refusals = {}
    assert.is_true(probe.eventually(function()
      local conn, err = luphant.connect(world.options { connect_timeout = 2 })
      if conn then return conn:close() or true end
      refusals[err.kind] = err
      return false
    end, 15))
    return refusals
  end

  local function terminate(world, conn)
    local pid = conn:backend_pid()
    assert(world.observer:query("select pg_terminate_backend($1)", pid))
    assert.is_true(probe.eventually(function()
      return world.observer:query_value("select count(*)::int from pg_stat_activity where pid = $1", pid) == 0
    end))
  end

  test("F1 a server process killed in mid-query ends the session, and a new one is had when the server is back",
    function(world)
      local conn = world.connect()
      world.soon(0.2, "kill -9 " .. conn:backend_pid())
      local err, took = world.fails(3, conn.query, conn, { "select pg_sleep(10)", timeout = 8 })
      assert.same({ "connection", "maybe", false }, { err.class, err.sent, err.retryable })
      assert.is_truthy(CRASHED[err.kind], err.kind)
      assert.is_true(took >= 0.1)
      world.assert_gone(conn)
      for kind, refusal in pairs(comes_back(world)) do
        assert(kind == "cannot_connect_now" or kind == "refused" or kind == "closed", kind)
        assert.is_true(refusal.retryable)
      end
      probe.usable(world.connect())
    end)

  test.together("F1 a server process killed beside 16 statements ends all of them, with the server's reason",
    function(world)
      local conns, tasks = {}, {}
      for i = 1, 16 do conns[i] = world.connect() end
      for i, conn in ipairs(conns) do
        tasks[i] = world.spawn(function()
          local value, err = conn:query { "select pg_sleep(10)", timeout = 8 }
          assert(value == nil and CRASHED[err.kind] and err.sent == "maybe", tostring(err))
          world.assert_gone(conn)
        end)
      end
      world.pause(0.1)
      assert(shell.run("kill -9 " .. conns[7]:backend_pid()))
      world.join(tasks)
      comes_back(world)
    end)

  test("F2 pg_terminate_backend in mid-query is told by its SQLSTATE", function(world)
    local conn = world.connect()
    world.sql_soon(0.15, ("select pg_terminate_backend(%d)"):format(conn:backend_pid()))
    local err, took = world.fails(3, conn.query, conn, { "select pg_sleep(10)", timeout = 8 })
    assert.same({ "57P01", "connection", "maybe", false }, { err.sqlstate, err.class, err.sent, err.retryable })
    assert.is_true(took >= 0.1)
    world.assert_gone(conn)
  end)

  test("F4 pg_terminate_backend of an idle transaction ends it for good; nothing of it runs elsewhere", function(world)
    assert(world.observer:script "drop table if exists kept; create table kept (n int)")
    local conn = world.connect()
    local seen = {}
    local value, err = conn:transaction(function(tx)
      assert(tx:execute "insert into kept values (1)")
      terminate(world, conn)
      for i = 1, 3 do seen[i] = world.fails(0.5, tx.execute, tx, "insert into kept values (2)") end
      return "done"
    end)
    assert.is_nil(value)
    assert.same({ "57P01", "connection" }, { err.sqlstate, err.class })
    assert.same({ "57P01", "no" }, { seen[1].sqlstate, seen[1].sent })
    for i = 2, 3 do assert.same({ "tx_closed", "no" }, { seen[i].kind, seen[i].sent }) end
    world.assert_gone(conn)
    assert.equal(0, world.observer:query_value "select count(*)::int from kept")
  end)

  -- For another process: Server:restart would keep this one from its statements until all is over.
  local function restart_command(pg, mode)
    local words = shell.line { pg.bin_dir .. "/pg_ctl", "restart", "-w", "-m", mode, "-D", pg.data_dir, "-l",
      pg.data_dir .. "/restart.log" }
    return host.as(assert(host.account()), "cd / && " .. words)
  end

  test("F5 a restart under load ends sessions with a reason, in time, and new ones are had at once", function(world)
    for _, mode in ipairs { "fast", "immediate" } do
      local idle, busy = world.connect(), world.connect()
      probe.usable(idle)
      world.soon(0.1, restart_command(world.server, mode))
      local err = world.fails(5, busy.query, busy, { "select pg_sleep(20)", timeout = 15 })
      assert.same({ "connection", "maybe" }, { err.class, err.sent })
      if mode == "fast" then assert.equal("57P01", err.sqlstate) end
      world.assert_gone(busy)
      comes_back(world)
      err = world.fails(0.5, idle.query, idle, "select 1")
      assert.same({ "connection", "no", true }, { err.class, err.sent, err.retryable })
      world.assert_gone(idle)
    end
  end)

  local function connections_received(world)
    local _, count = world.server:log():gsub("connection received", "")
    return count
  end

  test.together("F1 a pool whose server crashes under 16 tasks serves all of them when it is back", function(world)
    local db = world.pool(world.options { max_connections = 8, acquire_timeout = 20 * probe.slow })
    local tasks, failures = {}, 0
    local before = connections_received(world)
    for caller = 1, 16 do
      tasks[caller] = world.spawn(function()
        local served
        repeat
          local value, err = db:query_value({ "select $1::int from pg_sleep(0.3)", timeout = 10 }, caller)
          if value == nil then
            failures = failures + 1
            assert(err.class == "connection" and err.sent == "maybe", tostring(err))
          end
          served = value
        until served
        assert(served == caller)
      end)
    end
    assert(world.eventually(function() return db:stats().used == 8 end))
    assert(shell.run("kill -9 " .. db:stats().connections[3].backend_pid))
    world.join(tasks)
    assert.is_true(failures >= 1 and failures <= 8, failures .. " statements were lost")
    world.assert_sound(db)
    -- 8 connections of before, 8 of after, and the attempts while the server recovered.
    local attempts = connections_received(world) - before
    assert.is_true(attempts <= 8 + 8 + 12, attempts .. " connections for a crash")
  end)

  test("F1 a pool asked after a crash waits for the server's recovery", function(world)
    local db = world.pool(world.options { max_connections = 2, acquire_timeout = 20 * probe.slow })
    world.soon(0.2, "kill -9 " .. db:query_value "select pg_backend_pid()")
    local err = world.fails(3, db.query, db, { "select pg_sleep(10)", timeout = 8 })
    assert.same({ "connection", "maybe" }, { err.class, err.sent })
    assert.equal(1, db:query_value "select 1")
    world.assert_sound(db)
  end)

  -- So many connections, idle.
  local function fill(world, db, count)
    local lent = {}
    for i = 1, count do lent[i] = assert(db:acquire()) end
    for i = 1, count do lent[i]:release() end
    assert(world.eventually(function() return db:stats().idle == count end))
  end

  local function terminate_all(world)
    local pids = assert(world.observer:query_column [[select pid from pg_stat_activity, pg_terminate_backend(pid)
      where application_name like 'ordeal%']])
    assert(world.eventually(function()
      return world.observer:query_value("select count(*)::int from pg_stat_activity where pid = any ($1)", pids) == 0
    end))
    return #pids
  end

  test("F3 pg_terminate_backend of what is idle in a pool costs no statement, and one new connection", function(world)
    for _, options in ipairs { {}, { reset = "always" }, { health_check_after = 0.001 } } do
      options.max_connections = 4
      local db = world.pool(world.options(options))
      fill(world, db, 4)
      local connected = db:stats().connected
      assert.equal(4, terminate_all(world))
      assert.equal(42, db:query_value "select 42")
      local stats = db:stats()
      assert.same({ connected + 1, 4 }, { stats.connected, stats.closed })
      for i = 1, 20 do assert.equal(i, db:query_value("select $1::int", i)) end
      assert.equal("done", db:transaction(function(tx)
        assert(tx:query_value "select 1")
        return "done"
      end))
      world.assert_sound(db)
      db:close()
    end
  end)

  test("F4 pg_terminate_backend of a transaction on a pool's connection costs the transaction alone", function(world)
    assert(world.observer:script "drop table if exists kept; create table kept (n int)")
    local db = world.pool(world.options { max_connections = 2 })
    local seen
    local value, err = db:transaction(function(tx)
      assert(tx:execute "insert into kept values (1)")
      terminate_all(world)
      tx:execute "insert into kept values (2)"
      seen = select(2, tx:execute "insert into kept values (3)")
      return "done"
    end)
    assert.same({ nil, "57P01" }, { value, err.sqlstate })
    assert.same({ "tx_closed", "no" }, { seen.kind, seen.sent })
    assert.equal(0, db:query_value "select count(*)::int from kept")
    world.assert_sound(db)
  end)

  test.together("F5 restarts under load lose no row that was confirmed, and make none that was refused", function(world)
    assert(world.observer:script "drop table if exists ledger; create table ledger (id int primary key)")
    local db = world.pool(world.options { max_connections = 6, acquire_timeout = 20 * probe.slow })
    local confirmed, refused, unknown, over, tasks = {}, {}, {}, false, {}
    for caller = 1, 8 do
      tasks[caller] = world.spawn(function()
        local id = caller * 1000000
        while not over do
          id = id + 1
          local count, err = db:execute({ "insert into ledger values ($1)", timeout = 10 }, id)
          if count then
            confirmed[#confirmed + 1] = id
          else
            assert(err.class == "connection" or err.class == "pool", tostring(err))
            local list = err.sent == "no" and refused or unknown
            list[#list + 1] = id
          end
          world.pause(0.001)
        end
      end)
    end
    local function started_at()
      local ok, at = pcall(world.observer.query_value, world.observer, "select pg_postmaster_start_time()")
      return ok and at
    end
    for _, mode in ipairs { "fast", "immediate", "fast" } do
      world.pause(0.15)
      local before = assert(started_at())
      world.soon(0, restart_command(world.server, mode))
      assert(world.eventually(function()
        local now = started_at()
        return now and now ~= before
      end, 15))
      local count = #confirmed
      -- Back in business within twice the longest pause between two attempts to connect, 5 seconds.
      assert(world.eventually(function() return #confirmed > count + 20 end, 10), "no recovery")
    end
    over = true
    world.join(tasks)
    local there = {}
    for _, id in ipairs(world.observer:query_column "select id from ledger") do there[id] = true end
    for _, id in ipairs(confirmed) do assert(there[id], id .. " was confirmed and is not there") end
    for _, id in ipairs(refused) do assert(not there[id], id .. " was refused and is there") end
    assert.is_true(#confirmed > 100 and #unknown <= 3 * 8, ("%d confirmed, %d unknown"):format(#confirmed, #unknown))
    world.assert_sound(db)
  end)

  local STARTING = { { "startup" },
    { "send", liar.failure { S = "FATAL", V = "FATAL", C = "57P03", M = "the database system is starting up" } } }

  local function fake_options(world, fake, more)
    local options = world.options { host = fake.host, port = fake.port, sslmode = "disable" }
    for name, value in pairs(more) do options[name] = value end
    return options
  end

  test("F6 a server that is starting is waited for, until the deadline, and then is the cause", function(world)
    local fake = world.keep(assert(liar.start(STARTING)))
    local db = world.pool(fake_options(world, fake, { acquire_timeout = 0.6 }))
    local err, took = world.fails(0.85, db.query, db, "select 1")
    assert.same({ "pool_timeout", "no", "57P03" }, { err.kind, err.sent, err.cause.sqlstate })
    assert.is_true(took >= 0.55)
    local attempts = fake:connections().accepted
    assert.is_true(attempts >= 2 and attempts <= 12, attempts .. " attempts in 0.6 seconds")
  end)

  test("F6 who waited while the server was starting is served as soon as it has started", function(world)
    local fake = world.keep(assert(liar.start(STARTING, { STARTING, STARTING,
      { liar.login, { "await", "Q" }, { "send", liar.message("I") .. liar.ready() }, { "await", "X" } } })))
    local db = world.pool(fake_options(world, fake, { acquire_timeout = 5, max_connections = 1 }))
    local took, lent, err = probe.timed(db.acquire, db)
    assert(lent, tostring(err))
    assert.is_true(took < 2 * probe.slow)
    lent:release()
    assert.equal(4, fake:connections().accepted)
  end)
end)
