-- luphant migrate lint: options, formats, exit codes, --base in a real git repository, --trace on a server.

local core = require "luphant.core"
local env = require "spec.support.env"
local main = require "luphant.cli.main"
local shell = require "luphant.testing.shell"

local function sink()
  local file = { text = "" }
  function file:write(...)
    self.text = self.text .. table.concat { ... }
    return self
  end
  return file
end

local dir

local function put(name, text)
  local file = assert(io.open(dir .. "/" .. name, "wb"))
  file:write(text)
  file:close()
end

local function sh(command)
  local pipe = assert(io.popen("cd " .. shell.quote(dir) .. " && { " .. command .. "; } 2>&1; echo \" exit $?\""))
  local text = pipe:read "*a"
  pipe:close()
  assert.matches(" exit 0\n$", text)
end

local function run(...)
  local out, err = sink(), sink()
  local code = main.run({ "migrate", "lint", "--dir", dir, ... },
    { out = out, err = err, getenv = function() end, is_terminal = function() return false end })
  return code, out.text, err.text
end

local GOOD = "-- migrate:up\ncreate table t (id bigint generated always as identity primary key, a text);\n"
  .. "-- migrate:down\ndrop table t;\n"
local BAD = "-- migrate:up\nalter table t alter column a set not null;\n-- migrate:down\n"
  .. "alter table t alter column a drop not null;\n"

