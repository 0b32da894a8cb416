-- A listener whose server restarts, crashes, moves to another host, or falls silent.
--
-- To see it fail: take next_check out of notify/line.lua (F8), `params.target_session_attrs = ...` (F52, the standby),
-- let refuse answer false, or let lph_notify_hear (csrc/core/notify.c) forget about floods (F45).
--
-- SPDX-License-Identifier: MIT

local host = require "luphant.testing.host"
local liar = require "spec.support.liar"
local ordeal = require "spec.support.ordeal"
local probe = require "spec.support.probe"
local proxy = require "luphant.testing.proxy"
local server = require "luphant.testing.server"
local shell = require "luphant.testing.shell"

-- What a listener does, and what it was told; without tasks time only passes in wait.
local function listening(world, db, channel, options)
  local told = {}
  local function note(word) told[#told + 1] = word end
  local given = { on_ready = note, on_lost = function(err) note("lost " .. err.kind) end }
  for name, value in pairs(options or {}) do given[name] = value end
  local listener, err = db:listen(channel, note, given)
  assert(listener, tostring(err))
  local function comes(word, seconds)
    local limit = probe.now() + (seconds or 10) * probe.slow
    while told[#told] ~= word do
      assert(probe.now() < limit, ("%q does not come; told: %s"):format(word, table.concat(told, ", ")))
      if world.spawn then world.pause(0.01) else listener:wait(0.02) end
    end
  end
  return told, comes, listener
end

local function restart_command(pg, mode)
  local words = shell.line { pg.bin_dir .. "/pg_ctl", "restart", "-w", "-m", mode, "-D", pg.data_dir, "-l",
    pg.data_dir .. "/restart.log" }
  return host.as(assert(host.account()), "cd / && " .. words)
end

local function start() return assert(server.start()) end

ordeal.family("a listener", { server = start }, function(test)
  test("F52 a restart of the server costs a listener the time of the restart, and it is told to read again",
    function(world)
      local mode = world.spawn and "fast" or "immediate"
      local db = world.pool(world.options())
      local told, comes = listening(world, db, "faults")
      comes "listening"
      world.soon(0, restart_command(world.server, mode))
      comes("again", 30)
      assert.equal("listening", told[1])
      assert.is_truthy(told[2]:find "^lost ")
      assert.equal(3, #told)
      assert.is_true(world.eventually(function() return db:ready(1) end))
      assert(db:notify("faults", "after " .. mode))
      comes("after " .. mode)
      db:close()
    end)

  test("F52 what was committed around every loss of the listener is found, or heard of", function(world)
    assert(world.observer:script "drop table if exists heard; create table heard (id int primary key)")
    local db, seen, count = world.pool(world.options()), {}, 0
    local function read()
      for _, id in ipairs(assert(db:query_column "select id from heard")) do
        if not seen[id] then seen[id], count = true, count + 1 end
      end
    end
    local listener = assert(db:listen("faults", read, { on_ready = read }))
    local sender, killer = world.connect(), world.connect()
    for id = 1, 60 do
      assert(sender:transaction(function(tx)
        assert(tx:execute("insert into heard values ($1)", id))
        return tx:notify "faults"
      end))
      local pid = id % 7 == 0 and (db:stats().listening or {}).backend_pid
      if pid then assert(killer:query("select pg_terminate_backend($1)", pid)) end
      if world.spawn then world.pause(0.005) else listener:wait(0.005) end
    end
    assert.is_true(world.eventually(function()
      if not world.spawn then listener:wait(0.02) end
      return count == 60
    end, 15), count .. " of 60")
    assert.is_true(db:stats().listening.sessions > 3)
    db:close()
  end)

  test("F8 a black hole under a listener is found out, and a new session made as soon as there is a way",
    function(world)
      local gate = world.gate()
      local db = world.pool(world.through(gate, { listen_keepalive = 0.2, connect_timeout = 1 }))
      local told, comes, listener = listening(world, db, "faults")
      comes "listening"
      local count = db:stats().listening.sessions
      for _ = 1, 3 do assert.is_nil((listener:wait(0.25))) end -- asked, answered, nothing new
      assert.equal(count, db:stats().listening.sessions)
      gate:stall()
      comes("lost closed", 5)
      gate:resume()
      comes "again"
      assert.equal(3, #told)
      assert(db:notify("faults", "through"))
      comes "through"
      listener:close()
      db:close()
    end)

  test("F20 a listener asks again with pauses that grow, and is back when the server takes connections",
    function(world)
      local gate = world.gate()
      local db = world.pool(world.through(gate))
      local _, comes, listener = listening(world, db, "faults")
      comes "listening"
      local attempts = 0
      db:on("error", function(info) if info.where == "listen" then attempts = attempts + 1 end end)
      gate:refuse()
      gate:cut()
      local from = probe.now()
      while probe.now() < from + 1 do
        if world.spawn then world.pause(0.05) else listener:wait(0.05) end
      end
      assert.is_true(attempts >= 2 and attempts <= 7, attempts .. " attempts in a second")
      assert.is_false(listener:is_listening())
      gate:accept()
      comes("again", 10)
      db:close()
    end)

  test("F10 a cut at any byte of what a listener is sent neither loses nor invents a notification unnoticed",
    function(world)
      for _, bytes in ipairs { 0, 4, 9, 19 } do -- of the 20 that the notification has
        local gate = world.gate()
        local db = world.pool(world.through(gate))
        local told, comes, listener = listening(world, db, "faults")
        comes "listening"
        gate:cut_after { from = "server", bytes = bytes, once = true }
        local sender = world.connect()
        assert(sender:notify("faults", "one"))
        comes("again", 10)
        assert(sender:notify("faults", "two"))
        comes "two"
        for _, word in ipairs(told) do
          assert.is_truthy(word:find "^lost " or ({ listening = 1, again = 1, one = 1, two = 1 })[word], word)
        end
        listener:close()
        db:close()
      end
    end)

  test("F12 an answer to LISTEN that trickles in does not extend the time, and a notification that does is one",
    function(world)
      local gate = world.gate()
      local db = world.pool(world.through(gate))
      local _, comes, listener = listening(world, db, "faults")
      comes "listening"
      gate:limit { from = "server", bytes_per_second = 200 }
      assert(world.connect():notify("faults", ("slow "):rep(20)))
      comes(("slow "):rep(20))
      gate:limit { from = "server", bytes_per_second = 5 }
      local err, took = world.fails(1, db.listen, db, "another", print, { timeout = 0.3 })
      assert.equal("connect_timeout", err.kind)
      assert.is_true(took >= 0.29)
      gate:pass()
      assert(db:notify("faults", "on it goes"))
      comes "on it goes"
      listener:close()
      db:close(1)
    end)

  test("F42 a channel or a payload that is too long, or cannot be sent faithfully, is refused before anything is sent",
    function(world)
      local gate = world.gate()
      local db = world.pool(world.through(gate))
      local told, comes, listener = listening(world, db, "faults")
      comes "listening"
      assert(db:notify("faults", ("x"):rep(7999)))
      comes(("x"):rep(7999))
      gate:stats { reset = true }
      for _, bad in ipairs { ("x"):rep(64), "a\0b", "\255", "\237\160\128", "" } do
        for _, verb in ipairs { "listen", "notify" } do
          local err = world.fails(0.5, db[verb], db, bad)
          assert.same({ "parameter", "no" }, { err.kind, err.sent }, bad)
        end
      end
      for _, bad in ipairs { ("x"):rep(8000), "a\0b", "\255" } do
        local err = world.fails(0.5, db.notify, db, "faults", bad)
        assert.same({ "parameter", "no" }, { err.kind, err.sent }, bad)
        -- (What a parameter is refused for may be out of date: it is described anew.)
        if #bad == 8000 then assert.equal(0, gate:stats().from_client) end
      end
      assert(db:notify("faults", "fine"))
      comes "fine"
      assert.equal(3, #told)
      assert.equal(1, db:stats().listening.sessions)
      listener:close()
      db:close()
    end)

  test("F52 two thousand channels are listened to again when their session is lost", function(world)
    local channels, seen, ready = {}, {}, 0
    for i = 1, 2000 do channels[i] = ("a rather long name of a channel, number %d"):format(i) end
    local db = world.pool(world.options())
    local listener = assert(db:listen(channels, function(payload, channel) seen[channel] = payload end, {
      on_ready = function() ready = ready + 1 end,
    }))
    for round = 1, 2 do
      for _, i in ipairs { 1, 777, 2000 } do assert(db:notify(channels[i], tostring(round))) end
      assert.is_true(world.eventually(function()
        if not world.spawn then listener:wait(0.02) end
        return seen[channels[1]] == tostring(round) and seen[channels[777]] == tostring(round)
          and seen[channels[2000]] == tostring(round)
      end))
      if round == 1 then
        assert(db:query("select pg_terminate_backend($1)", db:stats().listening.backend_pid))
        assert.is_true(world.eventually(function()
          if not world.spawn then listener:wait(0.02) end
          return ready == 2
        end, 15))
      end
    end
    assert.equal(2, db:stats().listening.sessions)
    listener:close()
    db:close()
  end)

  test("F33 a hook and a function that raise, in any place of a listener, end nothing", function(world)
    local reported = 0
    local db = world.pool(world.options { on_hook_error = function() reported = reported + 1 end })
    local count = 0
    local function raise()
      count = count + 1
      error {}
    end
    db:on("error", raise)
    local listener = assert(db:listen("faults", raise, { on_ready = raise, on_lost = raise }))
    assert(db:query("select pg_terminate_backend($1)", db:stats().listening.backend_pid))
    assert.is_true(world.eventually(function()
      if not world.spawn then listener:wait(0.02) end
      return db:stats().listening.sessions == 2 and listener:is_listening()
    end))
    assert(db:notify "faults")
    assert.is_true(world.eventually(function()
      if not world.spawn then listener:wait(0.02) end
      return count >= 7
    end))
    assert.equal(count, reported)
    db:close()
  end)

end)

local function start_two() return assert(server.start { standby = true }) end

ordeal.family("a listener with two servers", { server = start_two }, function(test)
  test.once("F52 a failover takes a listener to the server that is the primary then", function(world)
    local pg = world.server
    local db = world.pool(world.options { host = pg.standby.socket_dir .. "," .. pg.socket_dir,
      port = pg.standby.port .. "," .. pg.port, target_session_attrs = "any", connect_timeout = 2 })
    local told, comes, listener = listening(world, db, "faults")
    comes "listening"
    assert.equal("idle", world.observer:query_value("select state from pg_stat_activity where pid = $1",
      db:stats().listening.backend_pid)) -- not the standby, though it is the first of the hosts
    assert(shell.run(host.as(assert(host.account()), "cd / && " .. shell.line { pg.bin_dir .. "/pg_ctl", "stop", "-w",
      "-m", "immediate", "-D", pg.data_dir }) .. " >/dev/null"))
    world.pause(0.3)
    assert(pg.standby:promote())
    comes("again", 20)
    assert.is_truthy(told[2]:find "^lost ")
    local sender = world.connect { host = pg.standby.socket_dir, port = pg.standby.port }
    assert(sender:notify("faults", "from the new primary"))
    comes "from the new primary"
    listener:close()
    db:close()
    sender:close()
    assert(shell.run(restart_command(pg, "fast") .. " >/dev/null")) -- the ground asks it for what was left
  end)
end)

ordeal.family("a listener at a standby", { server = start_two }, function(test)
  test("F52 is told at once that the server refuses LISTEN, with what it said",
    function(world)
      local pg = world.server
      local db = world.pool(world.options { host = pg.standby.socket_dir, port = pg.standby.port })
      for _ = 1, 2 do
        local from = probe.now()
        local _, err = db:listen({ "faults", "more" }, function() end, { timeout = 20 })
        assert.equal("25006", err and err.sqlstate)
        assert.is_true(probe.now() - from < 5 * probe.slow)
        assert.same({ 0, 0 }, { db:stats().listening.listeners, db:stats().listening.channels })
      end
      db:close()
    end)
end)

local function start_tls() return assert(server.start { tls = true }) end

ordeal.family("a listener under TLS", { server = start_tls }, function(test)
  local function tls(world, more)
    local pg = world.server
    local options = { host = "127.0.0.1", port = pg.port, password = pg.password, sslmode = "require" }
    for name, value in pairs(more or {}) do options[name] = value end
    return world.options(options)
  end

  -- OpenSSL may hold what the socket no longer shows.
  test("F52 under TLS every notification comes, in order, and a lost session is made again", function(world)
    local db = world.pool(tls(world))
    local told, comes, listener = listening(world, db, "faults", { max_queued = 100000 })
    comes "listening"
    for round = 1, 2 do
      local from, count = #told, 600
      assert(world.observer:query([[select pg_notify('faults', n || repeat(' ', n * 13))
        from generate_series(1, $1::int) n]], count))
      local limit = probe.now() + 10 * probe.slow
      while #told < from + count do
        assert(probe.now() < limit, ("%d of %d"):format(#told - from, count))
        if world.spawn then world.pause(0.01) else listener:wait(0.02) end
      end
      for n = 1, count do assert(told[from + n] == n .. (" "):rep(n * 13), n) end
      if round == 1 then
        assert(world.observer:query("select pg_terminate_backend($1)", db:stats().listening.backend_pid))
        comes "again"
        assert.equal("lost closed", told[#told - 1])
      end
    end
    listener:close()
    db:close()
  end)

  test("F10 under TLS a cut at any byte of what a listener is sent is a loss, and nothing is invented", function(world)
    local pg = world.server
    for _, bytes in ipairs { 0, 3, 30 } do -- of one record, its head is 5
      local gate = world.keep(assert(proxy.start { target_port = pg.port }))
      local db = world.pool(tls(world, { host = gate.host, port = gate.port }))
      local told, comes, listener = listening(world, db, "faults")
      comes "listening"
      gate:cut_after { from = "server", bytes = bytes, once = true }
      assert(world.observer:query "select pg_notify('faults', 'one')")
      comes("again", 10)
      assert(world.observer:query "select pg_notify('faults', 'two')")
      comes "two"
      for _, word in ipairs(told) do
        assert.is_truthy(word:find "^lost " or ({ listening = 1, again = 1, one = 1, two = 1 })[word], word)
      end
      listener:close()
      db:close()
    end
  end)
end)

-- ---- lies -------------------------------------------------------------------------------------------

local NOTIFICATION = liar.message("A", liar.int32(1) .. "faults\0payload\0")
local READY = liar.message("Z", "I")
local LISTENING = liar.message("C", "LISTEN\0") .. READY
local MEMORY_MB = 48

local function resident_mb()
  collectgarbage()
  return tonumber((shell.read_file "/proc/self/statm"):match "^%d+ (%d+)") * 4096 / 2 ^ 20
end

-- A listener on a server that logs in, takes LISTEN and says `steps`; fn(db, listener, told).
local function with_liar(world, steps, fn)
  local fake = world.keep(assert(liar.start { liar.login, { "await", "Q" }, { "send", LISTENING },
    { "pause", 0.1 }, steps }))
  local db = world.pool { host = "127.0.0.1", port = fake.port, user = "app", sslmode = "disable",
    waiter = world.waiter }
  local lost, count = {}, 0
  local listener, err = db:listen("faults", function() count = count + 1 end,
    { on_lost = function(why) lost[#lost + 1] = why end, max_queued = 100 })
  assert(listener, tostring(err))
  fn(db, listener, lost, function() return count end)
  db:close(1)
  fake:stop()
end

ordeal.family("a listener and a server that lies", {}, function(test)
  test("F45 notifications without end cost a listener no memory, and others run beside it", function(world)
    with_liar(world, { "repeat", NOTIFICATION:rep(2000) }, function(_, listener, lost, count)
      local before, limit = resident_mb(), probe.now() + 1
      while probe.now() < limit do
        if world.spawn then world.pause(0.01) else listener:wait(0.1) end
      end
      assert.is_true(count() > 50, count() .. " notifications")
      assert.is_true(resident_mb() - before < MEMORY_MB * probe.slow)
      assert.same({}, lost)
    end)
  end)

  test("F45 a message that never ends, and what is none, end a listener's session", function(world)
    local lies = {
      endless = { { "send", liar.message("A", "", 2 ^ 30 - 8) }, { "repeat", ("x"):rep(60000) } },
      negative = { { "send", liar.message("A", "", -5) }, { "silence" } },
      noise = { { "send", ("\255\1\2\3"):rep(100) }, { "silence" } },
      parameters = { { "repeat", liar.parameter("application_name", "again"):rep(2000) } },
    }
    for name, steps in pairs(lies) do
      with_liar(world, steps, function(_, listener, lost, count)
        local before = resident_mb()
        assert.is_true(world.eventually(function()
          if not world.spawn then listener:wait(0.02) end
          return lost[1] ~= nil
        end, 10), name .. ": the session does not end")
        assert.is_truthy(({ protocol = true, closed = true })[lost[1].kind], name .. ": " .. tostring(lost[1]))
        assert.equal(0, count(), name)
        assert.is_true(resident_mb() - before < MEMORY_MB * probe.slow, name)
      end)
    end
  end)

  test("F45 notifications in the middle of an answer are kept, and a LISTEN that is refused is no LISTEN",
    function(world)
      local refused = liar.message("E", "SERROR\0C42501\0Mno\0\0") .. READY
      local fake = world.keep(assert(liar.start {
        liar.login, { "await", "Q" }, { "send", NOTIFICATION:rep(3) .. refused }, { "silence" },
      }))
      local db = world.pool { host = "127.0.0.1", port = fake.port, user = "app", sslmode = "disable",
        waiter = world.waiter, acquire_timeout = 1 }
      local err = world.fails(3, db.listen, db, "faults", print)
      assert.same({ "insufficient_privilege", "42501" }, { err.kind, err.sqlstate })
      db:close(1)
    end)
end)

