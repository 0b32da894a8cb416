-- dump and load_dump: a schema and its history as one file, and back.

local ground = require "spec.support.migration_ground"
local migrate = require "luphant.migrate"
local scratch = require "luphant.migrate.scratch"
local schema = require "luphant.schema"
local shell = require "luphant.testing.shell"

describe("a dump", function()
  local g, path
  before_each(function()
    g = ground.open()
    path = g.dir .. ".sql"
    g.put("0001_a.sql", "-- migrate:up\ncreate table a (id serial primary key, t text default '\\restrict;');\n"
      .. "insert into a values (7);\n-- migrate:down\ndrop table a;\n")
    g.put("0002_f.sql", "create function f() returns bigint language sql as $$ select id::bigint from a; $$;\n")
    g.put("0003_s.sql", "select 1;\n")
    assert(migrate.up(g.conn, g.dir, { count = 2 }))
    assert(migrate.skip(g.conn, g.dir, "0003", { reason = "spec" }))
  end)
  after_each(function()
    g.close()
    os.remove(path)
  end)

  it("makes the same schema and history of an empty database; the next migrations go on from there", function()
    shell.write_file(path, assert(migrate.dump(g.conn)))
    local before = assert(schema.snapshot(g.conn))
    assert(scratch.with(g.conn, function(s)
      return s:with(function(conn)
        local done = assert(migrate.load_dump(conn, path))
        assert.equal(3, done.migrations)
        assert.same({}, schema.diff(before, assert(schema.snapshot(conn))))
        assert.equal(0, conn:query_value "select count(*)::int4 from a")
        local states = {}
        for i, entry in ipairs(assert(migrate.status(conn, g.dir))) do states[i] = entry.state end
        assert.same({ "applied", "applied", "skipped" }, states)
        g.put("0004_b.sql", "create table b ();\n")
        assert.equal("0004", assert(migrate.up(conn, g.dir))[1].version)
        assert(migrate.down(conn, g.dir, 1) == nil)
        return true
      end)
    end))
  end)

  it("is the same text each time, and without what changes from day to day", function()
    local text = assert(migrate.dump(g.conn))
    assert.equal(text, assert(migrate.dump(g.url)))
    assert.is_nil(text:find("\n\\", 1, true))
    assert.is_nil(text:find("statement_timeout", 1, true))
    assert.is_nil(text:find("Dumped", 1, true))
    assert.truthy(text:find("'\\restrict;'", 1, true), text)
  end)

  it("is loaded into nothing but an empty database, all of it or nothing", function()
    shell.write_file(path, assert(migrate.dump(g.conn)))
    local _, err = migrate.load_dump(g.conn, path)
    assert.equal("migration_refused", err.kind)
    assert.truthy(err.message:find("public.a", 1, true), err.message)
    assert(scratch.with(g.conn, function(s)
      return s:with(function(conn)
        shell.write_file(path, "create table public.x ();\n\nselect nosuch;\n")
        _, err = migrate.load_dump(conn, path)
        assert.same({ "migration_failed", 3 }, { err.kind, err.line })
        assert.is_nil(conn:query_value "select to_regclass('public.x')::text")
        shell.write_file(path, "select 'open")
        _, err = migrate.load_dump(conn, path)
        assert.equal("migration_invalid", err.kind)
        shell.write_file(path, "create table public.x ();\n")
        assert(migrate.load_dump(conn, path))
        return true
      end)
    end))
    _, err = migrate.load_dump(g.conn, "/nowhere.sql")
    assert.equal("migration_file", err.kind)
  end)

  it("is refused while a migration is half done", function()
    g.put("0004_x.sql", "-- migrate:up transaction:false\nselect 1;\nselect nosuch;\n")
    migrate.up(g.conn, g.dir)
    local _, err = migrate.dump(g.conn)
    assert.equal("migration_refused", err.kind)
  end)

  it("tells what pg_dump says when it cannot", function()
    assert(g.conn:script [[
      do $$ begin create role luphant_dump_spec login; exception when duplicate_object then null; end $$;
      grant usage on schema luphant to luphant_dump_spec;
      grant select on all tables in schema luphant to luphant_dump_spec]])
    local url = g.url:gsub("postgres@", "luphant_dump_spec@")
    local _, err = migrate.dump(url)
    assert.equal("migration_program", err.kind)
    assert.truthy(err.message:find("permission denied", 1, true), err.message)
    assert(g.conn:script "drop owned by luphant_dump_spec; drop role luphant_dump_spec")
  end)
end)
