-- What a task that is gone has left on a shared connection: its answer is freed when it is read, its statement is
-- cancelled when it runs on, and the connection goes back to where it came from, in order.
--
-- To see it fail: leave the `box:leave` out of take_in and sweep in share/carrier.lua.
--
-- SPDX-License-Identifier: MIT

local connection = require "luphant.connection"
local core = require "luphant.core"
local env = require "spec.support.env"
local lenders = require "spec.support.lender"
local luphant = require "luphant"
local probe = require "spec.support.probe"
local scheduler = require "spec.support.scheduler"
local share = require "luphant.share"

local VALUE = connection.verbs.query_value

describe("a task that is gone", function()
  local db

  setup(function() db = assert(luphant.connect(env.url())) end)
  teardown(function() db:close() end)

  local function with(fn)
    local loop = scheduler.new()
    local lender = lenders.new(loop.waiter, { limit = 1 })
    local shared = share.new(lender, { connections = 1 })
    loop:run(function()
      assert.equal(1, shared:run(VALUE, "select 1"))
      fn(shared, loop, lender)
      shared:close()
      lender.close()
    end)
  end

  -- Nothing of the task may be left on a stack of ours: LuaJIT takes what it finds there for alive.
  local function lose(loop, fn, seconds)
    local kept = {}
    coroutine.wrap(function() kept[1] = loop:spawn(fn) end)()
    loop.waiter.sleep(core.now() + (seconds or 0.02))
    coroutine.wrap(function()
      loop:kill(kept[1])
      kept[1] = nil
    end)()
  end

  local function eventually(loop, fn)
    local limit = core.now() + 10 * probe.slow
    while not fn() do
      if core.now() > limit then return false end
      collectgarbage()
      loop.waiter.sleep(core.now() + 0.02)
    end
    return true
  end

  -- As the pool's keeper does it.
  local function given_back(loop, shared, lender)
    return eventually(loop, function()
      shared:shrink(0)
      return lender.open == 0
    end)
  end

  it("leaves its connection to others once its answer is there", function()
    with(function(shared, loop, lender)
      lose(loop, function() shared:run(VALUE, "select pg_sleep(0.1)") end)
      assert.is_true(given_back(loop, shared, lender))
      assert.same({ 0, 1 }, { lender.broken, #lender.kept })
      assert.equal(2, shared:run(VALUE, "select 2"))
      assert.equal(1, lender.made)
    end)
  end)

  it("does not keep its answer in memory while others ride", function()
    with(function(shared, loop)
      local one = shared.fleet.carriers[1]
      lose(loop, function() shared:run(VALUE, "select repeat('x', 100000) from pg_sleep(0.1)") end)
      assert.is_true(eventually(loop, function()
        assert.equal(3, shared:run(VALUE, "select 3"))
        shared:shrink(5) -- it is in use
        local _, occupied = one.box:load()
        return occupied == 0
      end))
      assert.equal(1, shared:stats().connections)
    end)
  end)

  it("has its statement cancelled, and nobody else's", function()
    with(function(shared, loop, lender)
      lose(loop, function() shared:run(VALUE, "select pg_sleep(60) /* of one who is gone */") end, 0.1)
      local answer
      local task = loop:spawn(function() answer = shared:run(VALUE, "select 4") end)
      assert.is_true(eventually(loop, function()
        shared:shrink(5)
        return task.done
      end))
      assert.equal(4, answer)
      assert.is_true(given_back(loop, shared, lender))
      assert.equal(0, lender.broken)
      assert.equal(0, db:query_value("select count(*) from pg_stat_activity where state = 'active' and query like "
        .. "'select pg_sleep(60) /* of one%'"))
    end)
  end)

  it("is not missed as a reader, however many are gone at the same time", function()
    with(function(shared, loop, lender)
      for _ = 1, 12 do
        lose(loop, function() shared:run(VALUE, "select pg_sleep(0.02)") end, 0.002)
      end
      assert.is_true(given_back(loop, shared, lender))
      assert.equal(0, lender.broken)
    end)
  end)

  -- The other way round: whoever is only slow to come keeps its answer.
  it("is not one that is merely late", function()
    with(function(shared, loop)
      local answers = {}
      for i = 1, 20 do
        loop:spawn(function() answers[i] = shared:run(VALUE, "select $1::int from pg_sleep(0.01)", i) end)
      end
      for _ = 1, 40 do
        loop.waiter.sleep(core.now() + 0.005)
        probe.dawdle(0.01)
        collectgarbage()
        shared:shrink(5)
      end
      assert.is_true(eventually(loop, function() return #answers == 20 end))
      for i = 1, 20 do assert.equal(i, answers[i]) end
    end)
  end)
end)
