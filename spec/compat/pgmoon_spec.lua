-- What programs written for pgmoon call, and the shapes they expect back.
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local luphant = require "luphant"
local pgmoon = require "luphant.compat.pgmoon"
local probe = require "spec.support.probe"

-- The shared server as pgmoon is told of one.
local function config(more)
  local conn = assert(luphant.connect(env.url()))
  local target = conn:target()
  conn:close()
  local out = {
    socket_path = ("%s/.s.PGSQL.%s"):format(target.host, target.port), user = target.user, database = target.dbname,
  }
  for name, value in pairs(more or {}) do out[name] = value end
  return out
end

describe("luphant.compat.pgmoon", function()
  local pg

  before_each(function()
    pg = pgmoon.new(config())
    assert.is_true(pg:connect())
    assert(pg:query [[create temp table things (id serial primary key, name text, n int, flag bool, at timestamptz)]])
  end)

  after_each(function()
    if pg.conn then assert.equal(1, pg:disconnect()) end
    pgmoon.close(1)
  end)

  describe("without parameters", function()
    it("answers true, counts and rows as pgmoon does", function()
      assert.same({ true, 1 }, { pg:query "create temp table other (a int)" })
      assert.same({ { affected_rows = 2 }, 1 }, { pg:query "insert into other values (1), (2)" })
      assert.same({ { { a = 1 }, { a = 2 } }, 1 }, { pg:query "select a from other order by a" })
      assert.same({ { { a = 3 }, affected_rows = 1 }, 1 }, { pg:query "insert into other values (3) returning a" })
      assert.same({ affected_rows = 0 }, (pg:query "update other set a = 9 where false"))
      assert.same({ affected_rows = 3 }, (pg:query "create temp table copy as select * from other"))
      assert.same({}, (pg:query "select a from other where false"))
      assert.same({ nil, 0 }, { pg:query "" })
    end)

    it("puts the answers of several statements into a list", function()
      local result, count = pg:query [[
        insert into things (name) values ('a;b'); select name from things; begin; delete from things; rollback]]
      assert.equal(5, count)
      assert.same({ { affected_rows = 1 }, { { name = "a;b" } }, true, { affected_rows = 1 }, true }, result)
    end)

    it("leaves rows as plain tables", function()
      assert.is_nil(getmetatable((pg:query "select 1 as a")))
      assert.is_nil(getmetatable((pg:query("select $1::int as a", 1))))
    end)
  end)

  describe("with parameters", function()
    it("answers the same shapes", function()
      assert.same({ { affected_rows = 1 }, 1 }, { pg:query("insert into things (name, n) values ($1, $2)", "it's", 5) })
      assert.same({ { { name = "it's", n = 5 } } }, { (pg:query("select name, n from things where n = $1", 5)) })
      assert.same({ { id = 2 }, affected_rows = 1 },
        (pg:query("insert into things (flag) values ($1) returning id", true)))
      assert.same({ affected_rows = 1 }, (pg:query("delete from things where id = $1", 2)))
      assert.same({}, (pg:query("select id from things where n = $1", -1)))
      assert.is_true(pg:query("select 1 where false; set work_mem = '4MB'") ~= nil)
    end)

    it("sends NULL for nil and for pg.NULL, also last", function()
      assert.same({ { a = true, b = true } },
        (pg:query("select $1::text is null as a, $2::text is null as b", pg.NULL, nil)))
    end)

    it("announces pgmoon's types where the server inferred one the value does not fit", function()
      assert.same({ { a = 5, b = true, c = "x" } }, (pg:query("select $1 as a, $2 as b, $3 as c", 5, true, "x")))
      local _, message = pg:query("select 1 where 1 = $1", "1")
      assert.matches("operator does not exist: integer = text", message, 1, true)
    end)

    it("uses the index, because numbers are not announced as numeric", function()
      assert(pg:query "insert into things (n) select * from generate_series(1, 2000); analyze things")
      local rows = assert(pg:query("explain select * from things where id = $1", 7))
      assert.matches("Index", rows[1]["QUERY PLAN"])
    end)

    it("serializes tables by pgmoon_serialize, and refuses others", function()
      local arrays = require "luphant.compat.pgmoon.arrays"
      local rows = assert(pg:query("select $1::text[] as t, $2::int[] as i",
        arrays.PostgresArray { 'a"b', "c\\d", pg.NULL, "NULL" }, arrays.PostgresArray { 1, 2 }))
      assert.same({ 'a"b', "c\\d", pg.NULL, "NULL" }, rows[1].t)
      assert.same({ 1, 2 }, rows[1].i)
      local mine = setmetatable({ 7 }, { pgmoon_serialize = function(v) return 23, tostring(v[1]) end })
      assert.same({ { a = 8 } }, (pg:query("select $1 + 1 as a", mine)))
      assert.same({ nil, "pgmoon: param 1: table does not implement pgmoon_serialize, can't serialize" },
        { pg:query("select $1::text", {}) })
    end)

    it("says when there are too few of them", function()
      local rows, message = pg:query("select $1::int + $2::int", 1)
      assert.is_nil(rows)
      assert.matches("2 parameters, but 1 was given", message, 1, true)
    end)
  end)

  describe("values", function()
    it("have pgmoon's Lua types", function()
      local rows = assert(pg:query [[
        select 1::int2 a, 2::int4 b, 3::int8 c, 1.5::float8 d, 2.25::numeric e, true f, 'x'::text g,
          '{"k":[1,null]}'::json h,
          'AB\000'::bytea i, '{1,2}'::int[] j, '{{a,NULL},{"b,c",d}}'::text[] k, '{t,f}'::bool[] l,
          array['{"z":1}']::jsonb[] m, '2024-02-29 10:00:00'::timestamp n, '10.0.0.1'::inet o, row(1,'x') p,
          null q, '[1,3)'::int4range r]])
      local NULL = luphant.NULL
      assert.same({ {
        a = 1, b = 2, c = 3, d = 1.5, e = 2.25, f = true, g = "x", h = { k = { 1, NULL } }, i = "AB\0", j = { 1, 2 },
        k = { { "a", pg.NULL }, { "b,c", "d" } }, l = { true, false }, m = { { z = 1 } }, n = "2024-02-29 10:00:00",
        o = "10.0.0.1", p = "(1,x)", r = "[1,3)",
      } }, rows)
    end)

    it("are the server's text whatever DateStyle is, and of types nobody looks up", function()
      assert(pg:query "set datestyle = 'German'; create type pg_temp.mood as enum ('calm', 'wild')")
      assert.same({ { d = "29.02.2024", m = "{calm}" } },
        (pg:query "select date '2024-02-29' as d, array['calm'::pg_temp.mood] as m"))
      assert.same({ { d = "29.02.2024", m = "wild" } },
        (pg:query("select $1::date as d, $2::pg_temp.mood as m", "2024-02-29", "wild")))
    end)

    it("lose no digit of an int8", function()
      local rows = assert(pg:query "select 9007199254740993 as a, -7 as b")
      assert.equal("9007199254740993", tostring(rows[1].a))
      assert.equal(-7, rows[1].b)
    end)

    it("of NULL are absent, or what convert_null puts there", function()
      assert.same({ {} }, (pg:query "select null as a"))
      pg.convert_null = true
      assert.same({ { a = pg.NULL, b = 1 } }, (pg:query "select null as a, 1 as b"))
      pg.NULL = "nothing"
      assert.same({ { a = "nothing" } }, (pg:query("select $1::text as a", nil)))
      local other = pgmoon.new(config { convert_null = true })
      assert(other:connect())
      assert.equal(pgmoon.Postgres.NULL, other:query("select null as a")[1].a)
      other:keepalive()
    end)

    it("of columns with the same name are those of the last", function()
      assert.same({ { a = "x" } }, (pg:query "select 1 as a, 'x' as a"))
    end)

    it("can be read by deserializers of one's own, of this instance only", function()
      pg:set_type_deserializer(20, "bignumber", function(_, text, name) return name .. ":" .. text end)
      pg:set_type_deserializer(1082, "year", function(_, text) return tonumber(text:sub(1, 4)) end)
      assert.same({ { a = "bignumber:5", b = 2024 } }, (pg:query "select 5::int8 as a, date '2024-01-01' as b"))
      pg:set_type_deserializer(16, "string")
      assert.same({ { a = "t" } }, (pg:query "select true as a"))
      assert.equal("number", pgmoon.Postgres.PG_TYPES[20])
      assert.is_nil(pgmoon.Postgres.type_deserializers.year)
    end)

    it("of hstore are tables after setup_hstore", function()
      if not pg:query "create extension if not exists hstore" then
        return pending "the extension hstore is not installed"
      end
      pg:setup_hstore()
      local hstore = require "luphant.compat.pgmoon.hstore"
      local text = hstore.encode_hstore { ['a"b'] = "1, 2=>3", c = "d\\" }
      assert.same({ ['a"b'] = "1, 2=>3", c = "d\\", n = "NULL" },
        pg:query("select " .. text .. "::hstore || 'n=>NULL' as h")[1].h)
    end)
  end)

  describe("errors", function()
    it("have the server's words, the position and the detail, and the connection goes on", function()
      local rows, message, partial, count = pg:query "select nothing from things"
      assert.same({ 'ERROR: column "nothing" does not exist (8)', 0 }, { message, count })
      assert.is_nil(rows)
      assert.is_nil(partial)
      assert.equal("undefined_column", pg.last_error.kind)
      assert(pg:query "insert into things (id) values (1)")
      message = select(2, pg:query("insert into things (id) values ($1)", 1))
      assert.equal('ERROR: duplicate key value violates unique constraint "things_pkey"\nKey (id)=(1) already exists.',
        message)
      assert.same({ { a = 1 } }, (pg:query "select 1 as a"))
    end)

    it("of texts with a NUL byte and of a closed connection are told before anything is sent", function()
      assert.same({ nil, "invalid null byte in query" }, { pg:query "select 1\0" })
      pg:disconnect()
      local rows, message = pg:query "select 1"
      assert.is_nil(rows)
      assert.matches("^closed", message)
      assert.is_nil((pg:keepalive()))
      assert.is_nil((pg:disconnect()))
    end)

    it("of connecting are told without raising", function()
      local other = pgmoon.new { host = "127.0.0.1", port = "1", database = "x", user = "x", password = "secret-word",
        luphant = { acquire_timeout = 0.3 } }
      local ok, message = other:connect()
      assert.is_nil(ok)
      assert.matches("refused", message)
      assert.is_nil(message:find("secret-word", 1, true))
      assert.has_error(function() pgmoon.new({}):connect() end, "missing database for connect")
    end)

    it("of time end the statement, and the connection goes on", function()
      pg:settimeout(100)
      local rows, message = pg:query "select pg_sleep(20)"
      assert.is_nil(rows)
      assert.matches("timeout", message)
      rows, message = pg:query("select pg_sleep($1)", 20)
      assert.is_nil(rows)
      assert.matches("timeout", message)
      pg:settimeout(nil)
      assert.same({ { a = 1 } }, (pg:query("select $1::int as a from pg_sleep(0.2)", 1)))
    end)

    it("notices come as the fourth value", function()
      local _, _, _, notices = pg:query "drop table if exists pg_temp.nobody"
      assert.same({ 'NOTICE: table "nobody" does not exist, skipping' }, notices)
      assert.is_nil((select(4, pg:query "select 1")))
    end)
  end)

  describe("connections", function()
    it("go back to the pool by keepalive, in order, and are lent again", function()
      local pid = pg:query("select pg_backend_pid() as pid")[1].pid
      assert(pg:query "begin; set search_path = nowhere")
      assert.equal(1, pg:keepalive())
      local other = pgmoon.Postgres(config())
      assert(other:connect())
      local rows = assert(other:query "select pg_backend_pid() as pid, current_setting('search_path') as path")
      assert.equal(pid, rows[1].pid)
      assert.not_equal("nowhere", rows[1].path)
      assert.equal("idle", other.conn:transaction_status())
      assert(pg:connect())
      assert.not_equal(pid, pg:query("select pg_backend_pid() as pid")[1].pid)
      other:keepalive()
    end)

    it("of different configurations are different", function()
      local other = pgmoon.new(config { application_name = "another" })
      assert(other:connect())
      assert.equal("another", other:query("show application_name")[1].application_name)
      assert.equal("pgmoon", pg:query("show application_name")[1].application_name)
      other:keepalive()
    end)

    it("end with disconnect, and connect makes another", function()
      local pid = pg:query("select pg_backend_pid() as pid")[1].pid
      assert.equal(1, pg:disconnect())
      assert(pg:connect())
      assert.not_equal(pid, pg:query("select pg_backend_pid() as pid")[1].pid)
    end)

    it("that the server has ended are told, and replaced by the next connect", function()
      local rows = pg:query "select pg_terminate_backend(pg_backend_pid())"
      assert.is_nil(rows)
      assert.is_nil((pg:keepalive()))
      assert(pg:connect())
      assert.same({ { a = 1 } }, (pg:query "select 1 as a"))
    end)

    it("are as many as pool_size allows, then the caller waits for his time", function()
      local one = pgmoon.new(config { pool_size = 1, pool_name = "small", luphant = { acquire_timeout = 0.2 } })
      local two = pgmoon.new(config { pool_size = 1, pool_name = "small", luphant = { acquire_timeout = 0.2 } })
      assert(one:connect())
      local ok, message = two:connect()
      assert.is_nil(ok)
      assert.matches("pool", message)
      one:keepalive()
      assert(two:connect())
      two:keepalive()
    end)

    it("are waited for by no more than backlog allows", function()
      local few = { pool_size = 1, pool_name = "crowded", luphant = { acquire_timeout = 20 } }
      local one, two = pgmoon.new(config(few)), pgmoon.new(config(few))
      two.config.backlog, one.config.backlog = 0, 0
      assert(one:connect())
      local took, ok, message = probe.timed(two.connect, two)
      assert.is_nil(ok)
      assert.matches("^pool_overflow: too many waiting connect operations", message)
      assert.equal("pool_overflow", two.last_error.kind)
      assert(took < 10, "it waited for " .. took)
      one:keepalive()
      assert(two:connect())
      two:keepalive()
    end)

    it("are refused when their number, or that of those who wait, makes no sense", function()
      for name, values in pairs { pool_size = { 0, -1, 1.5, "10", false }, backlog = { -1, 0.5, "1", false } } do
        for _, value in ipairs(values) do
          local ok, why = pcall(function()
            local connected = pgmoon.new(config { [name] = value }):connect() -- no tail call: its line is told
            return connected
          end)
          assert.is_false(ok)
          assert.matches(("pgmoon_spec.lua:%%d+: %s is a whole number from %d on, got %s"):format(name,
            name == "pool_size" and 1 or 0, (tostring(value):gsub("%-", "%%-"))), why)
        end
      end
    end)

    it("say what they are", function()
      assert.matches("^<Postgres luphant: ", tostring(pg))
      assert.equal("<Postgres luphant: closed>", tostring(pgmoon.new {}))
    end)
  end)

  describe("notifications", function()
    local other

    before_each(function()
      other = assert(luphant.connect(env.url()))
      pg:settimeout(10000)
      assert(pg:query "listen pgmoon_spec; listen \"Second\"")
    end)
    after_each(function() other:close() end)

    it("are waited for, in order, beside statements of the same connection", function()
      for i = 1, 3 do assert(other:notify("pgmoon_spec", "n" .. i)) end
      for i = 1, 3 do
        assert.same({ operation = "notification", channel = "pgmoon_spec", payload = "n" .. i,
          pid = other:backend_pid() }, (pg:wait_for_notification()))
      end
      assert.same({ { a = 1 } }, (pg:query "select 1 as a"))
      assert(other:notify("Second", ""))
      assert.same({ "Second", "" }, (function(n) return { n.channel, n.payload } end)(pg:wait_for_notification()))
    end)

    it("that come with an answer are its third value", function()
      assert(other:notify("pgmoon_spec", "first"))
      local seen = {}
      local function note(_, _, list)
        for _, one in ipairs(list or {}) do seen[one.payload] = true end
      end
      note(pg:query "select pg_notify('pgmoon_spec', 'own')")
      assert.is_true(seen.own)
      assert.is_true(probe.eventually(function() -- the other's may come a moment later
        note(pg:query("select $1::int", 1))
        return seen.first
      end))
      local _, _, none = pg:query "select 1"
      assert.is_nil(none)
      local _, _, _, _, failing = pg:query "notify pgmoon_spec, 'with an error'; commit; select nothing"
      assert.equal("with an error", failing[1].payload)
    end)

    it("that do not come are told in time, and the connection goes on", function()
      pg:settimeout(60)
      local took = probe.timed(function()
        local none, message = pg:wait_for_notification()
        assert.is_nil(none)
        assert.matches("timeout", message)
      end)
      assert.is_true(took >= 0.05 and took < 1.5, "it took " .. took)
      pg:settimeout(10000)
      assert(other:notify("pgmoon_spec", "late"))
      assert.equal("late", pg:wait_for_notification().payload)
    end)

    it("of a session that has ended are told", function()
      assert(other:query("select pg_terminate_backend($1)", pg.conn:backend_pid()))
      local none, message = pg:wait_for_notification()
      assert.is_nil(none)
      assert.matches("terminating connection", message)
      assert.is_nil((pg:keepalive()))
    end)

    it("end with keepalive: nobody else gets a session that listens", function()
      local pid = pg.conn:backend_pid()
      assert.equal(1, pg:keepalive())
      assert.is_true(probe.eventually(function()
        return other:query_value("select count(*) from pg_stat_activity where pid = $1", pid) == 0
      end))
      assert(pg:connect())
      assert.not_equal(pid, pg.conn:backend_pid())
      assert.same({ nil, "closed: the connection is not open; call connect first" },
        { pgmoon.new(config()):wait_for_notification() })
    end)
  end)

  describe("TLS", function()
    local server

    setup(function()
      server = assert(require("luphant.testing.server").start {
        tls = true, hba = { "hostssl certified postgres 127.0.0.1/32 cert" },
      })
      assert(server:psql "create database certified")
    end)
    teardown(function() server:stop() end)

    -- What the connection is, or why there is none.
    local function connect(more)
      local given = { host = "localhost", port = server.port, user = "postgres", database = "postgres",
        password = server.password, ssl = true, luphant = { hostaddr = "127.0.0.1", connect_timeout = 5 } }
      for name, value in pairs(more or {}) do given[name] = value end
      local each = pgmoon.new(given)
      local ok, message = each:connect()
      if not ok then return nil, message end
      local tls = each.conn:tls()
      each:disconnect()
      return tls and tls.version or "none", tls and tls.verified
    end

    it("is what ssl, ssl_verify and cafile say", function()
      assert.equal("none", (connect { ssl = false }))
      local version, verified = connect()
      assert.matches("^TLSv1", version)
      assert.is_false(verified)
      assert.is_true((select(2, connect { ssl_verify = true, cafile = server.certificates.ca })))
      assert.matches("certificate", (select(2, connect { ssl_verify = true, cafile = server.certificates.other_ca })))
      assert.is_true((select(2, connect { luasec_opts = { verify = "peer", cafile = server.certificates.ca } })))
    end)

    it("is of the version that ssl_version says", function()
      for given, expected in pairs { tlsv1_2 = "TLSv1.2", tlsv1_3 = "TLSv1.3" } do
        assert.equal(expected, (connect { ssl_version = given }))
      end
      assert.matches("^TLSv1", (connect { ssl_version = "any" }))
      assert.has_error(function() connect { ssl_version = "sslv3" } end)
    end)

    it("is required by ssl_required, and otherwise wished for", function()
      assert(server:psql "alter system set ssl = off; select pg_reload_conf()")
      local ok, err = pcall(function()
        assert(probe.eventually(function() return connect() == "none" end))
        local none, message = connect { ssl_required = true,
          luphant = { hostaddr = "127.0.0.1", acquire_timeout = 0.3 } }
        assert.is_nil(none)
        assert.matches("SSL", message)
      end)
      server:psql "alter system reset ssl; select pg_reload_conf()"
      if not ok then error(err, 0) end
      assert.is_true(probe.eventually(function() return (connect { ssl_required = true }) ~= nil end))
    end)

    it("in the shape of another library's object is refused, not passed over", function()
      local ok, message = pcall(connect, { cqueues_openssl_context = {} })
      assert.is_false(ok)
      assert.matches("cafile, cert and key", message, 1, true)
    end)

    it("presents the client's certificate", function()
      local certificate = server.certificates.client
      assert.matches("^TLSv1", (connect { database = "certified", cert = certificate.cert, key = certificate.key }))
      assert.matches("certificate", (select(2, connect { database = "certified", ssl_required = true })))
    end)

    it("keeps neither notifications nor answers back", function()
      local each = pgmoon.new { host = "localhost", port = server.port, user = "postgres", database = "postgres",
        password = server.password, ssl = true, luphant = { hostaddr = "127.0.0.1" } }
      assert(each:connect())
      assert(each:query "listen tls")
      local seen = 0
      for _ = 1, 20 do
        local rows, _, list = each:query("select repeat('x', 200000) as t, pg_notify('tls', 'beside') as n")
        assert.equal(200000, #rows[1].t)
        seen = seen + #(list or {})
      end
      each:settimeout(5000)
      while seen < 20 do
        assert.equal("beside", assert(each:wait_for_notification()).payload)
        seen = seen + 1
      end
      each:disconnect()
    end)
  end)

  describe("literals", function()
    it("are escaped with an instance and without one", function()
      assert.equal("'it''s'", pg:escape_literal "it's")
      assert.equal("5.5", pg:escape_literal(5.5))
      assert.equal("TRUE", pg:escape_literal(true))
      assert.equal("NULL", pgmoon.Postgres.escape_literal(nil, pgmoon.Postgres.NULL))
      assert.equal('"a ""b"""', pg:escape_identifier 'a "b"')
      assert.has_error(function() pg:escape_literal {} end)
      assert.has_error(function() pg:escape_literal "a\0b" end)
    end)

    it("of arrays, JSON and bytea come back as they went", function()
      local encode_array = require("luphant.compat.pgmoon.arrays").encode_array
      local encode_json = require("luphant.compat.pgmoon.json").encode_json
      local bytes = "\0\1\\'\255"
      local rows = assert(pg:query(("select %s as a, %s as b, %s::jsonb as c, %s::bytea as d"):format(
        encode_array { "x'", "y" }, encode_array { { 1, 2 }, { 3, 4 } }, encode_json { k = "it's" },
        pg:encode_bytea(bytes))))
      assert.same({ { a = { "x'", "y" }, b = { { 1, 2 }, { 3, 4 } }, c = { k = "it's" }, d = bytes } }, rows)
      assert(pg:query "set bytea_output = 'escape'")
      assert.equal(bytes, pg:query("select " .. pg:encode_bytea(bytes) .. "::bytea as d")[1].d)
    end)

    it("of arrays that are malformed raise", function()
      local decode_array = require("luphant.compat.pgmoon.arrays").decode_array
      for _, text in ipairs { "", "1", "{1, 2}", "{1,}", "{1", '{"a', "{1}}" } do
        assert.has_error(function() decode_array(text) end, "failed to parse postgresql array")
      end
      assert.same({ "7", "8" }, decode_array "[0:1]={7,8}")
    end)
  end)

  it("stands in for pgmoon where a library requires that itself", function()
    pgmoon.stand_in()
    assert.equal(pgmoon, require "pgmoon")
    for _, name in ipairs { "arrays", "json", "hstore" } do
      assert.equal(require("luphant.compat.pgmoon." .. name), require("pgmoon." .. name))
      package.loaded["pgmoon." .. name], package.preload["pgmoon." .. name] = nil, nil
    end
    package.loaded.pgmoon, package.preload.pgmoon = nil, nil
  end)
end)
