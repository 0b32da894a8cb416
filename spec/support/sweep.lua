-- What is done while memory runs out: scenarios for sweep.c (Lua's allocator) and allocation_spec.lua (the core's).
--
-- Each is a table:
--   name   for messages
--   fresh  every run needs a Lua state of its own
--   only_lua  the core allocates nothing for it
--   setup  -> things, with enough memory
--   run    (things) -> result | nil, err; may raise. Runs short of memory.
--   expect (result, things): raises when a result that did come is not right
--   before, after, close  (things), with enough memory: before and after each run, and at the end
-- After each run `verify` asks for the promise: the failure says what it is, a result is whole, a connection is
-- idle and usable or closed.
--
-- SPDX-License-Identifier: MIT
local sweep = { scenarios = {} }

local url = assert((...) or os.getenv "LUPHANT_TEST_URL", "give the server's URL, or set LUPHANT_TEST_URL")

local function scenario(s)
  sweep.scenarios[#sweep.scenarios + 1] = s
end

-- What a Lua does wrong by itself when memory runs out is kept out of the picture: LuaJIT loses two blocks while
-- its ffi library is opened, and the file luaL_loadfile has just opened; and it crashes when memory runs out in a
-- compiled loop over strings.
local function load_carefully()
  pcall(require, "ffi")
  local has_jit, jit = pcall(require, "jit")
  if has_jit then jit.off() end
  assert(#("x"):rep(100000) == 100000) -- Lua 5.4 does not recover when memory runs out in its first large buffer
  local searchers = package.searchers or package.loaders -- luacheck: ignore
  searchers[2] = function(name)
    for template in package.path:gmatch "[^;]+" do
      local path = template:gsub("%?", (name:gsub("%.", "/")))
      local file = io.open(path)
      if file then
        local source = file:read "*a"
        file:close()
        return assert((loadstring or load)(source, "@" .. path)) -- luacheck: ignore
      end
    end
  end
end

local function open(options)
  local luphant = require "luphant"
  options = options or {}
  options.application_name = "luphant_sweep"
  return luphant.connect(url, options)
end

local function connected(options)
  return function()
    load_carefully()
    local conn = assert(open(options))
    assert(conn:script [[create type pg_temp.pair as (a int, b text);
      create temp table noise (id int primary key, t text);
      create type pg_temp.mood as enum ('sad', 'glad')]])
    return { conn = conn }
  end
end

local function close(things)
  if things.conn then things.conn:close() end
end

local function equal(wanted, got)
  if wanted ~= got then error(("wanted %s, got %s"):format(tostring(wanted), tostring(got)), 2) end
end

-- Kind and SQLSTATE of an error need no memory; its texts do, and may be missing.
local function said(err, text)
  return err.message == "out of memory: there was no room for the message of this error"
    or err.message:find(text, 1, true) ~= nil
end

-- Forget all statements, so that the run prepares them anew.
local function discard(things)
  assert(things.conn:script "deallocate all")
end

----------------------------------------------------------------------------------- connecting, closing

scenario {
  name = "load", fresh = true, only_lua = true,
  setup = function()
    load_carefully()
    return {}
  end,
  run = function() return require "luphant" end,
  expect = function(luphant) equal("function", type(luphant.connect)) end,
  -- A program that goes on afterwards may try again (Lua 5.1's require has to forget its own failure first).
  after = function()
    for name in pairs(package.loaded) do
      if name:find "^luphant" then package.loaded[name] = nil end
    end
    local luphant, core = require "luphant", require "luphant.core"
    equal("function", type(luphant.connect))
    equal('"x"', core.json_encode "x")
    equal("luphant.typed", getmetatable(luphant.typed(1, "int4")).__name)
    equal("luphant.array", getmetatable(core.json_decode "[1]").__name)
  end,
}

scenario {
  name = "connect", fresh = true,
  setup = function()
    load_carefully()
    require "luphant"
    return {}
  end,
  run = function(things)
    local conn, err = open()
    things.conn = conn
    return conn, err
  end,
  expect = function(conn) equal(true, conn:is_open()) end,
  close = close,
}

scenario {
  name = "connect in vain", fresh = true,
  setup = function()
    load_carefully()
    require "luphant"
    return {}
  end,
  run = function(things)
    local conn, err = require("luphant").connect(url, { dbname = "there_is_none", application_name = "luphant_sweep" })
    things.conn = conn
    if err and err.kind == "config" or err and err.sqlstate == "3D000" then return err end
    return conn, err
  end,
  expect = function(err)
    equal("3D000", err.sqlstate)
    equal(true, said(err, "there_is_none"))
  end,
  close = close,
}

scenario {
  name = "close", fresh = true,
  setup = connected(),
  run = function(things)
    things.conn:query("select 1")
    things.conn:close()
    return true
  end,
  expect = function() end,
}

------------------------------------------------------------------------------------------ statements

scenario {
  name = "small query",
  setup = connected(),
  before = discard,
  run = function(things) return things.conn:query("select 1 as one, 'two' as two, null as three") end,
  expect = function(rows)
    equal(1, rows[1].one)
    equal("two", rows[1].two)
    equal("SELECT", rows.command)
    equal("two", rows.columns[2].name)
  end,
}

scenario {
  name = "statement of the cache",
  setup = connected(),
  run = function(things) return things.conn:query_one("select $1::int as n, $2::text as t", 7, "seven") end,
  expect = function(row)
    equal(7, row.n)
    equal("seven", row.t)
  end,
}

scenario {
  name = "describe and prepare",
  setup = connected(),
  before = discard,
  run = function(things)
    local statement, err = things.conn:prepare("select $1::int + 1 as n, $2::text as t")
    if not statement then return nil, err end
    return statement:query_one(1, "x")
  end,
  expect = function(row) equal(2, row.n) end,
}

scenario {
  name = "statements evicting each other",
  setup = connected { statement_cache_size = 2 },
  run = function(things)
    local sum = 0
    for i = 1, 6 do
      local n, err = things.conn:query_value("select " .. i .. " + $1::int", i)
      if not n then return nil, err end
      sum = sum + n
    end
    return sum
  end,
  expect = function(sum) equal(42, sum) end,
}

scenario {
  name = "notifications beside statements",
  setup = connected(),
  before = discard,
  run = function(things)
    local box = things.conn.box
    local ok, err = box:hear_begin(true)
    if not ok then return nil, err end
    ok, err = things.conn:query "listen sweep"
    if not ok then return nil, err end
    ok, err = things.conn:query("select pg_notify($1, $2)", "sweep", "heard")
    if not ok then return nil, err end
    return (select(2, box:next_notification()))
  end,
  expect = function(payload) equal("heard", payload) end,
}

scenario {
  name = "server error",
  setup = connected(),
  before = discard,
  run = function(things)
    local rows, err = things.conn:query("select 1 / ($1::int - 1) as \"a column\"", 1)
    if rows then error "this cannot work" end
    if err.sqlstate then return err end
    return nil, err
  end,
  expect = function(err)
    equal("22012", err.sqlstate)
    equal(true, said(err, "division by zero"))
    equal(true, #tostring(err) > 0)
  end,
}

scenario {
  name = "server error while preparing",
  setup = connected(),
  run = function(things)
    local rows, err = things.conn:query("select no_such_column from noise where t = $1", "x")
    if rows then error "this cannot work" end
    if err.sqlstate then return err end
    return nil, err
  end,
  expect = function(err) equal("42703", err.sqlstate) end,
}

-- All of the statements took effect, or none.
local function none_or_all(things)
  if things.conn.box:state() ~= "idle" then return end
  local count = things.conn:query_value "select count(*)::int from noise"
  if count ~= 0 and count ~= 2 then error("half a batch was kept: " .. count) end
  assert(things.conn:execute "delete from noise")
end

scenario {
  name = "batch",
  setup = connected { statement_cache_size = 2 },
  run = function(things)
    return things.conn:batch(function(b)
      b:execute("insert into noise values ($1, $2)", 1, "x")
      b:query_one("select $1::int as n, array[$2::text] as l", 7, "seven")
      b:query_column "select g from generate_series(1, 20) g"
      b:execute("insert into noise values ($1, $2)", 2, ("y"):rep(200))
    end)
  end,
  expect = function(results)
    equal(4, results.n)
    equal("seven", results[2].l[1])
    equal(20, results[3][20])
  end,
  after = none_or_all,
}

scenario {
  name = "batch that fails",
  setup = connected(),
  before = discard,
  run = function(things)
    local results, err = things.conn:batch { "insert into noise values (1)", { "select 1 / $1::int", 0 }, "select 1" }
    if results then error "this cannot work" end
    if err.sqlstate then return err end
    return nil, err
  end,
  expect = function(err)
    equal("22012", err.sqlstate)
    equal(2, err.index)
  end,
  after = none_or_all,
}

scenario {
  name = "insert_many",
  setup = connected(),
  run = function(things)
    return things.conn:insert_many("noise", { "id", "t" }, { { 1, "x" }, { id = 2, t = "y" } })
  end,
  expect = function(n) equal(2, n) end,
  after = none_or_all,
}

scenario {
  name = "script",
  setup = connected(),
  run = function(things)
    return things.conn:script("select g as n, 'x' || g as t from generate_series(1, 20) g; select array[1, 2] as a")
  end,
  expect = function(list)
    equal(2, #list)
    equal("x20", list[1].rows[20].t)
    equal(2, list[2].rows[1].a[2])
  end,
}

scenario {
  name = "notices",
  setup = connected { on_notice = function() end },
  run = function(things)
    return things.conn:script("do $$ begin for i in 1 .. 5 loop raise notice 'number %', i; end loop; end $$; select 1")
  end,
  expect = function(list) equal(2, #list) end,
}

-------------------------------------------------------------------------------------- large results

-- Ten columns of all sorts; one thousand rows of them.
local MIXED = [[select g as n, g::int8 * 1000003 as big, 'row ' || g as t, g %% 2 = 0 as even, g / 7.0 as q,
  array[g, g + 1, null] as list, jsonb_build_object('n', g, 'l', jsonb_build_array(1, 'x')) as j,
  row(g, 'b')::pg_temp.pair as pair, timestamptz '2020-01-01 00:00+00' + g * interval '1 hour' as at,
  int4range(g, g + 3) as span from generate_series(1, %d) g]]

local function check_mixed(rows, count)
  equal(count, #rows)
  for _, i in ipairs { 1, 2, count } do
    local row = rows[i]
    equal(i, row.n)
    equal("row " .. i, row.t)
    equal(i % 2 == 0, row.even)
    equal(i + 1, row.list[2])
    equal(i, row.j.n)
    equal("x", row.j.l[2])
    equal(i, row.pair.a)
    equal("b", row.pair.b)
    equal(i + 3, row.span.upper)
    equal("string", type(row.at))
  end
end

for _, format in ipairs { "binary", "text" } do
  scenario {
    name = "mixed rows, " .. format,
    setup = connected { result_format = format },
    before = discard,
    run = function(things) return things.conn:query(MIXED:format(3)) end,
    expect = function(rows) check_mixed(rows, 3) end,
  }
  scenario {
    name = "1000 mixed rows, " .. format, large = true,
    setup = connected { result_format = format },
    run = function(things) return things.conn:query(MIXED:format(1000)) end,
    expect = function(rows) check_mixed(rows, 1000) end,
  }
end

scenario {
  name = "columns",
  setup = connected(),
  run = function(things)
    return things.conn:query { "select g as n, array[g] as a from generate_series(1, 50) g", rows = "columns" }
  end,
  expect = function(columns)
    equal(50, columns.n[50])
    equal(50, columns.a[50][1])
  end,
}

scenario {
  name = "iterator that is abandoned",
  setup = connected(),
  run = function(things)
    local iterator, err = things.conn:values_iterator("select g, array['a' || g] from generate_series(1, 30) g")
    if not iterator then return nil, err end
    local sum = 0
    for n, list in iterator do
      sum = sum + n
      equal("a" .. n, list[1])
      if n == 20 then break end
    end
    return sum
  end,
  expect = function(sum) equal(210, sum) end,
}

------------------------------------------------------------------------------- streams and cursors

-- A stream that an error has left in the middle is put away by the next statement.
local function put_away(things) things.conn:query("select 1") end

for _, via in ipairs { "rows", "portal" } do
  for _, style in ipairs(via == "rows" and { "named", "values" } or { "array" }) do
    scenario {
      name = ("stream, %s, %s"):format(via, style),
      setup = connected(),
      before = discard,
      run = function(things)
        local sum = 0
        for row, list in things.conn:stream({ "select g as n, array['a' || g] as a from generate_series(1, $1) g",
          via = via, rows = style, fetch_size = via == "portal" and 4 or nil }, 10) do
          local n = style == "values" and row or row.n or row[1]
          list = style == "values" and list or row.a or row[2]
          sum = sum + n
          equal("a" .. n, list[1])
        end
        return sum
      end,
      expect = function(sum) equal(55, sum) end,
      after = put_away,
    }
  end
  scenario {
    name = "stream that is left, " .. via,
    setup = connected(),
    run = function(things)
      local stream = things.conn:stream { "select g as n from generate_series(1, 5000) g", via = via }
      local sum = stream().n + stream().n
      stream:close()
      return sum
    end,
    expect = function(sum) equal(3, sum) end,
    after = put_away,
  }
  scenario {
    name = "stream that is forgotten, " .. via,
    setup = connected(),
    run = function(things)
      local sum = things.conn:stream({ "select g as n from generate_series(1, 5000) g", via = via })().n
      collectgarbage()
      local two, err = things.conn:query_value "select 2"
      if not two then return nil, err end
      return sum + two
    end,
    expect = function(sum) equal(3, sum) end,
    after = put_away,
  }
end

scenario {
  name = "stream and statements in a transaction",
  setup = connected(),
  run = function(things)
    return things.conn:transaction(function(tx)
      local sum = 0
      for row in tx:stream { "select g as n from generate_series(1, 6) g", fetch_size = 2 } do
        local n, err = tx:query_value("select $1::int", row.n)
        if not n then return nil, err end
        sum = sum + n
      end
      return sum
    end)
  end,
  expect = function(sum) equal(21, sum) end,
}

scenario {
  name = "cursor",
  setup = connected(),
  run = function(things)
    return things.conn:transaction(function(tx)
      local cursor, err = tx:cursor("select g as n from generate_series(1, $1) g", { 9 }, { scroll = true })
      if not cursor then return nil, err end
      local last, why = cursor:last()
      if not last then return nil, why end
      local rows
      rows, why = cursor:fetch("backward", 3)
      if not rows then return nil, why end
      local closed
      closed, why = cursor:close()
      if not closed then return nil, why end
      return last.n + #rows + rows[3].n
    end)
  end,
  expect = function(sum) equal(9 + 3 + 6, sum) end,
}

------------------------------------------------------------------------------------------ parameters

scenario {
  name = "parameters of every kind",
  setup = connected(),
  before = discard,
  run = function(things)
    local luphant = require "luphant"
    return things.conn:query_one([[select $1::int8 as i, $2::float8 as f, $3::bool as b, $4::text as t, $5::bytea as y,
      $6::numeric as n, $7::int[] as l, $8::jsonb as j, $9::pg_temp.pair as c, $10::int4range as r,
      $11::timestamptz as z, $12::text[] as s, $13::pg_temp.mood as m, $14::date as d, $15::text as null_text]],
      12, 1.5, true, ("long text "):rep(100), "\0\1\255", "123456789012345678901234567890.5", { { 1, 2 }, { 3, 4 } },
      { a = { 1, luphant.NULL, { b = "x" } } }, { a = 5, b = "six" }, { lower = 1, upper = 9 },
      "2020-01-01 00:00:00+00", { "a", 'quo"te', luphant.NULL }, "glad", { year = 2021, month = 2, day = 3 }, nil)
  end,
  expect = function(row)
    equal(12, row.i)
    equal(1.5, row.f)
    equal(1000, #row.t)
    equal("\0\1\255", row.y)
    equal("123456789012345678901234567890.5", row.n)
    equal(4, row.l[2][2])
    equal("x", row.j.a[3].b)
    equal("six", row.c.b)
    equal(9, row.r.upper)
    equal('quo"te', row.s[2])
    equal("glad", row.m)
    equal("2021-02-03", row.d)
  end,
}

scenario {
  name = "typed, wrapped and refused parameters",
  setup = connected(),
  run = function(things)
    local luphant = require "luphant"
    local conn = things.conn
    local value, err = conn:query_value("select $1", luphant.typed({ 1, 2, 3 }, "int[]"))
    if not value then return nil, err end
    equal(3, value[3])
    value, err = conn:query_value("select $1::jsonb", luphant.json({ x = luphant.array {} }))
    if not value then return nil, err end
    equal(0, #value.x)
    value, err = conn:query_value("select $1::int[]", { 1, { 2 } })
    if value then error "this cannot work" end
    if err.kind == "parameter" then return err end
    return nil, err
  end,
  expect = function(err) equal(1, err.param) end,
}

scenario {
  name = "codecs of the user",
  setup = function()
    local things = connected()()
    assert(things.conn:register_type("date", {
      encode = function(v) return v.iso end,
      decode = function(v) return { iso = v } end,
    }))
    return things
  end,
  run = function(things) return things.conn:query_value("select $1::date[]", { { iso = "2020-02-29" } }) end,
  expect = function(list) equal("2020-02-29", list[1].iso) end,
}

----------------------------------------------------------------------------- transactions, deadlines

scenario {
  name = "transaction",
  setup = connected(),
  run = function(things)
    return things.conn:transaction(function(tx)
      local n, err = tx:execute("insert into noise values (1, $1)", "x")
      if not n then return nil, err end
      local ok
      ok, err = tx:transaction(function(inner) return inner:query("select 1 / 0") end)
      if ok or err.sqlstate ~= "22012" then return nil, err end
      n, err = tx:execute("delete from noise")
      if not n then return nil, err end
      return n
    end)
  end,
  expect = function(n) equal(1, n) end,
}

scenario {
  name = "transaction in flights",
  setup = connected(),
  run = function(things)
    return things.conn:transaction(function(tx)
      tx:after_commit(function() things.committed = true end)
      local n, err = tx:execute("insert into noise values (2, $1)", "x")
      if not n then return nil, err end
      n, err = tx:transaction(function(inner) return inner:script "insert into noise values (3)" end)
      if not n then return nil, err end
      return tx:commit_with "delete from noise returning id"
    end, { set = { ["app.sweep"] = "1" }, timeout = 60, retry = 2, tags = { of = "sweep" } })
  end,
  expect = function(rows, things)
    equal(2, #rows)
    equal(true, things.committed)
  end,
  -- Whatever happened, all of it did or nothing.
  after = function(things)
    things.committed = nil
    if things.conn.box:state() == "idle" then equal(0, things.conn:query_value "select count(*)::int from noise") end
  end,
}

scenario {
  name = "deadline",
  setup = connected(),
  slow = true,
  run = function(things)
    local rows, err = things.conn:query { "select pg_sleep(0.3)", timeout = 0.005 }
    if rows then return { kind = "query_timeout" } end -- on a busy machine it may outrun the cancel request
    if err.kind == "query_timeout" then return err end
    return nil, err
  end,
  expect = function(err) equal("query_timeout", err.kind) end,
}

----------------------------------------------------------------------------------------------- COPY

-- As a `<close>` variable does it.
local function closing(begin, fn, ...)
  local object, err = begin(...)
  if not object then return nil, err end
  local ok, result, why = pcall(fn, object)
  object:close()
  if not ok then error(result, 0) end
  return result, why
end

scenario {
  name = "rows in by COPY",
  setup = connected(),
  run = function(things)
    local conn = things.conn
    local n, err = closing(conn.copy_in, function(w)
      local ok, why
      for i = 1, 3 do
        ok, why = w:row(i, ("text "):rep(50))
        if not ok then return nil, why end
      end
      ok, why = w:rows { { 4, "four" }, { id = 5 } }
      if not ok then return nil, why end
      things.finishing = true -- from here on the server may have them though we failed
      local n
      n, why = w:finish()
      return n, why
    end, conn, "noise")
    if not n then return nil, err end
    local deleted
    deleted, err = conn:execute "delete from noise"
    if not deleted then return nil, err end
    return n
  end,
  expect = function(n) equal(5, n) end,
  -- All of them or none.
  after = function(things)
    local finishing = things.finishing
    things.finishing = nil
    if things.conn.box:state() == "closed" then return end
    local n, err = things.conn:query_value "select count(*)::int from noise"
    if n ~= 0 and (n ~= 5 or not finishing) then error("rows of a COPY that failed: " .. tostring(n or err)) end
    if n ~= 0 then assert(things.conn:execute "delete from noise") end
  end,
}

scenario {
  name = "rows in by COPY, in text and refused",
  setup = connected(),
  run = function(things)
    return closing(things.conn.copy_in, function(w)
      local ok, err = w:row(1, "tab\t")
      if not ok then return nil, err end
      ok, err = w:row("x", "y")
      if ok then error "this cannot work" end
      if err.kind ~= "parameter" then return nil, err end
      ok, err = w:finish()
      if ok then error "this cannot work" end
      if err.row == 2 then return err end
      return nil, err
    end, things.conn, "noise", { format = "text" })
  end,
  expect = function(err) equal(2, err.row) end,
  after = function(things)
    if things.conn.box:state() ~= "closed" then equal(0, things.conn:query_value "select count(*)::int from noise") end
  end,
}

for _, format in ipairs { "binary", "text" } do
  scenario {
    name = "rows out by COPY, " .. format,
    setup = connected(),
    run = function(things)
      local ok, sum, err = pcall(closing, things.conn.copy_out, function(r)
        local sum = 0
        for row in r do
          sum = sum + row.n
          equal(row.n + 1, row.a[2])
          equal("tab\t" .. row.n, row.t)
        end
        return sum
      end, things.conn, "select g as n, array[g, g + 1] as a, 'tab\t' || g as t from generate_series(1, 20) g",
        { format = format })
      if ok then return sum, err end
      if type(sum) == "table" then return nil, sum end -- the loop raises its errors
      error(sum, 0)
    end,
    expect = function(sum) equal(210, sum) end,
    -- What could not be closed for want of memory is ended by the next statement.
    after = function(things)
      if things.conn.box:state() ~= "closed" then equal(1, things.conn:query_value "select 1") end
    end,
  }
end

scenario {
  name = "waiting for several", only_lua = true,
  setup = connected(),
  run = function(things)
    local fd = things.conn.box:fd()
    return require("luphant.core").poll_any({ fd, fd, fd }, { "r", "rw", "w" }, 1)
  end,
  expect = function(ready) assert(ready[1] == nil and ready[2] == "w" and ready[3] == "w") end,
}

scenario {
  name = "watching through one descriptor",
  setup = connected(),
  run = function(things)
    local nest, list = require("luphant.core").nest(), {}
    assert(nest:watch(things.conn.box:fd(), "rw"))
    assert(nest:take(list) == 1)
    return list
  end,
  expect = function(list) assert(#list == 2 and list[2] == "w") end,
}

scenario {
  name = "listening",
  setup = function()
    local things = connected()()
    things.box = things.conn.box
    assert(things.box:hear_begin())
    assert(things.conn:script "listen sweep")
    return things
  end,
  before = function(things)
    while things.box:next_notification() do end -- luacheck: ignore
    discard(things) -- so that the core has something to allocate
  end,
  run = function(things)
    local sent, err = things.conn:notify("sweep", "heard")
    if not sent then return nil, err end
    local heard
    heard, err = things.box:hear()
    if not heard then return nil, err end
    return (select(2, things.box:next_notification()))
  end,
  expect = function(payload) equal("heard", payload) end,
  close = function(things)
    close(things)
    things.box:hear_end()
  end,
}

-- What the pool lends without a look from Lua, to the main program and to a coroutine, and takes back.
scenario {
  name = "borrowing",
  setup = function()
    load_carefully()
    local db = assert(require("luphant").open(url, {
      application_name = "luphant_sweep", waiter = "poll", max_connections = 1, leak_frames = 3,
      on_warning = function() end,
    }))
    assert(db:ready())
    return { db = db }
  end,
  before = function(things)
    assert(things.db:script "deallocate all") -- so that the core has something to allocate
  end,
  run = function(things)
    local function borrow()
      local conn, err = things.db:acquire()
      if not conn then return nil, err end
      local n
      n, err = conn:query_value("select $1::int", 42)
      conn:release()
      return n, err
    end
    local n, err = borrow()
    if n == nil then return nil, err end
    local ok
    ok, n, err = coroutine.resume(coroutine.create(borrow))
    if not ok then error(n, 0) end
    return n, err
  end,
  expect = function(n) equal(42, n) end,
  after = function(things)
    equal(42, things.db:query_value("select $1::int", 42)) -- a handle that was lost has been found
    equal(0, things.db:stats().used)
  end,
  close = function(things) things.db:close(0) end,
}

-- Whatever has happened to it, the next one listens.
local function listen_again(things)
  local db = things.db
  for member in pairs(db.line and db.line.members or {}) do member:close() end
  local listener = assert(db:listen("sweep", nil, { timeout = 10 }))
  assert(db:notify("sweep", "again"))
  local payload, err
  repeat payload, err = listener:wait(10) until payload ~= "heard"
  if payload ~= "again" then error("nothing is heard any more: " .. tostring(err)) end
  listener:close()
  if next(db.line.members) or next(db.line.wanted) then error "somebody listens who has left" end
end

-- An attempt to connect that memory did not suffice for is repeated; time may be over before.
local function reason(db, err)
  local cause = err and err.kind == "connect_timeout" and err.cause or err
  return cause or db.line and db.line.last_error
end

scenario {
  name = "listener of a pool", slow = true,
  setup = function()
    load_carefully()
    local db = assert(require("luphant").open(url, {
      application_name = "luphant_sweep", waiter = "poll", max_connections = 1, on_warning = function() end,
    }))
    assert(db:notify("sweep", "nobody hears this"))
    return { db = db }
  end,
  run = function(things)
    local db = things.db
    local listener, err = db:listen({ "sweep", "other" }, nil, { timeout = 2 })
    if not listener then return nil, reason(db, err) end
    local payload
    if db:notify("sweep", "heard") then payload, err = listener:wait(2) end
    listener:close()
    if not payload then return nil, reason(db, err) end
    return payload
  end,
  expect = function(payload) equal("heard", payload) end,
  after = listen_again,
  close = function(things) things.db:close() end,
}

------------------------------------------------------------------------------------------- the promise

-- Lua 5.4 has no memory for its stack and calls that a stack overflow.
local function is_memory(err)
  if type(err) == "string" then
    return err:find("not enough memory", 1, true) ~= nil or err:find "^stack overflow %(" ~= nil
  end
  return type(err) == "table" and err.kind == "out_of_memory"
end

local function check_connection(conn)
  local state = conn.box:state()
  if state == "closed" then return end
  if state ~= "idle" then error("the connection is left " .. state) end
  equal("idle", conn:transaction_status())
  local n, err = conn:query_value("select $1::int", 42)
  if n ~= 42 then error("the connection is idle and not usable: " .. tostring(err)) end
  local text = ("t"):rep(300)
  equal(text, conn:query_value("select $1::text", text))
end

--- One run has ended with `ok, result, err` of pcall. Raises when the promise is broken; answers whether the
--- connection, if any, can serve for another run.
---@param s table
---@param things table
---@param ok boolean
---@param result any
---@param err any
---@return boolean
function sweep.verify(s, things, ok, result, err)
  if not ok then
    if not is_memory(result) then error("raised instead of running out of memory: " .. tostring(result)) end
  elseif result == nil then
    if not is_memory(err) then error("failed instead of running out of memory: " .. tostring(err)) end
    equal("string", type(err.message))
    equal(true, #tostring(err) > 0)
  else
    s.expect(result, things)
  end
  if s.after then s.after(things) end
  local conn = things.conn
  if not conn then return true end
  check_connection(conn)
  return conn:is_open()
end

--- The scenario of that name.
function sweep.find(name)
  for _, s in ipairs(sweep.scenarios) do
    if s.name == name then return s end
  end
  error("no scenario " .. name)
end

return sweep
