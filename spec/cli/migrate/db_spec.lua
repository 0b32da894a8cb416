-- luphant migrate new, db and environment.

local cli = require "spec.support.cli"
local env = require "spec.support.env"
local luphant = require "luphant"
local shell = require "luphant.testing.shell"

local unpack_of = table.unpack or unpack -- luacheck: ignore

local NAME = "luphant_db_spec"

describe("luphant migrate", function()
  local base, url, dir

  before_each(function()
    base = assert(luphant.connect(env.url()))
    assert(base:script("drop database if exists " .. NAME .. " with (force)"))
    url = env.url():gsub("(//[^/]*/)[^?]*", "%1" .. NAME)
    dir = os.tmpname()
    os.remove(dir)
  end)
  after_each(function()
    assert(base:script("drop database if exists " .. NAME .. " with (force)"))
    base:close()
    shell.run("rm -rf " .. shell.quote(dir))
  end)

  local function run(...) return cli.run({ DATABASE_URL = url }, ...) end

  local function answer(person, ...) return cli.run({ DATABASE_URL = url }, person, ...) end

  local function exists()
    return base:query_value("select exists(select from pg_database where datname = $1)", NAME)
  end

  it("new: writes a file, and says which", function()
    local code, out = run("migrate", "new", "add users", "--versions", "number", "--dir", dir)
    assert.same({ 0, dir .. "/0001_add_users.sql\n" }, { code, out })
    code, out = run("migrate", "new", "add orders", "--pair", "--json", "--dir", dir)
    assert.equal(0, code)
    local document = cli.documents(out)[1]
    assert.same({ 1, "0002", 2 }, { document.schema_version, document.version, #document.files })
    local failed, _, message = run("migrate", "new", "add users", "--dir", dir)
    assert.equal(1, failed)
    assert.truthy(message:find("0001_add_users.sql is called so already", 1, true), message)
    assert.equal(2, (run("migrate", "new", "x", "--lua", "--pair", "--dir", dir)))
    assert.equal(2, (run("migrate", "new", "x", "--version", "V1", "--dir", dir)))
  end)

  it("db create: makes it once", function()
    local code, out = run("migrate", "db", "create")
    assert.same({ 0, "created   " .. NAME .. "\n" }, { code, out })
    assert.is_true(exists())
    code, out = run("migrate", "db", "create")
    assert.same({ 0, "there     " .. NAME .. "\n" }, { code, out })
  end)

  it("db drop: asks, and does nothing unless somebody says yes", function()
    run("migrate", "db", "create")
    for _, answers in ipairs { {}, { "no" }, { "" } } do
      local code, _, message, questions = answer({ answers = answers }, "migrate", "db", "drop")
      assert.equal(2, code)
      assert.same({ "drop the database " .. NAME .. "? Type yes to go on: " }, questions)
      assert.truthy(message:find("nothing was done", 1, true), message)
      assert.is_true(exists())
    end
    local code, out = answer({ answers = { "yes" } }, "migrate", "db", "drop")
    assert.same({ 0, "dropped   " .. NAME .. "\n" }, { code, out })
    assert.is_false(exists())
    local again, absent, _, questions = run("migrate", "db", "drop", "--yes")
    assert.same({ 0, "absent    " .. NAME .. "\n", {} }, { again, absent, questions })
  end)

  -- Without --force the server refuses, after five seconds in which others might have left.
  it("db drop: ends the sessions of others with --force", function()
    run("migrate", "db", "create")
    local conn = assert(luphant.connect(url))
    assert.equal(0, (run("migrate", "db", "drop", "--yes", "--force")))
    assert.is_nil((conn:query "select 1"))
    conn:close()
  end)

  it("db drop: asks twice where the environment is protected, and --yes alone is not enough", function()
    run("migrate", "db", "create")
    local code, out = run("migrate", "environment", "production")
    assert.same({ 0, "production  protected\n" }, { code, out })
    local function drop(person, ...) return answer(person, "migrate", "db", "drop", ...) end
    assert.equal(2, (drop({}, "--yes")))
    assert.equal(2, (drop({}, "--yes", "--protected", "staging")))
    assert.equal(2, (drop({ answers = { "production", "no" } })))
    assert.equal(2, (drop({ answers = { "yes", "yes" } })))
    assert.is_true(exists())
    local done, _, _, questions = drop { answers = { "production", "yes" } }
    assert.same({ 0, 2 }, { done, #questions })
    assert.is_false(exists())
    run("migrate", "db", "create")
    run("migrate", "environment", "production")
    assert.equal(0, (drop({}, "--yes", "--protected", "production")))
  end)

  it("db reset: drops, makes and migrates", function()
    shell.run("mkdir " .. shell.quote(dir))
    shell.write_file(dir .. "/0001_a.sql", "-- migrate:up\ncreate table a (n int);\n-- migrate:down\ndrop table a;\n")
    run("migrate", "db", "create")
    local conn = assert(luphant.connect(url))
    assert(conn:script "create table left_over ()")
    conn:close()
    local code, out = run("migrate", "db", "reset", "--yes", "--dir", dir)
    assert.equal(0, code)
    assert.matches("^dropped   " .. NAME .. "\ncreated   " .. NAME .. "\napplied   0001_a  %(%d+ ms%)\n$", out)
    conn = assert(luphant.connect(url))
    assert.same({ is_a = true, is_left = false },
      conn:query_one "select to_regclass('a') is not null as is_a, to_regclass('left_over') is not null as is_left")
    conn:close()
  end)

  it("db wait: waits for a server, not for a database, and not for what waiting does not cure", function()
    local code, out = run("migrate", "db", "wait")
    assert.equal(0, code)
    assert.matches("^ready     after %d+%.%d s; the database is not there yet\n$", out)
    run("migrate", "db", "create")
    assert.matches("^ready     after %d+%.%d s\n$", (select(2, run("migrate", "db", "wait"))))
    local began = os.time()
    code = cli.run({ DATABASE_URL = "host=/nowhere dbname=x" }, "migrate", "db", "wait", "--timeout", "0.3", "--json")
    assert.equal(1, code)
    assert.is_true(os.time() - began < 30)
    local nobody = url:gsub("postgres@", "luphant_nobody@")
    began = os.time()
    assert.equal(1, (cli.run({ DATABASE_URL = nobody }, "migrate", "db", "wait", "--timeout", "60")))
    assert.is_true(os.time() - began < 30)
  end)

  it("environment: shows and says it; taking the protection away asks, too", function()
    run("migrate", "db", "create")
    local code, out = run("migrate", "environment")
    assert.same({ 0, "no name\n" }, { code, out })
    run("migrate", "environment", "staging")
    code, out = run("migrate", "environment", "--json")
    assert.equal(0, code)
    local document = cli.documents(out)[1]
    assert.same({ "staging", false }, { document.name, document.protected })
    assert.matches("protected", (select(2, run("migrate", "environment", "--protect"))))
    assert.equal(2, (run("migrate", "environment", "--unprotect")))
    code, out = run("migrate", "environment", "--unprotect", "--yes", "--protected", "staging")
    assert.same({ 0, "staging\n" }, { code, out })
    assert.equal("environment", cli.documents((select(2, run("migrate", "history", "--json"))))[1].events[1].action)
  end)

  it("down, resolve and their like ask twice in a protected environment", function()
    shell.run("mkdir " .. shell.quote(dir))
    shell.write_file(dir .. "/0001_a.sql", "-- migrate:up\ncreate table a (n int);\n-- migrate:down\ndrop table a;\n")
    run("migrate", "db", "create")
    run("migrate", "environment", "production")
    assert.equal(0, (run("migrate", "up", "--dir", dir)))
    for _, words in ipairs {
      { "down" }, { "redo" }, { "repair", "--reason", "x" }, { "skip", "0001", "--reason", "x" },
      { "resolve", "0001", "--applied", "--reason", "x" }, { "up", "--only", "0001", "--reason", "x" },
    } do
      words[#words + 1], words[#words + 2] = "--dir", dir
      local code, _, message = run("migrate", unpack_of(words))
      assert.equal(2, code, words[1])
      assert.truthy(message:find("production is protected", 1, true), message)
    end
    assert.equal(0, (run("migrate", "down", "--dry-run", "--dir", dir)))
    assert.equal(2, (run("migrate", "plan", "--down", "--trace", "--dir", dir))) -- takes locks, too
    assert.equal(0, (run("migrate", "plan", "--down", "--dir", dir)))
    assert.equal(0, (run("migrate", "down", "--yes", "--protected", "production", "--dir", dir)))
  end)
end)