describe("luphant migrate lint", function()
  before_each(function()
    dir = os.tmpname()
    os.remove(dir)
    assert(os.execute("mkdir " .. shell.quote(dir)))
  end)
  after_each(function() os.execute("rm -rf " .. shell.quote(dir)) end)

  it("answers 0 for a folder without findings, 5 with, 4 when it is not in order", function()
    put("0001_t.sql", GOOD)
    assert.equal(0, (run()))
    put("0002_a.sql", BAD)
    local code, out = run()
    assert.equal(5, code)
    assert.matches("0002_a.sql:2:15: error: reads all of t", out)
    assert.is_nil(out:find "\27")
    put("0002_b.sql", BAD)
    code, out = run()
    assert.equal(4, code)
    assert.equal("", out)
  end)

  it("fails on what --fail-on says, after --rule has been heard", function()
    put("0001_t.sql", GOOD)
    put("0002_a.sql", "-- migrate:up irreversible\nalter table t alter column a set default 'x';\n")
    assert.equal(0, (run()))
    assert.equal(5, (run("--fail-on", "note")))
    assert.equal(5, (run("--rule", "short-exclusive-lock=warning")))
    assert.equal(0, (run("--rule", "short-exclusive-lock=warning", "--fail-on", "error")))
    assert.equal(0, (run("--rule", "short-exclusive-lock=off", "--fail-on", "note")))
    local code, _, err = run("--rule", "short-exclusive-lok=off")
    assert.equal(2, code)
    assert.matches('is no rule %(did you mean "short%-exclusive%-lock"', err)
    assert.equal(2, (run("--rule", "nonsense")))
  end)

  it("writes JSON, SARIF and annotations", function()
    put("0001_t.sql", GOOD)
    put("0002_a.sql", BAD)
    local _, out = run("--format", "json")
    assert.equal("set-not-null", assert(core.json_decode(out)).findings[1].rule)
    _, out = run("--json")
    assert.equal(1, assert(core.json_decode(out)).schema_version)
    _, out = run("--format", "sarif")
    assert.equal("2.1.0", assert(core.json_decode(out)).version)
    _, out = run("--format", "github")
    assert.matches("^::error file=", out)
    _, out = run("--format", "gitlab")
    assert.equal("set-not-null", assert(core.json_decode(out))[1].check_name)
    assert.equal(2, (run("--format", "xml")))
  end)

  it("judges one phase", function()
    put("0001_t.sql", GOOD)
    put("0002_a.sql", BAD)
    assert.equal(0, (run("--phase", "contract")))
    assert.equal(5, (run("--phase", "expand")))
  end)

  describe("--base", function()
    before_each(function()
      put("0001_t.sql", GOOD)
      put("0002_a.sql", BAD)
      sh "git init -q -b main . && git config user.email a@example.org && git config user.name a"
      sh "git add . && git commit -qm a"
    end)

    it("is silent about what the branch did not touch", function()
      local code, out = run("--base", "main")
      assert.equal(0, code)
      assert.equal("0 migrations: 0 errors, 0 warnings, 0 notes\n", out)
    end)

    it("judges what is new, committed or not", function()
      sh "git checkout -qb work"
      put("0003_b.sql", BAD)
      assert.equal(5, (run("--base", "main")))
      sh "git add . && git commit -qm b"
      local code, out = run("--base", "main")
      assert.equal(5, code)
      assert.is_nil(out:find "0002_a")
      assert.matches("0003_b.sql:2", out)
    end)

    it("finds a number that another branch has passed", function()
      sh "git checkout -qb work"
      put("0003_b.sql", GOOD:gsub("%f[%w]t%f[%W]", "u"))
      sh "git add . && git commit -qm b && git checkout -q main"
      put("0004_c.sql", GOOD:gsub("%f[%w]t%f[%W]", "v"))
      put("0002_a.sql", BAD .. "-- edited by others, which is not our doing\n")
      sh "git add . && git commit -qm c && git checkout -q work"
      local code, out = run("--base", "main")
      assert.equal(5, code)
      assert.matches("0003_b.sql: error: comes before 0004, which main has already %[out%-of%-order%]", out)
      assert.is_nil(out:find "0002_a")
    end)

    it("finds a migration that was edited", function()
      sh "git checkout -qb work"
      put("0001_t.sql", GOOD .. "-- more\n")
      local code, out = run("--base", "main")
      assert.equal(5, code)
      assert.matches("0001_t.sql: error: is in main already, with another text %[edited%-after%-release%]", out)
    end)

    it("says what git says when there is no such branch", function()
      local code, _, err = run("--base", "nosuch")
      assert.equal(2, code)
      assert.matches("%-%-base: .*nosuch", err)
      assert.equal(2, (run("--base", "--output=x")))
    end)
  end)

  it("--trace runs on the server that is named, and leaves no database there", function()
    put("0001_t.sql", GOOD)
    put("0002_a.sql", "-- migrate:up irreversible\nselect f();\n")
    put("0001_0_f.sql", GOOD)
    os.remove(dir .. "/0001_0_f.sql")
    local code, out = run("--trace", env.url())
    assert.equal(5, code)
    assert.matches("0002_a.sql:2:1: error: fails: function f%(%) does not exist %[fails%-in%-trace%]", out)
    local conn = assert(require("luphant").connect(env.url()))
    assert.equal(0, conn:query_value "select count(*)::int from pg_database where datname like 'luphant_scratch%'")
    conn:close()
    assert.equal(1, (run("--trace", "postgres://127.0.0.1:1/x?connect_timeout=2")))
  end)

  it("--trace alone starts a server of its own", function()
    put("0001_t.sql", GOOD)
    put("0002_a.sql", BAD)
    local code, out = run "--trace"
    assert.equal(5, code)
    assert.matches("trace: ACCESS EXCLUSIVE on t\n  trace: scanned: t", out)
  end)

  it("--database asks its catalogs", function()
    local conn = assert(require("luphant").connect(env.url()))
    assert(conn:script("drop function if exists lint_wild(); create function lint_wild() returns integer volatile "
      .. "language sql as 'select 1'"))
    put("0001_t.sql", GOOD)
    put("0002_a.sql", "-- migrate:up irreversible\nalter table t add column b integer default lint_wild();\n")
    local _, out = run()
    assert.matches("warning: adds b with a default by lint_wild%(%)", out)
    _, out = run("--database", env.url())
    assert.matches("error: adds b with a default of its own", out)
    assert(conn:execute "drop function lint_wild()")
    conn:close()
  end)

  it("has nothing to say about the migrations of this repository", function()
    local own = dir
    dir = "migrations"
    local fine, code, out = pcall(run)
    dir = own -- before anything can fail: what `dir` names is removed after each test
    assert.is_true(fine, code)
    assert.equal(0, code, out)
  end)
end)
