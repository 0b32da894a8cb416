local lfs = require "lfs"
local migrate = require "luphant.migrate"
local new = require "luphant.migrate.new"
local shell = require "luphant.testing.shell"

describe("a new migration", function()
  local dir
  before_each(function()
    dir = os.tmpname()
    os.remove(dir)
  end)
  after_each(function() shell.run("rm -rf " .. shell.quote(dir)) end)

  local function put(...)
    lfs.mkdir(dir)
    for _, name in ipairs { ... } do shell.write_file(dir .. "/" .. name, "select 1;\n") end
  end

  local function made(name, opts)
    local answer = assert(migrate.new(dir, name, opts))
    for i, path in ipairs(answer.files) do answer.files[i] = path:sub(#dir + 2) end
    return table.concat(answer.files, " "), answer
  end

  it("has the time in UTC as its version where nothing says otherwise", function()
    assert.equal("19700101000100_add_users_e_mail.sql", (made("Add users' e-mail!", { now = 60 })))
    assert.equal("19700101000101_b.sql", (made("b", { now = 60 })), "behind the last one, also in the same second")
  end)

  it("goes on with what the folder has", function()
    put("0009_a.sql")
    assert.equal("0010_b.sql", (made "b"))
    assert.equal("20010909014640_c.sql", (made("c", { versions = "time", now = 1e9 })))
    put("99999999999999_z.sql")
    assert.equal("100000000000000_y.sql", (made "y"))
  end)

  it("writes numbers as large as they come, and names as Flyway has them", function()
    assert.equal("1000", new.increment "999")
    assert.equal("12345678901234567890124", new.increment "12345678901234567890123")
    put("V6__a.sql")
    assert.equal("V7__b.sql", (made "b"))
  end)

  it("comes in Lua, as a pair, repeatable, without a transaction", function()
    assert.equal("0001_a.lua", (made("a", { style = "lua", versions = "number" })))
    assert.equal("0002_b.up.sql 0002_b.down.sql", (made("b", { style = "pair" })))
    assert.equal("R__views.sql", (made("views", { repeatable = true })))
    local name = made("c", { transaction = false })
    local text = shell.read_file(dir .. "/" .. name)
    assert.truthy(text:find("\n-- migrate:up transaction:false\n", 1, true), text)
    assert.truthy(text:find("\n-- migrate:down transaction:false\n", 1, true), text)
  end)

  it("is refused by the loader until it is written, and read afterwards", function()
    local name = made("a", { versions = "number" })
    local _, err = migrate.load(dir)
    assert.same({ "migration_invalid", 2 }, { err.kind, #err.problems })
    local path = dir .. "/" .. name
    local text = shell.read_file(path):gsub("(migrate:%l+\n)", "%1select 1;\n")
    shell.write_file(path, text)
    assert.equal("a", assert(migrate.load(dir))[1].name)
    made("b", { style = "lua" })
    assert.equal(2, #assert(migrate.load(dir)))
  end)

  it("never takes the place of another", function()
    put("0001_a.sql", "R__views.sql")
    for _, case in ipairs {
      { "a", {}, "0001_a.sql is called so already" },
      { "b", { version = "1" }, "0001_a.sql has this version already" },
      { "views", { repeatable = true }, "R__views.sql is called so already" },
      { "!!", {}, '"!!" has no letter or digit' },
    } do
      local answer, err = migrate.new(dir, case[1], case[2])
      assert.is_nil(answer)
      assert.equal("migration_file", err.kind)
      assert.truthy(err.message:find(case[3], 1, true), err.message)
    end
    assert.equal("select 1;\n", shell.read_file(dir .. "/0001_a.sql"))
  end)

  it("tells a folder that cannot be made, and leaves no half of a pair", function()
    local _, err = migrate.new(dir .. "/deeper/still", "a")
    assert.equal("migration_file", err.kind)
    put("0001_a.sql")
    lfs.mkdir(dir .. "/0002_b.down.sql")
    _, err = migrate.new(dir, "b", { style = "pair" })
    assert.equal("migration_file", err.kind)
    assert.is_nil(lfs.attributes(dir .. "/0002_b.up.sql"))
  end)
end)
