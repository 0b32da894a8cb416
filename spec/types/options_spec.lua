-- The options that choose what a value is in Lua - int8, numeric, json, datetime - and what they give goes back as a
-- parameter; the wrappers luphant.array, json and typed; codecs of the user.

local luphant = require "luphant"
local values = require "spec.support.values"

local NULL = luphant.NULL
local math_type = rawget(math, "type") or function() return "float" end

-- Runs fn(conn, format) with a session of these options in each format.
local function each_format(options, fn)
  local list = values.sessions(options)
  for _, format in ipairs(values.formats) do fn(list[format], format) end
  values.close(list)
end

-- The literal as a value of this session is `expected`, and is the same value when sent back; also in an array.
local function both_ways(conn, kind, literal, expected, what)
  what = ("%s '%s' %s"):format(kind, literal, what)
  values.expect(expected, conn:query_value(("select '%s'::%s"):format(literal, kind)), what)
  values.expect({ expected, NULL }, conn:query_value(("select array['%s', null]::%s[]"):format(literal, kind)), what)
  local got, err = conn:query_value(("select $1::%s is not distinct from '%s'::%s"):format(kind, literal, kind),
    expected)
  assert(err == nil, err)
  values.expect(true, got, what .. " sent")
  got, err = conn:query_value(("select $1::%s[] = array['%s', null]::%s[]"):format(kind, literal, kind), { expected,
    NULL })
  assert(err == nil, err)
  values.expect(true, got, what .. " sent in an array")
end

describe("option int8", function()
  local LIMITS = { "0", "-1", "9007199254740992", "-9007199254740993", "9223372036854775807", "-9223372036854775808" }

  it("auto: an integer; on LuaJIT the digits where a number would lose some", function()
    each_format({}, function(conn, format)
      for _, digits in ipairs(LIMITS) do both_ways(conn, "int8", digits, values.int8(digits), format) end
      local keys = {} -- no two ids are one key
      for id in conn:values "select * from (values (9007199254740993), (9007199254740992)) x(id)" do keys[id] = true end
      assert.is_true(keys[values.int8 "9007199254740993"] and keys[values.int8 "9007199254740992"])
    end)
  end)

  it("string: the digits, always", function()
    each_format({ int8 = "string" }, function(conn, format)
      for _, digits in ipairs(LIMITS) do both_ways(conn, "int8", digits, digits, format) end
      assert.equal(5, conn:query_value "select 5::int4") -- others are not concerned
      assert.equal(5, conn:query_value "select 5::oid")
    end)
  end)

  it("number: a number, on LuaJIT rounded beyond 2^53", function()
    each_format({ int8 = "number" }, function(conn, format)
      both_ways(conn, "int8", "42", 42, format)
      local got = assert(conn:query_value "select 9223372036854775807")
      values.expect(values.is_luajit and 2 ^ 63 or values.int8 "9223372036854775807", got, format)
      assert.equal("number", type(got))
    end)
  end)

  if not values.is_luajit then
    it("cdata: is refused where integers have 64 bits of their own", function()
      local ok, err = pcall(values.connect, { int8 = "cdata" })
      assert.is_false(ok)
      assert.truthy(tostring(err):find("LuaJIT only", 1, true))
    end)
  else
    it("cdata: an int64_t", function()
      each_format({ int8 = "cdata" }, function(conn)
        for _, digits in ipairs(LIMITS) do
          local got = assert(conn:query_value(("select '%s'::int8"):format(digits)))
          assert.is_true(require("ffi").istype("int64_t", got))
          assert.equal(digits .. "LL", tostring(got))
          assert.equal(digits, (conn:query_value("select $1::int8::text", got)))
          assert.equal(digits, (conn:query_value("select ($1::int8[])[2]::text", { NULL, got })))
          assert.equal(digits, (conn:query_value("select $1::numeric::text", got)))
        end
        for a, b in conn:values "select 1::int8, 2::int8" do assert.is_true(a == 1 and b == 2) end
        assert.is_true(assert(conn:query_value "select array[5::int8]")[1] == 5)
      end)
    end)

    it("takes 64-bit cdata as parameters whatever it is, and refuses what is none", function()
      local ffi = require "ffi"
      local conn = values.connect()
      assert.equal("-5", (conn:query_value("select $1::int8::text", ffi.new("int64_t", -5))))
      assert.equal("5", (conn:query_value("select $1::int4::text", ffi.new("uint64_t", 5))))
      assert.equal("5", (conn:query_value("select $1::float8::text", ffi.new("int64_t", 5))))
      assert.equal("1970-01-01 00:00:05+00", (conn:query_value("select $1::timestamptz", ffi.new("int64_t", 5))))
      for _, value in ipairs { ffi.new "int[2]", ffi.new("uint64_t", -1), ffi.new "struct { int x; }" } do
        local _, err = conn:query_value("select $1::int8", value)
        assert.equal("parameter", err.kind)
        assert.truthy(err.message:find("a cdata", 1, true))
      end
      local _, err = conn:query_value("select $1::int4", ffi.new("int64_t", 2147483648))
      assert.truthy(err.message:find("out of range", 1, true))
      conn:close()
    end)
  end
end)

