-- Code of other people that runs in the middle of our own - codecs, JSON functions, metamethods, finalizers,
-- notice hooks - and comes back into the same connection. It may be told "busy"; it must never free or change
-- what the interrupted call reads. Run under ./dev asan these specs see a use after free the moment it happens;
-- to see one, let lenter.c call the body without setting `entered`.
--
-- SPDX-License-Identifier: MIT
local env = require "spec.support.env"
local luphant = require "luphant"

local is_luajit = rawget(_G, "jit") ~= nil

-- Calls f once from a finalizer, at some allocation after this returns, and says so in the table it returns.
-- It may come as late as in another file, when the connection is closed: on LuaJIT an error would then go to
-- whoever happened to allocate.
local function at_next_collection(f)
  local seen = { calls = 0 }
  local function finalize()
    seen.calls = seen.calls + 1
    pcall(f)
  end
  if is_luajit then
    local proxy = rawget(_G, "newproxy")(true)
    getmetatable(proxy).__gc = finalize
  else
    setmetatable({}, { __gc = finalize })
  end
  return seen
end

describe("code that comes back into a connection", function()
  local conn

  local function connect(options)
    return assert(luphant.connect(env.url(), options or {}))
  end

  before_each(function() conn = connect() end)
  after_each(function() conn:close() end)

  -- The place is in order: the next statement works and gives its own answer.
  local function check_usable()
    assert.equal(42, conn:query_value("select $1::int", 42))
    assert.equal("idle", conn:transaction_status())
  end

  describe("from a codec", function()
    local seen

    -- Everything a connection can do, tried from inside; answers the error of the first verb.
    local function come_back()
      local result, err = conn:query("select g, repeat('x', 50) as t from generate_series(1, 500) g")
      seen[#seen + 1] = { result, err }
      conn:query_value("select 'other ' || $1", "text")
      conn:execute("select 1")
      conn:script("select 1; select 2")
      conn:describe("select 3")
      conn:target()
      conn:parameter_status("server_version")
      conn:stats()
      conn:cancel()
    end

    before_each(function()
      seen = {}
      assert(conn:execute("create temp table thing (id int, at date, tags text[])"))
      assert(conn:execute([[insert into thing select g, date '2020-01-01' + g, array['a' || g, 'b']
        from generate_series(1, 200) g]]))
    end)

    local function check_refused()
      assert.is_true(#seen > 0)
      for _, answer in ipairs(seen) do
        assert.is_nil(answer[1])
        assert.is_true(luphant.is(answer[2], "busy"), tostring(answer[2]))
      end
    end

    it("that decodes is told busy, and the rows are whole", function()
      assert(conn:register_type("date", { decode = function(v)
        come_back()
        return "<" .. v .. ">"
      end }))
      local rows = assert(conn:query("select * from thing order by id"))
      assert.equal(200, #rows)
      for i, row in ipairs(rows) do
        assert.equal(i, row.id)
        assert.matches("^<2020%-", row.at)
        assert.same({ "a" .. i, "b" }, { row.tags[1], row.tags[2] })
      end
      check_refused()
      check_usable()
    end)

    it("that encodes is told busy, and the parameters arrive whole", function()
      assert(conn:register_type("date", { encode = function(v)
        come_back()
        return v.text
      end }))
      local long = ("y"):rep(5000)
      local row = assert(conn:query_one("select $1::text as a, $2::date as d, $3::date[] as l, $4::text as b", long,
        { text = "2021-02-03" }, { { text = "2021-02-04" }, { text = "2021-02-05" } }, long))
      assert.equal("2021-02-03", row.d)
      assert.equal("2021-02-05", row.l[2])
      assert.equal(long, row.a)
      assert.equal(long, row.b)
      check_refused()
      check_usable()
    end)

    it("can close the connection; the call still ends well", function()
      assert(conn:register_type("date", { decode = function(v)
        conn:close()
        return v
      end }))
      local box = conn.box
      local rows = assert(conn:query("select * from thing order by id"))
      assert.equal(200, #rows)
      assert.equal("2020-07-19", rows[200].at)
      assert.equal("closed", box:state())
    end)

    it("raises: the same error object arrives, and the connection is in order", function()
      local thrown = setmetatable({}, { __tostring = function() return "thrown" end })
      local function throw() error(thrown) end
      assert(conn:register_type("date", { decode = throw, encode = throw }))
      for _, call in ipairs {
        function() return conn:query("select * from thing") end,
        function() return conn:query_value("select date '2020-01-01'") end,
        function() return conn:query_column("select at from thing") end,
        function() return conn:script("select at from thing") end,
        function() return conn:query("select $1::date", "2020-01-01") end,
        function() for _ in conn:values("select at from thing") do end end,
        function()
          return conn:transaction(function(tx) return tx:query("select at from thing") end)
        end,
      } do
        local ok, err = pcall(call)
        assert.is_false(ok)
        assert.is_true(rawequal(thrown, err))
        check_usable()
      end
    end)

    it("raises nil, a string, an error in an error: the connection is in order", function()
      local what
      assert(conn:register_type("date", { decode = function() error(what, 0) end }))
      for _, value in ipairs { "text", 17, false } do
        what = value
        local ok, err = pcall(conn.query, conn, "select at from thing")
        assert.is_false(ok)
        assert.equal(value, err)
        check_usable()
      end
      what = nil
      assert.is_false((pcall(conn.query, conn, "select at from thing")))
      check_usable()
    end)

    it("yields: refused by Lua, and the connection is in order", function()
      assert(conn:register_type("date", { decode = function(v) return coroutine.yield(v) end }))
      local thread = coroutine.create(function() return conn:query("select at from thing") end)
      local ok, err = coroutine.resume(thread)
      assert.is_false(ok)
      assert.matches("yield", tostring(err))
      check_usable()
    end)

    it("runs a statement on another connection in between", function()
      local other = connect()
      local function decode(v) return assert(other:query_value("select $1 || '!'", v)) end
      assert(conn:register_type("date", { decode = decode }))
      local dates = assert(conn:query_column("select at from thing order by id"))
      assert.equal("2020-01-02!", dates[1])
      assert.equal(200, #dates)
      other:close()
      check_usable()
    end)

    it("in another coroutine is told busy as well", function()
      local answer
      assert(conn:register_type("date", { decode = function(v)
        coroutine.wrap(function() answer = { conn:query("select 1") } end)()
        return v
      end }))
      assert.equal(200, #assert(conn:query("select * from thing")))
      assert.is_nil(answer[1])
      assert.is_true(luphant.is(answer[2], "busy"))
      check_usable()
    end)

    it("calls the iterator it is called by", function()
      local iterator, complaint
      assert(conn:register_type("date", { decode = function(v)
        local ok, err = pcall(iterator)
        complaint = not ok and err
        return v
      end }))
      iterator = conn:values("select at, tags from thing order by id")
      local count = 0
      for at, tags in iterator do
        count = count + 1
        assert.matches("^2020%-", at)
        assert.equal("a" .. count, tags[1])
      end
      assert.equal(200, count)
      assert.matches("converting a row", complaint)
      check_usable()
    end)

    it("of an iterator may use the connection", function()
      local function decode(v) return assert(conn:query_value("select $1 || '?'", v)) end
      assert(conn:register_type("date", { decode = decode }))
      local count = 0
      for at in conn:values("select at from thing order by id") do
        count = count + 1
        assert.matches("%?$", at)
      end
      assert.equal(200, count)
    end)
  end)

  it("from the JSON functions of json = \"cjson\" is told busy", function()
    conn:close()
    local cjson = require "cjson"
    local decode, encode = cjson.decode, cjson.encode
    local answers = {}
    local function come_back()
      answers[#answers + 1] = { conn:query("select generate_series(1, 300)") }
    end
    cjson.decode = function(text) come_back() return decode(text) end
    cjson.encode = function(value) come_back() return encode(value) end
    conn = connect { json = "cjson" }
    cjson.decode, cjson.encode = decode, encode
    local rows = assert(conn:query("select g, jsonb_build_object('n', g) as j from generate_series(1, 50) g"))
    assert.equal(50, rows[50].j.n)
    assert.same({ 1, 2 }, conn:query_value("select $1::jsonb", { 1, 2 }))
    assert.is_true(#answers > 50)
    for _, answer in ipairs(answers) do assert.is_true(luphant.is(answer[2], "busy")) end
    check_usable()
  end)

  it("from a metamethod of a parameter is told busy", function()
    assert(conn:script("create type pg_temp.pair as (a text, b text)"))
    local answer
    local pair = setmetatable({ a = "x" }, { __index = function()
      answer = { conn:query("select generate_series(1, 300)") }
      return "y"
    end })
    assert.same({ a = "x", b = "y" }, conn:query_value("select $1::pg_temp.pair", pair))
    assert.is_true(luphant.is(answer[2], "busy"))
    check_usable()
  end)

  it("from a notice hook runs its own statements", function()
    conn:close()
    local inner = {}
    conn = connect { on_notice = function(notice)
      if notice.message == "outer" then
        local rows = assert(conn:query("select generate_series(1, 100) as n"))
        inner[#inner + 1] = rows
        assert(conn:script("do $$ begin raise notice 'inner'; end $$"))
      end
    end }
    assert(conn:script [[create function pg_temp.speak(n int) returns int language plpgsql as
      $$ begin raise notice 'outer'; return n; end $$]])
    local rows = assert(conn:query("select pg_temp.speak(g) as n from generate_series(1, 3) g"))
    assert.same({ 1, 2, 3 }, { rows[1].n, rows[2].n, rows[3].n })
    assert.equal(3, #inner)
    assert.equal(100, #inner[3])
    check_usable()
  end)

  describe("from a finalizer", function()
    local function come_back()
      local result, err = conn:query("select g, repeat('z', 40) as t from generate_series(1, 300) g")
      assert(result or luphant.is(err, "busy"), tostring(err))
      conn:query_value("select 'evicts ' || $1", "others")
      conn:target()
      conn:stats()
    end

    -- The collector in a hurry, with a finalizer waiting for each of its rounds.
    local function meanly(f)
      local finalized = 0
      local function plant()
        at_next_collection(function()
          finalized = finalized + 1
          come_back()
          if finalized < 40 then plant() end
        end)
      end
      plant()
      collectgarbage("setpause", 100)
      collectgarbage("setstepmul", 10000)
      -- When a collection comes is the collector's business: go on until some came.
      local result = { pcall(f, function(turn) return turn <= 30 or (finalized <= 1 and turn <= 3000) end) }
      collectgarbage("setpause", 200)
      collectgarbage("setstepmul", is_luajit and 200 or 100)
      assert(result[1], result[2])
      return finalized
    end

    it("while rows, columns, values and scripts are made", function()
      local finalized = meanly(function(goes_on)
        local turn = 1
        while goes_on(turn) do
          turn = turn + 1
          local rows = assert(conn:query([[select g as n, 'text ' || g as t, array[g, g + 1] as a, g::numeric / 7 as q,
            jsonb_build_object('k', g) as j, now() as at from generate_series(1, 60) g]]))
          for i, row in ipairs(rows) do
            assert.equal(i, row.n)
            assert.equal("text " .. i, row.t)
            assert.equal(i + 1, row.a[2])
            assert.equal(i, row.j.k)
          end
          local column = assert(conn:query_column("select 'c' || g from generate_series(1, 60) g"))
          assert.equal("c60", column[60])
          local list = assert(conn:script("select 's' || g as s from generate_series(1, 60) g; select 2"))
          assert.equal("s60", list[1].rows[60].s)
          local n = 0
          for v in conn:values("select 'v' || g from generate_series(1, 60) g") do
            n = n + 1
            assert.equal("v" .. n, v)
          end
          assert.equal(60, n)
        end
      end)
      assert.is_true(finalized > 1, "no finalizer ran")
      check_usable()
    end)

    it("while parameters are written and errors are told", function()
      local finalized = meanly(function(goes_on)
        local i = 1
        while goes_on(i) do
          i = i + 1
          local list = {}
          for k = 1, 40 do list[k] = { k, luphant.NULL } end
          local back = assert(conn:query_value("select $1::int[]", list))
          assert.equal(40, back[40][1])
          assert.same({ a = { i } }, conn:query_value("select $1::jsonb", { a = { i } }))
          local rows, err = conn:query("select 1 / ($1::int - $2::int) as " .. ("c" .. i), i, i)
          assert.is_nil(rows)
          assert.equal("22012", err.sqlstate)
          assert.equal("division by zero", err.message)
          rows, err = conn:query("select $1::int[]", { 1, { 2 } })
          assert.is_nil(rows)
          assert.matches("element 2", err.message)
        end
      end)
      assert.is_true(finalized > 1, "no finalizer ran")
      check_usable()
    end)

    it("that closes the connection while its rows are made", function()
      for _ = 1, 20 do
        local mine = connect()
        local box = mine.box
        local seen = at_next_collection(function() box:close() end)
        local ok, rows = pcall(function()
          local rows, err = mine:query(
            "select g as n, 'text ' || g as t, array[g] as a from generate_series(1, 3000) g")
          return rows or err
        end)
        assert.is_true(ok, tostring(rows))
        if seen.calls > 0 then
          assert.equal("closed", box:state())
          assert.is_true(#rows == 3000 and rows[3000].t == "text 3000" or luphant.is(rows, "closed"),
            tostring(rows.message))
        end
        mine:close()
      end
    end)
  end)

  it("from a finalizer at the end of the state finds everything closed", function()
    local script = os.tmpname()
    local file = assert(io.open(script, "w"))
    file:write([[
      local luphant = require "luphant"
      local url = os.getenv "REENTRY_URL"
      local conn = assert(luphant.connect(url))
      local iterator = conn:values("select g, array[g] from generate_series(1, 100) g")
      iterator()
      local cancel = assert(conn.box:start_cancel(5))
      local function last_words()
        local row, err = conn:query("select 1")
        assert(row or luphant.is(err, "closed"), tostring(err))
        pcall(conn.execute, conn, "select $1::int[]", { 1, 2 })
        pcall(conn.script, conn, "select 1")
        pcall(conn.cancel, conn)
        pcall(conn.target, conn)
        pcall(conn.stats, conn)
        pcall(conn.parameter_status, conn, "TimeZone")
        pcall(iterator)
        pcall(cancel.result, cancel)
        pcall(cancel.close, cancel)
        pcall(conn.close, conn)
        pcall(conn.close, conn)
      end
      -- Finalizers run in the opposite order of their making: one before everything of ours, one after.
      local function plant()
        if rawget(_G, "jit") then
          local proxy = rawget(_G, "newproxy")(true)
          getmetatable(proxy).__gc = last_words
          return proxy
        end
        return setmetatable({}, { __gc = last_words })
      end
      KEPT = { plant(), iterator, conn, plant() }
      conn:transaction(function() os.exit(0, true) end)
    ]])
    file:close()
    local code = os.execute(("REENTRY_URL='%s' %s %s"):format(env.url(), env.lua(), script))
    os.remove(script)
    assert.is_true(code == true or code == 0)
  end)
end)
