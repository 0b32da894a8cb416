-- Options that say which connection is lent, to whom, and what is done before; and what a plain script is told.
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local luphant = require "luphant"
local pools = require "spec.support.pools"
local probe = require "spec.support.probe"

local function pid_of(db) return db:with(function(conn) return conn:backend_pid() end) end

-- Opens `count` connections and gives them back one after the other; answers their backends in that order.
local function warm(db, count)
  local held, pids = {}, {}
  for i = 1, count do held[i] = assert(db:acquire()) end
  for i = 1, count do pids[i] = held[i]:backend_pid() end
  for i = 1, count do held[i]:release() end
  return pids
end

describe("borrowing from a pool", function()
  it('takes the one used last with reuse = "lifo", and each in turn with "fifo"', function()
    pools.run({ max_connections = 3 }, function(db)
      local pids = warm(db, 3)
      for _ = 1, 3 do assert.equal(pids[3], pid_of(db)) end
    end)
    pools.run({ max_connections = 3, reuse = "fifo" }, function(db)
      local pids = warm(db, 3)
      for i = 1, 6 do assert.equal(pids[(i - 1) % 3 + 1], pid_of(db)) end
    end)
  end)

  it("waits for acquire_timeout, or as long as the call says", function()
    pools.run({ max_connections = 1, acquire_timeout = 0.2 }, function(db, world)
      world.spawn(function()
        local conn = assert(db:acquire())
        world.pause(0.9)
        conn:release()
      end)
      world.pause(0.05)
      local function waits(seconds, fn, ...)
        local err, took = probe.fails(seconds + 0.2, fn, ...)
        assert.equal("pool_timeout", err.kind)
        assert.is_true(took > seconds - 0.05, "it took " .. took)
      end
      waits(0.2, db.acquire, db)
      waits(0.2, db.query, db, "select 1")
      waits(0.05, db.acquire, db, { timeout = 0.05 })
      waits(0.05, db.with, db, print, { timeout = 0.05 })
      assert.equal(1, db:with(function(conn) return conn:query_value "select 1" end, { timeout = false }))
    end)
  end)

  it("refuses at once who finds max_waiting before him", function()
    pools.run({ max_connections = 1, max_waiting = 3, acquire_timeout = 20 }, function(db, world)
      local held, tasks = assert(db:acquire()), {}
      for i = 1, 3 do tasks[i] = world.spawn(function() return assert(db:query_value("select $1::int", i)) end) end
      world.pause(0.02)
      world.join { world.spawn(function()
        for _ = 1, 2 do
          local err = probe.fails(0.1, db.query, db, "select 1")
          assert.equal("pool_overflow", err.kind)
          assert.matches("3 tasks wait", err.message)
        end
      end) }
      assert.same({ 2, 3 }, { db:stats().refused, db:stats().waiting })
      db:resize { max_waiting = false }
      tasks[4] = world.spawn(function() return assert(db:query_value "select 4") end)
      world.pause(0.02)
      held:release()
      world.join(tasks)
      for i = 1, 4 do assert.equal(i, tasks[i].result) end
    end)
  end)

  it("replaces a connection after max_uses borrowings, of verbs and of borrowers alike", function()
    pools.run({ max_connections = 1, max_uses = 3 }, function(db)
      local pids = {}
      for i = 1, 9 do
        pids[i] = i % 2 == 0 and pid_of(db) or db:query_value "select pg_backend_pid()"
      end
      for i = 1, 9 do assert.equal(i % 3 ~= 1, pids[i] == pids[i - 1], "borrowing " .. i) end
      assert.equal(3, db:stats().connected)
    end)
  end)

  it("never lends a connection older than max_lifetime, and ends none in use", function()
    pools.run({ max_connections = 1, max_lifetime = 0.3, lifetime_jitter = 0 }, function(db, world)
      local conn = assert(db:acquire())
      local pid = conn:backend_pid()
      world.pause(0.4)
      assert.equal(1, conn:query_value "select 1")
      conn:release()
      assert.are_not.equal(pid, pid_of(db))
    end)
  end)

  it("spreads the ends of lives by lifetime_jitter", function()
    local life = 0.6 * probe.slow -- making twelve connections takes a part of it
    pools.run({ max_connections = 12, max_lifetime = life, lifetime_jitter = 1 }, function(db, world)
      warm(db, 12)
      world.pause(life / 2)
      db:resize {} -- a look at what is due
      local left = db:stats().total
      assert.is_true(left > 0 and left < 12, left .. " are left at half time")
    end)
  end)

  it("asks a connection that was idle for health_check_after, and no other", function()
    pools.run({ max_connections = 1, health_check_after = 0.1, through = "gate" }, function(db, world)
      local function trips(idle)
        world.pause(idle)
        world.gate:stats { reset = true }
        assert(db:acquire()):release()
        return world.gate:stats().round_trips
      end
      assert(db:query "select 1")
      assert.same({ 0, 1, 0 }, { trips(0), trips(0.15), trips(0.02) })
      db:resize { health_check_after = false }
      assert.equal(0, trips(0.15))
    end)
  end)

  it("replaces a connection that the check finds dead", function()
    pools.run({ max_connections = 1, health_check_after = 0.05, through = "gate" }, function(db, world)
      local pid = pid_of(db)
      world.pause(0.1)
      world.gate:forget() -- nothing is heard of it until somebody speaks
      local other, err = db:query_value "select pg_backend_pid()"
      assert.is_nil(err)
      assert.are_not.equal(pid, other)
      assert.equal(2, db:stats().connected)
    end)
  end)

  describe("with before_acquire", function()
    local function open(hook, fn, options)
      options = options or {}
      options.max_connections, options.acquire_timeout, options.before_acquire = 2, 1, hook
      pools.run(options, fn)
    end

    for how, refuse in pairs {
      ["false"] = function() return false end,
      ["nil and a reason"] = function() return nil, "not that one" end,
      ["an error"] = function() error "not that one" end,
      ["a transaction left open"] = function(conn) assert(conn:execute "begin") end,
      ["closing it"] = function(conn) conn:close() end,
    } do
      it("takes another one when it answers with " .. how, function()
        local refused
        open(function(conn)
          if conn:backend_pid() == refused then return refuse(conn) end
        end, function(db)
          local pids = warm(db, 2)
          refused = pids[2] -- used last
          assert.equal(pids[1], pid_of(db))
          assert.same({ 1, 1 }, { db:stats().total, db:stats().closed })
          assert.equal(1, db:query_value "select 1")
        end)
      end)

      it("gives up when it answers every time with " .. how, function()
        open(refuse, function(db, world)
          for _, verb in ipairs { "acquire", "query" } do
            local before = db:stats().connected
            local err = probe.fails(0.5, db[verb], db, verb == "query" and "select 1" or nil)
            assert.equal("config", err.kind)
            assert.matches("before_acquire refused 3 connections in a row", err.message)
            assert.is_true(db:stats().connected - before <= 3)
            if how == "an error" then
              assert.matches("not that one", tostring(err), 1, true)
              assert.equal("hook_failed", world.warnings[1].event)
              assert.equal("before_acquire", world.warnings[1].where)
            end
          end
        end)
      end)
    end

    it("lends what the hook has set, and nothing of it is left for the next one", function()
      local who = "ada"
      open(function(conn) return conn:execute("select set_config('luphant.who', $1, false)", who) end, function(db)
        for _, name in ipairs { "ada", "grace" } do
          who = name
          assert.equal(name, db:query_value "select current_setting('luphant.who')")
          assert.equal(name, db:with(function(conn)
            return conn:query_value "select current_setting('luphant.who')"
          end))
        end
      end)
    end)

    it("sees the connection, but keeps nothing of it", function()
      local kept
      open(function(conn) kept = conn end, function(db)
        assert.equal(1, db:query_value "select 1")
        assert.is_false((pcall(kept.query, kept, "select 1")))
        kept:release()
        kept:close()
        assert.equal(2, db:query_value "select 2")
        assert.equal(1, db:stats().connected)
      end)
    end)
  end)
end)

