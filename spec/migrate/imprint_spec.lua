-- The hash of the schema as the last run left it: has anybody changed anything since?

local cli = require "spec.support.cli"
local ground = require "spec.support.migration_ground"
local migrate = require "luphant.migrate"

describe("the schema as the last run left it", function()
  local g

  before_each(function()
    g = ground.open()
    g.put("0001_a.sql", "-- migrate:up\ncreate table a (n int);\n-- migrate:down\ndrop table a;\n")
  end)
  after_each(function() g.close() end)

  local function look(opts)
    opts = opts or {}
    opts.since_run = true
    return migrate.drift(g.conn, g.dir, opts)
  end

  local function kept() return g.value "select value from luphant.meta where key = 'catalog'" end

  local function up(opts) return migrate.up(g.conn, g.dir, opts) end

  it("is known after each run, forth and back, and nobody who reads writes it", function()
    local _, err = look()
    assert.equal("migration_refused", err.kind)
    assert.truthy(err.message:find("no run has left the hash", 1, true), err.message)
    assert.is_false(g.exists "luphant.meta")
    assert(up())
    local found = assert(look())
    assert.same({ false, {}, found.expected }, { found.different, found.differences, found.actual })
    assert.matches("^%d+%-%d+%-%d+T", found.since.at)
    assert.equal(g.value "select run_id::text from luphant.migrations", found.since.run_id)
    local before = kept()
    assert(up())
    assert(migrate.status(g.conn, g.dir))
    assert(migrate.plan(g.conn, g.dir))
    assert.equal(before, kept())
    assert(migrate.down(g.conn, g.dir))
    assert.not_equal(before, kept())
    assert.is_false(assert(look()).different)
  end)

  it("tells what was changed by hand, and forgets nothing when it is put back", function()
    assert(up())
    assert(g.conn:script "alter table a add column hack text")
    local found = assert(look())
    assert.is_true(found.different)
    assert.not_equal(found.expected, found.actual)
    assert(g.conn:script "alter table a drop column hack")
    assert.is_false(assert(look()).different)
    assert(g.conn:script "comment on table a is 'by hand'")
    assert.is_true(assert(look()).different)
  end)

  it("says of a drift whether it is older than the last run", function()
    assert(up())
    assert(g.conn:script "create table by_hand ()")
    local found = assert(migrate.drift(g.conn, g.dir))
    assert.same({ true, true, true }, { found.different, found.since.is_known, found.since.moved })
    g.put("0002_b.sql", "create table b ();\n")
    assert(up())
    found = assert(migrate.drift(g.conn, g.dir))
    assert.same({ true, true, false }, { found.different, found.since.is_known, found.since.moved })
    assert.is_nil(assert(migrate.drift(g.conn, g.dir, { against = require("luphant.schema").snapshot(g.conn) })).since)
  end)

  it("is not claimed where a run has left none, or another luphant or server did", function()
    assert(up())
    local good = kept()
    g.put("0002_b.sql", "-- migrate:up\ncreate table b ();\n")
    assert(up())
    -- As after a run that died behind its COMMIT: the schema may even be that of the hash again.
    assert(g.conn:execute("update luphant.meta set value = $1 where key = 'catalog'", good))
    assert(g.conn:script "drop table b")
    local _, err = look()
    assert.truthy(err.message:find("a run since then has left no hash", 1, true), err.message)
    g.put("0003_c.sql", "create table c ();\n")
    assert(up())
    good = kept()
    for field, part in pairs { tool = "was left by another", server = "another version" } do
      assert(g.conn:execute("update luphant.meta set value = jsonb_set($1::text::jsonb, array[$2], '\"another\"')::text"
        .. " where key = 'catalog'", good, field))
      _, err = look()
      assert.truthy(err.message:find(part, 1, true), err.message)
    end
    assert(g.conn:execute "update luphant.meta set value = 'no json' where key = 'catalog'")
    _, err = look()
    assert.equal("migration_refused", err.kind)
  end)

  it("is that of the failure after a run that failed half-way", function()
    g.put("0002_b.sql", "-- migrate:up transaction:false\ncreate table b ();\nselect 1 / 0;\n")
    assert.is_nil((up()))
    assert.is_false(assert(look()).different)
    assert(g.conn:script "drop table b")
    assert.is_true(assert(look()).different)
  end)

  it("needs no more than the rights to migrate; where it cannot be had the run goes on, and says so", function()
    assert(g.conn:script "drop role if exists luphant_plain; create role luphant_plain login")
    assert(g.conn:script(("grant create on database %s to luphant_plain"):format(g.dbname)))
    assert(g.conn:script "grant create on schema public to luphant_plain")
    local conn = g.connect { user = "luphant_plain" }
    local told = {}
    local function listen(event) if event.event == "warning" then told[#told + 1] = event.message end end
    assert(migrate.up(conn, g.dir, { on_event = listen }))
    assert.same({}, told)
    assert.is_false(assert(migrate.drift(conn, g.dir, { since_run = true })).different)
    -- Somebody holds a table that is to be read: that is not waited for.
    g.put("0002_b.sql", "create table b ();\n")
    assert(g.conn:script "create table c (n int); create view v as select n from c")
    assert(g.conn:script "begin; lock table c")
    assert.equal(1, #assert(migrate.up(conn, g.dir, { on_event = listen, lock_timeout = 0.2 })))
    assert(g.conn:script "commit")
    assert.equal(1, #told)
    assert.truthy(told[1]:find("the hash of the schema could not be kept", 1, true), told[1])
    local _, err = migrate.drift(conn, g.dir, { since_run = true })
    assert.truthy(err.message:find("a run since then has left no hash", 1, true), err.message)
    conn:close()
    assert(g.conn:script "drop schema luphant cascade; drop owned by luphant_plain; drop role luphant_plain")
  end)

  it("is kept once for many tenants", function()
    g.put("0001_a.sql", "create table a (n int);\n")
    assert(migrate.tenants(g.conn, g.dir, { tenants = { "t1", "t2" }, create = true, jobs = 2 }))
    assert.is_false(assert(look()).different)
    assert(g.conn:script "create table t2.hack ()")
    assert.is_true(assert(look()).different)
    assert(migrate.tenants(g.conn, g.dir, { tenants = { "t1", "t2" } })) -- nothing to do
    assert.is_true(assert(look()).different)
  end)

  it("is asked for on the command line, with the exit codes of drift", function()
    local function run(...) return cli.run({ DATABASE_URL = g.url }, "migrate", "drift", "--dir", g.dir, ...) end
    assert.equal(1, (run "--since-run"))
    assert(up())
    local code, out = run "--since-run"
    assert.equal(0, code)
    assert.matches("^nothing was changed since the run of %d+%-", out)
    assert(g.conn:script "create table by_hand ()")
    code, out = run "--since-run"
    assert.equal(4, code)
    assert.matches("^the schema was changed since the run of %d+%-", out)
    code, out = run()
    assert.equal(4, code)
    assert.matches("by_hand.*the schema was changed since the run of", out)
    local document = cli.documents((select(2, run("--since-run", "--json"))))[1]
    assert.same({ true, true }, { document.different, document.since.moved })
    assert.equal(2, (run("--since-run", "--no-owners")))
  end)
end)
