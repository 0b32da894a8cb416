-- A server that ends sessions, crashes, stops and starts, with sessions at work, idle, and in transactions.
--
-- To see it fail: let transaction.lua run its statements on whatever connection there is (F4), or let outcome.c forget
-- the notices that came while the connection was idle (F2, F4: the reason is gone then).
--
-- SPDX-License-Identifier: MIT

local host = require "luphant.testing.host"
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
    for i = 2, 3 do assert.same({ "closed", "no" }, { seen[i].kind, seen[i].sent }) end
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
end)