describe("option numeric", function()
  it("string: every digit; number: a float", function()
    each_format({}, function(conn, format) both_ways(conn, "numeric", "12345678901234567890.10",
      "12345678901234567890.10", format) end)
    each_format({ numeric = "number" }, function(conn, format)
      both_ways(conn, "numeric", "12.5", 12.5, format)
      both_ways(conn, "numeric", "0.1", 0.1, format)
      both_ways(conn, "numeric", "-1e20", -1e20, format)
      both_ways(conn, "numeric", "NaN", math.huge - math.huge, format)
      both_ways(conn, "numeric", "-Infinity", -math.huge, format)
      values.expect(1e308 * 1.5, conn:query_value "select 150000000000000000000::numeric * 1e288", format)
      assert.equal("float", math_type(conn:query_value "select 2::numeric"))
      values.expect({ lower = 1.5, upper = 2.5, bounds = "[)" }, conn:query_value "select numrange(1.5, 2.5)", format)
    end)
  end)

  it("number: what no float can hold is refused or infinite, never a wrong finite number", function()
    each_format({ numeric = "number" }, function(conn)
      local got, err = conn:query_value "select 1e400::numeric"
      assert.is_true(err and err.kind == "decode" or got == math.huge)
      assert.equal(0, (conn:query_value "select 1e-400::numeric"))
    end)
  end)
end)

describe("option json", function()
  local DOCUMENT = [[{"a": [1, 2.5, null, {"b": []}], "c": {}, "d": "x\u00e9\"", "e": 9007199254740993, "f": true}]]

  it("table: arrays apart from objects, null apart from absent, integers with every digit", function()
    each_format({}, function(conn, format)
      for _, kind in ipairs { "json", "jsonb" } do
        local got = assert(conn:query_value(("select '%s'::%s"):format(DOCUMENT, kind)))
        values.expect({ a = { 1, 2.5, NULL, { b = {} } }, c = {}, d = 'xé"', e = values.int8 "9007199254740993",
          f = true },
          got, format)
        assert.is_true(conn:query_value("select $1::jsonb - 'e' = $2::text::jsonb - 'e'", got, DOCUMENT))
        if not values.is_luajit then assert.is_true(conn:query_value("select $1::jsonb = $2::text::jsonb", got,
          DOCUMENT)) end
      end
    end)
  end)

  it("text: as the server wrote it, which goes back as it is", function()
    each_format({ json = "text" }, function(conn)
      assert.equal(DOCUMENT, (conn:query_value(("select '%s'::json"):format(DOCUMENT))))
      assert.equal('{"a": 1}', (conn:query_value [[select '{"a":1}'::jsonb]]))
      values.expect({ '{"a": 1}', NULL }, conn:query_value [[select array['{"a":1}', null]::jsonb[] ]], "array")
      assert.equal('{"a": 1}', (conn:query_value("select $1::jsonb", '{"a":1}')))
      assert.equal('{"a": 1}', (conn:query_value("select $1::jsonb", { a = 1 })))
    end)
  end)

  it("cjson: what lua-cjson makes of it", function()
    local cjson = require "cjson"
    each_format({ json = "cjson" }, function(conn, format)
      local got = assert(conn:query_value [[select '{"a": [1, null], "b": {"c": 0.5}}'::jsonb]])
      assert.same(cjson.decode [[{"a": [1, null], "b": {"c": 0.5}}]], got)
      assert.equal(cjson.null, got.a[2])
      assert.equal(NULL, got.a[2])
      assert.is_true(conn:query_value("select $1::jsonb = '{\"a\": [1, null], \"b\": {\"c\": 0.5}}'::jsonb", got))
      values.expect({ { cjson.decode "[1]" [1] }, NULL }, conn:query_value [[select array['[1]', null]::json[] ]],
        format)
      assert.equal('"x"', (conn:query_value("select $1::jsonb::text", luphant.json "x")))
    end)
  end)

  it("whichever: a string is JSON text, luphant.json makes JSON of any value", function()
    for _, option in ipairs { "table", "text", "cjson" } do
      local conn = values.connect { json = option }
      local function sent(value) return conn:query_value("select $1::jsonb::text", value) end
      assert.equal("[1, 2]", sent "[1,2]")
      assert.equal('"[1,2]"', sent(luphant.json "[1,2]"))
      assert.equal("null", sent(luphant.json(nil)))
      assert.equal("null", sent(luphant.json(NULL)))
      assert.is_nil(sent(nil))
      assert.is_nil(sent(NULL))
      assert.equal("true", sent(true))
      assert.equal("5", sent(5))
      assert.equal("[1, 2]", sent { 1, 2 })
      assert.equal('{"a": [1]}', sent(luphant.json { a = { 1 } }))
      assert.equal('{"a": 1}', (conn:query_value("select $1::text::jsonb::text", luphant.json { a = 1 })))
      conn:close()
    end
    local conn = values.connect()
    assert.equal("[]", (conn:query_value("select $1::jsonb::text", luphant.array {})))
    assert.equal("{}", (conn:query_value("select $1::jsonb::text", {})))
    assert.equal('{"a": []}', (conn:query_value("select $1::jsonb::text", { a = luphant.array {} })))
    local _, err = conn:query_value("select $1::jsonb", "{bad")
    assert.equal("invalid_text_representation", err.kind)
    conn:close()
  end)

  it("refuses documents that nothing can hold, and stays usable", function()
    each_format({}, function(conn)
      local deep = ("["):rep(600) .. ("]"):rep(600)
      local got, err = conn:query_value(("select '%s'::json"):format(deep))
      assert.is_nil(got)
      assert.equal("decode", err.kind)
      assert.equal(1, conn:query_value "select 1")
    end)
  end)
end)

