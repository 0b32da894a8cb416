-- The runner against a real server: what is applied, what is refused, and that a failure leaves nothing.

local lfs = require "lfs"
local env = require "spec.support.env"
local luphant = require "luphant"
local migrate = require "luphant.migrate"

describe("the migration runner", function()
  local conn, dir

  local function put(name, text)
    local file = assert(io.open(dir .. "/" .. name, "wb"))
    file:write(text)
    file:close()
  end
  local function up(opts) return migrate.up(conn, dir, opts) end
  local function value(sql, ...) return assert(conn:query_value(sql, ...)) end
  local function exists(name)
    local answer, err = conn:query_value("select to_regclass($1) is not null", name)
    assert(err == nil, err)
    return answer
  end
  local function versions()
    return conn:query_column "select version from luphant.migrations order by version"
  end

  -- A database of its own for each test: the history's place is part of what is tested.
  local admin
  before_each(function()
    admin = assert(luphant.connect(env.url()))
    assert(admin:execute "drop database if exists luphant_migrate_spec with (force)")
    assert(admin:execute "create database luphant_migrate_spec")
    conn = assert(luphant.connect(env.url(), { dbname = "luphant_migrate_spec" }))
    dir = os.tmpname()
    os.remove(dir)
    assert(lfs.mkdir(dir))
  end)
  after_each(function()
    conn:close()
    assert(admin:execute "drop database luphant_migrate_spec with (force)")
    admin:close()
    for entry in lfs.dir(dir) do
      if entry ~= "." and entry ~= ".." then os.remove(dir .. "/" .. entry) end
    end
    lfs.rmdir(dir)
  end)

  local function two_files()
    put("0001_a.sql", "-- migrate:up\ncreate table a (n int);\ninsert into a values (1);\n"
      .. "-- migrate:down\ndrop table a;\n")
    put("0002_b.sql", "-- migrate:up\ncreate table b (n int);\n-- migrate:down\ndrop table b;\n")
  end

  it("applies what is pending, once, in order, and remembers it", function()
    two_files()
    local heard = {}
    local done = assert(up { on_event = function(e)
      if e.event == "start" or e.event == "applied" then heard[#heard + 1] = e.event .. " " .. e.version end
    end })
    assert.equal(2, #done)
    assert.equal("a", done[1].name)
    assert.truthy(done[1].duration_ms >= 0)
    assert.same({ "start 0001", "applied 0001", "start 0002", "applied 0002" }, heard)
    assert.same({}, assert(up()))
    assert.equal(1, value "select count(*) from a")
    assert.same({ "0001", "0002" }, versions())
    put("0003_c.sql", "-- migrate:up\ncreate table c (n int);\n")
    assert.equal("0003", assert(up())[1].version)
  end)

  it("records the SHA-256 of the normalised file", function()
    local text = "-- migrate:up\ncreate table a (n int);\n"
    put("0001_a.sql", "\239\187\191" .. text:gsub("\n", "\r\n"))
    assert(up())
    assert.is_true(value("select checksum = sha256(convert_to($1, 'UTF8')) from luphant.migrations", text))
  end)

  it("keeps the history in another schema when told", function()
    two_files()
    assert(up { schema = "Odd \"name" })
    assert.equal(2, value [[select count(*) from "Odd ""name".migrations]])
    assert.is_false(exists "luphant.migrations")
  end)

  it("runs functions, strings and several statements as they stand", function()
    put("0001_f.sql", [[
-- migrate:up
create function f() returns text language plpgsql as $body$
begin
  -- a ; in a comment
  return 'a;b' || $q$;$q$;
end
$body$;
create table "semi;colon" (t text default ';');
insert into "semi;colon" values (f());
]])
    assert(up())
    assert.equal("a;b;", value [[select t from "semi;colon"]])
  end)

  it("undoes a failing migration, keeps those before it, and names file and line", function()
    two_files()
    put("0003_bad.sql", "-- why\n-- migrate:up\ncreate table c (n int);\n\nselect 'äöü' || nosuch;\n")
    local done, err = up()
    assert.is_nil(done)
    assert.equal("migration_failed", err.kind)
    assert.equal("42703", err.sqlstate)
    assert.equal(dir .. "/0003_bad.sql", err.file)
    assert.same({ 5, 17 }, { err.line, err.line_column })
    assert.truthy(err.message:find("/0003_bad.sql:5: migrate:up: ", 1, true), err.message)
    assert.equal("undefined_column", err.cause.kind)
    assert.equal(2, #err.done)
    assert.same({ "0001", "0002" }, versions())
    assert.is_false(exists "c")
    put("0003_bad.sql", "-- migrate:up\n  select\n1,  nosuch;\n")
    done, err = up()
    assert.is_nil(done)
    assert.same({ 3, 5 }, { err.line, err.line_column })
    put("0003_bad.sql", "-- migrate:up\ncreate table c (n int);\n")
    assert.equal(1, #assert(up()))
  end)

  it("names the file also where the server knows no position", function()
    put("0001_bad.sql", "\n\n-- migrate:up\ncreate table a (n int check (n > 0));\ninsert into a values (-1);\n")
    local _, err = up()
    assert.equal("23514", err.sqlstate)
    assert.equal(dir .. "/0001_bad.sql", err.file)
    assert.is_false(exists "a")
  end)

  it("refuses an edited file by name, and runs nothing else", function()
    two_files()
    assert(up())
    put("0001_a.sql", "-- migrate:up\ncreate table a (n bigint);\n-- migrate:down\ndrop table a;\n")
    put("0003_c.sql", "-- migrate:up\ncreate table c (n int);\n")
    local _, err = up()
    assert.equal("migration_invalid", err.kind)
    assert.truthy(err.message:find("0001_a.sql: was edited after it had been applied", 1, true), err.message)
    assert.is_false(exists "c")
  end)

  it("refuses a folder in disorder with the whole list, before anything runs", function()
    put("0001_a.sql", "-- migrate:up\ncreate table a (n int);\n")
    put("0001_b.sql", "-- migrate:sideways\n")
    put("c.sql", "")
    local _, err = up()
    assert.equal("migration_invalid", err.kind)
    assert.equal("usage", err.class)
    assert.truthy(#err.problems >= 4)
    assert.truthy(err.message:find("0001_b.sql:1: unknown section", 1, true), err.message)
    assert.is_false(exists "a")
    assert.is_false(exists "luphant.migrations")
  end)

  it("undoes a migration whose verification is not all true", function()
    local complaints = {
      ["select true as a, false as b"] = "answered b = false",
      ["select null::bool as fits"] = "answered fits = NULL",
      ["select 7 as left_over"] = "answered left_over = 7",
      ["select true as fits union all select false"] = "answered fits = false",
      ["select from (values (1)) as v"] = "answered a row",
      ["select false, true"] = "has two columns called ?column?",
    }
    for check, complaint in pairs(complaints) do
      put("0001_a.sql", "-- migrate:up\ncreate table a (n int);\n-- migrate:verify\n" .. check .. ";\n")
      local _, err = up()
      assert.equal("migration_failed", err.kind, check)
      assert.truthy(err.message:find("0001_a.sql:4: migrate:verify: statement 1 " .. complaint, 1, true), err.message)
      assert.is_false(exists "a", check)
    end
    put("0001_a.sql", "-- migrate:up\ncreate table a (n int);\n-- migrate:verify\n"
      .. "insert into a values (1);\nselect n = 1 as fits from a;\nselect from a where n > 1;\ndelete from a;\n")
    assert(up())
    assert.is_true(exists "a")
  end)

  it("refuses a file that ends its transaction", function()
    put("0001_a.sql", "-- migrate:up\ncreate table a (n int);\ncommit;\nbegin;\ncreate table b (n int);\n")
    local _, err = up()
    assert.equal("migration_invalid", err.kind)
    assert.truthy(err.message:find("0001_a.sql:3: COMMIT: the runner begins and ends transactions itself", 1, true),
      err.message)
    assert.is_false(exists "a")
    -- Hidden in a function body it is found by what it did.
    put("0001_a.sql", "-- migrate:up\ncreate procedure p() language plpgsql as $$ begin commit; end $$;\ncall p();\n")
    assert.equal("migration_failed", select(2, up()).kind)
    assert.same({}, versions())
  end)

  it("runs in the order of requirements", function()
    put("0001_a.sql", "-- migrate:up requires:0002\ninsert into b values (1);\n-- migrate:down\ndelete from b;\n")
    put("0002_b.sql", "create table b (n int);\n")
    assert(up())
    assert.equal(1, value "select count(*) from b")
    assert.equal("0001", assert(migrate.down(conn, dir))[1].version)
  end)

  it("takes migrations back, newest first, with the way back that was recorded", function()
    two_files()
    assert(up())
    os.remove(dir .. "/0002_b.sql")
    local done = assert(migrate.down(conn, dir))
    assert.same({ "reverted", "0002" }, { done[1].event, done[1].version })
    assert.is_false(exists "b")
    assert.is_true(exists "a")
    assert.equal(1, #assert(migrate.down(conn, dir, 5)))
    assert.is_false(exists "a")
    assert.same({}, assert(migrate.down(conn, dir)))
    assert.equal(1, #assert(up()))
  end)

  it("keeps history and table together when a way back fails", function()
    put("0001_a.sql", "-- migrate:up\ncreate table a (n int);\n-- migrate:down\ndrop table a;\ndrop table nosuch;\n")
    assert(up())
    local _, err = migrate.down(conn, dir)
    assert.equal("migration_failed", err.kind)
    assert.truthy(err.message:find("migrate:down", 1, true))
    assert.is_true(exists "a")
    assert.same({ "0001" }, versions())
  end)

  it("refuses to take back what has no way back, before anything runs", function()
    put("0001_a.sql", "-- migrate:up\ncreate table a (n int);\n")
    put("0002_b.sql", "-- migrate:up\ncreate table b (n int);\n-- migrate:down\ndrop table b;\n")
    assert(up())
    local _, err = migrate.down(conn, dir, 2)
    assert.equal("migration_invalid", err.kind)
    assert.truthy(err.message:find("0001_a.sql", 1, true))
    assert.is_true(exists "b")
  end)

  it("shows the state without creating anything", function()
    two_files()
    local entries = assert(migrate.status(conn, dir))
    assert.same({ "pending", "pending" }, { entries[1].state, entries[2].state })
    assert.is_false(exists "luphant.migrations")
    assert(up())
    put("0002_b.sql", "-- migrate:up\ncreate table b (n bigint);\n")
    os.remove(dir .. "/0001_a.sql")
    entries = assert(migrate.status(conn, dir))
    assert.same({ "missing", "changed" }, { entries[1].state, entries[2].state })
  end)

  it("gives up when another runner holds the lock, naming it; and runs once it is free", function()
    two_files()
    local other = assert(luphant.connect(env.url(), {
      dbname = "luphant_migrate_spec", application_name = "the other one",
    }))
    assert(other:execute [[select pg_advisory_lock(x'6c7068'::int, hashtext('"luphant".migrations'))]])
    local _, err = up { lock_wait = 0.1 }
    assert.equal("migration_locked", err.kind)
    local pid = assert(other:query_value "select pg_backend_pid()")
    assert.truthy(err.message:find(('process %d "the other one"'):format(pid), 1, true), err.message)
    assert.is_false(exists "a")
    other:close()
    assert.equal(2, #assert(up()))
    assert.equal(0, value "select count(*) from pg_locks where locktype = 'advisory'")
  end)

  it("writes nothing without the lock, whatever the verb", function()
    two_files()
    assert(up { count = 1 })
    local before = value "select md5(string_agg(m::text, '') ) from luphant.migrations m"
    put("0001_a.sql", "-- migrate:up\ncreate table a (n int);\n\n-- migrate:down\ndrop table a;\n")
    local other = assert(luphant.connect(env.url(), { dbname = "luphant_migrate_spec" }))
    assert(other:execute [[select pg_advisory_lock(x'6c7068'::int, hashtext('"luphant".migrations'))]])
    local o = { lock_wait = 0.05, reason = "test" }
    local verbs = {
      function() return migrate.up(conn, dir, { lock_wait = 0.05, only = { "2" }, reason = "test" }) end,
      function() return migrate.down(conn, dir, 1, o) end, function() return migrate.redo(conn, dir, o) end,
      function() return migrate.resume(conn, dir, "1", o) end, function() return migrate.skip(conn, dir, "2", o) end,
      function() return migrate.resolve(conn, dir, "2", "applied", o) end,
      function() return migrate.repair(conn, dir, o) end, function() return migrate.baseline(conn, dir, "2", o) end,
    }
    for i, verb in ipairs(verbs) do
      local answer, err = verb()
      assert.is_nil(answer, i)
      assert.equal("migration_locked", err.kind, i .. ": " .. err.message)
    end
    assert.equal(before, value "select md5(string_agg(m::text, '') ) from luphant.migrations m")
    other:close()
  end)

  it("gives the lock back after a failure", function()
    put("0001_bad.sql", "-- migrate:up\nselect nosuch;\n")
    assert.is_nil((up()))
    assert.equal(0, value "select count(*) from pg_locks where locktype = 'advisory'")
    assert.has_error(function() up { on_event = function() error("listener", 0) end } end, "listener")
    assert.equal(0, value "select count(*) from pg_locks where locktype = 'advisory'")
  end)

  it("goes up, down and up again through the migrations of this repository", function()
    local first = assert(migrate.up(conn, "migrations"))
    assert.truthy(#first >= 3)
    assert.equal(#first, #assert(migrate.down(conn, "migrations", #first)))
    assert.equal(0, value [[
      select (select count(*) from pg_class where relnamespace = 'public'::regnamespace)
           + (select count(*) from pg_type where typnamespace = 'public'::regnamespace)
           + (select count(*) from pg_proc where pronamespace = 'public'::regnamespace)]])
    assert.equal(#first, #assert(migrate.up(conn, "migrations")))
  end)

  it("raises on misuse at the caller", function()
    assert.has_error(function() migrate.up(nil, dir) end)
    assert.has_error(function() migrate.down(conn, dir, 1.5) end)
    assert.has_error(function() migrate.down(conn, dir, -1) end)
    local _, message = pcall(migrate.up, conn, dir, { shema = "x" })
    assert.truthy(message:find('unknown option "shema" (did you mean "schema"?)', 1, true), message)
  end)
end)
