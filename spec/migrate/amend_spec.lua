-- Setting the history right, starting programs, and reading what was done.

local ground = require "spec.support.migration_ground"
local migrate = require "luphant.migrate"

describe("the history of migrations", function()
  local g

  before_each(function() g = ground.open() end)
  after_each(function() g.close() end)

  local function up(opts) return migrate.up(g.conn, g.dir, opts) end
  local function states()
    local out = {}
    for i, entry in ipairs(assert(migrate.status(g.conn, g.dir))) do out[i] = entry.version .. " " .. entry.state end
    return out
  end

  it("is repaired: the new text is recorded, nothing runs, and an event says why", function()
    g.put("0001_a.sql", "create table a ();")
    assert(up())
    g.put("0001_a.sql", "-- a comment\n-- migrate:up\ncreate table a ();\n-- migrate:down\ndrop table a;\n")
    assert.same({ "0001 changed" }, states())
    assert.has_error(function() migrate.repair(g.conn, g.dir) end)
    local done = assert(migrate.repair(g.conn, g.dir, { reason = "a way back was added" }))
    assert.equal("0001", done[1].version)
    assert.same({ "0001 applied" }, states())
    local event = assert(migrate.history(g.conn))[1]
    assert.same({ "repair", "a way back was added" }, { event.action, event.reason })
    assert.not_equal(event.detail.before, event.detail.after)
    assert.same({}, assert(migrate.repair(g.conn, g.dir, { reason = "again" })))
    assert(migrate.down(g.conn, g.dir))
    assert.is_false(g.exists "a")
  end)

  it("tells before the repair which statements were edited, and creates nothing for that", function()
    g.put("0001_a.sql", "create table a ();\ncreate table b ();\ncreate table c ();\n")
    g.put("0002_d.sql", "-- migrate:up\ncreate table d ();\n-- migrate:down\ndrop table d;\n")
    g.put("0003_e.sql", "-- migrate:up\ncreate table e ();\n")
    assert.same({}, assert(migrate.repair(g.conn, g.dir, { dry_run = true })))
    assert.is_false(g.exists "luphant.migrations")
    assert(up())
    g.put("0001_a.sql", "create table a (n int);\n\ncreate table c ();\ncreate table z ();\n")
    g.put("0002_d.sql", "-- migrate:up\ncreate table d ();\n-- migrate:down\ndrop table if exists d;\n")
    g.put("0003_e.sql", "-- a comment\n-- migrate:up lock_timeout:1s\ncreate table e ();\n")
    local heard = 0
    local list = assert(migrate.repair(g.conn, g.dir, { dry_run = true, on_event = function(e)
      if e.event == "edited" then heard = heard + 1 end
    end }))
    assert.same({ 3, "edited", "0001", false }, { #list, list[1].event, list[1].version, list[1].only_comments })
    assert.equal(3, heard)
    assert.same({
      { part = "up", what = "edited", statement = 1, line = 1, sql = "create table a (n int)" },
      { part = "up", what = "removed", statement = 2 },
      { part = "up", what = "added", statement = 3, line = 4, sql = "create table z ()" },
    }, list[1].changes)
    assert.same({ { part = "down", what = "edited", sql = "drop table if exists d;\n" } }, list[2].changes)
    assert.same({ { part = "other", what = "edited" } }, list[3].changes)
    assert.same({ "0001 changed", "0002 changed", "0003 changed" }, states())
    local done = assert(migrate.repair(g.conn, g.dir, { reason = "agreed" }))
    assert.same(list[1].changes, done[1].changes)
    assert.same(list[1].changes[2], assert(migrate.history(g.conn, { version = "0001" }))[1].detail.changes[2])
    assert.same({}, assert(migrate.repair(g.conn, g.dir, { dry_run = true })))
  end)

  it("passes over what is skipped, and forgets that on the way back", function()
    g.put("0001_a.sql", "create table a ();\n")
    g.put("0002_b.sql", "create table b ();\n")
    local event = assert(migrate.skip(g.conn, g.dir, "0001", { reason = "made by hand" }))
    assert.equal("skip", event.event)
    assert.same({ "0001 skipped", "0002 pending" }, states())
    assert.equal(1, #assert(up()))
    assert.is_false(g.exists "a")
    local _, err = migrate.skip(g.conn, g.dir, "0002", { reason = "x" })
    assert.truthy(err.message:find("is applied; only a pending versioned migration can be skipped", 1, true))
    _, err = migrate.skip(g.conn, g.dir, "7", { reason = "x" })
    assert.truthy(err.message:find("there is no migration 7", 1, true))
  end)

  it("records what was done by hand", function()
    g.put("0001_a.sql", "create table a ();\n")
    assert(g.conn:execute "create table a ()")
    assert(migrate.resolve(g.conn, g.dir, "0001", "applied", { reason = "by hand, at night" }))
    assert.same({ "0001 applied" }, states())
    local _, err = migrate.resolve(g.conn, g.dir, "0001", "applied", { reason = "twice" })
    assert.truthy(err.message:find("is applied already", 1, true))
    _, err = migrate.resolve(g.conn, g.dir, "0001", "rolled_back", { reason = "x" })
    assert.truthy(err.message:find("only what stopped half-way", 1, true))
  end)

  it("begins with a baseline where there was none", function()
    g.put("0001_a.sql", "create table a ();\n")
    g.put("0002_b.sql", "create table b ();\n")
    g.put("0003_c.sql", "create table c ();\n")
    assert(migrate.baseline(g.conn, g.dir, "0002"))
    assert.same({ "0001 covered", "0002 covered", "0002 applied", "0003 pending" }, states())
    assert.equal(1, #assert(up()))
    assert.is_false(g.exists "a")
    local _, err = migrate.baseline(g.conn, g.dir, "0003")
    assert.truthy(err.message:find("has a history already", 1, true))
  end)

  it("runs one migration alone in an emergency, with a reason", function()
    g.put("0001_a.sql", "create table a ();\n")
    g.put("0002_b.sql", "create table b ();\n")
    assert.has_error(function() up { only = { "0002" } } end)
    assert(up { only = { "0002" }, reason = "the fix cannot wait" })
    assert.is_false(g.exists "a")
    assert.equal("the fix cannot wait", assert(migrate.history(g.conn, { version = "0002" }))[1].reason)
    local _, err = up()
    assert.truthy(err.message:find("comes before migrations that are applied", 1, true))
    assert(up { allow_out_of_order = true })
    assert.is_true(g.row("0001").out_of_order)
  end)

  it("does the last one again", function()
    g.put("0001_a.sql", "-- migrate:up\ncreate table a ();\n-- migrate:down\ndrop table a;\n")
    g.put("0002_b.sql", "-- migrate:up\ncreate table b ();\n-- migrate:down\ndrop table b;\n")
    assert(up())
    assert(g.conn:execute "alter table b add column n int")
    local done = assert(migrate.redo(g.conn, g.dir))
    assert.same({ "reverted", "applied" }, { done[1].event, done[2].event })
    assert.equal(0, g.value "select count(*) from pg_attribute where attrelid = 'b'::regclass and attnum > 0")
    assert.same({ "apply", "revert", "apply" }, g.actions "0002")
  end)

  it("takes back a whole run", function()
    for i = 1, 3 do
      g.put(("%04d_t.sql"):format(i),
        ("-- migrate:up\ncreate table t%d ();\n-- migrate:down\ndrop table t%d;\n"):format(i, i))
    end
    assert(up { count = 1 })
    assert(up())
    local done = assert(migrate.down(g.conn, g.dir, nil, { run = true }))
    assert.same({ "0003", "0002" }, { done[1].version, done[2].version })
    assert.is_true(g.exists "t1")
  end)

  it("is apart for each tenant and each schema", function()
    g.put("0001_a.sql", "create table a ();\n")
    for _, tenant in ipairs { "one", "two" } do
      assert(g.conn:execute("create schema " .. tenant))
      assert.equal(1, #assert(up { tenant = tenant, search_path = tenant }))
      assert.is_true(g.exists(tenant .. ".a"))
    end
    assert.equal(2, g.value "select count(*) from luphant.migrations")
    assert.equal(1, #assert(migrate.history(g.conn, { tenant = "two" })))
  end)

  it("stops at the first tenant that fails, and makes schemas only when that is asked for", function()
    g.put("0001_a.sql", "create table a ();\n")
    assert(g.conn:execute "create schema one")
    local reports, err = migrate.tenants(g.conn, g.dir, { tenants = { "one", "two", "three" } })
    assert.is_nil(reports)
    assert.same({ 2, 1 }, { #err.tenants, #err.done })
    assert.truthy(tostring(err):find("create-tenants", 1, true), tostring(err))
    local heard = {}
    assert(migrate.tenants(g.conn, g.dir, { tenants = { "one", "two", "three" }, create = true, on_event = function(e)
      if e.event == "applied" then heard[#heard + 1] = e.tenant end
    end }))
    assert.same({ "two", "three" }, heard)
    assert.is_true(g.exists "three.a")
    for _, wrong in ipairs { {}, { tenants = { 1 } }, { tenants = { query = "x", more = 1 } },
      { tenants = { "a" }, tenant = "b" } } do
      assert.has_error(function() migrate.tenants(g.conn, g.dir, wrong) end)
    end
  end)

  it("of an older format is read as it is, and brought up to date by who writes next", function()
    g.put("0001_a.sql", "-- migrate:up\ncreate table a ();\n-- migrate:down\ndrop table a;\n")
    assert(up())
    assert(g.conn:script [[
      alter table luphant.migrations drop column progress;
      update luphant.meta set value = '1' where key = 'format']])
    assert.same({ "0001 applied" }, states())
    g.put("0002_b.sql", "create table b ();\n")
    assert.equal(1, #assert(up()))
    assert.equal("2", g.value "select value from luphant.meta where key = 'format'")
    assert.is_nil(g.row("0002").progress)
  end)

  it("is not read from tables of its names that somebody else has made", function()
    assert(g.conn:script "create schema luphant; create table luphant.migrations (id int primary key)")
    local function history() return migrate.history(g.conn) end
    for _, verb in ipairs { migrate.up, migrate.status, history } do
      local _, err = verb(g.conn, g.dir)
      assert.equal("migration_refused", err.kind)
      assert.truthy(err.message:find("luphant has not made them", 1, true), err.message)
    end
    assert.is_false(g.exists "luphant.meta")
  end)

  it("of a newer luphant is left alone", function()
    g.put("0001_a.sql", "create table a ();\n")
    assert(up())
    assert(g.conn:execute "update luphant.meta set value = '3' where key = 'format'")
    for _, verb in ipairs { "up", "status" } do
      local _, err = migrate[verb](g.conn, g.dir)
      assert.truthy(err.message:find("made by a newer luphant", 1, true), err.message)
    end
  end)

  it("can be read with no more than the right to read", function()
    g.put("0001_a.sql", "create table a ();\n")
    assert(up())
    assert(g.conn:script [[
      drop role if exists luphant_reader; create role luphant_reader login;
      grant usage on schema luphant to luphant_reader;
      grant select on all tables in schema luphant to luphant_reader;
      set role luphant_reader]])
    assert.same({ "0001 applied" }, states())
    assert.equal(1, #assert(migrate.history(g.conn)))
    assert(g.conn:script [[reset role; drop owned by luphant_reader; drop role luphant_reader]])
  end)
end)

describe("a program that starts", function()
  local g

  before_each(function()
    g = ground.open()
    g.put("0001_a.sql", "create table a ();\n")
    g.put("R__v.sql", "create or replace view v as select 1 as n;\n")
  end)
  after_each(function() g.close() end)

  local function run(how, more)
    local opts = { dir = g.dir, on_startup = how }
    for name, value in pairs(more or {}) do opts[name] = value end
    return migrate.run(g.conn, opts)
  end

  it("loads what it needs, and no linter and no importer", function()
    local out = g.child [[
      local function loaded()
        local count, names = 0, {}
        for name in pairs(package.loaded) do
          if name:find "^luphant%.migrate%." then
            count, names[name:match "[^.]+$"] = count + 1, true
          end
        end
        return count, names
      end
      local count, names = loaded()
      assert(count == 2 and names.border and names.tables, count)
      assert(migrate.run(URL, { dir = DIR, on_startup = "apply" }))
      count, names = loaded()
      assert(names.run and not (names.lint or names.import or names.squash or names.tools or names.tenants))
      assert(migrate.check(nil, DIR))
      print(select(2, loaded()).tools)]]
    assert.equal("true", out)
  end)

  it("is refused when the database is behind, and creates nothing", function()
    local _, err = run "check"
    assert.equal("migration_behind", err.kind)
    assert.truthy(err.message:find("lacks 2 migrations: 0001_a, R__v_v", 1, true), err.message)
    assert.same({ "0001", "v" }, { err.pending[1].version, err.pending[2].version })
    assert.is_false(g.exists "luphant.migrations")
    assert.is_false((migrate.ready(g.conn, g.dir)))
    assert.equal("off", assert(run "off").state)
  end)

  it("applies what is missing, and then there is nothing more", function()
    local answer = assert(run "apply")
    assert.same({ "current", 2 }, { answer.state, #answer.applied })
    answer = assert(run "apply")
    assert.same({ "current", 0 }, { answer.state, #answer.applied })
    assert.equal("current", assert(run()).state)
    assert.is_true((migrate.ready(g.conn, g.dir)))
  end)

  it("starts on a database that is ahead, with a warning, and puts nothing older back", function()
    g.put("0002_b.sql", "create table b ();\n")
    assert(run "apply")
    g.put("R__v.sql", "create or replace view v as select 2 as n;\n")
    assert(run "apply")
    g.remove "0002_b.sql"
    g.put("R__v.sql", "create or replace view v as select 1 as n;\n")
    for _, how in ipairs { "check", "apply", "wait" } do
      local warned
      local answer = assert(run(how, { on_event = function(e)
        warned = warned or e.event == "warning" and e.message
      end }))
      assert.equal("ahead", answer.state, how)
      assert.truthy(warned:find("does not know 0002_b", 1, true), warned)
    end
    assert.equal(2, g.value "select n from v")
    assert.is_true(migrate.ready(g.conn, g.dir))
  end)

  it("is refused when an applied file was edited, or one stopped half-way", function()
    assert(run "apply")
    g.put("0001_a.sql", "create table a (n int);\n")
    local _, err = run "check"
    assert.equal("migration_invalid", err.kind)
    g.put("0001_a.sql", "create table a ();\n")
    g.put("0002_b.sql", "-- migrate:up transaction:false\ncreate table b ();\nselect nosuch;\n")
    assert.is_nil((run "apply"))
    _, err = run "check"
    assert.equal("migration_invalid", err.kind)
    assert.is_false(migrate.ready(g.conn, g.dir))
  end)

  it("waits until another one has done it, or for so long", function()
    local _, err = run("wait", { wait_for = 0.1 })
    assert.equal("migration_behind", err.kind)
    local pipe = g.child([[os.execute "sleep 0.7"; assert(migrate.up(URL, DIR))]], true)
    local waited = 0
    local answer = assert(run("wait", { wait_for = 30, on_event = function(e)
      if e.event == "waiting" then waited = waited + 1 end
    end }))
    assert.equal("", pipe:read "*a")
    pipe:close()
    assert.equal("current", answer.state)
    assert.truthy(waited >= 1)
  end)
end)
