-- What names of files say, and the hints for those that say nothing.

local filename = require "luphant.migrate.filename"

local function read(entry, is_repeatable)
  local found, complaint = filename.read(entry, is_repeatable)
  if not found then return complaint end
  return ("%s %s %s %s%s"):format(found.kind, found.version, found.name, found.language,
    found.part and " " .. found.part or "")
end

describe("a name", function()
  it("says kind, version, name and language", function()
    for entry, said in pairs {
      ["20260731094500_add_users.sql"] = "versioned 20260731094500 add_users sql",
      ["1_a-b.sql"] = "versioned 1 a-b sql",
      ["0007_x.lua"] = "versioned 0007 x lua",
      ["0007_x.up.sql"] = "versioned 0007 x sql up",
      ["0007_x.down.sql"] = "versioned 0007 x sql down",
      ["V1__create.sql"] = "versioned 1 create sql",
      ["V1.2__create.sql"] = "versioned 1.2 create sql",
      ["V1_2__create_it.sql"] = "versioned 1.2 create_it sql",
      ["V1__2__x.sql"] = "versioned 1 2__x sql",
      ["V7__x.down.sql"] = "versioned 7 x sql down",
      ["R__active_users.sql"] = "repeatable active_users active_users sql",
      ["R__refresh.lua"] = "repeatable refresh refresh lua",
      ["B42__start.sql"] = "baseline 42 start sql",
    } do
      assert.equal(said, read(entry), entry)
    end
  end)

  it("needs no prefix in a folder of repeatable ones", function()
    assert.equal("repeatable users users sql", read("users.sql", true))
    assert.equal("repeatable users users sql", read("R__users.sql", true))
  end)

  it("of a README or with a dot in front is nobody's business", function()
    for _, entry in ipairs { "README", "README.md", ".keep", ".gitignore" } do
      assert.same({}, { filename.read(entry) }, entry)
    end
  end)

  it("that nearly fits gets the one that was meant", function()
    for entry, meant in pairs {
      ["0002-dash.sql"] = "0002_dash.sql",
      ["0002 with blanks.sql"] = "0002_with_blanks.sql",
      ["0002.dots.sql"] = "0002_dots.sql",
      ["0002_a.b.sql"] = "0002_a_b.sql",
      ["0002users.sql"] = "0002_users.sql",
      ["0002_a.SQL"] = "0002_a.sql",
      ["0002_a.sql.sql"] = "0002_a.sql",
      ["0002_a.psql"] = "0002_a.sql",
      ["0002_a.UP.sql"] = "0002_a.up.sql",
      ["0002_a.txt"] = "0002_a.sql",
      ["0002_a"] = "0002_a.sql",
      ["V1_a.sql"] = "V1__a.sql",
      ["v1__a.sql"] = "V1__a.sql",
      ["r__a.sql"] = "R__a.sql",
      ["R_a.sql"] = "R__a.sql",
      ["R__a.b.sql"] = "R__a_b.sql",
      ["b3__a.sql"] = "B3__a.sql",
    } do
      local _, complaint = filename.read(entry)
      assert.equal(("is no name of a migration; did you mean %s?"):format(meant), complaint, entry)
    end
  end)

  it("that fits nothing is told what is missing", function()
    for entry, words in pairs {
      ["add_users.sql"] = "has no version; begin the name with digits, like 0007_add_users.sql",
      ["notes.md"] = "is no migration; only",
      ["0002_größe.sql"] = "letters, digits, `_` or `-`",
      ["U1__undo.sql"] = "U files mean different things",
      ["0002_a.sql~"] = "left behind by an editor",
      ["0002_a.sql.orig"] = "left behind by an editor",
      ["R__a.down.sql"] = "only versioned migrations come in pairs",
    } do
      local found, complaint = filename.read(entry)
      assert.is_nil(found)
      assert.truthy(complaint and complaint:find(words, 1, true), entry .. ": " .. tostring(complaint))
    end
  end)
end)

describe("an ignore pattern", function()
  it("is a glob for whole names", function()
    local function matches(glob, entry) return entry:find(filename.pattern(glob)) ~= nil end
    assert.is_true(matches("*.md", "notes.md"))
    assert.is_false(matches("*.md", "notes.md.sql"))
    assert.is_false(matches("*.md", "notes-md"))
    assert.is_true(matches("drafts/", "drafts"))
    assert.is_true(matches("?_a.sql", "1_a.sql"))
    assert.is_false(matches("?_a.sql", "12_a.sql"))
    assert.is_true(matches("a+b[1]%", "a+b[1]%"))
  end)
end)
