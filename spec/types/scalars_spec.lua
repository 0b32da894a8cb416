-- The type table of docs/api/values.md, one value after the other: what a value of each built-in type is in Lua, in
-- every result format, and that the Lua value as a parameter is the same value again.

local luphant = require "luphant"
local values = require "spec.support.values"

local int8 = values.int8
local INF = math.huge
local NAN = INF - INF
local MIN_INTEGER = int8 "-9223372036854775808"

-- { type, literal as SQL writes it between quotes, Lua value [, one_way = true where the type cannot be a parameter] }
local TABLE = {
  { "boolean", "true", true },
  { "boolean", "false", false },

  { "smallint", "-32768", -32768 }, { "smallint", "32767", 32767 },
  { "integer", "-2147483648", -2147483648 }, { "integer", "2147483647", 2147483647 }, { "integer", "0", 0 },
  { "bigint", "9007199254740992", int8 "9007199254740992" },
  { "bigint", "9007199254740993", int8 "9007199254740993" },
  { "bigint", "-9007199254740993", int8 "-9007199254740993" },
  { "bigint", "9223372036854775807", int8 "9223372036854775807" },
  { "bigint", "-9223372036854775808", MIN_INTEGER }, { "bigint", "-1", -1 },
  { "oid", "4294967295", 4294967295 }, { "xid", "4294967295", 4294967295 }, { "cid", "7", 7 },
  { "xid8", "18446744073709551615", "18446744073709551615" },

  { "real", "0.1", 0.100000001490116119384765625 }, { "real", "1.5", 1.5 }, { "real", "-0", -0.0 },
  { "real", "3.4028235e38", 3.4028234663852886e38 }, { "real", "1e-45", 1.401298464324817e-45 },
  { "real", "NaN", NAN }, { "real", "Infinity", INF }, { "real", "-Infinity", -INF }, { "real", "16777216", 2.0 ^ 24 },
  { "double precision", "0.1", 0.1 }, { "double precision", "-0", -0.0 }, { "double precision", "1e15", 1e15 },
  { "double precision", "0.30000000000000004", 0.1 + 0.2 },
  { "double precision", "1.7976931348623157e308", 1.7976931348623157e308 },
  { "double precision", "5e-324", 5e-324 }, { "double precision", "2.2250738585072011e-308", 2.2250738585072011e-308 },
  { "double precision", "NaN", NAN }, { "double precision", "Infinity", INF },
  { "double precision", "-Infinity", -INF }, { "double precision", "9007199254740993", 9007199254740992.0 },

  { "numeric", "0", "0" }, { "numeric", "-0.00", "0.00" }, { "numeric", "12345678901234567890.10",
    "12345678901234567890.10" }, { "numeric", "1e-20", "0.00000000000000000001" }, { "numeric", "NaN", "NaN" },
  { "numeric", "1e20", "100000000000000000000" }, { "numeric", "-9999.9999", "-9999.9999" },
  { "numeric", ("9"):rep(1000), ("9"):rep(1000) }, { "numeric", ("7"):rep(999) .. "." .. ("3"):rep(1000),
    ("7"):rep(999) .. "." .. ("3"):rep(1000) }, { "numeric", "10000", "10000" }, { "numeric", "0.0001", "0.0001" },

  { "text", "", "" }, { "text", "naïve 😀", "naïve 😀" },
  { "text", [[back\slash "quoted"]], [[back\slash "quoted"]] },
  { "text", "NULL", "NULL" }, { "text", "\1\9\10\13\127", "\1\9\10\13\127" }, { "text", " ", " " },
  { "character varying", "abc", "abc" }, { "character(5)", "ab", "ab   " }, { "name", "a_name", "a_name" },
  { '"char"', "x", "x" }, { '"char"', "", "" }, { "xml", "<a>b</a>", "<a>b</a>" }, { "refcursor", "c1", "c1" },

  { "bytea", [[\x]], "" }, { "bytea", [[\x0001ff005c27]], "\0\1\255\0\\'" },

  { "json", '{"a": 1}', { a = 1 } }, { "json", " 1 ", 1 }, { "json", '"x"', "x" }, { "json", "null", luphant.NULL },
  { "jsonb", "[1, 2.5, null, true]", { 1, 2.5, luphant.NULL, true } }, { "jsonb", "{}", {} },
  { "jsonb", '{"list": [], "s": "\\u00e9\\n"}', { list = luphant.array {}, s = "é\n" } },

  { "date", "2024-02-29", "2024-02-29" }, { "date", "0044-03-15 BC", "0044-03-15 BC" },
  { "date", "infinity", "infinity" }, { "date", "-infinity", "-infinity" },
  { "date", "5874897-12-31", "5874897-12-31" }, { "date", "4714-11-24 BC", "4714-11-24 BC" },
  { "date", "0001-01-01 BC", "0001-01-01 BC" }, { "date", "10000-01-01", "10000-01-01" },
  { "time", "00:00:00", "00:00:00" }, { "time", "24:00:00", "24:00:00" },
  { "time", "23:59:59.999999", "23:59:59.999999" }, { "time", "12:30:00.5", "12:30:00.5" },
  { "timetz", "24:00:00+15:59:59", "24:00:00+15:59:59" }, { "timetz", "01:02:03.000004-08", "01:02:03.000004-08" },
  { "timetz", "12:00:00+05:30", "12:00:00+05:30" },
  { "timestamp", "2024-02-29 12:34:56.789", "2024-02-29 12:34:56.789" },
  { "timestamp", "294276-12-31 23:59:59.999999", "294276-12-31 23:59:59.999999" },
  { "timestamp", "4714-11-24 00:00:00 BC", "4714-11-24 00:00:00 BC" }, { "timestamp", "infinity", "infinity" },
  { "timestamp", "-infinity", "-infinity" }, { "timestamp", "1969-12-31 23:59:59.9", "1969-12-31 23:59:59.9" },
  { "timestamptz", "2024-02-29 12:34:56+02", "2024-02-29 10:34:56+00" },
  { "timestamptz", "294276-12-31 23:59:59.999999+00", "294276-12-31 23:59:59.999999+00" },
  { "timestamptz", "0044-03-15 00:00:00+00 BC", "0044-03-15 00:00:00+00 BC" },
  { "timestamptz", "infinity", "infinity" }, { "timestamptz", "-infinity", "-infinity" },
  { "interval", "1 year 2 months 3 days 04:05:06.789", "1 year 2 mons 3 days 04:05:06.789" },
  { "interval", "-1 year -2 months +3 days -04:05:06", "-1 years -2 mons +3 days -04:05:06" },
  { "interval", "-1 days +02:03:00", "-1 days +02:03:00" }, { "interval", "1 day -00:00:00.000001",
    "1 day -00:00:00.000001" }, { "interval", "0", "00:00:00" }, { "interval", "178000000 years", "178000000 years" },
  { "interval", "1 month -1 day", "1 mon -1 days" }, { "interval", "-2562047788:00:54.775807",
    "-2562047788:00:54.775807" },

  { "uuid", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11" },
  { "inet", "192.168.0.1/24", "192.168.0.1/24" }, { "inet", "10.0.0.1", "10.0.0.1" }, { "inet", "::1", "::1" },
  { "inet", "2001:db8::/32", "2001:db8::/32" }, { "inet", "::ffff:1.2.3.4", "::ffff:1.2.3.4" },
  { "cidr", "10.0.0.0/8", "10.0.0.0/8" }, { "cidr", "10.1.2.3", "10.1.2.3/32" }, { "cidr", "::/0", "::/0" },
  { "macaddr", "08:00:2b:01:02:03", "08:00:2b:01:02:03" },
  { "macaddr8", "08:00:2b:01:02:03:04:05", "08:00:2b:01:02:03:04:05" },
  { "bit(5)", "10110", "10110" }, { "bit varying", "", "" }, { "bit varying", "101100001", "101100001" },

  { "pg_lsn", "16/B374D848", "16/B374D848" }, { "tid", "(4294967295,65535)", "(4294967295,65535)" },
  { "point", "1.5,-2", "(1.5,-2)" }, { "lseg", "[(0,0),(1,1)]", "[(0,0),(1,1)]" },
  { "path", "[(0,0),(1,0.1)]", "[(0,0),(1,0.1)]" }, { "path", "((0,0),(1,1))", "((0,0),(1,1))" },
  { "box", "(2,2),(0,0)", "(2,2),(0,0)" }, { "polygon", "((0,0),(1,0),(1,1))", "((0,0),(1,0),(1,1))" },
  { "line", "{1,2,3}", "{1,2,3}" }, { "circle", "<(1,2),3>", "<(1,2),3>" },
  { "jsonpath", "$.a[*]", '$."a"[*]' },

  -- Only their text is known; it is what psql prints.
  { "money", "-1234.50", "-$1,234.50" }, { "tsvector", "a:1 'b c':2A", "'a':1 'b c':2A" },
  { "tsquery", "a & !b", "'a' & !'b'" }, { "regclass", "pg_class", "pg_class" }, { "regtype", "integer", "integer" },
  { "regproc", "now", "now" }, { "regprocedure", "now()", "now()" }, { "regoper", "||/", "||/" },
  { "regoperator", "+(integer,integer)", "+(integer,integer)" }, { "regconfig", "english", "english" },
  { "regdictionary", "simple", "simple" }, { "regrole", "postgres", "postgres" },
  { "regnamespace", "pg_catalog", "pg_catalog" }, { "regcollation", '"C"', '"C"' },
  { "int2vector", "1 2 3", "1 2 3" }, { "oidvector", "4 5", "4 5" }, { "pg_snapshot", "10:20:10,14", "10:20:10,14" },
  { "txid_snapshot", "10:20:10,14", "10:20:10,14" }, { "aclitem", "postgres=r/postgres", "postgres=r/postgres" },
}

-- Types no value of which can be written down, and the arrays and ranges of compound_spec.
local WITHOUT_VALUES = {
  gtsvector = true, pg_node_tree = true, pg_ndistinct = true, pg_dependencies = true, pg_mcv_list = true,
  pg_brin_bloom_summary = true, pg_brin_minmax_multi_summary = true,
}

local function quote(text) return "'" .. text:gsub("'", "''") .. "'" end

-- E'' because the table has backslashes, which standard strings keep.
local function literal(case) return quote(case[2]) .. "::" .. case[1] end

describe("a value of every built-in type", function()
  local sessions
  setup(function() sessions = values.sessions() end)
  teardown(function() values.close(sessions) end)

  for _, format in ipairs(values.formats) do
    it("is what the table says, read as " .. format, function()
      for _, case in ipairs(TABLE) do
        local got, err = sessions[format]:query_value("select " .. literal(case))
        assert(err == nil, err)
        values.expect(case[3], got, literal(case))
      end
    end)

    it("is the same in each shape of a row, read as " .. format, function()
      for _, case in ipairs(TABLE) do
        local conn, sql = sessions[format], "select " .. literal(case) .. " as v, null as n from generate_series(1, 2)"
        local what = literal(case)
        for _, row in ipairs(assert(conn:query(sql))) do
          values.expect(case[3], row.v, what)
          assert.is_nil(row.n)
        end
        local rows = assert(conn:query { sql, rows = "array" })
        values.expect({ { case[3], luphant.NULL }, { case[3], luphant.NULL } }, rows, what)
        rows = assert(conn:query { sql, rows = "columns" })
        values.expect({ v = { case[3], case[3] }, n = { luphant.NULL, luphant.NULL } }, rows, what)
        values.expect({ case[3], case[3] }, assert(conn:query_column(sql)), what)
        for v, n in conn:values(sql) do
          values.expect(case[3], v, what)
          assert.equal(luphant.NULL, n)
        end
      end
    end)

    it("is an element of an array like any other value, read as " .. format, function()
      for _, case in ipairs(TABLE) do
        local sql = ("select array[%s, null, %s]"):format(literal(case), literal(case))
        local got, err = sessions[format]:query_value(sql)
        assert(err == nil, err)
        -- JSON null is a value of json and NULL is none; in Lua both are luphant.NULL.
        values.expect({ case[3], luphant.NULL, case[3] }, got, sql)
      end
    end)

    it("is a field of a record, a bound of nothing and a value in a script, read as " .. format, function()
      local conn = sessions[format]
      for _, case in ipairs(TABLE) do
        assert(conn:script(("drop table if exists pg_temp.holder; create temp table holder (v %s, n int)")
          :format(case[1])))
        assert(conn:execute(("insert into holder values (%s)"):format(literal(case))))
        local row = assert(conn:query_value "select holder from holder")
        values.expect({ v = case[3] }, row, "row of " .. literal(case))
        local results = assert(conn:script("select v, n from holder"))
        values.expect({ { v = case[3] } }, results[1].rows, "script of " .. literal(case))
      end
    end)
  end

  it("goes back as a parameter and is the same to the server", function()
    for _, format in ipairs(values.formats) do
      local conn = sessions[format]
      for _, case in ipairs(TABLE) do
        local value, what = case[3], literal(case)
        if value ~= luphant.NULL then
          local want = assert(conn:query_value(("select (%s)::text"):format(what)))
          -- A bare string is JSON text already; luphant.json makes it a JSON string.
          value = case[1]:find "^json" and not case[1]:find "path" and luphant.json(value) or value
          local got, err = conn:query_value(("select ($1::%s)::text"):format(case[1]), value)
          assert(err == nil, err)
          if case[1] == "json" then got, want = got:gsub("%s", ""), want:gsub("%s", "") end
          assert.equal(want, got, what)
          got, err = conn:query_value(("select ($1::%s[])[2]::text"):format(case[1]), { luphant.NULL, value })
          assert(err == nil, err)
          if case[1] == "json" then got = got:gsub("%s", "") end
          assert.equal(want, got, "element " .. what)
        end
      end
    end
  end)

  it("is covered: there is no built-in type that the table leaves out", function()
    local covered = {}
    for _, case in ipairs(TABLE) do
      local name = assert(sessions.auto:query_value("select typname::text from pg_type where oid = $1::regtype",
        case[1]))
      covered[name] = true
    end
    local missing = {}
    for name in sessions.auto:values [[select typname::text from pg_type
      where typnamespace = 'pg_catalog'::regnamespace and typtype = 'b' and typinput <> 'array_in'::regproc]] do
      if not covered[name] and not WITHOUT_VALUES[name] then missing[#missing + 1] = name end
    end
    assert.same({}, missing)
  end)
end)

describe("void", function()
  local sessions
  setup(function() sessions = values.sessions() end)
  teardown(function() values.close(sessions) end)

  it("is no value: NULL in every shape", function()
    for _, format in ipairs(values.formats) do
      local conn = sessions[format]
      local value, err = conn:query_value "select pg_sleep(0)"
      assert.is_nil(value)
      assert.is_nil(err)
      assert.same({ { b = 1 } }, assert(conn:query "select pg_sleep(0) as a, 1 as b"))
      assert.same({ { luphant.NULL, 1 } }, assert(conn:query { "select pg_sleep(0), 1", rows = "array" }))
      for a, b in conn:values "select pg_sleep(0), 1" do
        assert.equal(luphant.NULL, a)
        assert.equal(1, b)
      end
    end
  end)
end)

describe("a long value", function()
  local sessions
  setup(function() sessions = values.sessions() end)
  teardown(function() values.close(sessions) end)

  local long = ("0123456789abcdé\n"):rep(65536) -- a little over 1 MB
  local bytes = {}
  for i = 0, 255 do bytes[i + 1] = string.char(i) end
  bytes = table.concat(bytes):rep(4096)

  it("of a megabyte comes and goes whole, alone and inside others", function()
    for _, format in ipairs(values.formats) do
      local conn = sessions[format]
      assert.equal(long, (conn:query_value("select $1::text", long)))
      assert.equal(#long, (conn:query_value("select octet_length($1)", long)))
      assert.equal(bytes, (conn:query_value("select $1::bytea", bytes)))
      values.expect({ long, "x", long }, conn:query_value("select $1::text[]", { long, "x", long }), "array")
      values.expect({ bytes }, conn:query_value("select $1::bytea[]", { bytes }), "array of bytea")
      values.expect({ a = long }, conn:query_value("select $1::jsonb", { a = long }), "jsonb")
    end
  end)

  it("of a numeric with every digit there can be", function()
    local most = ("8"):rep(131072) .. "." .. ("4"):rep(16383)
    for _, format in ipairs(values.formats) do
      local got = assert(sessions[format]:query_value("select $1::numeric", most))
      assert(got == most, "digits were lost")
    end
  end)
end)
