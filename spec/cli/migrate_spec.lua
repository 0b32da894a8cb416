-- luphant migrate: arguments, output and exit codes; the runner itself has spec/migrate.

local core = require "luphant.core"
local env = require "spec.support.env"
local lfs = require "lfs"
local luphant = require "luphant"
local main = require "luphant.cli.main"

local function sink()
  local file = { text = "" }
  function file:write(...)
    self.text = self.text .. table.concat { ... }
    return self
  end
  return file
end

describe("luphant migrate", function()
  local conn, dir

  local function put(name, text)
    local file = assert(io.open(dir .. "/" .. name, "wb"))
    file:write(text)
    file:close()
  end

  -- The database comes from DATABASE_URL, the folder and the history's schema are ours.
  local function run(...)
    local outside = {
      out = sink(), err = sink(), is_terminal = function() return false end,
      getenv = function(name) return name == "DATABASE_URL" and env.url() or nil end,
    }
    local words = { "migrate", ... }
    words[#words + 1], words[#words + 2] = "--dir", dir
    words[#words + 1], words[#words + 2] = "--schema", "luphant_cli_spec"
    return main.run(words, outside), outside.out.text, outside.err.text
  end

  local function json(...)
    local code, out, err = run(...)
    assert.equal("", err)
    return assert(core.json_decode(out)), code
  end

  local function clean()
    assert(conn:script [[
      set client_min_messages = warning;
      drop schema if exists luphant_cli_spec cascade;
      drop table if exists luphant_cli_a;]])
  end

  before_each(function()
    conn = assert(luphant.connect(env.url()))
    clean()
    dir = os.tmpname()
    os.remove(dir)
    assert(lfs.mkdir(dir))
    put("0001_a.sql", "-- migrate:up\ncreate table luphant_cli_a (n int);\n"
      .. "-- migrate:down\ndrop table luphant_cli_a;\n")
  end)
  after_each(function()
    clean()
    conn:close()
    for entry in lfs.dir(dir) do os.remove(dir .. "/" .. entry) end
    lfs.rmdir(dir)
  end)

  it("goes up, tells the state, and comes down", function()
    local code, out = run "status"
    assert.same({ 0, "pending   0001_a\n" }, { code, out })
    code, out = run "up"
    assert.equal(0, code)
    assert.matches("^applied   0001_a  %(%d+ ms%)\n$", out)
    code, out = run "up"
    assert.same({ 0, "nothing to do\n" }, { code, out })
    code, out = run "status"
    assert.equal(0, code)
    assert.matches("^applied   0001_a  %d%d%d%d%-", out)
    code, out = run("down", "--count", "1")
    assert.same({ 0, "reverted  0001_a\n" }, { code, out })
  end)

  it("prints one JSON object", function()
    local answer, code = json("up", "--json")
    assert.equal(0, code)
    assert.equal("up", answer.action)
    assert.equal("0001", answer.migrations[1].version)
    assert.is_nil(answer.error)
    answer = json("status", "--json")
    assert.equal("applied", answer.migrations[1].state)
    local _, out = run("up", "--json")
    assert.truthy(out:find('"migrations":[]', 1, true), out)
  end)

  it("exits with 1 when a migration fails, telling what was done before it", function()
    put("0002_b.sql", "-- migrate:up\nselect nosuch;\n")
    local answer, code = json("up", "--json")
    assert.equal(1, code)
    assert.equal("0001", answer.migrations[1].version)
    assert.equal("migration_failed", answer.error.kind)
    assert.equal(2, answer.error.line)
    assert.equal("42703", answer.error.sqlstate)
    local again, out, err = run "up"
    assert.same({ 1, "" }, { again, out })
    assert.truthy(err:find("/0002_b.sql:2: migrate:up: column \"nosuch\" does not exist", 1, true), err)
  end)

  it("exits with 4 when the folder is not in order", function()
    put("bad.sql", "")
    local answer, code = json("up", "--json")
    assert.equal(4, code)
    assert.equal(1, #answer.error.problems)
    assert.equal(dir .. "/bad.sql", answer.error.problems[1].file)
  end)

  it("exits with 6 when another runner holds the lock", function()
    assert(conn:execute [[select pg_advisory_lock(x'6c7068'::int, hashtext('"luphant_cli_spec".migrations'))]])
    local code, _, err = run("up", "--lock-wait", "0")
    assert.equal(6, code)
    assert.truthy(err:find("another run of migrations is under way", 1, true), err)
  end)

  it("exits with 3 without a connection and with 2 on misuse", function()
    local code, _, err = run("up", "--database", "host=/nowhere port=1")
    assert.equal(3, code)
    assert.truthy(err:find("luphant migrate: ", 1, true))
    assert.equal(2, (run "sideways"))
    assert.equal(2, (run("down", "--count", "0")))
    assert.equal(2, (run("up", "--lock-wait", "soon")))
  end)
end)
