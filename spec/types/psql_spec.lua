-- The reference is psql: what luphant reads is what psql prints, for values at the edges and for values the server
-- makes up. Values of more than one part are taken apart by SQL first, so that nothing of PostgreSQL's quoting
-- is written a second time here.

local luphant = require "luphant"
local values = require "spec.support.values"

-- The text psql prints for a scalar Lua value of that type.
local function check(case, got, printed)
  local kind = case[2] or "text"
  if printed == "<NULL>" then return values.expect(nil, got, case[1]) end
  if kind == "bool" then return values.expect(printed == "t", got, case[1]) end
  if kind == "int" then return values.expect(values.int8(printed), got, case[1]) end
  if kind == "bytea" then
    local raw = printed:sub(3):gsub("%x%x", function(digits) return string.char(tonumber(digits, 16)) end)
    return values.expect(raw, got, case[1])
  end
  if kind == "float" then
    local special = { NaN = math.huge - math.huge, Infinity = math.huge, ["-Infinity"] = -math.huge, ["-0"] = -0.0 }
    local number = special[printed] or tonumber(printed) + 0.0
    return values.expect(number, got, case[1])
  end
  return values.expect(printed, got, case[1])
end

local EDGES = {
  { "9223372036854775807::int8", "int" }, { "(-9223372036854775808)::int8", "int" }, { "32767::int2", "int" },
  { "9007199254740993::int8", "int" }, { "4294967295::oid", "int" }, { "null::int8", "int" },
  { "true", "bool" }, { "false", "bool" },
  { "'-0'::float8", "float" }, { "'NaN'::float8", "float" }, { "'-Infinity'::float8", "float" },
  { "5e-324::float8", "float" }, { "2.2250738585072011e-308::float8", "float" },
  { "0.1::float8 + 0.2", "float" }, { "1.7976931348623157e308::float8", "float" }, { "pi()", "float" },
  { "1e23::float8", "float" }, { "9007199254740993::float8", "float" }, { "123456789012345678::float8", "float" },
  { "'NaN'::numeric" }, { "'Infinity'::numeric" }, { "'-Infinity'::numeric" }, { "10::numeric ^ 999" },
  { "1::numeric / 3" }, { "round(123456.789, -3)" }, { "1e-1000::numeric" }, { "0.00::numeric" }, { "-0.0::numeric" },
  { "1e131071::numeric" }, { "repeat('123456789', 120)::numeric / 1e500" }, { "12345678::numeric(20, 10)" },
  { "1234567::numeric(4, -3)" }, { "100000000::numeric" }, { "99999999.99999999::numeric" }, { "0.00010000::numeric" },
  { "'infinity'::timestamp" }, { "'-infinity'::timestamptz" }, { "'294276-12-31 23:59:59.999999'::timestamp" },
  { "'4713-01-01 00:00:00 BC'::timestamptz" }, { "'1883-11-18 12:03:57'::timestamptz" }, { "'24:00'::time" },
  { "'24:00+14'::timetz" }, { "'0001-12-31 BC'::date" }, { "'0001-01-01'::date" }, { "'9999-12-31'::date" },
  { "'5874897-12-31'::date" }, { "'2000-02-29'::date + 1" }, { "'1999-12-31 23:59:59.999999'::timestamptz" },
  { "'1 year -1 day'::interval" }, { "'-1 year 1 day -1 second'::interval" }, { "'-1 us'::interval" },
  { "'11 mons 30 days 23:59:59.999999'::interval" }, { "'-178956970 years -8 mons'::interval" },
  { "'-2147483648 days'::interval" }, { "'1000000 hours'::interval" }, { "'1 day -1 hour'::interval" },
  { [['\x'::bytea]], "bytea" }, { [['\x00'::bytea]], "bytea" }, { "decode(repeat('00ff27', 500), 'hex')", "bytea" },
  { "''::text" }, { "'NULL'" }, { [['back\slash "q" ''s''']] }, { "repeat('é\"\\', 1000)" }, { "chr(127) || chr(1)" },
  { "repeat('0123456789abcdef', 65536)" },
  { "'{\"a\": [1, {}, []], \"b\": null}'::jsonb::text" }, { "'::ffff:1.2.3.4/100'::inet" }, { "'0.0.0.0/0'::cidr" },
  { "'(1e300,-1e-300)'::point" }, { "'((1,2),(3,4.5))'::path" }, { "'<(0.1,0.2),0.3>'::circle" },
  { "'B10110'::varbit::text" }, { "b'0'" }, { "'18446744073709551615'::xid8" }, { "'FFFFFFFF/FFFFFFFF'::pg_lsn" },
  { "'0/0'::pg_lsn" }, { "'(0,1)'::tid" }, { "'$.a ? (@ > 1)'::jsonpath" }, { "'-1'::money" },
  { "'fat:2,4 cat:3A'::tsvector" }, { "'[1,2]'::int4range::text" }, { "'{NULL,\"NULL\"}'::text[]::text" },
}

