-- Operations nobody will end, and handles that are collected in any order or used after their end.
-- spec/abandoned_spec.lua counts the core's memory while it does the same.
--
-- To see it fail: let lconn.c keep a reference to the waiting coroutine (F34), or take `closed_box` out of
-- connection.lua (F36).
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"
local luphant = require "luphant"
local ordeal = require "spec.support.ordeal"
local probe = require "spec.support.probe"

ordeal.family("what is abandoned", {}, function(test)
  -- A connection whose next wait gives way to nobody who would come back.
  local function connect_to_abandon(world)
    local waiter = { name = "abandoning", now = core.now, sleep = coroutine.yield, park = coroutine.yield,
      wake = function() return false end, wait = core.poll }
    local conn = assert(luphant.connect(world.options { waiter = waiter }))
    waiter.wait = coroutine.yield
    return conn
  end

  test("F34 a hundred coroutines dropped in mid-query leave neither descriptors nor sessions", function(world)
    for _ = 1, 100 do
      local thread = coroutine.create(function()
        return connect_to_abandon(world):query "select pg_sleep(0.3)"
      end)
      assert(coroutine.resume(thread))
      assert.equal("suspended", coroutine.status(thread))
    end
    if rawget(_G, "jit") then require("jit").flush() end
  end)

  test("F34 a connection whose user was dropped in mid-query refuses others, and can be closed", function(world)
    local conn = connect_to_abandon(world)
    local thread = coroutine.create(function() return conn:query "select pg_sleep(0.5)" end)
    assert(coroutine.resume(thread))
    thread = nil -- luacheck: ignore
    collectgarbage()
    local err = probe.fails(0.2, conn.query, conn, "select 1")
    assert.same({ "busy", "no" }, { err.kind, err.sent })
    conn:close()
    assert.is_false(conn:is_open())
  end)

  test("F36 handles may be collected in any order", function(world)
    local random = 4711
    local function pick(n)
      random = (random * 1103515245 + 12345) % 2147483648
      return random % n + 1
    end
    for _ = 1, 20 do
      local conn = assert(luphant.connect(world.options()))
      local kept = { conn, conn:values "select generate_series(1, 100), repeat('x', 50)", conn.types,
        assert(conn:query "select 1 as a, array[1, 2] as b"), assert(conn:prepare "select $1::int") }
      kept[2]()
      conn = nil -- luacheck: ignore
      while #kept > 0 do
        table.remove(kept, pick(#kept))
        collectgarbage()
        for i = 1, #kept do
          if type(kept[i]) == "function" then kept[i]() end
        end
      end
    end
  end)

  test("F36 what is used after its end says so at the caller's line", function(world)
    local conn = world.connect()
    local statement = assert(conn:prepare "select $1::int")
    local iterator = conn:values "select generate_series(1, 1000)"
    iterator()
    conn:close()
    conn:close()
    assert.is_false(conn:is_open())
    for _, call in ipairs {
      function() return conn:query "select 1" end,
      function() return conn:transaction(function() end) end,
      function() return conn:describe "select 1" end,
      function() return statement:query(1) end,
    } do
      local ok, message = pcall(call)
      assert.is_false(ok)
      assert.matches("abandoned_spec.lua:%d+: .*closed", tostring(message))
    end
    pcall(iterator) -- rows that are here already may still be given; a crash is what must not happen
  end)

  test("F36 a state that ends with everything open ends well", function(world)
    local code = [[
      local luphant = require "luphant"
      local conn = assert(luphant.connect { host = %q, port = %d, dbname = "postgres", user = "postgres",
        application_name = %q })
      KEPT = { conn, conn:values "select generate_series(1, 1000)", conn:prepare "select 1" }
      KEPT[2]()
      conn:transaction(function(tx)
        tx:execute "create temp table t ()"
        io.write "open"
        os.exit(0, true)
      end)]]
    local options = world.options()
    local output, failed = probe.script({}, code:format(options.host, options.port, options.application_name))
    assert.same({ "open" }, { output, failed })
  end)
end)
