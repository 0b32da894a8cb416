-- The backup before a run: it is there, it can be restored, the way back names it, and a failure runs nothing.

local cli = require "spec.support.cli"
local env = require "spec.support.env"
local ground = require "spec.support.migration_ground"
local lfs = require "lfs"
local migrate = require "luphant.migrate"
local shell = require "luphant.testing.shell"

describe("a backup before migrations", function()
  local g

  before_each(function()
    g = ground.open()
    assert(g.conn:script "create table old (n int); insert into old values (7)")
    g.put("0001_a.sql", "-- migrate:up\ndrop table old;\n-- migrate:down\ncreate table old (n int);\n")
  end)
  after_each(function() g.close() end)

  it("holds what was there, is proved, and is named on the way back", function()
    local dir, taken = g.folder(), nil
    assert(migrate.up(g.conn, g.dir, { backup = { dir = dir, restore = true }, on_event = function(e)
      if e.event == "backup" then taken = e end
    end }))
    assert.is_false(g.exists "old")
    assert.equal(lfs.attributes(taken.file, "size"), taken.bytes)
    assert.is_true(taken.entries > 0 and taken.restored)
    assert.equal("rw-------", lfs.attributes(taken.file, "permissions"))
    assert.equal(0, g.value "select count(*) from pg_database where datname like 'luphant_verify%'")
    local listed = assert(shell.run("pg_restore --data-only --file=- " .. shell.quote(taken.file)))
    assert.truthy(listed:find("\n7\n", 1, true), listed)
    local named
    assert(migrate.down(g.conn, g.dir, 1, { on_event = function(e)
      if e.event == "start" then named = e.backup end
    end }))
    assert.equal(taken.file, named)
    assert.equal("backup", g.value "select action from luphant.events order by id limit 1")
  end)

  it("may be of those tables only that the run works on", function()
    assert(g.conn:script [[create table other (n int); create table "Odd one" (n int); create schema s;
      create table s.t (n int); create view v as select 1 as n]])
    g.put("0002_b.sql", "alter table \"Odd one\" add column m int;\nupdate s.t set n = 1;\n"
      .. "create or replace view v as select 2 as n;\ncreate table fresh (n int);\n")
    local dir, taken = g.folder(), nil
    local function listen(e) taken = e.event == "backup" and e or taken end
    assert(migrate.up(g.conn, g.dir, { backup = { dir = dir, tables = "touched", restore = true }, on_event = listen }))
    assert.same({ '"public"."Odd one"', '"public"."old"', '"s"."t"' }, taken.tables)
    local listed = assert(shell.run("pg_restore --list " .. shell.quote(taken.file)))
    for _, name in ipairs { "Odd one", "s t", "public old" } do assert.truthy(listed:find(name, 1, true), listed) end
    assert.is_nil(listed:find("other", 1, true))
    -- Where nothing that is there is touched there is nothing to save; where a text does not tell, all of it is.
    taken = nil
    g.put("0003_c.sql", "create table another (n int);\n")
    assert(migrate.up(g.conn, g.dir, { backup = { dir = dir, tables = "touched" }, on_event = listen }))
    assert.is_nil(taken)
    g.put("0004_d.sql", "do $$ begin delete from other; end $$;\n")
    assert(migrate.up(g.conn, g.dir, { backup = { dir = dir, tables = "touched" }, on_event = listen }))
    assert.is_nil(taken.tables)
    assert.has_error(function() migrate.up(g.conn, g.dir, { backup = { tables = "some" } }) end)
  end)

  it("that cannot be written lets nothing run", function()
    local _, err = migrate.up(g.conn, g.dir, { backup = { dir = g.dir .. "/nowhere" } })
    assert.equal("migration_backup", err.kind)
    assert.truthy(err.message:find("pg_dump failed", 1, true), err.message)
    assert.is_true(g.exists "old")
    assert.equal(0, g.value "select count(*) from luphant.migrations")
  end)

  it("may be taken by a command, which knows the database, and names it", function()
    local dir, taken, named = g.folder(), nil, nil
    local command = ("pg_dump -Fc -f %s && echo snapshot-7 && echo more"):format(shell.quote(dir .. "/own.dump"))
    assert(migrate.up(g.conn, g.dir, { backup = { command = command }, on_event = function(e)
      if e.event == "backup" then taken = e end
    end }))
    assert.same({ "snapshot-7", true }, { taken.file, taken.command })
    local listed = assert(shell.run("pg_restore --data-only --file=- " .. shell.quote(dir .. "/own.dump")))
    assert.truthy(listed:find("\n7\n", 1, true), listed)
    local function listen(e) named = e.event == "start" and e.backup or named end
    assert(migrate.down(g.conn, g.dir, 1, { on_event = listen }))
    assert.equal("snapshot-7", named)
    local _, err = migrate.up(g.conn, g.dir, { backup = { command = "echo no space left; exit 3" } })
    assert.same({ "migration_backup", true }, { err.kind, g.exists "old" })
    assert.truthy(err.message:find("no space left", 1, true), err.message)
    assert.has_error(function() migrate.up(g.conn, g.dir, { backup = { command = "true", restore = true } }) end)
    local function run(...) return cli.run({ DATABASE_URL = g.url }, "migrate", "up", "--dir", g.dir, ...) end
    assert.equal(2, (run("--backup-cmd", "true", "--backup", dir)))
    local code, out = run("--backup-cmd", "echo on-the-command-line")
    assert.equal(0, code)
    assert.matches("^backup    on%-the%-command%-line  %(by a command%)\napplied   0001_a", out)
  end)

  it("is not taken when nothing is to run, and its options are checked", function()
    assert(migrate.up(g.conn, g.dir))
    local dir = g.folder()
    assert(migrate.up(g.conn, g.dir, { backup = { dir = dir } }))
    for entry in lfs.dir(dir) do assert.truthy(entry:find "^%.+$", entry) end
    assert.has_error(function() migrate.up(g.conn, g.dir, { backup = { folder = dir } }) end)
  end)

  it("shows a password to nobody", function()
    assert(g.conn:script [[
      drop role if exists luphant_dumper; create role luphant_dumper superuser login password 'sesame']])
    local url = g.url:gsub("//[^/@]*@?/", "//luphant_dumper:sesame@/")
    -- What pg_dump is called with is seen by a program of that name that stands before it.
    local dir = g.folder()
    shell.write_file(dir .. "/pg_dump", "#!/bin/sh\nps -eo args > " .. dir .. "/seen\nexec "
      .. env.bin_dir() .. "/pg_dump \"$@\"\n")
    assert(shell.run("chmod +x " .. shell.quote(dir .. "/pg_dump")))
    local out = g.child(([[
      local popen = io.popen
      io.popen = function(command, mode) return popen("PATH=%s:$PATH; " .. command, mode) end -- luacheck: ignore
      print(#assert(migrate.up(%q, DIR, { backup = { dir = %q } })))]]):format(dir, url, dir))
    assert.equal("1", out)
    local seen = assert(shell.read_file(dir .. "/seen"))
    assert.truthy(seen:find("pg_dump", 1, true))
    assert.is_nil(seen:find("sesame", 1, true))
    assert(g.conn:script "drop owned by luphant_dumper; drop role luphant_dumper")
  end)
end)
