-- What streams and cursors promise under any waiter. `suite(setting)` defines the tests; for settings and their worlds
-- see spec/contract/worlds.lua.
--
-- To see it fail: let lph_op_step go on past a portion (op.c), or settle.run answer true at once.
--
-- SPDX-License-Identifier: MIT

-- A module does not see what busted gives a spec.
local busted = require "busted"
local describe, it, pending = busted.describe, busted.it, busted.pending
local before_each, after_each = busted.before_each, busted.after_each
local assert = require "luassert"

local env = require "spec.support.env"
local luphant = require "luphant"
local probe = require "spec.support.probe"

local NAME = "contract_stream"
local FORMS = { "rows", "portal" }
-- In FROM the function would be run to its end before the first row.
local SERIES = "select n, 'x' || n as t from (select generate_series(1, $1::int) as n) as s"

local is_luajit = rawget(_G, "jit") ~= nil

-- The sum of a stream's column n, and how many rows that are: all, or `most`. The loop gets all of what q:stream
-- answers; with the stream alone Lua 5.4 would not close it.
local function first(most, ...)
  local sum, count = 0, 0
  for row in ... do
    sum, count = sum + row.n, count + 1
    if count == most then break end
  end
  return sum, count
end

local function sum_of(...) return first(nil, ...) end

local function each_form(fn)
  for _, via in ipairs(FORMS) do fn(via) end
end

local function gives_every_row(conn)
  each_form(function(via)
    for _, count in ipairs { 0, 1, 15, 16, 17, 700 } do
      assert.same({ count * (count + 1) / 2, count }, { sum_of(conn:stream({ SERIES, via = via }, count)) })
      local at = 0
      for row in conn:stream({ SERIES, via = via, rows = "array" }, count) do
        at = at + 1
        assert(row[1] == at and row[2] == "x" .. at)
      end
      for n, t in conn:stream({ SERIES, via = via, rows = "values" }, count) do
        at = at - 1
        assert(t == "x" .. n)
      end
      assert.equal(0, at)
    end
    assert.equal("idle", conn:transaction_status())
  end)
end

