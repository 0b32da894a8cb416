-- What a user sets in the session must not change a value. Each combination of the settings that change how the
-- server prints or reads values is compared with a session in which nothing was set. Read in binary, all values must
-- be the same; read as text, a value is the same or refused with an error of kind "decode", never another value.

local env = require "spec.support.env"
local luphant = require "luphant"
local values = require "spec.support.values"

local SETTINGS = {
  { "DateStyle", { "ISO, MDY", "SQL, DMY", "German", "Postgres, MDY", "ISO, YMD" } },
  { "IntervalStyle", { "postgres", "sql_standard", "postgres_verbose", "iso_8601" } },
  { "TimeZone", { "UTC", "Asia/Kolkata", "America/St_Johns" } },
  { "bytea_output", { "hex", "escape" } },
  { "extra_float_digits", { "1", "3", "0", "-15" } },
}

-- { expression, type }
local VALUES = {
  { "'2024-02-03'", "date" }, { "'0044-03-15 BC'", "date" }, { "'12345-06-07'", "date" }, { "'infinity'", "date" },
  { "'2024-02-03 04:05:06.789'", "timestamp" }, { "'0001-02-03 04:05:06 BC'", "timestamp" },
  { "'-infinity'", "timestamp" }, { "'2024-02-03 04:05:06.789+00'", "timestamptz" },
  { "'1883-11-18 12:00:00+00'", "timestamptz" }, { "'4714-11-24 00:00:00+00 BC'", "timestamptz" },
  { "'294276-12-31 23:59:59.999999+00'", "timestamptz" }, { "'04:05:06.789'", "time" },
  { "'04:05:06-03:30'", "timetz" },
  { "'1 year 2 mons 3 days 04:05:06.7'", "interval" }, { "'-1 year -2 mons +3 days -04:05:06.7'", "interval" },
  { "'-1 days +02:03:04'", "interval" }, { "'1 mon -3 days -00:00:00.000001'", "interval" }, { "'0'", "interval" },
  { "'-04:05:06'", "interval" }, { "'-3 days'", "interval" }, { "'12:30:00'", "interval" }, { "'2 years'", "interval" },
  { "'-1 years -2 mons'", "interval" }, { "'3 days -04:00:00'", "interval" }, { "'100:00:00'", "interval" },
  { [['\x00015c27ff61']], "bytea" }, { [['\x5c783631']], "bytea" }, { "''", "bytea" },
  { "'0.30000000000000004'", "float8", is_float = true }, { "'5e-324'", "float8", is_float = true },
  { "'1.7976931348623157e308'", "float8", is_float = true }, { "'0.1'", "float4", is_float = true },
  { "'16777217'", "float8", is_float = true }, { "'1234567.125'", "numeric" }, { "'9223372036854775807'", "int8" },
  { "'(0.30000000000000004,1e-300)'", "point", is_float = true },
  { "array['2024-02-03', null, '0044-03-15 BC']", "date[]" }, { "array['\\x00ff'::bytea, '']", "bytea[]" },
  { "array['2024-02-03 04:05:06+00']", "timestamptz[]" }, { "array['-1 days +02:03:04']", "interval[]" },
  { "array[0.30000000000000004]", "float8[]", is_float = true }, { "'[2024-02-03,2024-05-06)'", "daterange" },
  { "'[2024-02-03 04:05:06+00,)'", "tstzrange" }, { "'{[2024-02-03,2024-05-06)}'", "datemultirange" },
  { "('2024-02-03', '2024-02-03 04:05:06+00', '-1 days +02:03:04', '\\xff00', 0.1)", "everything", is_float = true },
}

local function expression(case) return case[1] .. "::" .. case[2] end

-- Calls fn(setting) for every combination.
local function combinations(fn)
  local chosen = {}
  local function choose(i)
    if not SETTINGS[i] then return fn(chosen) end
    for _, value in ipairs(SETTINGS[i][2]) do
      chosen[i] = value
      choose(i + 1)
    end
  end
  choose(1)
end

local function apply(conn, chosen)
  for i, value in ipairs(chosen) do
    assert(conn:query_value("select set_config($1, $2, false)", SETTINGS[i][1], value))
  end
  return table.concat(chosen, " / ")
