-- A database that was made otherwise becomes the first migration.

local cli = require "spec.support.cli"
local ground = require "spec.support.migration_ground"
local luphant = require "luphant"
local migrate = require "luphant.migrate"
local schema = require "luphant.schema"

describe("a baseline of what is there", function()
  local g, other

  before_each(function()
    g = ground.open()
    assert(g.conn:script [[
      create schema app;
      create type app.mood as enum ('sad', 'happy');
      create table app.users (id bigint generated always as identity primary key, name text not null default 'x;y',
        m app.mood, unique (name));
      create table app.posts (id bigint primary key, user_id bigint not null references app.users,
        check (id > 0)) partition by range (id);
      create table app.posts_1 partition of app.posts for values from (1) to (100);
      create index posts_user on app.posts (user_id);
      create function app.later() returns bigint language sql as $$ select count(*) from app.users; $$;
      create function app.stamp() returns trigger language plpgsql as $body$
        begin new.name := ';'; return new; end $body$;
      create trigger stamp before update on app.users for each row execute function app.stamp();
      create view app.names as select name from app.users where m = 'happy';
      create materialized view app.counts as select count(*) from app.users;
      alter table app.users enable row level security;
      create policy own on app.users using (name = current_user);
      create sequence public.numbers start 7 increment 3;
      comment on table app.users is E'people; \\ all';
      grant select on app.names to public;
      insert into app.users (name) values ('Ada')]])
    other = g.dbname .. "_fresh"
    assert(g.conn:script("drop database if exists " .. other .. " with (force)"))
  end)
  after_each(function()
    assert(g.conn:script("drop database if exists " .. other .. " with (force)"))
    g.close()
  end)

  -- What the folder makes of an empty database.
  local function fresh_snapshot()
    assert(g.conn:script("create database " .. other .. " template template0"))
    local conn = assert(luphant.connect(g.url, { dbname = other }))
    assert(migrate.up(conn, g.dir))
    local found = assert(schema.snapshot(conn))
    assert.equal("applied", assert(migrate.status(conn, g.dir))[1].state)
    assert.equal(0, assert(conn:query_value "select count(*)::int4 from app.users"))
    conn:close()
    return found
  end

  it("makes the same schema of an empty database, and is applied where it was taken", function()
    local before = assert(schema.snapshot(g.conn))
    local event = assert(migrate.baseline(g.conn, g.dir, nil, { from_db = true }))
    assert.same({ "baseline", "baseline" }, { event.event, event.kind })
    assert.matches("/B%d%d%d%d%d%d%d%d%d%d%d%d%d%d__baseline%.sql$", event.written)
    local list = assert(migrate.load(g.dir))
    assert.same({ 1, event.written, event.version }, { #list, list[1].file, list[1].version })
    local entries = assert(migrate.status(g.conn, g.dir))
    assert.same({ 1, "applied", "baseline" }, { #entries, entries[1].state, entries[1].kind })
    assert.same({}, assert(migrate.up(g.conn, g.dir)))
    assert.equal(list[1].checksum, entries[1].applied.checksum)
    assert.same({}, schema.diff(before, assert(schema.snapshot(g.conn))))
    assert.same({}, schema.diff(before, fresh_snapshot()))
    assert.is_false(assert(migrate.drift(g.conn, g.dir)).different)
    assert.equal(event.written, assert(migrate.history(g.conn))[1].detail.file)
  end)

  it("stands at the version that is said, and covers what is below it", function()
    g.put("0001_a.sql", "create table a ();\n")
    g.put("0003_c.sql", "create table public.c ();\n")
    local _, err = migrate.baseline(g.conn, g.dir, nil, { from_db = true })
    assert.equal("migration_refused", err.kind)
    assert.truthy(err.message:find("which of them this database has is not known", 1, true), err.message)
    local event = assert(migrate.baseline(g.conn, g.dir, "0002", { from_db = true, name = "legacy" }))
    assert.equal(g.dir .. "/B0002__legacy.sql", event.written)
    local states = {}
    for i, entry in ipairs(assert(migrate.status(g.conn, g.dir))) do states[i] = entry.version .. " " .. entry.state end
    assert.same({ "0001 covered", "0002 applied", "0003 pending" }, states)
    assert.equal(1, #assert(migrate.up(g.conn, g.dir)))
  end)

  it("keeps owners where they make a difference", function()
    assert(g.conn:script "drop role if exists luphant_adopt; create role luphant_adopt")
    assert(g.conn:script "alter table app.users owner to luphant_adopt")
    local event = assert(migrate.baseline(g.conn, g.dir, "1", { from_db = true }))
    local file = assert(io.open(event.written))
    assert.truthy(file:read("*a"):find("ALTER TABLE app.users OWNER TO luphant_adopt;", 1, true))
    file:close()
    assert(g.conn:script [[
      alter table app.users owner to current_user; drop owned by luphant_adopt; drop role luphant_adopt]])
  end)

  it("goes where the search_path of the database leads", function()
    assert(g.conn:script("alter database " .. g.dbname .. " set search_path = app, public"))
    local conn = g.connect()
    assert(migrate.baseline(conn, g.dir, "1", { from_db = true }))
    conn:close()
  end)

  it("is refused where a history has begun, and leaves no file where it fails", function()
    local function files() return #assert(migrate.load(g.dir)) end
    local _, err = migrate.baseline(g.conn, g.dir, "1", { from_db = true, scratch = "postgres://127.0.0.1:1/none" })
    assert.equal("connection", err.class)
    assert.equal(0, files())
    assert.is_false(g.exists "luphant.migrations")
    g.put("0001_b.sql", "create table public.b ();\n")
    assert(migrate.up(g.conn, g.dir))
    _, err = migrate.baseline(g.conn, g.dir, "2", { from_db = true })
    assert.truthy(err.message:find("has a history already", 1, true), err.message)
    assert.equal(1, files())
  end)

  it("is refused in an empty database", function()
    assert(g.conn:script "drop schema app cascade; drop sequence numbers")
    local _, err = migrate.baseline(g.conn, g.dir, "1", { from_db = true })
    assert.equal("migration_refused", err.kind)
    assert.truthy(err.message:find("nothing in this database", 1, true), err.message)
  end)

  it("on the command line: makes the folder, says what it wrote", function()
    local dir = g.folder() .. "/new"
    local function run(...) return cli.run({ DATABASE_URL = g.url }, "migrate", "baseline", "--dir", dir, ...) end
    local code, out, err = run("--from-db", "--at", "7", "--name", "legacy")
    assert.same({ 0, "" }, { code, err })
    assert.equal(("written   %s/B7__legacy.sql\nbaseline  B7_legacy\n"):format(dir), out)
    assert.equal(2, (run("--from-db", "--name", "a b")))
    assert.equal(2, (run("7", "--scratch", "postgres://x/y")))
    assert.equal(2, (run()))
    os.remove(dir .. "/B7__legacy.sql")
    require("lfs").rmdir(dir)
  end)
end)
