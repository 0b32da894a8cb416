-- luphant.testing.migrations and luphant migrate test. To see it fail: let walk.lua compare a snapshot with itself, let
-- kill.lua send no signal, or leave the lock out of the runner.

local cli = require "spec.support.cli"
local env = require "spec.support.env"
local lfs = require "lfs"
local luphant = require "luphant"
local migrations = require "luphant.testing.migrations"
local shell = require "luphant.testing.shell"

local GOOD = {
  ["0001_a.sql"] = "-- migrate:up\ncreate table a (n int);\n-- migrate:down\ndrop table a;\n",
  ["0002_b.sql"] = "-- migrate:up\nalter table a add m int;\nupdate a set m = n;\n"
    .. "-- migrate:down\nalter table a drop m;\n",
  ["R__v.sql"] = "create or replace view v as select n from a;\n",
}

describe("a test of migrations", function()
  local root, dir, data
  before_each(function()
    root = os.tmpname()
    os.remove(root)
    dir, data = root .. "/migrations", root .. "/data"
    for _, folder in ipairs { root, dir, data } do assert(lfs.mkdir(folder)) end
  end)
  after_each(function() shell.run("rm -rf " .. shell.quote(root)) end)

  local function put(files)
    for name, text in pairs(files) do shell.write_file(dir .. "/" .. name, text) end
  end

  local function try(more)
    local opts = { dir = dir, data = data, server = env.url(), phases = { "walk" } }
    for name, value in pairs(more or {}) do opts[name] = value end
    return assert(migrations.test(opts))
  end

  local function messages(report)
    local out = {}
    for i, finding in ipairs(report.findings) do
      out[i] = ("%s %s %s: %s"):format(finding.severity, finding.phase, finding.version or "all", finding.message)
    end
    return table.concat(out, "\n")
  end

  local function assert_says(report, ...)
    local text = messages(report)
    for _, part in ipairs { ... } do assert.truthy(text:find(part, 1, true), text) end
    return text
  end

  it("finds nothing where nothing is wrong, and leaves no database behind", function()
    put(GOOD)
    local events = {}
    local report = try { phases = { "walk", "race" }, on_event = function(e) events[#events + 1] = e.event end }
    assert.equal("", messages(report))
    assert.same({ true, 3, 2, 0 }, { report.ok, report.migrations, report.downs, report.kills })
    assert.same({ "phase", "migrated", "migrated", "migrated", "phase", "summary" }, events)
    local conn = assert(luphant.connect(env.url()))
    assert.equal(0, conn:query_value "select count(*)::int4 from pg_database where datname like 'luphant_scratch%'")
    conn:close()
  end)

  it("runs hooks where it tries migrations out, and makes another template when one of them changes", function()
    put(GOOD)
    assert(lfs.mkdir(dir .. "/hooks"))
    put { ["hooks/after_each.lua"] = "return function(_, event) assert(event.scratch) end\n" }
    assert.equal("", messages(try { phases = { "walk", "race" } }))
    put { ["hooks/before_each.sql"] = "select nowhere from nothing;\n" }
    assert_says(try {}, "hook before_each")
    local names = {}
    for i, text in ipairs { "one", "two" } do
      put { ["hooks/before_each.sql"] = ("comment on schema public is '%s';\n"):format(text) }
      local database = assert(migrations.database { dir = dir, server = env.url() })
      local conn = assert(database:connect())
      names[i] = conn:query_value "select obj_description('public'::regnamespace, 'pg_namespace')"
      conn:close()
      database:close()
    end
    assert.same({ "one", "two" }, names)
    assert.equal(2, migrations.forget(env.url()))
  end)

  it("finds ways back that leave traces, fail, cannot be gone twice, or are not there", function()
    put(GOOD)
    put {
      ["0003_trace.sql"] = "-- migrate:up\ncreate table c (n int); create type t as enum ('x');\n"
        .. "-- migrate:down\ndrop table c;\n",
      ["0004_fails.sql"] = "-- migrate:up\ncreate table d (n int);\n-- migrate:down\ndrop table nosuch;\n",
      ["0005_none.sql"] = "create table e (n int);\n",
      ["0006_meant.sql"] = "-- migrate:up irreversible\ncreate table f (n int);\n",
      ["R__once.sql"] = "create view once as select 1 as n;\n",
    }
    local report = try()
    assert.is_false(report.ok)
    assert_says(report, "error walk 0003: the way back leaves something else than was there:\n+ enum public.t",
      "error walk 0004: the way back fails", "warning walk 0005: has no way back",
      "error walk once: is repeatable, but cannot be run again")
    assert.is_nil(messages(report):find("0006", 1, true))
  end)

  it("finds what differs when all are applied at once: a baseline that stands for something else", function()
    put(GOOD)
    put { ["B0002__base.sql"] = "create table a (n int, m bigint);\n" }
    assert_says(try(), "error walk all: all at once they make something else than one by one:\n~ column public.a.m")
  end)

  it("runs with rows: before, behind, and behind the way back", function()
    put(GOOD)
    local function row_file(name, text) shell.write_file(data .. "/" .. name, text) end
    row_file("start.sql", "create table start ();")
    row_file("0002.before.sql", "insert into a values (1), (2);")
    row_file("0002.after.sql", "select count(*) = 2 from a where m = n; select to_regclass('start') is not null;")
    row_file("0002.down.sql", "select count(*) = 2 from a;")
    assert.equal("", messages(try()))
    row_file("2.after.sql", "")
    os.remove(data .. "/2.after.sql")
    row_file("0002.down.sql", "select count(*) = 3 as three from a;")
    assert_says(try(), "0002.down.sql:1: answered three = false")
    put { ["0002_b.sql"] = "alter table a add m int not null;\n" }
    assert_says(try(), "error walk 0002: cannot be applied", "contains null values")
    row_file("0009.after.sql", "select true;")
    row_file("0002.later.sql", "select true;")
    local report, err = migrations.test { dir = dir, data = data, server = env.url() }
    assert.is_nil(report)
    assert.truthy(err.message:find("there is no migration 0009", 1, true), err.message)
    assert.truthy(err.message:find("0002.later.sql: is no fixture", 1, true), err.message)
  end)

  it("kills the runner at every statement, and tells which statement would be in doubt", function()
    put {
      ["0001_a.sql"] = "create table a (n int);\n",
      ["0002_b.sql"] = "-- migrate:up transaction:false\ncreate table b (n int);\n"
        .. "create index concurrently if not exists i on b (n);\n",
    }
    local at = {}
    local report = try {
      phases = { "kill" },
      on_event = function(e) at[#at + 1] = e.event == "kill" and e.version .. " " .. e.at or nil end,
    }
    assert.same({
      "0001 killed inside statement 1 of 1", "0001 killed behind statement 1 of 1", "0001 killed behind its COMMIT",
      "0002 killed before statement 1 of 2", "0002 killed inside statement 1 of 2",
      "0002 killed behind statement 1 of 2", "0002 killed before statement 2 of 2",
      "0002 killed inside statement 2 of 2", "0002 killed behind statement 2 of 2", "0002 killed behind its COMMIT",
    }, at)
    assert.equal(messages(report), table.concat({
      "warning kill 0002: killed inside statement 1 nobody can know whether it ended, and it cannot just be run again; "
        .. "if [not] exists would help",
      "warning kill 0002: killed behind statement 1 nobody can know whether it ended, and it cannot just be run again; "
        .. "if [not] exists would help" }, "\n"))
    assert.same({ true, 10, 3, 2 }, { report.ok, report.kills, report.insides, #report.findings })
  end)

  it("finds what cannot be run again after a kill, and looks only where it is told to", function()
    put {
      ["0001_a.sql"] = "create table a (n int);\n",
      ["0002_b.lua"] = "return { transaction = false, up = function(db) assert(db:execute 'create table b ()')\n"
        .. "  assert(db:execute 'create table c ()') end }\n",
    }
    assert.equal("", messages(try { phases = { "kill" }, only = { "2" } }), "killed before it did anything")
    local report = try { phases = { "kill" }, only = { "0001" } }
    assert.same({ true, 3 }, { report.ok, report.kills })
  end)

  it("kills on the way back, in the middle of dropping an index, with rows that have to be right then", function()
    put {
      ["0001_a.sql"] = "create table a (n int primary key, m int);\n",
      ["0002_b.sql"] = "-- migrate:up\nupdate a set m = coalesce(m, 0) + 1;\n-- migrate:down\n"
        .. "update a set m = m - 1;\n",
      ["0003_c.sql"] = "-- migrate:up transaction:false\ncreate index concurrently if not exists i on a (m);\n"
        .. "-- migrate:down transaction:false\ndrop index concurrently if exists i;\n",
    }
    shell.write_file(data .. "/0002.before.sql", "insert into a values (1, 1), (2, 2);")
    shell.write_file(data .. "/0002.after.sql", "select sum(m) = 5 from a;")
    shell.write_file(data .. "/0002.down.sql", "select sum(m) = 3 from a;")
    local at = {}
    local report = try {
      phases = { "kill" }, only = { "0002", "0003" },
      on_event = function(e) at[#at + 1] = e.event == "kill" and e.version .. " " .. e.at or nil end,
    }
    assert.equal("", messages(report))
    assert.same({
      "0002 killed inside statement 1 of 1", "0002 killed behind statement 1 of 1", "0002 killed behind its COMMIT",
      "0002 killed inside statement 1 of 1 on the way back", "0002 killed behind statement 1 of 1 on the way back",
      "0002 killed behind its COMMIT on the way back",
      "0003 killed before statement 1 of 1", "0003 killed inside statement 1 of 1",
      "0003 killed behind statement 1 of 1", "0003 killed behind its COMMIT",
      "0003 killed before statement 1 of 1 on the way back", "0003 killed inside statement 1 of 1 on the way back",
      "0003 killed behind statement 1 of 1 on the way back", "0003 killed behind its COMMIT on the way back",
    }, at)
    assert.same({ true, 14, 4 }, { report.ok, report.kills, report.insides })
    if os.getenv "ASAN_OPTIONS" then return end -- the same again, for nothing new to a sanitizer
    shell.write_file(data .. "/0002.after.sql", "select sum(m) = 4 from a;")
    assert_says(try { phases = { "kill" }, only = { "0002" } },
      "error kill 0002: killed inside statement 1 of 1: run again, the rows of the test: ")
  end)

  it("measures statements on a copy of a filled database, and finds locks that are held too long", function()
    put { ["0001_a.sql"] = "create table a (n int);\n" }
    local conn = assert(luphant.connect(env.url()))
    assert(conn:script "drop database if exists luphant_impact_spec with (force)")
    assert(conn:script "create database luphant_impact_spec template template0")
    local filled = assert(luphant.connect(env.url(), { dbname = "luphant_impact_spec" }))
    assert(require("luphant.migrate").up(filled, dir))
    assert(filled:execute "insert into a select generate_series(1, 1000)")
    filled:close()
    put {
      ["0002_b.sql"] = "alter table a alter n type bigint;\nselect pg_sleep(0.3);\n",
      ["0003_c.sql"] = "-- migrate:up\ncreate table c (n int);\n",
      ["0004_d.lua"] = "return {\n  up = function(db)\n    assert(db:execute 'alter table a alter n type int')\n"
        .. "    return db:transaction(function(tx)\n"
        .. "      assert(tx:query 'select pg_sleep(0.3)')\n      return true\n    end)\n  end,\n}\n",
      ["0005_e.lua"] = "return { transaction = false, up = function(db)\n"
        .. "  assert(db:execute 'create index concurrently a_n on a (n)') end }\n",
    }
    local events = {}
    local report = try {
      phases = { "impact" }, template = "luphant_impact_spec", max_lock = 0.2,
      on_event = function(e) events[#events + 1] = e end,
    }
    assert(conn:script "drop database luphant_impact_spec with (force)")
    conn:close()
    assert_says(report, "error impact 0002: holds ACCESS EXCLUSIVE on a for ",
      "error impact 0004: holds ACCESS EXCLUSIVE on a for ")
    assert.equal(2, #report.findings)
    local of_lua = {}
    for _, event in ipairs(events) do
      if event.event == "impact" and event.file:find "lua$" then of_lua[#of_lua + 1] = event end
    end
    assert.same({ 3, 3, { "a" }, true },
      { #of_lua, of_lua[1].line, of_lua[1].rewritten, of_lua[2].duration_ms >= 250 })
    assert.same({ 5, "select pg_sleep(0.3)" }, { of_lua[2].line, of_lua[2].sql })
    assert.same({ 2, true, { "SHARE UPDATE EXCLUSIVE on a (known, not observed)", "scanned: a", "built: a_n" } },
      { of_lua[3].line, of_lua[3].assumed, of_lua[3].lines })
    assert.same({ "impact", "0002", 1, { "a" } },
      { events[2].event, events[2].version, events[2].line, events[2].rewritten })
    assert.is_true(events[3].duration_ms >= 250)
    assert.same({ "held", "ACCESS EXCLUSIVE", "a" }, { events[4].event, events[4].mode, events[4].relation })
  end)

  it("is refused with a folder that is not in order, and with options nobody knows", function()
    put { ["0001_a.sql"] = "select 'open" }
    local report, err = migrations.test { dir = dir, server = env.url() }
    assert.is_nil(report)
    assert.equal("migration_invalid", err.kind)
    assert.error(function() migrations.test { dir = dir, phases = { "run" } } end)
    assert.error(function() migrations.test {} end)
  end)

  it("on the command line: lines or JSON lines, and exit codes", function()
    put(GOOD)
    local function run(...)
      return cli.run({}, "migrate", "test", "--dir", dir, "--data", data, "--server", env.url(), "--skip", "kill",
        "--skip", "race", ...)
    end
    local code, out = run "--json"
    local documents = cli.documents(out)
    assert.equal(0, code)
    assert.same({ "summary", true, {} },
      { documents[#documents].event, documents[#documents].ok, documents[#documents].findings })
    put { ["0003_c.sql"] = "create table c ();\n" }
    code, out = run("--skip", "impact")
    assert.equal(0, code)
    assert.matches("^warning   walk  0003_c: has no way back.*\ntested    4 migrations, 2 ways back", out)
    assert.equal(5, (run("--skip", "impact", "--fail-on", "warning")))
    put { ["0003_c.sql"] = "select 'open" }
    assert.equal(4, (run()))
    assert.equal(2, (cli.run({}, "migrate", "test", "--template", "x")))
    assert.equal(2, (cli.run({}, "migrate", "test", "--skip", "x")))
  end)
end)

describe("helpers for specs", function()
  local dir
  before_each(function()
    dir = os.tmpname()
    os.remove(dir)
    assert(lfs.mkdir(dir))
    for name, text in pairs(GOOD) do shell.write_file(dir .. "/" .. name, text) end
  end)
  after_each(function() shell.run("rm -rf " .. shell.quote(dir)) end)

  it("cases: one for each part, which raises what it finds", function()
    local cases = migrations.cases { dir = dir, server = env.url(), phases = { "walk", "race" } }
    assert.equal(("the migrations of %s go up, down and up again, and leave no trace"):format(dir), cases[1].name)
    for _, case in ipairs(cases) do case.run() end
    shell.write_file(dir .. "/0003_c.sql", "-- migrate:up\ncreate table c ();\n-- migrate:down\nselect 1;\n")
    local fine, why = pcall(cases[1].run)
    assert.is_false(fine)
    assert.truthy(why:find("0003_c.sql: the way back leaves something else", 1, true), why)
  end)

  it("with_database: dropped when all was well, kept for a look when the test failed", function()
    local opts, name = { dir = dir, server = env.url() }, nil
    local admin = assert(luphant.connect(env.url()))
    local function is_there()
      return admin:query_value("select exists(select from pg_database where datname = $1)", name)
    end
    assert.same({ 7, nil, "x" }, { migrations.with_database(opts, function(database)
      name = database.name
      assert(assert(database:connect()):query_value "select count(*) from a")
      return 7, nil, "x"
    end) })
    assert.is_false(is_there())
    local said, stderr = {}, io.stderr
    io.stderr = { write = function(_, ...) said[#said + 1] = table.concat { ... } end } -- luacheck: ignore
    local why = { "a table, as those of busted" }
    local fine, got = pcall(migrations.with_database, opts, function(database)
      name = database.name
      error(why)
    end)
    io.stderr = stderr -- luacheck: ignore
    assert.is_false(fine)
    assert.equal(why, got)
    assert.is_true(is_there())
    local command = assert(said[1]:match "is kept: (psql .*)\n$")
    assert.equal(name .. "\n", shell.run(command .. " -XAtc 'select current_database()'") .. "\n")
    assert(admin:script("drop database " .. name))
    admin:close()
    for wrong, part in pairs { [{ { dir = dir } }] = "needs a server", [{ opts, 1 }] = "bad argument #2" } do
      local ok, message = pcall(function() assert(migrations.with_database(wrong[1], wrong[2])) end)
      assert.is_false(ok)
      assert.truthy(message:find(part, 1, true) and message:find("migrations_spec.lua", 1, true), message)
    end
    assert.equal(1, migrations.forget(env.url()))
  end)

  it("database: a migrated copy for each test, made of one template until a file changes", function()
    migrations.forget(env.url())
    local opts = { dir = dir, server = env.url() }
    local one, two = assert(migrations.database(opts)), assert(migrations.database(opts))
    local conn = assert(one:connect())
    assert(conn:execute "insert into a values (1)")
    local other = assert(luphant.connect(two.params))
    assert.equal(0, other:query_value "select count(*)::int4 from a")
    for _, open in ipairs { conn, other } do open:close() end
    assert(one:close())
    assert(two:close())
    shell.write_file(dir .. "/0003_c.sql", "create table c ();\n")
    local three = assert(migrations.database(opts))
    conn = assert(three:connect())
    assert.equal("c", conn:query_value "select to_regclass('c')::text")
    conn:close()
    local name = three:keep()
    local admin = assert(luphant.connect(env.url()))
    assert(admin:script("drop database " .. name))
    admin:close()
    assert.equal(2, migrations.forget(env.url()))
    shell.write_file(dir .. "/0004_d.sql", "select nosuch;\n")
    local none, err = migrations.database(opts)
    assert.is_nil(none)
    assert.equal("migration_failed", err.kind)
    assert.equal(0, migrations.forget(env.url()))
  end)
end)
