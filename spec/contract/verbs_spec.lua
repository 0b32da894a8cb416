-- The verbs under each waiter that can be had here: the plain one, the same step by step, and one that yields.
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"
local poll = require "luphant.wait.poll"
local probe = require "spec.support.probe"
local scheduler = require "spec.support.scheduler"
local suite = require "spec.contract.verbs_suite"

local function run_here(fn) fn() end

suite {
  name = "poll",
  start = function() return { run = run_here, waiter = "poll" } end,
}

-- The core knows the plain waiter by name and then waits in C; under another name every step goes through Lua.
suite {
  name = "poll, step by step",
  start = function()
    local waiter = {}
    for key, value in pairs(poll.waiter()) do waiter[key] = value end
    waiter.name = "step by step"
    return { run = run_here, waiter = waiter }
  end,
}

local function yielding_world()
  local loop = scheduler.new()
  local world = { waiter = loop.waiter }
  function world.run(fn) return loop:run(fn) end
  function world.spawn(fn) return loop:spawn(fn) end
  function world.pause(seconds) loop.waiter.sleep(core.now() + seconds) end
  function world.join(tasks)
    for _, task in ipairs(tasks) do
      while not task.done do world.pause(0.002) end
    end
  end
  return world
end

suite { name = "that yields to a scheduler of coroutines", start = yielding_world, has_others = true }

describe("under a waiter that yields", function()
  it("a name that takes long to resolve stops nobody", function()
    probe.with_library("slow_resolver", function(path)
      local printed = probe.script({ LD_PRELOAD = path }, [[
        local core, luphant = require "luphant.core", require "luphant"
        local loop = require("spec.support.scheduler").new()
        local ticks, longest, kind, took = 0, 0
        loop:run(function()
          loop:spawn(function()
            local last = core.now()
            while not kind do
              loop.waiter.sleep(core.now() + 0.005)
              ticks, longest, last = ticks + 1, math.max(longest, core.now() - last), core.now()
            end
          end)
          local from = core.now()
          local conn, err = luphant.connect { host = "localhost", port = 1, connect_timeout = 0.5,
            waiter = loop.waiter }
          kind, took = conn == nil and err.kind, core.now() - from
        end)
        local slow = require("spec.support.probe").slow
        print(kind, took < 1 * slow, ticks > 20, longest < 0.06 * slow)
        os.exit(0)]])
      assert.equal("connect_timeout\ttrue\ttrue\ttrue", printed)
    end)
  end)

  it("a caller that is never resumed leaves nothing behind once it is collected", function()
    local env = require "spec.support.env"
    local luphant = require "luphant"
    probe.keeps_descriptors(function()
      for _ = 1, 5 do
        local thread = coroutine.create(function()
          local waiter = { name = "abandoning", now = core.now, sleep = coroutine.yield, park = coroutine.yield,
            wake = function() return false end }
          function waiter.wait(fd, events, deadline)
            return core.poll(fd, events, 0.2) or coroutine.yield(fd, events, deadline)
          end
          local conn = assert(luphant.connect(env.url(), { waiter = waiter }))
          conn:query "select pg_sleep(2)"
        end)
        assert(coroutine.resume(thread))
        assert.equal("suspended", coroutine.status(thread))
      end
    end)
  end)
end)
