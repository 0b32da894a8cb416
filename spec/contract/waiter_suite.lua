-- What luphant.wait's contract asks of every waiter, at the waiter's own functions. `suite(setting)` defines the
-- tests; for settings and their worlds see spec/contract/worlds.lua.
--
-- To see it fail: leave out the cancel in wait/cqueues.lua ("a descriptor may be closed ..."), or answer true for
-- everybody in a wake().
--
-- SPDX-License-Identifier: MIT

-- A module does not see what busted gives a spec.
local busted = require "busted"
local describe, it, pending = busted.describe, busted.it, busted.pending
local before_each, after_each = busted.before_each, busted.after_each
local assert = require "luassert"

local probe = require "spec.support.probe"
local socket = require "socket"

-- How late a loop may be, on a machine that does other things as well.
local LATE = 0.5 * probe.slow

-- Two connected sockets.
local function pair(keep)
  local listener = assert(socket.bind("127.0.0.1", 0))
  local _, port = listener:getsockname()
  local here = assert(socket.connect("127.0.0.1", port))
  local there = assert(listener:accept())
  listener:close()
  here:setoption("tcp-nodelay", true)
  there:setoption("tcp-nodelay", true)
  return keep(here), keep(there)
end

-- Makes a socket unable to take more.
local function fill(sock)
  sock:settimeout(0)
  local chunk = ("x"):rep(65536)
  repeat local _, why = sock:send(chunk) until why == "timeout"
end

local function drain(sock)
  sock:settimeout(0)
  repeat local _, why = sock:receive(65536) until why == "timeout"
end

-- Lets everybody get as far as they can: several turns, because one may find all of them due at once.
local function settle(world)
  for _ = 1, 5 do world.pause(0.002) end
end

-- Tests of one caller. `f` are the waiter's functions.
local function alone(test)
  test("the clock goes on, in seconds", function(f)
    local before, outside = f.now(), probe.now()
    while probe.now() - outside < 0.05 do assert.is_true(f.now() >= before) end
    local passed = f.now() - before
    assert.is_true(passed >= 0.045 and passed < 0.05 + LATE, "passed: " .. passed)
  end)

  test("a descriptor that is ready is told at once, with what is ready", function(f, world)
    local here, there = pair(world.keep)
    local fd = here:getfd()
    assert.equal("w", f.wait(fd, "w", f.now() + 5))
    assert.equal("w", f.wait(fd, "rw", f.now() + 5))
    there:send "x"
    assert.equal("r", f.wait(fd, "r", f.now() + 5))
    assert.equal("rw", f.wait(fd, "rw", f.now() + 5))
    assert.equal("r", f.wait(fd, "r"))
    assert.equal("w", f.wait(fd, "w"))
    fill(here)
    assert.equal("r", f.wait(fd, "rw"))
  end)

  test("what is not ready before the deadline is nil, neither early nor late", function(f, world)
    local here = pair(world.keep)
    fill(here)
    for _, events in ipairs { "r", "w", "rw" } do
      for _, seconds in ipairs { 0.001, 0.03 } do
        local deadline = f.now() + seconds
        assert.is_nil((f.wait(here:getfd(), events, deadline)))
        local late = f.now() - deadline
        assert.is_true(late >= 0 and late < LATE, ("%s: late %f"):format(events, late))
      end
    end
  end)

  test("a deadline in the past still looks once", function(f, world)
    local here, there = pair(world.keep)
    for _, past in ipairs { 0, 1, 1e6 } do
      assert.is_nil((f.wait(here:getfd(), "r", f.now() - past)))
      assert.equal("w", f.wait(here:getfd(), "rw", f.now() - past))
    end
    there:send "x"
    f.wait(here:getfd(), "r")
    for _, past in ipairs { 0, 1, 1e6 } do
      assert.equal("r", f.wait(here:getfd(), "r", f.now() - past))
      assert.equal("rw", f.wait(here:getfd(), "rw", f.now() - past))
    end
  end)

  test("a peer that has gone is ready", function(f, world)
    for _, events in ipairs { "r", "w", "rw" } do
      local here, there = pair(world.keep)
      there:setoption("linger", { on = true, timeout = 0 }) -- ends with RST
      there:close()
      local ready = f.wait(here:getfd(), events, f.now() + 5)
      assert.is_truthy(ready and ready:find(events:sub(1, 1), 1, true), events)
    end
    local here, there = pair(world.keep)
    there:close()
    assert.equal("r", f.wait(here:getfd(), "r", f.now() + 5))
  end)

  test("sleep comes back at its deadline, and at once for the past", function(f)
    for _, seconds in ipairs { 0.0004, 0.02, 0.05 } do
      local deadline = f.now() + seconds
      f.sleep(deadline)
      local late = f.now() - deadline
      assert.is_true(late >= 0 and late < LATE, ("late %f"):format(late))
    end
    local before = f.now()
    f.sleep(before - 5)
    f.sleep(before)
    assert.is_true(f.now() - before < LATE)
    assert.is_false((pcall(f.sleep, nil)))
  end)

  test("a descriptor may be closed, and its number used again, after each wait", function(f, world)
    local here, there = pair(world.keep)
    local numbers = {}
    for i = 1, 30 do
      numbers[here:getfd()] = true
      if i % 2 == 0 then there:send "x" end
      local ready = f.wait(here:getfd(), "r", f.now() + (i % 2 == 0 and 5 or 0.001))
      assert.equal(i % 2 == 0 and "r" or nil, ready)
      here:close()
      there:close()
      if i % 3 == 0 then f.sleep(f.now() + 0.0005) end
      here, there = pair(world.keep)
    end
    local count = 0
    for _ in pairs(numbers) do count = count + 1 end
    assert.is_true(count < 20, "the numbers were not used again: the test shows nothing")
  end)

  test("nothing stays open", function(f, world)
    local here, there = pair(world.keep)
    local function waits()
      for _ = 1, 20 do
        f.wait(here:getfd(), "r", f.now() + 0.0005)
        f.wait(here:getfd(), "rw", f.now() + 5)
        f.sleep(f.now() + 0.0005)
        f.park({}, f.now() + 0.0005)
      end
    end
    there:settimeout(0)
    waits() -- what a loop opens for itself, once
    probe.keeps_descriptors(waits)
  end)

  test("wake without anybody parked is false", function(f)
    assert.is_false(f.wake {})
    assert.is_false(f.wake "nobody")
  end)
