-- Migrations in a transaction: kinds, blocks, values, time limits, what they leave behind, and what is told meanwhile.

local ground = require "spec.support.migration_ground"
local migrate = require "luphant.migrate"

describe("a migration in a transaction", function()
  local g

  before_each(function() g = ground.open() end)
  after_each(function() g.close() end)

  local function up(opts) return migrate.up(g.conn, g.dir, opts) end
  local function listener(wanted)
    local heard = {}
    return heard, function(event)
      if event.event == wanted then heard[#heard + 1] = event end
    end
  end

  it("is checked before, and nothing of it runs when the check is not all true", function()
    assert(g.conn:execute "create table old (n int)")
    g.put("0001_a.sql", "-- migrate:check\nselect count(*) = 0 as is_empty from old;\n-- migrate:up\ndrop table old;\n")
    assert(g.conn:execute "insert into old values (1)")
    local _, err = up()
    assert.truthy(err.message:find("0001_a.sql:2: migrate:check: statement 1 answered is_empty = false", 1, true),
      err.message)
    assert.is_true(g.exists "old")
    assert(g.conn:execute "delete from old")
    assert(up())
    assert.is_false(g.exists "old")
  end)

  it("gets its values, and its way back is recorded with them", function()
    g.put("0001_v.sql", "-- migrate:up vars:name,note\ncreate table ${name} (t text default ${note:literal});\n"
      .. "-- migrate:down\ndrop table ${name};\n")
    local _, err = up()
    assert.truthy(err.message:find("needs a value for ${name}", 1, true), err.message)
    assert(up { values = { name = "Odd name", note = "it's" } })
    assert(g.conn:execute [[insert into "Odd name" default values]])
    assert.equal("it's", g.value [[select t from "Odd name"]])
    assert.same({ name = "Odd name", note = "it's" }, g.row("0001").vars)
    assert(migrate.down(g.conn, g.dir))
    assert.is_false(g.exists [["Odd name"]])
  end)

  it("that is repeatable runs again when its text is new, and not when it is old", function()
    g.put("0001_a.sql", "create table a (n int);")
    g.put("R__v.sql", "create or replace view v as select 1 as n;")
    assert.equal(2, #assert(up()))
    assert.equal(0, #assert(up()))
    g.put("R__v.sql", "create or replace view v as select 2 as n;")
    assert.equal("v", assert(up())[1].version)
    assert.equal(2, g.value "select n from v")
    assert.equal(1, #g.row("v").earlier)
    g.put("R__v.sql", "create or replace view v as select 1 as n;")
    local _, err = up()
    assert.truthy(err.message:find("has the text of an earlier run again", 1, true), err.message)
    assert(up { rerun = { "R__v" } })
    assert.equal(1, g.value "select n from v")
    assert.equal(0, #assert(up()))
  end)

  it("is left to a baseline where the database is new, and not where it is old", function()
    g.put("0001_a.sql", "create table a (n int);")
    assert(up())
    g.put("B0002__start.sql", "create table a (n int); create table b (n int);")
    g.put("0002_b.sql", "create table b (n int);")
    g.put("0003_c.sql", "create table c (n int);")
    local done = assert(up())
    assert.same({ "0002", "0003" }, { done[1].version, done[2].version })
    assert(g.conn:script "drop schema luphant cascade; drop table a, b, c")
    done = assert(up())
    assert.same({ "baseline", "0002", "0003" }, { done[1].kind, done[1].version, done[2].version })
    assert.equal("baseline", g.row("0002").kind)
    assert.equal(0, #assert(up()))
  end)

  it("may be written in Lua", function()
    g.put("0001_l.lua", [[
return {
  up = function(db)
    assert(db:execute "create table l (n int)")
    for i = 1, 3 do assert(db:execute("insert into l values ($1)", i)) end
  end,
  verify = function(db) return db:query_value "select count(*) = 3 from l" end,
  down = function(db) assert(db:execute "drop table l") end,
}]])
    assert(up())
    assert.equal(3, g.value "select count(*) from l")
    assert(migrate.down(g.conn, g.dir))
    assert.is_false(g.exists "l")
  end)

  it("in Lua fails when a function raises, answers false or a reason, or a statement failed", function()
    local bodies = {
      ["error('no', 0)"] = "no", ["return false"] = "answered false", ["return nil, 'why'"] = "why",
      ["db:execute 'select nosuch'"] = "nosuch",
    }
    for body, complaint in pairs(bodies) do
      g.put("0001_l.lua", "return { up = function(db) assert(db:execute 'create table l ()') " .. body .. " end }")
      local _, err = up()
      assert.equal("migration_failed", err.kind, body)
      assert.truthy(err.message:find(complaint, 1, true), err.message)
      assert.is_false(g.exists "l")
    end
  end)

  it("is tried again as a whole when a lock cannot be had, and names who is in the way", function()
    g.put("0001_t.sql", "create table t (n int);")
    assert(up())
    g.put("0002_t.sql", "create table a ();\nalter table t add column m int;\n")
    local other = g.connect { application_name = "in the way" }
    assert(other:script "begin; select from t")
    local heard, on_event = listener "retry"
    assert(up { lock_timeout = 1, on_event = function(event)
      on_event(event)
      if #heard == 2 then assert(other:script "commit") end
    end })
    assert.equal(2, #heard)
    assert.same({ 2, "55P03" }, { heard[1].attempt, heard[1].sqlstate })
    assert.equal(other:backend_pid(), heard[1].blocked_by[1].pid)
    assert.equal("in the way", heard[1].blocked_by[1].application_name)
    assert.truthy(heard[1].message:find('blocked by server process %d+ "in the way"'), heard[1].message)
    assert.is_true(g.exists "a")
    other:close()
  end)

  it("gives up on a lock after a while, or at once where it says retry:false", function()
    g.put("0001_t.sql", "create table t (n int);")
    assert(up())
    local other = g.connect()
    assert(other:script "begin; select from t")
    g.put("0002_t.sql", "-- migrate:up retry:false lock_timeout:100ms\nalter table t add column m int;\n")
    local heard, on_event = listener "retry"
    local _, err = up { on_event = on_event }
    assert.same({ "migration_failed", "55P03", 0 }, { err.kind, err.sqlstate, #heard })
    g.put("0002_t.sql", "-- migrate:up lock_timeout:1s\nalter table t add column m int;\n")
    _, err = up { on_event = on_event, lock_retry_for = 0.1 }
    assert.same({ "migration_failed", "55P03", 0 }, { err.kind, err.sqlstate, #heard })
    assert.equal(other:backend_pid(), err.blocked_by[1].pid)
    other:close()
  end)

  it("has the time limits that its marker line gives, and a block its own", function()
    g.put("0001_a.sql", "-- migrate:up statement_timeout:100ms\nselect pg_sleep(5);\n")
    local _, err = up()
    assert.equal("57014", err.sqlstate)
    g.put("0001_a.sql", [[
-- migrate:up statement_timeout:10s lock_timeout:3s
create table limits as
select current_setting('statement_timeout') as statement, current_setting('lock_timeout') as lock,
  current_setting('idle_in_transaction_session_timeout') as idle;
-- migrate:verify statement_timeout:7s
insert into limits select current_setting('statement_timeout'), '', '';
]])
    assert(up { idle_timeout = 30 })
    assert.same({ "10s", "3s", "30s" }, { g.value "select statement from limits where lock <> ''",
      g.value "select lock from limits where lock <> ''", g.value "select idle from limits where lock <> ''" })
    assert.equal("7s", g.value "select statement from limits where lock = ''")
  end)

  it("leaves nothing in the session of the next one, and is told of what it left", function()
    assert(g.conn:execute "create schema elsewhere")
    g.put("0001_a.sql", "set search_path = elsewhere; set work_mem = '8MB'; create temp table left_over (n int);")
    g.put("0002_b.sql", "create table b as select current_setting('work_mem') as work_mem;")
    local heard, on_event = listener "warning"
    assert(up { on_event = on_event })
    assert.equal(1, #heard)
    assert.equal("0001", heard[1].version)
    for _, what in ipairs { "search_path", "work_mem", "left_over" } do
      assert.truthy(heard[1].message:find(what, 1, true), heard[1].message)
    end
    assert.is_true(g.exists "public.b")
    assert.not_equal("8MB", g.value "select work_mem from b")
  end)

  it("is applied where the caller's connection would have put it", function()
    assert(g.conn:script "create schema shop; set search_path = shop")
    g.put("0001_a.sql", "create table a ();")
    assert(up())
    assert.is_true(g.exists "shop.a")
  end)

  it("takes a pool, a connection or a URL, and needs no connection of the pool", function()
    g.put("0001_a.sql", "create table a ();")
    g.put("0002_b.sql", "create table b ();")
    g.put("0003_c.sql", "create table c ();")
    local luphant = require "luphant"
    local db = assert(luphant.open(g.url, { max_connections = 1, timeout = 0.001 }))
    assert.equal(1, #assert(migrate.up(db, g.dir, { count = 1 })))
    db:close()
    assert.equal(1, #assert(migrate.up(g.url, g.dir, { count = 1 })))
    assert.equal(1, #assert(migrate.up(g.conn, g.dir)))
    assert.has_error(function() g.conn:transaction(function() migrate.up(g.conn, g.dir) end) end)
  end)

  it("tells each statement, what the server notices, and how it goes with a long one", function()
    g.put("0001_a.sql", "create table a ();\ncreate table if not exists a ();\nselect pg_sleep(1.6);\n")
    local seen = {}
    assert(up { on_event = function(event) seen[#seen + 1] = event end })
    local by, order = {}, {}
    for _, event in ipairs(seen) do
      by[event.event] = by[event.event] or {}
      table.insert(by[event.event], event)
      if order[#order] ~= event.event then order[#order + 1] = event.event end
    end
    assert.same({ "lock_acquired", "plan", "start" }, { order[1], order[2], order[3] })
    assert.same({ "applied", "summary" }, { order[#order - 1], order[#order] })
    assert.equal(3, #by.statement)
    assert.same({ 2, 3, 2, "up" },
      { by.statement[2].statement, by.statement[2].total, by.statement[2].line, by.statement[2].part })
    assert.truthy(by.notice[1].message:find("already exists", 1, true))
    assert.equal("0001", by.notice[1].version)
    assert.truthy(#by.progress >= 1)
    assert.truthy(by.progress[1].seconds >= 1)
    assert.truthy(by.progress[1].sql:find("pg_sleep", 1, true))
    assert.equal(1, #by.summary[1].done)
  end)

  it("stops on request: the running statement is cancelled, and nothing of the migration stays", function()
    g.put("0001_a.sql", "create table a ();")
    g.put("0002_b.sql", "create table b (); select pg_sleep(30);")
    g.put("0003_c.sql", "create table c ();")
    local stop = false
    local done, err = up { should_stop = function() return stop end, on_event = function(event)
      if event.sql and event.sql:find "pg_sleep" then stop = true end
    end }
    assert.is_nil(done)
    assert.equal("migration_interrupted", err.kind)
    assert.same({ "0001", "0003" }, { err.done[1].version, err.not_run[1].version })
    assert.is_false(g.exists "b")
    assert.equal(0, g.locks())
    assert.equal(0, g.value [[select count(*) from pg_stat_activity
      where query like '%pg_sleep(30)%' and pid <> pg_backend_pid()]])
  end)

  it("runs only when it is what was reviewed", function()
    g.put("0001_a.sql", "create table a ();")
    local plan = assert(migrate.plan(g.conn, g.dir))
    assert.equal("apply", plan.steps[1].action)
    assert.is_false(g.exists "luphant.migrations")
    g.put("0002_b.sql", "create table b ();")
    local _, err = up { plan_hash = plan.hash }
    assert.equal("migration_moved", err.kind)
    assert.is_false(g.exists "a")
    plan = assert(migrate.plan(g.conn, g.dir))
    -- The same files and history, and another schema.
    assert(g.conn:execute "create table somebody_was_here (n int)")
    _, err = up { plan_hash = plan.hash }
    assert.equal("migration_moved", err.kind)
    assert(g.conn:execute "drop table somebody_was_here")
    assert.equal(2, #assert(up { plan_hash = plan.hash }))
    _, err = up { plan_hash = plan.hash }
    assert.equal("migration_moved", err.kind)
    local _, back = migrate.plan(g.conn, g.dir, { direction = "down" })
    assert.truthy(back.message:find("was applied without a migrate:down section", 1, true), back.message)
  end)

  it("that gives up the lock is rolled back", function()
    g.put("0001_a.sql", "create function f() returns void language plpgsql as $$ begin "
      .. "execute 'select pg_advisory_' || 'unlock_all()'; end $$;\ncreate table a ();\nselect f();\n")
    local _, err = up()
    assert.equal("migration_lock_lost", err.kind)
    assert.is_false(g.exists "a")
    assert.equal(0, g.value "select count(*) from luphant.migrations")
  end)

  it("that fails has an event of that, and its row is untouched", function()
    g.put("0001_a.sql", "select nosuch;")
    assert.is_nil((up()))
    assert.same({ "fail" }, g.actions "0001")
    assert.equal(0, g.value "select count(*) from luphant.migrations")
    local event = assert(migrate.history(g.conn, { version = "0001" }))[1]
    assert.equal("42703", event.detail.sqlstate)
  end)

  it("may fail at COMMIT alone", function()
    g.put("0001_a.sql", [[
create table p (n int primary key);
create table c (n int references p deferrable initially deferred);
insert into c values (1);]])
    local _, err = up()
    assert.same({ "migration_failed", "23503", "commit" }, { err.kind, err.sqlstate, err.part })
    assert.is_false(g.exists "p")
  end)
end)
