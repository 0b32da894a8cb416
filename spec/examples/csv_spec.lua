-- The CSV reader of the shop example: RFC 4180, and nothing more lenient.

local csv = (function()
  local before = package.path
  package.path = "examples/?.lua;" .. before
  local module = require "shop.csv"
  package.path = before
  return module
end)()

local function fields(text)
  local records = assert(csv.parse(text))
  local out = {}
  for i, record in ipairs(records) do out[i] = record.line .. ":" .. table.concat(record, "|") end
  return out
end

describe("reading CSV", function()
  it("takes CRLF and LF, with or without a last line end", function()
    assert.same({ "1:a|b", "2:c|d" }, fields "a,b\r\nc,d\r\n")
    assert.same({ "1:a|b", "2:c|d" }, fields "a,b\nc,d")
    assert.same({}, fields "")
  end)

  it("keeps empty fields, also the last one, and blanks", function()
    assert.same({ "1:||", "2: a |" }, fields ",,\n a ,\n")
  end)

  it("unfolds quotes, commas and line breaks inside quotes, and goes on counting lines", function()
    assert.same({ '1:a,b|say "hi"|', "2:x\r\ny|z", "4:end" }, fields '"a,b","say ""hi""",""\n"x\r\ny",z\nend\n')
  end)

  it("drops a byte order mark", function()
    assert.same({ "1:a" }, fields "\239\187\191a\n")
  end)

  it("refuses what RFC 4180 does not know, with the line", function()
    for text, line in pairs { ['x\na"b\n'] = 2, ['x\n"abc\n\n'] = 2, ['"a"b\n'] = 1, ["a\rb"] = 1 } do
      local records, message, at = csv.parse(text)
      assert.is_nil(records, text)
      assert.is_string(message)
      assert.equal(line, at, text)
    end
  end)
end)
