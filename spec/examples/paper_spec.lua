-- The printer of the shop example: columns as wide as what is drawn.

local paper = (function()
  local before = package.path
  package.path = "examples/?.lua;" .. before
  local module = require "shop.paper"
  package.path = before
  return module
end)()

describe("the width of a text", function()
  it("counts what is drawn, not bytes", function()
    assert.equal(4, paper.width "Łódź")
    assert.equal(4, paper.width "東京")
    assert.equal(5, paper.width "cafe\204\129s") -- e and a combining acute accent
    assert.equal(2, paper.width "🐘")
  end)
end)

describe("clipping a text", function()
  it("never exceeds the width and never cuts a character", function()
    assert.equal("abc", paper.clip("abc", 3))
    assert.equal("ab…", paper.clip("abcd", 3))
    assert.equal("東…", paper.clip("東京都", 4))
    assert.equal("東京", paper.clip("東京", 4))
  end)

  it("shows line breaks, control characters and broken UTF-8", function()
    assert.equal("a⏎b", paper.clip("a\nb", 9))
    assert.equal("?[31m", paper.clip("\27[31m", 9))
    assert.equal("J\\xFCrgen", paper.clip("J\252rgen", 20))
    assert.equal("\\xE6\\x9D", paper.clip("\230\157", 20))
  end)
end)
