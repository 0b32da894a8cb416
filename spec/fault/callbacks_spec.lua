-- Code of other people in the middle of ours: it raises, yields, and comes back into the connection that called it.
-- spec/reentry_spec.lua goes through every place where such code runs; here it is done under each way of waiting.
--
-- To see it fail: let lenter.c call the body without setting `entered` (F37), let transaction.lua call fn without
-- pcall, or wrap what it raises into an error of its own (F33).
--
-- SPDX-License-Identifier: MIT

local luphant = require "luphant"
local ordeal = require "spec.support.ordeal"
local probe = require "spec.support.probe"

ordeal.family("a callback", {}, function(test)
  -- Values that may be raised; each must arrive as it is.
  local function throwables()
    return { "a text", 17, false, {}, setmetatable({}, { __tostring = function() return "an object" end }) }
  end

  test("F33 a transaction's function that raises is undone, and its very error goes on", function(world)
    local conn = world.connect()
    assert(conn:script "create temp table t (n int)")
    for _, thrown in ipairs(throwables()) do
      local ok, err = pcall(conn.transaction, conn, function(tx)
        assert(tx:execute "insert into t values (1)")
        tx:transaction(function(sp)
          assert(sp:execute "insert into t values (2)")
          error(thrown, 0)
        end)
      end)
      assert.is_false(ok)
      assert.is_true(rawequal(thrown, err))
      assert.equal("idle", conn:transaction_status())
      probe.usable(conn)
    end
    assert.equal(0, conn:query_value "select count(*)::int from t")
  end)

  test("F33 a traceback of what was raised in a transaction names its place", function(world)
    local conn = world.connect()
    local function at_fault() error "here" end
    local ok, trace = xpcall(function() return conn:transaction(at_fault) end, function(err)
      return debug.traceback(err)
    end)
    assert.is_false(ok)
    assert.matches("callbacks_spec.lua:%d+: here", trace)
    probe.usable(conn)
  end)

  test("F33 a codec that raises in any verb leaves the connection in order", function(world)
    local conn = world.connect()
    assert(conn:script [[create temp table t (at date);
      insert into t select date '2020-01-01' + g from generate_series(1, 99) g]])
    for _, thrown in ipairs(throwables()) do
      local function throw() error(thrown, 0) end
      assert(conn:register_type("date", { decode = throw, encode = throw }))
      for _, call in ipairs {
        function() return conn:query "select at from t" end,
        function() return conn:query_column "select at from t" end,
        function() return conn:query("select $1::date", "2020-01-01") end,
        function() for _ in conn:values "select at from t" do end end,
        function() return conn:transaction(function(tx) return tx:query "select at from t" end) end,
      } do
        local ok, err = pcall(call)
        assert.is_false(ok)
        assert.is_true(rawequal(thrown, err))
        probe.usable(conn)
      end
    end
  end)

  test("F33 a notice hook that raises does not make a failure of what worked", function(world)
    local calls = 0
    local conn = world.connect { on_notice = function()
      calls = calls + 1
      error "from the hook"
    end }
    for _ = 1, 3 do
      assert(conn:execute "do $$ begin raise notice 'one'; raise notice 'two'; end $$")
      probe.usable(conn)
    end
    assert.equal(6, calls)
  end)

  test("F33 a loop that is left by an error leaves the connection in order", function(world)
    local conn = world.connect()
    local thrown = {}
    local ok, err = pcall(function()
      for n in conn:values "select generate_series(1, 1000)" do
        if n == 10 then error(thrown) end
      end
    end)
    assert.is_false(ok)
    assert.is_true(rawequal(thrown, err))
    probe.usable(conn)
  end)

  test("F37 a codec that comes back into its connection is told busy, whatever it tries", function(world)
    local conn = world.connect()
    local answers = {}
    assert(conn:register_type("date", { decode = function(value)
      for _, verb in ipairs { "query", "execute", "query_value", "script", "describe" } do
        answers[#answers + 1] = { conn[verb](conn, "select 1") }
      end
      return value
    end }))
    assert.equal(50, #assert(conn:query "select date '2020-01-01' + g from generate_series(1, 50) g"))
    assert.equal(250, #answers)
    for _, answer in ipairs(answers) do
      assert.is_nil(answer[1])
      assert.same({ "busy", "usage", "no" }, { answer[2].kind, answer[2].class, answer[2].sent })
    end
    probe.usable(conn)
  end)

  test("F37 a codec that yields is refused, and the connection is in order", function(world)
    local conn = world.connect()
    assert(conn:register_type("date", { decode = function(value) return coroutine.yield(value) end }))
    local thread = coroutine.create(function()
      local plain = world.keep(assert(luphant.connect(world.options { waiter = "poll" })))
      assert(plain:register_type("date", { decode = function(value) return coroutine.yield(value) end }))
      return pcall(plain.query, plain, "select current_date")
    end)
    local resumed, ok, err = coroutine.resume(thread)
    assert.same({ true, false }, { resumed, ok })
    assert.matches("yield", tostring(err))
    ok, err = pcall(conn.query, conn, "select current_date")
    assert.is_false(ok)
    assert.matches("yield", tostring(err))
    probe.usable(conn)
  end)

  test("F37 a notice hook may run its own statements", function(world)
    local conn, inner
    conn = world.connect { on_notice = function(notice)
      if notice.message == "outer" then inner = assert(conn:query_value "select 42") end
    end }
    assert.equal(7, conn:query_value "select 7")
    assert(conn:execute "do $$ begin raise notice 'outer'; end $$")
    assert.equal(42, inner)
    probe.usable(conn)
  end)

  test("F37 a loop over values may use the connection in its body", function(world)
    local conn = world.connect()
    local count = 0
    for n in conn:values "select generate_series(1, 50)" do
      count = count + 1
      assert.equal(n * 2, conn:query_value("select $1::int * 2", n))
    end
    assert.equal(50, count)
    probe.usable(conn)
  end)

  test("F37 a finalizer that runs in the middle of a statement never mixes answers", function(world)
    local conn = world.connect()
    local finalized, over, is_luajit = 0, false, rawget(_G, "jit") ~= nil
    local function plant()
      local function come_back()
        if over then return end
        finalized = finalized + 1
        local value, err = conn:query_value("select 'finalizer ' || $1", "text")
        assert(value == "finalizer text" or luphant.is(err, "busy"), tostring(err))
        plant()
      end
      if is_luajit then
        getmetatable(rawget(_G, "newproxy")(true)).__gc = come_back
      else
        setmetatable({}, { __gc = come_back })
      end
    end
    -- Finalizers run outside of any coroutine as often as not, so they come back through the plain waiter.
    if world.spawn then
      conn = world.connect { waiter = "poll" }
    end
    plant()
    collectgarbage("setpause", 100) -- a collector in a hurry
    collectgarbage("setstepmul", 10000)
    local turn = 0
    local ok, failure = pcall(function()
      -- Much garbage in each turn: a collection begins when the heap has grown by a part of what other specs left.
      while finalized < 5 and turn < 6000 do
        turn = turn + 1
        local sql = "select g as n, 'text ' || g as t, array[g] as a from generate_series(1, 1000) g"
        local rows = assert(conn:query(sql))
        for i, row in ipairs(rows) do assert(row.n == i and row.t == "text " .. i and row.a[1] == i) end
      end
    end)
    over = true
    collectgarbage("setpause", 200)
    collectgarbage("setstepmul", is_luajit and 200 or 100)
    assert(ok, failure)
    assert.is_true(finalized >= 5, "no finalizer ran")
    probe.usable(conn)
  end)

  test("F33 an error raised while a pool's connection is borrowed gives it back in order", function(world)
    local db = world.pool(world.options { max_connections = 1 })
    assert(db:script "drop table if exists raised; create table raised (n int)")
    for _, thrown in ipairs(throwables()) do
      for _, call in ipairs {
        function() return db:with(function() error(thrown, 0) end) end,
        function()
          return db:with(function(conn)
            assert(conn:script "begin; insert into raised values (1); set application_name = 'ordeal of another'")
            error(thrown, 0)
          end)
        end,
        function()
          return db:transaction(function(tx)
            assert(tx:execute "insert into raised values (2)")
            error(thrown, 0)
          end)
        end,
        function()
          for _ in db:values "select generate_series(1, 1000)" do error(thrown, 0) end
        end,
      } do
        local ok, err = pcall(call)
        assert.is_false(ok)
        assert.is_true(rawequal(thrown, err))
        assert.equal("ordeal", db:query_value "show application_name")
      end
    end
    assert.equal(0, db:query_value "select count(*)::int from raised")
    assert(db:script "drop table raised")
    world.assert_sound(db)
    assert.equal(1, db:stats().connected) -- and it was this one connection all the time
  end)

  test("F33 a pool's hook that raises refuses the connection, and the pool goes on", function(world)
    local thrown, armed, warnings = setmetatable({}, { __tostring = function() return "thrown" end }), "", {}
    local function hook(name)
      return function()
        if armed == name then error(thrown) end
      end
    end
    local db = world.pool(world.options { max_connections = 2, acquire_timeout = 0.5,
      after_connect = hook "after_connect", before_acquire = hook "before_acquire",
      after_release = hook "after_release",
      on_warning = function(warning) warnings[#warnings + 1] = warning.event end })
    for _, name in ipairs { "after_release", "before_acquire", "after_connect" } do
      armed = name
      local value, err = db:query_value "select 1"
      if name == "after_release" then
        assert.equal(1, value) -- the statement was done; its connection is not used again
      else
        assert.equal("config", err.kind) -- told at once: no other attempt would end otherwise
        assert.is_true(rawequal(thrown, err.cause))
      end
      armed = ""
      assert.is_true(world.eventually(function() return db:query_value "select 2" == 2 end))
      world.assert_sound(db)
      db:refresh()
    end
    assert.is_true(#warnings >= 3)
  end)
end)
