-- Long results of ordinary statements. Where the last one was long, the next one is read past libpq (csrc/core/tap.h):
-- it is the same in every shape, whole or an error, and the connection is in order behind it.
--
-- To see it fail: let ends_rows in csrc/core/tap.c answer false, lph_op_drop_result leave the rows, or push_all_columns
-- forget a column.
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local luphant = require "luphant"
local probe = require "spec.support.probe"
local proxy = require "luphant.testing.proxy"
local server = require "luphant.testing.server"

-- Row 700 is longer than the tap holds, row 800 is as long as it holds; 'ratio' is text with digits to be asked for.
local LONG = [[select n, 'name ' || n as name, n / 8.0::float8 as ratio, nullif(n % 3, 0) as rest,
  repeat('y', case n when 700 then 200000 when 800 then 65400 else 0 end) as filling
  from generate_series(1, $1::int) n]]
local COUNT = 1000

local function value(n, column)
  if column == "n" then return n end
  if column == "name" then return "name " .. n end
  if column == "ratio" then return n / 8 end
  if column == "rest" then return n % 3 > 0 and n % 3 or nil end
  return ("y"):rep(n == 700 and 200000 or n == 800 and 65400 or 0)
end

local COLUMNS = { "n", "name", "ratio", "rest", "filling" }

local function check(n, column, got)
  if got == luphant.NULL then got = nil end
  assert(got == value(n, column), ("row %d, column %s is not what it should be"):format(n, column)) -- no megabytes
end

-- Each verb and shape; every one of them twice as a long result, with a short one in between.
local shapes = {}

