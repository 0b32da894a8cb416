-- The reader of migration files, without a database.

local lfs = require "lfs"
local load = require "luphant.migrate.load"

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

  local function problems_of(options)
    local list, problems = load.load(dir, options)
    assert.is_nil(list)
    local seen = {}
    for _, problem in ipairs(problems) do
      local name = problem.file:match "[^/]*$"
      seen[name] = (seen[name] and seen[name] .. "; " or "") .. problem.message
    end
    return seen, problems
  end

  it("lists all its problems: names, duplicates, contents", function()
    put "0001_good.sql"
    put "001_twin.sql"
    put "0002-dash.sql"
    put "notes.txt"
    put("0003_empty.sql", "")
    assert(lfs.mkdir(dir .. "/old"))
    local seen, problems = problems_of()
    assert.truthy(seen["001_twin.sql"]:find("has the same number as .*0001_good%.sql"))
    assert.truthy(seen["0002-dash.sql"]:find("did you mean 0002_dash.sql?", 1, true))
    assert.truthy(seen["notes.txt"]:find("is no migration", 1, true))
    assert.truthy(seen["old"]:find("is no migration", 1, true))
    assert.truthy(seen["0003_empty.sql"]:find("migrate:up is empty", 1, true))
    assert.equal(5, #problems)
    for i = 2, #problems do assert.is_true(problems[i - 1].file <= problems[i].file) end
  end)

  it("leaves alone what the ignore patterns name", function()
    put "0001_good.sql"
    put "notes.txt"
    put "0002-draft.sql"
    assert(lfs.mkdir(dir .. "/old"))
    assert.equal("0001", versions(assert(load.load(dir, { ignore = { "*.txt", "0002?draft*", "old/" } }))))
    local seen = problems_of { ignore = { "notes", "old" } }
    assert.is_nil(seen["old"])
    assert.is_string(seen["notes.txt"])
    assert.is_string(seen["0002-draft.sql"])
  end)

  it("reads the names of other tools, and repeatable and baseline ones", function()
    put("V1__one.sql", "select 1;")
    put("V1.2__two.sql", "select 1;")
    put("0003_three.lua", "return { up = function() end }")
    put("R__views.sql", "select 1;")
    put("B1__base.sql", "-- migrate:up replaces:1\nselect 1;")
    assert(lfs.mkdir(dir .. "/repeatable"))
    put("repeatable/grants.sql", "select 1;")
    local out = {}
    for i, migration in ipairs(assert(load.load(dir))) do
      out[i] = ("%s %s %s %s"):format(migration.kind, migration.version, migration.name, migration.language)
    end
    assert.same({
      "baseline 1 base sql", "versioned 1 one sql", "versioned 1.2 two sql", "versioned 0003 three lua",
      "repeatable grants grants sql", "repeatable views views sql",
    }, out)
    put("repeatable/views.sql", "select 1;")
    local seen = problems_of()
    assert.truthy(seen["views.sql"]:find("has the same name as", 1, true))
    os.remove(dir .. "/repeatable/views.sql")
    os.remove(dir .. "/repeatable/grants.sql")
  end)

  it("joins pairs", function()
    put("0001_a.up.sql", "-- migrate:up lock_timeout:1s\ncreate table a ();")
    put("0001_a.down.sql", "drop table a;")
    put("0002_b.up.sql", "create table b ();")
    local list = assert(load.load(dir))
    assert.equal(2, #list)
    assert.same({ "drop table a;", dir .. "/0001_a.down.sql" }, { list[1].down.text, list[1].down_file })
    assert.equal(1, list[1].options.lock_timeout)
    assert.is_nil(list[2].down)
    local before = list[1].checksum
    put("0001_a.down.sql", "drop table if exists a;")
    assert.not_equal(before, assert(load.load(dir))[1].checksum)
  end)

  it("tells halves that do not fit", function()
    put("0001_a.up.sql", "select 1;")
    put("0001_b.down.sql", "select 1;")
    put("0002_c.down.sql", "select 1;")
    put("0003_d.sql", "select 1;")
    put("0003_d.down.sql", "select 1;")
    put("0004_e.sql", "select 1;")
    put("0004_e.up.sql", "select 1;")
    local seen = problems_of()
    assert.truthy(seen["0001_b.down.sql"]:find("is called otherwise than its way there", 1, true))
    assert.truthy(seen["0002_c.down.sql"]:find("a way back without its way there", 1, true))
    assert.truthy(seen["0003_d.down.sql"]:find("one of the two is too many", 1, true))
    assert.truthy(seen["0004_e.up.sql"]:find("has the same number", 1, true))
  end)

  it("knows what belongs to which kind", function()
    put("R__a.sql", "-- migrate:up phase:contract\nselect 1;\n-- migrate:down\nselect 1;")
    put("0001_b.sql", "-- migrate:up replaces:1\nselect 1;")
    local seen = problems_of()
    assert.equal("a repeatable migration has no way back; the older text is run instead; "
      .. "a repeatable migration has no phase", seen["R__a.sql"])
    assert.equal("replaces belongs to baselines, files named B<version>__<name>", seen["0001_b.sql"])
  end)

  it("says what a migration is, with defaults", function()
    put("0001_a.sql", "select 1;")
    put("0002_b.sql", "-- migrate:up transaction:false phase:contract requires:1 vars:x irreversible\nselect ${x};")
    put("0003_c.sql", "-- migrate:up\nselect 1;\n-- migrate:down irreversible\n")
    local a, b, c = (table.unpack or unpack)(assert(load.load(dir))) -- luacheck: ignore
    assert.same({ true, "expand", {}, {}, false }, { a.transaction, a.phase, a.requires, a.vars, a.irreversible })
    assert.same({ false, "contract", { "1" }, { "x" }, true },
      { b.transaction, b.phase, b.requires, b.vars, b.irreversible })
    assert.is_true(c.irreversible)
    assert.is_nil(c.down)
  end)

  it("comes in the order of requirements, and tells circles", function()
    put("1_a.sql", "-- migrate:up requires:2\nselect 1;")
    put("2_b.sql", "select 1;")
    assert.equal("2 1", versions(assert(load.load(dir))))
    put("2_b.sql", "-- migrate:up requires:1\nselect 1;")
    local seen = problems_of()
    assert.truthy(seen["2_b.sql"]:find("1 requires 2 requires 1", 1, true))
  end)

  it("has checksums that know what changed", function()
    local function sums(text)
      put("0001_a.sql", text)
      local migration = assert(load.load(dir))[1]
      return migration.checksum, migration.statement_hash
    end
    local text = "-- migrate:up\ncreate table t (a int);\n-- migrate:down\ndrop table t;\n"
    local whole, bare = sums(text)
    assert.equal(require("luphant.core").sha256(text), whole)
    assert.same({ whole, bare }, { sums("\239\187\191" .. text:gsub("\n", "\r\n")) })
    local other, same = sums("-- why\n" .. text:gsub("a int", "a  int /* x */"))
    assert.not_equal(whole, other)
    assert.equal(bare, same)
    for _, edited in ipairs {
      text:gsub("a int", "b int"), (text:gsub("drop table t", "drop table if exists t")),
      (text:gsub("migrate:up", "migrate:up retry:false")), (text:gsub("int%);", "int); select 1;")),
      (text:gsub("migrate:down", "migrate:verify")),
    } do
      local _, statements = sums(edited)
      assert.not_equal(bare, statements, edited)
    end
  end)

  it("reads a thousand migrations in no time", function()
    for i = 1, 1000 do
      put(("%04d_m.sql"):format(i),
        "-- migrate:up\ncreate table t (a int, b text default 'x;y');\n-- migrate:down\ndrop table t;\n")
    end
    local began = os.clock()
    assert.equal(1000, #assert(load.load(dir)))
    assert.is_true(os.clock() - began < 3)
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