-- What the server makes of a row number n: random values, the same in each run through setseed.
local RANDOM = {
  { "(random() < 0.5)", "bool" }, { "(random() * 65535 - 32768)::int2", "int" },
  { "(random() * 4294967295 - 2147483648)::int4", "int" },
  { "(((random() * 4294967295)::int8 - 2147483648) * 4294967296 + (random() * 4294967295)::int8)", "int" },
  { "(random() * 4294967295)::int8::oid", "int" },
  { "((random() - 0.5) * 10 ^ (random() * 600 - 300))::float8", "float" },
  { "((random() - 0.5) * 10 ^ (random() * 60 - 30))::numeric" },
  { "round(((random() - 0.5) * 1e15)::numeric, (random() * 20)::int - 6)" },
  { "trim_scale((random() * 1e9)::numeric / (1 + random() * 1e9)::numeric)" },
  { "md5(random()::text)::uuid" }, { "decode(md5(random()::text), 'hex')", "bytea" },
  { "(select string_agg(chr(case when r < 0.3 then 34 + (r * 300)::int else 161 + (r * 8000)::int end), '')" ..
    " from (select random() r from generate_series(1, 1 + n % 40)) x)" },
  { "(date '4714-11-24 BC' + (random() * 7586000)::int)" },
  { "(timestamp '4714-11-24 BC' + random() * interval '2590000 days')" },
  { "(timestamptz '0001-01-01' + random() * interval '1000000 days')" },
  { "(time '00:00' + random() * interval '1 day')" },
  { "((time '00:00' + random() * interval '1 day')::text || '+' || (random() * 14)::int)::timetz" },
  { "make_interval(years => (random() * 400 - 200)::int, months => (random() * 30 - 15)::int," ..
    " days => (random() * 90 - 45)::int, hours => (random() * 90 - 45)::int," ..
    " secs => round((random() * 1e5 - 5e4)::numeric, 6))" },
  { "('10.' || (random() * 255)::int || '.' || (random() * 255)::int || '.1/' || (random() * 32)::int)::inet" },
  { "(overlay(md5(random()::text) placing ':' from 5 for 0)::text)" },
  { "substr(md5(random()::text), 1, 16)::macaddr8" },
  { "(random() * 1e9)::int8::bit(40)" }, { "((random() * 1e9)::int8 || '/' || (random() * 1e6)::int8)::text" },
  { "point(random() * 1e6, (random() - 0.5) / 1e6)" }, { "circle(point(random(), random()), random() * 100)" },
  { "box(point(random(), random()), point(random() * 10, random() * 10))" },
  { "lseg(point(random(), 1), point(random() * 10, random() * 10))" },
  { "(random() * 1e12)::numeric::money" }, { "('0/' || to_hex((random() * 2e9)::int))::pg_lsn" },
}

