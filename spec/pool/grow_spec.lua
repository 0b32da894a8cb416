-- How a pool gets its connections: how many at a time, what after_connect may say, what is told to all at once.
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local luphant = require "luphant"
local pools = require "spec.support.pools"
local probe = require "spec.support.probe"
local server = require "luphant.testing.server"

describe("growing", function()
  it("makes at most a quarter of max_connections at a time, however many wait", function()
    for max, most in pairs { [16] = 4, [3] = 1 } do
      pools.run({ max_connections = max, acquire_timeout = 20, through = "gate" }, function(db, world)
        world.gate:delay { seconds = 0.1 }
        local tasks, seen, over = {}, 0, false
        local watch = world.spawn(function()
          while not over do
            seen = math.max(seen, db:stats().connecting)
            world.pause(0.002)
          end
        end)
        for i = 1, 30 do
          tasks[i] = world.spawn(function() return db:query_value("select $1::int from pg_sleep(0.05)", i) end)
        end
        -- The first connect takes some round trips of 0.2 s: what the other side has seen of us by then.
        world.pause(0.1)
        local accepted = world.gate:stats().accepted
        world.gate:delay { seconds = 0 }
        world.join(tasks)
        over = true
        world.join { watch }
        assert.equal(most, seen)
        assert.is_true(accepted <= most, accepted .. " at the same time")
        assert.is_true(db:stats().connected <= max)
        for i = 1, 30 do assert.equal(i, tasks[i].result) end
      end)
    end
  end)

  it("opens one connection for one who asks, and no more than are needed", function()
    pools.run({ max_connections = 10 }, function(db)
      for _ = 1, 5 do db:query "select 1" end
      assert.equal(1, db:stats().connected)
      local a, b = assert(db:acquire()), assert(db:acquire())
      a:release()
      b:release()
      assert.equal(2, db:stats().connected)
    end)
  end)

  it("pauses ever longer between attempts that fail, for all who wait together", function()
    pools.run({ max_connections = 8, acquire_timeout = 1.5, through = "gate" }, function(db, world)
      world.gate:cut_after { from = "client", bytes = 0 } -- accepted and closed
      local tasks = {}
      for i = 1, 40 do
        tasks[i] = world.spawn(function() return (select(2, db:query "select 1")) end)
      end
      world.join(tasks)
      local attempts = world.gate:stats().accepted
      assert.is_true(attempts >= 3 and attempts <= 14, attempts .. " attempts")
      assert.equal(db:stats().connect_failed, attempts)
      for i = 1, 40 do
        assert.equal("pool_timeout", tasks[i].result.kind)
        assert.equal("connection", tasks[i].result.cause.class)
      end
      assert.is_string(db:stats().last_error)
      assert.equal("connect_failed", world.warnings[1].event)
      world.gate:pass()
      -- The pause that has begun may be longer than one acquire_timeout.
      assert.is_true(probe.eventually(function() return db:query_value "select 1" == 1 end, 6))
      assert.is_nil(db:stats().last_error)
    end)
  end)

  it("opens min_connections with the pool in a plain script, or says why not", function()
    local db = assert(luphant.open(env.url(), { min_connections = 3, waiter = "poll" }))
    assert.same({ 3, 3, 3 }, { db:stats().idle, db:stats().connected, db:stats().min })
    assert(db:close())
    local err = probe.fails(2, luphant.open, { host = "127.0.0.1", port = probe.closed_port() },
      { min_connections = 1, waiter = "poll" })
    assert.equal("refused", err.kind)
  end)

  it("opens nothing by itself otherwise", function()
    local db = assert(luphant.open({ host = "127.0.0.1", port = probe.closed_port() }, { waiter = "poll" }))
    assert.equal(0, db:stats().total)
    assert.equal("pool_timeout", probe.fails(1, db.ready, db, 0.2).kind)
    assert(db:close())
  end)
end)

describe("what no further attempt could mend", function()
  local pg

  setup(function()
    pg = assert(server.start { settings = { log_connections = true }, tcp = true })
  end)
  teardown(function() pg:stop() end)

  local function count(pattern)
    local n = 0
    for _ in pg:log():gmatch(pattern) do n = n + 1 end
    return n
  end

  it("is told to all who wait at once, after one attempt", function()
    for name, case in pairs {
      invalid_catalog_name = { host = pg.socket_dir, port = pg.port, user = "postgres", dbname = "nowhere",
        log = 'database "nowhere" does not exist' },
      auth = { host = "127.0.0.1", port = pg.port, user = "postgres", dbname = "postgres", password = "wrong",
        sslmode = "disable", log = 'password authentication failed for user "postgres"' },
    } do
      local log = case.log
      case.log = nil
      case.max_connections, case.acquire_timeout = 40, 20
      pools.run(case, function(db, world)
        local before, tasks = count(log), {}
        for i = 1, 20 do tasks[i] = world.spawn(function() return (select(2, db:query "select 1")) end) end
        local took = probe.timed(world.join, tasks)
        assert.is_true(took < 2 * probe.slow, "told after " .. took)
        assert.equal(before + 1, count(log))
        for i = 1, 20 do
          assert.is_true(luphant.is(tasks[i].result, name), tostring(tasks[i].result))
          assert.is_true(i == 1 or not rawequal(tasks[i].result, tasks[1].result), "each has an error of its own")
        end
        -- Who comes during the pause hears the same without another attempt.
        assert.is_true(luphant.is(probe.fails(0.04, db.query, db, "select 1"), name))
        assert.equal(before + 1, count(log))
        assert.equal(1, db:stats().connect_failed)
      end)
    end
  end)
end)

