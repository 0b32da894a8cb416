-- The order of running: versions and requirements.

local order = require "luphant.migrate.order"

local function versioned(version, ...) return { kind = "versioned", version = version, name = "n",
  requires = { ... } } end
local function repeatable(name, ...) return { kind = "repeatable", version = name, name = name, requires = { ... } } end

local function resolve(list)
  local complaints, out = {}, {}
  local resolved = order.resolve(list, function(item, message)
    complaints[#complaints + 1] = order.label(item) .. ": " .. message
  end)
  for i, item in ipairs(resolved) do out[i] = order.label(item) end
  return table.concat(out, " "), complaints
end

describe("the order of migrations", function()
  it("is that of their numbers, repeatable ones last by name", function()
    assert.equal("1 2 10 R__a R__b", (resolve {
      repeatable "b", versioned "10", versioned "2", repeatable "a", versioned "1",
    }))
  end)

  it("puts a baseline before the versioned one of its number", function()
    assert.equal("1 B2 2 3", (resolve {
      versioned "3", versioned "2", { kind = "baseline", version = "2", name = "b" }, versioned "1",
    }))
  end)

  it("bends to requirements, and no more than they need", function()
    assert.equal("1 4 2 3 5", (resolve {
      versioned "1", versioned("2", "0004"), versioned "3", versioned "4", versioned("5", "1"),
    }))
    assert.equal("3 2 1", (resolve { versioned("1", "2"), versioned("2", "3"), versioned "3" }))
    assert.equal("R__b R__a R__c", (resolve { repeatable("a", "R__b"), repeatable "b", repeatable "c" }))
    assert.equal("1 R__a", (resolve { repeatable("a", "1"), versioned "1" }))
  end)

  it("leaves requirements alone that are not there; others judge these", function()
    local list, complaints = resolve { versioned("1", "9") }
    assert.equal("1", list)
    assert.same({}, complaints)
  end)

  it("tells cycles, each with its whole way", function()
    local _, complaints = resolve { versioned("1", "2"), versioned("2", "3"), versioned("3", "1"), versioned("4", "4") }
    assert.same({
      "3: the requirements go round in a circle: 1 requires 2 requires 3 requires 1",
      "4: the requirements go round in a circle: 4 requires 4",
    }, complaints)
  end)

  it("refuses that a versioned one requires a repeatable one", function()
    local _, complaints = resolve { versioned("1", "R__a"), repeatable "a" }
    assert.same({ "1: requires R__a, but repeatable migrations run after all others" }, complaints)
  end)

  it("does not mind a chain as long as the folder", function()
    local list = {}
    for i = 1, 20000 do list[i] = versioned(tostring(i), i < 20000 and tostring(i + 1) or nil) end
    local resolved = order.resolve(list, error)
    assert.equal("20000", resolved[1].version)
    assert.equal("1", resolved[20000].version)
  end)
end)