describe("option datetime", function()
  local TABLES = {
    { "date", "2024-02-29", { year = 2024, month = 2, day = 29 } },
    { "date", "0044-03-15 BC", { year = -43, month = 3, day = 15 } }, { "date", "infinity", { infinity = 1 } },
    { "date", "5874897-12-31", { year = 5874897, month = 12, day = 31 } },
    { "time", "24:00:00", { hour = 24, min = 0, sec = 0, us = 0 } },
    { "time", "01:02:03.000004", { hour = 1, min = 2, sec = 3, us = 4 } },
    { "timetz", "01:02:03-03:30", { hour = 1, min = 2, sec = 3, us = 0, offset = -12600 } },
    { "timestamp", "2024-02-29 23:59:59.999999", { year = 2024, month = 2, day = 29, hour = 23, min = 59, sec = 59,
      us = 999999 } },
    { "timestamp", "-infinity", { infinity = -1 } },
    { "timestamp", "4714-11-24 00:00:00 BC", { year = -4713, month = 11, day = 24, hour = 0, min = 0, sec = 0,
      us = 0 } },
    { "timestamptz", "2024-02-29 12:00:00+02", { year = 2024, month = 2, day = 29, hour = 10, min = 0, sec = 0,
      us = 0, offset = 0 } },
    { "timestamptz", "294276-12-31 23:59:59.999999+00",
      { year = 294276, month = 12, day = 31, hour = 23, min = 59, sec = 59, us = 999999, offset = 0 } },
    { "interval", "1 year 2 mons -3 days 04:05:06.000007", { months = 14, days = -3, us = 14706000007 } },
    { "interval", "-100000:00:00", { months = 0, days = 0, us = -360000000000000 } },
    { "interval", "2562047787:00:00", { months = 0, days = 0, us = values.int8 "9223372033200000000" } },
    { "interval", "2562047788:00:54.775807", { months = 0, days = 0, us = values.int8 "9223372036854775807" } },
  }

  it("table: the parts, which go back as they are", function()
    each_format({ datetime = "table" }, function(conn, format)
      for _, case in ipairs(TABLES) do both_ways(conn, case[1], case[2], case[3], format) end
    end)
  end)

  it("epoch: seconds since 1970 for what is a point in time, text for the rest", function()
    each_format({ datetime = "epoch" }, function(conn, format)
      both_ways(conn, "timestamptz", "1970-01-01 00:00:00+00", 0.0, format)
      both_ways(conn, "timestamptz", "2024-02-29 12:00:00.25+00", 1709208000.25, format)
      both_ways(conn, "timestamptz", "1969-12-31 23:59:59.999999+00", -0.000001, format)
      both_ways(conn, "timestamp", "2200-01-01 00:00:00.123456", 7258118400.123456, format)
      both_ways(conn, "timestamp", "0001-01-01 00:00:00 BC", -62167219200.0, format)
      both_ways(conn, "date", "2024-02-29", 1709164800.0, format)
      both_ways(conn, "date", "infinity", math.huge, format)
      both_ways(conn, "timestamptz", "-infinity", -math.huge, format)
      both_ways(conn, "time", "24:00:00", "24:00:00", format)
      both_ways(conn, "interval", "1 day", "1 day", format)
      both_ways(conn, "timetz", "01:00:00+01", "01:00:00+01", format)
    end)
  end)

  it("whichever: strings, tables and seconds are all taken", function()
    for _, option in ipairs { "text", "table", "epoch" } do
      local conn = values.connect { datetime = option }
      local function sent(kind, value) return assert(conn:query_value(("select $1::%s::text"):format(kind), value)) end
      assert.equal("2024-02-29 12:00:00+00", sent("timestamptz", "2024-02-29 14:00+02"))
      assert.equal("2024-02-29 12:00:00+00", sent("timestamptz", { year = 2024, month = 2, day = 29, hour = 14,
        offset = 7200 }))
      assert.equal("2024-02-29 12:00:00+00", sent("timestamptz", 1709208000))
      assert.equal("2024-02-29", sent("date", os.time { year = 2024, month = 2, day = 29, hour = 12 }))
      assert.equal("2024-02-29 14:03:04", sent("timestamp", os.date("*t", os.time { year = 2024, month = 2, day = 29,
        hour = 14, min = 3, sec = 4 })))
      assert.equal("2024-02-29", sent("date", os.date("*t", os.time { year = 2024, month = 2, day = 29, hour = 14 })))
      assert.equal("14:00:00", sent("time", { hour = 14 }))
      assert.equal("1 mon", sent("interval", { months = 1 }))
      assert.equal("00:00:00.000001", sent("interval", { us = 1 }))
      assert.equal("2024-01-01", sent("date", { year = 2024 }))
      assert.equal("2024-02-29 00:01:00", sent("timestamp", { year = 2024, month = 2, day = 29, sec = 60 }))
      assert.equal("{2024-02-29,infinity}", sent("date[]", { { year = 2024, month = 2, day = 29 }, { infinity = 1 } }))
      assert.equal("{{2024-01-01},{2025-01-01}}", sent("date[]", { { { year = 2024 } }, { { year = 2025 } } }))
      assert.equal("[2024-01-01,2025-01-01)", sent("daterange", { lower = { year = 2024 }, upper = { year = 2025 } }))
      assert.equal("[2024-01-01,)", sent("daterange", { lower = 1704067200 }))
      conn:close()
    end
  end)
end)

