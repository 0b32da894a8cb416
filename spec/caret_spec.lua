local caret = require "luphant.caret"

-- The character the caret stands under, by columns; good for lines of one-column characters.
local function pointed_at(shown)
  local sql, mark = shown:match("^(.*)\n( *)%^$")
  local column = 0
  for char in sql:gmatch("[%z\1-\127\192-\255][\128-\191]*") do
    if column == #mark then return char end
    column = column + 1
  end
  return "(end)"
end

describe("caret.show", function()
  it("points at the position", function()
    assert.equal("LINE 1: select * frm t\n                 ^", caret.show("select * frm t", 10))
  end)

  it("shows only the line that holds the position, with its number", function()
    assert.equal("LINE 3: frm t\n        ^", caret.show("select *\n\nfrm t\nwhere true", 11))
  end)

  it("takes \\r\\n and \\r for one line end each", function()
    assert.equal("LINE 2: bX\n         ^", caret.show("a\r\nbX\r\nc", 5))
    assert.equal("LINE 3: cX\n         ^", caret.show("a\rb\rcX", 6))
  end)

  it("counts characters, not bytes", function()
    assert.equal("X", pointed_at(caret.show("sélèct 'žluťoučký' X", 20)))
  end)

  it("leaves two columns for wide characters and none for combining ones", function()
    assert.equal("LINE 1: '日本' X\n               ^", caret.show("'日本' X", 6))
    assert.equal("LINE 1: 'e\204\129' X\n            ^", caret.show("'e\204\129' X", 6))
  end)

  it("shows a tab as one column, so that the caret stays true", function()
    assert.equal("LINE 1: a b X\n            ^", caret.show("a\tb\tX", 5))
  end)

  it("lets no control character through to the terminal", function()
    assert.not_matches("[%z\1-\9\11-\31]", caret.show("select '\27[31m' frm", 14))
  end)

  it("cuts a window of about a hundred columns out of a long line", function()
    local sql = ("a"):rep(500) .. "X" .. ("b"):rep(500)
    local shown = caret.show(sql, 501)
    assert.equal("X", pointed_at(shown))
    assert.is_true(#shown:match("^[^\n]*") <= 120)
    assert.matches("^LINE 1: %.%.%.a+Xb+%.%.%.\n", shown)
  end)

  it("keeps the caret true in every window of a long line of many-byte characters", function()
    local sql = ("é"):rep(300)
    for position = 1, 300, 7 do
      local bytes = (position - 1) * 2
      local marked = sql:sub(1, bytes) .. "X" .. sql:sub(bytes + 3)
      assert.equal("X", pointed_at(caret.show(marked, position)))
    end
  end)

  it("stands one past the end for an unexpected end", function()
    assert.equal("LINE 1: select\n              ^", caret.show("select", 7))
    assert.equal("LINE 1: \n        ^", caret.show("", 1))
  end)

  it("has nothing to show for a position outside of the text", function()
    assert.is_nil(caret.show("select", 8))
    assert.is_nil(caret.show("select", 0))
    assert.is_nil(caret.show("a\nb", 99))
    assert.is_nil(caret.show(nil, 1))
    assert.is_nil(caret.show("select", nil))
  end)

  it("survives bytes that are not UTF-8", function()
    for _, sql in ipairs { "\128\128abc", "a\255\254b", "\192", ("\191"):rep(5000) } do
      for position = 1, 6 do caret.show(sql, position) end
    end
    assert.is_string(caret.show("a\255b", 3))
  end)

  it("does not take a megabyte in one line apart", function()
    local sql = ("é,"):rep(500000) .. "X"
    local before = os.clock()
    assert.equal("X", pointed_at(caret.show(sql, 1000001)))
    assert.is_true(os.clock() - before < 1) -- a table of a million characters would take seconds
  end)
end)
