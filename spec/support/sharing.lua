-- spec.support.sharing: tasks of the tests' own scheduler on shared connections that a lender keeps book about.
--
--   sharing.with({ connections =, options of spec.support.lender... }, fn [, finish])
--       runs fn(shared, lender, loop), and waits until everything was given back; then finish(shared), which otherwise
--       sees to it that nothing is left
--   sharing.all(loop, n, fn)   starts n tasks fn(i), and waits for all of them
--
-- SPDX-License-Identifier: MIT

local assert = require "luassert"
local core = require "luphant.core"
local lenders = require "spec.support.lender"
local probe = require "spec.support.probe"
local scheduler = require "spec.support.scheduler"
local share = require "luphant.share"

local sharing = {}

local function nothing_is_left(shared)
  assert.same({ connections = 0, rides = 0, waiting = 0 }, shared:stats())
end

function sharing.with(options, fn, finish)
  finish = finish or nothing_is_left
  local loop = scheduler.new()
  local connections = options.connections
  options.connections = nil
  local lender = lenders.new(loop.waiter, options)
  local shared = share.new(lender, { connections = connections })
  loop:run(function()
    fn(shared, lender, loop)
    -- What was left behind by tasks that gave up may still be under way.
    local limit = core.now() + 10 * probe.slow
    repeat
      shared:shrink()
      loop.waiter.sleep(core.now() + 0.005)
    until shared:stats().connections == 0 or core.now() > limit
    finish(shared)
    while lender.open > 0 and core.now() < limit + 10 do loop.waiter.sleep(core.now() + 0.01) end -- still dialling
    lender.close()
  end)
end

function sharing.all(loop, n, fn)
  local left = n
  for i = 1, n do
    loop:spawn(function()
      fn(i)
      left = left - 1
    end)
  end
  while left > 0 do loop.waiter.sleep(core.now() + 0.002) end
end

return sharing
