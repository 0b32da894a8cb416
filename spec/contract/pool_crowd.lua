-- What a pool promises to several tasks at once: the second half of pool_suite.lua. `crowd(test)` defines the tests.
--
-- SPDX-License-Identifier: MIT

local assert = require "luassert"

local luphant = require "luphant"
local probe = require "spec.support.probe"

-- An event loop that stands still for so long has been blocked.
local STILL = 0.1 * probe.slow

-- Runs fn and answers the longest time in which nobody else could run, and how often somebody did.
local function ticking(world, fn)
  local longest, ticks, stop, last = 0, 0, false, nil
  local task = world.spawn(function()
    last = probe.now()
    while not stop do
      world.pause(0.005)
      ticks = ticks + 1
      local now = probe.now()
      longest, last = math.max(longest, now - last), now
    end
  end)
  world.pause(0.01)
  fn()
  stop = true
  world.join { task }
  return longest, ticks
end

-- Starts `count` tasks one after the other, each of which waits for a connection before the next begins.
local function queue_up(world, db, count, fn)
  local tasks = {}
  for i = 1, count do
    tasks[i] = world.spawn(function() return fn(i) end)
    assert.is_true((probe.eventually(function()
      world.pause(0.001)
      return db:stats().waiting == i
    end)))
  end
  return tasks
end

