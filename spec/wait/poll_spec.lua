local poll = require "luphant.wait.poll"

-- A core whose clock moves only while it polls. `answers` are given one after another; each call takes
-- as long as it was allowed to, or `step` seconds when it was interrupted.
local function fake_core()
  local core = { time = 50, calls = {}, answers = {} }
  function core.now() return core.time end
  function core.poll(fd, events, seconds)
    core.calls[#core.calls + 1] = { fd = fd, events = events, seconds = seconds }
    local answer = table.remove(core.answers, 1) or { takes = seconds }
    core.time = core.time + (answer.takes or 0)
    return answer.ready
  end
  return core
end

describe("the poll waiter", function()
  local core, waiter

  before_each(function()
    core = fake_core()
    waiter = poll.new(core)
  end)

  it("answers what is ready and passes on what is left of the time", function()
    core.answers = { { ready = "r", takes = 1 } }
    assert.equal("r", waiter.wait(7, "rw", 55))
    assert.same({ { fd = 7, events = "rw", seconds = 5 } }, core.calls)
  end)

  it("answers nil once the deadline is past", function()
    assert.is_nil(waiter.wait(7, "r", 53))
    assert.equal(53, core.time)
  end)

  it("goes on with what is left when a signal woke it early", function()
    core.answers = { { takes = 2 }, { takes = 0 }, { ready = "w", takes = 1 } }
    assert.equal("w", waiter.wait(7, "w", 60))
    assert.same({ 10, 8, 8 }, { core.calls[1].seconds, core.calls[2].seconds, core.calls[3].seconds })
  end)

  it("looks once even when the deadline is past already", function()
    core.answers = { { ready = "r" } }
    assert.equal("r", waiter.wait(7, "r", 10))
    assert.equal(0, core.calls[1].seconds)
    assert.is_nil(waiter.wait(7, "r", 10))
    assert.equal(2, #core.calls)
  end)

  it("waits without limit when there is no deadline", function()
    core.answers = { { takes = 1000 }, { takes = 1000 }, { ready = "r" } }
    assert.equal("r", waiter.wait(7, "r"))
    assert.is_nil(core.calls[1].seconds)
    assert.equal(3, #core.calls)
  end)

  it("sleeps to the deadline, through interruptions", function()
    core.answers = { { takes = 1 } }
    waiter.sleep(54)
    assert.equal(54, core.time)
    assert.is_false(pcall(waiter.sleep, nil))
  end)

  it("refuses to park, with the reason, because nobody could ever wake it", function()
    local parked, why = waiter.park({}, 60)
    assert.is_nil(parked)
    assert.matches("nobody else runs", why)
    assert.equal(0, #core.calls)
    assert.is_false(waiter.wake({}))
  end)

  it("keeps the waiter contract", function()
    assert.equal(waiter, require("luphant.wait").choose(waiter))
    assert.equal("poll", waiter.name)
  end)
end)

describe("the poll waiter over the core", function()
  local built, core = pcall(require, "luphant.core")
  if not built then
    pending("needs luphant.core to be built")
    return
  end
  local waiter = require("luphant.wait").choose()

  it("is one for the whole state and keeps the core's time", function()
    assert.equal(waiter, require("luphant.wait").choose("poll"))
    assert.equal("poll", waiter.name)
    local before = core.now()
    assert.is_true(waiter.now() >= before)
  end)

  it("sleeps as long as it was told, and not at all for the past", function()
    local before = waiter.now()
    waiter.sleep(before + 0.05)
    local slept = waiter.now() - before
    assert.is_true(slept >= 0.05 and slept < 2)
    before = waiter.now()
    waiter.sleep(before - 1)
    assert.is_true(waiter.now() - before < 0.05)
  end)

  it("says at once that a broken descriptor is ready: the next read tells why", function()
    assert.equal("r", waiter.wait(999999, "r", waiter.now() + 5))
  end)

  it("raises for directions that do not exist", function()
    assert.is_false(pcall(waiter.wait, 0, "x", waiter.now()))
  end)
end)
