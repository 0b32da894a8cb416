-- A pool that shares reads: which texts are taken for reads, and that these ride while everything else has a connection
-- of its own. What riding promises is held to in share_spec and pool/sharing_spec.
--
-- To see it fail: let is_read in lua/luphant/pool/readtext.lua answer true; leave out `apart` in learn_from_run of
-- csrc/core/share.c (what is slow goes on riding), set_aside or spare in lua/luphant/share/fleet.lua, or
-- `pool.closed` in is_due of lua/luphant/pool/sharing.lua.
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"
local env = require "spec.support.env"
local luphant = require "luphant"
local probe = require "spec.support.probe"
local reads = require "luphant.pool.reads"
local readtext = require "luphant.pool.readtext"
local worlds = require "spec.contract.worlds"

describe("a text", function()
  local READS = {
    "select 1", "SELECT id, name FROM person WHERE id = $1", "\n-- by key\nselect/**/1",
    "(select 1) union all (select 2)", "values (1), (2)",
    "table person", "with a as materialized (select 1 as x) select x from a where x in (1, 2)",
    "select count(*) filter (where ok), max(at)::date, price::numeric(10, 2) from a join b using (id) group by (1)",
    "select 'it''s; f(1) for update' as \"for\", x.\"into\" from x", "select a.delete from a",
    "select array[1, 2], row(1, 2)",
    "select coalesce(a, (select b from c limit 1)) from d where exists (select 1 from e) and f = any ($1::int[])",
    "select rank() over (partition by a order by b) from c", "select now() at time zone 'utc'",
    "select 1;", "select 1; /* that is all */ ", "select o.id from unnest($1::int[]) with ordinality as o(id, at)",
    "with recursive tree(id, parent) as (select 1, 2 union all select 3, 4) select * from tree",
    "select v.a from (values (1, 2)) as \"v\" (\"a\", \"b\")", "select date(at), count(*) from a group by (1)",
    "select 1 from a left join (b cross join c) on true", "select 1 from a join (select 1 as x) b using (x)",
    "select 1 from a as b join (select 1) c on (true) join (d cross join e) on true",
    "with a as not materialized (select 1) select max(b) over (order by c) from d order by (1)",
    'SELECT "t"."id", COUNT(*) AS "__count" FROM "t" WHERE UPPER("t"."name"::text) LIKE UPPER($1) GROUP BY 1',
    "select 1::varchar(3), 'a'::character varying(10) from a where (b, c) in ((1, 2), (3, 4))",
    "select a->>'b', jsonb_build_object('c', d) from e where f ilike '%g%' or not (h between $1 and $2)",
  }
  local OTHERS = {
    "", " ", "(", "-- select 1", "insert into a values (1)", "update a set b = 1", "delete from a", "begin",
    "set a = 1", "copy a to stdout", "listen a", "call f()", "do $$ begin end $$", "explain select 1", "selection",
    "select f(1)", "select a.f(1)", "select \"f\"(1)", "select \"lower\"(a) from b", "select pg_catalog.lower('A')",
    "select lower/* */(a), f /* */ (b) from c", "select * from f(1)", "select pg_sleep(1)", "select nextval('s')",
    "select pg_notify('a', 'b')", "select set_config('a', 'b', false)", "select pg_advisory_lock(1)",
    "with a as (insert into b values (1) returning c) select c from a", "with a as (delete from b) select 1",
    "select 1 into a", "select * from a for update", "select * from a for no key update of a skip locked",
    "select 1; select 2", "select $$a$$", "select $a$b$a$", "select 'a\\'' || f()", "select E'a\\n'", "select 'open",
    "select \"open", "select 1 /* open", "select 1 \\ 2", "select 1 operator(a.+) 2",
  }

  it("is a read when nothing in it can do more than read", function()
    for _, sql in ipairs(READS) do assert.is_true(readtext.is_read(sql), sql) end
  end)

  it("is none where it may, or where that cannot be told", function()
    for _, sql in ipairs(OTHERS) do assert.is_false(readtext.is_read(sql), sql) end
  end)

  it("is none where a word of the grammar is a function's name", function()
    local words = "by cube filter ilike is join like materialized nulls over partition rollup sets similar varying "
      .. "within"
    for word in words:gmatch "%a+" do
      for _, form in ipairs { "select %s(1)", "select 1 from %s(1)", "select a, %s (1) from b", "select not %s(1)",
        "select 1 from a, %s(1) b", "select 1 from a where b = %s(1)", "values (1, %s(1))", "select a.%s(1)",
        "select 1 from a group by b, %s(1)", "select case when a then %s(1) end", "select distinct %s(1)" } do
        assert.is_false(readtext.is_read(form:format(word)), form:format(word))
      end
    end
  end)

  it("is looked at in any letters, whatever the locale", function()
    local before = os.setlocale(nil)
    for _, locale in ipairs { "C", "tr_TR.UTF-8", "tr_TR.ISO-8859-9", "tr_TR" } do
      if os.setlocale(locale) then
        assert.is_false(readtext.is_read "SELECT 1 AS a INTO b")
        assert.is_true(readtext.is_read "WITH a AS (SELECT MIN(b) FROM c WHERE d IN (1)) SELECT 1 FROM a")
      end
    end
    os.setlocale(before)
  end)

  it("is none with anything behind it that a read is refused for", function()
    for _, sql in ipairs(READS) do
      for _, rest in ipairs { " for update", "; select 1", ", f(1)", " || $$a$$", " into b" } do
        assert.is_false(readtext.is_read(sql .. rest), sql .. rest)
      end
    end
  end)

  it("is looked at up to its end, wherever that is", function()
    for _, sql in ipairs(OTHERS) do
      for i = 1, #sql do assert.equal("boolean", type(readtext.is_read(sql:sub(1, i)))) end
    end
  end)

  local fleet = { queued = 0, best = { rides = 0, depth = 2 } }

  it("that was not taken runs elsewhere for a while, and is tried again", function()
    local texts = reads.new()
    assert.is_true(reads.may_ride(texts, "select 1", fleet))
    reads.keep_apart(texts, "select 1")
    for times = 6, 14 do
      local pause = 2 ^ math.min(times, 12)
      for _ = 1, pause do assert.is_false(reads.may_ride(texts, "select 1", fleet)) end
      assert.is_true(reads.may_ride(texts, "select 1", fleet), pause)
      reads.keep_apart(texts, "select 1")
    end
    reads.keep_apart(texts, "select f(1)") -- that one never rode
    assert.is_false(reads.may_ride(texts, "select f(1)", fleet))
  end)

  it("is remembered, but not thousands of them, nor what is no text", function()
    local texts = reads.new()
    for i = 1, 5000 do
      assert.is_true(reads.may_ride(texts, "select " .. i, fleet))
      local count = 0
      for _ in pairs(texts.texts) do count = count + 1 end
      if count > 1000 then error(count) end
    end
    assert.is_false(reads.may_ride(texts, { "select 1" }, fleet))
    assert.is_false(reads.may_ride(texts, "select '" .. ("x"):rep(9000) .. "'", fleet))
  end)

  it("does not queue behind more riders than there should be while a connection is idle", function()
    local spent = false
    local texts = reads.new { is_spent = function() return spent end }
    local function may(rides, depth)
      return reads.may_ride(texts, "select 1", { queued = 0, best = { rides = rides, depth = depth } })
    end
    assert.is_true(may(1, 2))
    assert.is_false(may(2, 2))
    spent = true
    assert.is_true(may(7, 2))
    assert.is_false(may(8, 2))
    assert.is_false(may(1, 1)) -- where each takes its time, the pool's queue is the better place
  end)
end)

