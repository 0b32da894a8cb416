-- drift and check: what the migrations say, held against what is there.

local ground = require "spec.support.migration_ground"
local migrate = require "luphant.migrate"
local schema = require "luphant.schema"

describe("drift", function()
  local g
  before_each(function()
    g = ground.open()
    g.put("0001_a.sql", "-- migrate:up\ncreate table a (n int);\n-- migrate:down\ndrop table a;\n")
    g.put("0002_b.sql", "-- migrate:up\ncreate table b (n int);\n")
    g.put("R__v.sql", "create or replace view v as select n from a;\n")
    assert(migrate.up(g.conn, g.dir))
  end)
  after_each(function() g.close() end)

  local function objects(list)
    local out = {}
    for i, item in ipairs(list) do out[i] = item.what .. " " .. item.object end
    return out
  end

  local function scratch_databases()
    return g.value "select count(*)::int4 from pg_database where datname like 'luphant_scratch%'"
  end

  it("is none where nobody has changed anything, and leaves nothing behind", function()
    local found = assert(migrate.drift(g.conn, g.dir))
    assert.same({ false, {}, found.expected }, { found.different, found.differences, found.actual })
    assert.equal(0, scratch_databases())
  end)

  it("tells what was added, removed and altered by hand, in every kind of object", function()
    assert(g.conn:script [[
      alter table a add column hack text;
      create index by_hand on b (n);
      drop view v;
      create function f() returns int language sql as 'select 1';
      comment on table b is 'by hand']])
    local found = assert(migrate.drift(g.url, g.dir))
    assert.is_true(found.different)
    local set = {}
    for _, text in ipairs(objects(found.differences)) do set[text] = true end
    for _, text in ipairs { "added public.f()", "added public.by_hand", "added public.a.hack", "comment public.b",
      "removed public.v" } do
      assert.is_true(set[text], text)
    end
    assert.equal(5, #found.differences)
  end)

  it("does not count what is pending, skipped or of a phase to come", function()
    g.put("0003_c.sql", "create table c ();\n")
    g.put("0004_d.sql", "create table d ();\n")
    assert(migrate.skip(g.conn, g.dir, "0003", { reason = "not here" }))
    assert.is_false(assert(migrate.drift(g.conn, g.dir)).different)
    assert(g.conn:script "create table c ()")
    assert.same({ "added public.c" }, objects(assert(migrate.drift(g.conn, g.dir)).differences))
  end)

  it("runs migrations with the values they were applied with", function()
    g.put("0003_c.sql", "-- migrate:up vars:name\ncreate table ${name} ();\n")
    assert(migrate.up(g.conn, g.dir, { values = { name = "of_then" } }))
    assert.is_false(assert(migrate.drift(g.conn, g.dir)).different)
    local found = assert(migrate.drift(g.conn, g.dir, { values = { name = "other" } }))
    assert.equal(2, #found.differences)
  end)

  it("cannot be known where a file is gone or a migration stopped half-way", function()
    g.remove "0002_b.sql"
    local found, err = migrate.drift(g.conn, g.dir)
    assert.is_nil(found)
    assert.equal("migration_invalid", err.kind)
    assert.truthy(err.message:find("0002_b is applied, but its file is gone", 1, true), err.message)
  end)

  it("compares with a snapshot of a file, of what that was taken of", function()
    local kept = assert(schema.snapshot(g.conn, { except = { "luphant" }, owners = false }))
    assert.is_false(assert(migrate.drift(g.conn, g.dir, { against = kept })).different)
    assert(g.conn:script "drop view v")
    assert.same({ "removed public.v" }, objects(assert(migrate.drift(g.conn, g.dir, { against = kept })).differences))
  end)

  it("goes where the search_path of the connection leads", function()
    assert(g.conn:script [[create schema "Odd, one"; drop view v; drop table a, b; drop schema luphant cascade]])
    local url = g.url .. "&options=-csearch_path%3D%22Odd%2C%5C%20one%22"
    assert(migrate.up(url, g.dir))
    assert.is_true(g.exists '"Odd, one".a')
    assert.same({}, assert(migrate.drift(url, g.dir)).differences)
  end)

  it("does not count the order of columns", function()
    assert(g.conn:script "create table w (a int, b int); drop table b; create table b (n int)")
    g.put("0003_w.sql", "create table w (b int, a int);\n")
    assert(migrate.resolve(g.conn, g.dir, "0003", "applied", { reason = "spec" }))
    local found = assert(migrate.drift(g.conn, g.dir))
    assert.same({ false, 1, true }, { found.different, #found.differences, found.differences[1].warning })
  end)
end)

describe("check", function()
  local g
  before_each(function() g = ground.open() end)
  after_each(function() g.close() end)

  it("judges files without any database: all problems at once", function()
    g.put("0001_a.sql", "-- migrate:up vars:who\ngrant select on x to ${who};\n")
    local report = assert(migrate.check(nil, g.dir))
    assert.same({ true, 1, {} }, { report.ok, report.files, report.pending })
    g.put("0002_b.sql", "create index concurrently i on a (n);\n")
    g.put("0003_c.sql", "-- migrate:up requires:0009\nselect 1;\n")
    report = assert(migrate.check(nil, g.dir))
    assert.is_false(report.ok)
    assert.is_true(#report.problems >= 1)
    g.put("0004_d.sql", "select 'open;\n")
    report = assert(migrate.check(nil, g.dir))
    assert.truthy(report.problems[#report.problems].file:find("0004_d", 1, true))
  end)

  it("tells what is pending, edited and gone, and runs nothing", function()
    g.put("0001_a.sql", "create table a (n int);\n")
    g.put("0002_b.sql", "create table b (n int);\n")
    local report = assert(migrate.check(g.conn, g.dir))
    assert.same({ true, 2, "0002" }, { report.ok, #report.pending, report.pending[2].version })
    assert.is_false(g.exists "a")
    assert.is_nil(g.value "select to_regnamespace('luphant')::text")
    assert(migrate.up(g.conn, g.dir))
    assert.same({}, assert(migrate.check(g.conn, g.dir)).pending)
    g.put("0001_a.sql", "create table a (n bigint);\n")
    g.remove "0002_b.sql"
    report = assert(migrate.check(g.conn, g.dir))
    assert.same({ false, 2 }, { report.ok, #report.problems })
  end)

  it("looks for drift when asked to", function()
    g.put("0001_a.sql", "create table a (n int);\n")
    assert(migrate.up(g.conn, g.dir))
    assert(g.conn:script "drop table a")
    assert.is_true(assert(migrate.check(g.conn, g.dir)).ok)
    local report = assert(migrate.check(g.conn, g.dir, { drift = true }))
    assert.same({ false, true, "public.a" }, { report.ok, report.drift, report.differences[1].object })
  end)
end)
