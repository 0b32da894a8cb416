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
end)
