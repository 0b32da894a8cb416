-- result_format = "raw": every value is the text of the server itself, whatever its type and whatever the settings of
-- the session make of it, and no type is looked up.
--
-- To see it fail: let wants_binary in csrc/core ask for binary results under "raw", or have lcell_push decode them.
--
-- SPDX-License-Identifier: MIT

local luphant = require "luphant"
local probe = require "spec.support.probe"
local values = require "spec.support.values"

describe("result_format = \"raw\"", function()
  local conn

  before_each(function() conn = values.connect { result_format = "raw" } end)
  after_each(function() conn:close() end)

  it("gives the text of values of any type", function()
    local row = assert(conn:query_one [[select 7::int2 i2, 9007199254740993::int8 i8, 1.50::numeric n, 0.1::float8 f,
      true b, '\x00ff'::bytea y, '{"a": [1, null]}'::jsonb j, array[1, null, 3] a, row(1, 'x y') r, int4range(1, 5) g,
      '{{a,"b c"}}'::text[] t, date '2024-02-29' d, interval '1 day 02:00' v, null::int nothing]])
    assert.same({
      i2 = "7", i8 = "9007199254740993", n = "1.50", f = "0.1", b = "t", y = "\\x00ff", j = '{"a": [1, null]}',
      a = "{1,NULL,3}", r = '(1,"x y")', g = "[1,5)", t = '{{a,"b c"}}', d = "2024-02-29", v = "1 day 02:00:00",
    }, setmetatable(row, nil))
  end)

  it("gives it as the session's settings make it", function()
    assert(conn:script "set datestyle = 'German'; set bytea_output = 'escape'; set extra_float_digits = -10")
    local row = assert(conn:query_one "select date '2024-02-29' as d, '\\xff'::bytea as y, 1.23456789::float8 as f")
    assert.same({ d = "29.02.2024", y = "\\377", f = "1.2346" }, setmetatable(row, nil))
  end)

  it("looks no type up, those of users neither", function()
    local types = require "luphant.types"
    local load, loads = types.load, 0
    types.load = function(...)
      loads = loads + 1
      return load(...)
    end
    local ok, err = pcall(function()
      for format, expected in pairs { raw = { "wild", "(1,x)", 0 }, auto = { "wild", { a = 1, m = "x" }, 1 } } do
        local other = values.connect { result_format = format }
        assert(other:script [[create type pg_temp.mood as enum ('calm', 'wild');
          create type pg_temp.pair as (a int, m text)]])
        loads = 0
        local row = assert(other:query_one "select 'wild'::pg_temp.mood as m, (1, 'x')::pg_temp.pair as p")
        assert.equal(expected[1], row.m)
        assert.same(expected[2], type(row.p) == "table" and { a = row.p.a, m = row.p.m } or row.p)
        assert.equal(expected[3], math.min(loads, 1))
        other:close()
      end
    end)
    types.load = load
    if not ok then error(err, 0) end
  end)

  it("holds for every verb and shape", function()
    assert.equal("1", conn:query_value "select 1")
    assert.same({ "1", "2" }, (conn:query_column "select n from generate_series(1, 2) n"))
    assert.same({ { "1", luphant.NULL, "t" } },
      { setmetatable(assert(conn:query_one { "select 1, null::int, true", rows = "array" }), nil) })
    local sum = {}
    for n, t in conn:values "select n, n > 1 from generate_series(1, 2) n" do sum[#sum + 1] = n .. t end
    assert.same({ "1f", "2t" }, sum)
    for row in conn:stream "select 5 as n" do assert.equal("5", row.n) end
    assert.equal("6", assert(conn:batch { "select 6 as n" })[1][1].n)
    assert.equal("7", assert(conn:script "select 7 as n; select 8")[1].rows[1].n)
    assert.equal("9", assert(conn:prepare "select $1::int + 1"):query_value(8))
  end)

  it("leaves parameters as they are: Lua values, checked", function()
    assert.equal("8", conn:query_value("select $1::int + 1", 7))
    assert.equal("{1,2}", conn:query_value("select $1::int[]", luphant.array { 1, 2 }))
    local err = select(2, conn:query("select $1::int", "x"))
    assert.equal("parameter", err.kind)
    probe.usable(conn)
  end)
end)
