-- Limits that strike: the server's, the caller's, and those on doing nothing. What was cancelled is over when the
-- caller is told, and what comes next is not touched.
--
-- To see it fail: let drive.lua give the connection back before the cancel request is through (F25), or let on_notice
-- in csrc/core/conn.c drop what the server says while nobody asks it anything (F28).
--
-- SPDX-License-Identifier: MIT

local ordeal = require "spec.support.ordeal"
local probe = require "spec.support.probe"

-- What deadlines are swept over. Longer where the machine has much else to do: who is woken too late finds the answer
-- there, and no deadline strikes.
local NAP = 0.01 * probe.slow

ordeal.family("a limit", {}, function(test)
  test("F24 statement_timeout is told apart from the caller's deadline, and the connection is kept", function(world)
    local conn = world.connect { statement_timeout = 0.1 }
    for _ = 1, 3 do
      local err = world.fails(0.6, conn.query, conn, { "select pg_sleep(5)", timeout = 3 })
      assert.same({ "query_canceled", "57014", "timeout", "yes" }, { err.kind, err.sqlstate, err.class, err.sent })
      assert.matches("statement timeout", err.message, 1, true)
      probe.usable(conn)
    end
    -- Also one that holds inside a transaction alone.
    local value, err = conn:transaction(function(tx)
      assert(tx:execute "set local statement_timeout = 50")
      return tx:query_value "select 1 from pg_sleep(5)"
    end)
    assert.same({ nil, "57014" }, { value, err.sqlstate })
    probe.usable(conn)
  end)

  -- Deadlines before, in and after the statement, some so late that the cancel request meets an idle session.
  test("F25 a deadline hits its own statement or none, wherever it strikes", function(world)
    local conn = world.connect()
    local cancelled, answered, lost = 0, 0, 0
    for i = 1, 70 do
      local timeout = 0.0005 + i % 40 / 20 * NAP
      local value, err = conn:query_value({ "select $1::int from pg_sleep($2)", timeout = timeout }, i, NAP)
      if value then
        assert.equal(i, value)
        answered = answered + 1
      else
        assert.equal("query_timeout", err.kind)
        cancelled = cancelled + 1
      end
      if not conn:is_open() then -- allowed, where the server was too slow to say
        conn, lost = world.connect(), lost + 1
      end
      local following, stray = conn:query_value("select $1::int + 1000", i)
      assert(following == i + 1000, ("run %d: %s"):format(i, tostring(stray or following)))
    end
    assert.is_true(cancelled > 3 and answered > 3, ("a sweep that misses: %d, %d"):format(cancelled, answered))
    assert.is_true(lost < 5, lost .. " connections were given up on a healthy network")
  end)

  test("F25 a deadline keeps the connection when the server confirms, and gives it up when not", function(world)
    local gate = world.gate()
    local conn = world.connect_through(gate, { cancel_grace = 0.3 })
    local err = world.fails(0.6, conn.query, conn, { "select pg_sleep(5)", timeout = 0.15 })
    assert.same({ "query_timeout", "yes", "ok" }, { err.kind, err.sent, err.connection })
    probe.usable(conn)
    gate:refuse() -- the cancel request cannot be delivered
    err = world.fails(0.75, conn.query, conn, { "select pg_sleep(1)", timeout = 0.15 })
    assert.same({ "query_timeout", "maybe", "closed" }, { err.kind, err.sent, err.connection })
    world.assert_gone(conn)
  end)

  test("F26 a lock that is not had in time is told, and the transaction with it undone", function(world)
    assert(world.observer:script [[drop table if exists faults_lock;
      create table faults_lock (id int primary key, n int); insert into faults_lock values (1, 0), (2, 0)]])
    local holder, conn = world.connect(), world.connect()
    assert(holder:script "begin; update faults_lock set n = 1 where id = 1")
    local value, err = conn:transaction(function(tx)
      assert(tx:execute "set local lock_timeout = 100")
      assert(tx:execute "update faults_lock set n = 9 where id = 2")
      return tx:execute "update faults_lock set n = 9 where id = 1"
    end)
    assert.same({ nil, "lock_not_available", "55P03", "timeout" }, { value, err.kind, err.sqlstate, err.class })
    assert.is_truthy(err.context)
    assert(holder:script "rollback")
    probe.usable(conn)
    assert.equal(0, conn:query_value "select sum(n)::int from faults_lock")
    assert(conn:script "drop table faults_lock")
  end)

  test("F26 a deadlock ends one of the two, with who waited for whom", function(world)
    assert(world.observer:script [[drop table if exists faults_dead;
      create table faults_dead (id int primary key, n int); insert into faults_dead values (1, 0), (2, 0)]])
    local conn = world.connect()
    assert(conn:execute "set deadlock_timeout = '300ms'")
    local value, err = conn:transaction(function(tx)
      assert(tx:execute "update faults_dead set n = 1 where id = 1")
      -- The other session is patient: it is this one that finds the circle.
      world.sql_soon(0, "set deadlock_timeout = '10s'; begin; update faults_dead set n = 2 where id = 2;\
        update faults_dead set n = 2 where id = 1; commit")
      assert.is_true(probe.eventually(function()
        return world.observer:query_value [[select count(*)::int from pg_stat_activity
          where wait_event_type = 'Lock' and query like '%faults_dead%']] == 1
      end))
      return tx:execute "update faults_dead set n = 1 where id = 2"
    end)
    assert.same({ nil, "deadlock_detected", "40P01", "transaction", true },
      { value, err.kind, err.sqlstate, err.class, err.retryable })
    assert.matches("waits for ShareLock", err.detail, 1, true)
    assert.is_truthy(err.context)
    probe.usable(conn)
    assert.is_true(probe.eventually(function() -- the other one had its way
      return conn:query_value "select sum(n)::int from faults_dead" == 4
    end))
    assert(conn:script "drop table faults_dead")
  end)

  test("F28 a limit on idling is the reason that the next statement is told", function(world)
    for setting, sqlstate in pairs { idle_in_transaction_session_timeout = "25P03", idle_session_timeout = "57P05" } do
      local conn = world.connect()
      if setting ~= "idle_session_timeout" or conn:server_version() >= 140000 then
        assert(conn:execute(("set %s = 50"):format(setting)))
        if sqlstate == "25P03" then assert(conn:script "begin") end
        local pid = conn:backend_pid()
        assert.is_true(probe.eventually(function()
          return world.observer:query_value("select count(*)::int from pg_stat_activity where pid = $1", pid) == 0
        end))
        local err = world.fails(0.5, conn.query, conn, "select 1")
        assert.same({ "closed", sqlstate, "no" }, { err.kind, err.sqlstate, err.sent })
        world.assert_gone(conn)
      end
    end
  end)

  test("F25 who borrows after a statement that ran out of time never meets its cancellation", function(world)
    local db = world.pool(world.options { max_connections = 1, acquire_timeout = 10 })
    local cancelled = 0
    for i = 1, 40 do
      local timeout = 0.0005 + i % 40 / 20 * NAP
      local value, err = db:query_value({ "select $1::int from pg_sleep($2)", timeout = timeout }, i, NAP)
      if value then
        assert.equal(i, value)
      else
        assert.equal("query_timeout", err.kind)
        cancelled = cancelled + 1
      end
      local following, stray = db:query_value("select $1::int + 1000", i)
      assert(following == i + 1000, ("run %d: %s"):format(i, tostring(stray or following)))
    end
    assert.is_true(cancelled > 3, cancelled .. " deadlines struck")
    world.assert_sound(db)
  end)

  test("F28 sessions of a pool that idled for too long cost no statement", function(world)
    local db = world.pool(world.options { max_connections = 3, health_check_after = 60,
      after_connect = function(conn)
        if conn:server_version() >= 140000 then assert(conn:execute "set idle_session_timeout = 60") end
      end })
    for round = 1, 3 do
      for i = 1, 4 do assert.equal(i, db:query_value("select $1::int", i)) end
      local before = db:stats().connected
      world.pause(0.15)
      assert.equal(round, db:query_value("select $1::int", round))
      assert.is_true(db:stats().connected <= before + 1)
    end
    local value, err = db:transaction(function(tx)
      assert(tx:execute "set local idle_in_transaction_session_timeout = 50")
      world.pause(0.2)
      return tx:query_value "select 1"
    end)
    assert.same({ nil, "25P03", "no" }, { value, err.sqlstate, err.sent })
    world.assert_sound(db)
  end)
end)
