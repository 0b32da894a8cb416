local wait = require "luphant.wait"
local worlds = require "spec.contract.worlds"

local setting = worlds.named.cqueues

describe("the cqueues waiter", function()
  if setting.missing then
    pending(setting.missing)
    return
  end
  local cqueues = require "cqueues"
  local waiter = wait.choose "cqueues"

  local function inside(fn)
    local loop = cqueues.new()
    loop:wrap(fn)
    assert(loop:loop(30))
    return loop
  end

  it("is one for the whole state", function()
    assert.equal(waiter, wait.choose "cqueues")
    assert.equal("cqueues", waiter.name)
  end)

  it("is chosen inside a running controller and nowhere else", function()
    local chosen
    inside(function() chosen = wait.choose() end)
    assert.equal(waiter, chosen)
    assert.equal("poll", wait.choose().name)
    assert.equal("poll", coroutine.wrap(function() return wait.choose().name end)())
    inside(function() chosen = wait.choose "poll" end)
    assert.equal("poll", chosen.name)
  end)

  -- As the guide says. What luphant has for itself in a loop does not (spec/pool/keep_spec.lua).
  it("has a loop that goes on for who is parked without a deadline, as for every coroutine", function()
    local loop, ended = cqueues.new(), false
    loop:wrap(function()
      waiter.park "token"
      ended = true
    end)
    assert(loop:loop(0.05))
    assert.same({ 1, false }, { loop:count(), ended })
    assert.is_true(waiter.wake "token")
    assert(loop:loop(5))
    assert.same({ 0, true }, { loop:count(), ended })
  end)

  it("is what connect uses there", function()
    local order = {}
    inside(function()
      assert(waiter.spawn(function()
        waiter.sleep(waiter.now() + 0.01)
        order[#order + 1] = "other"
      end))
      local conn = assert(require("luphant").connect(require("spec.support.env").url()))
      assert(conn:query "select pg_sleep(0.1)")
      order[#order + 1] = "answer"
      conn:close()
    end)
    assert.same({ "other", "answer" }, order)
  end)

  it("waits in a controller that runs inside another", function()
    local seen = {}
    inside(function()
      local inner = cqueues.new()
      inner:wrap(function()
        waiter.sleep(waiter.now() + 0.02)
        seen[#seen + 1] = "inner"
      end)
      local token = {}
      assert(waiter.spawn(function()
        waiter.sleep(waiter.now() + 0.005)
        seen[#seen + 1] = "outer"
        waiter.wake(token)
      end))
      assert(inner:loop())
      assert.is_false(waiter.wake(token))
    end)
    assert.same({ "outer", "inner" }, seen)
  end)

  it("wakes who is parked in another controller", function()
    local one, two, seen = cqueues.new(), cqueues.new(), {}
    one:wrap(function() seen.parked = waiter.park("token") end)
    two:wrap(function() seen.woken = waiter.wake "token" end)
    assert(one:step(0))
    assert(two:step(0))
    assert(one:loop(5))
    assert.same({ parked = true, woken = true }, seen)
  end)

  it("forgets who was parked in a controller that has been closed", function()
    local loop = cqueues.new()
    loop:wrap(function() waiter.park("token") end)
    assert(loop:step(0))
    loop:close()
    assert.is_false(waiter.wake "token")
    inside(function() assert.is_nil((waiter.park("token", waiter.now() + 0.001))) end)
  end)

  it("keeps nothing of controllers that are gone", function()
    local gone, listener = setmetatable({}, { __mode = "k" }), assert(require("socket").bind("127.0.0.1", 0))
    for i = 1, 5 do
      local loop = cqueues.new()
      loop:wrap(function() waiter.park { i } end)
      loop:wrap(function() waiter.wait(listener:getfd(), "r") end)
      assert(loop:step(0))
      loop:close()
      gone[loop] = true
    end
    for _ = 1, 3 do collectgarbage() end
    listener:close()
    assert.is_nil(next(gone))
  end)

  it("waits across coroutines that auxlib resumes", function()
    local auxlib = require "cqueues.auxlib"
    local steps = {}
    inside(function()
      local iterator = auxlib.wrap(function()
        for i = 1, 3 do
          waiter.sleep(waiter.now() + 0.001)
          coroutine.yield(i)
        end
      end)
      for i in iterator do steps[#steps + 1] = i end
    end)
    assert.same({ 1, 2, 3 }, steps)
  end)
end)