describe("an option that does not exist", function()
  it("is refused with the ones that do", function()
    for option, value in pairs { int8 = "float", numeric = "decimal", json = "dkjson", datetime = "iso",
      result_format = "xml" } do
      local ok, err = pcall(values.connect, { [option] = value })
      assert.is_false(ok)
      assert.truthy(tostring(err):find(option, 1, true))
    end
  end)
end)

describe("luphant.array", function()
  it("sends lower bounds, which also a value that was read keeps", function()
    each_format({}, function(conn)
      local function sent(value) return assert(conn:query_value("select $1::int[]::text", value)) end
      assert.equal("[0:1]={1,2}", sent(luphant.array({ 1, 2 }, { lower = 0 })))
      assert.equal("[-3:-2][7:7]={{1},{2}}", sent(luphant.array({ { 1 }, { 2 } }, { lower = { -3, 7 } })))
      assert.equal("[5:6][1:1]={{1},{2}}", sent(luphant.array({ { 1 }, { 2 } }, { lower = 5 })))
      assert.equal("{}", sent(luphant.array({}, { lower = 5 })))
      assert.equal("{1}", sent(luphant.array { 1 }))
      local read = assert(conn:query_value "select '[0:2]={1,2,3}'::int[]")
      assert.equal(1, read[1])
      assert.equal("[0:2]={1,2,3}", sent(read))
      read[4] = 4
      assert.equal("[0:3]={1,2,3,4}", sent(read))
    end)
  end)

  it("refuses what is no table or no bound at the caller's line", function()
    for _, call in ipairs {
      function() luphant.array(5) end, function() luphant.array({ 1 }, { lower = "0" }) end,
      function() luphant.array({ 1 }, { lower = 0.5 }) end, function() luphant.array({ 1 }, { lower = { 2 ^ 31 } }) end,
    } do
      local ok, message = pcall(call)
      assert.is_false(ok)
      assert.truthy(message:find("options_spec", 1, true), message)
    end
    local conn = values.connect()
    local _, err = conn:query_value("select $1::int[]", luphant.array({ 1, 2 }, { lower = 2147483647 }))
    assert.equal("parameter", err.kind)
    conn:close()
  end)

  it("says that a table is a sub-array where it might be a value", function()
    local conn = values.connect()
    assert(conn:script "drop type if exists pair_of_lists; create type pair_of_lists as (a int[], b int[])")
    local list = { { a = { 1 }, b = { 2 } } }
    assert.equal([[{"({1},{2})"}]], (conn:query_value("select $1::pair_of_lists[]::text", list)))
    assert.equal([[{{"({1},{2})"}}]], (conn:query_value("select $1::pair_of_lists[]::text", { luphant.array(list) })))
    assert(conn:script "drop type pair_of_lists")
    conn:close()
  end)
end)

