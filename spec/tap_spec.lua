-- Rows that are read past libpq (csrc/core/tap.h): the same ones in the same order, whatever their size, however the
-- bytes are cut and whatever stands between them; and whoever stops in the middle leaves a connection that is in order.
--
-- To see it fail: let measure in csrc/core/tap.c stop counting `owed`, lfields_is_read always answer true, or
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

describe("a server that lies about the rows of a FETCH", function()
  local COLUMNS = { { "n", 23, 1 }, { "s", 25, 1 } }
  local BOUND = liar.bind_complete .. liar.row_description(COLUMNS)
  local FETCHED = liar.parse_complete .. BOUND
  local function row(...) return liar.message("D", table.concat { ... }) end
  local N, S = liar.int32(4) .. liar.int32(7), liar.int32(1) .. "x"
  local ROW = row(liar.int16(2), N, S)
  local LONG = row(liar.int16(2), N, liar.int32(100000), ("y"):rep(100000))
  local DONE = liar.complete "FETCH 1" .. liar.ready "T"

  -- What the first FETCH is answered in truth, and the second one with `bytes`; how many rows came, and the error.
  local function told(bytes)
    local answered = liar.message("1", "") .. liar.message("2", "") .. liar.message("n", "")
    local described = liar.parse_complete .. liar.message("t", liar.int16(0)) .. liar.row_description(COLUMNS)
    local setting = liar.parse_complete .. liar.bind_complete .. liar.row_description { { "set_config", 25 } }
      .. liar.data_row { "1" } .. liar.complete "SELECT 1"
    local xid = liar.parse_complete .. liar.bind_complete .. liar.row_description { { "xid", 5069, 1 } }
      .. liar.data_row { false } .. liar.complete "SELECT 1"
    local fake = assert(liar.start { liar.login, { { "await", "SQ" },
      { "send", answered .. liar.complete "BEGIN" .. setting .. described .. liar.ready "T" }, { "await", "SQ" },
      { "send", answered .. liar.complete "DECLARE CURSOR" .. FETCHED .. ROW .. liar.complete "FETCH 1" .. xid
        .. liar.ready "T" },
      { "await", "SQ" }, { "send", bytes }, { "silence" } } })
    local conn = assert(luphant.connect { host = "127.0.0.1", port = fake.port, user = "app", dbname = "app",
      sslmode = "disable", timeout = 0.12 * probe.slow, cancel_grace = 0.08 * probe.slow })
    local count, lengths = 0, {}
    local _, err = pcall(function()
      for got in conn:stream { "select n, s from t", via = "portal", fetch_size = 1 } do
        count = count + 1
        assert(got.n == 7)
        lengths[count] = got.s and #got.s or -1
      end
    end)
    conn:close()
    fake:stop()
    return count, err, lengths
  end

  it("has no effect on those before", function()
    -- The truth first, so that the lies are known to be said where rows are due.
    local count, err, lengths = told(FETCHED .. ROW .. LONG .. row(liar.int16(2), N, liar.int32(-1)) .. DONE)
    assert.same({ 4, { 1, 1, 100000, -1 } }, { count, lengths })
    assert.equal("query_timeout", err.kind)
    for name, lie in pairs {
      ["fewer fields than columns"] = row(liar.int16(1), N),
      ["more fields than columns"] = row(liar.int16(3), N, S, S),
      ["no field"] = row(liar.int16(0)),
      ["nothing, not even how many fields"] = liar.message("D", ""),
      ["half a number of fields"] = liar.message("D", "\0"),
      ["more fields than it has"] = row(liar.int16(2), N),
      ["a field of negative length"] = row(liar.int16(2), N, liar.int32(-2)),
      ["a field longer than the row"] = row(liar.int16(2), N, liar.int32(2), "x"),
      ["a field longer than memory"] = row(liar.int16(2), N, liar.int32(2 ^ 31 - 1), "x"),
      ["half a length"] = row(liar.int16(2), N, "\0\0"),
      ["bytes behind its fields"] = row(liar.int16(2), N, S, "surplus"),
      ["a long row with too many fields"] = row(liar.int16(3), N, S, liar.int32(100000), ("y"):rep(100000)),
      ["a row of another description"] = ROW .. liar.row_description { { "n", 23, 1 } } .. row(liar.int16(1), N),
      ["a long row of another description"] = LONG .. liar.row_description(COLUMNS) .. ROW,
      ["a description without columns"] = ROW .. liar.row_description {} .. row(liar.int16(0)),
      ["a negative length"] = liar.message("D", "", -1) .. ROW,
      ["a length of nothing"] = liar.message("D", "", 0) .. ROW,
      ["the offer to copy out"] = liar.message("H", "\0" .. liar.int16(0)) .. ROW,
      ["the offer to copy in"] = liar.message("G", "\0" .. liar.int16(0)) .. ROW,
      ["the offer to copy both ways"] = liar.message("W", "\0" .. liar.int16(0)) .. ROW,
    } do
      -- For a COPY libpq puts another result in the place of the one it has begun, without freeing that.
      local is_leak = name:find("offer", 1, true) and os.getenv "ASAN_OPTIONS"
      count, err = told((is_leak and liar.parse_complete or FETCHED) .. lie .. DONE)
      assert.equal(1, count, name) -- the portion with the lie is given as a whole or not at all
      assert.is_truthy(({ connection = true, query = true, usage = true })[err.class], name .. ": " .. tostring(err))
    end
  end)
end)

describe("a pool whose connections have been read past libpq", function()
  it("has one back at once whose reader was left when all of its rows had come", function()
    local db = assert(luphant.open(env.url(), { max_connections = 1, cancel_grace = 30 }))
    for _ = 1, 3 do
      local lent = assert(db:acquire())
      assert.equal(1, assert(lent:copy_out "select generate_series(1, 3)"):values()())
      lent:release()
      local took, one = probe.timed(db.query_value, db, "select 1")
      assert.equal(1, one)
      assert.is_true(took < 2 * probe.slow, ("%.1f s"):format(took))
    end
    assert(db:close(5))
  end)

  it("keeps no descriptors for that on those that are idle for long", function()
    probe.keeps_descriptors(function()
      local db = assert(luphant.open(env.url(), { max_connections = 3 }))
      local lent = {}
      for i = 1, 3 do
        lent[i] = assert(db:acquire())
        for _ in assert(lent[i]:copy_out "select 1"):values() do end -- luacheck: ignore 542
      end
      collectgarbage()
      collectgarbage()
      local most = probe.descriptors() or 6
      for i = 1, 3 do lent[i]:release() end
      assert.is_true(probe.eventually(function()
        assert(db:query_value "select 1") -- who looks after the pool is whoever comes along, on one connection
        return (probe.descriptors() or 0) <= most - 2 * 3
      end))
      for i = 1, 3 do lent[i] = assert(db:acquire()) end
      for i = 1, 3 do
        assert.equal(i, assert(lent[i]:copy_out("select " .. i)):values()())
        lent[i]:release()
      end
      assert(db:close(5))
    end)
  end)
end)
