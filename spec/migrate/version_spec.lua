-- Versions: text that compares as numbers.

local version = require "luphant.migrate.version"

describe("versions", function()
  it("come in the order of numbers of any length", function()
    local ascending = {
      "0", "1", "1.0.1", "1.2", "1.10", "2", "0009", "10", "20240101120000", "99999999999999999998",
        "99999999999999999999",
      "100000000000000000000",
    }
    for i = 2, #ascending do
      assert.is_true(version.before(ascending[i - 1], ascending[i]), ascending[i - 1] .. " < " .. ascending[i])
      assert.is_false(version.before(ascending[i], ascending[i - 1]), ascending[i - 1] .. " < " .. ascending[i])
    end
  end)

  it("are equal however they are spelt", function()
    for _, spelling in ipairs { "7", "007", "7.0", "07.00.0" } do
      assert.equal(version.key "7", version.key(spelling))
    end
    assert.equal(version.key "0", version.key "000.0")
    assert.not_equal(version.key "7.0.1", version.key "7.1")
  end)

  it("are digits, with dots between them", function()
    for _, text in ipairs { "0", "42", "1.2", "20260731094500" } do assert.is_true(version.is(text), text) end
    for _, text in ipairs { "", ".", "1.", ".1", "1..2", "v1", "1a", "-1", "1 " } do
      assert.is_false(version.is(text), text)
    end
    assert.is_false(version.is(7))
    assert.is_false(version.is(nil))
  end)
end)
