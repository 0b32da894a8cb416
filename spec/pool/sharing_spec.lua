-- A pool whose verbs ride together: what luphant.share promises is held to in share_spec; here is what the pool adds.
--
-- To see it fail: let `lend` in lua/luphant/pool/sharing.lua borrow for the running task instead of for the riders (the
-- connection is taken back when that task ends), or leave out what `drain` in care.lua does for shared connections.
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"
local env = require "spec.support.env"
local luphant = require "luphant"
local probe = require "spec.support.probe"
local worlds = require "spec.contract.worlds"

local function each_world(body)
  for _, setting in ipairs(worlds.others) do
    describe("under " .. setting.name, function()
      if setting.missing then
        pending(setting.missing)
        return
      end
      body(setting)
    end)
  end
end

describe("a pool that shares", function()
  local function open(world, options)
    local given = { share = { connections = 2 }, max_connections = 4, waiter = world.waiter }
    given.on_warning = function() end
    for name, value in pairs(options or {}) do given[name] = value end
    return assert(luphant.open(env.url(), given))
  end

  it("says what is wrong with the option", function()
    local function message(options) return select(2, pcall(luphant.open, env.url(), options)) end
    assert.is_truthy(message({ share = { conections = 2 } }):find('"conections"; it has: connections', 1, true))
    assert.is_truthy(message({ share = { connections = 0 } }):find("whole number from 1", 1, true))
    assert.is_truthy(message({ share = { connections = 16 } }):find("max_connections (15)", 1, true))
  end)

  it("is a pool like any other in a plain script", function()
    local db = assert(luphant.open(env.url(), { share = true }))
    assert.equal(42, db:query_value "select 42")
    assert.is_nil(db:stats().shared)
    assert.is_true(db:close())
  end)

  each_world(function(setting)
    local world

    before_each(function() world = setting.start() end)

    it("answers each task with its own, on no more connections than allowed, transactions beside them", function()
      world.run(function()
        local db = open(world)
        local tasks = {}
        for i = 1, 40 do
          tasks[i] = world.spawn(function()
            for j = 1, 10 do assert.equal(i * 100 + j, (assert(db:query_value("select $1::int", i * 100 + j)))) end
          end)
        end
        for i = 1, 4 do
          tasks[#tasks + 1] = world.spawn(function()
            assert.equal(i, assert(db:transaction(function(tx) return tx:query_value("select $1::int", i) end)))
          end)
        end
        world.join(tasks)
        local stats = db:stats()
        assert.is_true(stats.shared.connections <= 2) -- those that transactions have waited for are theirs
        assert.is_true(stats.total <= 4)
        assert.is_true(db:close(2))
      end)
    end)

    it("keeps errors apart and gives settings a connection of their own", function()
      world.run(function()
        local db = open(world)
        local _, err = db:query "select 1/0"
        assert.equal("division_by_zero", err.kind)
        assert.equal("select 1/0", err.query)
        assert(db:execute "set work_mem = '77MB'")
        for _ = 1, 8 do assert.are_not.equal("77MB", assert(db:query_value "show work_mem")) end
        assert.is_true(db:close(2))
      end)
    end)

    it("keeps its shared connections when the task that fetched them has ended", function()
      world.run(function()
        local db = open(world, { leak_timeout = 0.05 })
        local first = world.spawn(function() assert(db:query_value "select 1") end)
        world.join { first }
        collectgarbage()
        collectgarbage()
        world.pause(0.1)
        assert.equal(2, assert(db:query_value "select 2"))
        local stats = db:stats()
        assert.equal(0, stats.reclaimed)
        assert.equal(0, stats.leaks)
        assert.equal(1, stats.connected)
        assert.is_true(db:close(2))
      end)
    end)

    it("lets go of connections without riders when somebody needs them", function()
      world.run(function()
        local db = open(world, { max_connections = 1, share = { connections = 1 } })
        assert(db:query_value "select 1")
        assert.equal(1, db:stats().shared.connections)
        assert.equal(5, assert(db:with(function(conn) return conn:query_value "select 5" end)))
        assert.equal(1, db:stats().connected)
        assert.is_true(db:close(2))
      end)
    end)

    -- Making a connection takes longer here than anybody waits rather than queue behind a slow statement.
    it("never lets what comes later wait for a slow statement while a connection may be opened", function()
      world.run(function()
        local db = open(world, { max_connections = 4, share = { connections = 1 },
          after_connect = function(conn) assert(conn:query "select pg_sleep(0.1)") end })
        assert(db:query_value "select 1")
        local slow = world.spawn(function() return (db:execute "select pg_sleep(20)") end)
        world.pause(0.05)
        local ticks, worst, over = 0, 0, false
        local ticker = world.spawn(function()
          local last = core.now()
          while not over do
            world.pause(0.005)
            worst, last, ticks = math.max(worst, core.now() - last), core.now(), ticks + 1
          end
        end)
        local tasks, from = {}, core.now()
        for i = 1, 6 do
          tasks[i] = world.spawn(function() assert.equal(i, assert(db:query_value("select $1::int", i))) end)
        end
        world.join(tasks)
        assert.is_nil(slow.done)
        assert.is_true(core.now() - from < 5 * probe.slow)
        for i = 1, 20 do assert.equal(i, assert(db:query_value("select $1::int", i))) end
        assert.is_nil(slow.done)
        over = true
        world.join { ticker }
        assert.is_true(ticks > 5 and worst < 0.25 * probe.slow, ("%d ticks, the longest %.3f s"):format(ticks, worst))
        db:close(0)
        world.join { slow }
      end)
    end)

    it("has the connection of a task that is gone again once its answer is there", function()
      if not world.kill then return end
      world.run(function()
        local db = open(world, { max_connections = 1, share = { connections = 1 } })
        assert(db:query_value "select 1")
        local kept = {}
        coroutine.wrap(function()
          kept[1] = world.spawn(function() return (db:query_value "select pg_sleep(0.1)") end)
        end)()
        world.pause(0.05)
        coroutine.wrap(function()
          world.kill(kept[1])
          kept[1] = nil
        end)()
        world.pause(0.1)
        collectgarbage()
        collectgarbage()
        assert.equal(5, assert(db:with(function(conn) return conn:query_value "select 5" end)))
        assert.equal(1, db:stats().connected)
        assert.is_true(db:close(2))
      end)
    end)

    it("waits for riders when it is closed", function()
      world.run(function()
        local db = open(world)
        local rider = world.spawn(function() return assert(db:query_value "select 7 from pg_sleep(0.2)") end)
        world.pause(0.1)
        assert.is_true(db:close(5))
        world.join { rider }
        assert.equal(7, rider.result)
        local _, err = db:query "select 1"
        assert.equal("pool_closed", err.kind)
      end)
    end)
  end)
end)
