-- What a pool tells: figures, holders, errors that say why, warnings.
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local pools = require "spec.support.pools"
local probe = require "spec.support.probe"

local function line() return debug.getinfo(2, "l").currentline end

describe("db:stats()", function()
  it("has the fields of the reference, and their sums add up", function()
    pools.run({ max_connections = 3, min_connections = 1 }, function(db, world)
      world.within(2, function() return db:stats().idle == 1 end)
      local conn = assert(db:acquire())
      conn:query "select 'holder'"
      local task = world.spawn(function() db:query "select 'verb' from pg_sleep(0.2)" end)
      world.pause(0.1)
      local s = db:stats()
      assert.same({ 2, 0, 2, 0, 0, 3, 1 }, { s.total, s.idle, s.used, s.connecting, s.waiting, s.max, s.min })
      local states = {}
      for _, each in ipairs(s.connections) do
        states[each.last_statement] = each
        assert.equal("number", type(each.backend_pid))
        assert.is_true(each.age >= each.seconds and each.seconds >= 0 and each.uses >= 1 and each.slot >= 1)
      end
      assert.matches("report_spec.lua:%d+", states["select 'holder'"].borrower)
      assert.matches("a query verb of the pool at .*report_spec.lua:%d+",
        states["select 'verb' from pg_sleep(0.2)"].borrower)
      world.join { task }
      conn:release()
      s = db:stats()
      for _, name in ipairs { "borrowed", "waited", "timeouts", "refused", "connected", "connect_failed", "closed",
        "leaks", "reclaimed" } do
        assert.equal("number", type(s[name]), name)
      end
      assert.same({ 2, 2, 0 }, { s.borrowed, s.connected, s.closed })
      assert.same({ s.idle, 2, 1 }, { s.total, s.histograms.wait.count, s.connections[1].slot })
    end)
  end)

  it("counts into histograms what took how long", function()
    pools.run({ max_connections = 1 }, function(db, world)
      for _ = 1, 3 do db:query "select pg_sleep(0.01)" end
      local conn = assert(db:acquire())
      local waiting = world.spawn(function() db:query "select 1" end)
      world.pause(0.2)
      conn:release()
      world.join { waiting }
      local h = db:stats().histograms
      assert.same({ 5, 5, 1 }, { h.wait.count, h.use.count, h.connect.count })
      assert.is_true(h.wait.max >= 0.15 and h.wait.max < 1 * probe.slow)
      assert.is_true(h.use.sum >= 0.2 and h.use.max >= 0.15)
      for _, each in pairs(h) do
        local before = 0
        for _, bucket in ipairs(each.buckets) do
          assert.is_true(bucket.count >= before)
          before = bucket.count
        end
        assert.equal(each.count, before)
      end
    end)
  end)

  it("shows a connection that is being made and one that is being cleaned", function()
    pools.run({ max_connections = 2, through = "gate" }, function(db, world)
      world.gate:stall()
      local task = world.spawn(function() db:query "select 1" end)
      world.pause(0.05)
      assert.same({ "connecting", 1 }, { db:stats().connections[1].state, db:stats().connecting })
      world.gate:resume()
      world.join { task }
      local conn = assert(db:acquire())
      conn:execute "begin"
      conn:release()
      assert.same({ "tended", 1 }, { db:stats().connections[1].state, db:stats().used })
      assert.is_true(world.within(1, function() return db:stats().idle == 1 end))
    end)
  end)
end)

