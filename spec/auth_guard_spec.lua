-- The password goes in plain text only to a server that has proven itself, and no server makes us
-- calculate for minutes. libpq 15 has no switch for either, so the core looks at what the server says before
-- libpq does (csrc/core/guard.c), and lets libpq read only what it has looked at (csrc/core/feed.c).
--
-- To see it fail: let lph_guard_look say PASS at once, or call PQconnectPoll where lph_feed_poll stands.
--
-- SPDX-License-Identifier: MIT

local liar = require "spec.support.liar"
local luphant = require "luphant"
local probe = require "spec.support.probe"
local server = require "luphant.testing.server"

local PASSWORD = "CANARY-of-the-guard"
local ASKS_PLAINTEXT, ASKS_MD5 = liar.authentication(3), liar.authentication(5, "salt")
local ASKS_SCRAM = liar.sasl "SCRAM-SHA-256"

describe("a password", function()
  local fake

  after_each(function()
    if fake then fake:stop() end
    fake = nil
  end)

  local function given(more)
    local options = { host = "127.0.0.1", port = fake.port, user = "app", dbname = "app", password = PASSWORD,
      sslmode = "disable", connect_timeout = 2 * probe.slow }
    for name, value in pairs(more or {}) do options[name] = value end
    return options
  end

  -- Connects to a liar and expects a refusal in which nothing leaked.
  local function refuses(script, more)
    fake = assert(liar.start(script))
    local err = probe.fails(0.6, luphant.connect, given(more))
    assert.equal("auth_method", err.kind, tostring(err))
    assert.equal("connection", err.class)
    assert.is_false(err.retryable)
    assert.is_nil(fake:received():find(PASSWORD, 1, true), "the password has leaked")
    return err
  end

  describe("is not given in plain text", function()
    it("over plain TCP", function()
      local err = refuses { { "startup" }, { "send", ASKS_PLAINTEXT }, { "silence" } }
      assert.matches("plain text", err.message, 1, true)
      assert.matches("plaintext_password", err.hint, 1, true) -- the way out is named
    end)

    it("when the server declines TLS first", function()
      refuses({ { "startup", ssl = "N" }, { "send", ASKS_PLAINTEXT }, { "silence" } }, { sslmode = "prefer" })
    end)

    it("when the request rides in the packet that declines TLS", function()
      -- libpq keeps what comes behind the "N" and takes it for the answer to the start-up packet.
      refuses({ { "bytes", 8 }, { "send", "N" .. ASKS_PLAINTEXT }, { "startup" }, { "silence" } },
        { sslmode = "prefer" })
      fake:stop()
      refuses({ { "bytes", 8 }, { "send", "N" .. ASKS_PLAINTEXT }, { "startup" }, { "send", ASKS_SCRAM },
        { "silence" } }, { sslmode = "prefer" })
    end)

    it("when the request follows a harmless one in the same packet", function()
      refuses { { "startup" }, { "send", ASKS_SCRAM .. ASKS_PLAINTEXT }, { "silence" } }
      fake:stop()
      refuses { { "startup" }, { "send", ASKS_MD5 .. ASKS_PLAINTEXT }, { "silence" } }
    end)

    it("when the request arrives in pieces", function()
      refuses { { "startup" }, { "trickle", ASKS_PLAINTEXT, seconds = 0.01 }, { "silence" } }
    end)

    it("when the request follows a harmless one closely, whatever the distance", function()
      -- The distance decides what has arrived when the guard looks and what when libpq reads.
      local script = { { "startup" }, { "send", ASKS_SCRAM } }
      fake = assert(liar.start({ script, { "send", ASKS_PLAINTEXT }, { "silence" } }, {
        { script, { "pause", 0.00001 }, { "send", ASKS_PLAINTEXT }, { "silence" } } }))
      for _ = 1, 300 do
        local _, err = luphant.connect(given())
        assert.equal("auth_method", err and err.kind)
      end
      assert.is_nil(fake:received():find(PASSWORD, 1, true), "the password has leaked")
    end)

    it("to a Unix socket's name that leads elsewhere", function()
      -- host says socket, hostaddr says where we really go.
      fake = assert(liar.start { { "startup" }, { "send", ASKS_PLAINTEXT }, { "silence" } })
      local err = probe.fails(1, luphant.connect, given { host = "/tmp", hostaddr = "127.0.0.1" })
      assert.equal("auth_method", err.kind)
      assert.is_nil(fake:received():find(PASSWORD, 1, true), "the password has leaked")
    end)

    it("to the next host after one that asked for it", function()
      refuses({ { "startup" }, { "send", ASKS_PLAINTEXT }, { "silence" } },
        { host = "127.0.0.1,127.0.0.1", sslmode = "prefer" })
      assert.equal(1, fake:connections().accepted)
    end)

    it("but is when plaintext_password allows it", function()
      fake = assert(liar.start { { "startup" }, { "send", ASKS_PLAINTEXT }, { "read" }, { "send", liar.welcome },
        { "await", "X" } })
      local conn = assert(luphant.connect(given { plaintext_password = "allow" }))
      conn:close()
      assert.is_truthy(fake:received():find(PASSWORD, 1, true))
    end)
  end)

  it("is hashed where md5 is asked for", function()
    fake = assert(liar.start { { "startup" }, { "send", ASKS_MD5 }, { "read" }, { "send", liar.welcome },
      { "await", "X" } })
    assert(luphant.connect(given())):close()
    assert.matches("^md5%x+", fake:messages()[1].body)
    assert.is_nil(fake:received():find(PASSWORD, 1, true))
  end)

  describe("inside TLS", function()
    local pg

    setup(function()
      pg = assert(server.start { tls = true, settings = { log_connections = true },
        hba = { "hostssl all app 127.0.0.1/32 password" } })
      assert(pg:psql("create role app login password '" .. PASSWORD .. "'"))
    end)

    teardown(function() pg:stop() end)

    local function real(more)
      local options = { host = "localhost", hostaddr = "127.0.0.1", port = pg.port, dbname = "postgres", user = "app",
        password = PASSWORD, sslrootcert = "/nowhere/root.crt" }
      for name, value in pairs(more) do options[name] = value end
      return options
    end

    it("is not given to a server whose certificate nobody has checked", function()
      for _, mode in ipairs { "require", "prefer" } do
        local err = probe.fails(1, luphant.connect, real { sslmode = mode })
        assert.equal("auth_method", err.kind, mode)
      end
      -- The right password would have been accepted: the server has never seen it.
      assert.is_nil(pg:log():find("connection authorized: user=app", 1, true))
    end)

    it("is given to a server that has proven itself", function()
      local conn = assert(luphant.connect(real { sslmode = "verify-full", sslrootcert = pg.certificates.ca }))
      assert.equal("app", conn:query_value "select current_user")
      conn:close()
    end)

    it("is given to any when plaintext_password allows it", function()
      local conn = assert(luphant.connect(real { sslmode = "require", plaintext_password = "allow" }))
      probe.usable(conn)
      conn:close()
    end)
  end)

  describe("exchange by SCRAM", function()
    -- Expects a refusal before any calculation, with an event loop that never stood still.
    local function refuses_count(count)
      fake = assert(liar.start { { "startup" }, { "send", ASKS_SCRAM }, { "scram", iterations = count },
        { "silence" } })
      local waiter, watch = probe.watching_waiter()
      watch.start()
      local cpu = os.clock()
      local err = probe.fails(0.5, luphant.connect, given { waiter = waiter })
      watch.stop()
      assert.equal("auth_method", err.kind, count)
      assert.is_true(os.clock() - cpu < 0.2 * probe.slow, "calculated all the same for " .. count)
      assert.is_true(watch.longest < 0.2 * probe.slow)
      fake:stop()
    end

    it("is refused when the server wants millions of iterations, however they are written", function()
      for _, count in ipairs { "2147483647", "5000000", "99999999999999999999", "+2147483647", " 2147483647",
        "\t\n+2147483647", "0000000002147483647" } do
        refuses_count(count)
      end
    end)

    it("does not hold the event loop even when the count is allowed", function()
      fake = assert(liar.start { { "startup" }, { "send", ASKS_SCRAM }, { "scram", iterations = 900000 },
        { "silence" } })
      local waiter, watch = probe.watching_waiter()
      watch.start()
      probe.fails(4, luphant.connect, given { waiter = waiter })
      watch.stop()
      assert.is_true(watch.longest < 0.2 * probe.slow, "stood still for " .. watch.longest)
    end)

    it("keeps connect_timeout while it calculates", function()
      fake = assert(liar.start { { "startup" }, { "send", ASKS_SCRAM }, { "scram", iterations = 1000000 },
        { "silence" } })
      local err = probe.fails(0.5, luphant.connect, given { connect_timeout = 0.1 })
      assert.equal("connect_timeout", err.kind)
    end)

    it("that goes on when the program ends does not crash it", function()
      fake = assert(liar.start { { "startup" }, { "send", ASKS_SCRAM }, { "scram", iterations = 1000000 },
        { "silence" } })
      for _ = 1, 4 do
        local printed, code = probe.script({}, ([[
          for _ = 1, 6 do
            local conn, err = require("luphant").connect { host = "127.0.0.1", port = %d, user = "app",
              password = "x", sslmode = "disable", connect_timeout = 0.05 }
            assert(conn == nil and err.kind == "connect_timeout", tostring(err))
          end
          io.write "end"]]):format(fake.port))
        assert.same({ "end" }, { printed, code })
      end
    end)

    it("fails when the server cannot show that it knows the password", function()
      fake = assert(liar.start { { "startup" }, { "send", ASKS_SCRAM }, { "scram" }, { "send", liar.welcome },
        { "silence" } })
      local err = probe.fails(1, luphant.connect, given())
      assert.equal("auth", err.kind)
      assert.matches("signature", err.message, 1, true)
    end)

    it("fails when the server does not answer with our nonce", function()
      fake = assert(liar.start { { "startup" }, { "send", ASKS_SCRAM }, { "scram", nonce = "somebody-else's" },
        { "silence" } })
      local err = probe.fails(1, luphant.connect, given())
      assert.equal("auth", err.kind)
      assert.matches("nonce", err.message, 1, true)
    end)
  end)
end)