for _, setting in ipairs(worlds.others) do
  describe("a pool that shares reads under " .. setting.name, function()
    if setting.missing then return pending(setting.missing) end

    local world, probe_conn

    before_each(function() world = setting.start() end)
    setup(function()
      probe_conn = assert(luphant.connect(env.url()))
      assert(probe_conn:script "drop table if exists reads_spec; create table reads_spec (id int primary key, n int)")
    end)
    teardown(function()
      if probe_conn then
        assert(probe_conn:script "drop table reads_spec")
        probe_conn:close()
      end
    end)

    local function open(options)
      local given = { share = "reads", max_connections = 4, waiter = world.waiter, on_warning = function() end }
      for name, value in pairs(options or {}) do given[name] = value end
      return assert(luphant.open(env.url(), given))
    end

    -- Two statements at a time are what makes a pool share.
    local function share_something(db)
      for _ = 1, 50 do
        local tasks = {}
        for i = 1, 4 do tasks[i] = world.spawn(function() assert(db:query_value "select 1") end) end
        world.join(tasks)
        if db:stats().shared.connections > 0 then return end
        world.pause(0.01)
      end
      error "nothing is shared"
    end

    -- Whether a statement rode, as its session tells: what is shared is under way when a second one comes.
    local function rides_of(db, sql)
      local most, over = 0, false
      local watch = world.spawn(function()
        while not over do
          most = math.max(most, db:stats().shared.rides)
          world.pause(0.001)
        end
      end)
      assert(db:query(sql))
      over = true
      world.join { watch }
      return most
    end

    it("answers each task with its own, reads and writes", function()
      world.run(function()
        local db = open()
        share_something(db)
        local tasks = {}
        for i = 1, 30 do
          tasks[i] = world.spawn(function()
            assert.equal(1, assert(db:execute("insert into reads_spec values ($1, $1)", i)))
            for j = 1, 10 do
              assert.equal(i * 100 + j, (assert(db:query_value("select $1::int", i * 100 + j))))
              assert.equal(1, assert(db:execute("update reads_spec set n = n + 1 where id = $1", i)))
              assert.equal(i + j, assert(db:query_value("select n from reads_spec where id = $1", i)))
            end
          end)
        end
        world.join(tasks)
        local stats = db:stats()
        assert.is_true(stats.shared.connections <= 2 and stats.total <= 4)
        assert.equal(0, stats.used)
        assert(db:execute "delete from reads_spec")
        assert.is_true(db:close(2))
      end)
    end)

    it("gives whatever is no read a connection of its own", function()
      world.run(function()
        local db = open()
        share_something(db)
        assert.equal(0, rides_of(db, "select pg_sleep(0.05)"))
        assert.equal(0, rides_of(db, "insert into reads_spec select 1, 2 from pg_sleep(0.05)"))
        assert.equal(0, rides_of(db, "with a as (delete from reads_spec returning n) select n from a, pg_sleep(0.05)"))
        assert.is_true(db:close(2))
      end)
    end)

    it("lets a read that takes long ride twice in a row at most, and those beside it go on", function()
      world.run(function()
        local db = open()
        share_something(db)
        local sql = "select count(*) from generate_series(1, 400000) a, generate_series(1, 2) b where a + b = 0"
        local rode = 0
        for _ = 1, 6 do
          if rides_of(db, sql) > 0 then rode = rode + 1 end
        end
        assert.is_true(rode >= 1 and rode <= 2, rode .. " times")
        assert.is_true(db:close(5 * probe.slow))
      end)
    end)

    it("takes a connection back that is to be replaced, though statements ride on it all the time", function()
      world.run(function()
        local db = open()
        share_something(db)
        local function pids()
          local list = {}
          for _, one in ipairs(db:stats().connections) do list[one.backend_pid or 0] = true end
          return list
        end
        local before, over = pids(), false
        local tasks = {}
        for i = 1, 4 do
          tasks[i] = world.spawn(function()
            while not over do assert(db:query_value "select 1") end
          end)
        end
        db:refresh()
        local left
        for _ = 1, 40 * probe.slow do
          world.pause(0.1)
          left = 0
          for pid in pairs(pids()) do left = left + (before[pid] and 1 or 0) end
          if left == 0 then break end
        end
        over = true
        world.join(tasks)
        assert.equal(0, left)
        assert.is_true(db:close(2))
      end)
    end)

    it("lets writes have their turn while somebody reads all the time", function()
      world.run(function()
        local db = open { max_connections = 3, acquire_timeout = 5 * probe.slow }
        share_something(db)
        local over, failed, tasks = false, nil, {}
        local holder = world.spawn(function()
          local held = { assert(db:acquire()), assert(db:acquire()) }
          while not over do world.pause(0.01) end
          for _, conn in ipairs(held) do conn:release() end
        end)
        for i = 1, 6 do
          tasks[i] = world.spawn(function()
            while not over do
              local ok, err = db:query_value "select 1"
              if not ok then failed = err end
            end
          end)
        end
        world.pause(0.1)
        local longest = 0
        for i = 1, 5 do
          local from = core.now()
          assert(db:execute("insert into reads_spec values ($1, 0)", i))
          longest = math.max(longest, core.now() - from)
        end
        over = true
        world.join(tasks)
        world.join { holder }
        assert.is_nil(failed)
        assert.is_true(longest < 0.5 * probe.slow, "a write waited for " .. longest)
        assert(db:execute "delete from reads_spec")
        assert.is_true(db:close(2))
      end)
    end)

    it("lets what has begun come to its end when it is closed", function()
      world.run(function()
        for _, share in ipairs { "reads", true } do
          local db = open { share = share }
          if share == "reads" then share_something(db) else assert(db:query_value "select 1") end
          assert(probe_conn:script "begin; lock table reads_spec")
          local said = {}
          local tasks = {}
          for i = 1, 2 do
            tasks[i] = world.spawn(function()
              local count, err = db:query_value("select count(*) from reads_spec where id = $1", i)
              said[i] = count or tostring(err)
            end)
          end
          world.pause(0.1)
          local closing = world.spawn(function() return db:close(5 * probe.slow) end)
          world.pause(0.1)
          assert(probe_conn:script "commit")
          world.join(tasks)
          world.join { closing }
          assert.same({ 0, 0 }, said, tostring(share))
          assert.is_true(closing.result)
        end
      end)
    end)

    it("shares nothing while somebody wants to see each borrowing, or there is but one connection", function()
      world.run(function()
        for _, options in ipairs {
          { before_acquire = function() end }, { after_release = function() end }, { reset = "always" },
          { max_connections = 1 },
        } do
          local db = open(options)
          for _ = 1, 5 do
            local tasks = {}
            for i = 1, 4 do tasks[i] = world.spawn(function() assert(db:query_value "select 1") end) end
            world.join(tasks)
          end
          local shared = db:stats().shared
          assert.equal(0, shared and shared.connections or 0)
          assert.is_true(db:close(2))
        end
      end)
    end)

    it("has its connections for whoever needs one", function()
      world.run(function()
        local db = open()
        share_something(db)
        local held = {}
        for i = 1, 4 do held[i] = assert(db:acquire { timeout = 2 * probe.slow }) end
        assert.equal(4, db:stats().used)
        for i = 1, 4 do held[i]:release() end
        assert.is_true(db:close(2))
      end)
    end)
  end)
end