end

-- Where nobody else can run.
local function lonely(test)
  test("park refuses at once, with a reason", function(f)
    local before = f.now()
    local parked, why = f.park({}, f.now() + 5)
    assert.is_nil(parked)
    assert.matches("nobody", why)
    assert.is_true(f.now() - before < LATE)
    assert.is_nil(f.spawn)
  end)
end

-- Several callers.
local function together(test)
  test("a wait suspends its caller only", function(f, world)
    local here, there = pair(world.keep)
    local order = {}
    local task = world.spawn(function()
      order[#order + 1] = "waits"
      local ready = f.wait(here:getfd(), "r", f.now() + 5)
      order[#order + 1] = ready
    end)
    settle(world)
    order[#order + 1] = "sends"
    there:send "x"
    world.join { task }
    assert.same({ "waits", "sends", "r" }, order)
  end)

  test("a caller whose descriptor is always ready lets the others run", function(f, world)
    local here = pair(world.keep)
    local stop, turns = false, 0
    local busy = world.spawn(function()
      while not stop do
        assert.equal("w", f.wait(here:getfd(), "w"))
        turns = turns + 1
      end
    end)
    for _ = 1, 10 do
      local deadline = f.now() + 0.005
      f.sleep(deadline)
      assert.is_true(f.now() - deadline < LATE)
    end
    stop = true
    world.join { busy }
    assert.is_true(turns > 5)
  end)

  test("several callers wait for one descriptor, each for its own", function(f, world)
    local here, there = pair(world.keep)
    fill(here)
    local got = {}
    local tasks = {
      world.spawn(function() got.r = f.wait(here:getfd(), "r", f.now() + 5) end),
      world.spawn(function() got.r2 = f.wait(here:getfd(), "r", f.now() + 5) end),
      world.spawn(function() got.w = f.wait(here:getfd(), "w", f.now() + 5) end),
      world.spawn(function() got.none = f.wait(here:getfd(), "r", f.now() + 0.005) or "late" end),
    }
    world.join { tasks[4] }
    settle(world)
    assert.same({ none = "late" }, got)
    there:send "x"
    world.join { tasks[1], tasks[2] }
    assert.same({ none = "late", r = "r", r2 = "r" }, got)
    drain(there)
    world.join(tasks)
    assert.equal("w", got.w)
  end)

  test("many sleep at once, and each wakes at its time", function(f, world)
    local tasks, from, worst = {}, f.now(), 0
    for i = 1, 200 do
      tasks[i] = world.spawn(function()
        local deadline = from + 0.02 + (i * 37 % 200) * 0.0005
        f.sleep(deadline)
        local late = f.now() - deadline
        assert.is_true(late >= 0)
        worst = math.max(worst, late)
      end)
    end
    world.join(tasks)
    assert.is_true(worst < LATE, "late: " .. worst)
  end)

  test("wake lets the parked one go on, not before its caller gives way, and only once", function(f, world)
    for _, token in ipairs { {}, "text", 42, true, print } do
      local woken
      local task = world.spawn(function() woken = f.park(token) end)
      settle(world)
      assert.is_nil(woken)
      assert.is_true(f.wake(token))
      assert.is_false(f.wake(token))
      assert.is_nil(woken)
      world.join { task }
      assert.is_true(woken)
      assert.is_false(f.wake(token))
    end
  end)

  test("a wake is not kept for who parks later", function(f)
    local token = {}
    assert.is_false(f.wake(token))
    assert.is_nil((f.park(token, f.now() + 0.01)))
  end)

  test("park ends at its deadline, and nobody is parked then", function(f)
    local token = {}
    for _, seconds in ipairs { -1, 0, 0.001, 0.03 } do
      local deadline = f.now() + seconds
      assert.is_nil((f.park(token, deadline)))
      local late = f.now() - deadline
      assert.is_true(late >= 0 and late < LATE + 1, ("late %f"):format(late))
      assert.is_false(f.wake(token))
    end
  end)

  test("who was woken is told so although the deadline passed meanwhile", function(f, world)
    local token, woken = {}, nil
    local deadline
    local task = world.spawn(function()
      deadline = f.now() + 0.2 * probe.slow
      woken = f.park(token, deadline)
    end)
    settle(world)
    assert.is_true(f.wake(token))
    local limit = deadline + 0.02
    while f.now() < limit do end -- nobody runs
    world.join { task }
    assert.is_true(woken)
  end)

  test("each of many parked is woken once, in the order of waking", function(f, world)
    local woken, tasks, tokens = {}, {}, {}
    for i = 1, 100 do
      tokens[i] = {}
      tasks[i] = world.spawn(function()
        assert.is_true(f.park(tokens[i], i % 2 == 0 and f.now() + 30 or nil))
        woken[#woken + 1] = i
      end)
    end
    settle(world)
    for i = 1, 100 do
      assert.is_true(f.wake(tokens[i]))
      if i % 10 == 0 then world.pause(0.001) end
    end
    world.join(tasks)
    assert.equal(100, #woken)
    table.sort(woken)
    for i = 1, 100 do assert.equal(i, woken[i]) end
  end)

  test("two who wake each other go on for long", function(f, world)
    local ping, pong, turns = {}, {}, 0
    local other = world.spawn(function()
      for _ = 1, 500 do
        assert.is_true(f.park(ping, f.now() + 5))
        assert.is_true(f.wake(pong))
      end
    end)
    settle(world)
    for _ = 1, 500 do
      assert.is_true(f.wake(ping))
      assert.is_true(f.park(pong, f.now() + 5))
      turns = turns + 1
    end
    world.join { other }
    assert.equal(500, turns)
  end)

  test("one token is for one caller", function(f, world)
    local token = {}
    local first = world.spawn(function() return f.park(token, f.now() + 5) end)
    settle(world)
    assert.is_false((pcall(f.park, token, f.now() + 5)))
    assert.is_true(f.wake(token))
    world.join { first }
    assert.is_true(first.result)
  end)

  test("spawn starts another task, soon and not at once", function(f, world)
    local seen, token = {}, {}
    assert.is_true(f.spawn(function()
      seen[#seen + 1] = "other"
      f.sleep(f.now() + 0.01)
      f.wake(token)
    end))
    seen[#seen + 1] = "caller"
    assert.is_true(f.park(token, f.now() + 5))
    assert.same({ "caller", "other" }, seen)
    world.pause(0.001)
  end)

  test("an error of a spawned task disturbs nobody", function(f)
    local token = {}
    for _ = 1, 3 do
      assert.is_true(f.spawn(function() error "nobody shall see this" end))
      assert.is_true(f.spawn(function()
        f.sleep(f.now() + 0.001)
        f.wake(token)
        error { "nor this" }
      end))
      assert.is_true(f.park(token, f.now() + 5))
    end
  end)

  test("those who sleep, wait and are parked use no CPU", function(f, world)
    local tasks, token, socks = {}, {}, {}
    for i = 1, 100 do
      tasks[i] = world.spawn(function() f.park(tasks[i]) end)
    end
    for i = 1, 20 do
      local here, there = pair(world.keep)
      socks[i] = there
      tasks[#tasks + 1] = world.spawn(function() f.wait(here:getfd(), "r", i % 2 == 0 and f.now() + 60 or nil) end)
    end
    tasks[#tasks + 1] = world.spawn(function() f.park(token, f.now() + 60) end)
    settle(world)
    local before = os.clock()
    f.sleep(f.now() + 1)
    local used = os.clock() - before
    assert.is_true(used < 0.02 * probe.slow, "CPU seconds used in one second of idling: " .. used)
    for i = 1, 100 do assert.is_true(f.wake(tasks[i])) end
    for i = 1, 20 do socks[i]:send "x" end
    f.wake(token)
    world.join(tasks)
  end)

  test("a token is forgotten when its task is killed", function(f, world)
    if not world.kill then return end
    local token = {}
    local task = world.spawn(function() f.park(token) end)
    settle(world)
    world.kill(task)
    assert.is_false(f.wake(token))
    assert.is_nil((f.park(token, f.now() + 0.001)))
  end)

  test("a descriptor is forgotten when the task that waits for it is killed", function(f, world)
    if not world.kill then return end
    local here, there = pair(world.keep)
    local task = world.spawn(function() f.wait(here:getfd(), "r") end)
    settle(world)
    world.kill(task)
    there:send "x"
    settle(world)
    here:close()
    local again, peer = pair(world.keep)
    peer:send "x"
    assert.equal("r", f.wait(again:getfd(), "r", f.now() + 5))
  end)
end

return function(setting)
  describe("the contract of the waiter " .. setting.name .. ":", function()
    if setting.missing then
      pending(setting.missing)
      return
    end
    local world, open

    before_each(function()
      open = {}
      world = setting.start()
      function world.keep(thing)
        open[#open + 1] = thing
        return thing
      end
    end)
    after_each(function()
      for _, each in ipairs(open) do each:close() end
    end)

    local function test(title, fn)
      it(title, function()
        world.run(function() fn(world.functions, world) end)
      end)
    end

    alone(test)
    if setting.has_others then together(test) else lonely(test) end

    if setting.is_loop then
      it("outside of its loop it raises, and says what to do", function()
        local f = world.functions
        for _, name in ipairs { "wait", "sleep", "park" } do
          local ok, why = pcall(function()
            if name == "wait" then return f.wait(0, "r", f.now()) end
            return f[name](f.now())
          end)
          assert.is_false(ok, name)
          assert.matches("waiter_suite.lua:%d+: the waiter \"" .. f.name .. '"', why)
          assert.matches('choose waiter = "poll"', why, 1, true)
        end
        assert.is_false(f.wake {})
        local ran
        local started, why = f.spawn(function() ran = true end)
        assert.is_nil(ran)
        if not started then return assert.is_string(why) end
        world.run(function() world.pause(0.001) end)
        assert.is_true(ran)
      end)
    end
  end)
end
