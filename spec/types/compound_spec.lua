-- Values made of values: arrays, composites, records, ranges, multiranges, hstore, and the types users make:
-- enums, domains, types of extensions. Each is read in every result format and goes back as a parameter.

local luphant = require "luphant"
local values = require "spec.support.values"

local NULL, array = luphant.NULL, luphant.array
local int8 = values.int8

local SCHEMA = [[
  drop schema if exists shapes cascade;
  create schema shapes;
  create extension if not exists hstore;
  create extension if not exists citext;
  create extension if not exists ltree;
  create extension if not exists cube;
  set search_path = shapes, public;
  create type mood as enum ('calm', 'a "quoted" one', 'NULL', '', 'with,comma');
  create domain positive as integer check (value > 0);
  create domain small_positive as positive check (value < 100);
  create domain tags as text[];
  create type point3 as (x double precision, y double precision, "z z" double precision);
  create type nothing as ();
  create type one as (a text);
  create type animal as (name text, kg numeric, moods mood[], home point3, legs small_positive, raw bytea);
  create domain tame_animal as animal check ((value).legs <= 4);
  create type leaf as (label text, payload jsonb);
  create type tree as (label text, leaf leaf, leaves leaf[]);
  create type span as range (subtype = double precision, multirange_type_name = spans);
  create type wordspan as range (subtype = text, multirange_type_name = wordspans);
  create table kept (id int, gone text, name varchar(20), at timestamptz);
  insert into kept values (1, 'x', 'first', '2024-01-01 00:00:00+00'), (2, null, null, null);
  alter table kept drop column gone;
]]

