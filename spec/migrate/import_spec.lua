-- Import: folders as each tool has them, with the history tables that it makes.

local ground = require "spec.support.migration_ground"
local lfs = require "lfs"
local migrate = require "luphant.migrate"
local shell = require "luphant.testing.shell"

describe("import", function()
  local g, source, target
  before_each(function()
    g = ground.open()
    source, target = g.folder(), g.dir
  end)
  after_each(function()
    shell.run("rm -rf " .. shell.quote(source .. "/deep"))
    g.close()
  end)

  local function put(files)
    for name, text in pairs(files) do g.put(name, text, source) end
  end

  local function import(tool, opts, from)
    opts = opts or {}
    opts.from = tool
    return migrate.import(g.conn, from or source, target, opts)
  end

  local function text(name) return assert(shell.read_file(target .. "/" .. name), name) end

  local function states()
    local out = {}
    for i, entry in ipairs(assert(migrate.status(g.conn, target))) do
      out[i] = ("%s %s %s"):format(entry.version, entry.name, entry.state)
    end
    return out
  end

  -- Everything of it goes on from there: what is pending runs, the last one comes back.
  local function goes_on(applied)
    assert.equal(applied, #assert(migrate.up(g.conn, target)))
    assert.same({}, assert(migrate.up(g.conn, target)))
  end

  it("sqlx: simple files and pairs, no-transaction, times", function()
    put {
      ["20230101000000_users.sql"] = "-- first\ncreate table users (id int);\n",
      ["20230102000000_idx.up.sql"] = "-- no-transaction\ncreate index concurrently i on users (id);\n",
      ["20230102000000_idx.down.sql"] = "drop index i;\n",
      ["20230103000000_new.up.sql"] = "create table n ();", ["20230103000000_new.down.sql"] = "drop table n;",
      ["notes.txt"] = "x",
    }
    assert(g.conn:script [[
      create table users (id int); create index i on users (id);
      create table _sqlx_migrations (version bigint primary key, description text not null,
        installed_on timestamptz not null default now(), success boolean not null, checksum bytea not null,
        execution_time bigint not null);
      insert into _sqlx_migrations values
        (20230101000000, 'users', '2023-01-01 10:00:00+00', true, '\x00', 1),
        (20230102000000, 'idx', '2023-01-02 10:00:00+00', true, '\x00', 1)]])
    local done = assert(import "sqlx")
    assert.same({ 3, 2, {} }, { #done.files, done.applied, done.notes })
    assert.equal("-- migrate:up transaction:false\ncreate index concurrently i on users (id);\n\n"
      .. "-- migrate:down transaction:false\ndrop index i;\n", text "20230102000000_idx.sql")
    assert.same({ "20230101000000 users applied", "20230102000000 idx applied", "20230103000000 new pending" },
      states())
    assert.equal("2023-01-01T10:00:00.000000Z", assert(migrate.status(g.conn, target))[1].applied.applied_at)
    goes_on(1)
    assert(migrate.down(g.conn, target))
    assert.equal("import", assert(migrate.history(g.conn))[3].action)
  end)

  it("dbmate: both ways in one file", function()
    put {
      ["20230101000000_a.sql"] = "-- migrate:up\ncreate table a (n int);\n\n-- migrate:down\ndrop table a;\n",
      ["20230102000000_b.sql"] = "-- migrate:up transaction:false\ncreate index concurrently i on a (n);\n\n"
        .. "-- migrate:down\n\n",
      ["20230103000000_c.sql"] = "-- migrate:up\ncreate table c ();\n-- migrate:down\ndrop table c;\n",
    }
    assert(g.conn:script [[
      create table a (n int);
      create table schema_migrations (version varchar(128) primary key);
      insert into schema_migrations values ('20230101000000')]])
    assert.equal(1, assert(import "dbmate").applied)
    goes_on(2)
    assert.truthy(text("20230102000000_b.sql"):find("-- migrate:up transaction:false\n", 1, true))
    assert.is_nil(text("20230102000000_b.sql"):find("migrate:down", 1, true))
  end)

  it("goose: statements that are marked, what was taken back, files in Go", function()
    put {
      ["00001_a.sql"] = "-- +goose Up\ncreate table a (n int);\n-- +goose StatementBegin\n"
        .. "create function f() returns int language plpgsql as $$ begin return 1; end $$;\n-- +goose StatementEnd\n"
        .. "-- +goose Down\ndrop function f();\ndrop table a;\n",
      ["00002_b.sql"] = "-- +goose NO TRANSACTION\n-- +goose Up\ncreate index concurrently i on a (n);\n",
    }
    assert(g.conn:script [[
      create table a (n int); create function f() returns int language sql as 'select 1';
      create table goose_db_version (id serial primary key, version_id bigint not null, is_applied boolean not null,
        tstamp timestamp default now());
      insert into goose_db_version (version_id, is_applied) values (0, true), (1, true), (2, true), (2, false)]])
    assert.equal(1, assert(import "goose").applied)
    assert.same({ "00001 a applied", "00002 b pending" }, states())
    assert.truthy(text("00001_a.sql"):find("begin return 1; end", 1, true))
    goes_on(1)
    put { ["00003_c.go"] = "package migrations\n", ["00004_d.sql"] = "-- +goose ENVSUB ON\n-- +goose Up\nselect 1;\n" }
    local _, err = migrate.import(nil, source, g.folder(), { from = "goose" })
    assert.same({ "migration_invalid", 2 }, { err.kind, #err.problems })
    assert.truthy(err.message:find("written in Go", 1, true), err.message)
  end)

  it("golang-migrate: one row that says how far, own transactions, a dirty version", function()
    put {
      ["000001_a.up.sql"] = "BEGIN;\ncreate table a (n int);\ncreate table a2 (n int);\nCOMMIT;\n",
      ["000001_a.down.sql"] = "begin; drop table a; drop table a2; end;",
      ["000002_b.up.sql"] = "create index concurrently i on a (n);", ["000002_b.down.sql"] = "drop index i;",
      ["000010_c.up.sql"] = "create table c ();", ["000010_c.down.sql"] = "drop table c;",
    }
    assert(g.conn:script [[
      create table a (n int); create table a2 (n int); create index i on a (n);
      create table schema_migrations (version bigint primary key, dirty boolean not null);
      insert into schema_migrations values (2, true)]])
    local _, err = import "golang-migrate"
    assert.truthy(err.message:find("000002 has failed or is dirty", 1, true), err.message)
    assert.is_nil(lfs.attributes(target .. "/000001_a.sql"))
    assert(g.conn:execute "update schema_migrations set dirty = false")
    assert.equal(2, assert(import "golang-migrate").applied)
    assert.equal("-- migrate:up\ncreate table a (n int);\ncreate table a2 (n int);\n\n"
      .. "-- migrate:down\ndrop table a; drop table a2;\n", text "000001_a.sql")
    goes_on(1)
    assert.equal(3, #assert(migrate.down(g.conn, target, 3)))
    assert.is_false(g.exists "a2")
  end)

  it("flyway: folders, dots, undo, repeatable, placeholders, settings of a file", function()
    assert(lfs.mkdir(source .. "/deep"))
    put {
      ["V1__first.sql"] = "create table a (n int);\n", ["U1__first.sql"] = "drop table a;\n",
      ["V1.2__grant.sql"] = "create table ${name}_x ();\ncomment on table ${name}_x is '${words}';\n",
      ["V2__idx.sql"] = "create index concurrently i on a (n);\n",
      ["V2__idx.sql.conf"] = "executeInTransaction=false\n",
      ["R__the view.sql"] = "create or replace view v as select n from a;\n", ["flyway.toml"] = "x",
    }
    g.put("V3__deep.sql", "create table deep ();\n", source .. "/deep")
    assert(g.conn:script [[
      create table a (n int); create view v as select n from a; create table app_x ();
      create table flyway_schema_history (installed_rank int primary key, version varchar(50),
        description varchar(200) not null, type varchar(20) not null, script varchar(1000) not null, checksum int,
        installed_by varchar(100) not null, installed_on timestamp not null default now(), execution_time int not null,
        success boolean not null);
      insert into flyway_schema_history values
        (1, '1', 'first', 'SQL', 'V1__first.sql', 1, 'x', '2023-01-01', 1, true),
        (2, null, 'the view', 'SQL', 'R__the view.sql', 2, 'x', '2023-01-01', 1, true),
        (3, '1.2', 'grant', 'SQL', 'V1.2__grant.sql', 3, 'x', '2023-01-01', 1, true),
        (4, '2', 'idx', 'SQL', 'V2__idx.sql', 4, 'x', '2023-01-01', 1, true),
        (5, '2', 'idx', 'UNDO_SQL', 'U2__idx.sql', 5, 'x', '2023-01-01', 1, true)]])
    local done = assert(import("flyway", { values = { name = "app", words = "w" } }))
    assert.same({ 5, 3, {} }, { #done.files, done.applied, done.notes })
    assert.equal("-- migrate:up vars:name,words\ncreate table ${name:raw}_x ();\n"
      .. "comment on table ${name:raw}_x is '${words:raw}';\n", text "V1.2__grant.sql")
    assert.truthy(text("2_idx.sql"):find("-- migrate:up transaction:false\n", 1, true))
    assert.same({ "1 first applied", "1.2 grant applied", "2 idx pending", "3 deep pending",
      "the_view the_view applied" }, states())
    goes_on(2)
    put { ["V4__x.sql"] = "select '${flyway:user}';\n", ["V5__y.java"] = "class V5 {}\n" }
    local _, err = migrate.import(nil, source, g.folder(), { from = "flyway" })
    assert.equal(2, #err.problems)
  end)

  it("lapis: functions become the SQL that they would send", function()
    put { ["migrations.lua"] = [[
      local schema, db = require "lapis.db.schema", require "lapis.db"
      local types = schema.types
      return {
        [1368686109] = function()
          schema.create_table("users", {
            { "id", types.serial }, { "name", types.varchar { unique = true } }, { "at", types.time { null = true } },
            { "n", types.integer }, { "ok", types.boolean }, "PRIMARY KEY (id)",
          })
          schema.create_index("users", "name", "n", { unique = true, where = "n > 0" })
          schema.create_index("users", db.raw "lower(name)", { when = true })
        end,
        [1368686200] = function()
          schema.add_column("users", "mail", types.text { default = "it's" })
          db.insert("users", { name = "x", n = 1, ok = true })
          db.update("users", { n = 2 }, { name = "x" })
          db.query("delete from users where name = ? and n > ?", "y?", 3)
          schema.rename_column("users", "at", "seen")
          schema.drop_index("users", db.raw "lower(name)")
        end,
        ["1400000000_more"] = function() schema.rename_table("users", "people") end,
      }]] }
    assert(g.conn:script [[
      create table users (id int);
      create table lapis_migrations (name character varying(255) not null, primary key (name));
      insert into lapis_migrations values ('1368686109')]])
    local done = assert(import "lapis")
    assert.same({ 3, 1 }, { #done.files, done.applied })
    assert(g.conn:script "drop table users; drop schema luphant cascade")
    assert.equal(3, #assert(migrate.up(g.conn, target)))
    assert.same({ id = 1, name = "x", n = 2, ok = true, mail = "it's" },
      g.conn:query_one "select id, name, n, ok, mail from people")
    assert.is_true(g.exists "users_name_n_idx")
    assert.is_false(g.exists "users_lower_name_idx")
    assert.same({ "1368686109 migration applied", "1368686200 migration applied", "1400000000 more applied" }, states())
  end)

  it("lapis: tells what depends on answers of the database, and what has no number", function()
    put { ["migrations.lua"] = [[
      local db = require "lapis.db"
      return {
        [1] = function() for _, row in ipairs(db.select "* from users") do db.query("x" .. row.id) end end,
        [2] = function() db.query "select setval('a', 1)" end,
        named = function() end,
        [3] = function() require("nosuch.module") end,
      }]] }
    local _, err = migrate.import(nil, source .. "/migrations.lua", target, { from = "lapis" })
    assert.same({ "migration_invalid", 4 }, { err.kind, #err.problems })
    assert.truthy(err.message:find("1: asks the database: select * from users", 1, true), err.message)
    assert.same({}, assert(migrate.load(target)))
  end)

  it("kong: up and teardown, what is executed and what is pending, and what only Kong can run", function()
    put {
      ["init.lua"] = 'return { "000_base", "001_tags", "002_empty" }',
      ["000_base.lua"] = "return { postgres = { up = [[\n  CREATE TABLE IF NOT EXISTS services (id int, name text);\n"
        .. "  DO $$ BEGIN ALTER TABLE services ADD host text; EXCEPTION WHEN DUPLICATE_COLUMN THEN NULL; END; $$;\n"
        .. "]] }, cassandra = { up = [[ nothing ]] } }",
      ["001_tags.lua"] = "return { postgres = { up = [[ ALTER TABLE services ADD tags text[]; ]],\n"
        .. "  teardown = function(connector)\n    assert(connector:connect_migrations())\n"
        .. "    assert(connector:query [[ ALTER TABLE services DROP COLUMN host; ]])\n  end } }",
      ["002_empty.lua"] = "return { postgres = { up = [[]], up_f = function(connector)\n"
        .. "  assert(connector:query 'create table later ()') end } }",
    }
    assert(g.conn:script [[
      create table services (id int, name text, host text, tags text[]);
      create table schema_meta (key text, subsystem text, last_executed text, executed text[], pending text[],
        primary key (key, subsystem));
      insert into schema_meta values ('schema_meta', 'core', '001_tags', '{000_base}', '{001_tags}'),
        ('schema_meta', 'acl', '000_base_acl', '{000_base_acl}', null)]])
    local done = assert(import "kong")
    assert.same({ 4, 2, {} }, { #done.files, done.applied, done.notes })
    assert.equal("-- migrate:up phase:contract\nALTER TABLE services DROP COLUMN host;\n",
      (text("V001.1__tags_teardown.sql"):gsub("\n +", "\n")))
    assert.same({ "000 base applied", "001 tags applied", "001.1 tags_teardown pending", "002 empty pending" },
      (function()
        local out = states()
        for i, line in ipairs(out) do out[i] = line:gsub("waiting", "pending") end
        return out
      end)())
    assert.equal(1, #assert(migrate.up(g.conn, target)))
    assert.is_true(g.exists "later")
    assert.equal(1, #assert(migrate.up(g.conn, target, { phase = "contract", allow_out_of_order = true })))
    put {
      ["init.lua"] = 'return { "000_base", "base", "003_rows", "004_kong", "005_gone" }',
      ["003_rows.lua"] = "return { postgres = { up = [[select 1;]], teardown = function(c)\n"
        .. "  for _, row in ipairs(c:query 'select * from services') do c:query('x' .. row.id) end end } }",
      ["004_kong.lua"] = "local ops = require 'kong.db.migrations.operations.212_to_213'\nreturn {}",
    }
    local _, err = migrate.import(nil, source, g.folder(), { from = "kong" })
    assert.equal(4, #err.problems)
    for _, part in ipairs { "base does not begin with digits", "teardown asks the database: select * from services",
      "kong.db.migrations.operations", "005_gone.lua" } do
      assert.truthy(err.message:find(part, 1, true), err.message)
    end
  end)

  it("writes all or nothing, and over nothing", function()
    put { ["1_a.sql"] = "-- migrate:up\ncreate table a ();\n-- migrate:down\ndrop table a;\n",
      ["2_b.sql"] = "-- migrate:up\nselect 'open;\n" }
    local function fails(kind, part, opts, from)
      local _, err = import("dbmate", opts, from)
      assert.equal(kind, err.kind)
      assert.truthy(err.message:find(part, 1, true), err.message)
      assert.is_nil(lfs.attributes(target .. "/1_a.sql"))
    end
    fails("migration_invalid", "2_b.sql")
    put { ["2_b.sql"] = "-- migrate:up\nselect 1;\n" }
    fails("migration_refused", "there is no table schema_migrations")
    assert(g.conn:script "create table other (version text); insert into other values ('9')")
    fails("migration_invalid", "9 is applied, but has no file", { table = "other" })
    fails("migration_invalid", "is no folder", { table = "other" }, "/nowhere")
    assert(g.conn:execute "update other set version = '1'")
    assert.equal(1, assert(import("dbmate", { table = "public.other" })).applied)
    local _, err = import("dbmate", { table = "other" })
    assert.equal("migration_file", err.kind)
    shell.run("rm " .. shell.quote(target) .. "/*")
    fails("migration_refused", "has a history of luphant already", { table = "other" })
  end)
end)
