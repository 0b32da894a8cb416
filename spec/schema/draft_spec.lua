-- A whole database from nothing, by a draft. What each change is drafted to is in change_spec.lua.
--
-- To see it fail: take a place out of draft/plan.lua's list, or a field out of draft/make.lua.

local env = require "spec.support.env"
local luphant = require "luphant"
local schema = require "luphant.schema"
local scratch = require "spec.schema.scratch"
local words = require "luphant.schema.draft.words"

local FULL, EMPTY = "luphant_draft_full", "luphant_draft_empty"

describe("a draft", function()
  local admin, full, empty
  lazy_setup(function()
    admin = assert(luphant.connect(env.url()))
    full, empty = scratch.fill(admin, FULL), scratch.create(admin, EMPTY)
  end)
  lazy_teardown(function()
    full:close()
    empty:close()
    scratch.drop(admin, FULL)
    scratch.drop(admin, EMPTY)
    scratch.drop_roles(admin)
    admin:close()
  end)

  it("makes a database of everything from an empty one, but for what it says it left, and empties it again", function()
    local nothing, wanted = assert(schema.snapshot(empty)), assert(schema.snapshot(full))
    local statements, left = schema.draft(nothing, wanted)
    assert.is_true(#statements > 150)
    local is_left = {}
    for _, line in ipairs(left) do is_left[line:gsub("^[+~] ", ""):gsub(":.*$", ""):gsub("%s+$", "")] = true end
    for _, sql in ipairs(statements) do assert(empty:script(sql), sql) end
    for _, difference in ipairs(schema.diff(assert(schema.snapshot(empty)), wanted)) do
      local name = difference.kind .. " " .. difference.object
      assert(is_left[name] or is_left["base type " .. difference.object], name .. ": " .. difference.what)
    end
    statements = schema.draft(assert(schema.snapshot(empty)), nothing)
    for _, sql in ipairs(statements) do assert(empty:script(sql), sql) end
    for _, difference in ipairs(schema.diff(assert(schema.snapshot(empty)), nothing)) do
      assert.equal("", difference.kind .. " " .. difference.object)
    end
  end)

  it("quotes names and texts so that nothing in them is SQL", function()
    for _, name in ipairs { "plain", "Odd", "or\"der", "select", "1st", "gr\195\182\195\159e", "a b;" } do
      assert.equal(name, full:query_value("select (parse_ident($1))[1]", words.quote(name)))
    end
    for _, text in ipairs { "it's", "back\\slash", "$$ $body1$", "" } do
      assert.equal(text, full:query_value("select " .. words.literal(text)))
      assert.equal(text, full:query_value("select " .. words.dollars(text)))
    end
  end)
end)
