-- A waiter whose rest is over just when a connection is handed to it: it is neither dead nor may it be passed over.
--
-- To see it fail: let pool:wake in lua/luphant/pool/care.lua answer false whenever the waiter's wake does.
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local luphant = require "luphant"
local scheduler = require "spec.support.scheduler"

describe("a connection handed over", function()
  -- The scheduler's park ends by its deadline first, and tells the task a turn later: meanwhile nobody is parked.
  it("at the moment a waiter's rest ends is not passed on to the next", function()
    local loop = scheduler.new()
    loop:run(function()
      local db = assert(luphant.open(env.url(), { max_connections = 2, waiter = loop.waiter, acquire_timeout = 10 }))
      local tasks, answers = {}, 0
      for i = 1, 24 do
        tasks[i] = loop:spawn(function()
          for j = 1, 60 do
            assert.equal(i * j, (assert(db:query_value("select $1::int from pg_sleep(0.0005)", i * j))))
            answers = answers + 1
          end
        end)
      end
      for _, task in ipairs(tasks) do
        while not task.done do loop.waiter.sleep(loop.waiter.now() + 0.01) end
        assert.is_nil(task.failed)
      end
      assert.equal(24 * 60, answers)
      local stats = db:stats()
      assert.equal(0, stats.timeouts)
      assert.equal(0, stats.reclaimed)
      assert.equal(0, stats.used)
      assert.is_true(db:close(1))
    end)
  end)

  -- To see it fail: leave out self:withdraw in take_back (reclaim.lua) and break_promise in csrc/core/pool.c.
  -- Answers whether the one who is gone was found before what he was handed was passed on to the next.
  local function hand_to_one_who_is_gone(loop)
    local waiter = loop.waiter
    local db = assert(luphant.open(env.url(), { max_connections = 1, waiter = waiter, acquire_timeout = 10,
      on_warning = function() end }))
    local first, holders, most = assert(db:acquire()), 0, 0
    local function live()
      local conn = assert(db:acquire())
      holders = holders + 1
      most = math.max(most, holders)
      assert(conn:query "select pg_sleep(0.15)") -- longer than a slot waits for whoever it was handed to
      holders = holders - 1
      conn:release()
    end
    local tasks = {}
    -- On stacks of their own, so that no slot of this one refers to the task any more.
    coroutine.wrap(function() tasks.gone = loop:spawn(function() db:acquire() end) end)()
    for i = 1, 3 do tasks[i] = loop:spawn(live) end
    while db:stats().waiting < 4 do waiter.sleep(waiter.now() + 0.005) end
    coroutine.wrap(function()
      loop:kill(tasks.gone)
      tasks.gone = nil
    end)()
    first:release() -- to the one who is gone
    waiter.sleep(waiter.now() + 0.03)
    collectgarbage()
    collectgarbage()
    tasks[4] = loop:spawn(live) -- whoever comes looks for what belongs to nobody
    for _, task in ipairs(tasks) do
      while not task.done do waiter.sleep(waiter.now() + 0.01) end
      assert.is_nil(task.failed)
    end
    assert.equal(1, most)
    local stats = db:stats()
    assert.equal(0, stats.used)
    assert.is_true(db:close(1))
    return stats.reclaimed == 1
  end

  it("to a waiter who is gone goes to one other, not to two", function()
    local loop = scheduler.new()
    loop:run(function()
      for _ = 1, 10 do -- a machine that stands still for 0.07 seconds just then passes it on
        if hand_to_one_who_is_gone(loop) then return end
      end
      error "nothing was tested"
    end)
  end)
end)