-- { expression, Lua value [, type it goes back as] }
local CASES = {
  -- arrays
  { "'{}'::int[]", {}, "int[]" }, { "'{}'::int[][]", {}, "int[]" }, { "'{1,2,NULL}'::int[]", { 1, 2, NULL }, "int[]" },
  { "'{{1,2},{3,4}}'::int[][]", { { 1, 2 }, { 3, 4 } }, "int[]" },
  { "'{{{1},{2}},{{3},{NULL}}}'::int[]", { { { 1 }, { 2 } }, { { 3 }, { NULL } } }, "int[]" },
  { "'{{{{{{7}}}}}}'::int[]", { { { { { { 7 } } } } } }, "int[]" },
  { "'[0:2]={1,2,3}'::int[]", array({ 1, 2, 3 }, { lower = 0 }), "int[]" },
  { "'[-1:0][5:6]={{1,2},{3,4}}'::int[]", array({ { 1, 2 }, { 3, 4 } }, { lower = { -1, 5 } }), "int[]" },
  { "'[1:1][0:0]={{1}}'::int[]", array({ { 1 } }, { lower = { 1, 0 } }), "int[]" },
  { "'[2147483645:2147483646]={1,2}'::int[]", array({ 1, 2 }, { lower = 2147483645 }), "int[]" },
  { [[array['a', null, 'NULL', '', 'a,b', '{x}', 'say "hi"', 'back\slash', ' ', E'\n', 'null']::text[] ]],
    { "a", NULL, "NULL", "", "a,b", "{x}", 'say "hi"', "back\\slash", " ", "\n", "null" }, "text[]" },
  { [[array['\x00ff'::bytea, '', null] ]], { "\0\255", "", NULL }, "bytea[]" },
  { "array[true, null, false]", { true, NULL, false }, "boolean[]" },
  { "array[1.5, 'NaN', 1e20]::numeric[]", { "1.5", "NaN", "100000000000000000000" }, "numeric[]" },
  { "array[9223372036854775807, 1]", { int8 "9223372036854775807", 1 }, "bigint[]" },
  { "array[0.1, '-0', 'Infinity']::float8[]", { 0.1, -0.0, math.huge }, "float8[]" },
  { "array['2024-01-01', 'infinity', '0044-03-15 BC']::date[]", { "2024-01-01", "infinity", "0044-03-15 BC" },
    "date[]" },
  { "array['2024-01-01 12:00+02', null]::timestamptz[]", { "2024-01-01 10:00:00+00", NULL }, "timestamptz[]" },
  { "array['(2,2),(0,0)', '(1,1),(0,0)']::box[]", { "(2,2),(0,0)", "(1,1),(0,0)" }, "box[]" },
  { "array['{\"a\": [1]}', '2', null]::jsonb[]", { { a = array { 1 } }, 2, NULL }, "jsonb[]" },
  { "array['$1.00', null]::money[]", { "$1.00", NULL }, "money[]" },
  { "array[array['x'::name]]", { { "x" } }, "name[]" },
  { "'{1,2}'::int2vector", "1 2", "int2vector", skip = true },
  { "array['1 2'::int2vector]", { "1 2" }, "int2vector[]" },

  -- enums, domains
  { "'calm'::mood", "calm", "mood" }, { [['a "quoted" one'::mood]], 'a "quoted" one', "mood" },
  { "''::mood", "", "mood" },
  { "enum_range(null::mood)", { "calm", 'a "quoted" one', "NULL", "", "with,comma" }, "mood[]" },
  { "array[array['NULL'::mood, null]]", { { "NULL", NULL } }, "mood[]" },
  { "5::positive", 5, "positive" }, { "5::small_positive", 5, "small_positive" },
  { "array[1, 2]::small_positive[]", { 1, 2 }, "small_positive[]" },
  { "'{a,NULL}'::tags", { "a", NULL }, "tags" },
  { "array['{a,b}'::tags, '{}']", { { "a", "b" }, {} }, skip = true },

  -- composites
  { "(1, -0.5, 'Infinity')::point3", { x = 1.0, y = -0.5, ["z z"] = math.huge }, "point3" },
  { "(null, 2, null)::point3", { y = 2.0 }, "point3" }, { "(null, null, null)::point3", {}, "point3" },
  { "row('NULL')::one", { a = "NULL" }, "one" }, { "row('')::one", { a = "" }, "one" }, { "row(null)::one", {}, "one" },
  { "row(E'a,(b)\"c\"\\\\ \\n''')::one", { a = "a,(b)\"c\"\\ \n'" }, "one" }, { "row()::nothing", {}, "nothing" },
  { "array[row('a')::one, null, row(null)::one]", { { a = "a" }, NULL, {} }, "one[]" },
  { "('Ida', 5400.25, '{calm,NULL}', (1,2,3), 4, '\\x00ff')::animal",
    { name = "Ida", kg = "5400.25", moods = { "calm", NULL }, home = { x = 1.0, y = 2.0, ["z z"] = 3.0 }, legs = 4,
      raw = "\0\255" }, "animal" },
  { "('Ida', null, '{}', null, null, '')::animal", { name = "Ida", moods = {}, raw = "" }, "animal" },
  { "('x', 1, null, null, 2, null)::animal::tame_animal", { name = "x", kg = "1", legs = 2 }, "tame_animal" },
  { "array[('x', 1, null, null, 2, null)::animal::tame_animal]", { { name = "x", kg = "1", legs = 2 } },
    "tame_animal[]" },
  { [[('root', ('only', '{"n": null}'), array[('leaf', '[]')::leaf, ('l"2', null)::leaf, null])::tree]],
    { label = "root", leaf = { label = "only", payload = { n = NULL } },
      leaves = { { label = "leaf", payload = array {} }, { label = 'l"2' }, NULL } }, "tree" },
  { "(select k from kept k where id = 1)", { id = 1, name = "first", at = "2024-01-01 00:00:00+00" }, "kept" },
  { "(select k from kept k where id = 2)", { id = 2 }, "kept" },
  { "(select array_agg(k order by id) from kept k)",
    { { id = 1, name = "first", at = "2024-01-01 00:00:00+00" }, { id = 2 } }, "kept[]" },

  -- ranges, multiranges
  { "'[1,5)'::int4range", { lower = 1, upper = 5, bounds = "[)" }, "int4range" },
  { "'[1,5]'::int4range", { lower = 1, upper = 6, bounds = "[)" }, "int4range" },
  { "'empty'::int4range", { empty = true }, "int4range" }, { "'(,)'::int4range", { bounds = "()" }, "int4range" },
  { "'(,9223372036854775807)'::int8range", { upper = int8 "9223372036854775807", bounds = "()" }, "int8range" },
  { "'(1.10,2.25]'::numrange", { lower = "1.10", upper = "2.25", bounds = "(]" }, "numrange" },
  { "'[2024-01-01,infinity)'::daterange", { lower = "2024-01-01", upper = "infinity", bounds = "[)" }, "daterange" },
  { "'[2024-01-01 00:00+01,)'::tstzrange", { lower = "2023-12-31 23:00:00+00", bounds = "[)" }, "tstzrange" },
  { "'[\"2024-01-01 10:00\",\"2024-01-01 11:00:00.5\"]'::tsrange",
    { lower = "2024-01-01 10:00:00", upper = "2024-01-01 11:00:00.5", bounds = "[]" }, "tsrange" },
  { "'[0.5,)'::span", { lower = 0.5, bounds = "[)" }, "span" },
  { [[wordspan('', E'z,"\\')]], { lower = "", upper = 'z,"\\', bounds = "[)" }, "wordspan" },
  { "array['[1,3)', 'empty', null]::int4range[]",
    { { lower = 1, upper = 3, bounds = "[)" }, { empty = true }, NULL }, "int4range[]" },
  { "'{}'::int4multirange", {}, "int4multirange" },
  { "'{[1,3),[5,)}'::int4multirange",
    { { lower = 1, upper = 3, bounds = "[)" }, { lower = 5, bounds = "[)" } }, "int4multirange" },
  { "'{[0.5,1],(2,)}'::spans", { { lower = 0.5, upper = 1.0, bounds = "[]" }, { lower = 2.0, bounds = "()" } },
    "spans" },
  { [[wordspans(wordspan('a', 'b,}'), wordspan('c"', null))]],
    { { lower = "a", upper = "b,}", bounds = "[)" }, { lower = 'c"', bounds = "[)" } }, "wordspans" },
  { "array['{[1,2)}', '{}']::int4multirange[]", { { { lower = 1, upper = 2, bounds = "[)" } }, {} },
    "int4multirange[]" },

  -- extensions
  { [['a=>1, "b c"=>NULL, "NULL"=>"NULL", "q\"\\"=>"=>,", ""=>""'::hstore]],
    { a = "1", ["b c"] = NULL, ["NULL"] = "NULL", ['q"\\'] = "=>,", [""] = "" }, "hstore" },
  { "''::hstore", {}, "hstore" }, { "array['a=>1', '', null]::hstore[]", { { a = "1" }, {}, NULL }, "hstore[]" },
  { "'MiXed'::citext", "MiXed", "citext" }, { "array['A']::citext[]", { "A" }, "citext[]" },
  { "'a.b.c'::ltree", "a.b.c", "ltree" }, { "'*.b{1,}'::lquery", "*.b{1,}", "lquery" },
  { "'a & b'::ltxtquery", "a & b", "ltxtquery" }, { "array['a.b', null]::ltree[]", { "a.b", NULL }, "ltree[]" },
  { "'(1,2),(3,4)'::cube", "(1, 2),(3, 4)", "cube" }, { "array['(1)'::cube]", { "(1)" }, "cube[]" },
  { "(select a from pg_am a where amname = 'heap')", { oid = 2, amname = "heap", amhandler = "heap_tableam_handler",
    amtype = "t" } },
  { "array['x']::information_schema.sql_identifier[]", { "x" }, "information_schema.sql_identifier[]" },
}

