-- What cannot be sent faithfully is refused before anything is sent: the error says which parameter, what was expected
-- and what was given, and the connection goes on as if nothing had happened.

local core = require "luphant.core"
local luphant = require "luphant"
local values = require "spec.support.values"

local NULL = luphant.NULL
local INTEGER = values.is_luajit and "a number" or "an integer"
local FLOAT = values.is_luajit and "a number" or "a float"

local cycle = {}
cycle[1] = cycle
local composite_cycle = { name = "x" }
composite_cycle.next = composite_cycle
local json_cycle = {}
json_cycle.self = json_cycle
local deep = { 1 }
for _ = 1, 600 do deep = { deep } end

-- { type, value, words that the message must have besides "parameter $2 (type)" }
local REFUSED = {
  { "smallint", 32768, "out of range (-32768 to 32767)", INTEGER }, { "smallint", -32769, "out of range", INTEGER },
  { "integer", 2147483648, "out of range (-2147483648 to 2147483647)", INTEGER },
  { "integer", 1.5, "has a fraction", FLOAT }, { "integer", "1", "expected an integer", "a string" },
  { "integer", true, "expected an integer", "a boolean" }, { "integer", 0 / 0, "NaN", FLOAT },
  { "integer", math.huge, "out of range", FLOAT }, { "integer", {}, "single value", "a table" },
  { "integer", print, "no PostgreSQL form", "a function" },
  { "integer", io.stdout, "no PostgreSQL form", "a userdata" },
  { "bigint", 2 ^ 63, "out of range", FLOAT }, { "bigint", "9223372036854775808", "out of range", "a string" },
  { "bigint", "0x10", "decimal digits", "a string" }, { "bigint", "", "decimal digits", "a string" },
  { "bigint", -1e300, "out of range", FLOAT }, { "oid", -1, "out of range (0 to 4294967295)", INTEGER },
  { "xid8", "18446744073709551616", "out of range", "a string" },
  { "boolean", 1, "true or false", INTEGER }, { "boolean", "t", "true or false", "a string" },
  { "real", 1e39, "out of range", FLOAT }, { "real", 1e-46, "close to zero", FLOAT },
  { "double precision", "1.5", "expected a number", "a string" }, { "double precision", true, "a number", "a boolean" },
  { "numeric", "1,5", "decimal string", "a string" }, { "numeric", "", "decimal string", "a string" },
  { "numeric", " 1", "decimal string", "a string" }, { "numeric", true, "decimal string", "a boolean" },
  { "text", 5, "tostring", INTEGER }, { "text", true, "tostring", "a boolean" },
  { "text", {}, "single value", "a table" },
  { "text", "a\0b", "NUL", "a string" }, { "text", "\255", "UTF-8", "a string" },
  { "text", "\237\160\128", "UTF-8", "a string" }, { "text", "\192\128", "UTF-8", "a string" },
  { "character varying", "\226\130", "UTF-8", "a string" }, { "mood", "a\0", "NUL", "a string" },
  { "mood", 1, "string", INTEGER }, { "uuid", 5, "string", INTEGER }, { "uuid", "a\0", "NUL", "a string" },
  { "bytea", 5, "raw bytes", INTEGER }, { "inet", {}, "single value", "a table" },
  { "json", print, "no PostgreSQL form", "a function" }, { "jsonb", { a = print }, "a: a function" },
  { "jsonb", { 0 / 0 }, "NaN has no JSON form" }, { "jsonb", json_cycle, "the table contains itself" },
  { "jsonb", { 1, a = 2 }, "array" }, { "jsonb", "\255", "UTF-8", "a string" },
  { "jsonb", luphant.json "\255", "UTF-8" }, { "jsonb", deep, "levels deep" },

  { "date", true, "2024-02-29", "a boolean" }, { "date", 1e300, "out of range" }, { "date", 0 / 0, "NaN" },
  { "date", { month = 2 }, "no year" }, { "date", { year = 2024, moth = 2 }, 'no field "moth"' },
  { "date", { year = 2024, month = 2.5 }, 'field "month"' },
  { "date", { year = 2023, month = 2, day = 29 }, "not a date" },
  { "date", { year = 2 ^ 40 }, "not a date" }, { "date", { year = "2024" }, 'field "year"' },
  { "date", { year = 2024, months = 3 }, "interval" }, { "date", { 2024, 2, 3 }, "no field" },
  { "time without time zone", { min = 5 }, "no hour" },
  { "time without time zone", { hour = 25 }, "not a date or time" },
  { "time without time zone", 5, "13:45:00", INTEGER },
  { "timestamp without time zone", { year = 2024, us = 1000000 }, "not a date" },
  { "timestamp with time zone", { year = 2024, offset = 60000 }, "not a date" },
  { "timestamp with time zone", 1e15, "out of range" },
  { "interval", {}, "months, days and us" }, { "interval", { year = 1 }, "months, days and us" },
  { "interval", { us = 0.5 }, 'field "us"' }, { "interval", { days = 2 ^ 31 }, "not a date" },
  { "interval", 5, "string", INTEGER },

  { "integer[]", 5, "string", INTEGER }, { "integer[]", { 1, nil, 3 }, "sequence" },
  { "integer[]", { 1, [3] = 3 }, "sequence" }, { "integer[]", { [0] = 1 }, "sequence" },
  { "integer[]", { 1, 2, x = 3 }, "sequence" }, { "integer[]", { a = 1 }, "sequence" },
  { "integer[]", { { 1 }, { 2, 3 } }, "element 2: sub-arrays must all have the same length" },
  { "integer[]", { { 1 }, 2 }, "element 2: expected a sub-array" }, { "integer[]", { 1, { 2 } }, "element 2" },
  { "integer[]", { { 1 }, NULL }, "element 2: expected a sub-array" }, { "integer[]", { {} }, "element 1", "empty" },
  { "integer[]", cycle, "at most 6 dimensions" },
  { "integer[]", { { { { { { { 1 } } } } } } }, "at most 6 dimensions" },
  { "integer[]", { 1, "2" }, "element 2: expected an integer", "a string" },
  { "integer[]", { { 1, 2 }, { 3, 2 ^ 31 } }, "element 2: element 2: out of range" },
  { "text[]", { "a", 5 }, "element 2: expected a string", INTEGER }, { "text[]", { "\255" }, "element 1", "UTF-8" },
  { "bytea[]", { 5 }, "element 1", INTEGER }, { "boolean[]", { true, "f" }, "element 2", "a string" },

  { "pair", { a = 1, c = 2 }, 'no field "c"' }, { "pair", { 1, 2, 3 }, "no field 3" },
  { "pair", { [1.5] = 1 }, "no field 1.5" },
  { "pair", { [true] = 1 }, "no field" }, { "pair", { 1, b = "x" }, "by name and by position" },
  { "pair", { a = "x" }, 'field "a": expected an integer', "a string" }, { "pair", 5, "string", INTEGER },
  { "pair", { a = { 1 } }, 'field "a"', "a table" }, { "pair", { b = "\0" }, 'field "b"', "NUL" },
  { "pair[]", { { a = 1 }, { x = 1 } }, 'element 2: has no field "x"' },
  { "outer_pair", { inner_pair = { a = 2 ^ 40 } }, 'field "inner_pair": field "a": out of range' },
  { "outer_pair", composite_cycle, "no field" },

  { "int4range", { lower = 1, uper = 2 }, "a range is" }, { "int4range", { 1, 2 }, "a range is" },
  { "int4range", { lower = 1, bounds = "[[" }, "bounds must be" },
  { "int4range", { lower = 1, bounds = 5 }, "bounds must be" },
  { "int4range", { lower = "1" }, 'bound "lower"', "a string" }, { "int4range", { upper = 2 ^ 31 }, 'bound "upper"' },
  { "int4multirange", { { lower = 1 }, NULL }, "cannot hold NULL" },
  { "int4multirange", { a = 1 }, "sequence of ranges" },
  { "int4multirange", { { lower = "x" } }, 'range 1: bound "lower"' },
  { "hstore", { a = 1 }, "keys of an hstore are strings" }, { "hstore", { "a" }, "keys of an hstore are strings" },
  { "hstore", { a = "\0" }, "NUL" }, { "hstore", { ["\255"] = "x" }, "UTF-8" },
}

