-- Servers that do not answer, cannot be trusted, or do not let us in.
--
-- To see it fail: let dial.c give each address the whole of connect_timeout (F13), or let it go on to the next address
-- after a certificate that was not accepted (F16); keep the password of the first connect for all that follow (F18).
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
end)