describe("a value made of values", function()
  local sessions
  setup(function()
    local conn = values.connect()
    assert(conn:script(SCHEMA))
    conn:close()
    sessions = values.sessions()
    for _, each in pairs(sessions) do assert(each:execute "set search_path = shapes, public") end
  end)
  teardown(function()
    assert(sessions.auto:script "drop schema shapes cascade")
    values.close(sessions)
  end)

  for _, format in ipairs(values.formats) do
    it("is the table that the reference says, read as " .. format, function()
      for _, case in ipairs(CASES) do
        if not case.skip then
          local got, err = sessions[format]:query_value("select " .. case[1])
          assert(err == nil, case[1] .. ": " .. tostring(err))
          values.expect(case[2], got, case[1])
        end
      end
    end)

    it("goes back as a parameter and is the same to the server, read as " .. format, function()
      local conn = sessions[format]
      for _, case in ipairs(CASES) do
        if case[3] and not case.skip then
          local want = assert(conn:query_value(("select (%s)::text"):format(case[1])))
          local got, err = conn:query_value(("select ($1::%s)::text"):format(case[3]), case[2])
          assert(err == nil, case[1] .. ": " .. tostring(err))
          assert.equal(want, got, case[1])
          local again = assert(conn:query_value(("select $1::%s"):format(case[3]), case[2]))
          values.expect(case[2], again, "there and back " .. case[1])
        end
      end
    end)
  end

  it("may have positions instead of names", function()
    local conn = sessions.auto
    assert.equal("(1,,3)", (conn:query_value("select ($1::point3)::text", { 1, nil, 3 })))
    assert.equal("(,2,)", (conn:query_value("select ($1::point3)::text", { nil, 2 })))
    assert.equal('{"(1,2,3)","(4,5,6)"}', (conn:query_value("select ($1::point3[])::text", { { 1, 2, 3 }, { 4, 5,
      6 } })))
    assert.equal('{{"(1,2,3)"},{"(4,5,6)"}}',
      (conn:query_value("select ($1::point3[])::text", { { { 1, 2, 3 } }, { { 4, 5, 6 } } })))
    assert.equal('{{"(1,,)"}}', (conn:query_value("select ($1::point3[])::text", { { { x = 1 } } })))
  end)

  it("an anonymous record is a sequence in binary, its text where text is asked for", function()
    local sql = "select row(1, 'a', null, row(true, '{1,2}'::int[]))"
    for _, format in ipairs { "auto", "binary" } do
      values.expect({ 1, "a", NULL, { true, { 1, 2 } } }, assert(sessions[format]:query_value(sql)), format)
      values.expect({ { 1, 2 }, { 3, NULL } }, assert(sessions[format]:query_value
        "select array[row(1, 2), row(3, null::int)]"), format)
      values.expect({}, assert(sessions[format]:query_value "select row()"), format)
    end
    assert.equal('(1,a,,"(t,""{1,2}"")")', (sessions.text:query_value(sql)))
    values.expect({ "(1,2)", "(3,)" }, assert(sessions.text:query_value "select array[row(1, 2), row(3, null::int)]"),
      "text")
  end)

  it("one column that has only a text form does not change what the others are", function()
    for _, case in ipairs(CASES) do
      if not case.skip then
        local row = assert(sessions.auto:query_one(("select '$1.00'::money as m, %s as v"):format(case[1])))
        values.expect({ m = "$1.00", v = case[2] }, row, case[1])
      end
    end
  end)

  it("is found out about at its first use, in whatever place it stands", function()
    assert(sessions.auto:script [[
      create type fresh as enum ('new');
      create domain fresh_domain as fresh[];
      create type holder as (list fresh_domain, r int4range);
    ]])
    local conn = values.connect { result_format = "auto" }
    assert(conn:execute "set search_path = shapes")
    values.expect({ { list = { "new" }, r = { lower = 1, bounds = "[)" } } },
      assert(conn:query_value("select array[('{new}', '[1,)')::holder]")), "result")
    conn:close()
    conn = values.connect()
    assert(conn:execute "set search_path = shapes")
    assert.equal("({new},empty)", (conn:query_value("select $1::holder::text", { list = { "new" },
      r = { empty = true } })))
    assert.equal("holder", assert(conn:describe "select $1::shapes.holder").params[1].type)
    conn:close()
  end)

  it("knows a hundred new types of one statement at once", function()
    local create, select = {}, {}
    for i = 1, 100 do
      create[i] = ("create type many_%d as enum ('v%d');"):format(i, i)
      select[i] = ("array['v%d'::many_%d] as c%d"):format(i, i, i)
    end
    assert(sessions.auto:script(table.concat(create)))
    for _, conn in pairs(sessions) do
      local row = assert(conn:query_one("select " .. table.concat(select, ", ")))
      for i = 1, 100 do assert.same({ "v" .. i }, row["c" .. i]) end
    end
  end)
end)

