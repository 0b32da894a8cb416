-- Migrations without a transaction: each statement by itself, and what the history says when it stops half-way.
--
-- To see it fail: let stepwise.lua write `statements_done` before the statement runs.

local ground = require "spec.support.migration_ground"
local migrate = require "luphant.migrate"

local HEAD = "-- migrate:up transaction:false\n"

describe("a migration without a transaction", function()
  local g

  before_each(function() g = ground.open() end)
  after_each(function() g.close() end)

  local function up(opts) return migrate.up(g.conn, g.dir, opts) end
  local function state(version)
    for _, entry in ipairs(assert(migrate.status(g.conn, g.dir))) do
      if entry.version == version then return entry.state end
    end
  end

  it("runs what cannot run in one, and its row counts the statements", function()
    g.put("0001_a.sql", "create table a (n int);")
    g.put("0002_i.sql", HEAD .. "create index concurrently a_n on a (n);\nvacuum a;\n"
      .. "-- migrate:verify\nselect indisvalid from pg_index where indexrelid = 'a_n'::regclass;\n"
      .. "-- migrate:down transaction:false\ndrop index concurrently a_n;\n")
    assert.equal(2, #assert(up()))
    local row = g.row "0002"
    assert.same({ "applied", 2, 2, 2 },
      { row.state, row.statements_total, row.statements_started, row.statements_done })
    assert.is_true(g.exists "a_n")
    assert(migrate.down(g.conn, g.dir))
    assert.is_false(g.exists "a_n")
    assert.equal("reverted", g.row("0002").state)
    assert.same({ "apply", "revert" }, g.actions "0002")
    assert.equal(1, #assert(up()))
  end)

  it("that fails stays half done: the row says where and why, and nothing runs until that is cleared", function()
    g.put("0001_a.sql", HEAD .. "create table a ();\ncreate table b ();\nselect nosuch;\ncreate table c ();\n")
    g.put("0002_z.sql", "create table z ();")
    local _, err = up()
    assert.same({ "migration_failed", "42703", 4, 3 }, { err.kind, err.sqlstate, err.line, err.statement })
    local row = g.row "0001"
    assert.same({ "failed", 4, 3, 2, "42703", "select nosuch" }, {
      row.state, row.statements_total, row.statements_started, row.statements_done, row.error_sqlstate,
      row.error_statement,
    })
    assert.truthy(row.error_message:find("nosuch", 1, true))
    assert.equal("failed", state "0001")
    _, err = up()
    assert.equal("migration_invalid", err.kind)
    assert.truthy(err.message:find("failed at statement 3 of 4", 1, true), err.message)
    assert.truthy(err.message:find("resume goes on", 1, true), err.message)
    assert.is_false(g.exists "z")
    -- The edited file says where to go on.
    g.put("0001_a.sql", HEAD .. "create table a ();\ncreate table b ();\nselect 1;\ncreate table c ();\n")
    _, err = migrate.resume(g.conn, g.dir, "0001")
    assert.truthy(err.message:find("--from says where to go on", 1, true), err.message)
    local done = assert(migrate.resume(g.conn, g.dir, "0001", { from = 3 }))
    assert.equal("0001", done[1].version)
    assert.is_true(g.exists "c")
    assert.equal("applied", state "0001")
    assert.same({ "fail", "resume" }, g.actions "0001")
    assert.equal(1, #assert(up()))
  end)

  it("goes on with the statement that failed", function()
    g.put("0001_a.sql", HEAD .. "create table a ();\ninsert into later values (1);\ncreate table b ();\n")
    assert.is_nil((up()))
    assert(g.conn:execute "create table later (n int)")
    assert(migrate.resume(g.conn, g.dir, "1"))
    assert.equal(1, g.value "select count(*) from later")
    assert.is_true(g.exists "b")
  end)

  it("whose verification fails can be resumed for that alone", function()
    g.put("0001_a.sql", HEAD .. "create table a (n int);\n-- migrate:verify\nselect count(*) = 1 as filled from a;\n")
    local _, err = up()
    assert.truthy(err.message:find("migrate:verify: statement 1 answered filled = false", 1, true), err.message)
    assert.equal("failed", g.row("0001").state)
    assert(g.conn:execute "insert into a values (1)")
    assert(migrate.resume(g.conn, g.dir, "0001"))
    assert.equal("applied", g.row("0001").state)
  end)

  it("is checked before anything of it is written", function()
    g.put("0001_a.sql", "-- migrate:check\nselect false as ready;\n" .. HEAD .. "create table a ();\n")
    local _, err = up()
    assert.truthy(err.message:find("migrate:check: statement 1 answered ready = false", 1, true), err.message)
    assert.equal("pending", state "0001")
    assert.equal(0, g.value "select count(*) from luphant.migrations")
  end)

  it("drops the invalid index of an earlier attempt, even where the file says if not exists", function()
    assert(g.conn:script [[create table t (n int); insert into t values (1), (1)]])
    g.put("0001_i.sql", HEAD .. "create unique index concurrently if not exists t_n on t (n);\n")
    local _, err = up()
    assert.equal("23505", err.sqlstate)
    assert.is_false(g.value "select indisvalid from pg_index where indexrelid = 't_n'::regclass")
    assert(g.conn:execute "delete from t where ctid = (select max(ctid) from t)")
    local warned
    assert(migrate.resume(g.conn, g.dir, "0001", { on_event = function(e)
      warned = warned or e.event == "warning" and e.message
    end }))
    assert.truthy(warned:find('the index "public"."t_n" was left invalid', 1, true), warned)
    assert.is_true(g.value "select indisvalid from pg_index where indexrelid = 't_n'::regclass")
  end)

  it("takes no lock timeout for what builds an index concurrently, and one for the rest", function()
    g.put("0001_i.sql", "create table t (n int);")
    g.put("0002_i.sql", HEAD .. "create index concurrently t_n on t (n);\nalter table t add column m int;\n")
    local other = g.connect { application_name = "the old snapshot" }
    assert(up { count = 1 })
    assert(other:script "begin; lock table t in row exclusive mode")
    -- The other one is in the way of both statements, and gives way once the first has waited longer than allowed.
    local released
    local done, err = up { lock_timeout = 0.2, on_event = function(e)
      if e.event == "progress" and not released then
        released = e.blocked_by
        assert(other:script "commit")
      end
    end }
    assert(done, err)
    assert.equal("the old snapshot", released[1].application_name)
    other:close()
  end)

  it("tries a statement again that could not get its lock", function()
    g.put("0001_t.sql", "create table t (n int);")
    assert(up())
    g.put("0002_t.sql", HEAD .. "create table a ();\nalter table t add column m int;\n")
    local other = g.connect { application_name = "in the way" }
    assert(other:script "begin; select from t")
    local heard
    assert(up { lock_timeout = 1, on_event = function(e)
      if e.event == "retry" then
        heard = e
        assert(other:script "commit")
      end
    end })
    assert.equal("55P03", heard.sqlstate)
    assert.equal("in the way", heard.blocked_by[1].application_name)
    assert.equal("applied", g.row("0002").state)
    other:close()
  end)

  it("is resolved by hand, with a reason", function()
    g.put("0001_a.sql", HEAD .. "create table a ();\nselect nosuch;\n")
    assert.is_nil((up()))
    assert.has_error(function() migrate.resolve(g.conn, g.dir, "0001", "applied") end,
      'resolve needs a reason: { reason = "..." }')
    assert(migrate.resolve(g.conn, g.dir, "0001", "applied", { reason = "the rest is not needed" }))
    assert.equal("applied", state "0001")
    local event = assert(migrate.history(g.conn))[1]
    assert.same({ "resolve", "the rest is not needed", "0001" }, { event.action, event.reason, event.version })
    assert.same({}, assert(up()))
  end)

  it("is resolved as rolled back, and runs again", function()
    g.put("0001_a.sql", HEAD .. "create table a ();\nselect nosuch;\n")
    assert.is_nil((up()))
    assert(g.conn:execute "drop table a")
    assert(migrate.resolve(g.conn, g.dir, "0001", "rolled_back", { reason = "dropped by hand" }))
    g.put("0001_a.sql", HEAD .. "create table a ();\n")
    assert.equal(1, #assert(up()))
  end)

  it("is taken back half done when that is asked for", function()
    g.put("0001_a.sql", HEAD .. "create table a ();\nselect nosuch;\n-- migrate:down\ndrop table if exists a;\n")
    assert.is_nil((up()))
    local _, err = migrate.down(g.conn, g.dir)
    assert.truthy(err.message:find("--partial", 1, true), err.message)
    assert(migrate.down(g.conn, g.dir, nil, { partial = true }))
    assert.is_false(g.exists "a")
    assert.equal("pending", state "0001")
  end)

  it("whose way back stops half-way goes on with that, not forward, even when the file is gone", function()
    g.put("0001_a.sql", HEAD .. "create table a ();\ncreate table b ();\n"
      .. "-- migrate:down transaction:false\ndrop table a;\ndrop table b;\nselect 1;\n")
    assert(up())
    assert(g.conn:script "alter table b rename to c")
    assert.is_nil((migrate.down(g.conn, g.dir)))
    local row = g.row "0001"
    assert.same({ "failed", "down", 1 }, { row.state, row.direction, row.statements_done })
    assert(g.conn:script "alter table c rename to b")
    g.remove "0001_a.sql"
    local done = assert(migrate.resume(g.conn, g.dir, "0001"))
    assert.same({ "reverted", "0001" }, { done[1].event, done[1].version })
    assert.is_false(g.exists "b")
    row = g.row "0001"
    assert.same({ "reverted", 3 }, { row.state, row.statements_done })
    assert.same({ "apply", "fail", "revert" }, g.actions "0001")
    assert.same({}, assert(migrate.status(g.conn, g.dir)))
  end)

  it("whose process died on its way back leaves the statement in doubt to a person", function()
    g.put("0001_a.sql", HEAD .. "create table a (n int);\n"
      .. "-- migrate:down transaction:false\ninsert into a values (1);\ndrop table a;\n")
    assert(up())
    local _, code = g.child([[migrate.down(URL, DIR, 1, { on_event = function(e)
      if e.event == "statement_done" then os.execute "kill -9 $PPID" end
    end })]])
    assert.equal(137, code)
    g.eventually("select not exists (select from pg_stat_activity where application_name like 'luphant-migrate%')")
    assert.equal("interrupted", state "0001")
    local _, err = migrate.resume(g.conn, g.dir, "0001")
    assert.truthy(err.message:find("statement 1 (line 4) was begun, and nobody knows", 1, true), err.message)
    assert(migrate.resume(g.conn, g.dir, "0001", { from = 2 }))
    assert.is_false(g.exists "a")
    assert.equal("pending", state "0001")
  end)

  it("whose way back stops half-way can be resolved", function()
    g.put("0001_a.sql", HEAD .. "create table a ();\n"
      .. "-- migrate:down transaction:false\ndrop table a;\nselect nosuch;\n")
    assert(up())
    assert.is_nil((migrate.down(g.conn, g.dir)))
    local row = g.row "0001"
    assert.same({ "failed", "down", 1 }, { row.state, row.direction, row.statements_done })
    assert(migrate.resolve(g.conn, g.dir, "0001", "rolled_back", { reason = "it is gone" }))
    assert.equal("pending", state "0001")
  end)

  it("stops on request behind the statement that runs, and goes on later", function()
    g.put("0001_a.sql", HEAD .. "create table a ();\nselect pg_sleep(0.7);\ncreate table b ();\n")
    local stop
    local _, err = up { should_stop = function() return stop end, on_event = function(e)
      if e.event == "statement" and e.statement == 2 then stop = true end
    end }
    assert.equal("migration_interrupted", err.kind)
    local row = g.row "0001"
    assert.same({ "failed", 2 }, { row.state, row.statements_done })
    assert(migrate.resume(g.conn, g.dir, "0001"))
    assert.is_true(g.exists "b")
  end)

  it("rebuilds an index concurrently, and drops what an earlier attempt has left of that", function()
    assert(g.conn:script [[create table t (n int); create index t_n on t (n); insert into t values (1), (1)]])
    -- A failed REINDEX leaves such an index; a unique one that cannot be built is the shortest way to have one.
    assert.is_nil((g.conn:script "create unique index concurrently t_n_ccnew on t (n)"))
    g.put("0001_i.sql", HEAD .. "reindex index concurrently t_n;\nreindex (verbose) table concurrently t;\n")
    local warned = 0
    assert(up { on_event = function(e) warned = warned + (e.event == "warning" and 1 or 0) end })
    assert.equal(1, warned)
    assert.equal(0, g.value "select count(*) from pg_index where not indisvalid")
  end)
end)