describe("luphant.typed", function()
  local conn
  setup(function() conn = values.connect() end)
  teardown(function() conn:close() end)

  it("tells the server a parameter's type", function()
    assert.equal("bigint", (conn:query_value("select pg_typeof($1)::text", luphant.typed(5, "int8"))))
    assert.equal("integer[]", (conn:query_value("select pg_typeof($1)::text", luphant.typed({ 1 }, "int[]"))))
    assert.equal("timestamp with time zone", (conn:query_value("select pg_typeof($1)::text",
      luphant.typed("now", "timestamptz"))))
    assert.equal(7, (conn:query_value("select $1 + $2", luphant.typed(3, "int4"), luphant.typed(4, "int4"))))
    assert.equal("numeric", (conn:query_value("select pg_typeof($2)::text || $1", "", luphant.typed("1", "numeric"))))
    assert.is_nil((conn:query_value("select $1", luphant.typed(nil, "int8"))))
    assert.is_nil((conn:query_value("select $1", luphant.typed(NULL, "int8"))))
  end)

  it("checks the value by that type, also inside others", function()
    local _, err = conn:query_value("select $1", luphant.typed(2 ^ 31, "int4"))
    assert.truthy(err.message:find("parameter $1 (integer): out of range", 1, true))
    assert.equal("{1,2}", (conn:query_value("select $1::int[]::text", { luphant.typed(1, "int8"), 2 })))
    _, err = conn:query_value("select $1::int8[]", { luphant.typed(2 ^ 31, "int4") })
    assert.truthy(err.message:find("element 1: out of range", 1, true))
    assert.equal("[1,2)", (conn:query_value("select $1::int4range::text", { lower = luphant.typed(1, "int4"),
      upper = 2 })))
  end)

  it("knows built-in types only and says so at the caller's line", function()
    for _, name in ipairs { "nonsense", "", "int 8", "mood" } do
      local ok, message = pcall(function() luphant.typed(1, name) end)
      assert.is_false(ok)
      assert.truthy(message:find("options_spec", 1, true))
      assert.truthy(message:find("$1::" .. name, 1, true))
    end
    assert.has_error(function() luphant.typed(1) end)
    assert.has_error(function() luphant.typed(1, 20) end)
  end)
end)