end

describe("settings of the session", function()
  local plain, expected
  setup(function()
    plain = values.connect()
    assert(plain:script [[
      drop type if exists everything;
      create type everything as (d date, at timestamptz, i interval, b bytea, f float8);
    ]])
    expected = {}
    for i, case in ipairs(VALUES) do expected[i] = assert(plain:query_value("select " .. expression(case))) end
  end)
  teardown(function()
    assert(plain:script "drop type everything")
    plain:close()
  end)

  it("change no value that is read in binary, in any combination #slow", function()
    local conn = values.connect()
    local columns = {}
    for i, case in ipairs(VALUES) do columns[i] = expression(case) end
    local sql = "select " .. table.concat(columns, ", ")
    combinations(function(chosen)
      local where = apply(conn, chosen)
      local rows = assert(conn:query { sql, rows = "array" })
      for i, case in ipairs(VALUES) do values.expect(expected[i], rows[1][i], case[1] .. " under " .. where) end
    end)
    conn:close()
  end)

  -- With extra_float_digits below 1 the server itself leaves digits out, and nothing in the text shows it: floats are
  -- refused, whether or not they would have lost any.
  it("change no value that is read as text: it is the same, or refused #slow", function()
    local conn = values.connect { result_format = "text" }
    local same, refused = 0, 0
    combinations(function(chosen)
      local where = apply(conn, chosen)
      local loses_digits = tonumber(chosen[5]) < 1
      for i, case in ipairs(VALUES) do
        local got, err = conn:query_value("select " .. expression(case))
        if err then
          assert.equal("decode", err.kind)
          assert.equal("yes", err.sent)
          refused = refused + 1
        else
          assert.is_false(case.is_float and loses_digits or false)
          values.expect(expected[i], got, case[1] .. " under " .. where)
          same = same + 1
        end
      end
    end)
    assert.equal(4, conn:query_value "select 2 + 2")
    assert(same > refused and refused > 0, ("%d same, %d refused"):format(same, refused))
    conn:close()
  end)

  it("refuse nothing as text while DateStyle is ISO and IntervalStyle postgres", function()
    local conn = values.connect { result_format = "text" }
    combinations(function(chosen)
      if not chosen[1]:find "^ISO" or chosen[2] ~= "postgres" or tonumber(chosen[5]) < 1 then return end
      local where = apply(conn, chosen)
      for i, case in ipairs(VALUES) do
        local got, err = conn:query_value("select " .. expression(case))
        assert(err == nil, err)
        values.expect(expected[i], got, case[1] .. " under " .. where)
      end
    end)
    conn:close()
  end)

  it("refuse floats beside a column without binary form when extra_float_digits is below 1", function()
    local conn = values.connect()
    local sql = "select 2 as n, 0.30000000000000004::float8 as share, 1::money as price"
    for _, setting in ipairs { "1", "3" } do
      assert(conn:execute("set extra_float_digits = " .. setting))
      assert.equal(0.30000000000000004, assert(conn:query_one(sql)).share)
    end
    assert(conn:execute "set extra_float_digits = 0")
    local row, err = conn:query_one(sql)
    assert.is_nil(row)
    assert.equal("decode", err.kind)
    assert.truthy(err.message:find('column "share" (double precision)', 1, true))
    assert.truthy(err.message:find("extra_float_digits = 0", 1, true))
    assert.equal(0.30000000000000004, conn:query_value "select 0.30000000000000004::float8") -- in binary
    assert.equal("$1.00", conn:query_value "select 1::money")
    conn:close()
  end)

  it("refuse them in a transaction, which then commits nothing, and through a pool that shares", function()
    local db = assert(luphant.open(env.url(), { max_connections = 2, share = true }))
    local sql = "select 0.1::float4 as share, 1::money as price"
    assert(db:query_one(sql))
    local done, err = db:transaction(function(tx)
      assert(tx:execute "set local extra_float_digits = -3")
      tx:query(sql)
      return true
    end)
    assert.is_nil(done)
    assert.equal("decode", err.kind)
    assert(db:query_one(sql))
    assert.is_true(db:close(1))
  end)

  it("refuse the floats of a script, which is always text", function()
    local conn = values.connect()
    assert.equal(0.30000000000000004, assert(conn:script "select 0.30000000000000004::float8 as f")[1].rows[1].f)
    assert(conn:script "set extra_float_digits = 0; select 1")
    local results, err = conn:script "select 1; select array[0.30000000000000004::float8]"
    assert.is_nil(results)
    assert.equal("decode", err.kind)
    assert.truthy(err.message:find("extra_float_digits = 0", 1, true))
    assert.equal(1, #assert(conn:script "select 1"))
    conn:close()
  end)

  it("name what to set when text is not understood", function()
    local conn = values.connect { result_format = "text" }
    assert(conn:execute "set datestyle = 'German'")
    local value, err = conn:query_value "select date '2024-02-03' as day"
    assert.is_nil(value)
    assert.equal("decode", err.kind)
    assert.truthy(err.message:find('column "day" (date)', 1, true))
    assert.truthy(err.message:find("DateStyle", 1, true))
    conn:close()
  end)

  it("change no value that is sent, in any combination #slow", function()
    local conn = values.connect()
    local columns, parameters = {}, {}
    for i, case in ipairs(VALUES) do
      columns[i] = ("($%d::%s)"):format(i, case[2])
      parameters[i] = expected[i]
    end
    local sql = "select " .. table.concat(columns, ", ")
    combinations(function(chosen)
      local where = apply(conn, chosen)
      local rows = assert(conn:query({ sql, rows = "array" }, values.unpack(parameters)))
      for i, case in ipairs(VALUES) do values.expect(expected[i], rows[1][i], case[1] .. " sent under " .. where) end
    end)
    conn:close()
  end)

  it("change neither tables nor seconds that stand for dates and times #slow", function()
    for _, style in ipairs { "table", "epoch" } do
      local reference, conn = values.connect { datetime = style }, values.connect { datetime = style }
      combinations(function(chosen)
        if chosen[4] ~= "hex" or chosen[5] ~= "1" then return end
        local where = apply(conn, chosen)
        for _, case in ipairs(VALUES) do
          -- The last microsecond there is has no float of its own: it is the next second, which does not exist.
          local has_float = style == "table" or not case[1]:find "294276"
          if has_float and (case[2]:find "^date$" or case[2]:find "^time" or case[2] == "interval") then
            local want = assert(reference:query_value("select " .. expression(case)))
            values.expect(want, assert(conn:query_value("select " .. expression(case))), case[1] .. " under " .. where)
            values.expect(want, assert(conn:query_value(("select $1::%s"):format(case[2]), want)),
              case[1] .. " sent under " .. where)
          end
        end
      end)
      reference:close()
      conn:close()
    end
  end)

  it("of money change its text only, which is what psql prints", function()
    for _, format in ipairs(values.formats) do
      local conn = values.connect { result_format = format }
      for _, locale in ipairs { "C", "C.utf8", "POSIX", "en_US.utf8", "de_DE.utf8" } do
        for _, name in ipairs { "lc_monetary", "lc_numeric" } do conn:query_value("select set_config($1, $2, false)",
          name, locale) end
        assert.equal((conn:query_value "select '-1234567.5'::numeric::money::text"),
          (conn:query_value "select '-1234567.5'::numeric::money"))
        values.expect("1234567.5", conn:query_value "select 1234567.5", locale)
        values.expect(1234567.5, conn:query_value "select 1234567.5::float8", locale)
        values.expect("1234567.5", conn:query_value("select $1::numeric", "1234567.5"), locale)
        values.expect(0.1, conn:query_value("select $1::float8", 0.1), locale)
      end
      conn:close()
    end
  end)

  it("do not let standard_conforming_strings or backslash_quote near a parameter", function()
    local conn = values.connect()
    assert(conn:execute "set standard_conforming_strings = off")
    local text = [[a\'b\\c''d"e]]
    assert.equal(text, (conn:query_value("select $1::text", text)))
    values.expect({ text, luphant.NULL }, conn:query_value("select $1::text[]", { text, luphant.NULL }), "array")
    conn:close()
  end)
end)
