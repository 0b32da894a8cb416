-- Ways to a session, and what is said when there is none. Secrets, certificates and hostile servers have
-- specs of their own (secrets_spec, tls_spec, auth_guard_spec).
--
-- SPDX-License-Identifier: MIT

local liar = require "spec.support.liar"
local luphant = require "luphant"
local probe = require "spec.support.probe"
local proxy = require "luphant.testing.proxy"
local server = require "luphant.testing.server"
local shell = require "luphant.testing.shell"

local PASSWORD = "s3cret of the app"

describe("connecting", function()
  local pg, open

  setup(function()
    pg = assert(server.start { tcp = true, standby = true, database = "rig" })
    assert(pg:psql("create role app login password '" .. PASSWORD .. "'; create database other owner app"))
  end)

  teardown(function() pg:stop() end)

  before_each(function() open = {} end)

  -- Nothing a test opened outlives it, and the server saw every session end.
  after_each(function()
    for _, each in ipairs(open) do (each.stop or each.close)(each) end
    assert.is_true(probe.eventually(function() return probe.sessions(pg, "connect_spec") == 0 end))
  end)

  local function keep(thing)
    open[#open + 1] = thing
    return thing
  end

  local function connect(target, options)
    local conn, err = luphant.connect(target, options)
    assert(conn, tostring(err))
    return keep(conn)
  end

  local function tcp(more)
    local given = { host = "127.0.0.1", port = pg.port, dbname = "rig", user = "app", password = PASSWORD,
      application_name = "connect_spec" }
    for name, value in pairs(more or {}) do given[name] = value end
    return given
  end

  local function where(conn)
    return assert(conn:query_value "select current_user || '@' || current_database()")
  end

  describe("reaches the right database", function()
    it("by URL", function()
      assert.equal("postgres@other", where(connect(pg:url { database = "other", application_name = "connect_spec" })))
    end)

    it("by URL over TCP, with a percent-encoded password", function()
      local conn = connect(pg:url { tcp = true, user = "app", password = PASSWORD, application_name = "connect_spec" })
      assert.equal("app@rig", where(conn))
    end)

    it("by keywords in one string", function()
      local conn = connect(("host=127.0.0.1 port=%d dbname=other user=app password='%s' application_name=connect_spec")
        :format(pg.port, PASSWORD))
      assert.equal("app@other", where(conn))
    end)

    it("by a table", function()
      assert.equal("app@other", where(connect(tcp { dbname = "other" })))
    end)

    it("by a URL in a table, with fields that win over it", function()
      local conn = connect { url = pg:url(), dbname = "other", application_name = "connect_spec" }
      assert.equal("postgres@other", where(conn))
    end)

    it("by a URL and options", function()
      local conn = connect(pg:url(), { application_name = "connect_spec", rows = "array" })
      assert.equal("postgres@rig", where(conn))
      assert.same({ { 1, 2 } }, { (assert(conn:query("select 1 as a, 2 as b")))[1] })
    end)

    local SCRIPT = [[
      local conn, err = require("luphant").connect(%s)
      if conn then print(conn:query_value("select current_user || '@' || current_database()")) conn:close()
      else print(err) end]]

    it("by DATABASE_URL", function()
      local url = pg:url { database = "other" }
      assert.equal("postgres@other", probe.script({ DATABASE_URL = url }, SCRIPT:format ""))
    end)

    it("by PG* variables", function()
      local variables = { PGHOST = pg.socket_dir, PGPORT = pg.port, PGDATABASE = "other", PGUSER = "postgres" }
      assert.equal("postgres@other", probe.script(variables, SCRIPT:format ""))
    end)

    it("by DATABASE_URL rather than by PG* variables, and by what is said rather than by both", function()
      local target = ("%q"):format(pg:url { database = "other" })
      local variables = { PGDATABASE = "nowhere", DATABASE_URL = pg:url { database = "nowhere either" } }
      assert.equal("postgres@other", probe.script(variables, SCRIPT:format(target)))
    end)

    it("by a service of a service file", function()
      local path = pg.dir .. "/services.conf"
      shell.write_file(path, ("[shop]\nhost=%s\nport=%d\nuser=postgres\ndbname=other\n"):format(pg.socket_dir, pg.port))
      assert.equal("postgres@other", probe.script({ PGSERVICEFILE = path }, SCRIPT:format '"service=shop"'))
      assert.equal("postgres@rig", probe.script({ PGSERVICEFILE = path },
        SCRIPT:format '{ service = "shop", dbname = "rig" }'))
    end)
  end)

  describe("takes the password", function()
    it("from a function, which is asked for every connection and told where to", function()
      local asked = {}
      local function password(info)
        asked[#asked + 1] = ("%s %s"):format(info.user, info.dbname)
        return PASSWORD
      end
      for _ = 1, 2 do assert.equal("app@rig", where(connect(tcp { password = password }))) end
      assert.same({ "app rig", "app rig" }, asked)
    end)

    it("from a file that only its owner can read", function()
      local path = pg.dir .. "/app.password"
      shell.write_file(path, PASSWORD .. "\n")
      assert(shell.run("chmod 600 " .. shell.quote(path)))
      local given = tcp { password_file = path }
      given.password = nil
      assert.equal("app@rig", where(connect(given)))
      assert(shell.run("chmod 644 " .. shell.quote(path)))
      local err = probe.fails(1, luphant.connect, given)
      assert.equal("config", err.kind)
      assert.matches("chmod 600", err.message, 1, true)
    end)

    it("from a pass file", function()
      local path = pg.dir .. "/pgpass"
      shell.write_file(path, ("127.0.0.1:%d:*:app:%s\n"):format(pg.port, PASSWORD))
      assert(shell.run("chmod 600 " .. shell.quote(path)))
      local given = tcp { passfile = path }
      given.password = nil
      assert.equal("app@rig", where(connect(given)))
    end)

    it("and says so when the function gives none or raises", function()
      local none = probe.fails(1, luphant.connect, tcp { password = function() return nil, "vault is sealed" end })
      assert.equal("auth", none.kind)
      assert.matches("vault is sealed", tostring(none), 1, true)
      local raised = probe.fails(1, luphant.connect, tcp { password = function() error("boom") end })
      assert.equal("auth", raised.kind)
    end)
  end)

  describe("with several hosts", function()
    it("goes on to the next when the first is dead", function()
      local dead = probe.closed_port()
      local conn = connect(tcp { host = "127.0.0.1,127.0.0.1", port = dead .. "," .. pg.port })
      assert.equal("app@rig", where(conn))
    end)

    it("goes on when the first never answers, and the total time is still kept", function()
      local deaf, port = probe.deaf_listener()
      keep(deaf)
      local took, conn = probe.timed(connect, tcp { host = "127.0.0.1,127.0.0.1", port = port .. "," .. pg.port,
        connect_timeout = probe.slow })
      assert.equal("app@rig", where(conn))
      assert.is_true(took >= 0.4 * probe.slow and took < 0.9 * probe.slow, "half of connect_timeout, not " .. took)
    end)

    it("picks the one that target_session_attrs asks for", function()
      local both = { host = pg.socket_dir .. "," .. pg.socket_dir, port = pg.port .. "," .. pg.standby.port,
        dbname = "rig", user = "postgres", application_name = "connect_spec" }
      for attrs, is_standby in pairs { standby = true, ["prefer-standby"] = true, primary = false,
        ["read-write"] = false, ["read-only"] = true } do
        both.target_session_attrs = attrs
        assert.equal(is_standby, connect(both):query_value "select pg_is_in_recovery()", attrs)
      end
      both.port = pg.port .. "," .. pg.port
      both.target_session_attrs = "prefer-standby"
      assert.is_false(connect(both):query_value "select pg_is_in_recovery()")
      both.target_session_attrs = "standby"
      local err = probe.fails(2, luphant.connect, both)
      assert.equal(2, #err.attempts)
      assert.equal("target_session", err.kind)
    end)

    it("does not try a wrong password on the others", function()
      local err = probe.fails(2, luphant.connect, tcp { host = "127.0.0.1,127.0.0.1", password = "wrong" })
      assert.equal("28P01", err.sqlstate)
      assert.equal(1, #err.attempts)
    end)

    it("lists every attempt in the error, in order", function()
      local deaf, deaf_port = probe.deaf_listener()
      keep(deaf)
      local dead = probe.closed_port()
      local err = probe.fails(1.5, luphant.connect, tcp { host = "127.0.0.1,no-such-host.invalid,127.0.0.1",
        port = ("%d,5432,%d"):format(dead, deaf_port), connect_timeout = 1.2 })
      assert.equal(3, #err.attempts)
      assert.same({ "127.0.0.1", "no-such-host.invalid", "127.0.0.1" },
        { err.attempts[1].host, err.attempts[2].host, err.attempts[3].host })
      assert.equal(tostring(dead), tostring(err.attempts[1].port))
      assert.same({ "refused", "dns", "connect_timeout" },
        { err.attempts[1].kind, err.attempts[2].kind, err.attempts[3].kind })
      for _, each in ipairs(err.attempts) do
        assert.matches(each.message:match "[^\n]+", tostring(err), 1, true) -- later lines are indented there
      end
    end)
  end)

  describe("that fails", function()
    it("tells a wrong password from an unknown database", function()
      local wrong = probe.fails(1, luphant.connect, tcp { password = "wrong" })
      assert.same({ "auth", "connection", "28P01" }, { wrong.kind, wrong.class, wrong.sqlstate })
      assert.is_false(wrong.retryable)
      local missing = probe.fails(1, luphant.connect, tcp { dbname = "nowhere" })
      assert.equal("3D000", missing.sqlstate)
      assert.matches('database "nowhere" does not exist', missing.message, 1, true)
      local nobody = probe.fails(1, luphant.connect, tcp { user = "nobody at all" })
      assert.equal("28P01", nobody.sqlstate) -- a server that uses SCRAM does not tell who exists
    end)

    it("says that no password was given", function()
      local given = tcp()
      given.password = nil
      local err = probe.fails(1, luphant.connect, given)
      assert.equal("auth", err.kind)
      assert.matches("password", err.message, 1, true)
    end)

    it("because nobody listens is refused at once", function()
      local err = probe.fails(0.5, luphant.connect, tcp { port = probe.closed_port() })
      assert.equal("refused", err.kind)
      assert.is_true(err.retryable)
      assert.equal("no", err.sent)
    end)

    it("because there is no such socket is refused at once", function()
      local err = probe.fails(0.5, luphant.connect, { host = "/nowhere/at/all", dbname = "rig", user = "app" })
      assert.equal("refused", err.kind)
    end)

    it("because the server takes no more sessions carries its SQLSTATE", function()
      local crowd = keep(assert(server.start { settings = { max_connections = 5, superuser_reserved_connections = 0,
        max_wal_senders = 0 } }))
      local guests = {}
      for i = 1, 5 do guests[i] = assert(luphant.connect(crowd:url())) end
      local err = probe.fails(1, luphant.connect, crowd:url())
      assert.equal("53300", err.sqlstate)
      for _, guest in ipairs(guests) do guest:close() end
    end)

    it("because the name does not resolve has kind dns", function()
      local err = probe.fails(5, luphant.connect, tcp { host = "no-such-host.invalid", connect_timeout = 4 })
      assert.equal("dns", err.kind)
      assert.matches("no-such-host.invalid", err.message, 1, true)
    end)
  end)

  describe("is bounded by connect_timeout", function()
    local function times_out(given)
      local waiter, watch = probe.watching_waiter()
      given.connect_timeout, given.waiter = 0.6, waiter
      watch.start()
      local err, took = probe.fails(0.85, luphant.connect, given)
      watch.stop()
      assert.same({ "connect_timeout", "connection" }, { err.kind, err.class })
      assert.is_true(took >= 0.55, "gave up early, after " .. took)
      assert.is_true(watch.longest < 0.2 * probe.slow, "an event loop would have stood still for " .. watch.longest)
      return err
    end

    it("when the listener never answers", function()
      local deaf, port = probe.deaf_listener()
      keep(deaf)
      times_out(tcp { port = port })
    end)

    it("when even the TCP handshake is not answered", function()
      local full, port = probe.deaf_listener(true)
      keep(full)
      times_out(tcp { port = port })
    end)

    it("when the server stalls after the start-up packet", function()
      local silent = keep(assert(liar.start { { "startup" }, { "silence" } }))
      times_out(tcp { port = silent.port, sslmode = "disable" })
    end)

    it("when the server stalls in the middle of the password exchange", function()
      local gate = keep(assert(proxy.start { target_port = pg.port }))
      gate:stall { from = "server" }
      times_out(tcp { port = gate.port })
    end)

    it("when the server trickles: progress does not extend it", function()
      local slow = keep(assert(liar.start { { "startup" }, { "trickle", liar.welcome, seconds = 0.05 } }))
      times_out(tcp { port = slow.port, sslmode = "disable" })
    end)

    it("when all of several hosts are deaf", function()
      local deaf, port = probe.deaf_listener()
      keep(deaf)
      local err = times_out(tcp { host = "127.0.0.1,127.0.0.1,127.0.0.1", port = port })
      assert.equal(3, #err.attempts)
    end)

    it("when the name takes long to resolve", function()
      probe.with_library("slow_resolver", function(path)
        local printed = probe.script({ LD_PRELOAD = path }, ([[
          local probe = require "spec.support.probe"
          local waiter, watch = probe.watching_waiter()
          watch.start()
          local took, conn, err = probe.timed(require("luphant").connect, { host = "localhost", port = %d,
            connect_timeout = 0.6, waiter = waiter })
          watch.stop()
          print(conn == nil and err.kind, took < 1.1 * probe.slow, watch.longest < 0.2 * probe.slow)]]):format(pg.port))
        assert.equal("connect_timeout\ttrue\ttrue", printed)
      end)
    end)

    it("and leaves no descriptor behind", function()
      local deaf, port = probe.deaf_listener()
      keep(deaf)
      probe.keeps_descriptors(function()
        for _ = 1, 5 do
          probe.fails(0.3, luphant.connect, tcp { port = port, connect_timeout = 0.05 })
        end
      end)
    end)
  end)

  describe("gives a session", function()
    it("that knows the facts about itself", function()
      local conn = connect(tcp())
      assert.equal(conn:query_value "select pg_backend_pid()", conn:backend_pid())
      assert.equal(tonumber(conn:query_value "show server_version_num"), conn:server_version())
      assert.equal("UTC", conn:parameter_status "TimeZone")
      assert.equal("UTF8", conn:parameter_status "client_encoding")
      assert.is_nil(conn:parameter_status "no such thing")
      assert.is_false(conn:tls())
      assert.is_true(conn:is_open())
    end)

    it("that follows the state of its transaction and its parameters", function()
      local conn = connect(tcp())
      assert.equal("idle", conn:transaction_status())
      assert(conn:execute "begin")
      assert.equal("intrans", conn:transaction_status())
      assert.is_nil((conn:query "select 1/0"))
      assert.equal("inerror", conn:transaction_status())
      assert(conn:execute "rollback")
      assert.equal("idle", conn:transaction_status())
      assert(conn:execute "set timezone to 'Asia/Tokyo'")
      assert.equal("Asia/Tokyo", conn:parameter_status "TimeZone")
    end)

    it("that ends for the server when it is closed, and refuses politely from then on", function()
      local conn = connect(tcp { application_name = "closing" })
      assert.equal(1, probe.sessions(pg, "closing"))
      conn:close()
      conn:close()
      assert.is_false(conn:is_open())
      assert.is_true(probe.eventually(function() return probe.sessions(pg, "closing") == 0 end))
      local ok, raised = pcall(conn.query, conn, "select 1")
      assert.is_false(ok)
      assert.matches("closed", tostring(raised), 1, true)
    end)

    it("that ends for the server when it is collected", function()
      assert(luphant.connect(tcp { application_name = "forgotten" }))
      collectgarbage()
      collectgarbage()
      assert.is_true(probe.eventually(function() return probe.sessions(pg, "forgotten") == 0 end))
    end)

    it("that never shows its password", function()
      local conn = connect(tcp())
      assert.is_nil(tostring(conn):find(PASSWORD, 1, true))
    end)

    it("whose end the server announced while it was idle: the next call says why", function()
      local conn = connect(tcp())
      assert(pg:psql(("select pg_terminate_backend(%d)"):format(conn:backend_pid())))
      assert.is_true(probe.eventually(function() return probe.sessions(pg, "connect_spec") == 0 end))
      local err = probe.fails(1, conn.query, conn, "select 1")
      assert.equal("connection", err.class)
      assert.equal("57P01", err.sqlstate)
      assert.matches("terminating connection due to administrator command", tostring(err), 1, true)
      assert.is_false(conn:is_open())
    end)

    it("whose end the server announced while it worked", function()
      local conn = connect(tcp())
      local blow = shell.line { pg.bin_dir .. "/psql", "-X", "-d", pg:url(), "-c",
        ("select pg_terminate_backend(%d)"):format(conn:backend_pid()) }
      assert(shell.run("(sleep 0.3; " .. blow .. ") >/dev/null 2>&1 &"))
      local err, took = probe.fails(3, conn.query, conn, "select pg_sleep(10)")
      assert.equal("57P01", err.sqlstate)
      assert.is_true(took >= 0.2)
      assert.is_false(conn:is_open())
    end)
  end)
end)