return function(test)
  test("waiters are served strictly in order, and nobody overtakes them", function(open, world)
    local db = open { max_connections = 1 }
    local held, order = assert(db:acquire()), {}
    local ways = {
      function(i) assert(db:query_value("select $1::int", i)) end,
      function(i) db:with(function(conn) assert(conn:query_value("select $1::int", i)) end) end,
      function(i) assert(db:transaction(function(tx) return tx:query_value("select $1::int", i) end)) end,
    }
    local tasks = queue_up(world, db, 12, function(i)
      -- Noted by whoever has it, as soon as it does.
      local conn = assert(db:acquire())
      order[#order + 1] = i
      conn:release()
      ways[i % 3 + 1](i) -- and once more at the end of the queue
      order[#order + 1] = 100 + i
    end)
    held:release()
    world.join(tasks)
    local expected = {}
    for i = 1, 12 do expected[i], expected[12 + i] = i, 100 + i end
    assert.same(expected, order)
    assert.same({ 1, 1 + 12 + 12 }, { db:stats().connected, db:stats().waited }) -- the first one for a new connection
  end)

  test("who waits in vain is told when it was agreed, why and who holds them", function(open, world)
    local db = open { max_connections = 1, acquire_timeout = 0.2 }
    local holder = world.spawn(function()
      local conn = assert(db:acquire())
      world.pause(0.5)
      conn:release()
    end)
    world.pause(0.02)
    local tasks = {}
    for i = 1, 4 do
      tasks[i] = world.spawn(function()
        local took, value, err = probe.timed(db.query_value, db, "select 1")
        assert.is_nil(value)
        assert.equal("pool_timeout", err.kind)
        assert.is_true(took > 0.15 and took < 0.2 + 0.2 * probe.slow, "it took " .. took)
        assert.is_true(err.waited > 0.15)
        assert.matches("1 of 1 connections: 1 used", tostring(err), 1, true)
        assert.matches("pool_crowd.lua:", tostring(err), 1, true)
      end)
    end
    -- One with more patience, queued behind them, gets it.
    local patient = world.spawn(function() return assert(db:acquire { timeout = 10 }):release() or "served" end)
    world.join(tasks)
    world.join { holder, patient }
    assert.equal("served", patient.result)
    assert.same({ 4, 1, 0 }, { db:stats().timeouts, db:stats().idle, db:stats().waiting })
  end)

  test("the deadline covers waiting, connecting and a hook together", function(open, world)
    local slow = false
    local db = open { max_connections = 1, before_acquire = function(conn)
      if slow then return conn:execute "select pg_sleep(5)" end
    end }
    world.spawn(function()
      local held = assert(db:acquire())
      slow = true
      world.pause(0.2)
      held:release()
    end)
    world.pause(0.05)
    local err, took = probe.fails(0.4 + 0.4, db.acquire, db, { timeout = 0.4 })
    assert.equal("pool_timeout", err.kind)
    assert.is_true(took >= 0.35, "too early: " .. took)
  end)

  test("a waiter that dies loses nothing for the others", function(open, world)
    local db = open { max_connections = 1 }
    local held = assert(db:acquire())
    local tasks = queue_up(world, db, 6, function(i) return assert(db:query_value("select $1::int", i)) end)
    if not world.kill then
      held:release()
      return world.join(tasks)
    end
    for _, i in ipairs { 1, 3, 6 } do world.kill(tasks[i]) end
    held:release()
    world.join { tasks[2], tasks[4], tasks[5] }
    assert.same({ 2, 4, 5 }, { tasks[2].result, tasks[4].result, tasks[5].result })
    assert.equal(7, db:query_value "select 7")
    assert.same({ 1, 0 }, { db:stats().idle, db:stats().waiting })
  end)

  test("a connection whose task ends without giving it back reaches who waits", function(open, world)
    local warnings = {}
    local db = open { max_connections = 1, on_warning = function(w) warnings[#warnings + 1] = w end }
    local lost
    world.join { world.spawn(function()
      lost = assert(db:acquire())
      assert(lost:execute "begin")
    end) }
    assert.equal("idle", assert(db:acquire()):transaction_status()) -- that one forgets it at once
    collectgarbage()
    collectgarbage()
    assert.equal(1, db:query_value "select 1")
    assert.matches("taken back by its pool", select(2, pcall(lost.query, lost, "select 1")), 1, true)
    -- Now somebody waits already when it happens.
    local holder = world.spawn(function()
      lost = assert(db:acquire())
      world.pause(0.1)
    end)
    world.pause(0.02)
    local took, value = probe.timed(db.query_value, db, "select 2")
    assert.equal(2, value)
    assert.is_true(took < 0.1 + 1.4 * probe.slow, "it took " .. took)
    world.join { holder }
    assert.same({ 3, 1 }, { db:stats().reclaimed, db:stats().connected })
    for _, warning in ipairs(warnings) do assert.equal("reclaimed", warning.event) end
  end)

  test("two tasks that hold one each and want another are told before both wait for ever", function(open, world)
    local db = open { max_connections = 2, acquire_timeout = 20 }
    local kinds, tasks = {}, {}
    for i = 1, 2 do
      tasks[i] = world.spawn(function()
        local conn = assert(db:acquire())
        world.pause(0.05)
        local second, err = db:acquire()
        kinds[#kinds + 1] = second and "served" or err.kind
        if second then second:release() end
        conn:release()
      end)
    end
    local took = probe.timed(world.join, tasks)
    assert.same({ "pool_self_deadlock", "served" }, kinds)
    assert.is_true(took < 1 * probe.slow)
  end)

  test("who holds one and asks for another is no deadlock while others are being served", function(open, world)
    local db = open { max_connections = 2, acquire_timeout = 5 * probe.slow, share = false }
    local over, tasks = false, {}
    for i = 1, 6 do
      tasks[i] = world.spawn(function()
        while not over do assert(db:query_value "select 1") end
      end)
    end
    for _ = 1, 20 do
      local conn = assert(db:acquire())
      assert.equal(1, (assert(db:query_value "select 1")))
      conn:release()
      world.pause(0.001)
    end
    over = true
    world.join(tasks)
    assert.equal(0, db:stats().used)
  end)

  test("200 tasks share 8 connections, nobody gets what is another's, and there are never more", function(open, world)
    local db = open { max_connections = 8, acquire_timeout = 60 }
    local tasks, seen, using, most, over = {}, {}, 0, 0, false
    local watch = world.spawn(function()
      while not over do
        seen[#seen + 1] = world.sessions()
        local s = db:stats()
        assert.is_true(s.total <= 8 and s.idle + s.used + s.connecting == s.total)
        world.pause(0.05)
      end
    end)
    for i = 1, 200 do
      tasks[i] = world.spawn(function()
        assert.equal(i, db:query_value("select $1::int", i))
        db:with(function(conn)
          using = using + 1
          most = math.max(most, using)
          assert.equal(-i, conn:query_value("select -$1::int from pg_sleep($2::float8)", i, i % 20 == 0 and 0.02 or 0))
          assert.equal(conn:backend_pid(), conn:query_value "select pg_backend_pid()")
          using = using - 1
        end)
        assert.equal(2 * i, db:transaction(function(tx) return tx:query_value("select 2 * $1::int", i) end))
      end)
    end
    world.join(tasks)
    over = true
    world.join { watch }
    table.sort(seen)
    assert.is_true(seen[#seen] <= 8 and seen[#seen] > 1, "sessions on the server: " .. seen[#seen])
    assert.is_true(most <= 8 and most > 1)
    local s = db:stats()
    assert.same({ 8, 0, 0, 0 }, { s.idle, s.used, s.waiting, s.timeouts })
    assert.same({ 600, 600 }, { s.borrowed, s.histograms.wait.count })
    assert.equal(s.connected, 8)
  end)

  test("the others go on while connections are made, waited for, used, cleaned and closed", function(open, world)
    local gate = world.gate()
    local longest, ticks = ticking(world, function()
      local db = open { max_connections = 2, after_release = function() return true end }
      local tasks = {}
      for i = 1, 12 do
        tasks[i] = world.spawn(function()
          assert(db:query "select pg_sleep(0.03)")
          db:with(function(conn) assert(conn:script "begin; set work_mem = '1MB'; create temp table t ()") end)
          db:with(function(conn) conn:close() end)
        end)
      end
      world.join(tasks)
      assert(db:close())
      gate:stall()
      db = open({ max_connections = 2 }, gate)
      assert.equal("pool_timeout", (select(2, db:acquire { timeout = 0.2 })).kind)
    end)
    gate:resume()
    assert.is_true(longest < STILL, "nobody ran for " .. longest)
    assert.is_true(ticks > 40, ticks .. " ticks")
  end)

  test("idle connections, statements under way and tasks that wait use no CPU", function(open, world)
    local db = open { max_connections = 6, acquire_timeout = 20, share = false } -- who waits is counted
    local tasks = {}
    for i = 1, 4 do tasks[i] = world.spawn(function() assert(db:query "select pg_sleep(1.3)") end) end
    local held = { assert(db:acquire()), assert(db:acquire()) }
    for i = 5, 54 do tasks[i] = world.spawn(function() return db:query_value("select $1::int", i) end) end
    world.pause(0.15)
    assert.equal(50, db:stats().waiting)
    local before = os.clock()
    world.pause(1)
    local used = os.clock() - before
    for _, conn in ipairs(held) do conn:release() end
    world.join(tasks)
    assert.is_true(used < 0.02 * probe.slow, "CPU seconds used in one second of idling: " .. used)
    for i = 5, 54 do assert.equal(i, tasks[i].result) end
  end)

  test("close waits for what is lent, and tells those who wait at once", function(open, world)
    local db = open { max_connections = 1 }
    local holder = world.spawn(function()
      local conn = assert(db:acquire())
      world.pause(0.3)
      assert.equal(1, conn:query_value "select 1")
      conn:release()
    end)
    world.pause(0.02)
    local waiter = world.spawn(function() return (select(2, db:query "select 1")) end)
    world.pause(0.02)
    local told
    world.spawn(function()
      world.join { waiter }
      told = probe.now()
    end)
    local from = probe.now()
    assert.is_true((db:close(5)))
    local took = probe.now() - from
    world.join { holder, waiter }
    assert.equal("pool_closed", waiter.result.kind)
    assert.is_true(told - from < 0.15 * probe.slow, "told after " .. told - from)
    assert.is_true(took > 0.2 and took < 0.3 + 0.5 * probe.slow, "close took " .. took)
    assert.is_true(probe.eventually(function() return world.sessions() == 0 end))
  end)

  test("close ends statements that take too long, and their tasks are told", function(open, world)
    local db = open { max_connections = 3, acquire_timeout = 20 }
    local errors = {}
    local tasks = {
      world.spawn(function() errors[1] = select(2, db:query "select pg_sleep(30)") end),
      world.spawn(function()
        errors[2] = select(2, db:with(function(conn) return conn:query "select pg_sleep(30)" end))
      end),
      world.spawn(function()
        errors[3] = select(2, db:transaction(function(tx) return tx:query "select pg_sleep(30)" end))
      end),
    }
    world.pause(0.2)
    local took, ok, err = probe.timed(db.close, db, 0.1)
    assert.is_nil(ok)
    assert.matches("3 connections had not been given back", err.message, 1, true)
    assert.is_true(took < 0.5 * probe.slow, "close took " .. took)
    took = probe.timed(world.join, tasks)
    assert.is_true(took < 0.5 * probe.slow, "they heard after " .. took)
    for i = 1, 3 do
      assert.is_true(luphant.is(errors[i], "connection"), ("%d: %s"):format(i, tostring(errors[i])))
      assert.equal("maybe", errors[i].sent)
    end
    assert.equal(0, db:stats().total)
  end)

  test("releasing a connection under a task that waits for its answer ends the session", function(open, world)
    local db = open { max_connections = 2 }
    local conn = assert(db:acquire())
    local failure
    local waiting = world.spawn(function() failure = select(2, conn:query "select pg_sleep(20)") end)
    world.pause(0.1)
    conn:release()
    local seen = db:query_value "select 5"
    local took = probe.timed(world.join, { waiting })
    assert.is_true(took < 1 * probe.slow)
    assert.same({ 5, "closed" }, { seen, failure.kind })
    for i = 1, 4 do assert.equal(i, db:query_value("select $1::int", i)) end
    assert.equal(0, db:stats().used)
  end)

  test("more connections are there for those who wait as soon as they are allowed", function(open, world)
    local db = open { max_connections = 1, acquire_timeout = 20 }
    local held = assert(db:acquire())
    local tasks = queue_up(world, db, 6, function(i) return db:query_value("select $1::int", i) end)
    db:resize { max_connections = 4 }
    local took = probe.timed(world.join, tasks)
    assert.is_true(took < 2 * probe.slow)
    for i = 1, 6 do assert.equal(i, tasks[i].result) end
    assert.is_true(db:stats().total > 1 and db:stats().total <= 4)
    db:resize { max_connections = 1 }
    held:release()
    assert.is_true((probe.eventually(function()
      world.pause(0.01)
      return db:stats().total == 1
    end)))
  end)

  test("two pools at once keep apart", function(open, world)
    local a, b = open { max_connections = 1 }, open { max_connections = 1 }
    local held = assert(a:acquire())
    assert.equal(1, b:query_value "select 1")
    local other = assert(b:acquire())
    assert.are_not.equal(held:backend_pid(), other:backend_pid())
    local waiting = world.spawn(function() return a:query_value "select 2" end)
    world.pause(0.02)
    other:release()
    assert.is_nil(waiting.done)
    held:release()
    world.join { waiting }
    assert.equal(2, waiting.result)
    assert(a:close())
    assert.equal(3, b:query_value "select 3")
  end)
end
