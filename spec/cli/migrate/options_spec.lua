-- Options of `luphant migrate` that are about how it is told, where it goes, and what it dares.

local cli = require "spec.support.cli"
local compat = require "luphant.compat"
local core = require "luphant.core"
local dotenv = require "luphant.cli.dotenv"
local ground = require "spec.support.migration_ground"

describe("luphant migrate", function()
  local g

  before_each(function()
    g = ground.open()
    g.put("0001_users.sql", "-- migrate:up\ncreate table users (id bigint primary key, name text);\n"
      .. "insert into users select i, 'u' || i from generate_series(1, 50) i;\n-- migrate:down\ndrop table users;\n")
  end)
  after_each(function() g.close() end)

  local function place(verb, ...)
    if verb == "environment" then return ... end
    return "--dir", g.dir, ...
  end

  local function second(_, out) return out end

  -- Answers the exit code, what it printed and what it told beside. The folder is this test's.
  local function run(verb, ...)
    local code, out, err = cli.run({ DATABASE_URL = g.url }, {}, "migrate", verb, place(verb, ...))
    return code, out, err
  end

  local function code_and_err(code, _, err) return code, err end

  -- ---- how much it tells --------------------------------------------------------------------------------------

  it("tells nothing but trouble with --quiet, and each statement with --verbose", function()
    local code, out, err = run("up", "--quiet")
    assert.same({ 0, "", "" }, { code, out, err })
    assert.same({ 0, "", "" }, { run("up", "--quiet") })
    g.put("0002_b.sql", "do $$ begin raise notice 'hello'; end $$;\nupdate users\n   set name = 'x' where id < 4;\n")
    code, out, err = run("up", "--verbose")
    assert.equal(0, code)
    assert.matches("^applied   0002_b  %(%d+ ms%)\n$", out)
    assert.truthy(err:find("statement 0002_b up 2 of 2 (line 2): update users set name = 'x' where id < 4\n", 1, true),
      err)
    assert.matches("done, 3 rows  %(%d+ ms%)\n", err)
    assert.truthy(err:find("notice    hello\n", 1, true), err)
    g.put("0003_c.sql", "set work_mem = '1MB';\nselect 1 / 0;\n")
    code, out, err = run("up", "--quiet")
    assert.same({ 1, "" }, { code, out })
    assert.truthy(err:find("division by zero", 1, true), err)
    assert.same({ 2, "luphant migrate: --quiet and --verbose exclude each other\n" },
      { code_and_err(run("up", "--quiet", "--verbose")) })
  end)

  -- ---- variables from a file ----------------------------------------------------------------------------------

  it("takes its variables from a file where the environment lacks them", function()
    local file = g.folder() .. "/env"
    local function with(text, variables, ...)
      local handle = assert(io.open(file, "wb"))
      handle:write(text)
      handle:close()
      local code, out, err = cli.run(variables, {}, "migrate", "status", "--dir", g.dir, "--env-file", file, ...)
      return code, out, err
    end
    assert.same({ 0, "pending   0001_users\n", "" }, { with("# here\nexport DATABASE_URL='" .. g.url .. "'\n", {}) })
    assert.equal(1, (with("DATABASE_URL=" .. g.url .. "\n", { DATABASE_URL = "host=/nowhere" }))) -- that one wins
    assert.equal(0, (with("LUPHANT_MIGRATION_URL=" .. g.url .. "\n", { DATABASE_URL = "host=/nowhere" })))
    local target = g.conn:target()
    assert.equal(0, (with(("PGHOST=%s\nPGPORT=%s\nPGDATABASE=%s\nPGUSER=%s\n"):format(target.host, target.port,
      g.dbname, target.user), {})))
    local code, _, err = with("DATABASE_URL=\"" .. g.url .. "\nsecret stuff\n", {})
    assert.same({ 2, ("luphant: migrate status: --env-file: %s:1: a quote is not closed\n"):format(file) },
      { code, err })
    code, _, err = cli.run({}, {}, "migrate", "status", "--env-file", "/nowhere/env")
    assert.equal(2, code)
    assert.truthy(err:find("/nowhere/env", 1, true), err)
    code = with("DATABASE_URL=" .. g.url .. "\n", { PGHOST = "/nowhere", DATABASE_URL = "host=/nowhere" },
      "--no-dotenv")
    assert.equal(1, code)
  end)

  it("reads .env where it is started, but for --no-dotenv", function()
    local here = g.folder()
    g.put(".env", "DATABASE_URL=" .. g.url .. "\n", here)
    local env, shell = require "spec.support.env", require "luphant.testing.shell"
    local root = require("lfs").currentdir()
    local function at(...)
      return (shell.run(("cd %s && env -u DATABASE_URL PGHOST=/nowhere LUA_PATH=%s LUA_CPATH=%s %s %s migrate status "
        .. "--dir %s %s 2>&1; echo $?"):format(here, shell.quote(package.path), shell.quote(package.cpath), env.lua(),
          shell.quote(root .. "/bin/luphant"), g.dir, table.concat({ ... }, " "))))
    end
    assert.equal("pending   0001_users\n0", (at():gsub("%s+$", "")))
    assert.matches("1%s*$", at "--no-dotenv")
    os.remove(here .. "/.env")
  end)

  it("reads values as shells write them, and no others", function()
    local values = assert(dotenv.parse(table.concat({
      "A=1 ", "  export B = two words # comment", 'C="x # \\"y\\"\\n"', "D='$A \\n' # c", "E=", 'F=""', "", "# G=1",
      "H=a#b",
    }, "\r\n")))
    assert.same({ A = "1", B = "two words", C = 'x # "y"\n', D = "$A \\n", E = "", F = "", H = "a#b" }, values)
    for text, complaint in pairs {
      ["A"] = "1: is no NAME=value", ["A=1\n2B=3"] = "2: is no NAME=value", ["A='x"] = "1: a quote is not closed",
      ['A="x" y'] = "1: something stands behind the closing quote",
    } do
      assert.same({ nil, complaint }, { dotenv.parse(text) })
    end
  end)

  -- ---- how many, and finish -----------------------------------------------------------------------------------

  it("takes a number of migrations behind up and down, and none that may be a version", function()
    g.put("0002_b.sql", "-- migrate:up\nselect 2;\n-- migrate:down\nselect 2;\n")
    g.put("0003_c.sql", "-- migrate:up\nselect 3;\n-- migrate:down\nselect 3;\n")
    g.put("0011_d.sql", "-- migrate:up\nselect 11;\n-- migrate:down\nselect 11;\n")
    local _, message = code_and_err(run("up", "2"))
    assert.equal("luphant migrate: 2 may be a number of migrations or a version: say --count 2 or --to 2\n", message)
    assert.matches("^applied   0001_users.*applied   0011_d", second(run("up", "4")))
    assert.matches("^reverted  0011_d  %(%d+ ms%)\nreverted  0003_c  .-\nreverted  0002_b  .-\nreverted  0001_users",
      second(run("down", "4")))
    for _, wrong in ipairs { { "up", "0002" }, { "down", "20260731094500" }, { "up", "4", "--count", "1" },
      { "down", "x" }, { "status", "4" } } do
      assert.equal(2, (run(compat.unpack(wrong))))
    end
    assert.same({}, g.actions("9999"))
  end)

  it("finishes a deployment", function()
    g.put("0002_b.sql", "-- migrate:up phase:contract\nalter table users drop column name;\n"
      .. "-- migrate:down irreversible\n")
    assert.matches("^applied   0001_users[^\n]*\n$", second(run "up"))
    assert.matches("^applied   0002_b[^\n]*\n$", second(run "finish"))
  end)

  -- ---- hazards ------------------------------------------------------------------------------------------------

  it("refuses in a protected environment what the linter calls an error, unless it is allowed", function()
    assert.equal(0, (run "up"))
    g.put("0002_b.sql", "-- migrate:up\nalter table users alter column name type varchar(10);\n"
      .. "-- migrate:down\nalter table users alter column name type text;\n")
    local code, _, err = run("up", "--refuse-hazards")
    assert.equal(5, code)
    assert.truthy(err:find("/0002_b.sql:2: changes the type of name", 1, true), err)
    assert.truthy(err:find("--allow-hazards change-column-type", 1, true), err)
    assert.equal(0, (run("environment", "production")))
    assert.equal(5, (run "up"))
    local documents
    code, documents = (function(c, out) return c, cli.documents(out) end)(run("up", "--json"))
    local told = documents[#documents].error
    assert.same({ 5, "migration_hazard", "change-column-type", 2 },
      { code, told.kind, told.findings[1].rule, told.findings[1].line })
    assert.equal(5, (run("up", "--allow-hazards", "set-not-null")))
    assert.equal(2, (run("up", "--allow-hazards", "set-not-nul")))
    assert.same({ 0, true }, { (run("up", "--allow-hazards", "set-not-null,change-column-type")),
      g.row("0002").state == "applied" })
    -- Allowed in the file is allowed; what is small enough is none.
    g.put("0003_c.sql", "-- migrate:up\n-- migrate:allow change-column-type: fifty rows\n"
      .. "alter table users alter column name type char(10);\n-- migrate:down\nselect 1;\n")
    assert.equal(0, (run "up"))
    -- On the way back nothing is judged: it was applied once.
    assert.equal(0, (run("down", "--to", "2", "--yes", "--protected", "production")))
  end)

  it("shows what a plan is known to do, with the rows of this database or of another one", function()
    assert.equal(0, (run "up"))
    assert(g.conn:script "analyze users")
    g.put("0002_b.sql", "-- migrate:up\nalter table users alter column name type varchar(10);\n"
      .. "alter table users add column x int;\n-- migrate:down\nselect 1;\n")
    local _, out = run("plan", "--sql")
    assert.truthy(out:find("-- ACCESS EXCLUSIVE on users, rewrite of about 50 rows; hazards: change-column-type\n", 1,
      true), out)
    local function statements(...)
      return cli.documents(second(run("plan", "--json", ...)))[1].steps[1].statements
    end
    local list = statements()
    assert.same({ 50, true, true, { "change-column-type" } },
      { list[1].rows_estimate, list[1].rewrite, list[1].scan, { list[1].hazards[1] } })
    assert.same({ "users", "AccessExclusiveLock", "reads and writes", "rewrite", 50 }, { list[1].locks[1].relation,
      list[1].locks[1].mode, list[1].locks[1].blocks, list[1].locks[1].work, list[1].locks[1].rows_estimate })
    assert.same({ 50, false, false, 0 }, { list[2].rows_estimate, list[2].rewrite, list[2].scan, #list[2].hazards })
    local of = {}
    for _, said in ipairs(list[1].lint) do of[said.rule] = said end
    assert.same({ "error", "string" }, { of["change-column-type"].severity, type(of["change-column-type"].message) })
    for _, said in ipairs(list[2].lint) do assert.not_equal("error", said.severity) end
    local stats = g.folder() .. "/stats.json"
    local handle = assert(io.open(stats, "wb"))
    handle:write(core.json_encode { ["public.users"] = 12000000 })
    handle:close()
    assert.equal(12000000, statements("--stats-file", stats)[1].rows_estimate)
    assert.equal(2, (run("plan", "--sql", "--stats-file", g.dir .. "/0001_users.sql")))
    assert.equal(2, (run("plan", "--sql", "--stats-file", "/nowhere")))
  end)
end)
