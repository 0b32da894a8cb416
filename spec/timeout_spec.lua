-- The caller's deadline: the statement is cancelled and its answer read away within a bounded grace; the
-- connection is kept when it is provably in order, and closed otherwise. What comes next never
-- receives an answer, or a cancellation, that was meant for what came before.
--
-- SPDX-License-Identifier: MIT

local luphant = require "luphant"
local probe = require "spec.support.probe"
local proxy = require "luphant.testing.proxy"
local server = require "luphant.testing.server"

local NAME = "timeout_spec"

describe("a client deadline", function()
  local pg, open

  setup(function() pg = assert(server.start { tcp = true, hba = { "host all all 127.0.0.1/32 trust" } }) end)
  teardown(function() pg:stop() end)
  before_each(function() open = {} end)

  after_each(function()
    for _, each in ipairs(open) do (each.stop or each.close)(each) end
    -- Also a session whose client was cut off ends: its statement sleeps for seconds at most.
    assert.is_true(probe.eventually(function() return probe.sessions(pg, NAME) == 0 end, 10))
  end)

  local function keep(thing)
    open[#open + 1] = thing
    return thing
  end

  local function connect(options)
    local conn, err = luphant.connect(pg:url { application_name = NAME }, options)
    assert(conn, tostring(err))
    return keep(conn)
  end

  -- A connection through a proxy of its own.
  local function connect_through(options)
    local gate = keep(assert(proxy.start { target_port = pg.port }))
    local given = { host = "127.0.0.1", port = gate.port, dbname = "postgres", user = "postgres", sslmode = "disable",
      application_name = NAME }
    for name, value in pairs(options or {}) do given[name] = value end
    local conn, err = luphant.connect(given)
    assert(conn, tostring(err))
    return keep(conn), gate
  end

  local function assert_timed_out(err)
    assert.same({ "query_timeout", "timeout" }, { err.kind, err.class })
    assert.equal("yes", err.sent == "maybe" and "yes" or err.sent) -- it did leave
  end

  describe("on", function()
    local SLEEP = "select 1 as n from pg_sleep(5)"
    for _, verb in ipairs { "query", "query_one", "query_opt", "query_value", "query_column", "execute" } do
      it(verb .. " cancels the statement and keeps the connection", function()
        local conn = connect()
        local err, took = probe.fails(0.6, conn[verb], conn, { SLEEP, timeout = 0.15 })
        assert_timed_out(err)
        assert.is_true(took >= 0.14, "too early: " .. took)
        assert.is_true(conn:is_open())
        assert.equal("idle", conn:transaction_status())
        probe.usable(conn)
      end)
    end

    it("values raises out of the loop or says so at once, and keeps the connection", function()
      local conn = connect()
      local ok, value, err = pcall(function()
        local iterator, failure = conn:values({ SLEEP, timeout = 0.15 })
        if not iterator then return nil, failure end
        for _ in iterator do error("there must be no row", 0) end
      end)
      assert_timed_out(ok and err or value)
      probe.usable(conn)
    end)

    it("script cancels it wherever it is", function()
      local conn = connect { timeout = 0.15 * probe.slow }
      local err = probe.fails(0.6, conn.script, conn, "create temp table t (n int); select pg_sleep(5); select 2")
      assert_timed_out(err)
      probe.usable(conn)
      assert.is_nil(conn:query_value "select to_regclass('t')") -- one script is one transaction
    end)

    it("describe, when another session holds the lock that it needs", function()
      local conn, other = connect { timeout = 0.15 * probe.slow }, connect()
      assert(other:script "begin; create table locked (n int); commit; begin; lock table locked")
      local err = probe.fails(0.6, conn.describe, conn, "select n from locked")
      assert_timed_out(err)
      probe.usable(conn)
      assert(other:script "rollback; drop table locked")
    end)

    it("a verb with no timeout of its own is the connection's", function()
      local conn = connect { timeout = 0.15 * probe.slow }
      assert_timed_out(probe.fails(0.6, conn.query, conn, SLEEP))
      assert.equal(1, conn:query_value { "select 1 from pg_sleep(0.3)", timeout = 2 })
      probe.usable(conn)
    end)

    it("a prepared statement", function()
      local conn = connect { timeout = 0.15 * probe.slow }
      local statement = assert(conn:prepare "select pg_sleep($1)::text, 7 as n")
      assert_timed_out(probe.fails(0.6, statement.query, statement, 5))
      assert.equal(7, (assert(statement:query(0)))[1].n)
      probe.usable(conn)
    end)

    it("a result that keeps flowing is not extended by progress", function()
      local conn = connect()
      local err = probe.fails(1.2, conn.query, conn, { "select * from generate_series(1, 100000000)", timeout = 0.2 })
      assert_timed_out(err)
      -- A busy machine may not get through what is on its way within cancel_grace.
      if err.connection == "ok" then return probe.usable(conn) end
      assert.same({ "closed", false }, { err.connection, conn:is_open() })
    end)
  end)

  it("fails the transaction around it, as any error does", function()
    local conn = connect()
    assert(conn:execute "begin")
    assert_timed_out(probe.fails(0.6, conn.query, conn, { "select pg_sleep(5)", timeout = 0.1 }))
    assert.equal("inerror", conn:transaction_status())
    assert.equal("25P02", (select(2, conn:query "select 1")).sqlstate)
    assert(conn:execute "rollback")
    probe.usable(conn)
  end)

  it("is told apart from the server's own limit", function()
    local conn = connect { statement_timeout = 0.1 }
    local err = probe.fails(0.6, conn.query, conn, { "select pg_sleep(5)", timeout = 3 })
    assert.same({ "57014", "timeout" }, { err.sqlstate, err.class })
    assert.not_equal("query_timeout", err.kind)
    assert.matches("statement timeout", err.message, 1, true)
    probe.usable(conn)
  end)

  it("that never strikes changes nothing", function()
    local conn = connect { timeout = 5 }
    for i = 1, 50 do assert.equal(i, conn:query_value("select $1::int", i)) end
  end)

  -- The deadlines fall before, into and after the statement: some are answered, some cancelled, and some are
  -- cancelled so late that the cancellation meets an idle session - or, done wrong, the next statement.
  it("leaves no stray cancellation and no stray answer, wherever it strikes #slow", function()
    local conn = connect()
    local cancelled, answered = 0, 0
    for i = 1, 400 do
      local timeout = 0.0005 + i % 41 * 0.0005
      local value, err = conn:query_value({ "select $1::int from pg_sleep(0.01)", timeout = timeout }, i)
      if value then
        assert.equal(i, value)
        answered = answered + 1
      else
        assert_timed_out(err)
        cancelled = cancelled + 1
      end
      if not conn:is_open() then conn = connect() end -- allowed, where the server was too slow to say
      local following, stray = conn:query_value("select $1::int + 1000", i)
      assert(following == i + 1000, ("run %d: %s"):format(i, tostring(stray or following)))
    end
    assert.is_true(cancelled > 20 and answered > 20, ("a sweep that misses: %d, %d"):format(cancelled, answered))
    probe.usable(conn)
  end)

  describe("closes the connection within deadline and grace", function()
    -- How long a caller may be kept: the deadline, the grace for draining, and a quarter second.
    local DEADLINE, GRACE = 0.2, 0.3

    local function strike(options, arrange)
      local waiter, watch = probe.watching_waiter()
      local given = { cancel_grace = GRACE, waiter = waiter }
      for name, value in pairs(options or {}) do given[name] = value end
      local conn, gate = connect_through(given)
      probe.usable(conn)
      arrange(gate)
      watch.start()
      local err, took = probe.fails(DEADLINE + GRACE + 0.25, conn.query,
        conn, { "select repeat('x', 10000) from pg_sleep(1)", timeout = DEADLINE })
      watch.stop()
      assert_timed_out(err)
      assert.is_true(took >= DEADLINE)
      assert.is_true(watch.longest < 0.2 * probe.slow, "an event loop would have stood still for " .. watch.longest)
      assert.is_false(conn:is_open())
      return conn, gate
    end

    it("when the network swallows everything", function()
      local conn = strike(nil, function(gate) gate:stall() end)
      local after = probe.fails(0.1, conn.query, conn, "select 1")
      assert.same({ "closed", "no" }, { after.kind, after.sent })
    end)

    it("when only the answers get lost", function()
      strike(nil, function(gate) gate:stall { from = "server" } end)
    end)

    it("when the cancel request is refused", function()
      strike(nil, function(gate) gate:refuse() end)
    end)

    it("when the answer trickles in", function()
      strike(nil, function(gate) gate:limit { from = "server", bytes_per_second = 20 } end)
    end)

    it("at once, when no grace is given", function()
      local conn, gate = connect_through { cancel_grace = 0 }
      gate:stall()
      assert_timed_out(probe.fails(DEADLINE + 0.25, conn.query, conn, { "select 1", timeout = DEADLINE }))
      assert.is_false(conn:is_open())
    end)

    it("and leaves no descriptor behind", function()
      local gate = keep(assert(proxy.start { target_port = pg.port }))
      probe.keeps_descriptors(function()
        for _ = 1, 3 do
          local conn = assert(luphant.connect { host = "127.0.0.1", port = gate.port, dbname = "postgres",
            user = "postgres", sslmode = "disable", application_name = NAME, cancel_grace = 0.1 })
          gate:stall()
          probe.fails(0.5, conn.query, conn, { "select 1", timeout = 0.1 })
          gate:resume()
        end
      end)
    end)
  end)

  it("keeps the connection through a network that is only slow", function()
    local conn, gate = connect_through { cancel_grace = 2 }
    gate:delay { seconds = 0.05 }
    assert_timed_out(probe.fails(1, conn.query, conn, { "select pg_sleep(5)", timeout = 0.2 }))
    assert.is_true(conn:is_open())
    gate:pass()
    probe.usable(conn)
  end)

  describe("conn:cancel()", function()
    -- A waiter that calls it in the middle of the statement, as another coroutine would.
    local poll = require("luphant.wait").choose "poll"

    local function cancelling()
      local waiter, plan = { name = "cancelling" }, {}
      for name, fn in pairs(poll) do
        if type(fn) == "function" then waiter[name] = fn end
      end
      function waiter.wait(...)
        local action = plan.action
        plan.action = nil
        if action then action() end
        return poll.wait(...)
      end
      return waiter, plan
    end

    it("stops the statement under way and keeps the connection", function()
      local waiter, plan = cancelling()
      local conn = connect { waiter = waiter }
      local SLEEP = "select pg_sleep($1)::text"
      assert(conn:query(SLEEP, 0)) -- described: the next wait is for the sleep itself
      plan.action = function()
        poll.sleep(poll.now() + 0.1) -- the server has begun
        assert(conn:cancel())
      end
      local err = probe.fails(1, conn.query, conn, SLEEP, 5)
      assert.same({ "57014", "timeout" }, { err.sqlstate, err.class })
      probe.usable(conn)
    end)

    it("does nothing to a connection that is idle, nor to its next statement", function()
      local conn = connect()
      for i = 1, 20 do
        conn:cancel()
        assert.equal(i, conn:query_value("select $1::int", i))
      end
    end)
  end)
end)
