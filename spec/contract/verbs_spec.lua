-- The verbs of a connection under every waiter.
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"
local probe = require "spec.support.probe"
local suite = require "spec.contract.verbs_suite"
local worlds = require "spec.contract.worlds"

for _, setting in ipairs(worlds.all) do suite(setting) end

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
