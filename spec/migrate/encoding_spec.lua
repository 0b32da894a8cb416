-- Bytes that are fit to be SQL.

local encoding = require "luphant.migrate.encoding"

describe("the text of a file", function()
  it("loses byte order mark and carriage returns at line ends, nothing else", function()
    assert.equal("a\nb\r \n", encoding.normalise "\239\187\191a\r\nb\r \r\n")
    assert.equal("a\239\187\191", encoding.normalise "a\239\187\191")
  end)

  it("is UTF-8, of any script", function()
    for _, text in ipairs { "", "plain", "äöü", "日本語", "🐘",
      "\194\128\223\191\224\160\128\239\191\191\240\144\128\128\244\143\191\191" } do
      assert.is_nil((encoding.fault(text)), text)
    end
  end)

  it("is refused at the first byte that is not", function()
    for text, at in pairs {
      ["a\xff"] = 2, ["ab\xe4 c"] = 3, ["\xc3"] = 1, ["x\xe2\x82"] = 2, ["\xc0\xaf"] = 1, ["\xed\xa0\x80"] = 1,
        ["\xf4\x90\x80\x80"] = 1,
      ["\xf0\x80\x80\x80"] = 1, ["ä\x80"] = 3, ["\xe2\x82("] = 1,
    } do
      local found, complaint = encoding.fault(text)
      assert.equal(at, found, text)
      assert.truthy(complaint:find "is no UTF%-8 there")
    end
    assert.same({ 2, "holds a NUL byte; is this a text file in UTF-8?" }, { encoding.fault "a\0b" })
    assert.same({ 1, "is UTF-16; save it as UTF-8" }, { encoding.fault "\255\254s\0" })
  end)
end)
