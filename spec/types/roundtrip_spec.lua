-- Value -> PostgreSQL -> value: what goes in comes out, for values of chance (the same in every run). Each value
-- travels alone, in an array, in a composite and in a range where its type allows; the comparison is exact to the
-- last bit, the sign of zero and the kind of number.

local luphant = require "luphant"
local probe = require "spec.support.probe"
local shell = require "luphant.testing.shell"
local values = require "spec.support.values"

local NULL = luphant.NULL
local random = values.generator(20)

local function pick(list) return list[random(#list) + 1] end

local PIECES = { "a", "Z", "0", " ", '"', "\\", "'", "{", "}", ",", "(", ")", "[", "]", ";", "=>", "NULL", "null",
  "\n", "\t", "\r", "\1", "\127", "é", "€", "😀", "$1", "--", "/*", "%", ":", ".", "\194\160", "", "''", '""' }

local function text()
  local parts = {}
  for i = 1, random(12) do parts[i] = pick(PIECES) end
  return table.concat(parts)
end

local function bytes()
  local parts = {}
  for i = 1, random(30) do parts[i] = string.char(random(256)) end
  return table.concat(parts)
end

-- Any bit pattern of a double; both words at random, so that denormals, infinities and NaN come up with the special
-- exponents that are mixed in.
local function float8()
  local sign, exponent = random(2), pick { random(2047), random(2047), 0, 1, 2046, 1023, 1075 }
  local fraction = (random(2 ^ 26) * 2 ^ 26 + random(2 ^ 26)) / 2 ^ 52
  local value = exponent == 0 and fraction * 2 ^ -1022 or (1 + fraction) * 2.0 ^ (exponent - 1023)
  return sign == 1 and -value or value
end

local function float4()
  local exponent = pick { random(254) + 1, 0, 1, 127, 254 }
  local fraction = random(2 ^ 23) / 2 ^ 23
  local value = exponent == 0 and fraction * 2 ^ -126 or (1 + fraction) * 2.0 ^ (exponent - 127)
  return random(2) == 1 and -value or value
end

local function digits(count)
  local out = {}
  for i = 1, count do out[i] = tostring(random(10)) end
  return table.concat(out)
end

local function int8()
  local text_of_it = digits(1 + random(18)):gsub("^0+(%d)", "%1")
  return values.int8((random(2) == 1 and text_of_it ~= "0" and "-" or "") .. text_of_it)
end

local function numeric()
  local whole, scale = digits(random(40)):gsub("^0+", ""), pick { 0, 0, 1, 4, 20, 60 }
  local out = (whole == "" and "0" or whole) .. (scale > 0 and "." .. digits(scale) or "")
  return out:find "[1-9]" and random(2) == 1 and "-" .. out or out
end

local DAYS = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }
local function date()
  local month = 1 + random(12)
  local year = pick { 1 + random(4712), 1970 + random(60), 1 + random(200000) }
  return ("%04d-%02d-%02d"):format(year, month, 1 + random(DAYS[month])), year < 4713 and random(3) == 0 and " BC" or ""
end

local function clock()
  local fraction = pick { "", (("." .. digits(6)):gsub("%.?0+$", "")) }
  return ("%02d:%02d:%02d"):format(random(24), random(60), random(60)) .. fraction
end

local function date_text() return table.concat { date() } end

local function timestamp(zone)
  local day, era = date()
  return day .. " " .. clock() .. zone .. era
end

local function interval()
  local months, days, us = random(4000) - 2000, random(4000) - 2000,
    (random(1073741824) - 536870912) * 1000 + random(1000)
  return { months = pick { 0, months }, days = pick { 0, days }, us = pick { 0, us } }
end

local function uuid() return (("%08x-%04x-%04x-%04x-%06x%06x"):format(random(2 ^ 31), random(65536), random(65536),
  random(65536), random(2 ^ 24), random(2 ^ 24))) end

local function json(depth)
  local kind = random(depth > 3 and 5 or 7)
  if kind == 0 then return NULL end
  if kind == 1 then return random(2) == 0 end
  if kind == 2 then return pick { random(2 ^ 30), -random(2 ^ 30), 0.5, -1e-7, 1e300,
    values.is_luajit and 3 or 3.0 } end
  if kind <= 4 then return (text():gsub("%z", "")) end
  local value = {}
  if kind == 5 then
    for i = 1, random(5) do value[i] = json(depth + 1) end
    return luphant.array(value)
  end
  for _ = 1, random(5) do value["k" .. text()] = json(depth + 1) end
  return value
end

-- { type, generator }
local TYPES = {
  { "bool", function() return random(2) == 1 end }, { "int2", function() return random(65536) - 32768 end },
  { "int4", function() return (random(65536) - 32768) * 65536 + random(65536) end }, { "int8", int8 },
  { "oid", function() return random(65536) * 65536 + random(65536) end },
  { "float8", float8 }, { "float4", float4 }, { "numeric", numeric }, { "text", text }, { "varchar", text },
  { "bytea", bytes }, { "date", date_text }, { "time", clock },
  { "timestamp", function() return timestamp "" end }, { "timestamptz", function() return timestamp "+00" end },
  { "uuid", uuid }, { "varbit", function() return (digits(random(40)):gsub("[2-9]", "1")) end },
}

-- A (sub-)array of these sizes with NULLs in it.
local function nested(sizes, depth, make)
  local list = {}
  for i = 1, sizes[depth] do
    if depth < #sizes then
      list[i] = nested(sizes, depth + 1, make)
    else
      list[i] = random(6) == 0 and NULL or make()
    end
  end
  return list
end

local function random_array(make)
  local sizes = {}
  for i = 1, 1 + random(3) do sizes[i] = 1 + random(4) end
  return nested(sizes, 1, make)
end

describe("a value of chance comes back as it was sent", function()
  local sessions
  setup(function() sessions = values.sessions() end)
  teardown(function() values.close(sessions) end)

  for _, case in ipairs(TYPES) do
    it(("as %s, alone and in arrays"):format(case[1]), function()
      local scalar, list = ("select $1::%s"):format(case[1]), ("select $1::%s[]"):format(case[1])
      for _ = 1, 150 do
        local value, array = case[2](), random_array(case[2])
        for format, conn in pairs(sessions) do
          local got, err = conn:query_value(scalar, value)
          assert(err == nil, err)
          values.expect(value, got, case[1] .. " read as " .. format)
          got, err = conn:query_value(list, array)
          assert(err == nil, err)
          values.expect(array, got, case[1] .. "[] read as " .. format)
        end
      end
    end)
  end

  it("in a composite of all types, with NULLs, in arrays of them, and as a column list", function()
    local fields = {}
    for i, case in ipairs(TYPES) do fields[i] = ("f%d %s, l%d %s[]"):format(i, case[1], i, case[1]) end
    assert(sessions.auto:script("drop type if exists all_sorts; create type all_sorts as ("
      .. table.concat(fields, ", ") .. ")"))
    for _ = 1, 40 do
      local list = {}
      for n = 1, 1 + random(3) do
        list[n] = {}
        for i, case in ipairs(TYPES) do
          if random(4) > 0 then list[n]["f" .. i] = case[2]() end
          if random(4) == 0 then list[n]["l" .. i] = random_array(case[2]) end
        end
      end
      for format, conn in pairs(sessions) do
        local got, err = conn:query_value("select $1::all_sorts[]", list)
        assert(err == nil, err)
        values.expect(list, got, "all_sorts[] read as " .. format)
        got, err = conn:query("select (unnest($1::all_sorts[])).*", list)
        assert(err == nil, err)
        for n = 1, #list do values.expect(list[n], got[n], "columns read as " .. format) end
      end
    end
    assert(sessions.auto:script "drop type all_sorts")
  end)

  it("as hstore and JSON of any shape", function()
    assert(sessions.auto:script "create extension if not exists hstore")
    for _ = 1, 150 do
      local pairs_of_text = {}
      for _ = 1, random(8) do pairs_of_text[text()] = random(4) == 0 and NULL or text() end
      local document = json(0)
      for format, conn in pairs(sessions) do
        values.expect(pairs_of_text, conn:query_value("select $1::hstore", pairs_of_text), "hstore read as " .. format)
        for _, kind in ipairs { "json", "jsonb" } do
          local got, err = conn:query_value(("select $1::%s"):format(kind), luphant.json(document))
          assert(err == nil, err)
          values.expect(document, got, kind .. " read as " .. format)
        end
      end
    end
  end)

  it("as ranges and multiranges", function()
    for _, case in ipairs { { "int8range", int8 }, { "numrange", numeric }, { "tsrange",
      function() return timestamp "" end } } do
      local made = 0
      while made < 60 do
        local low, high = case[2](), case[2]()
        local range = { lower = low, upper = high, bounds = case[1] == "int8range" and "[)" or pick { "[)", "[]",
          "(]", "()" } }
        if random(5) == 0 then range.lower = nil end
        if random(5) == 0 then range.upper = nil end
        if range.lower == nil then range.bounds = "(" .. range.bounds:sub(2) end
        if range.upper == nil then range.bounds = range.bounds:sub(1, 1) .. ")" end
        local value, err = sessions.auto:query_value(("select $1::%s"):format(case[1]), range)
        if not err and not value.empty then
          made = made + 1
          for format, conn in pairs(sessions) do
            values.expect(range, conn:query_value(("select $1::%s"):format(case[1]), range),
              case[1] .. " as " .. format)
            local multi = ("select $1::%s"):format((case[1]:gsub("range", "multirange")))
            values.expect({ range }, conn:query_value(multi, { range }), "multi" .. case[1] .. " as " .. format)
          end
        elseif err then
          assert.equal("data_exception", err.kind)
        end
      end
    end
  end)

  it("as tables of dates, times and intervals", function()
    local tables = values.sessions { datetime = "table" }
    for _ = 1, 150 do
      local span = interval()
      for format, conn in pairs(tables) do
        values.expect(span, conn:query_value("select $1::interval", span), "interval read as " .. format)
        for _, kind in ipairs { "date", "time", "timestamp", "timestamptz" } do
          local literal = kind == "date" and date_text() or kind == "time" and clock() or timestamp ""
          local parts = assert(conn:query_value(("select $1::%s"):format(kind), literal))
          values.expect(parts, conn:query_value(("select $1::%s"):format(kind), parts), kind .. " " .. literal)
          assert.equal((sessions.auto:query_value(("select $1::%s::text"):format(kind), literal)),
            (sessions.auto:query_value(("select $1::%s::text"):format(kind), parts)))
        end
      end
    end
    values.close(tables)
  end)

  it("as seconds since 1970, to the microsecond", function()
    local epochs = values.sessions { datetime = "epoch" }
    for _ = 1, 300 do
      local seconds = (random(2 ^ 31) - 2 ^ 30) * 2.0 + random(1000000) / 1e6
      for format, conn in pairs(epochs) do
        for _, kind in ipairs { "timestamp", "timestamptz" } do
          local got, err = conn:query_value(("select $1::%s"):format(kind), seconds)
          assert(err == nil, err)
          values.expect(seconds, got, kind .. " read as " .. format)
        end
      end
    end
    values.close(epochs)
  end)
end)

describe("numbers", function()
  it("keep every bit of a double, and integers of Lua 5.4 stay integers", function()
    local conn = values.connect()
    for _ = 1, 3000 do
      local value = float8()
      local got, hex = values.unpack(conn:query({ "select $1::float8, encode(float8send($1::float8), 'hex')",
        rows = "array" }, value)[1])
      values.expect(value, got, hex)
    end
    for _ = 1, 1000 do
      local value = int8()
      values.expect(value, conn:query_value("select $1::int8", value), "int8")
      local text_of_it = type(value) == "number" and ("%.0f"):format(value) or value
      if not values.is_luajit then text_of_it = tostring(value) end
      assert.equal(text_of_it, (conn:query_value("select $1::int8::text", value)))
    end
    conn:close()
  end)

  -- Locales with a comma may not be installed; one is made for the test.
  it("do not depend on the locale of the process", function()
    local dir = assert(shell.run "mktemp -d")
    shell.write_file(dir .. "/comma.src",
      'comment_char %\nescape_char /\nLC_NUMERIC\ndecimal_point ","\nthousands_sep "."\ngrouping 3;3\nEND LC_NUMERIC\n')
    shell.run(("localedef -c --no-archive -i %s/comma.src -f ANSI_X3.4-1968 %s/comma"):format(dir, dir))
    local output = probe.script({ LOCPATH = dir, LUPHANT_TEST_URL = require("spec.support.env").url() }, [[
      if not os.setlocale "comma" then print "no locale" os.exit(0) end
      assert(rawget(_G, "jit") or tostring(1.5) == "1,5")
      local luphant = require "luphant"
      for _, format in ipairs { "auto", "text" } do
        local conn = assert(luphant.connect(os.getenv "LUPHANT_TEST_URL", { result_format = format }))
        local function same(value, sql)
          local got, err = conn:query_value(sql, value)
          assert(got == value, err or sql .. " gave " .. tostring(got))
        end
        local half = 1 / 2
        same(half, "select $1::float8")
        same(half, "select $1::float4")
        same(-1 / 3, "select $1::float8")
        same(1 / 3 * 2 ^ -1040, "select $1::float8")
        same("1234567.125", "select $1::numeric")
        assert(conn:query_value("select $1::numeric", half) == "0.5")
        assert(conn:query_value("select $1::float8[]", { half })[1] == half)
        assert(conn:query_value("select $1::jsonb", { half })[1] == half)
        assert(conn:query_value("select $1::timestamptz", 1 + half) == "1970-01-01 00:00:01.5+00")
        assert(conn:query_value("select point(1.5, 2.5)") == "(1.5,2.5)")
        conn:close()
        conn = assert(luphant.connect(os.getenv "LUPHANT_TEST_URL", { result_format = format, numeric = "number",
          datetime = "epoch" }))
        assert(conn:query_value("select 1.5::numeric") == 3 / 2)
        assert(conn:query_value("select to_timestamp(1.5)") == 3 / 2)
        conn:close()
      end
      print "good"
    ]])
    shell.run("rm -rf " .. shell.quote(dir))
    if output:find "^no locale" then return pending "no locale with a decimal comma could be made" end
    assert.equal("good", output)
  end)
end)
