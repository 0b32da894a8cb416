-- TLS against real certificates, good ones and every kind of bad one, and against servers that play foul
-- before the handshake is done.
--
-- SPDX-License-Identifier: MIT

local liar = require "spec.support.liar"
local luphant = require "luphant"
local probe = require "spec.support.probe"
local proxy = require "luphant.testing.proxy"
local server = require "luphant.testing.server"
local shell = require "luphant.testing.shell"

describe("TLS", function()
  local pg, open

  setup(function()
    pg = assert(server.start { tls = true, hba = { "hostssl certified postgres 127.0.0.1/32 cert" } })
    assert(pg:psql "create database certified")
  end)

  teardown(function() pg:stop() end)

  before_each(function() open = {} end)

  after_each(function()
    for _, each in ipairs(open) do (each.stop or each.close)(each) end
    assert.is_true(probe.eventually(function() return probe.sessions(pg, "tls_spec") == 0 end))
  end)

  local function keep(thing)
    open[#open + 1] = thing
    return thing
  end

  local function given(more)
    local options = { host = "localhost", hostaddr = "127.0.0.1", port = pg.port, dbname = "postgres",
      user = "postgres", password = pg.password, sslmode = "verify-full", sslrootcert = pg.certificates.ca,
      application_name = "tls_spec", connect_timeout = 3 }
    for name, value in pairs(more or {}) do
      if value == false then value = nil end
      options[name] = value
    end
    return options
  end

  local function connect(more)
    local conn, err = luphant.connect(given(more))
    assert(conn, tostring(err))
    return keep(conn)
  end

  -- Runs fn while the server shows another certificate.
  local function showing(name, fn)
    local function show(which)
      assert(pg:use_certificate(which))
      assert(probe.eventually(function()
        return pg:psql "show ssl_cert_file" == pg.certificates[which].cert
      end))
    end
    show(name)
    local ok, err = pcall(fn)
    show "server"
    if not ok then error(err, 0) end
  end

  describe("with a server that proves itself", function()
    it("is agreed on, and the session knows version and cipher", function()
      local conn = connect()
      local facts = conn:tls()
      local seen = assert(conn:query_one("select version, cipher, bits from pg_stat_ssl where pid = $1",
        conn:backend_pid()))
      assert.same(seen, { version = facts.version, cipher = facts.cipher, bits = tonumber(facts.bits) })
      assert.is_true(facts.verified)
      probe.usable(conn)
    end)

    it("uses the version that was asked for", function()
      assert.equal("TLSv1.2", connect({ ssl_max_protocol_version = "TLSv1.2" }):tls().version)
      assert.equal("TLSv1.3", connect({ ssl_min_protocol_version = "TLSv1.3" }):tls().version)
    end)

    it("binds the password exchange to the channel when that is required", function()
      probe.usable(connect { channel_binding = "require" })
    end)

    it("takes a revocation list that does not name it", function()
      probe.usable(connect { sslcrl = pg.certificates.crl })
    end)

    it("shows a client certificate", function()
      -- libpq wants a key that belongs to whoever runs it.
      local key = assert(shell.run("mktemp"))
      shell.write_file(key, shell.read_file(pg.certificates.client.key))
      local ok, err = pcall(function()
        local conn = connect { dbname = "certified", sslcert = pg.certificates.client.cert, sslkey = key,
          password = false }
        assert.equal("/CN=postgres", conn:query_value("select client_dn from pg_stat_ssl where pid = pg_backend_pid()"))
      end)
      os.remove(key)
      if not ok then error(err, 0) end
    end)

    it("carries answers of any size, whole", function()
      local conn = connect()
      for _, size in ipairs { 1, 16383, 16384, 16385, 100000, 3000000 } do
        assert.equal(size, #conn:query_value("select repeat('x', $1)", size))
      end
    end)

    it("carries COPY both ways, and what is wrong with it", function()
      local conn, text = connect(), ("x"):rep(200)
      assert(conn:execute "create temp table t (n int primary key, name text)")
      local w = assert(conn:copy_in "t")
      for n = 1, 20000 do assert(w:row(n, text)) end
      assert(w:row(20001, ("y"):rep(3000000)))
      assert.equal(20001, w:finish())
      local rows, bytes = 0, 0
      for row in assert(conn:copy_out "t") do rows, bytes = rows + 1, bytes + #row.name end
      assert.same({ 20001, 7000000 }, { rows, bytes })
      w = assert(conn:copy_in "t")
      local err
      for n = 100000, 400000 do
        local ok, why = w:row(n % 20000 + 100000, text)
        if not ok then err = why break end
      end
      err = err or select(2, w:finish())
      assert.equal("unique_violation", err.kind)
      w = assert(conn:copy_in "t")
      assert(w:row(-1, text))
      w:abort()
      assert.equal(20001, conn:query_value "select count(*) from t")
    end)

    it("says that it is not verified when nobody asked for that", function()
      local facts = connect({ sslmode = "require", sslrootcert = "/nowhere/root.crt" }):tls()
      assert.is_false(facts.verified)
    end)
  end)

  describe("with a server that does not prove itself fails as tls_verify, with the reason:", function()
    -- `or_else`: another wording of the same reason (what OpenSSL names depends on the chain it was sent).
    local function refuses(more, reason, or_else)
      local gate = keep(assert(proxy.start { target_port = pg.port }))
      more.port = gate.port
      local err = probe.fails(1.5, luphant.connect, given(more))
      assert.equal("tls_verify", err.kind, tostring(err))
      assert.equal("connection", err.class)
      assert.is_false(err.retryable)
      assert.matches(or_else and err.detail:find(or_else) and or_else or reason, tostring(err))
      assert.equal(1, #err.attempts) -- neither again without TLS nor with the next address
      assert.equal(1, gate:stats().accepted)
    end

    it("another authority", function()
      refuses({ sslrootcert = pg.certificates.other_ca }, "issuer", "in certificate chain")
    end)

    it("another host name", function()
      showing("wrong_host", function() refuses({}, "localhost") end)
    end)

    it("an expired certificate", function()
      showing("expired", function() refuses({}, "expired") end)
    end)

    it("a certificate that is not valid yet", function()
      showing("not_yet", function() refuses({}, "not yet valid") end)
    end)

    it("a certificate signed by itself", function()
      showing("self_signed", function() refuses({}, "self.signed") end)
    end)

    it("a revoked certificate", function()
      showing("revoked", function()
        refuses({ sslcrl = pg.certificates.crl }, "revoked")
        probe.usable(connect()) -- who does not ask for the list cannot know
      end)
    end)

    it("but verify-ca does not mind the name, and require nothing at all", function()
      showing("wrong_host", function() probe.usable(connect { sslmode = "verify-ca" }) end)
      showing("self_signed", function()
        probe.usable(connect { sslmode = "require", sslrootcert = "/nowhere/root.crt" })
      end)
    end)
  end)

  it("needs a root certificate to verify with, and says so", function()
    local err = probe.fails(1, luphant.connect, given { sslrootcert = "/nowhere/root.crt" })
    assert.matches("root", tostring(err))
    assert.is_false(err.retryable)
  end)

  describe("with a server that plays foul", function()
    local function foul(script, more)
      local fake = keep(assert(liar.start(script)))
      local options = given(more)
      options.port = fake.port
      local err, took = probe.fails((options.connect_timeout or 0) + 0.3, luphant.connect, options)
      assert.is_nil(fake:received():find(pg.password, 1, true))
      return err, fake, took
    end

    it("that offers none where it is demanded, sends nothing more", function()
      for _, mode in ipairs { "require", "verify-ca", "verify-full" } do
        local err, fake, took = foul({ { "startup", ssl = "N" }, { "send", liar.authentication(3) }, { "silence" } },
          { sslmode = mode })
        assert.equal("tls", err.kind, mode)
        assert.equal(8, #fake:received(), mode) -- the SSLRequest alone: no user name, no start-up packet
        assert.is_true(took < 0.5 * probe.slow)
      end
    end)

    it("that slips bytes in before the handshake, is not listened to", function()
      for _, extra in ipairs { "garbage!", liar.authentication(3), liar.welcome } do
        local err = foul({ { "bytes", 8 }, { "send", "S" .. extra }, { "silence" } }, { connect_timeout = 0.5 })
        assert.is_truthy(({ tls = true, protocol = true, closed = true })[err.kind], tostring(err))
      end
    end)

    it("that answers neither yes nor no, is refused", function()
      local err = foul { { "bytes", 8 }, { "send", "X" }, { "silence" } }
      assert.is_truthy(({ tls = true, protocol = true })[err.kind], tostring(err))
    end)

    it("whose error before the handshake anybody could have forged, is not quoted as the server's", function()
      local err = foul { { "bytes", 8 }, { "send", liar.failure { S = "FATAL", C = "28P01", M = "call 555-0100" } } }
      assert.is_nil(err.sqlstate)
      assert.is_nil(tostring(err):find("555-0100", 1, true))
    end)

    it("that stalls in the handshake, costs connect_timeout and not more", function()
      for _, answer in ipairs { "", "S", "S\22\3\3" } do -- nothing; yes; yes and the head of a TLS record
        local waiter, watch = probe.watching_waiter()
        watch.start()
        local err, _, took = foul({ { "bytes", 8 }, { "send", answer }, { "silence" } },
          { connect_timeout = 0.4, waiter = waiter })
        watch.stop()
        assert.equal("connect_timeout", err.kind)
        assert.is_true(took >= 0.35)
        assert.is_true(watch.longest < 0.2 * probe.slow)
      end
    end)

    it("or a network that breaks anywhere in the handshake, gives an error each time", function()
      local gate = keep(assert(proxy.start { target_port = pg.port }))
      local options = { port = gate.port, connect_timeout = 2 }
      assert(luphant.connect(given(options))):close()
      local total = gate:stats().from_server
      probe.keeps_descriptors(function()
        for bytes = 0, total - 1, 61 do
          gate:cut_after { from = "server", bytes = bytes }
          local conn, err = luphant.connect(given(options))
          if conn then conn:close() else assert.equal("connection", err.class, tostring(err)) end
          gate:pass()
        end
      end)
      probe.usable(connect(options))
    end)
  end)
end)