describe("the hook after_connect", function()
  it("runs once on every connection, before anybody gets it", function()
    local pids = {}
    pools.run({ max_connections = 3, after_connect = function(conn)
      pids[#pids + 1] = conn:backend_pid()
      assert(conn:execute "set work_mem = '7MB'")
    end }, function(db)
      local held = {}
      for i = 1, 3 do
        held[i] = assert(db:acquire())
        assert.equal("7MB", held[i]:query_value "show work_mem")
      end
      for i = 1, 3 do held[i]:release() end
      for _ = 1, 3 do assert.equal("7MB", db:query_value "show work_mem") end
      assert.equal(3, #pids)
      assert.equal(3, db:stats().connected)
    end)
  end)

  for how, case in pairs {
    ["false"] = { function() return false end, "after_connect refused the new connection (it returned false)" },
    ["nil and a reason"] = { function() return nil, "wrong schema" end, "wrong schema" },
    ["an error"] = { function() error({ "odd" }) end, "after_connect refused the new connection" },
    ["an error object of a statement"] = { function(conn) assert(conn:query "select * from nowhere") end, "nowhere" },
    ["a transaction left open"] = { function(conn) conn:execute "begin" end, "left a transaction open" },
  } do
    it("refuses a connection with " .. how .. ", which is told to all who wait", function()
      local asked = 0
      pools.run({ max_connections = 4, acquire_timeout = 20, after_connect = function(conn)
        asked = asked + 1
        return case[1](conn)
      end }, function(db, world)
        local tasks = {}
        for i = 1, 5 do tasks[i] = world.spawn(function() return (select(2, db:query "select 1")) end) end
        local took = probe.timed(world.join, tasks)
        assert.is_true(took < 1 * probe.slow)
        for i = 1, 5 do
          assert.equal("config", tasks[i].result.kind)
          assert.matches(case[2], tostring(tasks[i].result), 1, true)
        end
        assert.same({ 1, 0, 1 }, { asked, db:stats().total, db:stats().connect_failed })
        assert.is_true(probe.eventually(function()
          local observer = assert(luphant.connect(env.url(), { waiter = "poll" }))
          local left = observer:query_value(
            "select count(*) from pg_stat_activity where application_name = $1", pools.NAME)
          observer:close()
          return left == 0
        end), "refused connections are closed")
      end)
    end)
  end

  it("that loses its connection is tried again", function()
    local observer = assert(luphant.connect(env.url(), { waiter = "poll" }))
    local asked = 0
    pools.run({ max_connections = 1, after_connect = function(conn)
      asked = asked + 1
      if asked == 1 then observer:query("select pg_terminate_backend($1, 2000)", conn:backend_pid()) end
      local ok, err = conn:query "select 1"
      return ok, err
    end }, function(db)
      assert.equal(1, db:query_value "select 1")
      assert.same({ 2, 1 }, { asked, db:stats().connect_failed })
    end)
    observer:close()
  end)

  it("hangs no longer than connect_timeout", function()
    pools.run({ max_connections = 1, connect_timeout = 0.3, acquire_timeout = 1, cancel_grace = 0.2,
      after_connect = function(conn) return conn:query "select pg_sleep(20)" end }, function(db)
      local err = probe.fails(1.5, db.query, db, "select 1")
      assert.equal("pool_timeout", err.kind)
      assert.equal("connect_timeout", err.cause.kind)
      assert.is_true(db:stats().connect_failed >= 1)
    end)
  end)

  it("sees the connection, but keeps nothing of it", function()
    local kept
    pools.run({ max_connections = 1, after_connect = function(conn) kept = conn end }, function(db)
      assert.equal(1, db:query_value "select 1")
      assert.is_false((pcall(kept.query, kept, "select 1")))
      kept:release()
      kept:close()
      assert.equal(2, db:query_value "select 2")
      assert.equal(1, db:stats().connected)
    end)
  end)
end)