describe("a parameter that cannot be what the server expects", function()
  local conn
  setup(function()
    conn = values.connect()
    assert(conn:script [[
      drop schema if exists refusals cascade;
      create schema refusals;
      create extension if not exists hstore;
      set search_path = refusals, public;
      create type mood as enum ('calm');
      create type pair as (a integer, b text);
      create type outer_pair as (inner_pair pair);
      create table seen (n serial);
    ]])
  end)
  teardown(function()
    assert(conn:script "drop schema refusals cascade")
    conn:close()
  end)

  local function refused(err, ...)
    assert.equal("parameter", err.kind)
    assert.equal("no", err.sent)
    assert.is_false(err.retryable or false)
    for _, words in ipairs { ... } do
      assert(err.message:find(words, 1, true), ("%q is not in %q"):format(words, err.message))
    end
  end

  it("is refused with its number, the expected type and what was given", function()
    for _, case in ipairs(REFUSED) do
      local sql = ("insert into seen select from (select $1::text, $2::%s) x"):format(case[1])
      local count, err = conn:execute(sql, "first", case[2])
      if count ~= nil then error(("%s takes %s"):format(case[1], values.show(case[2]))) end
      refused(err, ("parameter $2 (%s): "):format(case[1]), values.unpack(case, 3))
      assert.equal(sql, err.query)
    end
    assert.equal(0, conn:query_value "select count(*)::int from seen")
    assert.equal("idle", conn:transaction_status())
  end)

  it("does not end the transaction it stands in", function()
    assert(conn:execute "begin")
    assert(conn:execute "insert into seen default values")
    for _, case in ipairs(REFUSED) do
      local _, err = conn:query_value(("select $1::%s"):format(case[1]), case[2])
      refused(err)
      assert.equal("intrans", conn:transaction_status())
    end
    assert.equal(1, conn:query_value "select count(*)::int from seen")
    assert(conn:execute "rollback")
  end)

  it("is refused by every verb in the same words", function()
    for _, verb in ipairs { "query", "query_one", "query_opt", "query_value", "query_column", "execute" } do
      local value, err = conn[verb](conn, "select $1::int", "x")
      assert.is_nil(value)
      refused(err, "parameter $1 (integer): expected an integer; tonumber(value) makes one of a string; got a string")
    end
    local ok, err = pcall(conn.values, conn, "select $1::int", "x")
    assert.is_false(ok)
    refused(err, "parameter $1 (integer)")
    local statement = assert(conn:prepare "select $1::int")
    local _, refusal = statement:query_value "x"
    refused(refusal, "parameter $1 (integer)")
    assert.equal(5, (statement:query_value(5)))
  end)

  it("is refused when there are too many or too few", function()
    local _, err = conn:query_value("select $1::int + $2::int", 1)
    refused(err, "takes 2 parameters, but 1 was given")
    _, err = conn:query_value("select $1::int", 1, nil)
    refused(err, "takes 1 parameter, but 2 were given")
    _, err = conn:query_value("select 1", NULL)
    refused(err, "takes 0 parameters, but 1 was given")
    local value, none = conn:query_value("select coalesce($1::int, 7) + coalesce($2::int, 8)", nil, nil)
    assert.is_nil(none)
    assert.equal(15, value)
  end)

  -- LuaJIT cannot pass so many arguments at all; it says so itself.
  local function placeholders(count)
    local places = {}
    for i = 1, count do places[i] = "($" .. i .. "::int)" end
    return table.concat(places, ",")
  end

  it("is refused when there are more than 65535 of them", function()
    local many = {}
    for i = 1, 65536 do many[i] = i end
    if values.is_luajit then
      assert.has_error(function() conn:query_value("select 1", values.unpack(many)) end)
    else
      local _, err = conn:query_value("select 1", values.unpack(many))
      refused(err, "65536 parameters", "65535", "send an array instead")
    end
    assert.equal(65536, conn:query_value("select count(*)::int from unnest($1::int[])", many))
  end)

  it("is no obstacle in great numbers: as many as there may be are sent", function()
    local most = math.min(core.features().max_parameters, values.is_luajit and 7900 or 65535)
    local many = {}
    for i = 1, most do many[i] = i end
    local sum = assert(conn:query_value("select sum(v) from (values " .. placeholders(most) .. ") x(v)",
      values.unpack(many)))
    assert.equal(most * (most + 1) / 2, sum)
  end)

  -- An old libpq takes the description of so many for a lost synchronisation, and gives up the session.
  it("is refused before anything is sent where libpq could not describe it", function()
    local pid, limit = conn:backend_pid(), core.features().max_parameters
    local function describe(count)
      return conn:describe("select sum(v) from (values " .. placeholders(count) .. ") x(v)")
    end
    assert.equal(7498, #assert(describe(7498)).params)
    local description, err = describe(7499)
    if limit < 7499 then
      assert.is_nil(description)
      refused(err, "7499 parameters", "7498", "send an array instead")
    else
      assert.equal(7499, #assert(description, err).params)
    end
    assert.equal(pid, conn:query_value "select pg_backend_pid()")
  end)

  it("is refused in the text of the statement too", function()
    local _, err = conn:query "select 1\0"
    refused(err, "NUL")
    assert.has_error(function() conn:query(5) end)
    assert.has_error(function() conn:query(nil) end)
  end)

  it("leaves the connection working", function()
    assert.equal("still here", (conn:query_value("select $1::text", "still here")))
  end)
end)

describe("a parameter that the server refuses", function()
  it("is the server's error, with the value unharmed on the way there", function()
    local conn = values.connect()
    local _, err = conn:query_value("select $1::uuid", "not a uuid")
    assert.equal("invalid_text_representation", err.kind)
    assert.equal("yes", err.sent)
    _, err = conn:query_value("select $1::date", "2024-13-01")
    assert.equal("datetime_field_overflow", err.kind)
    _, err = conn:query_value("select $1::xml", "<a>")
    assert.equal("invalid_xml_content", err.kind)
    assert.equal(1, conn:query_value "select 1")
    conn:close()
  end)
end)

describe("a parameter", function()
  local conn
  setup(function() conn = values.connect() end)
  teardown(function() conn:close() end)

  local function text_of(kind, value) return assert(conn:query_value(("select $1::%s::text"):format(kind), value)) end

  it("that is a whole number may be an integer or a float", function()
    for _, kind in ipairs { "int2", "int4", "int8", "oid", "numeric", "float8", "float4", "xid8" } do
      assert.equal("3", text_of(kind, 3.0))
      assert.equal("3", text_of(kind, 3))
    end
    assert.equal("9223372036854774784", text_of("int8", 2.0 ^ 63 - 1024))
    assert.equal("-9223372036854775808", text_of("int8", -2.0 ^ 63))
    assert.equal("-0", text_of("float8", -0.0))
    assert.equal("1e+300", text_of("float8", 1e300))
    assert.equal("1e+22", text_of("float8", 1e22))
    assert.equal("10000000000000000000000", text_of("numeric", 1e22))
    assert.equal("0.1", text_of("numeric", 0.1))
    assert.equal("9223372036854775807", text_of("int8", "9223372036854775807"))
    assert.equal("-5", text_of("int8", "-5"))
  end)

  it("that is NULL may be nil or luphant.NULL, in any place and of any type", function()
    for _, kind in ipairs { "int4", "text", "int4[]", "jsonb", "date", "int4range", "bytea", "point" } do
      local row = assert(conn:query_one(("select $1::%s is null as a, $2::int as b, $3::%s is null as c")
        :format(kind, kind), nil, 2, NULL))
      assert.same({ a = true, b = 2, c = true }, row)
    end
  end)

  it("whose type nothing in the statement tells is text", function()
    assert.equal("x", (conn:query_value("select $1", "x")))
    local _, err = conn:query_value("select $1", 5)
    assert.truthy(err.message:find("parameter $1 (text)", 1, true))
  end)

  it("is never part of the text of the statement", function()
    local evil = [['); drop table x; -- \' $1 $2 ?]]
    assert.equal(evil, (conn:query_value("select $1::text", evil)))
    assert.equal(evil, (conn:query_value("select ($1::text[])[1]", { evil })))
  end)

  it("may have any number of elements", function()
    local list = {}
    for i = 1, 200000 do list[i] = i end
    local got = assert(conn:query_value("select $1::int[]", list))
    assert.equal(200000, #got)
    for i = 1, 200000, 999 do assert.equal(i, got[i]) end
  end)
end)
