-- Batches and bulk inserts over a network that breaks, with answers and values that are too much.
--
-- To see it fail: let is_undone in core/batch.c always answer true (F10), take is_too_big out of go_on in
-- bind/lbatchrun.c (F41), or let hand_over there skip the count of values (F42).
--
-- SPDX-License-Identifier: MIT

local ordeal = require "spec.support.ordeal"
local probe = require "spec.support.probe"

ordeal.family("a batch", {}, function(test)
  test("F10 a reset in the middle of a batch gives no part of it for the whole, and says what is known", function(world)
    local watch = world.connect()
    assert(watch:script "drop table if exists ordeal_batch; create table ordeal_batch (id int)")
    local function run(conn, isolated)
      return conn:batch(function(b)
        for i = 1, 2000 do b:query_value("insert into ordeal_batch values ($1) returning repeat('x', 90)", i) end
      end, { isolated = isolated })
    end
    for _, cut in ipairs { { messages = 1 }, { bytes = 20000 }, { messages = 3000, bytes = 3 } } do
      for _, isolated in ipairs { false, true } do
        local gate = world.gate()
        local conn = world.connect_through(gate)
        assert(conn:query_value "insert into ordeal_batch values (0) returning repeat('x', 90)")
        assert(watch:execute "delete from ordeal_batch")
        cut.from, cut.reset = "server", true
        gate:cut_after(cut)
        local err = world.fails(2, run, conn, isolated)
        assert.equal("closed", err.kind)
        world.assert_gone(conn)
        local kept = watch:query_value "select count(*) from ordeal_batch"
        if isolated then -- what was answered is there, and everything else says that it may be, or is not
          local known = 0
          for i = 1, 2000 do
            local why = err.results.errors[i]
            assert((err.results[i] ~= nil) ~= (why ~= nil))
            if why then assert(why.sent ~= "yes") else known = known + 1 end
          end
          assert(known <= kept, ("%d answered, %d kept"):format(known, kept))
        else
          assert(kept == 0 or err.sent ~= "no", "something of it was kept, and the error says that it was not")
        end
        assert(watch:execute "delete from ordeal_batch")
      end
    end
    assert(watch:script "drop table ordeal_batch")
  end)

  test("F12 answers of a batch that trickle in do not extend its deadline", function(world)
    local gate = world.gate()
    local conn = world.connect_through(gate, { cancel_grace = 0.2 })
    probe.usable(conn)
    gate:limit { from = "server", bytes_per_second = 200 }
    local err, took = world.fails(0.3 + 0.2 + 0.5, conn.batch, conn, function(b)
      for _ = 1, 500 do b:query_value "select repeat('x', 90)" end
    end, { timeout = 0.3 })
    assert.equal("query_timeout", err.kind)
    assert.is_true(took >= 0.29)
  end)

  test("F41 huge answers in a batch are refused, or pass without piling up", function(world)
    local conn = world.connect { max_result_bytes = 2 ^ 20 }
    for _, text in ipairs { "select repeat('x', 33554432)", "select repeat('x', 999) from generate_series(1, 9999)" } do
      local err = world.fails(5, conn.batch, conn, { "select 1", text, "select 2" })
      assert.same({ "result_too_big", 2 }, { err.kind, err.index })
      if not conn:is_open() then conn = world.connect { max_result_bytes = 2 ^ 20 } end
      probe.usable(conn)
    end
    -- Each below the limit, all of them far above it.
    local results = assert(conn:batch(function(b)
      for _ = 1, 100 do b:execute "select repeat('x', 1000) from generate_series(1, 500)" end
    end))
    assert.equal(500, results[100])
  end)

  test("F42 more values than the protocol can count are refused in a batch, and nothing of it is kept", function(world)
    local conn = world.connect()
    assert(conn:script "create temp table t (id int)")
    local values = {}
    for i = 1, 65536 do values[i] = i end
    local unpack = table.unpack or unpack -- luacheck: ignore
    if not pcall(unpack, values) then return "this Lua does not pass so many values" end
    local err = world.fails(1, conn.batch, conn, function(b)
      b:execute "insert into t values (1)"
      b:execute("select $1::int", unpack(values))
    end)
    assert.same({ "parameter", 2, "no" }, { err.kind, err.index, err.sent })
    assert.equal(0, conn:query_value "select count(*) from t")
  end)

  test("F44 bytes that are no UTF-8 are refused in batches and bulk inserts, with their place", function(world)
    local conn = world.connect()
    assert(conn:script "create temp table t (id int, name text)")
    local err = world.fails(1, conn.batch, conn, {
      { "insert into t values (1, $1)", "fine" }, { "insert into t values (2, $1)", "\255\254" },
    })
    assert.same({ "parameter", 2, 1 }, { err.kind, err.index, err.param })
    for _, via in ipairs { "unnest", "values" } do
      err = world.fails(1, conn.insert_many, conn, "t", { "id", "name" }, { { 1, "fine" }, { 2, "\255" } },
        { via = via })
      assert.same({ "parameter", 2, "name" }, { err.kind, err.row, err.column })
    end
    assert.equal(0, conn:query_value "select count(*) from t")
    probe.usable(conn)
  end)
end)
