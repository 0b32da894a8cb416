-- What a folder, or a caller, wants done around a run and around each of its migrations.

local ground = require "spec.support.migration_ground"
local lfs = require "lfs"
local migrate = require "luphant.migrate"

describe("hooks", function()
  local g, names, marks

  before_each(function()
    g = ground.open()
    names = { "before_run", "before_each", "after_each", "after_run", "on_failure", "at_end" }
    assert(g.conn:script [[
      create table marks (id int generated always as identity, hook text, version text, action text, message text)]])
    g.put("0001_a.sql", "-- migrate:up\ncreate table a (n int);\n-- migrate:down\ndrop table a;\n")
  end)
  after_each(function()
    for entry in lfs.dir(g.dir .. "/hooks") do os.remove(g.dir .. "/hooks/" .. entry) end
    lfs.rmdir(g.dir .. "/hooks")
    g.close()
  end)
  lazy_setup(function()
    marks = [[
      insert into public.marks (hook, version, action, message)
      values (current_setting('luphant.hook'), current_setting('luphant.version'),
              current_setting('luphant.action'), current_setting('luphant.message'));]]
  end)

  local function put(entry, text)
    lfs.mkdir(g.dir .. "/hooks")
    g.put("hooks/" .. entry, text)
  end

  local function put_all() for _, name in ipairs(names) do put(name .. ".sql", marks) end end

  local function seen()
    local list = assert(g.conn:query_column [[
      select hook || case when coalesce(version, '') = '' then '' else ':' || version || coalesce(':' || action, '') end
        from marks order by id]])
    return table.concat(list, " ")
  end

  local function up(opts) return migrate.up(g.conn, g.dir, opts) end

  it("run around a run and around each migration, forth and back, and not when there is nothing to do", function()
    put_all()
    g.put("0002_b.sql", "-- migrate:up transaction:false\ncreate table b ();\n-- migrate:down\ndrop table b;\n")
    assert(up())
    assert.equal("before_run before_each:0001:apply after_each:0001:apply before_each:0002:apply after_each:0002:apply "
      .. "after_run at_end", seen())
    assert.same({}, assert(up()))
    assert(g.conn:script "truncate marks")
    assert(migrate.down(g.conn, g.dir))
    assert.equal("before_run before_each:0002:revert after_each:0002:revert after_run at_end", seen())
  end)

  it("are told of a failure, and come to an end in any case", function()
    put_all()
    g.put("0002_b.sql", "create table b ();\nselect 1 / 0;\n")
    local _, err = up()
    assert.truthy(err.message:find("division by zero", 1, true))
    -- What stood in the transaction that failed is gone with it.
    assert.equal("before_run before_each:0001:apply after_each:0001:apply on_failure at_end", seen())
    assert.truthy(g.value("select message from marks where hook = 'on_failure'"):find("division by zero", 1, true))
    assert.equal("", g.value "select message from marks where hook = 'after_run' union all select ''")
  end)

  it("that fail around a migration undo it", function()
    put("after_each.sql", "select 1;\n\nselect 1 / (select count(*) from a);\n")
    local heard = {}
    local _, err = up { on_event = function(event) heard[event.event] = event end }
    assert.same({ "migration_failed", "22012", "after_each", 3, g.dir .. "/hooks/after_each.sql" },
      { err.kind, err.sqlstate, err.hook, err.line, err.file })
    assert.truthy(err.message:find("after_each.sql:3: hook after_each: division by zero", 1, true), err.message)
    assert.is_false(g.exists "a")
    assert.same({ "fail" }, g.actions "0001")
    assert.truthy(heard.failed.message:find("hook after_each", 1, true))
    put("after_each.sql", "insert into a values (1);\n")
    assert.equal(1, #assert(up()))
    assert.equal(1, g.value "select n from a")
  end)

  it("that fail around a migration without a transaction keep it from beginning, or leave it applied", function()
    g.put("0001_a.sql", "-- migrate:up transaction:false\ncreate table a ();\n")
    g.put("0002_b.sql", "create table b ();\n")
    put("before_each.sql", "select 1 / 0;\n")
    local _, err = up()
    assert.same({ "before_each", 0, 2 }, { err.hook, #err.done, #err.not_run + 1 })
    assert.is_false(g.exists "a")
    assert.same({ "fail" }, g.actions "0001")
    assert.equal("pending", assert(migrate.status(g.conn, g.dir))[1].state)
    os.remove(g.dir .. "/hooks/before_each.sql")
    put("after_each.sql", "select 1 / 0;\n")
    _, err = up()
    assert.same({ "after_each", 1, "0001" }, { err.hook, #err.done, err.done[1].version })
    assert.is_true(g.exists "a")
    assert.equal("applied", assert(migrate.status(g.conn, g.dir))[1].state)
    assert.is_false(g.exists "b")
  end)

  it("that fail before the run let nothing run, and after it undo nothing", function()
    put("before_run.lua", "return function(db, event) error(event.direction .. ' not now') end\n")
    put("at_end.sql", marks)
    local _, err = up()
    assert.truthy(err.message:find("hook before_run", 1, true) and err.message:find("up not now", 1, true), err.message)
    assert.same({ 0, 1 }, { #err.done, #err.not_run })
    assert.equal("at_end", seen())
    assert.is_false(g.exists "a")
    os.remove(g.dir .. "/hooks/before_run.lua")
    put("after_run.lua", "return function(db) return nil, 'the caches could not be warmed' end\n")
    _, err = up()
    assert.truthy(err.message:find("hook after_run: the caches could not be warmed", 1, true), err.message)
    assert.same({ 1, 0 }, { #err.done, #err.not_run })
    assert.is_true(g.exists "a")
  end)

  it("that fail at the end are only told", function()
    put("on_failure.sql", "select 1 / 0;\n")
    put("at_end.sql", "select 'x'::int;\n")
    g.put("0002_b.sql", "select * from nowhere;\n")
    local told = {}
    local _, err = up { on_event = function(event)
      if event.event == "warning" then told[#told + 1] = event.hook .. " " .. event.message end
    end }
    assert.equal("42P01", err.sqlstate)
    assert.equal(2, #told)
    assert.truthy(told[1]:find("^on_failure .*division by zero") and told[2]:find("^at_end .*invalid input"), told[1])
  end)

  it("are functions and texts of the caller, too, behind those of the folder", function()
    put("after_each.sql", marks)
    local facts
    assert(up { hooks = {
      before_run = "insert into marks (hook) values ('a text');",
      after_each = function(db, event)
        facts = event
        assert(db:execute("insert into marks (hook, version) values ('a function', $1)", event.version))
        assert.is_true(assert(db:query_value "select to_regclass('a') is not null"))
      end,
      after_run = function(_, event) assert.equal("0001", event.done[1].version) end,
    } })
    assert.equal("a text after_each:0001:apply a function:0001", seen())
    assert.same({ "after_each", "apply", "0001", "a", false }, {
      facts.hook, facts.action, facts.version, facts.name, facts.scratch })
    assert.matches("^%x+%-", facts.run_id)
  end)

  it("are checked with the folder, and with the options", function()
    put("befor_run.sql", "select 1;")
    put("at_end.sql", "-- nothing\n")
    put("after_each.sql", "commit;\n")
    put("before_each.sql", "vacuum;\n")
    put("after_run.lua", "return 1\n")
    local _, err = up()
    assert.equal("migration_invalid", err.kind)
    for _, part in ipairs {
      'is no hook (did you mean "before_run"?)', "holds no statement", "after_each.sql:1: COMMIT:",
      "VACUUM cannot run in a hook, which has a transaction", "must return function(db, event)",
    } do
      assert.truthy(err.message:find(part, 1, true), part .. "\n" .. err.message)
    end
    for wrong, part in pairs {
      [{ after_al = "select 1" }] = "has no hook", [{ at_end = 1 }] = "must be SQL or a function",
      [{ at_end = "commit" }] = "at_end: COMMIT",
    } do
      local ok, message = pcall(up, { hooks = wrong })
      assert.is_false(ok)
      assert.truthy(message:find(part, 1, true) and message:find("hooks_spec.lua", 1, true), message)
    end
  end)

  it("belong to the plan: what was reviewed runs, and no other hook", function()
    local bare = assert(migrate.plan(g.conn, g.dir)).hash
    put("after_each.sql", "insert into a values (1);\n")
    local plan = assert(migrate.plan(g.conn, g.dir))
    assert.not_equal(bare, plan.hash)
    assert.same({ "after_each", g.dir .. "/hooks/after_each.sql" }, { plan.hooks[1].name, plan.hooks[1].file })
    put("after_each.sql", "insert into a values (2);\n")
    assert.equal("migration_moved", select(2, up { plan_hash = plan.hash }).kind)
    assert.is_false(g.exists "a")
  end)

  it("leave nothing in the session, and see that of the run", function()
    put("before_run.sql", "set work_mem = '77MB';\ncreate temp table left_over ();\n")
    g.put("0001_a.sql", "create table a as select current_setting('work_mem') as work_mem;\n")
    local told = {}
    assert(up { on_event = function(event) if event.event == "warning" then told[#told + 1] = event.message end end })
    assert.not_equal("77MB", g.value "select work_mem from a")
    assert.equal(1, #told)
    assert.truthy(told[1]:find("work_mem", 1, true) and told[1]:find("left_over", 1, true), told[1])
  end)

  it("run on the scratch database of drift, too, so that what they make is no drift", function()
    assert(g.conn:script "drop table marks")
    put("after_each.sql", "comment on table a is 'by a hook';\n")
    assert(up())
    assert.is_false(assert(migrate.drift(g.conn, g.dir)).different)
  end)

  it("are stopped on request like what they stand around", function()
    put("before_run.sql", "select pg_sleep(30);\n")
    put("at_end.sql", marks)
    local asked = 0
    local _, err = up { should_stop = function()
      asked = asked + 1
      return asked > 3
    end }
    assert.equal("migration_interrupted", err.kind)
    assert.equal("at_end", seen())
    assert.is_false(g.exists "a")
  end)
end)
