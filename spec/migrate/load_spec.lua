-- The reader of migration files, without a database.

local lfs = require "lfs"
local load = require "luphant.migrate.load"

local function messages(problems)
  local out = {}
  for i, problem in ipairs(problems) do
    out[i] = (problem.line and problem.line .. ": " or "") .. problem.message
  end
  return table.concat(out, "\n")
end

describe("one migration file", function()
  it("falls into its sections, each knowing its first line", function()
    local sections, problems = load.parse(table.concat({
      "-- Why this exists.",
      "",
      "-- migrate:up",
      "create table t (a int);",
      "insert into t values (1);",
      "-- migrate:verify",
      "select count(*) = 1 from t;",
      "-- migrate:down",
      "drop table t;",
    }, "\n"), "f.sql")
    assert.same({}, problems)
    assert.same({ text = "create table t (a int);\ninsert into t values (1);", line = 4 }, sections.up)
    assert.same({ text = "select count(*) = 1 from t;", line = 7 }, sections.verify)
    assert.equal(9, sections.down.line)
    assert.equal("drop table t;", sections.down.text:match "^[^\n]*")
  end)

  it("reads the same with a byte order mark and CRLF", function()
    local plain = "-- migrate:up\nselect 1;\n-- migrate:down\nselect 2;\n"
    local foreign = "\239\187\191" .. plain:gsub("\n", "\r\n")
    assert.same({ load.parse(plain, "f.sql") }, { load.parse(foreign, "f.sql") })
  end)

  it("knows a marker whatever the blanks around it", function()
    for _, marker in ipairs { "--migrate:up", "--  migrate:up", "  -- migrate:up  ", "-- migrate: up" } do
      local sections, problems = load.parse(marker .. "\nselect 1;", "f.sql")
      assert.same({}, problems, marker)
      assert.equal("select 1;", sections.up.text:match "^[^\n]*", marker)
    end
  end)

  it("takes a comment that mentions a marker for a comment", function()
    local sections, problems = load.parse("-- see migrate:up below\n-- migrate:up\nselect 1;", "f.sql")
    assert.same({}, problems)
    assert.equal(3, sections.up.line)
  end)

  it("tells every problem at once, with its line", function()
    local _, problems = load.parse(table.concat({
      "select 'stray';",
      "-- migrate:up transaction:false",
      "-- migrate:upp",
      "-- migrate:down",
      "-- only a comment",
      "-- migrate:down",
      "select 1;",
    }, "\n"), "f.sql")
    local text = messages(problems)
    assert.truthy(text:find("1: SQL before the first marker", 1, true), text)
    assert.truthy(text:find('2: migrate:up takes no options, but "transaction:false" follows it', 1, true), text)
    assert.truthy(text:find('3: unknown section "upp"', 1, true), text)
    assert.truthy(text:find("6: a second migrate:down section", 1, true), text)
    assert.truthy(text:find("has no `-- migrate:up` section", 1, true), text)
    for _, problem in ipairs(problems) do assert.equal("f.sql", problem.file) end
  end)

  it("refuses a section without statements", function()
    local _, problems = load.parse("-- migrate:up\n\n-- nothing yet\n-- migrate:down\nselect 1;", "f.sql")
    assert.equal("1: migrate:up is empty", messages(problems))
  end)

  it("refuses a NUL byte, naming its line", function()
    local _, problems = load.parse("-- migrate:up\nselect 'a\0b';", "f.sql")
    assert.truthy(messages(problems):find("^2: holds a NUL byte"))
  end)
end)

describe("a folder of migrations", function()
  local dir

  local function put(name, text)
    local file = assert(io.open(dir .. "/" .. name, "wb"))
    file:write(text or "-- migrate:up\nselect 1;\n")
    file:close()
  end

  before_each(function()
    dir = os.tmpname()
    os.remove(dir)
    assert(lfs.mkdir(dir))
  end)

  after_each(function()
    for entry in lfs.dir(dir) do
      if entry ~= "." and entry ~= ".." and not os.remove(dir .. "/" .. entry) then
        lfs.rmdir(dir .. "/" .. entry)
      end
    end
    assert(lfs.rmdir(dir))
  end)

  local function versions(list)
    local out = {}
    for i, migration in ipairs(list) do out[i] = migration.version end
    return table.concat(out, " ")
  end

  it("comes in the order of the numbers, however long and however padded", function()
    put "10_ten.sql"
    put "9_nine.sql"
    put "0001_one.sql"
    put "20240101120000_stamp.sql"
    put "99999999999999999999_beyond_any_float.sql"
    put "99999999999999999998_one_less.sql"
    local list = assert(load.load(dir))
    assert.equal("0001 9 10 20240101120000 99999999999999999998 99999999999999999999", versions(list))
    assert.equal("stamp", list[4].name)
    assert.equal(dir .. "/0001_one.sql", list[1].file)
  end)

  it("leaves README and dot files alone and may be empty", function()
    put("README.md", "words")
    put(".keep", "")
    assert.same({}, (load.load(dir)))
  end)

  it("lists all its problems: names, duplicates, contents", function()
    put "0001_good.sql"
    put "001_twin.sql"
    put "0002-dash.sql"
    put "notes.txt"
    put("0003_empty.sql", "")
    assert(lfs.mkdir(dir .. "/old"))
    local list, problems = load.load(dir)
    assert.is_nil(list)
    local seen = {}
    for _, problem in ipairs(problems) do seen[problem.file:match "[^/]*$"] = problem.message end
    assert.truthy(seen["001_twin.sql"]:find("has the same number as .*0001_good%.sql"))
    assert.truthy(seen["0002-dash.sql"]:find("the name must be digits", 1, true))
    assert.truthy(seen["notes.txt"]:find("is no migration", 1, true))
    assert.truthy(seen["old"]:find("is no migration", 1, true))
    assert.truthy(seen["0003_empty.sql"]:find("no `-- migrate:up`", 1, true))
    assert.equal(5, #problems)
  end)

  it("names a directory that cannot be opened", function()
    local list, problems = load.load(dir .. "/absent")
    assert.is_nil(list)
    assert.equal(dir .. "/absent", problems[1].file)
    put "file"
    assert.equal("is not a directory", select(2, load.load(dir .. "/file"))[1].message)
  end)
end)

describe("the migrations of this repository", function()
  it("are well-formed, and every one has a way back and a verification", function()
    local list, problems = load.load "migrations"
    assert.same(nil, problems)
    assert.truthy(#list >= 3)
    for _, migration in ipairs(list) do
      assert.is_table(migration.down, migration.file)
      assert.is_table(migration.verify, migration.file)
    end
  end)
end)
