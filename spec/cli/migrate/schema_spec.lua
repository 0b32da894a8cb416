-- luphant migrate check, drift, squash, dump, load and seed: arguments, output and exit codes.

local cli = require "spec.support.cli"
local ground = require "spec.support.migration_ground"

describe("luphant migrate", function()
  local g
  before_each(function()
    g = ground.open()
    g.put("0001_a.sql", "-- migrate:up\ncreate table a (n int);\n-- migrate:down\ndrop table a;\n")
    g.put("0002_b.sql", "create table b (n int);\n")
  end)
  after_each(function() g.close() end)

  local function run(verb, ...) return cli.run({ DATABASE_URL = g.url }, "migrate", verb, ...) end
  local function in_dir(verb, ...) return run(verb, "--dir", g.dir, ...) end

  it("check: 0 when all is well, 3 when something is pending, 4 when something is wrong", function()
    local code, out = in_dir("check", "--files")
    assert.same({ 0, "2 migrations, in order\n" }, { code, out })
    code, out = in_dir "check"
    assert.same({ 3, "pending   0001_a\npending   0002_b\n2 migrations, in order\n" }, { code, out })
    in_dir "up"
    assert.equal(0, (in_dir("check", "--drift")))
    assert(g.conn:script "create table hack ()")
    code, out = in_dir("check", "--drift")
    assert.same({ 4, "drift\n+ table public.hack\n" }, { code, out })
    g.put("0001_a.sql", "select 2;\n")
    code, out = in_dir("check", "--json")
    local document = cli.documents(out)[1]
    assert.same({ 4, false, 1, 1 }, { code, document.ok, #document.problems, document.schema_version })
    assert.equal(2, (in_dir("check", "--files", "--drift")))
  end)

  it("drift: 4 and the differences, also against a file", function()
    in_dir "up"
    local path = g.folder() .. "/schema.json"
    local _, snapshot = cli.run({ DATABASE_URL = g.url }, "schema", "snapshot")
    require("luphant.testing.shell").write_file(path, snapshot)
    assert.same({ 0, "no drift\n" }, { (function(code, out) return code, out end)(in_dir "drift") })
    assert(g.conn:script "alter table a add x int")
    for _, words in ipairs { {}, { "--against", path }, { "--scratch", g.url } } do
      local code, out = in_dir("drift", words[1], words[2])
      assert.same({ 4, "+ column public.a.x" }, { code, out:match "^[^\n]*" })
    end
    local code, out = in_dir("drift", "--json", "--no-owners", "--except", "pub*")
    local document = cli.documents(out)[1]
    assert.same({ 0, false, {} }, { code, document.different, document.differences })
    assert.equal(2, (in_dir("drift", "--against", "/nowhere.json")))
  end)

  it("squash, dump, load: say what they wrote", function()
    in_dir "up"
    local path = g.folder() .. "/schema.sql"
    local code, out = run("dump", path)
    assert.same({ 0, "written   " .. path .. "\n" }, { code, out })
    code, out = run "dump"
    assert.equal(0, code)
    assert.truthy(out:find("CREATE TABLE public.a", 1, true))
    assert.equal(2, (run("dump", "--json")))
    local refused, _, message = run("load", path)
    assert.equal(1, refused)
    assert.truthy(message:find("not empty", 1, true), message)
    assert(g.conn:script "drop table a, b; drop schema luphant cascade")
    code, out = run("load", path)
    assert.same({ 0, "loaded    " .. path .. "  4 statements, 2 migrations\n" }, { code, out })
    code, out = in_dir("squash", "--remove")
    assert.equal(0, code)
    assert.equal(("written   %s/B0002__squashed.sql  stands for 2 migrations\nremoved   %s/0001_a.sql\n"
      .. "removed   %s/0002_b.sql\n"):format(g.dir, g.dir, g.dir), out)
    code, out = in_dir("squash", "--json")
    assert.same({ 1, "migration_refused" }, { code, cli.documents(out)[1].error.kind })
    assert.equal(2, (in_dir("squash", "--name", "a b")))
  end)

  it("seed: 0, and 2 where the environment is protected", function()
    local seeds = g.folder()
    g.put("a.sql", "select 1;", seeds)
    local code, out = run("seed", "--seeds", seeds)
    assert.same({ 0, "seeded    " .. seeds .. "/a.sql\n" }, { code, out })
    run("environment", "production")
    assert.equal(2, (run("seed", "--seeds", seeds)))
  end)

  it("import: says what it wrote, and what is applied", function()
    local source, target = g.folder(), g.folder()
    g.put("1_a.sql", "-- +goose Up\ncreate table a ();\n", source)
    g.put("2_b.sql", "-- +goose Up\ncreate index concurrently i on a (n);\n", source)
    local function import(...) return run("import", source, "--from", "goose", "--dir", target, ...) end
    local code, out = import "--files"
    assert.equal(0, code)
    assert.truthy(out:find("written   " .. target .. "/1_a.sql\n", 1, true), out)
    assert.matches("\nnote      .*2_b.sql:2: .*CONCURRENTLY.*\nimported  2 files, 0 of them applied here\n$", out)
    code, out = import("--files", "--json")
    assert.same({ 1, "migration_file" }, { code, cli.documents(out)[1].error.kind })
    assert.equal(2, (run("import", source)))
    assert.equal(2, (run("import", source, "--from", "make")))
  end)

  it("every verb has help with examples and exit codes, and refuses what it does not know", function()
    for _, verb in ipairs(require "luphant.cli.migrate.verbs") do
      local code, out = cli.run({}, "help", "migrate", verb)
      assert.equal(0, code)
      for _, part in ipairs { "Usage: luphant migrate " .. verb, "Examples:\n  luphant migrate ", "Exit codes: 0 " } do
        assert.truthy(out:find(part, 1, true), verb .. ": " .. part)
      end
      assert.same({ code, out }, { (function(c, o) return c, o end)(cli.run({}, "migrate", verb, "--help")) })
      assert.equal(2, (cli.run({}, "migrate", verb, "--nosuch")))
    end
  end)
end)