local function reading(test)
  -- Past libpq, and through it, as when the bytes are counted.
  test("a stream gives every row, in each form and shape", function(open)
    for _, options in ipairs { {}, { max_result_bytes = 100000000 } } do
      local conn = open(options)
      gives_every_row(conn)
      probe.usable(conn)
      conn:close()
    end
  end)

  test("fetch_size is how many rows a portion has", function(open)
    local conn = open()
    for _, size in ipairs { 1, 7, 100, 5000 } do
      assert.equal(500500, (sum_of(conn:stream({ SERIES, fetch_size = size }, 1000))))
    end
    local observer, pid = open(), conn:backend_pid()
    for _, size in ipairs { 1, 2, 63, 64, 65, 1000, 5000 } do
      assert.equal(500500, (sum_of(conn:stream({ SERIES, via = "rows", fetch_size = size }, 1000))))
    end
    local stream = conn:stream({ SERIES, fetch_size = 7 }, 1000)
    local seen
    for _ = 1, 1000 do -- until it has come there
      seen = observer:query_value("select query from pg_stat_activity where pid = $1", pid)
      if seen:find "^fetch" then break end
    end
    assert.matches("^fetch forward 7 from ", seen)
    stream:close()
    probe.usable(conn)
  end)

  -- To see it fail: leave out `s->ahead != NULL` in peek (lstreamrow.c), or ask again inside of a transaction.
  test("portions that came before they were needed are handed out in order, and a failure behind the last of them",
    function(open, world)
      local conn = open()
      for _, via in ipairs { "by itself", "portal" } do
        local FAILS = { "select n, 1 / (n - 2950) as x from generate_series(1, 100000) n", fetch_size = 100,
          via = via == "portal" and via or nil }
        local stream, seen, sum = conn:stream(FAILS), 0, 0
        local ok, err = pcall(function()
          for row in stream do
            seen, sum = seen + 1, sum + row.n
            if seen % 500 == 0 then world.pause(0.01) end -- the server is ahead then
          end
        end)
        assert.same({ false, "division_by_zero" }, { ok, err.kind })
        assert.same({ 2900, 2900 * 2901 / 2 }, { seen, sum })
        assert.equal("idle", conn:transaction_status())
        probe.usable(conn)
      end
      assert(conn:transaction(function(tx)
        local count = 0
        for row in tx:stream({ SERIES, fetch_size = 70 }, 700) do
          count = count + 1
          assert(row.n == count and tx:query_value("select $1::int", count) == count)
        end
        return assert(count == 700)
      end))
    end)

  -- To see it fail: let lph_op_enter_pipeline (launch.c) only enter it.
  test("what is asked behind a stream row by row comes in one piece", function(open)
    local conn = open()
    local THREE = "select generate_series(1, 3) as n"
    assert(conn:query(THREE)) -- known, so it can be the first of a flight
    for _, most in ipairs { 1, 2, 3, 4 } do
      assert(conn:transaction(function(tx)
        first(most, tx:stream { THREE, via = "rows" })
        assert.same({ 1, 2, 3 }, tx:query_column(THREE))
        first(most, tx:stream { THREE, via = "rows" })
        return true
      end))
      first(most, conn:stream { THREE, via = "rows" })
      local results = assert(conn:batch(function(b)
        b:query(THREE)
        b:query(THREE)
      end))
      assert.same({ 3, 3 }, { #results[1], #results[2] })
      first(most, conn:stream { THREE, via = "rows" })
      assert.equal(3, assert(conn:transaction(function(tx) return #assert(tx:query(THREE)) end)))
    end
    probe.usable(conn)
  end)

  -- To see it fail: leave out OWN (portal.lua).
  test("a portal of its own has the plan of who reads all rows", function(open)
    local conn = open()
    local FRACTION = "select current_setting('cursor_tuple_fraction') as n"
    assert.equal(1, (sum_of(conn:stream { FRACTION, via = "portal" })))
    assert(conn:transaction(function(tx) return assert(sum_of(tx:stream(FRACTION)) == 0.1) end))
    assert.equal("0.1", conn:query_value(FRACTION))
  end)

  test("the form is chosen by what is run and how its rows can be read", function(open)
    local conn, counted = open(), open { max_result_bytes = 100000000 }
    local function form_of(on, ...)
      local stream = on:stream(...)
      local form = tostring(stream):match "%((%l+)"
      stream:close()
      return form
    end
    assert.equal("rows", form_of(conn, SERIES, 1))
    assert.equal("rows", form_of(conn, "with a as (select 1 as n) table a"))
    local outside = require("luphant.core").features().chunked_rows and "rows" or "portal"
    assert.equal(outside, form_of(counted, SERIES, 1))
    counted:close()
    assert.equal("rows", form_of(conn, "select 1 as n into temp made"))
    assert.equal("rows", form_of(conn, "show work_mem"))
    assert(conn:transaction(function(tx)
      assert.equal("portal", form_of(tx, SERIES, 1))
      return assert(form_of(tx, "explain select 1") == "rows")
    end))
    probe.usable(conn)
  end)

  test("values are those of the other verbs, unknown types among them", function(open)
    local conn = open()
    assert(conn:script "create type pg_temp.mood as enum ('sad', 'fine')")
    local SQL = [[select 1::int8 as big, null as nothing, array[1, null, 3] as list, 'fine'::pg_temp.mood as mood,
      1.50::numeric as price, '{"a": [1]}'::jsonb as doc, timestamp '2020-01-02 03:04:05' as at, '\x00ff'::bytea as raw,
      1.5::float8 as real]]
    local expected = assert(conn:query_one(SQL))
    each_form(function(via)
      for row in conn:stream { SQL, via = via } do assert.same(expected, row) end
    end)
  end)

  test("a stream that fails at the start or in the middle raises its error", function(open)
    local conn = open()
    each_form(function(via)
      for _, sql in ipairs {
        "select * from nowhere", "select 1 / (n - 700) as n from generate_series(1, 100000) n",
        "select 1 / (n - 1) as n from generate_series(1, 100000) n",
      } do
        local ok, err = pcall(function() return sum_of(conn:stream { sql, via = via }) end)
        assert.is_false(ok)
        assert.equal(sql:find "nowhere" and "undefined_table" or "division_by_zero", err.kind)
        assert.equal(sql, err.query)
        if err.position then assert.equal(15, err.position) end
        probe.usable(conn)
        assert.equal("idle", conn:transaction_status())
      end
    end)
  end)

  test("floats that come as text have all their digits, or are refused", function(open)
    local conn = open { result_format = "text" }
    each_form(function(via)
      local REAL = { "select 0.1::float8 + 0.2 as x", via = via }
      assert(conn:execute "set extra_float_digits = 1")
      for row in conn:stream(REAL) do assert.equal(0.1 + 0.2, row.x) end
      assert(conn:execute "set extra_float_digits = 0")
      local ok, err = pcall(function() for _ in conn:stream(REAL) do error "no row" end end)
      assert.same({ false, "decode" }, { ok, err.kind })
      assert.equal("idle", conn:transaction_status())
    end)
  end)

  test("statements without rows run once", function(open)
    local conn = open()
    assert(conn:script "create temp table t (n int)")
    for row in conn:stream "insert into t values (1), (2) returning n" do assert.is_true(row.n <= 2) end
    for _ in conn:stream "insert into t values (3)" do error "no row" end
    assert.equal(3, conn:query_value "select count(*)::int from t")
    conn:transaction(function(tx) -- not what a cursor can be declared for
      assert.equal(4, (sum_of(tx:stream "insert into t values (4) returning n")))
      assert.equal(5, (sum_of(tx:stream "with w as (insert into t values (5) returning n) select n from w")))
      return true
    end)
    assert.equal(15, conn:query_value "select sum(n)::int from t")
  end)

  test("a prepared statement streams, and a stale one is healed", function(open)
    local conn = open()
    local statement = assert(conn:prepare(SERIES))
    assert.equal(55, (sum_of(statement:stream(10))))
    assert(conn:script "do $$ begin execute 'deallocate all'; end $$")
    assert.equal(55, (sum_of(statement:stream(10))))
    assert(conn:script "create temp table t as select 1 as n")
    each_form(function(via)
      assert.equal(1, (sum_of(conn:stream { "select * from t", via = via })))
      assert(conn:script "alter table t add column more text default 'y', alter column n type int8")
      for row in conn:stream { "select * from t", via = via } do assert.same({ n = 1, more = "y" }, row) end
      assert(conn:script "alter table t drop column more, alter column n type int4")
    end)
  end)
end

local function leaving(test)
  test("a stream left early leaves the connection in order", function(open)
    local conn = open()
    each_form(function(via)
      for _, most in ipairs { 1, 16, 40 } do
        assert.equal(most, (select(2, first(most, conn:stream({ SERIES, via = via }, 1000000)))))
        probe.usable(conn)
        assert.equal("idle", conn:transaction_status())
      end
      local stream = conn:stream({ SERIES, via = via }, 1000000)
      stream:close()
      stream:close()
      assert.equal("idle", conn:transaction_status())
      assert.matches("closed", tostring(stream))
      local ok, err = pcall(stream)
      assert.same({ false, "closed" }, { ok, err.kind })
    end)
  end)

  test("an error in the body leaves the connection in order", function(open)
    local conn = open()
    each_form(function(via)
      assert.is_false((pcall(function()
        for row in conn:stream({ SERIES, via = via }, 1000000) do if row.n == 20 then error "thrown" end end
      end)))
      probe.usable(conn)
      assert.equal("idle", conn:transaction_status())
    end)
  end)

  test("what a loop that was left had done outside of a transaction is undone, in both forms", function(open)
    local conn = open()
    assert(conn:script [[create temp table t (n int);
      create function pg_temp.note(n int) returns int language plpgsql as
        $$ begin insert into t values (n); return n; end $$]])
    each_form(function(via)
      -- Few rows would all have been sent before the loop is left.
      local SQL = "select pg_temp.note(n) as n, repeat('x', 9000) as filling from generate_series(1, 3000) n"
      assert.equal(3, (first(2, conn:stream { SQL, via = via })))
      assert.equal(0, conn:query_value "select count(*)::int from t")
      assert.equal(55, (sum_of(conn:stream {
        "select pg_temp.note(n) as n from generate_series(1, 10) n", via = via })))
      assert.equal(10, conn:query_value "select count(*)::int from t")
      assert(conn:execute "truncate t")
    end)
  end)

  -- (The server sends when it has 8 kB.)
  test("a deadline is for each portion, and cancels the statement", function(open)
    local conn = open()
    each_form(function(via)
      local SLOW = { "select n, pg_sleep(0.02), repeat('x', 10000) from generate_series(1, 10) n", via = via,
        timeout = 0.15, fetch_size = 1 }
      assert.equal(55, (sum_of(conn:stream(SLOW)))) -- 0.2 s in all
      local HANGS = { [[select n, case when n = 3 then pg_sleep(5) end, repeat('x', 10000)
        from generate_series(1, 10) n]], via = via, timeout = 0.1, fetch_size = SLOW.fetch_size }
      local seen = 0
      local took, ok, err = probe.timed(pcall, function() for _ in conn:stream(HANGS) do seen = seen + 1 end end)
      assert.same({ false, "query_timeout", "ok" }, { ok, err.kind, err.connection })
      assert.is_true(seen <= 2 and took < 1.5 * probe.slow, ("%d rows, %.3f s"):format(seen, took))
      probe.usable(conn)
      assert.equal("idle", conn:transaction_status())
    end)
  end)
end

local function inside(test)
  test("inside a transaction other statements run between the rows", function(open)
    local conn = open()
    assert(conn:script "create temp table t (n int)")
    assert(conn:transaction(function(tx)
      for row in tx:stream(SERIES, 300) do
        assert.equal(1, tx:execute("insert into t values ($1)", row.n))
        if row.n % 100 == 0 then
          assert(tx:script "select 1; select 2")
          assert.same({ 1, 2, n = 2 }, assert(tx:batch(function(b)
            b:query_value "select 1"
            b:query_value "select 2"
          end)))
          assert(tx:transaction(function(sp) return sp:execute("insert into t values ($1)", -row.n) end))
          tx:transaction(function(sp) return sp:query "select 1 / 0" end)
        end
      end
      return true
    end))
    assert.equal(45150 - 600, conn:query_value "select sum(n)::int from t")
    assert.equal("idle", conn:transaction_status())
  end)

  test("several streams of one transaction run in each other", function(open)
    local conn = open()
    local pairs_seen = 0
    assert(conn:transaction(function(tx)
      for outer in tx:stream({ SERIES, fetch_size = 3 }, 20) do
        for inner in tx:stream({ SERIES, fetch_size = 4 }, outer.n) do
          pairs_seen = pairs_seen + 1
          if inner.n == 10 then break end
        end
      end
      return true
    end))
    assert.equal(55 + 100, pairs_seen)
    probe.usable(conn)
  end)

  test("a transaction that ends closes its streams, and a loop that goes on is told", function(open)
    local conn = open()
    each_form(function(via)
      local seen, ok, err = 0, nil, nil
      assert(conn:transaction(function(tx)
        ok, err = pcall(function()
          for row in tx:stream({ SERIES, via = via }, 100) do
            seen = row.n
            if seen == 5 then assert.is_true(tx:commit()) end
          end
        end)
        return true
      end))
      assert.same({ 5, false, "closed" }, { seen, ok, err.kind })
      probe.usable(conn)
    end)
    local sp_stream
    assert(conn:transaction(function(tx)
      assert(tx:transaction(function(sp)
        sp_stream = sp:stream(SERIES, 100)
        assert.equal(1, sp_stream().n)
        return true
      end))
      assert.is_false((pcall(sp_stream)))
      return tx:query_value "select 1"
    end))
  end)

  test("a stream that fails fails the transaction", function(open)
    local conn = open()
    each_form(function(via)
      local result, err = conn:transaction(function(tx)
        pcall(function() sum_of(tx:stream { "select 1 / (5 - n) as n from generate_series(1, 100) n", via = via }) end)
        return true
      end)
      assert.same({ nil, "division_by_zero" }, { result, err.kind })
      probe.usable(conn)
    end)
  end)

  test("a failure of rows that were asked for in advance is told to whoever finds it", function(open)
    local conn = open()
    local told
    local _, err = conn:transaction(function(tx)
      local ok, raised = pcall(function()
        for row in tx:stream { "select 1 / (5 - n) as q, n from generate_series(1, 100) n", fetch_size = 2 } do
          local value, why = tx:query_value("select $1::int", row.n)
          if not value then told = told or why.kind end
        end
      end)
      assert.same({ false, "division_by_zero" }, { ok, raised.kind })
      return true
    end)
    assert.same({ "division_by_zero", "division_by_zero" }, { told, err.kind })
    probe.usable(conn)
  end)

  test("the form rows is read away when it is left in a transaction, which goes on", function(open)
    local conn = open()
    assert.equal(7, conn:transaction(function(tx)
      assert.equal(1, (first(1, tx:stream({ SERIES, via = "rows" }, 20000))))
      return tx:query_value "select 7"
    end))
  end)

  test("the form rows that does not end in time is cancelled, and fails the transaction", function(open)
    local conn = open { cancel_grace = 0.2 }
    local _, err = conn:transaction(function(tx)
      local stream = tx:stream { [[select n, case when n > 2 then pg_sleep(5) end, repeat('x', 10000)
        from generate_series(1, 3) n]], via = "rows", fetch_size = 1 }
      assert.equal(1, stream().n)
      stream:close()
      return true
    end)
    assert.equal("query_timeout", err.kind)
    assert.matches("portal", err.hint)
    probe.usable(conn)
  end)
end

local function watching(test)
  test("hooks hear of streams as of other statements, and notices come", function(open)
    local notices, heard = {}, {}
    local conn = open { on_notice = function(notice) notices[#notices + 1] = notice.message end }
    conn:on("query_end", function(info)
      heard[#heard + 1] = info.verb .. (info.error and " " .. info.error.kind or "")
    end)
    each_form(function(via)
      assert.equal(3, (sum_of(conn:stream { "select n from generate_series(1, 2) n", via = via })))
      pcall(conn.stream, conn, { "select 1 / 0", via = via })
    end)
    assert(conn:cursor("select 1", nil, { hold = true })):close()
    assert.same({ "stream", "stream division_by_zero", "stream", "stream division_by_zero", "cursor" }, heard)
    assert(conn:script [[create function pg_temp.tell(n int) returns int language plpgsql as
      $$ begin raise notice 'row %', n; return n; end $$]])
    for _ in conn:stream "select pg_temp.tell(n) from generate_series(1, 2) n" do end -- luacheck: ignore
    assert.same({ "row 1", "row 2" }, notices)
  end)
end

local function busy(test)
  test("a loop that uses its own connection is told", function(open)
    local conn = open()
    each_form(function(via)
      local ok, told = pcall(function()
        for _ in conn:stream({ SERIES, via = via }, 100000) do
          local value, why = conn:query_value "select 5"
          if not value then return why.kind end
          assert.equal(5, value)
        end
      end)
      -- Lua 5.4 tells the statement. LuaJIT cannot know that the loop has not been left, and tells the loop.
      assert.equal(is_luajit and "closed" or "busy", ok and told or told.kind)
      probe.usable(conn)
      assert.equal("idle", conn:transaction_status())
    end)
  end)

  test("a cursor reads where it is told", function(open)
    local conn = open()
    assert(conn:transaction(function(tx)
      local c = assert(tx:cursor(SERIES, { 10 }, { scroll = true }))
      assert.same({ n = 1, t = "x1" }, c:next())
      assert.equal(2, c:next().n)
      assert.equal(1, c:prior().n)
      assert.is_nil((c:prior()))
      assert.equal(10, c:last().n)
      assert.is_nil((c:next()))
      assert.equal(1, c:first().n)
      assert.equal(9, c:absolute(-2).n)
      assert.equal(6, c:relative(-3).n)
      assert.is_nil((c:absolute(0)))
      assert.equal(3, #assert(c:fetch(3)))
      assert.equal(4, c:fetch()[1].n)
      assert.equal(2, c:move("backward", 2))
      assert.equal(2, c:relative(0).n)
      assert.equal(8, c:move "all" + 0)
      assert.equal(10, #assert(c:fetch("backward", "all")))
      assert.same({}, c:fetch "prior")
      assert.equal(1, c:move("absolute", 5))
      assert.equal(1, tx:query_value "select 1")
      assert.equal(6, c:next().n)
      assert.is_true(c:close())
      assert.is_true(c:close())
      return true
    end))
    probe.usable(conn)
  end)

  test("a cursor with hold outlives its transaction, and others do not", function(open)
    local conn = open()
    local held = assert(conn:cursor(SERIES, { 5 }, { hold = true, rows = "array" }))
    assert.same({ 1, "x1" }, held:next())
    local inner, kept
    assert(conn:transaction(function(tx)
      inner = assert(tx:cursor(SERIES, { 5 }))
      kept = assert(tx:cursor(SERIES, { 5 }, { hold = true }))
      assert.equal(1, inner:next().n)
      return true
    end))
    assert.is_false((pcall(inner.next, inner)))
    assert.equal(1, kept:next().n)
    assert.equal(2, conn:query_value "select count(*)::int from pg_cursors where name > ''")
    assert.is_true(kept:close())
    assert.same({ 2, "x2" }, held:next())
    assert.is_true(held:close())
    assert.equal(0, conn:query_value "select count(*)::int from pg_cursors where name > ''")
  end)

  test("update where current of means the row that was fetched last", function(open)
    local conn = open()
    assert(conn:script "create temp table t as select n, 0 as m from generate_series(1, 6) n")
    assert(conn:transaction(function(tx)
      local c = assert(tx:cursor "select n from t order by n for update")
      for _ = 1, 3 do
        local row = c:next()
        assert.equal(1, tx:execute("update t set m = $1 where current of " .. c.name, row.n * 10))
      end
      c:move(1)
      assert.equal(1, tx:execute("delete from t where current of " .. c.name))
      return true
    end))
    assert.same({ 10, 20, 30, 0, 0 }, conn:query_column "select m from t order by n")
  end)
end

local function of_pools(test, setting)
  test("a stream of a pool has a connection until it ends", function(_, world)
    local db = world.keep(assert(luphant.open(env.url(), { waiter = world.waiter, max_connections = 2,
      application_name = NAME, on_warning = function() end })))
    each_form(function(via)
      local stream = db:stream({ SERIES, via = via }, 100)
      assert.equal(1, stream().n)
      assert.equal(1, db:stats().used)
      assert.equal(5050 - 1, (sum_of(stream)))
      assert.equal(0, db:stats().used)

      assert.equal(1, (first(1, db:stream({ SERIES, via = via }, 1000000))))
      assert.is_false((pcall(function() sum_of(db:stream({ "select 1 / 0 as n", via = via })) end)))
      assert.is_false((pcall(function() for _ in db:stream({ SERIES, via = via }, 1000000) do error "thrown" end end)))
      local left = db:stream({ SERIES, via = via }, 1000000)
      assert.equal(1, left().n)
      left:close()
      left = nil -- luacheck: ignore
      -- With two places, this works only when all of them come back; LuaJIT's by being collected.
      for i = 1, 6 do assert.equal(i, db:query_value("select $1::int", i)) end
      local limit = probe.now() + 5 * probe.slow
      while db:stats().used > 0 and probe.now() < limit do
        if setting.has_others then world.pause(0.01) end
        collectgarbage()
        db:with(function() end)
      end
      assert.equal(0, db:stats().used)
      assert.equal("idle", db:with(function(conn) return conn:transaction_status() end))
    end)
    assert.equal(55, (sum_of(db:strict():stream(SERIES, 10))))
    local c = assert(db:cursor(SERIES, { 3 }, { hold = true }))
    assert.equal(1, c:next().n)
    assert.equal(1, db:stats().used)
    c:close()
    assert.equal(0, db:query_value "select count(*)::int from pg_cursors where name > ''")
  end)
end

local function together(test)
  test("streams of several connections run at the same time", function(open, world)
    local tasks = {}
    for i = 1, 4 do
      tasks[i] = world.spawn(function()
        local conn = open()
        local SLOWLY = "select n, pg_sleep(0.001) from generate_series(1, 100) n"
        assert.equal(5050, (sum_of(conn:stream { SLOWLY, via = FORMS[i % 2 + 1] })))
      end)
    end
    world.join(tasks)
  end)
end

return function(setting)
  describe("streams under the waiter: " .. setting.name, function()
    if setting.missing then
      it("work", function() pending(setting.missing) end)
      return
    end

    local world, open

    before_each(function() world, open = setting.start(), {} end)
    after_each(function()
      for _, each in ipairs(open) do (each.stop or each.close)(each) end
    end)

    local function keep(thing)
      open[#open + 1] = thing
      return thing
    end

    local function open_one(options)
      local given = { application_name = NAME, waiter = world.waiter, url = env.url() }
      for key, value in pairs(options or {}) do given[key] = value end
      return keep(assert(luphant.connect(given)))
    end

    local function test(title, fn)
      it(title, function()
        world.keep = keep
        world.run(function() fn(open_one, world) end)
      end)
    end

    reading(test)
    leaving(test)
    inside(test)
    watching(test)
    busy(test)
    of_pools(test, setting)
    if setting.has_others then together(test) end
  end)
end
