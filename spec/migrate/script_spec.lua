-- What functions of a migration in Lua have beside the verbs: batches that go on where they stopped, and assertions.

local ground = require "spec.support.migration_ground"
local migrate = require "luphant.migrate"

describe("a migration in Lua", function()
  local g

  before_each(function() g = ground.open() end)
  after_each(function() g.close() end)

  local function up(opts) return migrate.up(g.conn, g.dir, opts) end

  -- A migration of one function, with what it says about itself.
  local function lua(body, head)
    g.put("0001_l.lua", ("return { %s up = function(db)\n%s\nend }"):format(head or "transaction = false,", body))
  end

  local function rows(count)
    assert(g.conn:script(("create table t (id bigint primary key, n int); insert into t select i * 3, null from "
      .. "generate_series(1, %d) i"):format(count)))
  end

  -- ---- batches ----------------------------------------------------------------------------------------------

  it("changes a table in pieces, each in a transaction, and tells how far it is", function()
    rows(2500)
    assert(g.conn:script [[
      create table seen (xid xid8, changed int);
      create function note() returns trigger language plpgsql as $$ begin
        insert into seen select pg_current_xact_id(), count(*) from changed; return null;
      end $$;
      create trigger note after update on t referencing new table as changed for each statement
        execute function note()]])
    lua [[assert(assert(db:batch { table = "t", set = "n = 1", where = "id % 2 = 0" }) == 1250)]]
    local last
    assert(up { on_event = function(e) if e.event == "batch" then last = e end end })
    assert.equal(1250, g.value "select count(*)::int from t where n = 1")
    assert.same({ "500", "500", "250" }, assert(g.conn:query_column "select changed::text from seen order by xid"))
    assert.equal(3, g.value "select count(distinct xid)::int from seen")
    assert.same({ true, 2500, 1250, "t" }, { last.is_done, last.rows, last.affected, last.table })
    assert.is_nil(g.row("0001").progress) -- it is for those under way
  end)

  it("takes keys of any type, and other statements", function()
    assert(g.conn:script [[
      create table "Strange T" ("the key" uuid primary key, n int);
      insert into "Strange T" select gen_random_uuid(), 0 from generate_series(1, 25);
      create table words (w text not null unique, d date not null);
      insert into words select 'w' || i || '''', date '2020-01-01' + i from generate_series(1, 25) i;
      create table copies (w text)]])
    lua [=[
      assert(assert(db:batch { table = '"Strange T"', set = "n = n + 1", size = 10 }) == 25)
      assert(assert(db:batch { table = "words", key = "w", size = 7,
        sql = "insert into copies select a.w from words a where {range:a}" }) == 25)
      assert(assert(db:batch { table = "words", key = "d", delete = true, size = 1, where = "d < '2020-01-11'" }) == 9)
      local list = assert(db:batch { { "select 1 as one" }, { "select 2 as two" } }) -- the verb of this name
      assert(list[2][1].two == 2)
    ]=]
    assert(up())
    assert.same({ 25, 25, 25, 16 }, {
      g.value [[select count(*)::int from "Strange T" where n = 1]], g.value "select count(*)::int from copies",
      g.value "select count(distinct w)::int from copies", g.value "select count(*)::int from words",
    })
  end)

  it("goes on behind the last piece after a failure, a request to stop, and kill -9", function()
    rows(1000)
    assert(g.conn:script [[
      create table hits (id bigint);
      create function stop_at() returns trigger language plpgsql as $$ begin
        if new.id = 1500 and to_regclass('bad') is not null then raise 'in the middle'; end if;
        insert into hits values (new.id);
        return new;
      end $$;
      create trigger stop before update on t for each row execute function stop_at();
      create table bad ()]])
    lua([[assert(db:batch { table = "t", set = "n = coalesce(n, 0) + 1", size = 100, pause = 0.02 })]],
      "transaction = false, retry = true,")
    local _, err = up()
    assert.truthy(err.message:find("in the middle", 1, true), err.message)
    assert.equal(400, g.value "select count(*)::int from t where n = 1")
    assert.equal("1200", g.row("0001").progress["1"].last)
    _, err = up()
    assert.equal("migration_invalid", err.kind) -- first that is cleared
    assert(g.conn:script "drop table bad")
    _, err = migrate.resume(g.conn, g.dir, "1", {
      should_stop = function() return g.value "select count(*) >= 600 from t where n = 1" end,
    })
    assert.equal("migration_interrupted", err.kind)
    local here = g.value "select count(*)::int from t where n = 1"
    assert.is_true(here >= 400 and here < 1000, here)
    assert.equal(0, here % 100)
    g.child [[
      local luphant = require "luphant"
      local side = assert(luphant.connect(URL))
      migrate.resume(URL, DIR, "1", { should_stop = function()
        if side:query_value "select count(*) > 700 from t where n = 1" then os.execute("kill -9 $PPID") end
      end })]]
    assert.equal("running", g.row("0001").state)
    g.eventually "select not exists(select from pg_locks where locktype = 'advisory')"
    assert(migrate.resume(g.conn, g.dir, "1"))
    assert.same({ 1000, 1000, 1000 }, {
      g.value "select count(*)::int from t where n = 1", g.value "select count(*)::int from hits",
      g.value "select count(distinct id)::int from hits",
    })
    assert.equal("applied", g.row("0001").state)
  end)

  it("is not run again from its beginning unless that does no harm", function()
    rows(10)
    lua [[assert(db:batch { table = "t", set = "n = 1" }) error("behind it", 0)]]
    assert.truthy(select(2, up()).message:find("behind it", 1, true))
    local _, err = migrate.resume(g.conn, g.dir, "1")
    assert.truthy(err.message:find("would run again from its beginning", 1, true), err.message)
    assert.truthy(err.message:find("say --from 1", 1, true), err.message)
    lua [[assert(assert(db:batch { table = "t", set = "n = 2" }) == 10)]]
    assert(migrate.resume(g.conn, g.dir, "1", { from = 1 }))
    assert.equal(10, g.value "select count(*)::int from t where n = 1") -- that piece was done
  end)

  it("tries a piece again that could not get its locks", function()
    rows(300)
    lua [[assert(db:batch { table = "t", set = "n = 1", size = 100 })]]
    local other = g.connect()
    assert(other:script "begin; select from t where id = 450 for update")
    local retries = 0
    assert(up { lock_timeout = 0.2, on_event = function(e)
      if e.event ~= "retry" then return end
      retries = retries + 1
      assert.equal(100, g.value "select count(*)::int from t where n = 1") -- nothing is held meanwhile but what is done
      assert(other:script "rollback")
    end })
    assert.equal(1, retries)
    assert.equal(300, g.value "select count(*)::int from t where n = 1")
    other:close()
  end)

  it("says what is wrong with a batch, at its line", function()
    rows(1)
    assert(g.conn:script "create table two (a int, b int, primary key (a, b)); create table none (n int)")
    local cases = {
      ['db:batch { table = "t", set = "n = 1", sizes = 3 }'] = 'unknown batch option "sizes" (did you mean "size"?)',
      ['db:batch { set = "n = 1" }'] = "a batch needs its table", ['db:batch { table = "t" }'] = "one of three things",
      ['db:batch { table = "t", sql = "select 1" }'] = "needs {range}",
      ['assert(db:batch { table = "nosuch", set = "n = 1" })'] = "there is no table nosuch",
      ['assert(db:batch { table = "two", set = "a = 1" })'] = "no primary key of one column",
      ['assert(db:batch { table = "none", key = "n", set = "n = 1" })'] = "may be NULL",
      ['assert(db:batch { table = "t", key = "x", set = "n = 1" })'] = "has no column x",
    }
    for body, complaint in pairs(cases) do
      lua(body)
      local _, err = up()
      assert.truthy(err.message:find(complaint, 1, true), err.message)
      if not body:find "^assert" then assert.equal(2, err.line) end
      assert(migrate.resolve(g.conn, g.dir, "1", "rolled_back", { reason = "test" }))
    end
    lua([[db:batch { table = "t", set = "n = 1" }]], "")
    assert.truthy(select(2, up()).message:find("has to say transaction = false", 1, true))
  end)

  -- ---- assertions -------------------------------------------------------------------------------------------

  it("asserts numbers of rows and checksums", function()
    rows(5)
    lua([[
      db:assert_rows("t", 5)
      db:assert_rows("select 1 from t where id > 3;", { min = 1, max = 4 })
      local before = db:checksum("t", { "id", "n" })
      assert(db:execute "create table copy as select * from t order by id desc")
      db:assert_same_count("t", "copy")
      db:assert_checksum("copy", "id, n", before)
      db:assert_checksum("copy", "id", "t")
      assert(db:execute "alter table copy rename column n to m")
      db:assert_checksum("copy", { "id", "m" }, "t", { "id", "n" })
      assert(db:transaction(function(tx) tx:assert_rows("t", 5) return true end))
    ]], "")
    assert(up())
    for body, complaint in pairs {
      ['db:assert_rows("t", 6)'] = "t has 5 rows, not 6",
      ['db:assert_rows("t", { max = 2 })'] = "t has 5 rows, not 0 to 2",
      ['db:assert_rows("t", { min = 6 })'] = "t has 5 rows, not at least 6",
      ['db:assert_same_count("t", "select 1")'] = "t has 5 rows, but select 1 has 1",
      ['db:assert_checksum("t", "id", "copy", "id + 1")'] = "the checksum of t (id) is 5:",
      ['db:assert_checksum("t", "id", "5:1")'] = ", not 5:1",
      ['db:assert_rows("t")'] = "wants a number of rows", ['db:assert_rows("nosuch", 1)'] = '"nosuch" does not exist',
      ['db.query("select 1")'] = "call it with a colon",
    } do
      g.put("0002_a.lua", ("return { up = function(db)\n%s\nend }"):format(body))
      local _, err = up()
      assert.truthy(err.message:find(complaint, 1, true), err.message)
      if not body:find "nosuch" then assert.equal(2, err.line, body) end
    end
  end)

  it("is stopped in the middle of a statement, and between two of them", function()
    lua([[assert(db:execute "create table x ()") assert(db:query "select pg_sleep(20)")]], "")
    local asked = 0
    local _, err = up { should_stop = function() asked = asked + 1 return asked > 4 end }
    assert.equal("migration_interrupted", err.kind)
    lua([[for _ = 1, 1000 do assert(db:query "select pg_sleep(0.05)") end]], "")
    asked = 0
    _, err = up { should_stop = function() asked = asked + 1 return asked > 4 end }
    assert.equal("migration_interrupted", err.kind)
    assert.is_false(g.exists "x")
  end)
end)
