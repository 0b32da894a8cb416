-- luphant.migrate.lint on real folders: which files are judged, pairs, migrations in Lua, and folders out of order.

local lint = require "luphant.migrate.lint"
local shell = require "luphant.testing.shell"

local dir

local function put(name, text)
  local file = assert(io.open(dir .. "/" .. name, "wb"))
  file:write(text)
  file:close()
  return dir .. "/" .. name
end

local function names(report)
  local out = {}
  for i, finding in ipairs(report.findings) do
    out[i] = ("%s %s:%s"):format(finding.rule, finding.file:match "[^/]*$", finding.line or "")
  end
  return table.concat(out, ", ")
end

local MADE = "create table t (id bigint generated always as identity primary key, a text, b text);\n"

describe("luphant.migrate.lint", function()
  before_each(function()
    dir = os.tmpname()
    os.remove(dir)
    assert(os.execute("mkdir " .. shell.quote(dir)))
    put("0001_t.up.sql", MADE)
    put("0001_t.down.sql", "drop table t;\n")
  end)
  after_each(function() os.execute("rm -rf " .. shell.quote(dir)) end)

  it("judges a whole folder", function()
    put("0002_a.sql", "alter table t alter column a set not null;\n")
    put("0003_b.sql", "alter table t alter column b set not null;\n")
    local report = assert(lint.dir(dir))
    assert.equal(3, report.files)
    assert.equal("no-way-back 0002_a.sql:, set-not-null 0002_a.sql:1, constraint-before-code 0002_a.sql:1, "
      .. "no-way-back 0003_b.sql:, set-not-null 0003_b.sql:1, constraint-before-code 0003_b.sql:1", names(report))
    assert.same({ error = 2, warning = 2, note = 2 }, report.counts)
  end)

  it("judges some files, with what their neighbours tell", function()
    local path = put("0002_a.sql", "-- migrate:up irreversible\nalter table t alter column a type varchar;\n")
    put("0003_b.sql", "alter table t alter column b set not null;\n")
    local report = assert(lint.files { path })
    assert.equal(1, report.files)
    assert.equal("", names(report)) -- text to varchar is free, and that a is text stands in the first file
  end)

  it("takes a way back for the migration it belongs to, and finds places in it", function()
    put("0002_a.up.sql", "alter table t add column c text;\n")
    local path = put("0002_a.down.sql", "\nset search_path = x;\nalter table t drop column b;\n")
    local report = assert(lint.files { path })
    assert.equal("setting-leaks 0002_a.down.sql:2, down-drops-more 0002_a.down.sql:3", names(report))
  end)

  it("says of a migration in Lua that it does not look inside", function()
    put("0002_a.lua", "return { up = function() end, down = function() end }\n")
    local report = assert(lint.dir(dir))
    assert.equal("hidden-ddl 0002_a.lua:", names(report))
    assert.equal("note", report.findings[1].severity)
  end)

  it("has no opinion about the way back of repeatable migrations and baselines", function()
    put("R__v.sql", "create or replace view v as select a from t;\n")
    put("B0001__base.sql", MADE)
    assert.equal("", names(assert(lint.dir(dir))))
  end)

  it("tells a folder that is not in order as the runner does", function()
    put("0002_a.sql", "select 'open;\n")
    local report, err = lint.dir(dir)
    assert.is_nil(report)
    assert.equal("migration_invalid", err.kind)
    assert.equal(1, #err.problems)
    report, err = lint.files { dir .. "/0009_nosuch.sql" }
    assert.is_nil(report)
    assert.equal("migration_invalid", err.kind)
  end)

  it("lists its rules", function()
    local list = lint.rules()
    assert.is_true(#list > 50)
    for _, rule in ipairs(list) do assert.is_truthy(rule.name and rule.severity and rule.title and rule.why) end
  end)

  it("is done with a thousand migrations in a few seconds", function()
    for i = 2, 1000 do
      put(("%04d_m.sql"):format(i), ("-- migrate:up\ncreate table t%d (id bigint primary key, a text);\n"):format(i)
        .. ("create index on t%d (a);\nalter table t%d add column b text;\n-- migrate:down\ndrop table t%d;\n")
          :format(i, i - i % 7, i))
    end
    local begun = os.clock()
    assert.equal(1000, assert(lint.dir(dir)).files)
    assert.is_true(os.clock() - begun < 10)
  end)
end)
