-- Streams in a world that fails: part of the rows is never given for all of them, a time limit is kept, memory is flat
-- whatever there is to be read.
--
-- To see it fail: let more_rows (lstream.c) answer false after a failure, or keep portions in lstream.
--
-- SPDX-License-Identifier: MIT

local luphant = require "luphant"
local ordeal = require "spec.support.ordeal"
local probe = require "spec.support.probe"

local is_luajit = rawget(_G, "jit") ~= nil
local FORMS = { "rows", "portal" }

-- Reads a stream to its end or failure: how many rows in order, and the error.
local function read(conn, request, ...)
  local seen = 0
  local ok, err = pcall(function(...)
    for n in conn:stream(request, ...) do
      seen = seen + 1
      assert(n == seen, "not the row that was due")
    end
  end, ...)
  return seen, not ok and err or nil
end

-- As a verb: nil and the error.
local function failing(...)
  local _, err = read(...)
  return nil, err
end

local SQL = "select n, repeat('x', 90) as filling from (select generate_series(1, 3000) as n) as s"

-- In the rock, and under a sanitizer, a tenth shows as much of the code and less of the memory.
local is_full = not os.getenv "ASAN_OPTIONS" and package.path:find("./lua/?.lua", 1, true) ~= nil

local function resident_mb()
  local file = io.open "/proc/self/statm"
  if not file then return 0 end
  local _, pages = file:read("*n", "*n")
  file:close()
  return pages * 4096 / 2 ^ 20
end

ordeal.family("a stream", {}, function(test)
  test("F10 a reset in the middle of a stream raises out of the loop, wherever it comes", function(world)
    local gate = world.gate()
    for _, via in ipairs(FORMS) do
      for _, cut in ipairs { { messages = 1 }, { messages = 2, bytes = 3 }, { bytes = 30000 }, { bytes = 200000 } } do
        cut.from, cut.reset = "server", true
        local conn = world.connect_through(gate)
        local request = { SQL, via = via, rows = "values" }
        assert.equal(3000, (read(conn, request)))
        gate:cut_after(cut)
        local seen, err = read(conn, request)
        assert.is_true(seen < 3000 and err ~= nil)
        assert.equal("closed", err.kind)
        world.assert_gone(conn)
        gate:pass()
      end
    end
  end)

  test("F12 a stream that trickles in costs the time limit of a portion", function(world)
    local gate = world.gate()
    for _, via in ipairs(FORMS) do
      local conn = world.connect_through(gate)
      local request = { SQL, via = via, rows = "values", timeout = 0.3 }
      assert.equal(3000, (read(conn, request)))
      gate:limit { from = "server", bytes_per_second = 20 }
      assert.equal("query_timeout", world.fails(1, failing, conn, request).kind)
      gate:pass()
    end
  end)

  test("F44 a text that is not UTF-8 is refused as the parameter of a stream or a cursor", function(world)
    local conn = world.connect()
    for _, via in ipairs(FORMS) do
      local err = probe.fails(0.5, failing, conn, { "select 1 where 'x' = $1::text", via = via }, "a\255b")
      assert.is_truthy(err.kind == "parameter" or err.sqlstate == "22021", tostring(err))
      probe.usable(conn)
    end
    local err = probe.fails(0.5, conn.cursor, conn, "select $1::text", { "a\255b" }, { hold = true })
    assert.is_truthy(err.kind == "parameter" or err.sqlstate == "22021", tostring(err))
    probe.usable(conn)
  end)

  test("F42 more than 65535 parameters are refused by streams and cursors", function(world)
    local conn = world.connect()
    local many = {}
    for i = 1, 65536 do many[i] = i end
    local err = probe.fails(1, conn.cursor, conn, "select 1", many, { hold = true })
    assert.same({ "parameter", "no" }, { err.kind, err.sent })
    probe.usable(conn)
  end)

  test("F41 a row that is too big ends a stream, and rows that are not do not, however many", function(world)
    local conn = world.connect { max_result_bytes = 300000 }
    for _, via in ipairs(FORMS) do
      assert.equal(3000, (read(conn, { SQL, via = via, rows = "values", fetch_size = via == "portal" and 100 or nil })))
      local err = world.fails(2, failing, conn, { [[select n, repeat('x', case when n = 20 then 3000000 else 10 end)
        from (select generate_series(1, 100) as n) as s]], via = via, rows = "values" })
      assert.equal("result_too_big", err.kind)
      probe.usable(conn)
      assert.equal("idle", conn:transaction_status())
    end
  end)

  -- Full size for one form on each Lua: together they are ten million rows in each form, in half the time.
  test.once("F41 ten million rows are read in constant memory, in each form", function(world)
    local conn = world.connect()
    for _, via in ipairs(FORMS) do
      local most = is_full and (via == "rows") ~= is_luajit and 10000000 or is_full and 1000000 or 200000
      collectgarbage()
      collectgarbage()
      local count, before, peak = 0, resident_mb(), 0
      for n in conn:stream({ "select generate_series(1, $1::int) as n", via = via, rows = "values" }, most) do
        count = count + 1
        assert(n == count)
        if count % 100000 == 0 then peak = math.max(peak, resident_mb()) end
      end
      assert.equal(most, count)
      if is_full then assert.is_true(peak - before < 1, ("%s: %.1f MB more"):format(via, peak - before)) end
    end
  end)
end)

describe("a pool whose streams are left behind", function()
  it("has every connection back in the end, in order", function()
    local env = require "spec.support.env"
    local db = assert(luphant.open(env.url(), { max_connections = 3, on_warning = function() end }))
    for i = 1, 30 do
      local task = coroutine.wrap(function()
        for _ in db:stream { SQL, via = FORMS[i % 2 + 1] } do
          if i % 3 == 0 then error "died in its loop" end
          coroutine.yield()
        end
      end)
      pcall(task)
    end
    collectgarbage()
    local lent = {}
    for i = 1, 3 do lent[i] = assert(db:acquire()) end -- all there are
    for i = 1, 3 do
      probe.usable(lent[i])
      lent[i]:release()
    end
    assert.is_true(db:close(5))
  end)
end)