describe("an error of waiting in vain", function()
  it("names those who hold the connections, longest first, with lines and seconds", function()
    pools.run({ max_connections = 2, acquire_timeout = 0.3 }, function(db, world)
      local first, second
      local tasks = { world.spawn(function()
        first = line() + 1
        local conn = assert(db:acquire())
        world.pause(0.6)
        conn:release()
      end) }
      world.pause(0.1)
      tasks[2] = world.spawn(function()
        second = line() + 1
        db:query "select pg_sleep(0.5)"
      end)
      world.pause(0.05)
      local _, err = db:acquire()
      assert.equal("pool_timeout", err.kind)
      assert.same({ 2, 2, 0, 1 }, { err.pool.total, err.pool.used, err.pool.idle, err.pool.waiting })
      local holders = err.pool.holders
      assert.equal(2, #holders)
      assert.is_true(holders[1].seconds > holders[2].seconds and holders[1].seconds >= 0.3)
      assert.matches(("report_spec.lua:%d"):format(first), holders[1].line, 1, true)
      assert.matches(("report_spec.lua:%d"):format(second), holders[2].line, 1, true)
      assert.matches("(backend ", holders[1].line, 1, true)
      assert.matches("2 of 2 connections: 2 used, 0 idle, 0 connecting; 1 waiting\n", tostring(err), 1, true)
      world.join(tasks)
    end)
  end)

  it("says that the task itself holds one", function()
    pools.run({ max_connections = 2, acquire_timeout = 0.1 }, function(db, world)
      local other = world.spawn(function()
        local conn = assert(db:acquire())
        world.pause(0.4)
        conn:release()
      end)
      world.pause(0.05)
      local mine = assert(db:acquire())
      local _, err = db:query "select 1"
      assert.equal("pool_timeout", err.kind)
      assert.matches("this task holds connection %d of the same pool itself", err.message)
      mine:release()
      world.join { other }
    end)
  end)

  it("has the last failed attempt to connect as its cause", function()
    pools.run({ max_connections = 2, acquire_timeout = 0.2, through = "gate" }, function(db, world)
      world.gate:refuse()
      local _, err = db:query "select 1"
      assert.same({ "pool_timeout", "refused" }, { err.kind, err.cause.kind })
      assert.matches("cause: refused", tostring(err), 1, true)
      assert.matches("refused", db:stats().last_error)
      world.gate:accept()
    end)
  end)

  it("has that cause also for a task that holds one itself", function()
    pools.run({ max_connections = 2, acquire_timeout = 0.2, through = "gate" }, function(db, world)
      local mine = assert(db:acquire())
      world.gate:refuse()
      local _, err = db:acquire()
      assert.same({ "pool_timeout", "refused" }, { err.kind, err.cause.kind })
      assert.matches("this task holds connection 1", err.message, 1, true)
      mine:release()
      world.gate:accept()
    end)
  end)

  it("shows at most five holders", function()
    pools.run({ max_connections = 8, acquire_timeout = 0.1 }, function(db, world)
      local held = {}
      world.join { world.spawn(function()
        for i = 1, 8 do held[i] = assert(db:acquire()) end
        local waiting = world.spawn(function() return (select(2, db:query "select 1")) end)
        world.join { waiting }
        assert.matches("and 3 more", tostring(waiting.result), 1, true)
        assert.equal(8, #waiting.result.pool.holders)
        for i = 1, 8 do held[i]:release() end
      end) }
    end)
  end)
end)

describe("a leak", function()
  it("is reported once, with the line that borrowed and where the borrower is now", function()
    pools.run({ max_connections = 3, leak_timeout = 0.3 }, function(db, world)
      local borrowed, sits, over
      local function keep_it()
        sits = line() + 1
        while not over do world.pause(0.05) end
      end
      local task = world.spawn(function()
        borrowed = line() + 1
        local conn = assert(db:acquire())
        keep_it()
        conn:release()
      end)
      local slow = world.spawn(function() db:query "select pg_sleep(0.8)" end) -- slow, but nobody's leak
      assert.is_true(world.within(2, function() return #world.warnings > 0 end))
      local warning = world.warnings[1]
      assert.equal("leak", warning.event)
      assert.matches("has been lent for [%d.]+ s %(leak_timeout 0.3 s%)", warning.message)
      assert.matches(("report_spec.lua:%d"):format(borrowed), warning.message, 1, true)
      assert.matches("the borrower is now at", warning.message, 1, true)
      assert.matches(("report_spec.lua:%d: in "):format(sits), warning.message, 1, true)
      world.pause(0.7)
      assert.same({ 1, 1 }, { #world.warnings, db:stats().leaks })
      over = true
      world.join { task, slow }
      over = false
      task = world.spawn(function()
        local conn = assert(db:acquire())
        keep_it()
        conn:release()
      end)
      assert.is_true(world.within(2, function() return db:stats().leaks == 2 end))
      over = true
      world.join { task }
    end)
  end)

  it("is not looked for without leak_timeout", function()
    pools.run({ max_connections = 1, leak_timeout = false }, function(db, world)
      local conn = assert(db:acquire())
      world.pause(1.2)
      conn:release()
      assert.same({ 0, 0 }, { #world.warnings, db:stats().leaks })
    end)
  end)
end)

describe("warnings", function()
  it("are lines on the standard error when nobody asks for them, failed attempts excepted", function()
    local printed = probe.script({}, ([[
      local luphant = require "luphant"
      local db = assert(luphant.open(%q, { waiter = "poll", max_connections = 1, acquire_timeout = 1 }))
      local function lose() assert(db:acquire()) end
      lose()
      collectgarbage() collectgarbage()
      assert(db:query "select 1")
      db:close()
      db = assert(luphant.open({ host = "127.0.0.1", port = %d }, { waiter = "poll", acquire_timeout = 0.1 }))
      assert(not db:query "select 1")
      print "done"]]):format(env.url(), probe.closed_port()))
    assert.matches("^luphant: reclaimed: connection 1 was borrowed by .-%(command line%):3.- without giving it back"
      .. "\ndone$", printed)
  end)

  it("that raise disturb nobody", function()
    local function refuse() error "no" end
    pools.run({ max_connections = 1, on_warning = refuse, after_release = refuse }, function(db)
      for i = 1, 3 do assert.equal(i, db:query_value("select $1::int", i)) end
    end)
  end)

  it("come for hooks that raise", function()
    pools.run({ max_connections = 1, after_release = function() error { "odd" } end }, function(db, world)
      assert.equal(1, db:query_value "select 1")
      assert.is_true(world.within(1, function() return #world.warnings == 1 end))
      local warning = world.warnings[1]
      assert.same({ "hook_failed", "after_release", "odd" }, { warning.event, warning.where, warning.detail[1] })
      assert.equal("string", type(warning.message))
      assert.equal(0, db:stats().total)
    end)
  end)
end)

describe("db:health() and db:ready()", function()
  it("say that a connection works, and how the pool stands", function()
    pools.run({ max_connections = 2 }, function(db)
      assert.is_true((db:ready()))
      local health = db:health()
      assert.same({ true, 1, 1, 0, 0 }, { health.ok, health.total, health.idle, health.used, health.waiting })
      assert.is_true(health.seconds > 0 and health.seconds < 1 * probe.slow)
      assert.is_nil(health.kind)
      assert.is_nil(health.error)
    end)
  end)

  it("say why not, in time", function()
    pools.run({ max_connections = 1, through = "gate", acquire_timeout = 20 }, function(db, world)
      world.gate:refuse()
      local took, health = probe.timed(db.health, db, 0.2)
      assert.is_true(took < 0.5 * probe.slow)
      assert.same({ false, "pool_timeout" }, { health.ok, health.kind })
      assert.matches("refused", health.error)
      took, health = probe.timed(db.health, db)
      assert.is_true(not health.ok and took > 0.9 and took < 1 + 0.5 * probe.slow)
      local err = probe.fails(0.5, db.ready, db, 0.2)
      assert.equal("pool_timeout", err.kind)
      world.gate:accept()
      assert.is_true((db:ready(5)))
      -- Lent out is not broken, but not available either.
      local conn = assert(db:acquire())
      local task = world.spawn(function() return db:health(0.1) end)
      world.join { task }
      assert.same({ false, "pool_timeout", 1 }, { task.result.ok, task.result.kind, task.result.used })
      conn:release()
    end)
  end)
end)

describe("tostring", function()
  it("of a pool tells how it stands", function()
    pools.run({ max_connections = 4 }, function(db)
      assert.equal("luphant.pool (0 of 4 connections, 0 used)", tostring(db))
      local conn = assert(db:acquire())
      assert.equal("luphant.pool (1 of 4 connections, 1 used)", tostring(db))
      assert.matches("^luphant.connection %(.*idle%)$", tostring(conn))
      conn:release()
      assert.matches("^luphant.connection %(.*closed%)$", tostring(conn))
      db:close()
      assert.equal("luphant.pool (0 of 4 connections, 0 used, closed)", tostring(db))
    end)
  end)
end)
