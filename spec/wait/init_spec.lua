local wait = require "luphant.wait"

local function complete()
  local function nothing() end
  return { now = nothing, wait = nothing, sleep = nothing, park = nothing, wake = nothing }
end

describe("wait.choose", function()
  it("takes a table that has the five functions", function()
    local own = complete()
    assert.equal(own, wait.choose(own))
  end)

  it("names the function that a waiter lacks", function()
    for _, name in ipairs { "now", "wait", "sleep", "park", "wake" } do
      local own = complete()
      own[name] = nil
      local ok, message = pcall(wait.choose, own)
      assert.is_false(ok)
      assert.matches("no function " .. name, message)
    end
  end)

  it("lists what there is for an unknown name, and blames its caller's caller", function()
    local function connect(name) return (wait.choose(name)) end
    local line = debug.getinfo(1, "l").currentline + 1
    local ok, message = pcall(function() connect("pol") end)
    assert.is_false(ok)
    assert.matches(('init_spec.lua:%d: unknown waiter "pol" (did you mean "poll"?); there is: %s')
      :format(line, "copas, cqueues, luv, openresty, poll"), message, 1, true)
    assert.is_false(pcall(connect, 42))
    assert.is_false(pcall(connect, false))
  end)
end)
