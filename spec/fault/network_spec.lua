-- A network that swallows, breaks, forgets and dawdles, between a client and a server that both are in order.
--
-- To see it fail: let drive.lua wait without a limit or keep a connection whose server did not confirm (F7), let
-- pool/borrow.lua check a connection without a limit (F8), or let op.c say that nothing was sent when a session
-- broke under a statement (F9).
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local luphant = require "luphant"
local ordeal = require "spec.support.ordeal"
local probe = require "spec.support.probe"
local shell = require "luphant.testing.shell"

local DEADLINE, GRACE = 0.2, 0.2

-- In how many seconds the system will ask whether the peer on that port is still there; nil where it does not tell.
local function next_keepalive(port)
  local file = io.open "/proc/net/tcp"
  if not file then return nil end
  local seconds
  for line in file:lines() do
    -- local address, remote address, state 1 (established), queues, timer 2 (keepalive): hundredths of a second
    local remote, ticks = line:match "^%s*%d+: %x+:%x+ %x+:(%x+) 01 %x+:%x+ 02:(%x+)"
    if remote and tonumber(remote, 16) == port then seconds = tonumber(ticks, 16) / 100 end
  end
  file:close()
  return seconds
end

ordeal.family("a network that fails", {}, function(test)
  test("F7 a black hole in mid-query costs the deadline and the grace, and the connection", function(world)
    local gate = world.gate()
    local conn = world.connect_through(gate, { cancel_grace = GRACE })
    probe.usable(conn)
    gate:stall { from = "server" } -- the statement gets there
    local err, took = world.fails(DEADLINE + GRACE + 0.25, conn.query, conn,
      { "select pg_sleep(0.1)", timeout = DEADLINE })
    assert.same({ "query_timeout", "timeout", "maybe", "closed" }, { err.kind, err.class, err.sent, err.connection })
    assert.is_true(took >= DEADLINE)
    world.assert_gone(conn)
  end)

  test.together("F7 a black hole in the middle of many statements costs each its own deadline", function(world)
    local gate = world.gate()
    local conns, tasks, hole = {}, {}, nil
    for i = 1, 8 do conns[i] = world.connect_through(gate, { cancel_grace = GRACE }) end
    for i, conn in ipairs(conns) do
      tasks[i] = world.spawn(function()
        local value, err = conn:query { "select pg_sleep(1)", timeout = 0.1 + i * 0.05 }
        assert(value == nil and err.kind == "query_timeout", tostring(err))
        assert(probe.now() - hole < 0.1 + i * 0.05 + GRACE + 0.25 * probe.slow)
        world.assert_gone(conn)
      end)
    end
    world.pause(0.05)
    gate:stall()
    hole = probe.now()
    world.join(tasks)
  end)

  test("F8 a black hole while idle costs the next statement its deadline", function(world)
    local gate = world.gate()
    local conn = world.connect_through(gate, { cancel_grace = GRACE })
    probe.usable(conn)
    gate:stall()
    local err = world.fails(DEADLINE + GRACE + 0.25, conn.query, conn, { "select 1", timeout = DEADLINE })
    assert.same({ "query_timeout", "closed" }, { err.kind, err.connection })
    world.assert_gone(conn)
  end)

  -- The peer's window is full and stays so: to the sender the same as a peer that confirms nothing.
  test("F8 without any deadline a peer that takes nothing is given up after tcp_user_timeout", function(world)
    local gate = world.gate()
    local conn = world.connect_through(gate, { tcp_user_timeout = 700 })
    local insert = "select length($1::text)"
    assert.equal(3, conn:query_value(insert, "abc"))
    gate:stall()
    local err, took = world.fails(5, conn.query, conn, insert, ("x"):rep(2 ^ 25))
    assert.same({ "closed", "connection" }, { err.kind, err.class })
    assert.not_equal("no", err.sent)
    assert.is_true(took >= 0.5)
    world.assert_gone(conn)
  end)

  test("F8 the system probes a connection that is idle", function(world)
    local gate = world.gate()
    world.connect_through(gate)
    if not io.open "/proc/net/tcp" then return "only Linux tells about the timers of its connections" end
    local seconds = next_keepalive(gate.port)
    assert.is_true(seconds > 20 and seconds <= 30, "the first probe is sent after " .. seconds)
  end)

  -- Packets are truly lost where the loopback of a network namespace is taken down: no reset, no end, no refusal.
  test.once("F8 without packets coming through, statements and idle connections end within the limits of TCP",
    function(world)
      -- Root keeps its rights over the server's folder; whoever else gets them only inside a user namespace.
      local enter
      for _, words in ipairs { "unshare -n sh -c ", "unshare -rn sh -c " } do
        enter = enter or shell.run(words .. "'ip link set lo up'") and words
      end
      if not enter then return "network namespaces cannot be had here" end
      local options = world.options()
      local words = { "-e", ("package.path, package.cpath = %q, %q"):format(package.path, package.cpath),
        "spec/support/lossy.lua", options.host, options.port }
      local command = env.lua() .. " " .. shell.line(words)
      local output = assert(shell.try("lossy.lua", enter .. shell.quote("ip link set lo up; " .. command)))
      local sent, sent_after, idle, idle_after = output:match "^sent (%S+) (%S+)\nidle (%S+) (%S+)$"
      assert.same({ "closed", "closed" }, { sent, idle }, output)
      assert.is_true(tonumber(sent_after) > 0.9 and tonumber(sent_after) < 6 * probe.slow, output)
      assert.is_true(tonumber(idle_after) < 0.5 * probe.slow, output)
    end)

  test("F9 a server that rebooted unnoticed is told by its reset", function(world)
    local gate = world.gate()
    for _, verb in ipairs { "query", "execute", "query_value", "script" } do
      local conn = world.connect_through(gate)
      probe.usable(conn)
      gate:forget()
      local err = world.fails(0.5, conn[verb], conn, "select 1")
      assert.same({ "closed", "connection", "maybe", false }, { err.kind, err.class, err.sent, err.retryable })
      world.assert_gone(conn)
      probe.usable(world.connect_through(gate))
    end
  end)

  test("F10 a reset in the middle of a result never gives a part of it for the whole", function(world)
    local gate = world.gate()
    local SQL = "select n, repeat('x', 90) as filling from generate_series(1, 3000) n"
    for _, cut in ipairs { { messages = 1 }, { messages = 2, bytes = 3 }, { bytes = 70000 }, { messages = 3003 } } do
      cut.from, cut.reset = "server", true
      local conn = world.connect_through(gate)
      assert.equal(3000, #assert(conn:query(SQL))) -- described: what comes is the answer of this execution
      gate:cut_after(cut)
      local err = world.fails(1, conn.query, conn, SQL)
      assert.same({ "closed", "maybe" }, { err.kind, err.sent })
      world.assert_gone(conn)
      gate:pass()

      conn = world.connect_through(gate)
      assert(conn:query(SQL))
      gate:cut_after(cut)
      local seen = 0
      local ok, failure = pcall(function()
        for n in conn:values(SQL) do
          seen = seen + 1
          assert(n == seen)
        end
      end)
      assert.is_false(ok) -- a loop that ends would say that these were all
      assert.equal("closed", failure.kind)
      world.assert_gone(conn)
      gate:pass()
    end
  end)

  -- A whole session: nil when all went as it should, or the first failure. What is given is right and whole.
  local function session(options)
    local conn, err = luphant.connect(options)
    if not conn then return err end
    for i = 1, 2 do
      local rows
      rows, err = conn:query("select n, 'w' || n as word from generate_series(1, $1::int) n", i)
      if not rows then break end
      assert(#rows == i and rows[i].n == i and rows[i].word == "w" .. i, "a wrong answer")
    end
    if not err then
      local _, refused = conn:execute "select 1 / 0"
      if refused.sqlstate ~= "22012" then err = refused end
    end
    conn:close()
    return err
  end

  local function assert_fault(options, what)
    local took, err = probe.timed(session, options)
    assert(took < 1 * probe.slow, ("%s: took %.2f s"):format(what, took))
    if err then
      assert(type(err) == "table" and err.class == "connection" and err.message ~= "", what .. ": " .. tostring(err))
    end
    return err
  end

  -- spec/protocol_fault_spec.lua cuts at each single byte; here it is every border of a message, and both sides of it.
  test("F11 an end at any border of a message, and around it, is an error and never a wrong answer", function(world)
    local gate = world.gate()
    local options = world.through(gate, { connect_timeout = 2, timeout = 2 })
    gate:stats { reset = true }
    assert.is_nil((session(options)))
    assert.is_true(probe.eventually(function() return gate:stats().open == 0 end)) -- its goodbye is counted
    local stats = gate:stats()
    for _, from in ipairs { "server", "client" } do
      local total = stats["messages_from_" .. from]
      assert.is_true(total > 10)
      for messages = 0, total - 2 do
        for _, bytes in ipairs { 0, 3 } do
          local cut = ("%s, message %d, byte %d of %d"):format(from, messages, bytes, total)
          gate:cut_after { from = from, messages = messages, bytes = bytes, reset = messages % 3 == 2 }
          local err = assert_fault(options, cut)
          -- The last statement fails at its Bind, and a server tells an error at once, without the Describe, the
          -- Execute and the Sync that follow: the session may then have had all its answers before the cut.
          if not err then assert.is_true(from == "client" and messages >= total - 4, cut .. " was not noticed") end
          gate:pass()
        end
      end
    end
    assert.is_nil((session(options))) -- usable as soon as the network is
  end)

  test("F11 one direction that ends is enough to end the session", function(world)
    local gate = world.gate()
    for _, from in ipairs { "server", "client" } do
      local conn = world.connect_through(gate)
      probe.usable(conn)
      gate:half_close { from = from }
      local err = world.fails(1, conn.query, conn, { "select 1", timeout = 5 })
      assert.same({ "closed", "connection" }, { err.kind, err.class })
      world.assert_gone(conn)
    end
  end)

  test("F11 a session in single bytes is a session", function(world)
    local gate = world.gate()
    gate:split()
    assert.is_nil((session(world.through(gate))))
  end)

  -- A pool through a proxy, and all the connections it may have.
  local function pool_through(world, gate, more)
    local options = world.through(gate, { max_connections = 4, cancel_grace = GRACE, acquire_timeout = 0.6,
      connect_timeout = 0.5 })
    for name, value in pairs(more or {}) do options[name] = value end
    local db = world.pool(options)
    local lent = {}
    for i = 1, 4 do lent[i] = assert(db:acquire { timeout = 5 }) end
    for i = 1, 4 do lent[i]:release() end
    return db
  end

  test("F7 a black hole under a pool costs each statement its deadline, and the pool nothing", function(world)
    local gate = world.gate()
    local db = pool_through(world, gate, { health_check_after = 60 }) -- lent without a question
    gate:stall()
    local function ask()
      local err = probe.fails(DEADLINE + GRACE + 0.25, db.query, db, { "select pg_sleep(1)", timeout = DEADLINE })
      assert.same({ "query_timeout", "closed" }, { err.kind, err.connection })
    end
    local tasks = {}
    for i = 1, 4 do
      if world.spawn then tasks[i] = world.spawn(ask) else ask() end
    end
    if world.spawn then world.join(tasks) end
    gate:pass()
    world.assert_sound(db)
  end)

  test("F8 a black hole met by the check of an idle connection costs acquire_timeout and not more", function(world)
    local gate = world.gate()
    local db = pool_through(world, gate, { health_check_after = 0.001 })
    world.pause(0.01)
    gate:stall()
    local err = world.fails(0.6 + 0.25, db.query, db, "select 1")
    assert.same({ "pool_timeout", "no" }, { err.kind, err.sent })
    gate:pass()
    assert.is_true(world.eventually(function() return db:query_value "select 1" == 1 end))
    world.assert_sound(db)
  end)

  test("F9 connections of a pool that the server has forgotten are found by the check before lending", function(world)
    local gate = world.gate()
    local db = pool_through(world, gate, { health_check_after = 0.001, acquire_timeout = 5 })
    gate:forget()
    world.pause(0.01)
    for i = 1, 8 do assert.equal(i, db:query_value("select $1::int", i)) end
    world.assert_sound(db)
  end)

  test("F11 connections of a pool that break while idle cost no statement", function(world)
    local gate = world.gate()
    for _, how in ipairs { { reset = true }, { reset = false } } do
      local db = pool_through(world, gate, { acquire_timeout = 5 })
      gate:cut(how)
      world.pause(0.02)
      for i = 1, 8 do assert.equal(i, db:query_value("select $1::int", i)) end
      world.assert_sound(db)
      db:close()
    end
  end)

  test.together("F11 a pool through a network that cuts at random gives each caller its own answer, or an error",
    function(world)
      local gate = world.gate()
      local db = world.pool(world.through(gate, { max_connections = 4, acquire_timeout = 10, timeout = 5 }))
      local random, over, right, wrong = 4711, false, 0, 0
      local function chance(n)
        random = (random * 1103515245 + 12345) % 2147483648
        return math.floor(random / 65536) % n
      end
      local tasks = {}
      for caller = 1, 8 do
        tasks[caller] = world.spawn(function()
          local i = 0
          while not over do
            i = i + 1
            local id = caller * 1000000 + i
            local value, err = db:query_value("select $1::int", id)
            if value then
              assert(value == id, ("asked %d, got %s"):format(id, tostring(value)))
              right = right + 1
            else
              assert(err.class == "connection" or err.class == "pool", tostring(err))
              wrong = wrong + 1
            end
            world.pause(0.001)
          end
        end)
      end
      for _ = 1, 25 do
        gate:cut_after { from = chance(2) == 0 and "server" or "client", bytes = chance(700), once = true,
          reset = chance(2) == 0 }
        world.pause(0.02)
      end
      over = true
      world.join(tasks)
      gate:pass()
      assert.is_true(right > 50 and wrong > 3, ("%d answers, %d errors"):format(right, wrong))
      world.assert_sound(db)
    end)
end)
