local probe = require "spec.support.probe"
local wait = require "luphant.wait"
local worlds = require "spec.contract.worlds"

local setting = worlds.named.copas

describe("the copas waiter", function()
  if setting.missing then
    pending(setting.missing)
    return
  end
  local copas = require "copas"
  local waiter = wait.choose "copas"
  local tells = copas.running ~= nil -- copas 1.x does not tell whether its loop runs

  -- Under copas.loop() itself, in a process of its own: with copas 1.x that never ends.
  local function script(text)
    return probe.script({}, [[
      local copas, luphant = require "copas", require "luphant"
      local waiter = require("luphant.wait").choose "copas"
      local env = require "spec.support.env"
      ]] .. text)
  end

  it("is one for the whole state", function()
    assert.equal(waiter, wait.choose "copas")
    assert.equal("copas", waiter.name)
  end)

  it("is chosen in threads of copas.loop(), where copas tells that it runs", function()
    assert.equal("poll", wait.choose().name)
    assert.equal(tells and "copas" or "poll", script [[
      copas.addthread(function()
        waiter.sleep(waiter.now() + 0.01)
        print(require("luphant.wait").choose().name)
        os.exit(0)
      end)
      copas.loop()]])
  end)

  it("waits, sleeps and is woken under copas.loop()", function()
    assert.equal("1 true true", script [[
      local slept
      copas.addthread(function()
        local deadline = waiter.now() + 0.02
        waiter.sleep(deadline)
        slept = waiter.now() >= deadline
        repeat waiter.sleep(waiter.now() + 0.002) until waiter.wake "token"
      end)
      copas.addthread(function()
        local conn = assert(luphant.connect(env.url(), { waiter = "copas" }))
        local value = conn:query_value "select 1"
        print(value .. " " .. tostring(waiter.park "token") .. " " .. tostring(slept))
        os.exit(0)
      end)
      copas.loop()]])
  end)

  it("keeps copas.loop() going for who waits or sleeps, not for who is parked", function()
    if not tells then return end -- copas.loop() never ends
    assert.equal("waited\nended", script [[
      copas.addthread(function() waiter.park "token" end)
      copas.addthread(function()
        local conn = assert(luphant.connect(env.url(), { waiter = "copas" }))
        conn:query "select pg_sleep(0.3)"
        waiter.sleep(waiter.now() + 0.01)
        print "waited"
      end)
      copas.loop()
      print "ended"]])
  end)

  it("forgets what a removed thread waits for", function()
    if not copas.removethread then return end -- before copas 3
    assert.equal("nil false", script [[
      local listener = assert(require("socket").bind("127.0.0.1", 0))
      local _, port = listener:getsockname()
      local thread = copas.addthread(function() waiter.wait(listener:getfd(), "r") end)
      local parked = copas.addthread(function() waiter.park "token" end)
      copas.addthread(function()
        waiter.sleep(waiter.now() + 0.01)
        copas.removethread(thread)
        copas.removethread(parked)
        thread, parked = nil, nil
        local client = assert(require("socket").connect("127.0.0.1", port))
        waiter.sleep(waiter.now() + 0.01)
        for _ = 1, 3 do collectgarbage() end
        print(tostring(waiter.wait(listener:getfd(), "w", waiter.now() + 0.01)) .. " " .. tostring(waiter.wake "token"))
        client:close()
      end)
      copas.loop()]])
  end)

  it("refuses descriptors that select cannot take, and names the limit", function()
    local world = setting.start()
    world.run(function()
      local ok, why = pcall(waiter.wait, 100000, "r")
      assert.is_false(ok)
      assert.matches("descriptor 100000: its select%(%) takes those below %d+", why)
    end)
  end)

  it("says so when copas is one that it cannot work with", function()
    assert.matches('the waiter "copas" cannot be had here: .*this version of copas is not known', (probe.script({}, [[
      package.loaded.copas = { receive = function() end, connect = function() end }
      print(select(2, pcall(function() require("luphant.wait").choose("copas", 1) end)))]])))
  end)
end)
