local compat = require "luphant.compat"

describe("compat", function()
  it("keeps the number of values through pack and unpack, trailing nils included", function()
    local packed = compat.pack(1, nil, "x", nil)
    assert.equal(4, packed.n)
    assert.equal(4, select("#", compat.unpack(packed, 1, packed.n)))
    assert.equal("x", (select(3, compat.unpack(packed, 1, packed.n))))
  end)

  it("names the interpreter it runs on", function()
    local is_luajit = rawget(_G, "jit") ~= nil
    assert.equal(is_luajit, compat.is_luajit)
    assert.equal(not is_luajit, compat.has_integers)
    assert.matches(is_luajit and "^LuaJIT 2" or "^Lua 5%.%d$", compat.version)
  end)

  it("tells numbers without fraction from the others", function()
    for _, value in ipairs { 0, -3, 3.0, 2 ^ 53, -2 ^ 60 } do assert.is_true(compat.is_integral(value)) end
    for _, value in ipairs { 0.5, 1 / 0, -1 / 0, 0 / 0, "1", {} } do
      assert.is_false(compat.is_integral(value))
    end
    assert.is_false(compat.is_integral(nil))
  end)

  it("writes integral numbers as digits only", function()
    assert.equal("5432", compat.digits(5432.0))
    assert.equal("-7", compat.digits(-7))
    assert.equal("1000000000000000", compat.digits(1e15))
    assert.equal("5432", compat.text(5432.0))
    assert.equal("0.5", compat.text(0.5))
    assert.equal("x", compat.text("x"))
    if compat.has_integers then
      assert.equal("9223372036854775807", compat.digits(rawget(math, "maxinteger")))
    end
  end)

  describe("load", function()
    it("runs source with the given globals and no others", function()
      local env = { x = 20 }
      local chunk = assert(compat.load("y = x + 1; return print", "=given", env))
      assert.is_nil(chunk())
      assert.equal(21, env.y)
      assert.is_nil(rawget(_G, "y"))
    end)

    it("answers nil and the chunk's name for a syntax error", function()
      local chunk, message = compat.load("x = = 1", "=given", {})
      assert.is_nil(chunk)
      assert.matches("^given:1:", message)
    end)

    it("refuses bytecode", function()
      local chunk, message = compat.load(string.dump(function() end), "=given", {})
      assert.is_nil(chunk)
      assert.matches("binary", message)
    end)
  end)

  it("knows whether it runs inside a coroutine", function()
    local inside = coroutine.wrap(function() return compat.in_coroutine() end)()
    assert.is_true(inside)
  end)

  it("copies one level deep and takes nil for an empty table", function()
    local inner = {}
    local copy = compat.copy { a = inner, 1 }
    assert.equal(inner, copy.a)
    assert.equal(1, copy[1])
    assert.same({}, compat.copy(nil))
  end)

  it("sorts the string keys of a table", function()
    assert.same({ "a", "b", "c" }, compat.sorted_keys { c = 1, a = 2, b = 3, [1] = 4 })
  end)
end)