describe("what psql prints", function()
  it("is what a value at the edge of its type is in Lua", function()
    local statements = {}
    for i, case in ipairs(EDGES) do statements[i] = "select " .. case[1] end
    local printed = values.psql(statements)
    for _, format in ipairs(values.formats) do
      local conn = values.connect { result_format = format }
      for i, case in ipairs(EDGES) do
        local got, err = conn:query_value(statements[i])
        assert(err == nil, err)
        check(case, got, printed[i])
      end
      conn:close()
    end
  end)

  it("is what values made up by the server are in Lua", function()
    local prepare = values.connect()
    assert(prepare:script "drop table if exists made_up; select setseed(0.25)")
    local columns = {}
    for i, case in ipairs(RANDOM) do
      columns[i] = ("%s as c%d"):format(case[1], i)
    end
    assert(prepare:script(("create table made_up as select n, %s from generate_series(1, 200) n")
      :format(table.concat(columns, ", "))))
    local statements = {}
    for i = 1, #RANDOM do
      for n = 1, 200 do statements[#statements + 1] = ("select c%d from made_up where n = %d"):format(i, n) end
    end
    local printed = values.psql(statements)
    for _, format in ipairs(values.formats) do
      local conn, at = values.connect { result_format = format }, 0
      for i, case in ipairs(RANDOM) do
        local column = assert(conn:query_column(("select c%d from made_up order by n"):format(i)))
        for n = 1, 200 do
          at = at + 1
          check(case, column[n], printed[at])
        end
      end
      conn:close()
    end
    assert(prepare:script "drop table made_up")
    prepare:close()
  end)

  it("is what the parts of arrays, ranges, composites and hstores are in Lua", function()
    local conn = values.connect()
    assert(conn:script [[
      create extension if not exists hstore;
      drop table if exists made_up;
      select setseed(0.5);
      create table made_up as
      select n,
        (select array_agg(case when random() < 0.1 then null else chr(34 + (random() * 90)::int) ||
          (array['"', '\', 'NULL', '', ' ', ',', '{}', E'\n', 'é', ''''])[1 + (random() * 9)::int] end)
          from generate_series(1, n % 20)) as texts,
        (select array_agg(case when random() < 0.1 then null else (random() * 1e12 - 5e11)::int8 end)
          from generate_series(1, n % 20)) as ints,
        (select array_agg(case when random() < 0.1 then null else (random() - 0.5) * 10 ^ (random() * 40 - 20) end)
          from generate_series(1, n % 20)) as floats,
        (select array_agg(case when random() < 0.1 then null
          else timestamptz '2000-01-01' + random() * interval '90000 days' end)
          from generate_series(1, n % 20)) as times,
        (select hstore(array_agg(i || chr(34 + (random() * 90)::int)), array_agg(case when random() < 0.2 then null
          else (array['"', '\', 'NULL', '', '=>', ',', 'é'])[1 + (random() * 6)::int] end))
          from generate_series(1, 1 + n % 9) i) as pairs,
        numrange((random() * 100)::numeric, (100 + random() * 100)::numeric,
          (array['[)', '(]', '[]', '()'])[1 + n % 4]) as range
      from generate_series(1, 100) n
    ]])
    local arrays = { texts = "text", ints = "int", floats = "float", times = "text" }
    local statements, expected = {}, {}
    local function ask(sql, case, path) -- one scalar for psql
      statements[#statements + 1] = "select " .. sql
      expected[#expected + 1] = { case = case, path = path }
    end
    for n = 1, 100 do
      for name, kind in pairs(arrays) do
        for i = 1, n % 20 do
          ask(("%s[%d] from made_up where n = %d"):format(name, i, n), { name, kind }, { n, name, i })
        end
      end
      ask(("lower(range) from made_up where n = %d"):format(n), { "lower" }, { n, "range", "lower" })
      ask(("upper(range) from made_up where n = %d"):format(n), { "upper" }, { n, "range", "upper" })
    end
    local printed = values.psql(statements)
    for _, format in ipairs(values.formats) do
      local reader = values.connect { result_format = format }
      local rows = assert(reader:query "select * from made_up order by n")
      for i, each in ipairs(expected) do
        local value = rows[each.path[1]]
        for part = 2, #each.path do value = value[each.path[part]] end
        if value == luphant.NULL then value = nil end
        check(each.case, value, printed[i])
      end
      for n, row in ipairs(rows) do
        for key, text in reader:values("select key, value from made_up, each(pairs) where n = $1", n) do
          values.expect(text, row.pairs[key], "hstore key " .. key)
          row.pairs[key] = nil
        end
        assert.is_nil(next(row.pairs))
        if n % 20 == 0 then assert.is_nil(row.texts) else assert.equal(n % 20, #row.texts) end
      end
      reader:close()
    end
    assert(conn:script "drop table made_up")
    conn:close()
  end)
end)
