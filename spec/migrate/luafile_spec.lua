-- Migrations written in Lua.

local load = require "luphant.migrate.luafile"

local function complaints(text)
  local _, _, problems = load(text, "f.lua")
  local out = {}
  for i, problem in ipairs(problems) do
    assert.equal("f.lua", problem.file)
    out[i] = (problem.line and problem.line .. ": " or "") .. problem.message
  end
  return table.concat(out, "; ")
end

describe("a Lua migration", function()
  it("is a table of functions and options", function()
    local script, options, problems = load([[
      return {
        up = function(db) return "up " .. db end, down = function() return "down" end,
        check = function() return true end, verify = function() return false end,
        transaction = false, retry = true, lock_timeout = "5s", requires = { "1" }, phase = "contract",
      }]], "f.lua")
    assert.same({}, problems)
    assert.equal("up x", script.up "x")
    assert.equal("down", script.down())
    assert.is_true(script.check())
    assert.is_false(script.verify())
    assert.same({ transaction = false, retry = true, lock_timeout = 5, requires = { "1" }, phase = "contract" },
      options)
  end)

  it("runs in globals of its own each time", function()
    local text = "counter = (counter or 0) + 1; return { up = function() return counter, string.rep('a', 2) end }"
    for _ = 1, 2 do
      local script = load(text, "f.lua")
      assert.same({ 1, "aa" }, { script.up() })
    end
    assert.is_nil(rawget(_G, "counter"))
  end)

  it("that is none is told, with its line", function()
    assert.truthy(complaints("return {\n up = function( end }"):find "^2: ")
    assert.equal("2: boom", complaints("\nerror 'boom'"))
    assert.truthy(complaints("\n\nnosuch.field = 1"):find "^3: ")
    assert.equal("must return a table with the function up, not nil", complaints "")
    assert.equal("must return a table with the function up, not a function", complaints "return function() end")
    assert.truthy(complaints("\27Lua"):find "binary")
  end)

  it("knows its fields", function()
    assert.equal("has no function up", complaints "return {}")
    assert.equal("up must be a function", complaints "return { up = 'select 1' }")
    assert.equal('unknown field "donw" (did you mean "down"?)', complaints "return { up = print, donw = print }")
    assert.equal('unknown field "1"', complaints "return { up = print, 7 }")
    assert.equal("transaction must be true or false", complaints "return { up = print, transaction = 'false' }")
    assert.equal("requires must be text, also when it is a number",
      complaints "return { up = print, requires = { 1 } }")
    assert.truthy(complaints("return { up = print, vars = 'a' }"):find("vars belongs to SQL files", 1, true))
    assert.equal("there is a way back, yet it says irreversible",
      complaints "return { up = print, down = print, irreversible = true }")
  end)
end)
