-- copy_out: what comes out, how it may be left, and what a failure looks like.
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local luphant = require "luphant"
local probe = require "spec.support.probe"
local proxy = require "luphant.testing.proxy"

local NULL = luphant.NULL

local MANY = "select n, repeat('x', 100) as t from generate_series(1, 3000000) n"

describe("copy_out", function()
  local conn

  before_each(function() conn = assert(luphant.connect(env.url())) end)
  after_each(function()
    probe.usable(conn)
    conn:close()
  end)

  it("gives rows by name, as arrays, as values and as columns", function()
    assert(conn:script "create temp table t (id int, name text); insert into t values (1, 'one'), (2, null), (3, '')")
    local rows = {}
    for row in assert(conn:copy_out "t") do rows[#rows + 1] = row end
    assert.same({ { id = 1, name = "one" }, { id = 2 }, { id = 3, name = "" } }, rows)
    rows = {}
    for row in assert(conn:copy_out("t", { rows = "array", columns = { "name", "id" } })):rows() do
      rows[#rows + 1] = row
    end
    assert.same({ { "one", 1 }, { NULL, 2 }, { "", 3 } }, rows)
    rows = {}
    for id, name in assert(conn:copy_out "select id, name from t where id < 3;"):values() do rows[id] = name end
    assert.same({ "one", NULL }, rows)
    local r = assert(conn:copy_out "select id, name from t -- to the end")
    local lists, count = r:columns(2)
    assert.same({ id = { 1, 2 }, name = { "one", NULL } }, lists)
    assert.equal(2, count)
    assert.same({ id = { 3 }, name = { "" } }, (r:columns(2)))
    assert.same({}, { r:columns(2) })
    assert.same({}, { r:columns(2) })
    assert.is_nil(assert(conn:copy_out "select 1 as a where false"):rows()())
  end)

  it("gives no floats as text where the server leaves digits out", function()
    assert(conn:execute "set extra_float_digits = 0")
    local sql = "select 2 as n, 0.30000000000000004::float8 as share"
    assert.equal(0.30000000000000004, assert(conn:copy_out(sql)):rows()().share)
    for _, case in ipairs { { sql, { format = "text" } }, { sql .. ", 1::money as price" },
      { "copy (" .. sql .. ") to stdout", { types = { "int4", "float8" }, rows = "array" } } } do
      local reader, err = conn:copy_out(case[1], case[2])
      assert.is_nil(reader)
      assert.equal("decode", err.kind)
      assert.truthy(err.message:find("extra_float_digits = 0", 1, true))
    end
    assert.equal("2\t0.3\n", assert(conn:copy_out(sql, { format = "text", null = "-" })):read())
    assert(conn:execute "reset extra_float_digits")
    assert.equal(0.30000000000000004, assert(conn:copy_out(sql, { format = "text" })):rows()().share)
  end)

  it("gives each type as a query gives it, in binary and in text", function()
    local sql = [[select -3::int2 as i2, 9007199254740991 as i8, 0.1::real as f4, 123456789.12345 as n,
      '\x0001ff'::bytea as b, '[1,"x"]'::json as j, '{"a":{}}'::jsonb as jb,
      'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid as u, true as ok,
      '2024-02-29'::date as d, '1 day 02:00'::interval as iv, '{1,null,3}'::int[] as a, array['a,b','q"\'] as tt,
      '[1,5)'::int4range as r, '10.0.0.1'::inet as ip,
      e'tab\tline\nback\\slash\r' as t, null::int as none,
      'NaN'::float8 as f8]]
    local expected = assert(conn:query_one(sql))
    expected.f8 = nil
    for _, options in ipairs { {}, { format = "binary" }, { format = "text" } } do
      local row = assert(conn:copy_out(sql, options)):rows()()
      assert.is_true(row.f8 ~= row.f8)
      row.f8 = nil
      assert.same(expected, row)
    end
  end)

  it("gives types of the user, and what a codec makes of them", function()
    assert(conn:script "create type pg_temp.mood as enum ('sad', 'fine')")
    assert(conn:script "create type pg_temp.pair as (a int, b text)")
    assert.same({ m = "fine", p = { a = 1, b = "x" } },
      assert(conn:copy_out "select 'fine'::pg_temp.mood as m, row(1, 'x')::pg_temp.pair as p"):rows()())
    assert(conn:register_type("int4", { decode = function(v)
      if v == 3 then error "codec" end
      return v * 2
    end }))
    local seen = {}
    local ok, why = pcall(function()
      for row in assert(conn:copy_out "select n from generate_series(1, 5) n") do seen[#seen + 1] = row.n end
    end)
    assert.is_false(ok)
    assert.matches("codec", why, 1, true)
  end)

  it("gives bytes in any format", function()
    local r = assert(conn:copy_out("select 1 as id, 'a,\"b\"' as name union all select 2, null",
      { format = "csv", header = true }))
    assert.equal('id,name\n1,"a,""b"""\n2,\n', r:read())
    assert.same({}, { r:read() })
    r = assert(conn:copy_out "copy (select 1, null) to stdout")
    assert.equal("1\t\\N\n", r:read())
    r:close()
    r = assert(conn:copy_out("copy (select 7, 'x' || chr(9)) to stdout",
      { types = { "int4", "text" }, rows = "array" }))
    assert.same({ 7, "x\t" }, r:rows()())
    r:close()
    local pieces, bytes = 0, 0
    r = assert(conn:copy_out("select n from generate_series(100000, 199999) n", { format = "text" }))
    for piece in r:chunks() do pieces, bytes = pieces + 1, bytes + #piece end
    assert.equal(700000, bytes)
    assert.is_true(pieces <= 12)
  end)

  it("goes back in as it came out", function()
    assert(conn:script "create temp table a as select n, md5(n::text) as t from generate_series(1, 20000) n")
    assert(conn:execute "create temp table b (like a)")
    local other = assert(luphant.connect(env.url()))
    for _, format in ipairs { "binary", "text", "csv" } do
      local r = assert(conn:copy_out("a", { format = format }))
      local pieces = {}
      for piece in r:chunks() do pieces[#pieces + 1] = piece end
      local w = assert(conn:copy_in("b", { format = format }))
      for _, piece in ipairs(pieces) do assert(w:write(piece)) end
      assert.equal(20000, w:finish())
    end
    other:close()
    assert.equal(60000, conn:query_value "select count(*) from a join b using (n, t)")
  end)

  it("can be left early, and the connection goes on", function()
    for _, taken in ipairs { 0, 1, 300 } do
      local r = assert(conn:copy_out(MANY))
      local next_row = r:rows()
      for _ = 1, taken do next_row() end
      r:close()
      r:close()
      assert.equal(taken, conn:query_value("select $1::int", taken))
      assert.is_false(pcall(r.rows, r))
    end
    assert(conn:transaction(function(tx)
      assert(tx:copy_out "select 1"):close()
      return tx:query_value "select 1"
    end))
  end)

  it("can be forgotten, and whoever needs the connection next ends it", function()
    local function begin() assert(conn:copy_out(MANY)):rows()() end
    for _ = 1, 3 do
      coroutine.wrap(begin)() -- whose stack goes too: on LuaJIT the caller's would still hold the reader
      collectgarbage()
      assert.equal(1, conn:query_value "select 1")
    end
  end)

  it("is ended with its transaction", function()
    local kept
    assert.equal(5, conn:transaction(function(tx)
      kept = assert(tx:copy_out "select n from generate_series(1, 10) n")
      kept:rows()()
      return 5
    end))
    assert.is_false(pcall(kept.rows, kept))
  end)

  it("that is failed by the server raises out of the loop, never ends it", function()
    local seen = 0
    local ok, err = pcall(function()
      for row in assert(conn:copy_out "select 1 / (5000 - n) as x from generate_series(1, 10000) n") do
        seen = seen + (row.x and 1 or 1)
      end
    end)
    assert.is_false(ok)
    assert.equal("division_by_zero", err.kind)
    assert.is_true(seen < 5000)
    assert.equal("undefined_table", (select(2, conn:copy_out "nowhere")).kind)
    assert.equal("undefined_table", (select(2, conn:copy_out "select * from nowhere")).kind)
    assert.equal("usage", (select(2, conn:copy_out "copy pg_class from stdin")).kind)
    local r = assert(conn:copy_out("select 1 / (2 - n) from generate_series(1, 2) n", { format = "csv" }))
    local text, why = r:read()
    assert.is_nil(text)
    assert.equal("division_by_zero", why.kind)
    assert.equal(why, select(2, r:read()))
  end)

  it("takes misuse for what it is", function()
    for pattern, fn in pairs {
      ["takes no parameters"] = function() conn:copy_out("select $1::int") end,
      ['"columns" is for a table'] = function() conn:copy_out("select 1", { columns = { "a" } }) end,
      ["rows need types"] = function() assert(conn:copy_out("select 1", { format = "csv" })):rows() end,
      ['"types" is for'] = function() conn:copy_out("select 1", { types = { "int4" } }) end,
    } do
      local ok, why = pcall(fn)
      assert.is_false(ok)
      assert.matches(pattern, tostring(why), 1, true)
      collectgarbage()
    end
  end)

  it("has its deadline also where the caller is so slow that nothing has to be waited for", function()
    local source = "select repeat('x', 1000) from generate_series(1, 100000)"
    local r = assert(conn:copy_out(source, { timeout = 0.3 * probe.slow }))
    local ok, err = pcall(function()
      for _ in r:chunks() do probe.dawdle(0.03) end
    end)
    assert.is_false(ok)
    assert.same({ "query_timeout", "timeout" }, { err.kind, err.class })
  end)

  it("has one deadline for all of it", function()
    local r, err = conn:copy_out("select n, pg_sleep(0.02) from generate_series(1, 1000) n", { timeout = 0.2 })
    if r then err = select(2, pcall(function() for _ in r do end end)) end -- luacheck: ignore
    assert.equal("query_timeout", err.kind)
  end)

  it("limits a row, not the whole, by max_result_bytes", function()
    local small = assert(luphant.connect(env.url(), { max_result_bytes = 1000000 }))
    local bytes = 0
    for row in assert(small:copy_out "select repeat('x', 1000) as t from generate_series(1, 5000)") do
      bytes = bytes + #row.t
    end
    assert.equal(5000000, bytes)
    local ok, err = pcall(function()
      local huge = assert(small:copy_out "select repeat('x', 30000000) as t from generate_series(1, 2)")
      for _ in huge do end -- luacheck: ignore
    end)
    assert.is_false(ok)
    assert.equal("result_too_big", err.kind)
    small:close()
  end)

  it("keeps memory flat, whatever the number of rows", function()
    local rows = os.getenv "ASAN_OPTIONS" and 200000 or 1000000
    collectgarbage() collectgarbage()
    local before, most = collectgarbage "count", 0
    local seen = 0
    for n in assert(conn:copy_out(("select n, 'row ' || n from generate_series(1, %d) n"):format(rows))):values() do
      seen = n
      if n % 100000 == 0 then
        collectgarbage() -- what lies about unused depends on all that ran before
        most = math.max(most, collectgarbage "count")
      end
    end
    assert.equal(rows, seen)
    assert.is_true(most - before < 2048, most - before)
  end)

  it("never gives a part for the whole over a network that is reset in the middle", function()
    local target, whole = conn:target(), 20000
    local gate = assert(proxy.start { target_socket = ("%s/.s.PGSQL.%s"):format(target.host, target.port) })
    local ends = 0
    for _, bytes in ipairs { 1, 100, 16384, 100000, 250000 } do
      local c = assert(luphant.connect { host = gate.host, port = gate.port, sslmode = "disable",
        dbname = target.dbname, user = target.user })
      local source = ("select n, 'row ' || n from generate_series(1, %d) n"):format(whole)
      gate:cut_after { bytes = bytes, from = "server", reset = true }
      local r, err = c:copy_out(source)
      local seen, ok = 0, r ~= nil
      if r then
        ok, err = pcall(function() for _ in r:values() do seen = seen + 1 end end)
      end
      assert.is_false(ok)
      assert.equal("closed", err.kind)
      assert.is_true(seen < whole)
      ends = ends + 1
      c:close()
      gate:pass()
    end
    gate:stop()
    assert.equal(5, ends)
  end)
end)
