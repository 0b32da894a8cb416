-- What goes wrong around migrations: many runners at once, processes that are killed, connections that are cut, locks
-- that are lost, poolers, releases that know other files.
--
-- To see it fail: take the lock out of run.lua, write the row of transact.lua in a transaction of its own, or let
-- session.lua find out what became of a COMMIT before it has the lock.

local core = require "luphant.core"
local ground = require "spec.support.migration_ground"
local luphant = require "luphant"
local migrate = require "luphant.migrate"
local pgbouncer = require "spec.support.pgbouncer"
local proxy = require "luphant.testing.proxy"
local server = require "luphant.testing.server"

-- Steps of the sweep: every byte on one Lua, and the same kinds of places on the other and under sanitizers.
local IS_SLOW = (tonumber(os.getenv "LUPHANT_TEST_SLOW_FACTOR" or "1") or 1) > 1
local STRIDE = (IS_SLOW or rawget(_G, "jit")) and 5 or 1

local STEPWISE = "-- migrate:up transaction:false\n"

describe("migrations under faults:", function()
  local g

  before_each(function() g = ground.open() end)
  after_each(function() g.close() end)

  local function up(opts) return migrate.up(g.conn, g.dir, opts) end
  local function entry_of(version)
    for _, entry in ipairs(assert(migrate.status(g.conn, g.dir))) do
      if entry.version == version then return entry end
    end
  end

  it("8 processes that start at once apply everything exactly once, and none of them fails", function()
    g.put("0001_a.sql", "create table a (n int);")
    g.put("0002_a.sql", "insert into a values (1); select pg_sleep(0.3);")
    g.put("0003_i.sql", STEPWISE .. "create index concurrently a_n on a (n);\n")
    g.put("0004_a.sql", "insert into a values (2);")
    g.put("R__v.sql", "create view v as select sum(n) as total from a;")
    local pipes = {}
    for i = 1, 8 do
      pipes[i] = g.child([[
        local answer, err = migrate.run(URL, { dir = DIR, on_startup = "apply" })
        print(answer and answer.state .. " " .. #answer.applied or tostring(err))]], true)
    end
    local total = 0
    for i = 1, 8 do
      local text = pipes[i]:read "*a"
      pipes[i]:close()
      local count = text:match "^current (%d+)\n$"
      assert.truthy(count, text)
      total = total + tonumber(count)
    end
    assert.equal(5, total)
    assert.equal(3, g.value "select total from v")
    assert.equal(5, g.value "select count(*) from luphant.events where action = 'apply'")
    assert.equal(5, g.value "select count(*) from luphant.migrations where state = 'applied'")
    assert.equal(0, g.locks())
  end)

  -- Runs `up` in a process that is killed with SIGKILL when the n-th event of this name comes.
  local function killed_at(event, n)
    local output, code = g.child(([[
      local seen = 0
      local done, err = migrate.up(URL, DIR, { on_event = function(e)
        if e.event ~= %q then return end
        seen = seen + 1
        if seen == %d then os.execute "kill -9 $PPID" end
      end })
      if not done then io.stderr:write(tostring(err)) os.exit(3) end]]):format(event, n))
    assert(code == 0 or code == 137, output)
    return code
  end

  it("kill -9 at every statement of transactions leaves nothing half done, and a second run completes", function()
    g.put("0001_a.sql", "create table a (n int);\ninsert into a values (1);\ninsert into a values (2);\n")
    g.put("0002_b.sql", "-- migrate:up\ncreate table b (n int);\ninsert into b select n from a;\n-- migrate:verify\n"
      .. "select count(*) = 2 from b;\n")
    local kills = 0
    for _, event in ipairs { "statement", "statement_done", "applied", "start" } do
      for n = 1, 10 do
        local code = killed_at(event, n)
        if code == 0 then break end
        assert.equal(137, code)
        kills = kills + 1
        -- All of a migration is there, with its row, or nothing.
        assert(migrate.status(g.conn, g.dir))
        g.eventually("select not exists (select from pg_stat_activity where application_name like 'luphant-migrate%')")
        local has_history = g.exists "luphant.migrations"
        local rows = has_history and g.conn:query_column "select version from luphant.migrations" or {}
        assert.equal(#rows >= 1, g.exists "a")
        assert.equal(#rows >= 2, g.exists "b")
        assert(up())
        assert.equal(2, g.value "select count(*) from b")
        assert(g.conn:script "drop schema luphant cascade; drop table a, b")
      end
      assert(g.conn:script "drop schema if exists luphant cascade; drop table if exists a, b")
    end
    assert.truthy(kills >= 14, kills .. " kills")
  end)

  it("kill -9 at every statement outside of a transaction is known to the statement, and resumed", function()
    g.put("0001_a.sql", STEPWISE .. "create table a (n int);\ninsert into a values (1);\n"
      .. "create index concurrently if not exists a_n on a (n);\ninsert into a values (2);\n")
    local kills = 0
    for _, event in ipairs { "statement", "statement_done" } do
      for n = 1, 10 do
        local code = killed_at(event, n)
        if code == 0 then break end
        assert.equal(137, code)
        kills = kills + 1
        g.eventually("select not exists (select from pg_stat_activity where application_name like 'luphant-migrate%')")
        local entry = entry_of "0001"
        assert.same({ "interrupted", 4, n, n - 1 }, {
          entry.state, entry.applied.statements_total, entry.applied.statements_started, entry.applied.statements_done,
        })
        assert.is_nil((up()))
        -- At "statement" it has not run yet, at "statement_done" it has: a person looks, the tool does not guess.
        local next_one = event == "statement" and n or n + 1
        local done, err = migrate.resume(g.conn, g.dir, "0001")
        if n == 3 then
          assert(done, err) -- `if not exists` does no harm
        else
          assert.truthy(err.message:find("nobody knows whether it ended", 1, true), err.message)
          assert(migrate.resume(g.conn, g.dir, "0001", { from = next_one }))
        end
        assert.equal("applied", entry_of("0001").state)
        assert.equal(3, g.value "select sum(n) from a")
        assert.is_true(g.value "select indisvalid from pg_index where indexrelid = 'a_n'::regclass")
        assert(g.conn:script "drop schema luphant cascade; drop table a")
      end
      assert(g.conn:script "drop schema if exists luphant cascade; drop table if exists a")
    end
    assert.equal(8, kills)
  end)

  it("kill -9 in a long statement: the server ends it, and whoever comes next waits for that only", function()
    g.put("0001_a.sql", "create table a (n int);\nselect pg_sleep(60);\n")
    local output = g.child([[
      io.popen("sleep 1; kill -9 " .. assert(io.open("/proc/self/stat")):read "*n")
      migrate.up(URL, DIR)]])
    assert.equal("", (output:gsub("Killed", ""):gsub("%s", "")))
    g.put("0001_a.sql", "create table a (n int);\n")
    local began = core.now()
    assert(up())
    assert.truthy(core.now() - began < 10)
  end)

  it("100 tenants are migrated, each for itself, and a failure in one is that one's", function()
    g.put("0001_a.sql", "create table a (n int);")
    g.put("0002_b.sql", "insert into a values (1);")
    local shared = g.folder()
    g.put("0001_all.sql", "create table public.all_of_us (n int);", shared)
    assert(g.conn:execute "do $$ begin for i in 1..100 loop execute 'create schema tenant' || i; end loop; end $$")
    -- In one of them there is something in the way.
    assert(g.conn:execute "create table tenant7.a ()")
    local options = {
      tenants = { query = "select nspname from pg_namespace where nspname like 'tenant%' order by length(nspname), 1" },
      continue_on_error = true, shared = shared,
    }
    local reports, err = migrate.tenants(g.conn, g.dir, options)
    assert.is_nil(reports)
    assert.same({ "migration_tenants", 100, 198, "tenant7" },
      { err.kind, #err.tenants, #err.done, err.tenants[7].tenant })
    assert.truthy(err.message:find("1 of 100 tenants failed: tenant7", 1, true), err.message)
    assert.equal("42P07", err.tenants[7].err.sqlstate)
    assert(g.conn:execute "drop table tenant7.a")
    options.dry_run = true
    reports = assert(migrate.tenants(g.conn, g.dir, options))
    assert.same({ 0, 2 }, { #reports[6].pending, #reports[7].pending })
    -- Only what is left is done.
    options.dry_run = nil
    reports = assert(migrate.tenants(g.conn, g.dir, options))
    assert.same({ 0, 2 }, { #reports[6].done, #reports[7].done })
    assert.equal(201, g.value "select count(*) from luphant.migrations")
    assert.equal(1, g.value "select n from tenant100.a")
    assert.is_true(g.exists "public.all_of_us")
  end)

  -- ---- the connection ---------------------------------------------------------------------------------------

  describe("with a connection that can be cut,", function()
    local gate

    before_each(function()
      local target = g.conn:target()
      gate = assert(proxy.start { target_socket = ("%s/.s.PGSQL.%s"):format(target.host, target.port) })
    end)
    after_each(function() gate:stop() end)

    local function through()
      local target = g.conn:target()
      return ("postgresql://%s@%s:%d/%s?sslmode=disable"):format(target.user, gate.host, gate.port, g.dbname)
    end

    -- COMMIT of a migration: Q, length, "commit", NUL; then C, length, "COMMIT", NUL and ReadyForQuery.
    local BYTES = { client = 12, server = 18 }

    -- The last event before COMMIT is the end of the last statement. Behind it the row is written; so many messages
    -- that takes, before the one of COMMIT and the two that answer it.
    local function messages_before_commit()
      local first, last
      assert(migrate.up(through(), g.dir, { on_event = function(e)
        if e.event == "statement_done" then first = gate:stats() end
        if e.event == "applied" then last = gate:stats() end
      end }))
      assert(g.conn:script "drop schema luphant cascade; drop table if exists a")
      return {
        client = last.messages_from_client - first.messages_from_client - 1,
        server = last.messages_from_server - first.messages_from_server - 2,
      }
    end

    it("cut at every byte of COMMIT, the answer is exact", function()
      g.put("0001_a.sql", "create table a (n int);")
      local outcomes, before = {}, messages_before_commit()
      for _, from in ipairs { "client", "server" } do
        for at = 0, BYTES[from], STRIDE do
          local where = ("cut after %d bytes of the %s"):format(at, from)
          local recovered
          local done, err = migrate.up(through(), g.dir, { on_event = function(e)
            if e.event == "statement_done" then
              gate:cut_after { from = from, messages = before[from], bytes = at, once = true }
            elseif e.event == "recovered" then
              recovered = e
            end
          end })
          local is_there = g.exists "a"
          assert.equal(is_there, done ~= nil and #done == 1, where .. ": " .. tostring(err))
          assert.equal(is_there and 1 or 0, g.value "select count(*) from luphant.migrations", where)
          if recovered then outcomes[recovered.was_committed and "committed" or "rolled back"] = true end
          if not done then
            assert.equal("migration_failed", err.kind, where)
            assert(up())
          end
          gate:pass()
          assert(g.conn:script "drop schema luphant cascade; drop table a")
        end
      end
      assert.same({ committed = true, ["rolled back"] = true }, outcomes)
    end)

    it("cut while the server is still committing, the answer waits for that", function()
      assert(g.conn:script [[
        create table slow (n int);
        create function dawdle() returns trigger language plpgsql as
          $$ begin perform pg_sleep(0.6); return null; end $$;
        create constraint trigger dawdle after insert on slow deferrable initially deferred
          for each row execute function dawdle()]])
      g.put("0001_a.sql", "insert into slow values (1);")
      local before, recovered = messages_before_commit(), nil
      local done, err = migrate.up(through(), g.dir, { on_event = function(e)
        if e.event == "statement_done" then
          gate:cut_after { from = "client", messages = before.client, bytes = BYTES.client, once = true }
        elseif e.event == "recovered" then
          recovered = e.was_committed
        end
      end })
      assert(done, tostring(err))
      assert.is_true(recovered)
      assert.equal(1, g.value "select count(*) from luphant.migrations")
    end)

    it("cut in a statement, the migration is rolled back, and the next run does it", function()
      g.put("0001_a.sql", "create table a (n int);\nselect pg_sleep(0.5);\n")
      local _, err = migrate.up(through(), g.dir, { on_event = function(e)
        if e.event == "statement" and e.statement == 2 then gate:cut() end
      end })
      assert.equal("migration_failed", err.kind)
      assert.equal("connection", err.class)
      assert.is_false(g.exists "a")
      assert.equal(1, #assert(up()))
    end)

    it("swallowed by the network, a runner's lost session is ended, and the answer is exact", function()
      g.put("0001_a.sql", "create table a (n int);")
      -- Nothing comes back, and the server hears no end: its session would keep the lock.
      local stalled
      local url = through() .. "&tcp_user_timeout=500&keepalives_idle=1&keepalives_interval=1"
      local done, err = migrate.up(url, g.dir, {
        on_event = function(e)
          if e.event == "statement_done" and not stalled then
            stalled = true
            gate:forget()
          end
        end,
      })
      assert.equal(done ~= nil, g.exists "a", tostring(err))
      assert.equal(0, g.locks())
    end)

    it("of a statement outside of a transaction, the rest is left to a person", function()
      g.put("0001_a.sql", STEPWISE .. "create table a (n int);\nselect pg_sleep(0.3);\ncreate table b ();\n")
      local _, err = migrate.up(through(), g.dir, { on_event = function(e)
        if e.event == "statement" and e.statement == 2 then gate:cut() end
      end })
      assert.equal("connection", err.class)
      g.eventually("select not exists (select from pg_stat_activity where application_name like 'luphant-migrate%')")
      assert.same({ "interrupted", 2, 1 }, {
        entry_of("0001").state, entry_of("0001").applied.statements_started, entry_of("0001").applied.statements_done,
      })
      assert(migrate.resume(g.conn, g.dir, "0001", { assume_not_run = true }))
    end)
  end)

  -- ---- the lock ---------------------------------------------------------------------------------------------

  it("a session that is terminated in between loses the migration, not the truth", function()
    g.put("0001_a.sql", "create table a (n int);\nselect 1;\n")
    local _, err = up { on_event = function(e)
      if e.event == "statement" and e.statement == 2 then
        assert(g.conn:query [[select pg_terminate_backend(pid) from pg_stat_activity
          where application_name like 'luphant-migrate%' and datname = current_database()]])
      end
    end }
    assert.equal("migration_failed", err.kind)
    assert.truthy(tostring(err.hint):find("rolled back", 1, true), tostring(err))
    assert.is_false(g.exists "a")
    assert.equal(1, #assert(up()))
  end)

  it("the holder of the lock is shown while others wait for it", function()
    g.put("0001_a.sql", "create table a ();")
    local other = g.connect { application_name = "the other one" }
    assert(other:execute [[select pg_advisory_lock(x'6c7068'::int, hashtext('"luphant".migrations'))]])
    local heard = {}
    local _, err = up { lock_wait = 0.3, on_event = function(e)
      if e.event == "lock_wait" then heard[#heard + 1] = e.holder end
    end }
    assert.equal("migration_locked", err.kind)
    assert.same({ other:backend_pid(), "the other one" }, { heard[1].pid, heard[1].application_name })
    assert.equal(1, #heard)
    other:close()
  end)

  it("a lost session of the same run, which the server still serves, is ended after a moment", function()
    g.put("0001_a.sql", "create table a ();")
    local orphan = g.connect()
    assert(orphan:execute [[select pg_advisory_lock(x'6c7068'::int, hashtext('"luphant".migrations'))]])
    local pid, is_dressed = orphan:backend_pid(), false
    assert(up { on_event = function(e)
      if e.event ~= "lock_wait" or is_dressed then return end
      is_dressed = true
      assert(orphan:query [[
        select set_config('application_name', application_name, false) from pg_stat_activity
         where application_name like 'luphant-migrate%' and datname = current_database()]])
    end })
    assert.is_true(g.exists "a")
    assert.equal(0, g.value("select count(*) from pg_stat_activity where pid = $1", pid))
    orphan:close()
  end)

  it("who waits for the lock keeps no index from being built concurrently", function()
    g.put("0001_t.sql", "create table t (n int);")
    g.put("0002_i.sql", STEPWISE .. "select pg_sleep(0.5);\ncreate index concurrently t_n on t (n);\nselect 1;\n")
    local pipes = {}
    for i = 1, 3 do
      pipes[i] = g.child([[print((select(2, migrate.up(URL, DIR))))]], true)
    end
    for i = 1, 3 do
      assert.equal("nil\n", pipes[i]:read "*a")
      pipes[i]:close()
    end
    assert.is_true(g.value "select indisvalid from pg_index where indexrelid = 't_n'::regclass")
  end)

  -- ---- releases ---------------------------------------------------------------------------------------------

  it("two releases with different files: the old one is told, the new one goes on", function()
    local old = g.folder()
    for _, dir in ipairs { g.dir, old } do g.put("0001_a.sql", "create table a ();\n", dir) end
    assert(migrate.up(g.conn, old))
    g.put("0002_b.sql", "create table b ();\n")
    assert(up())
    local _, err = migrate.up(g.conn, old)
    assert.truthy(err.message:find("0002_b.sql: is applied in this database, but the file is gone", 1, true),
      err.message)
    assert.same({}, assert(migrate.up(g.conn, old, { ignore_missing = true })))
    -- A branch that was merged late has a lower number.
    g.put("0003_c.sql", "create table c ();\n", old)
    assert(migrate.up(g.conn, old, { ignore_missing = true }))
    _, err = up()
    assert.truthy(err.message:find("0003_c", 1, true), err.message)
    os.remove(old .. "/0003_c.sql")
    g.put("0003_c.sql", "create table c ();\n")
    g.put("0002_a.sql", "create table d ();\n")
    _, err = up()
    assert.truthy(err.message:find("has the same number as", 1, true), err.message)
  end)

  it("files with CRLF and a byte order mark are the files they were without", function()
    local text = "-- migrate:up\ncreate table a (n int);\n-- migrate:down\ndrop table a;\n"
    g.put("0001_a.sql", text)
    assert(up())
    g.put("0001_a.sql", "\239\187\191" .. text:gsub("\n", "\r\n"))
    assert.equal("applied", entry_of("0001").state)
    assert.same({}, assert(up()))
  end)

  it("the state of 1000 migrations is known in less than a second", function()
    local many = IS_SLOW and 200 or 1000
    for i = 1, many do
      g.put(("%04d_m.sql"):format(i), ("-- migrate:up\ncreate view v%d as select %d as n;\n\n-- migrate:verify\n"
        .. "select n = %d from v%d;\n-- migrate:down\ndrop view v%d;\n"):format(i, i, i, i, i))
    end
    assert.equal(many, #assert(up()))
    -- On a machine that does other things at the same time the best of some tries is what it can do.
    local slow = tonumber(os.getenv "LUPHANT_TEST_SLOW_FACTOR" or "1") or 1
    local function is_done_within(limit, fn)
      local took
      for _ = 1, 10 do
        local began = core.now()
        fn()
        took = core.now() - began
        if took < limit * slow then return end
      end
      error(("took %.2f seconds"):format(took))
    end
    is_done_within(1, function() assert.equal(many, #assert(migrate.status(g.conn, g.dir))) end)
    is_done_within(2, function() assert.equal(0, #assert(up())) end)
  end)
end)

describe("migrations behind PgBouncer", function()
  local pg, pooler, dir_ground

  setup(function()
    pg = assert(server.start())
    dir_ground = ground.open(pg:url())
    dir_ground.put("0001_a.sql", "create table a ();")
  end)
  teardown(function()
    dir_ground.close()
    pg:stop()
  end)
  after_each(function() pooler:stop() end)

  for size = 1, 3 do
    it(("in transaction mode with %d server sessions are refused, with the remedy"):format(size), function()
      pooler = assert(pgbouncer.start(pg, { pool_size = size }))
      local done, err = migrate.up(pooler:url(dir_ground.dbname), dir_ground.dir)
      assert.is_nil(done)
      assert.equal("migration_pooler", err.kind)
      assert.truthy(err.hint:find("LUPHANT_MIGRATION_URL", 1, true))
      assert.is_false(dir_ground.exists "a")
    end)
  end

  it("that the caller knows of are refused at once, and go past it with a URL of their own", function()
    pooler = assert(pgbouncer.start(pg))
    local db = assert(luphant.open(pooler:url(dir_ground.dbname), { pooler = "transaction" }))
    local _, err = migrate.up(db, dir_ground.dir)
    assert.equal("migration_pooler", err.kind)
    assert.equal(1, #assert(migrate.up(db, dir_ground.dir, { url = dir_ground.url })))
    db:close()
    assert(dir_ground.conn:script "drop schema luphant cascade; drop table a")
  end)

  for _, size in ipairs { 1, 4 } do
    it(("in session mode with %d server sessions are applied"):format(size), function()
      pooler = assert(pgbouncer.start(pg, { pool_mode = "session", pool_size = size }))
      assert.equal(1, #assert(migrate.up(pooler:url(dir_ground.dbname), dir_ground.dir)))
      assert.is_true(dir_ground.exists "a")
      assert(dir_ground.conn:script "drop schema luphant cascade; drop table a")
    end)
  end
end)
