-- The statement cache of a connection: what an execution costs in round trips, what the server is left holding, and
-- that rows are right whatever happened to tables, types and prepared statements between two calls.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"
local env = require "spec.support.env"
local luphant = require "luphant"
local probe = require "spec.support.probe"
local proxy = require "luphant.testing.proxy"

local url = env.url()

-- Folder and port of the shared server's Unix socket.
local function socket_path()
  local conn = assert(luphant.connect(url))
  local target = conn:target()
  conn:close()
  return ("%s/.s.PGSQL.%s"):format(target.host, target.port)
end

describe("the statement cache", function()
  local open

  before_each(function() open = {} end)
  after_each(function()
    for _, each in ipairs(open) do (each.stop or each.close)(each) end
  end)

  local function keep(thing)
    open[#open + 1] = thing
    return thing
  end

  local function connect(options) return keep(assert(luphant.connect(url, options))) end

  local function held_by_server(conn)
    return assert(conn:query_column "select statement from pg_prepared_statements order by prepare_time, name")
  end

  local function cached(conn) return conn:stats().statements end

  -- The session's statements that do not concern the looking itself.
  local function held_of(conn, pattern)
    local count = 0
    for _, text in ipairs(held_by_server(conn)) do
      if text:find(pattern, 1, true) then count = count + 1 end
    end
    return count
  end

  describe("costs", function()
    local gate, counted

    setup(function() gate = assert(proxy.start { target_socket = socket_path() }) end)
    teardown(function() gate:stop() end)

    local function through(options)
      local given = { host = "127.0.0.1", port = gate.port, dbname = "postgres", user = "postgres",
        sslmode = "disable" }
      for key, value in pairs(options or {}) do given[key] = value end
      return keep(assert(luphant.connect(given)))
    end

    function counted(fn)
      gate:stats { reset = true }
      local result = fn()
      return gate:stats { reset = true }.round_trips, result
    end

    local function assert_costs(expected, fn)
      local trips = counted(fn)
      assert.equal(expected, trips)
    end

    it("two round trips at first and one from then on, for every verb", function()
      local conn = through()
      for _, verb in ipairs { "query", "query_one", "query_opt", "query_value", "query_column", "execute", "values" } do
        local sql = "select $1::int + 1 as " .. verb
        assert_costs(2, function() assert(conn[verb](conn, sql, 1)) end)
        for i = 1, 3 do
          assert_costs(1, function() assert(conn[verb](conn, sql, i)) end)
        end
      end
    end)

    it("the same for statements without parameters and without rows", function()
      local conn = through()
      assert_costs(2, function() assert(conn:execute "create temp table t (n int)") end)
      for _, sql in ipairs { "select 1", "insert into t values (1)", "insert into t values (1) returning n", "" } do
        assert_costs(2, function() assert(conn:query(sql)) end)
        assert_costs(1, function() assert(conn:query(sql)) end)
      end
    end)

    it("one round trip for a statement that was described or prepared before", function()
      local conn = through()
      assert_costs(1, function() assert(conn:describe "select 1 as described") end)
      assert_costs(1, function() assert(conn:query "select 1 as described") end)
      assert_costs(1, function() assert(conn:describe "select 1 as described") end) -- who asks wants to know
      local statement
      assert_costs(1, function() statement = assert(conn:prepare "select $1::int as prepared") end)
      assert_costs(1, function() assert(statement:query(1)) end)
    end)

    it("one round trip whatever is in a row, once its types are known", function()
      local conn = through()
      assert(conn:script "create type pg_temp.pair as (a int, b text); create type pg_temp.word as enum ('x', 'y')")
      local sql = "select row(1, 'a')::pg_temp.pair as p, 'x'::pg_temp.word as w, array[1] as list, $1::numeric as n"
      assert(conn:query(sql, "1.5"))
      assert_costs(1, function() assert(conn:query(sql, "2.5")) end)
      -- Another statement of the same types asks for no catalog either.
      assert_costs(2, function() assert(conn:query("select row(2, 'two')::pg_temp.pair as p")) end)
    end)

    it("nothing to evict a statement: DEALLOCATE rides in the flight of the next preparation", function()
      local conn = through { statement_cache_size = 2 }
      for i = 1, 6 do
        assert_costs(2, function() assert(conn:query_value("select " .. i)) end)
      end
      assert_costs(1, function() assert(conn:query_value "select 6") end)
      assert_costs(1, function() assert(conn:query_value "select 5") end)
      assert_costs(2, function() assert(conn:query_value "select 4") end)
    end)

    it("one round trip for a script", function()
      local conn = through()
      assert_costs(1, function() assert(conn:script "select 1; select 2; select 3") end)
    end)

    it("three round trips to heal a statement", function()
      local conn = through()
      assert(conn:query_value "select 1 as healed")
      assert(conn:query_value "select 1 as other")
      keep(conn)
      assert(conn:script "do $$ begin execute 'deallocate all'; end $$")
      assert_costs(3, function() assert.equal(1, conn:query_value "select 1 as healed") end)
      assert_costs(1, function() assert.equal(1, conn:query_value "select 1 as healed") end)
    end)

    it("the same through the unnamed statement of pooler = \"transaction\"", function()
      local conn = through { pooler = "transaction" }
      assert_costs(2, function() assert.equal(2, conn:query_value("select $1::int + 1", 1)) end)
      for i = 1, 3 do
        assert_costs(1, function() assert.equal(i + 1, conn:query_value("select $1::int + 1", i)) end)
      end
      assert_costs(2, function() assert(conn:query_value "select 2") end)
      assert_costs(1, function() assert.equal(8, conn:query_value("select $1::int + 1", 7)) end)
    end)

    it("one round trip for a statement too long to be kept, as long as it is the one last used", function()
      local conn = through { statement_cache_bytes = 4096 }
      local long = "select " .. ("1 + "):rep(2000) .. "$1::int"
      assert_costs(2, function() assert.equal(2001, conn:query_value(long, 1)) end)
      assert_costs(1, function() assert.equal(2002, conn:query_value(long, 2)) end)
      assert.equal(0, held_of(conn, "1 + 1"))
    end)
  end)

  describe("keeps", function()
    it("as many statements as it may, on both sides", function()
      local conn = connect { statement_cache_size = 5 }
      for round = 1, 2 do
        for i = 1, 20 do
          assert.equal(i * round, conn:query_value(("select %d * $1::int as kept"):format(i), round))
        end
      end
      local held = held_of(conn, "as kept")
      assert.is_true(held <= 5, held .. " are held")
      assert.equal(5, cached(conn).count)
      assert.is_true(cached(conn).evictions >= 15)
    end)

    it("those used last", function()
      local conn = connect { statement_cache_size = 3 }
      for word in ("abcad"):gmatch "." do assert(conn:query_value("select '" .. word .. "' as lru")) end
      local before = cached(conn).misses
      assert(conn:query_value "select 'a' as lru")
      assert(conn:query_value "select 'd' as lru")
      assert(conn:query_value "select 'c' as lru")
      assert.equal(before, cached(conn).misses)
      assert(conn:query_value "select 'b' as lru")
      assert.equal(before + 1, cached(conn).misses)
    end)

    it("as many bytes as it may", function()
      local conn = connect { statement_cache_bytes = 20000 }
      for i = 1, 50 do assert(conn:query_value(("select %d, '%s' as bytes"):format(i, ("x"):rep(1000)))) end
      local state = cached(conn)
      assert.is_true(state.bytes <= 20000, state.bytes .. " bytes")
      assert.is_true(state.count >= 3 and state.count < 20, state.count .. " statements")
      local held = held_of(conn, "as bytes")
      assert.is_true(held <= state.count + 1, held .. " are held")
    end)

    describe("nothing of those thrown out on the server,", function()
      -- Distinct statements, all inside one transaction.
      local function many(conn, from, to)
        for i = from, to do assert.equal(i + 1, conn:query_value(("select %d + $1::int as thrown"):format(i), 1)) end
      end

      it("but does not tell it inside a transaction, which a DEALLOCATE that fails would end", function()
        local conn = connect { statement_cache_size = 1 }
        assert(conn:query_value "select 1 as thrown")
        assert(conn:script "do $$ begin execute 'deallocate all'; end $$")
        assert(conn:script "begin")
        assert.equal(2, conn:query_value "select 2 as thrown") -- throws out a name that is not there
        assert.equal(3, conn:query_value "select 3 as thrown")
        assert.equal("intrans", conn:transaction_status())
        assert(conn:script "commit")
        many(conn, 4, 8)
        assert.equal(0, held_of(conn, "as thrown"))
      end)

      it("once a transaction has ended, with the next statement that is prepared", function()
        local conn = connect { statement_cache_size = 8 }
        assert(conn:script "begin")
        many(conn, 1, 40)
        assert.equal(40, held_of(conn, "as thrown"))
        assert(conn:script "commit")
        assert(conn:query_value "select 'next'")
        assert.is_true(held_of(conn, "as thrown") <= 8)
      end)

      it("or with one that was prepared already, when they are many", function()
        local conn = connect { statement_cache_size = 8 }
        local count = "select count(*) from pg_prepared_statements where statement like '%as thrown' and $1"
        assert(conn:query_value(count, true))
        for round = 0, 1 do
          assert(conn:script "begin")
          for i = 1, 100 do
            many(conn, round * 200 + i, round * 200 + i)
            assert(conn:query_value(count, false)) -- stays in the cache
          end
          -- Somebody else's DEALLOCATE: the names that are missing cost one flight, not one each.
          if round == 1 then assert(conn:script "do $$ begin execute 'deallocate all'; end $$") end
          assert(conn:script "commit")
          if round == 1 then assert(conn:query_value(count, true)) end
          assert.is_true(conn:query_value(count, true) <= 8)
        end
      end)

      it("and a bounded number in work that never leaves its transaction, which goes on all the same", function()
        local conn = connect { statement_cache_size = 8 }
        assert(conn:script "begin")
        many(conn, 1, 600)
        local held = held_of(conn, "as thrown")
        assert.is_true(held >= 256 and held <= 256 + 9, held .. " are held")
        for _ = 1, 3 do many(conn, 596, 600) end
        assert(conn:script "commit")
        many(conn, 598, 602)
        assert.is_true(held_of(conn, "as thrown") <= 8)
        -- What had to do without a name has one again.
        assert.equal(1, held_of(conn, "select 600 + "))
      end)
    end)

    it("nothing with size 0, and answers all the same", function()
      local conn = connect { statement_cache_size = 0 }
      for round = 1, 2 do
        for i = 1, 5 do
          assert.same({ { n = i, round = round } }, conn:query(("select %d as n, $1::int as round"):format(i), round))
        end
      end
      assert.same({}, (assert(conn:script "select statement from pg_prepared_statements"))[1].rows)
      assert.equal(0, cached(conn).count)
    end)

    it("a text above the byte limit out, and answers all the same", function()
      local conn = connect { statement_cache_bytes = 8192 }
      local long = "select '" .. ("y"):rep(10000) .. "' || $1::text as long"
      for i = 1, 3 do
        assert.equal(10001, #conn:query_value(long, tostring(i)))
        assert.equal(i, conn:query_value("select $1::int as short", i))
      end
      assert.equal(0, held_of(conn, "as long"))
      assert.equal(1, held_of(conn, "as short"))
    end)

    it("statements apart that differ in a blank only", function()
      local conn = connect()
      assert.same({ { a = 1 } }, conn:query "select 1 as a")
      assert.same({ { a = 1 } }, conn:query "select 1  as a")
      assert.equal(2, cached(conn).count)
    end)

    it("nothing of a statement that could not be prepared", function()
      local conn = connect()
      for _ = 1, 3 do
        assert.equal("undefined_table", (select(2, conn:query "select * from not_there_yet")).kind)
      end
      assert.equal(0, cached(conn).count)
      assert(conn:script "create temp table not_there_yet (n int); insert into not_there_yet values (5)")
      assert.equal(5, conn:query_value "select * from not_there_yet")
    end)

    it("working when statements are evicted while their rows are being read", function()
      local conn = connect { statement_cache_size = 1 }
      local sum = 0
      for a, b in conn:values "select n, n::text from generate_series(1, 50) n" do
        sum = sum + a + assert(conn:query_value("select $1::int * " .. a, tonumber(b)))
      end
      local expected = 0
      for i = 1, 50 do expected = expected + i + i * i end
      assert.equal(expected, sum)
    end)

    it("its size under a long run of statements of chance", function()
      local conn = connect { statement_cache_size = 8 }
      math.randomseed(11)
      for _ = 1, 600 do
        local n = math.random(1, 24)
        assert.equal(n * 2, conn:query_value(("select $1::int + %d as chance"):format(n), n))
      end
      assert.equal(8, cached(conn).count)
      assert.is_true(held_of(conn, "as chance") <= 8)
    end)
  end)

  -- Each test below works on a schema of its own name.
  describe("gives right rows", function()
    local other

    before_each(function()
      other = connect()
      assert(other:script "drop schema if exists heal cascade; create schema heal")
    end)
    after_each(function() assert(other:script "drop schema if exists heal cascade") end)

    local function items(options)
      assert(other:script [[create table heal.items (id int primary key, name text);
        insert into heal.items values (1, 'one'), (2, 'two')]])
      return connect(options)
    end

    local NAME_OF_ONE = "select name from pg_prepared_statements where statement = 'select 1'"

    -- The names that come after `name`, except the one that asking for `name` took.
    local function take_names(conn, name)
      local prefix, number = name:match "^(.*_)(%d+)$"
      for i = 2, 10 do assert(conn:script(("prepare %s%d as select 'foreign'"):format(prefix, number + i))) end
    end

    local ALL = "select * from heal.items order by id"

    for _, mode in ipairs { "session", "transaction" } do
      describe('with pooler = "' .. mode .. '",', function()
        local function connect_items(options)
          options = options or {}
          options.pooler = mode
          return items(options)
        end

        for _, who in ipairs { "this session", "another session" } do
          local function ddl(conn, sql)
            local session = who == "this session" and conn or other
            -- By a verb and by a script in turn: both have to be noticed.
            if sql:find(";", 1, true) then assert(session:script(sql)) else assert(session:execute(sql)) end
          end

          it("after " .. who .. " added, renamed and dropped a column", function()
            local conn = connect_items()
            assert.same({ { id = 1, name = "one" }, { id = 2, name = "two" } }, conn:query(ALL))
            ddl(conn, "alter table heal.items add column price numeric default 1.50")
            assert.same({ { id = 1, name = "one", price = "1.50" }, { id = 2, name = "two", price = "1.50" } },
              conn:query(ALL))
            ddl(conn, "alter table heal.items rename column name to title")
            assert.same({ { id = 1, title = "one", price = "1.50" }, { id = 2, title = "two", price = "1.50" } },
              conn:query(ALL))
            ddl(conn, "alter table heal.items drop column price")
            assert.same({ { id = 1, title = "one" }, { id = 2, title = "two" } }, conn:query(ALL))
            probe.usable(conn)
          end)

          it("after " .. who .. " changed the type of a column", function()
            local conn = connect_items()
            assert.equal(1, conn:query_value("select id from heal.items where id = $1", 1))
            assert.equal(1, conn:query_value("select count(*) from heal.items where id = $1", 1))
            ddl(conn, "alter table heal.items alter column id type text")
            assert.equal("1", conn:query_value("select id from heal.items where id = $1", "1"))
            assert.equal(1, conn:query_value("select count(*) from heal.items where id = $1", "1"))
            ddl(conn, "alter table heal.items alter column id type float8 using id::float8")
            assert.equal(1.0, conn:query_value("select id from heal.items where id = $1", 1))
            probe.usable(conn)
          end)

          it("after " .. who .. " dropped the table and made another one", function()
            local conn = connect_items()
            assert(conn:query(ALL))
            assert.equal(1, conn:execute("insert into heal.items values ($1, $2)", 3, "three"))
            ddl(conn, "drop table heal.items; create table heal.items (name int, id text)")
            assert.equal(1, conn:execute("insert into heal.items values ($1, $2)", 7, "seven"))
            assert.same({ { id = "seven", name = 7 } }, conn:query(ALL))
            probe.usable(conn)
          end)

          it("after " .. who .. " dropped an enum and made it again", function()
            local conn = connect_items()
            local make = [[create type heal.mood as enum ('sad', 'fine');
              create table heal.people (name text, mood heal.mood, moods heal.mood[])]]
            local insert = "insert into heal.people values ($1, $2, $3)"
            local read = "select name, mood, moods, $1::heal.mood as given from heal.people"
            assert(other:script(make))
            assert(conn:execute(insert, "Ann", "sad", { "sad", "fine" }))
            assert.same({ { name = "Ann", mood = "sad", moods = { "sad", "fine" }, given = "fine" } },
              conn:query(read, "fine"))
            ddl(conn, "drop table heal.people; drop type heal.mood; " .. make)
            assert(conn:execute(insert, "Bob", "fine", { "fine" }))
            assert.same({ { name = "Bob", mood = "fine", moods = { "fine" }, given = "sad" } }, conn:query(read, "sad"))
            probe.usable(conn)
          end)

          it("after " .. who .. " added a value to an enum", function()
            local conn = connect_items()
            assert(other:script "create type heal.colour as enum ('red')")
            assert.equal("red", conn:query_value("select $1::heal.colour", "red"))
            assert.equal("22P02", (select(2, conn:query_value("select $1::heal.colour", "blue"))).sqlstate)
            ddl(conn, "alter type heal.colour add value 'blue'")
            assert.equal("blue", conn:query_value("select $1::heal.colour", "blue"))
          end)

          it("after " .. who .. " dropped a composite type and made it anew", function()
            local conn = connect_items()
            assert(other:script "create type heal.pair as (a int, b text)")
            local sql = "select row($1, 'x')::heal.pair as p"
            assert.same({ { p = { a = 1, b = "x" } } }, conn:query(sql, 1))
            ddl(conn, "drop type heal.pair; create type heal.pair as (c text, d text)")
            assert.same({ { p = { c = "1", d = "x" } } }, conn:query(sql, "1"))
          end)
        end

        it("after an attribute was added to a composite type, and one was renamed", function()
          local conn = connect_items()
          assert(other:script [[create type heal.point as (x int, y int); create table heal.points (p heal.point);
            insert into heal.points values ((1, 2))]])
          local sql = "select p, $1::heal.point as given from heal.points"
          assert.same({ { p = { x = 1, y = 2 }, given = { x = 3, y = 4 } } }, conn:query(sql, { x = 3, y = 4 }))
          assert(conn:execute "alter type heal.point add attribute z int")
          assert.same({ { p = { x = 1, y = 2 }, given = { x = 3, y = 4, z = 5 } } },
            conn:query(sql, { x = 3, y = 4, z = 5 }))
          assert(conn:execute "alter type heal.point rename attribute z to height")
          assert.same({ { p = { x = 1, y = 2 }, given = { x = 3, height = 6 } } },
            conn:query(sql, { x = 3, height = 6 }))
        end)

        it("after DDL that was rolled back, to a savepoint or altogether", function()
          local conn = connect_items()
          local two = { { id = 1, name = "one" }, { id = 2, name = "two" } }
          local three = { { id = 1, name = "one", extra = 5 }, { id = 2, name = "two", extra = 5 } }
          assert.same(two, conn:query(ALL))
          for _, run in ipairs { "execute", "script" } do
            assert(conn[run](conn, "begin"))
            assert(conn[run](conn, "alter table heal.items add column extra int default 5"))
            assert.same(three, conn:query(ALL))
            assert(conn[run](conn, "rollback"))
            assert.same(two, conn:query(ALL))
            assert(conn[run](conn, "begin"))
            assert(conn[run](conn, "savepoint here"))
            assert(conn[run](conn, "alter table heal.items add column extra int default 5"))
            assert.same(three, conn:query(ALL))
            assert(conn[run](conn, "rollback to savepoint here"))
            assert.same(two, conn:query(ALL))
            assert(conn[run](conn, "commit"))
            assert.same(two, conn:query(ALL))
          end
          assert.is_nil((conn:transaction(function(tx)
            assert(tx:execute "alter table heal.items add column extra int default 5")
            assert.same(three, tx:query(ALL))
            return nil, "enough"
          end)))
          assert.same(two, conn:query(ALL))
        end)

        it("whatever way search_path is changed", function()
          local conn = connect_items()
          assert(other:script [[drop schema if exists heal_too cascade; create schema heal_too;
            create table heal.t (a int); insert into heal.t values (1);
            create table heal_too.t (a text, b int); insert into heal_too.t values ('2', 3)]])
          local here, there = { { a = 1 } }, { { a = "2", b = 3 } }
          local ways = {
            function(path) assert(conn:execute("set search_path = " .. path)) end,
            function(path) assert(conn:script("select 1; set search_path to " .. path)) end,
            function(path) assert(conn:query_value("select set_config('search_path', $1, false)", path)) end,
            function(path) assert(conn:query_value("select set_config($1, $2, false)", "search_path", path)) end,
            function(path) assert(conn:execute(("do $$ begin set search_path = %s; end $$"):format(path))) end,
          }
          for _, change in ipairs(ways) do
            change "heal"
            assert.same(here, conn:query "select * from t")
            assert.equal(1, conn:query_value("select count(*) from t where a = $1", 1))
            change "heal_too"
            assert.same(there, conn:query "select * from t")
            assert.equal(1, conn:query_value("select count(*) from t where a = $1", "2"))
          end
          assert(conn:script "begin; set local search_path = heal")
          assert.same(here, conn:query "select * from t")
          assert(conn:execute "rollback")
          assert.same(there, conn:query "select * from t")
          assert(other:script "drop schema heal_too cascade")
        end)

        it("after DISCARD ALL, DISCARD PLANS, DEALLOCATE ALL and a DEALLOCATE nobody saw", function()
          local conn = connect_items()
          for _, sql in ipairs { "discard all", "discard plans", "deallocate all",
            "do $$ begin execute 'deallocate all'; end $$" } do
            for _, run in ipairs { "execute", "script" } do
              assert.same({ id = 1, name = "one" }, conn:query_one("select * from heal.items where id = $1", 1))
              assert(conn[run](conn, sql))
              assert.same({ id = 2, name = "two" }, conn:query_one("select * from heal.items where id = $1", 2))
              probe.usable(conn)
            end
          end
        end)
      end)
    end

    it("after somebody prepared a statement under the name that comes next", function()
      local conn = connect()
      assert(conn:query_value "select 1")
      take_names(conn, assert(conn:query_value(NAME_OF_ONE)))
      assert.equal(42, conn:query_value "select 42")
      assert.equal(43, conn:query_value "select 43")
      assert.equal(42, conn:query_value "select 42")
    end)

    it("behind a pooler that mixes sessions up: no two sessions give the same names", function()
      local conn = connect()
      assert.equal(1, conn:query_value "select 1 as mine")
      local NAME = "select name from pg_prepared_statements where statement = 'select 1 as mine'"
      local name = assert(conn:query_value(NAME))
      assert.matches("^l%w+_%d+$", name)
      local second = connect()
      assert.equal(1, second:query_value "select 1 as mine")
      assert.not_equal(name:match "^(.*)_", second:query_value(NAME):match "^(.*)_")
    end)

    it("after a composite type changed elsewhere: parameters at once, results from the second call on", function()
      local conn = connect()
      assert(other:script [[create type heal.point as (x int, y int); create table heal.points (p heal.point);
        insert into heal.points values ((1, 2))]])
      assert.same({ x = 1, y = 2 }, conn:query_value "select p from heal.points")
      assert.equal(1, conn:execute("update heal.points set p = $1", { x = 3, y = 4 }))
      assert(other:execute "alter type heal.point add attribute z int")
      assert.equal(1, conn:execute("update heal.points set p = $1", { x = 3, y = 4, z = 5 }))
      assert.same({ x = 3, y = 4, z = 5 }, conn:query_value "select p from heal.points")
      assert(other:execute "alter type heal.point add attribute more text")
      local value, err = conn:query_value "select p from heal.points"
      if value == nil then assert.equal("decode", err.kind) end
      assert.same({ x = 3, y = 4, z = 5 }, conn:query_value "select p from heal.points")
      assert.equal(1, conn:execute("update heal.points set p = $1", { more = "yes" }))
      assert.same({ more = "yes" }, conn:query_value "select p from heal.points")
    end)

    it("to an iterator that was opened before a type changed", function()
      local conn = connect()
      assert(other:script "create type heal.pair as (a int, b text)")
      local seen = {}
      for pairs_of in conn:values "select array[row(n, 'x')::heal.pair] from generate_series(1, 3) n" do
        if #seen == 0 then assert(conn:execute "alter type heal.pair add attribute c int") end
        seen[#seen + 1] = pairs_of[1].a
      end
      assert.same({ 1, 2, 3 }, seen)
    end)

    it("and asks the server again before it refuses a value for a type of long ago", function()
      local conn = items()
      assert.equal(1, conn:execute("update heal.items set name = name where id = $1", 1))
      for _ = 1, 2 do
        local value, err = conn:execute("update heal.items set name = name where id = $1", "one")
        assert.is_nil(value)
        assert.same({ "parameter", "no" }, { err.kind, err.sent })
      end
      assert(conn:execute "begin")
      assert.equal("parameter", (select(2, conn:execute("update heal.items set name = name where id = $1", {}))).kind)
      assert.equal("intrans", conn:transaction_status())
      assert(conn:execute "rollback")
    end)

    it("with codecs of the user's own called once for each call that is sent", function()
      local conn = items()
      assert(other:script "create table heal.prices (p numeric)")
      local calls = 0
      assert(conn:register_type("numeric", { encode = function(value) calls = calls + 1 return value.text end }))
      assert.equal(1, conn:execute("insert into heal.prices values ($1)", { text = "1.5" }))
      assert.equal(1, calls)
      assert(other:execute "alter table heal.prices alter p type numeric(10, 2)")
      assert.equal(1, conn:execute("insert into heal.prices values ($1)", { text = "2.5" }))
      assert.equal(2, calls)
      assert.same({ "1.50", "2.50" }, conn:query_column "select p from heal.prices order by p")
    end)

    describe("inside a transaction cannot be had from a stale statement, but the error says what to do:", function()
      local function assert_told(conn, err, sqlstate)
        assert.equal(sqlstate, err.sqlstate)
        assert.matches("roll back and run the transaction again", err.hint, 1, true)
        assert.equal("inerror", conn:transaction_status())
        assert(conn:execute "rollback")
      end

      it("0A000 after a foreign ALTER TABLE", function()
        local conn = items()
        assert(conn:query(ALL))
        assert(other:execute "alter table heal.items add column price int")
        assert(conn:execute "begin")
        assert_told(conn, select(2, conn:query(ALL)), "0A000")
        assert.same({ { id = 1, name = "one" }, { id = 2, name = "two" } }, conn:query(ALL))
      end)

      it("26000 after a DEALLOCATE nobody saw", function()
        local conn = items()
        assert(conn:query(ALL))
        assert(conn:script "do $$ begin execute 'deallocate all'; end $$")
        assert(conn:script "begin")
        assert_told(conn, select(2, conn:query(ALL)), "26000")
        assert.equal(2, #assert(conn:query(ALL)))
      end)

      it("42P05 when the name exists", function()
        local conn = items()
        assert(conn:query_value "select 1")
        take_names(conn, assert(conn:query_value(NAME_OF_ONE)))
        assert(conn:script "begin")
        assert_told(conn, select(2, conn:query(ALL)), "42P05")
        assert.equal(2, #assert(conn:query(ALL)))
      end)

      it("an operator that is gone since a column changed its type", function()
        local conn = items()
        assert(conn:query_value("select name from heal.items where id = $1", 1))
        assert(other:execute "alter table heal.items alter column id type text")
        assert(conn:execute "begin")
        assert_told(conn, select(2, conn:query_value("select name from heal.items where id = $1", 1)), "42883")
        assert.equal("one", conn:query_value("select name from heal.items where id = $1", "1"))
      end)
    end)

    it("and an honest error when the statement itself has become wrong", function()
      local conn = items()
      assert(conn:query_value "select name from heal.items where id = 1")
      assert(other:execute "alter table heal.items drop column name")
      for _ = 1, 2 do
        local value, err = conn:query_value "select name from heal.items where id = 1"
        assert.is_nil(value)
        assert.same({ "undefined_column", 8 }, { err.kind, err.position })
      end
      assert(other:execute "alter table heal.items add column name text default 'back'")
      assert.equal("back", conn:query_value "select name from heal.items where id = 1")
    end)

    it("and never runs twice what failed in a function", function()
      local conn = items()
      assert(other:script [[create sequence heal.runs;
        create function heal.once(n int) returns int language plpgsql as
          'begin perform nextval(''heal.runs'');
            if n = 2 then execute ''select * from heal.nowhere''; end if; return n; end']])
      assert.equal(1, conn:query_value("select heal.once($1)", 1))
      assert.equal("undefined_table", (select(2, conn:query_value("select heal.once($1)", 2))).kind)
      assert.equal(2, conn:query_value "select last_value from heal.runs")
    end)

    it("for each type that luphant.typed gives one text", function()
      local conn = connect()
      local sql = "select $1 as typed"
      for _, case in ipairs {
        { "7", "7", "text" }, { luphant.typed(7, "int8"), 7, "bigint" },
        { luphant.typed("7.0", "numeric"), "7.0", "numeric" },
        { luphant.typed({ 1, 2 }, "int4[]"), { 1, 2 }, "integer[]" },
        { "8", "8", "text" }, { luphant.typed(8, "int8"), 8, "bigint" },
      } do
        local rows = assert(conn:query(sql, case[1]))
        assert.same({ case[2], case[3] }, { rows[1].typed, rows.columns[1].type })
      end
      assert.equal(4, held_of(conn, "as typed"))
    end)

    it("from luphant.typed at any place among the parameters", function()
      local conn = connect()
      for _, at in ipairs { 1, 2, 63, 64, 65, 66, 100 } do
        local list, given = {}, {}
        for i = 1, 100 do list[i], given[i] = "$" .. i, "x" end
        given[at] = luphant.typed(5, "int2")
        local rows = assert(conn:query({ "select " .. table.concat(list, ", "), rows = "array" },
          compat.unpack(given, 1, 100)))
        for i = 1, 100 do
          assert.equal(i == at and "smallint" or "text", rows.columns[i].type)
          assert.equal(i == at and 5 or "x", rows[1][i])
        end
      end
    end)

    it("in pooler mode without leaving a statement in the session", function()
      local conn = connect { pooler = "transaction" }
      for i = 1, 10 do assert.equal(i, conn:query_value("select $1::int", i)) end
      assert.same({}, held_by_server(conn))
      assert.equal(8, conn:query_value("select $1", luphant.typed(8, "int8")))
      local statement = assert(conn:prepare "select $1::int + 1")
      assert.equal(3, statement:query_value(2))
      assert.same({}, held_by_server(conn))
    end)
  end)
end)

-- To see it fail: follow unnamed statements only (lrun_take_result), or take rows of a stream whatever they are
-- (may_take in csrc/core/optap.c).
describe("a FETCH, whose cursor may be another one by now,", function()
  local CURSORS = { "select 1 as a", "select 2 as a, 'x' as b, array[3] as c", "select 't' as z", "select 4 as y" }
  local ROWS = { { a = 1 }, { a = 2, b = "x", c = { 3 } }, { z = "t" }, { y = 4 } }
  local FETCH = "fetch absolute 1 from k"

  it("gives the columns that come", function()
    local conn = assert(luphant.connect(env.url()))
    assert(conn:transaction(function(tx)
      for i, sql in ipairs(CURSORS) do
        assert(tx:execute("declare k scroll cursor for " .. sql))
        assert.same({ ROWS[i] }, { assert(tx:query_one(FETCH)) })
        assert.same(ROWS[i].a or ROWS[i].z or ROWS[i].y, assert(tx:query_value(FETCH)))
        for row in tx:stream(FETCH) do assert.same(ROWS[i], row) end
        assert(tx:execute "close k")
      end
      return true
    end))
    conn:close()
  end)
end)
