-- copy_in: what goes in, what is refused, and that it is all or nothing.
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local luphant = require "luphant"
local probe = require "spec.support.probe"

local NULL = luphant.NULL

describe("copy_in", function()
  local conn

  before_each(function()
    conn = assert(luphant.connect(env.url()))
    assert(conn:execute "create temp table t (id int4, name text, amount float8, ok bool)")
  end)
  after_each(function()
    probe.usable(conn)
    conn:close()
  end)

  local function count(of) return conn:query_value("select count(*) from " .. (of or "t")) end
  local function all(of) return conn:query { ("select * from %s order by 1"):format(of or "t"), rows = "array" } end

  it("puts rows of values, nil for NULL, and answers how many", function()
    local w = assert(conn:copy_in "t")
    assert.is_true(w:row(1, "one", 1.5, true))
    assert.is_true(w:row(2, nil, nil, nil))
    assert.is_true(w:row(3, "", -0.0, false))
    assert.equal(3, w:finish())
    assert.equal(3, w:finish())
    local rows = all()
    assert.same({ 1, "one", 1.5, true }, rows[1])
    assert.same({ 2, NULL, NULL, NULL }, rows[2])
    assert.equal(-math.huge, 1 / rows[3][3])
  end)

  it("takes no row at all, and a column list", function()
    assert.equal(0, assert(conn:copy_in "t"):finish())
    local w = assert(conn:copy_in("t", { columns = { "ok", "id" } }))
    assert(w:row(true, 7))
    assert.equal(1, w:finish())
    assert.same({ { 7, NULL, NULL, true } }, all())
  end)

  it("puts arrays of rows, by place and by name, and iterators", function()
    local w = assert(conn:copy_in "t")
    assert(w:rows { { 1, "a", 1, true }, { 2, NULL, 2 }, { id = 3, name = "c" }, {} })
    local n = 3
    assert(w:rows(function()
      n = n + 1
      return n <= 1003 and { n, "row " .. n, n / 2, n % 2 == 0 } or nil
    end))
    assert(w:rows(coroutine.wrap(function() coroutine.yield { id = 2000 } end)))
    assert.equal(1005, w:finish())
    assert.same({ name = "c" }, conn:query_one "select name, amount from t where id = 3")
    assert.equal(1000, conn:query_value "select count(*) from t where amount = id / 2.0 and name = 'row ' || id")
  end)

  it("puts column lists, by name and in order", function()
    local w = assert(conn:copy_in("t", { columns = { "id", "name" } }))
    assert(w:columns { id = { 1, 2, 3 }, name = { "a", NULL, "c" } })
    assert(w:columns { { 4, 5 }, { [2] = "e" }, n = 2 })
    assert.equal(5, w:finish())
    assert.same({ "a", NULL, "c", NULL, "e" }, conn:query_column "select name from t order by id")
  end)

  it("puts bytes as they are, cut anywhere", function()
    local csv = { "id,name,amount,ok\n" }
    for i = 1, 5000 do csv[i + 1] = ('%d,"name, of ""%d""",%d.5,%s\n'):format(i, i, i, i % 2 == 0 and "t" or "") end
    local text = table.concat(csv)
    local w = assert(conn:copy_in("t", { format = "csv", header = true }))
    for at = 1, #text, 977 do assert(w:write(text:sub(at, at + 976))) end
    assert.equal(5000, w:finish())
    w = assert(conn:copy_in("t", { format = "csv", header = true }))
    assert(w:write(text))
    assert.equal(5000, w:finish())
    assert.equal(5000, conn:query_value [[select count(distinct name) from t where name = format('name, of "%s"', id)]])
  end)

  it("takes every option of CSV", function()
    local w = assert(conn:copy_in("t", {
      format = "csv", delimiter = ";", quote = "'", escape = "\\", null = "\\N", columns = { "id", "name" },
    }))
    assert(w:write "1;'it\\'s;'\n2;\\N\n")
    assert.equal(2, w:finish())
    assert.same({ "it's;", NULL }, conn:query_column "select name from t order by id")
  end)

  it("takes a COPY statement: bytes, and rows when the types are named", function()
    local w = assert(conn:copy_in "copy t (id, name) from stdin")
    assert(w:write "1\tone\n")
    assert.equal(1, w:finish())
    w = assert(conn:copy_in("COPY t (id, name) FROM STDIN (format binary)", { types = { "int4", "text" } }))
    assert(w:row(2, "two"))
    assert.equal(1, w:finish())
    w = assert(conn:copy_in("copy t (id, name) from stdin", { types = { "int4", "text" } }))
    assert(w:row(3, "tab\t, line\n, back\\slash"))
    assert.equal(1, w:finish())
    assert.equal("tab\t, line\n, back\\slash", conn:query_value "select name from t where id = 3")
  end)

  it("carries every type, in text where binary is not enough", function()
    assert(conn:script [[
      create type pg_temp.mood as enum ('sad', 'fine');
      create domain pg_temp.small as int check (value < 100);
      create temp table every (i2 int2, i8 int8, f4 float4, n numeric(20, 5), v varchar(5), b bytea, j json, jb jsonb,
        u uuid, d date, ts timestamptz, iv interval, a int[], tt text[], m pg_temp.mood, s pg_temp.small, r int4range,
        ip inet)]])
    local values = {
      -3, 9007199254740991, 0.1, "123456789.12345", "caf\195\169", "\0\1\255\\", luphant.json { 1, "x" },
      { a = { b = true } }, "{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}", "2024-02-29", "2024-02-29 12:00:00.5+00",
      "1 day 02:00:00", { 1, NULL, 3 }, { "a,b", 'q"\\', "" }, "fine", 99, "[1,5)", "10.0.0.1",
    }
    local w = assert(conn:copy_in "every")
    assert(w:row(require("luphant.compat").unpack(values)))
    assert.equal(1, w:finish())
    for _, columns in ipairs { { "i2", "i8", "f4", "v", "b", "j", "jb", "u", "m", "s" } } do
      w = assert(conn:copy_in("every", { columns = columns }))
      assert.matches("binary", tostring(w), 1, true)
      assert(w:row(-3, "9007199254740991", 0.1, "caf\195\169", "\0\1\255\\", luphant.json { 1, "x" },
        { a = { b = true } }, "a0eebc999c0b4ef8bb6d6bb9bd380a11", "fine", 99))
      assert.equal(1, w:finish())
    end
    assert.equal(2, conn:query_value [[select count(*) from every
      where i2 = -3 and i8 = 9007199254740991 and f4 = 0.1::real and v = 'café' and b = '\x0001ff5c'
      and j::text = '[1,"x"]' and jb = '{"a": {"b": true}}' and u = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'
      and m = 'fine' and s = 99]])
    assert.equal(1, conn:query_value [[select count(*) from every where n = 123456789.12345 and d = '2024-02-29'
      and ts = '2024-02-29 12:00:00.5+00' and iv = '1 day 2 hours' and a = '{1,null,3}' and tt = array['a,b', 'q"\', '']
      and r = '[1,5)' and ip = '10.0.0.1']])
  end)

  it("runs what a codec of the user's makes of a value", function()
    assert(conn:register_type("int4", { encode = function(v) return v and v * 10 end }))
    local w = assert(conn:copy_in "t")
    assert(w:row(4, nil, nil, nil))
    assert.equal(1, w:finish())
    assert.equal(40, conn:query_value "select id::int8 from t")
  end)

  describe("refuses a row", function()
    local function refused(pattern, column, row, ...)
      local ok, err = ...
      assert.is_nil(ok)
      assert.equal("parameter", err.kind)
      assert.matches(pattern, err.message, 1, true)
      assert.equal(column, err.column)
      assert.equal(row, err.row)
    end

    for format, options in pairs { binary = {}, text = { format = "text" } } do
      it("with its number and column before it is sent, and all rows with it, in " .. format, function()
        local w = assert(conn:copy_in("t", options))
        assert(w:row(1, "a", 1, true))
        refused('row 2, column "id" (integer): expected an integer', "id", 2, w:row("x", "b", 1, true))
        refused('column "id" (integer): out of range', "id", 2, w:row(2 ^ 31, "b", 1, true))
        refused("has a fraction", "id", 2, w:row(1.5, "b", 1, true))
        refused('column "name" (text): contains a NUL byte', "name", 2, w:row(2, "a\0b", 1, true))
        refused('column "name" (text): is not valid UTF-8', "name", 2, w:row(2, "a\255", 1, true))
        refused('column "amount" (double precision): expected a number', "amount", 2, w:row(2, "a", "1", true))
        refused('column "ok" (boolean): expected true or false', "ok", 2, w:row(2, "a", 1, 0))
        refused("row 2: 3 values for 4 columns", nil, 2, w:row(2, "a", 1))
        refused('column "name" (text): expected a single value', "name", 2, w:row(2, {}, 1, true))
        local ok, err = w:finish()
        assert.is_nil(ok)
        assert.matches('row 2, column "id"', err.message, 1, true)
        assert.equal(err, select(2, w:finish()))
        assert.equal(0, count())
      end)
    end

    it("of an array or a column list with the number it has in the COPY", function()
      local w = assert(conn:copy_in("t", { columns = { "id", "name" } }))
      assert(w:rows { { 1, "a" } })
      refused('row 3, column "id"', "id", 3, w:rows { { 2, "b" }, { "c", 3 }, { 4, "d" } })
      refused('row 4, column "name"', "name", 4, w:columns { { 3, 4 }, { "x", 5 } })
      refused("has more values than there are columns", nil, 4, w:rows { { 1, "a", 2 } })
      refused("expected a table with its values, got a number", nil, 4, w:rows { 5 })
      w:abort()
      w = assert(conn:copy_in("t", { columns = { "id", "name" } }))
      refused('"nmae" is no column of this COPY', nil, 1, w:rows { { id = 1, nmae = "a" } })
      w:close()
    end)
  end)

  it("tells what the server refuses, with its line", function()
    assert(conn:execute "create temp table uniq (id int primary key)")
    local w = assert(conn:copy_in "uniq")
    assert(w:rows { { 1 }, { 2 }, { 1 } })
    local ok, err = w:finish()
    assert.is_nil(ok)
    assert.equal("unique_violation", err.kind)
    assert.matches("line 3", err.context, 1, true)
    assert.matches("^copy ", err.query)
    assert.equal(0, count "uniq")
  end)

  it("stops soon after the server has failed it, not after the last row", function()
    assert(conn:execute "create temp table uniq (id int primary key, filler text)")
    local w = assert(conn:copy_in "uniq")
    local filler, sent, err = ("x"):rep(1000), 0, nil
    for i = 1, 200000 do
      local ok, why = w:row(i == 11 and 1 or i, filler)
      if not ok then err = why break end
      sent = i
    end
    assert.equal("unique_violation", err.kind)
    assert.is_true(sent < 100000, sent)
    assert.equal(err, select(2, w:row(1, "")))
    assert.equal(err, select(2, w:finish()))
  end)

  it("knows tables and columns, and what is none", function()
    local function kind(...) return (select(2, conn:copy_in(...))).kind end
    assert.equal("undefined_table", kind "nowhere")
    assert.equal("undefined_table", kind "public.nowhere")
    local _, err = conn:copy_in("t", { columns = { "nmae" } })
    assert.equal("undefined_column", err.kind)
    assert.matches('did you mean "name"?', err.message, 1, true)
    assert(conn:execute 'create temp table "Odd ""Name" ("a b" int, g int generated always as (1) stored)')
    local w = assert(conn:copy_in 'pg_temp."Odd ""Name"')
    assert(w:rows { { ["a b"] = 1 } })
    assert.equal(1, w:finish())
    _, err = conn:copy_in "copy t to stdout"
    assert.equal("usage", err.kind)
    _, err = conn:copy_in "copy t from '/dev/null'"
    assert.matches("use execute", err.message, 1, true)
    assert.equal("syntax_error", kind "copy nonsense from stdin with (")
  end)

  it("takes misuse for what it is, at the caller's line", function()
    local function misused(pattern, fn, ...)
      local ok, why = pcall(fn, ...)
      assert.is_false(ok)
      assert.matches(pattern, tostring(why), 1, true)
      assert.matches("writer_spec.lua", tostring(why), 1, true)
    end
    misused("the name of a table", function() conn:copy_in(5) end)
    misused("expected, got", function() conn:copy_in("select 1") end)
    misused('did you mean "columns"', function() conn:copy_in("t", { column = { "id" } }) end)
    misused("they go to the writer", function() conn:copy_in("t", { { 1, "one" } }) end)
    misused("must be \"text\"", function() conn:copy_in("t", { format = "xml" }) end)
    misused("does not go with", function() conn:copy_in("t", { format = "binary", header = true }) end)
    misused('needs format = "csv"', function() conn:copy_in("t", { format = "text", quote = "'" }) end)
    misused("write it into the text", function() conn:copy_in("copy t from stdin", { header = true }) end)
    misused("several statements", function() conn:copy_in "copy t from stdin; select 1" end)
    misused("built-in types", function() conn:copy_in("copy t from stdin", { types = { "nothing" } }) end)
    misused("has 4 columns, but 1", function() conn:copy_in("copy t from stdin", { types = { "int4" } }) end)
    misused("no binary form", function()
      conn:script "create temp table dated (d date)"
      conn:copy_in("dated", { format = "binary" })
    end)
    local w = assert(conn:copy_in("t", { format = "csv" }))
    misused("rows need types", function() w:row(1, 2, 3, 4) end)
    w:abort()
    w = assert(conn:copy_in "t")
    assert(w:row(1, "a", 1, true))
    misused("bytes cannot follow", function() w:write "x" end)
    misused('a list for "name"', function() w:columns { id = {} } end)
    misused("values, others have", function() w:columns { { 1 }, { "a" }, { 1, 2 }, { true } } end)
    assert.equal(1, w:finish())
    misused("has ended", function() w:row(1, "a", 1, true) end)
  end)

  describe("that is not finished inserts nothing:", function()
    it("aborted, with a reason for the server", function()
      local w = assert(conn:copy_in "t")
      assert(w:row(1, "a", 1, true))
      assert.is_true(w:abort "changed my mind")
      assert.is_true(w:abort())
      local ok, err = w:finish()
      assert.is_nil(ok)
      assert.matches("changed my mind", err.message, 1, true)
      assert.equal(0, count())
    end)

    it("collected, also by whoever needs the connection next", function()
      local function begin(rows)
        local w = assert(conn:copy_in "t")
        for i = 1, rows do assert(w:row(i, ("x"):rep(100), 1, true)) end
      end
      for _, rows in ipairs { 0, 1, 5000 } do
        begin(rows)
        assert.equal(0, count())
        begin(rows)
        assert.equal(1, #assert(conn:script ""))
        begin(rows)
        assert.equal("yes", conn:transaction(function(tx) return tx:query_value "select 'yes'" end))
        begin(rows)
        assert.equal(0, assert(conn:copy_in "t"):finish())
      end
    end)

    it("left by an error", function()
      assert.is_false(pcall(function()
        local w = assert(conn:copy_in "t")
        assert(w:row(1, "a", 1, true))
        error "out"
      end))
      assert.equal(0, count())
    end)

    it("with a codec that raises", function()
      assert(conn:register_type("int4", { encode = function(v) if v == 3 then error "codec" end return v end }))
      local w = assert(conn:copy_in "t")
      assert(w:row(1, "a", 1, true))
      local ok, why = pcall(w.row, w, 3, "a", 1, true)
      assert.is_false(ok)
      assert.matches("codec", why, 1, true)
      assert(w:row(4, "a", 1, true))
      assert.equal("parameter", (select(2, w:finish())).kind)
      assert.equal(0, count())
    end)

    it("in use while another statement comes", function()
      local w = assert(conn:copy_in "t")
      local _, err = conn:query "select 1"
      assert.equal("busy", err.kind)
      assert.matches("COPY", err.message, 1, true)
      assert(w:row(1, "a", 1, true))
      assert.equal(1, w:finish())
    end)
  end)

  describe("in a transaction", function()
    it("is part of it", function()
      conn:transaction(function(tx)
        local w = assert(tx:copy_in "t")
        assert(w:row(1, "a", 1, true))
        assert.equal(1, w:finish())
        assert.equal(1, tx:query_value "select count(*) from t")
        return nil, "no"
      end)
      assert.equal(0, count())
      assert(conn:transaction(function(tx)
        return tx:transaction(function(sp)
          local w = assert(sp:copy_in "t")
          assert(w:row(1, "a", 1, true))
          return w:finish()
        end)
      end))
      assert.equal(1, count())
    end)

    it("fails it when it was not finished, refused or aborted", function()
      local ways = {
        function(w) assert(w:row(1, "a", 1, true)) end,
        function(w) w:row "x" w:finish() end,
        function(w) w:abort "no" end,
      }
      for _, way in ipairs(ways) do
        local ok, err = conn:transaction(function(tx)
          assert(tx:execute "insert into t values (1)")
          way(assert(tx:copy_in "t"))
          return true
        end)
        assert.is_nil(ok)
        assert.is_truthy(err)
        assert.equal(0, count())
      end
    end)

    it("ends with it when the function raises", function()
      local ok, why = pcall(conn.transaction, conn, function(tx)
        local w = assert(tx:copy_in "t")
        assert(w:row(1, "a", 1, true))
        error "out"
      end)
      assert.is_false(ok)
      assert.matches("out", why, 1, true)
      assert.equal(0, count())
    end)
  end)

  it("has one deadline for all of it", function()
    local w = assert(conn:copy_in("t", { timeout = 0.3 }))
    local err
    for i = 1, 1e7 do
      local ok, why = w:row(i, "name", 1, true)
      if not ok then err = why break end
    end
    assert.equal("query_timeout", err.kind)
    assert.equal(0, count())
  end)

  it("has its deadline also where the caller is so slow that nothing has to be waited for", function()
    local w = assert(conn:copy_in("t", { timeout = 0.3 * probe.slow }))
    local name, err, sent = ("x"):rep(70000), nil, 0 -- each row fills a piece of its own
    repeat
      probe.dawdle(0.03)
      local ok, why = w:row(sent, name, 1, true)
      if ok then sent = sent + 1 else err = why end
    until err or sent == 100
    assert.same({ "query_timeout", "ok" }, { err.kind, err.connection })
    assert.equal(0, count())
  end)

  it("tells how far it has come", function()
    local told = {}
    local w = assert(conn:copy_in("t", { progress_every = 0, progress = function(p)
      told[#told + 1] = { rows = p.rows, bytes = p.bytes, done = p.done, rate = p.rate, seconds = p.seconds }
    end }))
    for i = 1, 10000 do assert(w:row(i, "a name of some length", i, true)) end
    assert.equal(10000, w:finish())
    assert.is_true(#told > 3)
    for i = 2, #told do assert.is_true(told[i].bytes >= told[i - 1].bytes and told[i].rows >= told[i - 1].rows) end
    local last = told[#told]
    assert.is_true(last.done and last.rows == 10000 and last.bytes > 300000 and last.rate > 0)
  end)
end)
