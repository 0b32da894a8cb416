-- luphant migrate: arguments, output and exit codes; the runner itself has spec/migrate.

local core = require "luphant.core"
local env = require "spec.support.env"
local lfs = require "lfs"
local luphant = require "luphant"
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

describe("luphant migrate", function()
  local conn, dir
  local variables = { DATABASE_URL = env.url() }

  local function put(name, text)
    local file = assert(io.open(dir .. "/" .. name, "wb"))
    file:write(text)
    file:close()
  end

  -- The database comes from DATABASE_URL, the folder and the history's schema are ours.
  local function run(...)
    local outside = {
      out = sink(), err = sink(), is_terminal = function() return false end,
      getenv = function(name) return variables[name] end,
    }
    local words = { "migrate", ... }
    words[#words + 1], words[#words + 2] = "--dir", dir
    words[#words + 1], words[#words + 2] = "--schema", "luphant_cli_spec"
    return main.run(words, outside), outside.out.text, outside.err.text
  end

  local function first_two(code, out) return code, out end

  local function json(...)
    local code, out, err = run(...)
    assert.equal("", err)
    local documents = {}
    for line in out:gmatch "[^\n]+" do documents[#documents + 1] = assert(core.json_decode(line)) end
    return documents, code
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
    assert.equal(0, code)
    assert.matches("^reverted  0001_a  %(%d+ ms%)\n$", out)
  end)

  it("prints one JSON object for what it reads, and a line for each event of what it runs", function()
    local events, code = json("up", "--json")
    assert.equal(0, code)
    local words = {}
    for i, event in ipairs(events) do words[i] = event.event end
    assert.same({ "lock_acquired", "plan", "start", "statement", "statement_done", "applied", "summary" }, words)
    assert.equal("0001", events[6].version)
    assert.same({}, events[7].not_run)
    local answer = json("status", "--json")[1]
    assert.same({ 1, "applied", true }, {
      answer.schema_version, answer.migrations[1].state, answer.migrations[1].checksum_ok,
    })
    local _, out = run("plan", "--json")
    assert.truthy(out:find('"steps":[]', 1, true), out)
    answer = json("history", "--json")[1]
    assert.equal("apply", answer.events[1].action)
  end)

  it("exits with 1 when a migration fails, with 7 when one was applied before it", function()
    put("0002_b.sql", "-- migrate:up\nselect nosuch;\n")
    local events, code = json("up", "--json")
    assert.equal(7, code)
    local err = events[#events].error
    assert.same({ "migration_failed", 2, "42703", "0001" }, { err.kind, err.line, err.sqlstate, err.done[1].version })
    local again, out, message = run "up"
    assert.same({ 1, "" }, { again, out })
    assert.truthy(message:find("/0002_b.sql:2: migrate:up: column \"nosuch\" does not exist", 1, true), message)
  end)

  it("exits with 7 when one is half done, shows what to do, resumes it", function()
    put("0002_b.sql", "-- migrate:up transaction:false\nselect 1;\nselect nosuch;\n")
    assert.equal(7, (run "up"))
    local code, _, err = run "up"
    assert.equal(4, code)
    assert.truthy(err:find("failed at statement 2 of 2", 1, true), err)
    assert.equal(4, (run("status", "--exit-code")))
    put("0002_b.sql", "-- migrate:up transaction:false\nselect 1;\nselect 2;\n")
    local out
    code, out = run("resume", "0002", "--from", "2")
    assert.equal(0, code)
    assert.matches("^applied   0002_b", out)
  end)

  it("tells by its exit code whether something is pending", function()
    assert.same({ 0, 3 }, { (run "status"), (run("status", "--exit-code")) })
    run "up"
    assert.equal(0, (run("status", "--exit-code")))
  end)

  it("shows a plan, and runs only that", function()
    local code, out = run("plan", "--sql")
    assert.equal(0, code)
    assert.truthy(out:find("apply     0001_a\n\ncreate table luphant_cli_a (n int);", 1, true), out)
    local hash = out:match "plan hash (%x+)\n"
    assert.equal(out, (select(2, run("up", "--dry-run"))))
    assert.equal(4, (run("up", "--plan-hash", ("0"):rep(64))))
    assert.equal(0, (run("up", "--plan-hash", hash)))
    out = select(2, run("plan", "--down", "--sql"))
    assert.truthy(out:find("revert    0001_a\n\ndrop table luphant_cli_a;", 1, true), out)
  end)

  it("runs a plan and rolls it back with --trace, and says what each statement did", function()
    put("0002_b.sql", "-- migrate:up\nalter table luphant_cli_a add column m int default random();\n")
    local code, out = run("up", "--dry-run", "--trace")
    assert.equal(0, code)
    assert.matches("add column m int default random%(%);\n%-%- %d+ ms; ACCESS EXCLUSIVE on luphant_cli_a; "
      .. "rewritten: luphant_cli_a; scanned: luphant_cli_a\n", out)
    local answer = json("plan", "--trace", "--json")[1]
    assert.same({ "luphant_cli_a" }, answer.steps[2].statements[1].trace.rewritten)
    assert.equal("AccessExclusiveLock", answer.steps[2].statements[1].locks[1].mode)
    local rules = {}
    for _, finding in ipairs(answer.findings) do rules[finding.rule .. " " .. finding.file:match "[^/]*$"] = true end
    assert.is_true(rules["volatile-default 0002_b.sql"])
    put("0003_c.sql", "select nosuch;\n")
    local err
    code, out, err = run("plan", "--trace")
    assert.equal(1, code)
    assert.truthy(out:find("apply     0003_c\n\nselect nosuch;\n\n", 1, true), out)
    assert.truthy(err:find("0003_c.sql:1: migrate:up: column \"nosuch\" does not exist", 1, true), err)
    assert.equal(2, (run("up", "--trace")))
    assert.equal(2, (run("plan", "--trace", "postgres:///x")))
    assert.is_nil(conn:query_value "select to_regclass('luphant_cli_a')::text")
  end)

  it("sets the history right, with a reason, and tells it", function()
    put("0002_b.sql", "select 1;\n")
    put("0003_c.sql", "select 1;\n")
    assert.equal(2, (run("skip", "0001")))
    assert.equal(2, (run("resolve", "0001", "--reason", "x")))
    assert.equal(2, (run("up", "--only", "0001")))
    assert.equal(2, (run("resume")))
    assert.equal(2, (run("up", "0001")))
    assert.equal(2, (run("up", "--var", "x")))
    assert.same({ 0, "skipped   0001_a\n" }, { first_two(run("skip", "0001", "--reason", "not here")) })
    assert.same({ 0, "resolved  0002_b\n" }, { first_two(run("resolve", "2", "--applied", "--reason", "by hand")) })
    put("0002_b.sql", "select 2;\n")
    local edited = "edited    0002_b\n          migrate:up statement 1 (line 1): edited\n            select 2\n"
    assert.same({ 0, edited }, { first_two(run("repair", "--dry-run")) })
    assert.same({ 0, edited .. "repaired  0002_b\n" }, { first_two(run("repair", "--reason", "typo")) })
    local _, out = run("history", "--limit", "2")
    assert.matches("^%S+  repair    0002_b  by %S+  typo\n%S+  resolve   0002_b  by %S+  by hand\n$", out)
    _, out = run "status"
    assert.matches("^skipped   0001_a  .*\napplied   0002_b  .*\npending   0003_c\n$", out)
  end)

  it("begins with a baseline, and does the last one again", function()
    put("0002_b.sql", "-- migrate:up\nselect 1;\n-- migrate:down\nselect 1;\n")
    assert.same({ 0, "baseline  B0001_baseline\n" }, { first_two(run("baseline", "0001")) })
    assert.matches("^applied   0002_b", select(2, run "up"))
    assert.matches("^reverted  0002_b.*\napplied   0002_b", select(2, run "redo"))
  end)

  it("migrates many tenants", function()
    assert(conn:script "create schema luphant_cli_t1; create schema luphant_cli_t2")
    finally(function() assert(conn:script "drop schema luphant_cli_t1 cascade; drop schema luphant_cli_t2 cascade") end)
    local names = "luphant_cli_t1,luphant_cli_t2"
    assert.same({ 3, "pending   0001_a in luphant_cli_t1\npending   0001_a in luphant_cli_t2\n" },
      { first_two(run("status", "--tenants", names, "--exit-code")) })
    local code, out = run("up", "--tenants", names)
    assert.equal(0, code)
    assert.matches("^applied   0001_a in luphant_cli_t1  %(%d+ ms%)\napplied   0001_a in luphant_cli_t2", out)
    assert.same({ 0, "current   luphant_cli_t1\ncurrent   luphant_cli_t2\n" }, { first_two(run("status",
      "--tenants-query", "select nspname from pg_namespace where nspname ~ '^luphant_cli_t' order by 1")) })
    put("0002_b.sql", "select 1 / (current_schema = 'luphant_cli_t1')::int;\n")
    local documents
    documents, code = json("up", "--tenants", names, "--json")
    assert.equal(7, code)
    assert.equal("22012", documents[#documents].error.tenants[2].error.sqlstate)
    assert.equal(2, (run("down", "--tenants", names)))
  end)

  it("migrates several tenants at once, keeps the lines of each together, and sums up", function()
    local function drop()
      assert(conn:script [[
        set client_min_messages = warning;
        drop schema if exists luphant_cli_t1, luphant_cli_t2, luphant_cli_t3, luphant_cli_t4 cascade]])
    end
    finally(drop)
    drop()
    put("0002_b.sql", "select 1;\nselect 1 / (current_schema <> 'luphant_cli_t2')::int;\n")
    local names = "luphant_cli_t1,luphant_cli_t2,luphant_cli_t3"
    local both = { out = sink() }
    both.err = both.out
    local code = main.run({ "migrate", "up", "--tenants", names, "--jobs", "3", "--create-tenants", "--dir", dir,
      "--continue-on-error", "--schema", "luphant_cli_spec" }, {
      out = both.out, err = both.err, is_terminal = function() return false end,
      getenv = function(name) return variables[name] end,
    })
    assert.equal(7, code)
    local text = both.out.text:gsub("%(%d+ ms%)", "(4 ms)")
    for _, n in ipairs { 1, 3 } do
      assert.truthy(text:find(("created   luphant_cli_t%d\napplied   0001_a in luphant_cli_t%d  (4 ms)\n"
        .. "applied   0002_b in luphant_cli_t%d  (4 ms)\n"):format(n, n, n), 1, true), text)
    end
    assert.truthy(text:find("(4 ms)\nfailed    luphant_cli_t2: " .. dir .. "/0002_b.sql:2: ", 1, true), text)
    assert.truthy(text:find("\ntenants   2 done, 1 failed, 0 not run\nluphant migrate: migration_tenants:", 1, true),
      text)
    -- Without a tenant none of it has a meaning.
    assert.same({ 2, "" }, { first_two(run("up", "--jobs", "2")) })
    local out
    put("0002_b.sql", "select 2;\n")
    code, out = run("up", "--tenants", "luphant_cli_t4", "--template", "luphant_cli_t1")
    assert.same({ 1, "created   luphant_cli_t4  as a copy of luphant_cli_t1\ntenants   0 done, 1 failed, 0 not run\n" },
      { code, out }) -- the file is another one now
    assert.equal(0, (run("repair", "--tenant", "luphant_cli_t4", "--reason", "test")))
    assert.same({ 0, "tenants   1 done, 0 failed, 0 not run\n" },
      { first_two(run("up", "--tenants", "luphant_cli_t4")) })
  end)

  it("goes past the pooler with LUPHANT_MIGRATION_URL", function()
    variables.LUPHANT_MIGRATION_URL = "host=/nowhere port=1"
    local code, _, err = run "status"
    variables.LUPHANT_MIGRATION_URL = nil
    assert.equal(1, code)
    assert.truthy(err:find("/nowhere", 1, true), err)
  end)

  -- Runs `up` in a process of its own, and `script` beside it, with the process in $pid; as soon as it sleeps in the
  -- server. Answers what it printed and its exit code.
  local function beside(script)
    local command = ("cd %s && LUA_PATH=%s LUA_CPATH=%s DATABASE_URL=%s %s %s migrate up --dir %s --schema "
      .. "luphant_cli_spec 2>&1 & pid=$!; %s; wait $pid; echo exit $?"):format(
      shell.quote(lfs.currentdir()), shell.quote(package.path), shell.quote(package.cpath), shell.quote(env.url()),
      env.lua(), "bin/luphant", shell.quote(dir), script)
    local pipe = io.popen(command)
    local out = pipe:read "*a"
    pipe:close()
    local text, code = out:match "^(.*)exit (%d+)\n$"
    return text, tonumber(code)
  end
  local ASLEEP = ("until [ \"$(%s -Atc \"select count(*) from pg_stat_activity where query like '%%pg_sleep(7.%%' "
    .. "and state = 'active' and pid <> pg_backend_pid()\" %s)\" = 1 ]; do sleep 0.05; done"):format(
    shell.quote(env.bin_dir() .. "/psql"), shell.quote(env.url()))

  for name, code_of in pairs { INT = 130, TERM = 143, HUP = 129 } do
    it(("is ended by SIG%s: the statement is cancelled, and the exit code is %d"):format(name, code_of), function()
      put("0002_b.sql", "create table luphant_cli_b ();\nselect pg_sleep(7.25);\n")
      put("0003_c.sql", "create table luphant_cli_c ();\n")
      local began = core.now()
      local out, code = beside(("%s; kill -%s $pid"):format(ASLEEP, name))
      assert.equal(code_of, code, out)
      assert.is_true(core.now() - began < 7)
      assert.truthy(out:find("applied   0001_a", 1, true), out)
      assert.truthy(out:find("not run   0003_c", 1, true), out)
      assert.truthy(out:find("stopped on request", 1, true), out)
      assert.is_nil(conn:query_value "select to_regclass('luphant_cli_b')::text")
    end)
  end

  it("waits for a statement outside of a transaction before it ends, unless it is told twice", function()
    put("0002_b.sql", "-- migrate:up transaction:false\nselect pg_sleep(7.5 / 10);\nselect 2;\n")
    local asleep = ASLEEP:gsub("7%.", "7.5")
    local out, code = beside(asleep .. "; kill -TERM $pid")
    assert.equal(143, code, out)
    assert.equal(1, conn:query_value "select statements_done from luphant_cli_spec.migrations where version = '0002'")
    assert.equal("failed", conn:query_value "select state from luphant_cli_spec.migrations where version = '0002'")
    assert.equal(0, run("resume", "2"))
    put("0003_c.sql", "-- migrate:up transaction:false\nselect pg_sleep(7.75);\n")
    local began = core.now()
    out, code = beside(ASLEEP .. "; kill -TERM $pid; sleep 0.6; kill -TERM $pid")
    assert.equal(143, code, out)
    assert.is_true(core.now() - began < 6)
  end)

  it("exits with 4 when the folder is not in order", function()
    put("bad.sql", "")
    local answer, code = json("up", "--json")
    assert.equal(4, code)
    assert.equal("error", answer[1].event)
    assert.equal(1, #answer[1].error.problems)
    assert.equal(dir .. "/bad.sql", answer[1].error.problems[1].file)
  end)

  it("exits with 6 when another runner holds the lock", function()
    assert(conn:execute [[select pg_advisory_lock(x'6c7068'::int, hashtext('"luphant_cli_spec".migrations'))]])
    local code, _, err = run("up", "--lock-wait", "0")
    assert.equal(6, code)
    assert.truthy(err:find("another run of migrations is under way", 1, true), err)
  end)

  it("exits with 1 without a connection and with 2 on misuse", function()
    local code, _, err = run("up", "--database", "host=/nowhere port=1")
    assert.equal(1, code)
    assert.truthy(err:find("luphant migrate: ", 1, true))
    assert.equal(2, (run "sideways"))
    assert.equal(2, (run("down", "--count", "0")))
    assert.equal(2, (run("up", "--lock-wait", "soon")))
  end)
end)
