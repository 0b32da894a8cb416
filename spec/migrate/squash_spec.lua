local ground = require "spec.support.migration_ground"
local migrate = require "luphant.migrate"
local schema = require "luphant.schema"
local shell = require "luphant.testing.shell"

describe("squash", function()
  local g
  before_each(function()
    g = ground.open()
    g.put("0001_a.sql", [[
-- migrate:up
create type mood as enum ('sad', 'happy');
create table a (id bigint generated always as identity primary key, m mood, note text default 'it''s; fine');
insert into a (m) values ('sad'), ('happy');
-- migrate:down
drop table a;
drop type mood;
]])
    g.put("0002_f.sql", [[
create function later() returns bigint language sql as $$ select count(*) from a; $$;
create function trig() returns trigger language plpgsql as $body$ begin new.note := ';'; return new; end $body$;
create trigger t before update on a for each row execute function trig();
comment on function later() is E'a\\b;';
]])
    g.put("0003_c.sql", "create schema \"Odd; one\";\ncreate view \"Odd; one\".v as select id, m from a;\n")
  end)
  after_each(function() g.close() end)

  local function snapshot_of(dir)
    assert(g.conn:script("drop schema if exists luphant cascade; drop schema public cascade; create schema public;"
      .. "drop schema if exists \"Odd; one\" cascade"))
    assert(migrate.up(g.url, dir))
    local rows = assert(g.conn:query "select id, m::text as m, note from a order by id")
    local nextval = g.value "select nextval(pg_get_serial_sequence('a', 'id'))"
    return assert(schema.snapshot(g.conn)), rows, nextval
  end

  it("makes the same database: schema, rows, where sequences stand", function()
    local before, rows, nextval = snapshot_of(g.dir)
    local done = assert(migrate.squash(g.conn, g.dir, { remove = true }))
    assert.same({ g.dir .. "/B0003__squashed.sql", "0003", 3, 3 },
      { done.file, done.version, done.migrations, #done.removed })
    local list = assert(migrate.load(g.dir))
    assert.same({ 1, "baseline", { "0001", "0002", "0003" } }, { #list, list[1].kind, list[1].replaces })
    local after, rows_after, nextval_after = snapshot_of(g.dir)
    assert.same({}, schema.diff(before, after))
    assert.same(rows, rows_after)
    assert.equal(nextval, nextval_after)
  end)

  it("is nothing to a database that has them all, and refused by one that stopped in the middle", function()
    assert(migrate.up(g.conn, g.dir, { count = 2 }))
    assert(migrate.squash(g.conn, g.dir, { remove = true }))
    local _, err = migrate.up(g.conn, g.dir)
    assert.equal("migration_invalid", err.kind)
    assert.truthy(err.message:find("0003, which this database never had", 1, true), err.message)
  end)

  it("stops where it is told, and what follows runs behind it", function()
    assert(migrate.up(g.conn, g.dir))
    local done = assert(migrate.squash(g.conn, g.dir, { to = "2", name = "start", remove = true }))
    assert.equal(g.dir .. "/B0002__start.sql", done.file)
    assert.same({}, assert(migrate.up(g.conn, g.dir)))
    assert.is_false(assert(migrate.drift(g.conn, g.dir)).different)
    done = assert(migrate.squash(g.conn, g.dir, { name = "again", remove = true }))
    assert.equal(3, done.migrations)
    assert.same({ "0001", "0002", "0003" }, assert(migrate.load(g.dir))[1].replaces)
  end)

  it("writes nothing where the proof fails, and says what would differ", function()
    g.put("0004_db.sql", "do $$ begin execute format('alter database %I set work_mem = ''3MB''', "
      .. "current_database()); end $$;\n")
    local done, err = migrate.squash(g.conn, g.dir, { remove = true })
    assert.is_nil(done)
    assert.equal("migration_refused", err.kind)
    assert.truthy(err.message:find("settings all roles", 1, true), err.message)
    assert.equal(4, #assert(migrate.load(g.dir)))
  end)

  it("keeps owners where they make a difference", function()
    assert(g.conn:script [[
      do $$ begin create role luphant_squash_owner; exception when duplicate_object then null; end $$]])
    g.put("0004_owner.sql", "alter table a owner to luphant_squash_owner;\n")
    local done = assert(migrate.squash(g.conn, g.dir))
    assert.truthy(shell.read_file(done.file):find("OWNER TO luphant_squash_owner", 1, true))
    assert(os.remove(done.file))
    assert(g.conn:script "drop role luphant_squash_owner")
  end)

  it("refuses what later ones require, a second baseline of that name, and single migrations", function()
    g.put("0004_d.sql", "-- migrate:up requires:0002\nselect 1;\n")
    local _, err = migrate.squash(g.conn, g.dir, { to = "0003" })
    assert.truthy(err.message:find("requires 0002, which would be gone", 1, true), err.message)
    _, err = migrate.squash(g.conn, g.dir, { to = "0001" })
    assert.equal("migration_refused", err.kind)
    _, err = migrate.squash(g.conn, g.dir, { to = "x" })
    assert.equal("migration_refused", err.kind)
  end)

  it("tells when a migration fails on an empty database", function()
    g.put("0002_f.sql", "alter table made_by_hand add n int;\n")
    local _, err = migrate.squash(g.conn, g.dir)
    assert.equal("migration_failed", err.kind)
    assert.equal(0, g.value "select count(*)::int4 from pg_database where datname like 'luphant_scratch%'")
  end)
end)
