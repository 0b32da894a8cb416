-- Servers that do not answer, cannot be trusted, or do not let us in.
--
-- To see it fail: let dial.c give each address the whole of connect_timeout (F13); take tls_verify and auth out of what
-- pool/grow.lua calls permanent (F16, F17); let dial.lua keep the first password for all that follow (F18).
--
-- SPDX-License-Identifier: MIT

local luphant = require "luphant"
local ordeal = require "spec.support.ordeal"
local probe = require "spec.support.probe"
local server = require "luphant.testing.server"

local function start()
  local pg = assert(server.start { tls = true, settings = { log_connections = true } })
  assert(pg:psql "create role app login password 'first'")
  return pg
end

ordeal.family("a server that cannot be reached", { server = start }, function(test)
  -- TCP and a password, unlike what ordeal's own options say.
  local function tcp(world, more)
    local options = world.options { host = "127.0.0.1", port = world.server.port, user = "app", password = "first",
      sslmode = "disable" }
    for name, value in pairs(more or {}) do options[name] = value end
    return options
  end

  local function verified(world, more)
    local options = tcp(world, { host = "localhost", hostaddr = "127.0.0.1", sslmode = "verify-full",
      sslrootcert = world.server.certificates.ca })
    for name, value in pairs(more or {}) do options[name] = value or nil end
    return options
  end

  test("F13 a listener that never answers costs connect_timeout and not more", function(world)
    local deaf, port = probe.deaf_listener()
    world.keep(deaf)
    local err, took = world.fails(0.65, luphant.connect, tcp(world, { port = port, connect_timeout = 0.4 }))
    assert.same({ "connect_timeout", "connection", "no", true }, { err.kind, err.class, err.sent, err.retryable })
    assert.is_true(took >= 0.35)
    assert.equal(1, #err.attempts)
  end)

  test("F13 the next host is tried inside the same deadline", function(world)
    local deaf, port = probe.deaf_listener()
    world.keep(deaf)
    local took, conn, err = probe.timed(luphant.connect, tcp(world, { host = "127.0.0.1,127.0.0.1",
      port = port .. "," .. world.server.port, connect_timeout = 0.8 * probe.slow }))
    assert(conn, tostring(err))
    world.keep(conn)
    probe.usable(conn)
    assert.is_true(took < 0.8 * probe.slow)

    err = world.fails(0.85, luphant.connect, tcp(world, { host = "127.0.0.1,127.0.0.1,127.0.0.1",
      port = port, connect_timeout = 0.6 }))
    assert.equal("connect_timeout", err.kind)
    assert.equal(3, #err.attempts)
  end)

  test("F16 a certificate that is not right is refused with the reason, before anything is said", function(world)
    local pg = world.server
    for name, reason in pairs { wrong_host = "localhost", expired = "expired", self_signed = "self.signed",
      other_ca_server = "issuer", revoked = "revoked" } do
      assert(pg:use_certificate(name))
      assert.is_true(probe.eventually(function()
        return pg:psql "show ssl_cert_file" == pg.certificates[name].cert
      end))
      local options = verified(world, { connect_timeout = 3, sslcrl = name == "revoked" and pg.certificates.crl })
      local _, before = pg:log():gsub("connection received", "")
      local err = world.fails(1.5, luphant.connect, options)
      assert.same({ "tls_verify", "connection", false }, { err.kind, err.class, err.retryable }, name)
      assert.matches(reason, tostring(err), 1)
      assert.equal(1, #err.attempts)
      local _, after = pg:log():gsub("connection received", "")
      assert.equal(1, after - before, "the server counts attempts")
    end
    assert(pg:use_certificate "server")
    assert.is_true(probe.eventually(function()
      local conn = luphant.connect(verified(world))
      if conn then conn:close() end
      return conn ~= nil
    end))
  end)

  local function log_count(world, text)
    local _, count = world.server:log():gsub(text, "")
    return count
  end

  test("F16 a certificate that is not right is told to all who wait in a pool, at once", function(world)
    local pg = world.server
    assert(pg:use_certificate "other_ca_server")
    assert.is_true(probe.eventually(function()
      return pg:psql "show ssl_cert_file" == pg.certificates.other_ca_server.cert
    end))
    local db = world.pool(verified(world, { acquire_timeout = 5, max_connections = 3 }))
    local before, tasks = log_count(world, "connection received"), {}
    local function ask()
      local err = probe.fails(1.5, db.query, db, "select 1")
      assert.equal("tls_verify", err.kind)
    end
    for i = 1, 6 do
      if world.spawn then tasks[i] = world.spawn(ask) else ask() end
    end
    if world.spawn then world.join(tasks) end
    local attempts = log_count(world, "connection received") - before
    assert.is_true(attempts <= 3, attempts .. " attempts for what no attempt can mend")
    assert(pg:use_certificate "server")
    assert.is_true(world.eventually(function() return db:query_value "select 1" == 1 end, 12))
    world.assert_sound(db)
  end)

  test("F17 a wrong password is told to all who wait, and tried again ever more rarely", function(world)
    local options = tcp(world, { password = "wrong", acquire_timeout = 5, max_connections = 10 })
    local db = world.pool(options)
    local before, tasks, told = log_count(world, "password authentication failed"), {}, 0
    local until_ = probe.now() + 1
    local function storm()
      repeat
        local err = probe.fails(1, db.query, db, "select 1")
        assert.same({ "auth", "28P01" }, { err.kind, err.sqlstate })
        told = told + 1
        world.pause(0.01)
      until probe.now() > until_
    end
    for i = 1, 10 do
      if world.spawn then tasks[i] = world.spawn(storm) end
    end
    if world.spawn then world.join(tasks) else storm() end
    local attempts = log_count(world, "password authentication failed") - before
    assert.is_true(told > 20, told .. " callers were told")
    assert.is_true(attempts >= 2 and attempts <= 12, attempts .. " attempts in a second")
    -- The right password is tried within the longest pause.
    assert(world.server:psql "alter role app password 'wrong'")
    assert.is_true(world.eventually(function() return db:query_value "select 1" == 1 end, 7))
    world.assert_sound(db)
    assert(world.server:psql "alter role app password 'first'")
  end)

  -- To see it fail: let most_connecting in core/pool.c trust whatever was proven once.
  test("F17 a password that changes under a pool costs one attempt at a time, from the first", function(world)
    local db = world.pool(tcp(world, { max_connections = 16, acquire_timeout = 5 }))
    local held = assert(db:acquire())
    world.pause(1.2) -- no connection was made of late
    assert(world.server:psql "alter role app password 'second'")
    local before, tasks, most, told = log_count(world, "password authentication failed"), {}, 0, 0
    local until_ = probe.now() + 1
    local function storm()
      repeat
        most = math.max(most, db:stats().connecting)
        local err = probe.fails(2, db.query, db, "select 1")
        assert.same({ "auth", "28P01" }, { err.kind, err.sqlstate })
        told = told + 1
        world.pause(0.01)
      until probe.now() > until_
    end
    local function watch()
      repeat
        most = math.max(most, db:stats().connecting)
        world.pause(0.001)
      until probe.now() > until_
    end
    for i = 1, world.spawn and 20 or 0 do tasks[i] = world.spawn(i == 1 and watch or storm) end
    if world.spawn then world.join(tasks) else storm() end
    local attempts = log_count(world, "password authentication failed") - before
    assert.equal(db:stats().connect_failed, attempts)
    assert.is_true(attempts >= 1 and attempts <= 12, attempts .. " attempts in a second")
    assert.is_true(most <= 1, most .. " attempts at the same time")
    assert.is_true(told >= 1)
    probe.usable(held)
    assert(world.server:psql "alter role app password 'first'")
    assert.is_true(world.eventually(function() return db:query_value "select 1" == 1 end, 7))
    held:release()
    world.assert_sound(db)
  end)

  test("F18 a password that changes is asked for again; sessions that are open go on", function(world)
    local password, asked = "first", 0
    local options = tcp(world, { password = function()
      asked = asked + 1
      return password
    end })
    local old = world.keep(assert(luphant.connect(options)))
    assert(world.server:psql "alter role app password 'second'")
    local err = world.fails(1, luphant.connect, options)
    assert.same({ "auth", "28P01", false }, { err.kind, err.sqlstate, err.retryable })
    password = "second"
    probe.usable(world.keep(assert(luphant.connect(options))))
    probe.usable(old)
    assert.equal(3, asked)
    assert(world.server:psql "alter role app password 'first'")
  end)

  test("F18 a pool asks for the password for each new connection, and keeps the old ones", function(world)
    local password, asked = "first", 0
    local db = world.pool(tcp(world, { max_connections = 2, password = function()
      asked = asked + 1
      return password
    end }))
    local old = assert(db:acquire())
    assert(world.server:psql "alter role app password 'second'")
    password = "second"
    local new = assert(db:acquire())
    probe.usable(old)
    probe.usable(new)
    assert.equal(2, asked)
    old:release()
    new:release()
    assert(world.server:psql "alter role app password 'first'")
    world.assert_sound(db)
  end)

  test("F20 a pool that is refused asks again with pauses, and is back soon after the server is", function(world)
    local gate, attempts = world.gate(), 0
    gate:refuse()
    local options = world.through(gate, { acquire_timeout = 0.8, max_connections = 4, password = function()
      attempts = attempts + 1
      return "any"
    end })
    local db = world.pool(options)
    local function ask()
      local err = probe.fails(1.05, db.query, db, "select 1")
      assert.same({ "pool_timeout", "refused", "no" }, { err.kind, err.cause.kind, err.sent })
    end
    local tasks = {}
    for i = 1, world.spawn and 8 or 0 do tasks[i] = world.spawn(ask) end
    if world.spawn then world.join(tasks) else ask() end
    assert.is_true(attempts >= 2 and attempts <= 12, attempts .. " attempts in 0.8 seconds")
    gate:accept()
    -- The longest pause is 5 seconds; after less than a second of failures it is nowhere near.
    local from = probe.now()
    assert.is_true(world.eventually(function() return db:query_value "select 1" == 1 end, 5.5))
    assert.is_true(probe.now() - from < 5.5 * probe.slow)
    world.assert_sound(db)
  end)

  test.together("F20 who waits while the server is away is served when it is back", function(world)
    local gate = world.gate()
    gate:refuse()
    local db = world.pool(world.through(gate, { acquire_timeout = 8, max_connections = 4 }))
    local tasks = {}
    for i = 1, 8 do
      tasks[i] = world.spawn(function() assert(db:query_value("select $1::int", i) == i) end)
    end
    world.pause(0.4)
    gate:accept()
    world.join(tasks)
    world.assert_sound(db)
  end)
end)

local function start_small()
  return assert(server.start { settings = { max_connections = 6, superuser_reserved_connections = 0,
    max_wal_senders = 0 } })
end

ordeal.family("a server that has no more room", { server = start_small }, function(test)
  local function refusals(world)
    local _, count = world.server:log():gsub("sorry, too many clients already", "")
    return count
  end

  test("F19 a server that is full is the cause of what waits in vain, and is not pestered", function(world)
    local guests = {}
    for i = 1, 6 do guests[i] = world.connect() end
    local db, before = world.pool(world.options { max_connections = 20, acquire_timeout = 0.6 }), refusals(world)
    local err, took = world.fails(0.85, db.query, db, "select 1")
    assert.same({ "pool_timeout", "53300", "no" }, { err.kind, err.cause.sqlstate, err.sent })
    assert.is_true(took >= 0.55)
    local attempts = refusals(world) - before
    assert.is_true(attempts >= 2 and attempts <= 12, attempts .. " attempts in 0.6 seconds")
    for _, guest in ipairs(guests) do guest:close() end
    assert.is_true(world.eventually(function() return db:query_value "select 1" == 1 end))
    db:close() -- it would take the place of who looks after the test
  end)

  test.together("F19 a server that is full stops a pool's growth, and the connections it has serve all", function(world)
    local db = world.pool(world.options { max_connections = 20, acquire_timeout = 10 })
    local tasks, before = {}, refusals(world)
    for i = 1, 60 do
      tasks[i] = world.spawn(function()
        local value, err = db:query_value("select $1::int from pg_sleep(0.05)", i)
        assert(value == i, tostring(err))
      end)
    end
    world.join(tasks)
    local stats = db:stats()
    assert.is_true(stats.total <= 6)
    assert.is_true(refusals(world) - before <= 12, refusals(world) - before .. " connections were refused")
    db:close()
  end)
end)
