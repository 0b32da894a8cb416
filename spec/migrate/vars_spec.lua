-- Values for placeholders, judged by what becomes of the statement.

local env = require "spec.support.env"
local luphant = require "luphant"
local vars = require "luphant.migrate.vars"

describe("filling in a statement", function()
  local function fill(sql, values)
    local names = {}
    for name in pairs(values) do names[#names + 1] = name end
    return vars.fill(sql, names, values)
  end

  it("quotes identifiers and literals, and leaves raw values alone", function()
    assert.equal('grant select on t to "we""ird"', fill("grant select on t to ${role}", { role = 'we"ird' }))
    assert.equal("select 'it''s'", fill("select ${v:literal}", { v = "it's" }))
    assert.equal([[select E'a\\b''']], fill("select ${v:literal}", { v = [[a\b']] }))
    assert.equal("select 1 + 2", fill("select ${v:raw}", { v = "1 + 2" }))
    assert.equal('select "a%1", \'b%%\'', fill("select ${x}, ${y:literal}", { x = "a%1", y = "b%%" }))
  end)

  it("replaces declared names everywhere, others nowhere", function()
    assert.equal([[select '"a"', $$ "a" ${b} $$]], fill("select '${a}', $$ ${a} ${b} $$", { a = "a" }))
    assert.equal("select '${a}'", (vars.fill("select '${a}'", {}, { a = "x" })))
  end)

  it("refuses values that change what a statement is", function()
    for _, value in ipairs { "1; drop table t", "1;", "'", "$$", "(", "/*", "1 -- rest", "; 1" } do
      local filled, complaint = fill("select ${v:raw}", { v = value })
      assert.is_nil(filled, value)
      assert.is_string(complaint)
    end
    assert.equal("select ';'", fill("select ${v:raw}", { v = "';'" }))
  end)

  it("says what a set of values lacks", function()
    assert.same({ "needs a value for ${a}", "the value of ${b} must be a string",
      "the value of ${c} holds a NUL byte" },
      vars.complaints({ "a", "b", "c", "d" }, { b = 1, c = "x\0", d = "" }))
  end)

  it("gives the server the value it was given", function()
    local conn = assert(luphant.connect(env.url()))
    for _, value in ipairs { "plain", "it's", [[back\slash]], [[both \' '']], 'double "', "äöü $$ ; --", "" } do
      assert.equal(value, conn:query_value((fill("select ${v:literal}", { v = value }))))
      if value ~= "" then
        local row = assert(conn:query_one((fill("select 1 as ${v}", { v = value }))))
        assert.equal(1, row[value])
      end
    end
    conn:close()
  end)
end)