describe("a composite type that changes while a session knows it", function()
  local other, conn
  before_each(function()
    other = values.connect()
    assert(other:script "drop type if exists changing; create type changing as (a int, b text)")
  end)
  after_each(function()
    assert(other:script "drop type changing")
    other:close()
    conn:close()
  end)

  -- The first value that does not fit says so; it makes the session look again.
  local function fails_once(read, expected)
    local got, err = read()
    assert.is_nil(got)
    assert.equal("decode", err.kind)
    assert.equal("yes", err.sent)
    assert.truthy(err.message:find("was changed", 1, true))
    values.expect(expected, read(), "the second time")
    values.expect(expected, read(), "the third time")
  end

  it("is never read under the names of other fields, and known again at the next statement", function()
    for _, format in ipairs(values.formats) do
      conn = values.connect { result_format = format }
      local function read() return conn:query_value "select row(1, 'x', 2)::changing" end
      assert.same({ a = 1, b = "x" }, (conn:query_value "select row(1, 'x')::changing"))
      assert(other:script "alter type changing add attribute c int")
      fails_once(read, { a = 1, b = "x", c = 2 })
      assert(other:script "alter type changing drop attribute c")
      fails_once(function() return conn:query_value "select row(1, 'x')::changing" end, { a = 1, b = "x" })
      if format ~= "text" then -- a text does not tell of what type its parts are
        assert(other:script "alter type changing drop attribute b; alter type changing add attribute c int")
        fails_once(function() return conn:query_value "select row(1, 2)::changing" end, { a = 1, c = 2 })
        assert(other:script "alter type changing drop attribute c; alter type changing add attribute b text")
      end
      if format ~= "text" then conn:close() end
    end
  end)

  it("is found out by the iterator too", function()
    conn = values.connect()
    local function read()
      local next_value = conn:values "select row(1, 'x', 2)::changing from generate_series(1, 2)"
      local ok, value = pcall(next_value)
      if not ok then return nil, value end
      return value
    end
    assert.same({ a = 1, b = "x" }, (conn:query_value "select row(1, 'x')::changing"))
    assert(other:script "alter type changing add attribute c int")
    fails_once(read, { a = 1, b = "x", c = 2 })
  end)

  it("is looked up anew at once when the session itself has changed it", function()
    conn = values.connect()
    assert.same({ a = 1, b = "x" }, (conn:query_value("select $1::changing", { a = 1, b = "x" })))
    assert(conn:execute "alter type changing add attribute c int")
    assert.same({ a = 1, b = "x", c = 2 }, (conn:query_value("select $1::changing", { a = 1, b = "x", c = 2 })))
    assert(conn:script "alter type changing rename attribute c to see")
    assert.same({ a = 1, see = 2 }, (conn:query_value("select $1::changing", { a = 1, see = 2 })))
    assert(conn:script "drop type changing; create type changing as enum ('x')")
    assert.equal("x", (conn:query_value("select $1::changing", "x")))
  end)
end)

describe("a record", function()
  it("of which a part cannot be read says what to do", function()
    local conn = values.connect()
    assert(conn:script "drop type if exists unheard_of; create type unheard_of as enum ('x')")
    for _, part in ipairs { "'x'::unheard_of", "'1'::money", "array['x'::unheard_of]" } do
      local got, err = conn:query_value(("select row(1, %s)"):format(part))
      assert.is_nil(got)
      assert.equal("decode", err.kind)
      assert.truthy(err.message:find("cast the row", 1, true))
    end
    values.expect({ 1, "x" }, conn:query_value "select row(1, 'x'::unheard_of::text)", "cast")
    assert(conn:query_value "select 'x'::unheard_of")
    values.expect({ 1, "x" }, conn:query_value "select row(1, 'x'::unheard_of)", "known by now")
    assert(conn:script "drop type unheard_of")
    conn:close()
  end)
end)
