local probe = require "spec.support.probe"
local socket = require "socket"
local wait = require "luphant.wait"
local worlds = require "spec.contract.worlds"

local setting = worlds.named.luv

describe("the luv waiter", function()
  if setting.missing then
    pending(setting.missing)
    return
  end
  local uv = require "luv"
  local waiter = wait.choose "luv"
  local close = coroutine.close -- luacheck: ignore (Lua 5.4 only)

  local function start(fn)
    local co = coroutine.create(fn)
    assert(coroutine.resume(co))
    return co
  end

  it("is one for the whole state", function()
    assert.equal(waiter, wait.choose "luv")
    assert.equal("luv", waiter.name)
  end)

  it("is chosen in coroutines while the loop runs, and nowhere else", function()
    local before, during, callback
    start(function()
      before = wait.choose().name
      waiter.sleep(waiter.now())
      during = wait.choose()
    end)
    local timer = uv.new_timer()
    timer:start(0, 0, function()
      callback = wait.choose().name
      timer:close()
    end)
    uv.run()
    assert.same({ "poll", "poll" }, { before, callback })
    assert.equal(waiter, during)
    assert.equal("poll", wait.choose().name)
  end)

  it("is what connect uses there", function()
    local order = {}
    start(function()
      waiter.sleep(waiter.now())
      local conn = assert(require("luphant").connect(require("spec.support.env").url()))
      assert(conn:query "select pg_sleep(0.1)")
      order[#order + 1] = "answer"
      conn:close()
    end)
    start(function()
      waiter.sleep(waiter.now() + 0.03)
      order[#order + 1] = "other"
    end)
    uv.run()
    assert.same({ "other", "answer" }, order)
  end)

  it("waits for what is begun before uv.run(), and uv.run() ends with the last who waits", function()
    local listener = assert(socket.bind("127.0.0.1", 0))
    local seen = {}
    start(function()
      seen.none = waiter.wait(listener:getfd(), "r", waiter.now() + 0.02) or "timeout"
      waiter.sleep(waiter.now() + 0.01)
      seen.slept = true
    end)
    assert.is_true(uv.loop_alive())
    assert.is_false(uv.run())
    assert.same({ none = "timeout", slept = true }, seen)
    assert.is_false(uv.loop_alive())
    listener:close()
  end)

  it("does not keep the loop alive for who is parked without a deadline", function()
    local ended
    start(function() ended = waiter.park "token" end)
    assert.is_false(uv.run())
    assert.is_nil(ended)
    assert.is_true(waiter.wake "token")
    assert.is_false(uv.run())
    assert.is_true(ended)
  end)

  it("refuses the main coroutine, and a callback, which runs there", function()
    local ok, why
    local timer = uv.new_timer()
    timer:start(0, 0, function()
      ok, why = pcall(waiter.sleep, waiter.now())
      timer:close()
    end)
    uv.run()
    assert.is_false(ok)
    assert.matches("coroutine.wrap", why, 1, true)
  end)

  it("goes on waiting when somebody else resumes the coroutine", function()
    local ended
    local co = start(function()
      local deadline = waiter.now() + 0.02
      waiter.sleep(deadline)
      ended = waiter.now() >= deadline
    end)
    for _ = 1, 3 do assert(coroutine.resume(co, "nothing to do with it")) end
    assert.is_nil(ended)
    uv.run()
    assert.is_true(ended)
  end)

  it("tells of an error as luv does in a callback, with the coroutine's traceback", function()
    local printed, code = probe.script({}, [[
      local waiter = require("luphant.wait").choose "luv"
      local function falls() error "fallen" end
      coroutine.wrap(function()
        waiter.sleep(waiter.now() + 0.001)
        falls()
      end)()
      io.stderr = nil
      require("luv").run()]])
    assert.is_truthy(code and code ~= 0, printed)
    assert.matches("fallen", printed)
    assert.matches("in.*falls", printed)
  end)

  it("resumes all who are ready, even if one of them fails", function()
    local printed = probe.script({}, [[
      local waiter, uv = require("luphant.wait").choose "luv", require "luv"
      local resumed = {}
      for i = 1, 3 do
        coroutine.wrap(function()
          waiter.park(i)
          resumed[#resumed + 1] = i
          if i == 3 then print(table.concat(resumed, " ")) end
          error "fallen"
        end)()
      end
      for i = 1, 3 do waiter.wake(i) end
      uv.run()]])
    assert.matches("1 2 3", printed)
  end)

  it("works after somebody has closed every handle of the loop", function()
    local listener = assert(socket.bind("127.0.0.1", 0))
    for _ = 1, 3 do
      local done
      start(function()
        waiter.wait(listener:getfd(), "r", waiter.now() + 0.002)
        assert(waiter.spawn(function() waiter.wake "token" end))
        done = waiter.park("token", waiter.now() + 5)
      end)
      uv.run()
      assert.is_true(done)
      uv.walk(function(handle) if not handle:is_closing() then handle:close() end end)
      uv.run()
    end
    listener:close()
  end)

  -- libuv itself has one handle for a descriptor, and refuses a second.
  it("waits for a descriptor that another handle of the loop watches, too", function()
    local listener = assert(socket.bind("127.0.0.1", 0))
    local fd, seen = math.floor(listener:getfd()), {}
    local other = assert(uv.new_poll(fd))
    start(function()
      other:start("r", function() seen.other = true end)
      seen.early = waiter.wait(fd, "r", waiter.now() + 0.002) or "timeout"
      local client = assert(socket.connect("127.0.0.1", (select(2, listener:getsockname()))))
      seen.late = waiter.wait(fd, "r", waiter.now() + 5)
      waiter.sleep(waiter.now() + 0.01)
      other:close()
      client:close()
    end)
    uv.run()
    assert.same({ early = "timeout", late = "r", other = true }, seen)
    listener:close()
  end)

  -- To see it fail: let luvpolls.new answer uv.new_poll.
  it("says nothing of sockets that were reset", function()
    local printed, code = probe.script({}, [[
      local uv, waiter, socket = require "luv", require("luphant.wait").choose "luv", require "socket"
      local listener = assert(socket.bind("127.0.0.1", 0))
      coroutine.wrap(function()
        for round, events in ipairs { "r", "w", "rw", "r" } do
          local here = assert(socket.connect("127.0.0.1", (select(2, listener:getsockname()))))
          local there = assert(listener:accept())
          if round == 4 then
            waiter.spawn(function()
              there:setoption("linger", { on = true, timeout = 0 })
              there:close()
            end)
          else
            there:setoption("linger", { on = true, timeout = 0 }) -- ends with RST
            there:close()
          end
          assert(waiter.wait(here:getfd(), events, waiter.now() + 5))
          here:close()
        end
      end)()
      uv.run()
      print "done"]])
    assert.same({ "done" }, { printed, code })
  end)

  it("lets go of all that a coroutine waits for when it is closed", function()
    if not close then return end -- LuaJIT cannot close a coroutine
    local listener = assert(socket.bind("127.0.0.1", 0))
    for _, fn in ipairs {
      function() waiter.wait(listener:getfd(), "r") end,
      function() waiter.wait(listener:getfd(), "rw", waiter.now() + 60) end,
      function() waiter.sleep(waiter.now() + 60) end,
      function() waiter.park("token", waiter.now() + 60) end,
    } do
      local co = start(fn)
      assert.is_true(uv.loop_alive())
      assert(close(co))
      assert.is_false(uv.loop_alive())
    end
    assert.is_false(waiter.wake "token")
    listener:close()
  end)
end)
