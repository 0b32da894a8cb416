-- Rows that are read past libpq (csrc/core/tap.h): the same ones in the same order, whatever their size, however the bytes
-- are cut and whatever stands between them; and whoever stops in the middle leaves a connection that is in order.
--
-- To see it fail: let lph_tap_take_rows answer without looking, measure in csrc/core/tap.c stop counting `owed`, or
-- lph_op_untap do nothing.
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local liar = require "spec.support.liar"
local luphant = require "luphant"
local probe = require "spec.support.probe"
local proxy = require "luphant.testing.proxy"
local server = require "luphant.testing.server"

-- Short rows, rows around the size of the tap's buffer, and rows that are longer, in any order; NULL; notices between.
local SIZES = { 1, 0, 65520, 3, 65521, 65522, 2, 2, 200000, 65526, 65527, 65528, 5, 300000, 70000, 7, 0, 1 }
local SETUP = [[
create temporary table sized as select n, size from unnest('{%s}'::int[]) with ordinality as t (size, n);
create function pg_temp.loud(n int, size int) returns text language plpgsql as
$$ begin
  if n %% 3 = 0 then raise notice 'row % of % bytes', n, size; end if;
  return case when n %% 7 = 0 then null else repeat(chr(97 + n %% 26), size) end;
end $$]]
local QUERY = "select n::int, pg_temp.loud(n::int, size) as s from sized order by n"

local function expected(n)
  if n % 7 == 0 then return nil end
  return string.char(97 + n % 26):rep(SIZES[n])
end

local function prepared(conn)
  assert(conn:script((SETUP:gsub("%%s", table.concat(SIZES, ","), 1):gsub("%%%%", "%%"))))
  return conn
end

local function assert_row(i, n, s)
  assert.equal(i, n)
  assert.is_true(s == expected(n), ("row %d is not the one that was due"):format(n)) -- no megabytes in a message
end

local function read_streams(conn, sizes)
  for _, size in ipairs(sizes) do
    local i = 0
    for row in conn:stream { QUERY, via = "portal", fetch_size = size } do
      i = i + 1
      assert_row(i, row.n, row.s)
    end
    assert.equal(#SIZES, i)
  end
end

local function read_copies(conn)
  for _, format in ipairs { "binary", "text" } do
    local i = 0
    for n, s in assert(conn:copy_out(QUERY, { format = format })):values() do
      i = i + 1
      assert_row(i, n, s ~= luphant.NULL and s or nil)
    end
    assert.equal(#SIZES, i)
  end
  local bytes, total = 0, 0
  for n = 1, #SIZES do total = total + #tostring(n) + #(expected(n) or "\\N") + 2 end
  local reader = assert(conn:copy_out("copy (" .. QUERY .. ") to stdout"))
  for piece in function() return (reader:read()) end do bytes = bytes + #piece end
  assert.equal(total, bytes)
end

describe("rows that are read past libpq", function()
  local conn

  before_each(function() conn = prepared(assert(luphant.connect(env.url()))) end)
  after_each(function() conn:close() end)

  it("are the same in the same order, whatever their sizes, with notices between them", function()
    read_streams(conn, { 1, 5, 100 })
    read_copies(conn)
    probe.usable(conn)
  end)

  it("are so when they come byte by byte", function()
    local pg = assert(server.start { tcp = true, hba = { "host all plain 127.0.0.1/32 trust" } })
    assert(pg:psql "create role plain login")
    local gate = assert(proxy.start { target_port = pg.port })
    local far = assert(luphant.connect { host = "127.0.0.1", port = gate.port, dbname = "postgres", user = "plain",
      sslmode = "disable" })
    gate:split { from = "server" }
    local sql = "select n, repeat('y', n % 5) as s from generate_series(1, 40) n"
    local function check(i, n, s) assert.same({ i, ("y"):rep(i % 5) }, { n, s }) end
    local i, j = 0, 0
    for n, s in far:stream { sql, via = "portal", fetch_size = 7, rows = "values" } do
      i = i + 1
      check(i, n, s)
    end
    for n, s in assert(far:copy_out(sql)):values() do
      j = j + 1
      check(j, n, s)
    end
    assert.same({ 40, 40 }, { i, j })
    probe.usable(far)
    far:close()
    gate:stop()
    pg:stop()
  end)

  it("end with the error that the server has in the middle, and leave the connection in order", function()
    local failing = "select n, 1 / (5000 - n) from generate_series(1, 10000) n"
    for _, limit in ipairs { 0, 1 } do
      assert(conn:execute("set statement_timeout = " .. limit * 30))
      local sql = limit == 0 and failing or "select n, pg_sleep(0.00005)::text from generate_series(1, 100000) n"
      local state = limit == 0 and "22012" or "57014"
      for _, read in ipairs {
        function() for _ in conn:stream { sql, via = "portal" } do end end, -- luacheck: ignore 542
        function() for _ in assert(conn:copy_out(sql)):values() do end end, -- luacheck: ignore 542
      } do
        local ok, err = pcall(read)
        assert.same({ false, state }, { ok, type(err) == "table" and err.sqlstate or err })
        assert.equal("idle", conn:transaction_status())
        probe.usable(conn)
      end
    end
    assert(conn:execute "reset statement_timeout")
    assert.equal(3, #assert(conn:batch { "select 1", "select 2", "select 3" }))
  end)

  it("can be left at any row, for a statement, a batch or another stream", function()
    for left = 1, #SIZES, 3 do
      local seen = 0
      for _ in conn:stream { QUERY, via = "portal", fetch_size = 2 } do
        seen = seen + 1
        if seen == left then break end
      end
      local reader = assert(conn:copy_out(QUERY))
      local next_row = reader:rows()
      for _ = 1, left do assert(next_row()) end
      reader:close()
      assert.equal(2, #assert(conn:batch { "select 1", "select 2" }))
      probe.usable(conn)
    end
    assert(conn:transaction(function(tx)
      local rows = tx:stream { QUERY, via = "portal", fetch_size = 2 }
      for i = 1, #SIZES do -- other statements between the rows, some of them while the next ones are on their way
        local row = rows()
        assert_row(i, row.n, row.s)
        assert.equal(i, tx:query_value("select $1::int", i))
      end
      return true
    end))
  end)

  it("are lost with a session that ends in the middle, and nothing hangs", function()
    for _, read in ipairs {
      function(on)
        local sql = "select n, repeat('x', 1000) from generate_series(1, 1000000) n"
        for row in conn:stream { sql, via = "portal" } do on(row.n) end
      end,
      function(on)
        local sql = "select n, repeat('x', 1000) from generate_series(1, 1000000) n"
        for n in assert(conn:copy_out(sql)):values() do on(n) end
      end,
    } do
      local other = assert(luphant.connect(env.url()))
      local ok, err = pcall(read, function(n)
        if n == 2 then assert(other:query_value("select pg_terminate_backend($1)", conn:backend_pid())) end
      end)
      other:close()
      -- With its socket full the server ends without a word.
      assert.same({ false, "connection" }, { ok, type(err) == "table" and err.class or err })
      conn:close()
      conn = prepared(assert(luphant.connect(env.url())))
    end
  end)
end)
