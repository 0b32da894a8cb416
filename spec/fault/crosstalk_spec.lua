-- Whose answer is this? Callers at the same time, on one connection and on many, with deadlines that strike at random
-- and a network whose delays are random: nobody ever gets what another one asked for.
--
-- To see it fail: let pool/handle.lua leave its box to who gave it back (F38), or let drive.lua keep a connection whose
-- cancel request is still on its way (F39).
--
-- SPDX-License-Identifier: MIT

local ordeal = require "spec.support.ordeal"
local probe = require "spec.support.probe"

local SLEEPY = "select $1::int from pg_sleep($2::float8 / 1000)"

ordeal.family("crosstalk", {}, function(test)
  local random = 20240229
  local function chance(n)
    random = (random * 1103515245 + 12345) % 2147483648
    return math.floor(random / 65536) % n
  end

  test.together("F38 of two callers on one connection one is told busy, and the other gets its own answer",
    function(world)
      local conn = world.connect()
      local own, refused = 0, 0
      for round = 1, 150 do
        local tasks = {}
        for caller = 1, 3 do
          tasks[caller] = world.spawn(function()
            if chance(2) == 1 then world.pause(chance(4) / 1000) end
            local id = round * 10 + caller
            local value, err = conn:query_value(SLEEPY, id, chance(3))
            if value then
              assert(value == id, ("asked %d, got %s"):format(id, tostring(value)))
              own = own + 1
            else
              assert(err.kind == "busy" and err.sent == "no", tostring(err))
              refused = refused + 1
            end
          end)
        end
        world.join(tasks)
      end
      assert.is_true(own > 150 and refused > 50, ("%d answers, %d refusals"):format(own, refused))
      probe.usable(conn)
    end)

  test("F39 under random deadlines no statement gets the answer of one before it", function(world)
    local gate = world.gate()
    gate:delay { seconds = 0, jitter = 0.004 }
    local conn = world.connect_through(gate, { cancel_grace = 2 })
    local own, late = 0, 0
    for i = 1, 80 do
      local value, err = conn:query_value({ SLEEPY, timeout = 0.002 + chance(14) / 1000 }, i, chance(20))
      if value then
        assert.equal(i, value)
        own = own + 1
      else
        assert.equal("query_timeout", err.kind)
        late = late + 1
      end
      if not conn:is_open() then conn = world.connect_through(gate, { cancel_grace = 2 }) end
    end
    assert.is_true(own > 10 and late > 10, ("%d answers, %d too late"):format(own, late))
    gate:pass()
    probe.usable(conn)
  end)

  test.together("F39 64 callers with random deadlines over a network with random delays get their own answers",
    function(world)
      local gate = world.gate()
      gate:delay { seconds = 0, jitter = 0.01 }
      local tasks, own, late = {}, 0, 0
      for caller = 1, 64 do
        tasks[caller] = world.spawn(function()
          local conn = world.connect_through(gate, { cancel_grace = 5, connect_timeout = 30 })
          for i = 1, 6 do
            local id = caller * 1000 + i
            local timeout = (5 + chance(60)) * probe.slow / 1000
            local value, err = conn:query_value({ SLEEPY, timeout = timeout }, id, chance(200) * probe.slow)
            if value then
              assert(value == id, ("asked %d, got %s"):format(id, tostring(value)))
              own = own + 1
            else
              assert(err.kind == "query_timeout", tostring(err))
              late = late + 1
              if not conn:is_open() then return end
            end
          end
          probe.usable(conn)
          conn:close()
        end)
      end
      world.join(tasks)
      assert.is_true(own > 20 and late > 20, ("%d answers, %d too late"):format(own, late))
    end)

  test("F38 a connection that was given back runs nothing more for whoever kept it", function(world)
    local db = world.pool(world.options { max_connections = 1 })
    local kept = assert(db:acquire())
    local statement = assert(kept:prepare "select $1::int")
    kept:release()
    local mine = assert(db:acquire())
    for _, call in ipairs {
      function() return kept:query "select 1" end,
      function() return kept:transaction(function() end) end,
      function() return statement:query(1) end,
    } do
      local ok, why = pcall(call)
      assert.is_false(ok)
      assert.matches("crosstalk_spec.lua:%d+: .*release", tostring(why))
    end
    kept:release()
    kept:close()
    probe.usable(mine)
    mine:release()
    world.assert_sound(db)
  end)

  test.together("F39 64 callers of a pool with random deadlines and delays get their own answers", function(world)
    local gate = world.gate()
    gate:delay { seconds = 0, jitter = 0.004 }
    local db = world.pool(world.through(gate, { max_connections = 8, acquire_timeout = 20 * probe.slow,
      connect_timeout = 20 * probe.slow, cancel_grace = 5 }))
    local tasks, own, late = {}, 0, 0
    for caller = 1, 64 do
      tasks[caller] = world.spawn(function()
        for i = 1, 8 do
          local id = caller * 1000 + i
          local timeout = (5 + chance(40)) * probe.slow / 1000
          local value, err = db:query_value({ SLEEPY, timeout = timeout }, id, chance(60) * probe.slow)
          if value then
            assert(value == id, ("asked %d, got %s"):format(id, tostring(value)))
            own = own + 1
          else
            assert(err.kind == "query_timeout", tostring(err))
            late = late + 1
          end
        end
      end)
    end
    world.join(tasks)
    gate:pass()
    assert.is_true(own > 20 and late > 20, ("%d answers, %d too late"):format(own, late))
    world.assert_sound(db)
  end)
end)