function shapes.named(q, count)
  local rows = assert(q:query(LONG, count))
  assert.equal(count, #rows)
  for n, row in ipairs(rows) do
    for _, column in ipairs(COLUMNS) do check(n, column, row[column]) end
  end
  assert.equal("SELECT", rows.command)
  assert.equal(count, rows.affected)
end

function shapes.array(q, count)
  local rows = assert(q:query({ LONG, rows = "array" }, count))
  assert.equal(count, #rows)
  for n, row in ipairs(rows) do
    for i, column in ipairs(COLUMNS) do check(n, column, row[i]) end
  end
end

function shapes.columns(q, count)
  local lists = assert(q:query({ LONG, rows = "columns" }, count))
  for _, column in ipairs(COLUMNS) do
    assert.equal(count, #lists[column])
    for n = 1, count do check(n, column, lists[column][n]) end
  end
end

function shapes.values(q, count)
  local n = 0
  for a, b, c, d, e in q:values(LONG, count) do
    n = n + 1
    for i, got in ipairs { a, b, c, d, e } do check(n, COLUMNS[i], got) end
  end
  assert.equal(count, n)
end

function shapes.column(q, count)
  local list = assert(q:query_column(LONG, count))
  assert.equal(count, #list)
  for n = 1, count do check(n, "n", list[n]) end
end

function shapes.affected(q, count) assert.equal(count, assert(q:execute(LONG, count))) end

function shapes.counts(q, count)
  if count == 1 then
    check(1, "name", assert(q:query_one(LONG, 1)).name)
    check(1, "n", assert(q:query_value(LONG, 1)))
  else
    for _, verb in ipairs { "query_one", "query_opt", "query_value" } do
      local row, err = q[verb](q, LONG, count)
      assert.is_nil(row)
      assert.equal("too_many_rows", err.kind)
      assert.matches("got " .. count, err.message, 1, true)
    end
  end
end

local function in_every_shape(q)
  for _, shape in pairs(shapes) do
    for _, count in ipairs { COUNT, COUNT, 1, COUNT } do shape(q, count) end
  end
end

local function descriptors()
  local pipe = assert(io.popen "ls /proc/$PPID/fd | wc -l")
  local count = pipe:read "*n"
  pipe:close()
  return count
end

describe("a long result", function()
  local conn

  before_each(function() conn = assert(luphant.connect(env.url())) end)
  after_each(function() conn:close() end)

  -- The socket pair by which libpq gets what is around the rows takes three descriptors. (Others may be closed
  -- meanwhile: of a thread that has dialled, of what the collector finds. So one quiet moment in ten will do.)
  it("is read past libpq from the second time on", function()
    if not descriptors() then return pending "no /proc" end
    local grown = {}
    for _ = 1, 10 do
      local fresh = assert(luphant.connect(env.url()))
      collectgarbage()
      local before = descriptors()
      shapes.named(fresh, COUNT)
      local first = descriptors()
      shapes.named(fresh, COUNT)
      grown = { first - before, descriptors() - first }
      fresh:close()
      if grown[1] == 0 and grown[2] == 3 then return end
    end
    assert.same({ 0, 3 }, grown)
  end)

  it("is the same in every shape, whichever way it came", function()
    local limited = assert(luphant.connect(env.url(), { max_result_bytes = 100000000 }))
    in_every_shape(conn)
    in_every_shape(limited)
    limited:close()
  end)

  it("is the same as text, where the digits of floats are asked for behind it", function()
    local text = assert(luphant.connect(env.url(), { result_format = "text" }))
    in_every_shape(text)
    assert(text:execute "set extra_float_digits = 0")
    for _ = 1, 2 do
      local rows, err = text:query(LONG, COUNT)
      assert.is_nil(rows)
      assert.equal("decode", err.kind)
      assert.matches("extra_float_digits", tostring(err), 1, true)
    end
    assert(text:execute "reset extra_float_digits")
    in_every_shape(text)
    text:close()
  end)

  it("is the same in a transaction, behind BEGIN and before COMMIT", function()
    for _ = 1, 3 do
      assert(conn:transaction(function(tx)
        in_every_shape(tx)
        return true
      end))
      assert(conn:transaction(function(tx)
        local rows = assert(tx:commit_with(LONG, COUNT))
        assert.equal(COUNT, #rows)
        check(COUNT, "name", rows[COUNT].name)
        return true
      end))
    end
  end)

  it("leaves nothing behind when the server fails in its middle, or it is cancelled", function()
    local failing = LONG .. " where 1 / (900 - n + case when $2 then 0 else 1000 end) is not null"
    for _ = 1, 3 do
      assert.equal(COUNT, #assert(conn:query(failing, COUNT, false)))
      local rows, err = conn:query(failing, COUNT, true)
      assert.is_nil(rows)
      assert.equal("22012", err.sqlstate)
      probe.usable(conn)
    end
    local slow = LONG .. " where case when n > 900 and $2 then pg_sleep(60) is null else true end"
    for _ = 1, 3 do
      assert.equal(COUNT, #assert(conn:query(slow, COUNT, false)))
      local rows, err = conn:query({ slow, timeout = 0.1 }, COUNT, true)
      assert.is_nil(rows)
      assert.equal("query_timeout", err.kind)
      probe.usable(conn)
    end
  end)

  it("lets notices through", function()
    local seen = 0
    local loud = assert(luphant.connect(env.url(), { on_notice = function() seen = seen + 1 end }))
    assert(loud:script [[create function pg_temp.loud(n int) returns text language plpgsql as
      $$ begin if n % 10 = 0 then raise notice 'row %', n; end if; return repeat('x', 100); end $$]])
    for round = 1, 3 do
      assert.equal(500, #assert(loud:query "select pg_temp.loud(n) as t from generate_series(1, 500) n"))
      assert.equal(50 * round, seen)
    end
    loud:close()
  end)

  it("is given back whole or not at all, wherever the connection is cut", function()
    local pg = assert(server.start { tcp = true, hba = { "host all plain 127.0.0.1/32 trust" } })
    assert(pg:psql "create role plain login")
    local gate = assert(proxy.start { target_port = pg.port })
    for _, bytes in ipairs { 0, 7, 100, 5000, 30000, 65536, 150000, 250000 } do
      local far = assert(luphant.connect { host = "127.0.0.1", port = gate.port, dbname = "postgres", user = "plain",
        sslmode = "disable" })
      for _ = 1, 2 do shapes.named(far, COUNT) end
      gate:cut_after { from = "server", bytes = bytes }
      local err = probe.fails(5, far.query, far, LONG, COUNT)
      assert.equal("closed", err.kind)
      assert.is_false(far:is_open())
      gate:pass()
    end
    gate:stop()
    pg:stop()
  end)

  it("may follow and be followed by anything", function()
    for _ = 1, 3 do
      shapes.named(conn, COUNT)
      assert.equal(2, #assert(conn:batch(function(b)
        b:query(LONG, COUNT)
        b:query(LONG, 1)
      end)))
      local n = 0
      for row in conn:stream(LONG, COUNT) do
        n = n + 1
        check(n, "name", row.name)
      end
      assert.equal(COUNT, n)
      n = 0
      for a in assert(conn:copy_out "select n from generate_series(1, 1000) n"):values() do n = n + a end
      assert.equal(500500, n)
      assert(conn:script "select 1; select 2")
    end
  end)
end)