describe("a pool in a plain script", function()
  local db

  local function open(options)
    options.waiter, options.max_connections = "poll", options.max_connections or 1
    db = assert(luphant.open(env.url(), options))
    return db
  end

  after_each(function() db:close() end)

  it("fails at once when all is lent, and says why nobody will give one back", function()
    open { acquire_timeout = 20 }
    local conn = assert(db:acquire())
    local err = probe.fails(0.1, db.query, db, "select 1")
    assert.equal("pool_exhausted", err.kind)
    assert.matches("plain script", err.message)
    assert.matches("borrow_spec.lua:%d+", tostring(err))
    assert.same({ 1, 1 }, { #err.pool.holders, err.pool.used })
    conn:release()
  end)

  it("finds what was lost without being released", function()
    local warnings = 0
    open { max_connections = 2, on_warning = function() warnings = warnings + 1 end }
    for i = 1, 20 do
      local conn = assert(db:acquire())
      assert.equal(i, conn:query_value("select $1::int", i))
    end
    assert.is_true(warnings >= 18 - 2)
  end)

  it("does not take a connection away from a verb that is at work", function()
    local inner, calls = {}, 0
    open {}
    assert(db:register_type("point", { decode = function(value)
      calls = calls + 1
      inner = { db:query_value "select 1" }
      return value
    end }))
    assert.equal("(1,2)", db:query_value "select point(1, 2)")
    assert.equal(1, calls)
    assert.equal("pool_exhausted", inner[2].kind)
    assert.same({ 0, 1 }, { db:stats().reclaimed, db:stats().connected })
    db:resize { max_connections = 2 }
    assert.equal("(1,2)", db:query_value "select point(1, 2)")
    assert.equal(1, inner[1])
  end)

  it("gives connections of coroutines that have ended to the next one", function()
    open { on_warning = function() end }
    local kept
    coroutine.wrap(function() kept = assert(db:acquire()) end)()
    assert.equal(1, db:query_value "select 1")
    assert.is_false((pcall(kept.query, kept, "select 1")))
    -- One that lives keeps its own.
    local thread = coroutine.create(function()
      local conn = assert(db:acquire())
      coroutine.yield()
      assert.equal(3, conn:query_value "select 3")
      conn:release()
    end)
    assert(coroutine.resume(thread))
    assert.equal("pool_exhausted", (select(2, db:query "select 1")).kind)
    assert(coroutine.resume(thread))
    assert.equal(2, db:query_value "select 2")
  end)

  it("closes by the way what has been idle too long", function()
    open { max_connections = 3, idle_timeout = 0.2 }
    local held = {}
    for i = 1, 3 do held[i] = assert(db:acquire()) end
    for i = 1, 3 do held[i]:release() end
    require("socket").sleep(1.1)
    db:query "select 1"
    assert.equal(1, db:stats().total)
  end)
end)