describe("register_type", function()
  local NEGATE = { decode = function(v) return -v end, encode = function(v) return -v end }

  it("applies both ways: alone, in arrays, composites and ranges", function()
    each_format({}, function(conn, format)
      assert(conn:script "drop type if exists reg_pair; create type reg_pair as (a int4, b text)")
      assert(conn:register_type("int4", NEGATE))
      values.expect(-5, conn:query_value "select 5", format)
      assert.equal("5", (conn:query_value("select $1::int4::text", -5)))
      values.expect({ -1, NULL, -2 }, conn:query_value "select array[1, null, 2]", format)
      assert.equal("{1,NULL,2}", (conn:query_value("select $1::int4[]::text", { -1, NULL, -2 })))
      assert.equal("{{1},{2}}", (conn:query_value("select $1::int4[]::text", { { -1 }, { -2 } })))
      values.expect({ a = -1, b = "x" }, conn:query_value "select (1, 'x')::reg_pair", format)
      assert.equal("(1,x)", (conn:query_value("select $1::reg_pair::text", { a = -1, b = "x" })))
      values.expect({ lower = -1, upper = -3, bounds = "[)" }, conn:query_value "select int4range(1, 3)", format)
      assert.equal("[1,3)", (conn:query_value("select $1::int4range::text", { lower = -1, upper = -3 })))
      values.expect({ { v = -1 } }, conn:query "select 1 as v", format)
      for a, b in conn:values "select 1, 2" do assert.is_true(a == -1 and b == -2) end
      assert.equal(5, (conn:query_value "select 5::int8")) -- another type
      assert.is_nil((conn:query_value "select null::int4")) -- NULL is not asked about
      assert.is_nil((conn:query_value("select $1::int4", nil)))
    end)
  end)

  it("takes tables of the user's own, in arrays too", function()
    each_format({}, function(conn, format)
      local function decode(text)
        local x, y = text:match "%((.-),(.-)%)"
        return { x = tonumber(x), y = tonumber(y) }
      end
      assert(conn:register_type("point", {
        decode = decode, encode = function(p) return ("(%.17g,%.17g)"):format(p.x, p.y) end,
      }))
      local p, q = { x = 1.5, y = -2.0 }, { x = 0.0, y = 3.0 }
      assert.same(p, (conn:query_value "select point(1.5, -2)"))
      assert.equal("(1.5,-2)", (conn:query_value("select $1::point::text", p)))
      assert.same({ p, NULL, q }, (conn:query_value("select $1::point[]", { p, NULL, q })), format)
      assert.same({ { p }, { q } }, (conn:query_value("select $1::point[]", { { p }, { q } })), format)
    end)
  end)

  it("may be one way only, be replaced, and name types of the user", function()
    local conn = values.connect()
    assert(conn:script "drop type if exists reg_mood; create type reg_mood as enum ('calm', 'wild')")
    assert(conn:register_type("reg_mood", { decode = string.upper }))
    assert.equal("CALM", (conn:query_value "select 'calm'::reg_mood"))
    assert.same({ "CALM", "WILD" }, (conn:query_value "select enum_range(null::reg_mood)"))
    assert.equal("calm", (conn:query_value("select $1::reg_mood::text", "calm")))
    assert(conn:register_type("reg_mood", { encode = string.lower }))
    assert.equal("calm", (conn:query_value("select $1::reg_mood", "CALM")))
    assert.same({ "calm" }, (conn:query_value("select $1::reg_mood[]", { "CALM" })))
    local ok, err = conn:register_type("no_such_type", {})
    assert.is_nil(ok)
    assert.equal("undefined_object", err.kind)
    assert.has_error(function() conn:register_type("int4") end)
    assert.has_error(function() conn:register_type(23, {}) end)
    assert(conn:script "drop type reg_mood")
    conn:close()
  end)

  it("that encodes to nil sends NULL; what it gives is checked like any value", function()
    local conn = values.connect()
    assert(conn:register_type("int4", { encode = function(v) if v ~= "none" then return v end end }))
    assert.is_nil((conn:query_value("select $1::int4", "none")))
    assert.equal("{NULL,2}", (conn:query_value("select $1::int4[]::text", { "none", 2 })))
    local _, err = conn:query_value("select $1::int4", "other")
    assert.equal("parameter", err.kind)
    conn:close()
  end)

  it("that raises: the error comes through and the connection stays usable", function()
    each_format({}, function(conn)
      assert(conn:register_type("int4", { decode = function() error { mine = true } end,
        encode = function() error { mine = true } end }))
      for _, call in ipairs {
        function() return conn:query_value "select 1::int4" end, function() return conn:query "select 1::int4" end,
        function() return conn:query_value "select array[1, 2]" end,
        function() return conn:query_value("select $1::int4", 1) end,
        function() return conn:query_value("select $1::int4[]", { 1 }) end,
        function() for _ in conn:values "select 1::int4" do error "reached" end end,
      } do
        local ok, err = pcall(call)
        assert.is_false(ok)
        assert.is_true(err.mine)
        assert.equal("fine", (conn:query_value "select 'fine'"))
      end
    end)
  end)
end)

describe("luphant.NULL", function()
  it("is one value, the same as that of cjson, and no key or concatenation hides it", function()
    assert.equal(require("cjson").null, NULL)
    assert.equal("userdata", type(NULL))
    assert.is_true(NULL ~= nil)
  end)
end)
