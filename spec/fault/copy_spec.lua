-- COPY over a network that breaks, and with what cannot be sent faithfully. What comes out has its rows in
-- spec/copy/reader_spec.lua and spec/protocol_fault_spec.lua.
--
-- To see it fail: let cannot_write in csrc/core/copy.c say that nothing was sent (F10), take the count of values out of
-- put_row in bind/lcopyin.c (F42), or the check of texts in types/encode.c (F44).
--
-- SPDX-License-Identifier: MIT

local ordeal = require "spec.support.ordeal"
local probe = require "spec.support.probe"

local unpack = table.unpack or unpack -- luacheck: ignore

local FORMATS = { "binary", "text" }

local function put(conn, rows, options)
  local writer, err = conn:copy_in("t", options)
  if not writer then return nil, err end
  local ok
  ok, err = writer:rows(rows)
  if not ok then
    writer:abort()
    return nil, err
  end
  return writer:finish()
end

local function endless(most)
  local n = 0
  return function()
    n = n + 1
    if n <= most then return { n, ("x"):rep(90) } end
  end
end

ordeal.family("a COPY", {}, function(test)
  test("F10 a reset in the middle of a COPY in inserts nothing, or says that it may have", function(world)
    local watch = world.connect()
    assert(watch:script "drop table if exists ordeal_copy; create table ordeal_copy (id int, t text)")
    for _, cut in ipairs {
      { from = "client", bytes = 3 }, { from = "client", bytes = 200000 }, { from = "server", messages = 1 },
      { from = "server", messages = 1, bytes = 3 },
    } do
      for _, format in ipairs(FORMATS) do
        local gate = world.gate()
        local conn = world.connect_through(gate)
        local function run()
          local writer, err = conn:copy_in("ordeal_copy", { format = format })
          if not writer then return nil, err end
          cut.reset = true
          gate:cut_after(cut)
          local ok
          ok, err = writer:rows(endless(5000))
          if not ok then return nil, err end
          return writer:finish()
        end
        local err = world.fails(2, run)
        assert.equal("closed", err.kind)
        world.assert_gone(conn)
        local kept = watch:query_value "select count(*)::int from ordeal_copy"
        assert(kept == 0 or kept == 5000 and err.sent == "maybe", ("%d rows, sent = %s"):format(kept, err.sent))
        assert(watch:execute "delete from ordeal_copy")
      end
    end
    assert(watch:script "drop table ordeal_copy")
  end)

  test("F41 any number of rows goes in with memory flat", function(world)
    local conn = world.connect()
    assert(conn:script "create temp table t (id int, t text)")
    local function kilobytes()
      collectgarbage()
      collectgarbage()
      return collectgarbage "count"
    end
    local most, peak, before = 100000, 0, kilobytes()
    local next_row = endless(most)
    assert.equal(most, put(conn, function()
      local row = next_row()
      if row and row[1] % 20000 == 0 then peak = math.max(peak, kilobytes()) end
      return row
    end))
    assert.is_true(peak - before < 1024, ("%.0f kB more"):format(peak - before))
  end)

  test("F42 more values than there are columns are refused, however many, and 1600 columns are not too many",
    function(world)
      local conn = world.connect()
      assert(conn:script "create temp table t (id int, t text)")
      for _, count in ipairs { 3, 5000 } do
        local values = {}
        for i = 1, count do values[i] = i end
        local writer = assert(conn:copy_in "t")
        local err = probe.fails(1, writer.row, writer, unpack(values))
        assert.same({ "parameter", 1 }, { err.kind, err.row })
        assert(writer:abort())
      end
      local columns, row = {}, {}
      for i = 1, 1600 do columns[i], row[i] = ("c%d int2"):format(i), i end
      assert(conn:script("drop table t; create temp table t (" .. table.concat(columns, ", ") .. ")"))
      for _, format in ipairs(FORMATS) do
        assert.equal(2, put(conn, { row, row }, { format = format }))
        local reader = assert(conn:copy_out("t", { format = format, rows = "array" }))
        for got in reader do assert.same(row, got) end
        assert(conn:script "truncate t")
      end
      local short = { unpack(row, 1, 1599) }
      assert.equal(1, put(conn, { short })) -- the rest is NULL
      assert.is_true(conn:query_value "select c1599 = 1599 and c1600 is null from t")
    end)

  test("F43 a NUL byte is refused with row and column, and is data in a bytea", function(world)
    local conn = world.connect()
    assert(conn:script "create temp table t (id int, t text, b bytea)")
    for _, format in ipairs(FORMATS) do
      local err = world.fails(1, put, conn, { { 1, "fine" }, { 2, "a\0b" } }, { format = format })
      assert.same({ "parameter", 2, "t" }, { err.kind, err.row, err.column })
      assert.equal(1, put(conn, { { 1, "fine", "a\0b" } }, { format = format }))
      assert.equal("a\0b", conn:query_value "select b from t")
      assert(conn:script "truncate t")
    end
    assert.equal("no", world.fails(0.5, conn.copy_in, conn, "copy t\0 from stdin").sent)
    assert.equal("no", world.fails(0.5, conn.copy_out, conn, "select 1 as \"\0\"").sent)
    probe.usable(conn)
  end)

  test("F44 bytes that are no UTF-8 are refused by a COPY with row and column, and as raw bytes by the server",
    function(world)
      local conn = world.connect()
      assert(conn:script "create temp table t (id int, t text)")
      for _, format in ipairs(FORMATS) do
        for _, bad in ipairs { "\255", "a\192\128", "\237\160\128", "cut \226\130" } do
          local err = world.fails(1, put, conn, { { 1, "fine" }, { 2, bad } }, { format = format })
          assert.same({ "parameter", 2, "t" }, { err.kind, err.row, err.column })
          local writer = assert(conn:copy_in("t", { format = format }))
          err = world.fails(1, writer.columns, writer, { id = { 1, 2, 3 }, t = { "a", "b", bad } })
          assert.same({ "parameter", 3, "t" }, { err.kind, err.row, err.column })
          writer:abort()
          err = world.fails(1, conn.insert_many, conn, "t", { "id", "t" }, { { 1, "fine" }, { 2, bad } },
            { via = "copy" })
          assert.same({ "parameter", 2, "t" }, { err.kind, err.row, err.column })
        end
      end
      local function write()
        local writer = assert(conn:copy_in("t", { format = "csv" }))
        local ok, err = writer:write "1,fine\n2,\255\n"
        if not ok then return nil, err end
        return writer:finish()
      end
      local err = world.fails(1, write)
      assert.same({ "22021", "yes" }, { err.sqlstate, err.sent })
      assert.matches("line 2", err.context)
      assert.equal(0, conn:query_value "select count(*)::int from t")
      probe.usable(conn)
    end)
end)
