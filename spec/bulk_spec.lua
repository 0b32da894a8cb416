-- q:insert_many: any number of rows into a table, all or none, and which of them was refused.
--
-- To see it fail: let find_row in lua/luphant/bulk/init.lua begin with high = chunk.n - 1, let is_about_a_row answer
-- false, or take NULL out of values_of in bulk/gather.lua (a hole shifts what follows).
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local luphant = require "luphant"
local probe = require "spec.support.probe"
local shell = require "luphant.testing.shell"

-- More than one portion of unnest (16 chunks of 1000 rows); fewer where every step is slow.
local MANY = probe.slow > 1 and 18000 or 40000

describe("insert_many", function()
  local conn

  before_each(function()
    conn = assert(luphant.connect(env.url()))
    assert(conn:script "create temp table t (id int primary key, name varchar(5), data jsonb, list int[])")
  end)

  after_each(function() conn:close() end)

  local function count() return conn:query_value "select count(*) from t" end

  -- Rows 1 ... n, but row `at` has `id` (or a name).
  local function numbered(n, at, id, name)
    local i = 0
    return function()
      i = i + 1
      if i <= n then return { i == at and id or i, i == at and name or "x" } end
    end
  end

  it("takes rows by position and by name, and NULL for what is missing", function()
    assert.equal(5, conn:insert_many("t", { "id", "name" }, {
      { 1, "one" }, { 2 }, { id = 3, name = "three" }, { id = 4 }, { [1] = 5, [2] = luphant.NULL },
    }))
    assert.same({ { 1, "one" }, { 2, luphant.NULL }, { 3, "three" }, { 4, luphant.NULL }, { 5, luphant.NULL } },
      conn:query { "select id, name from t order by id", rows = "array" })
  end)

  for _, via in ipairs { "unnest", "values", "copy" } do
    it("gives the same by way of " .. via, function()
      assert.equal(3, conn:insert_many("t", { "name", "id", "data" }, {
        { "a", 1, { n = 1 } }, { "b", 2, { "x" } }, { "c", 3, nil },
      }, { via = via }))
      assert.same({ { id = 1, name = "a", data = { n = 1 } }, { id = 2, name = "b", data = { "x" } },
        { id = 3, name = "c" } }, conn:query "select id, name, data from t order by id")
    end)

    it("inserts any number of rows from an iterator by way of " .. via, function()
      local n = via == "values" and 10000 or MANY
      assert.equal(n, conn:insert_many("t", { "id", "name" }, numbered(n), { via = via }))
      assert.same({ n, n * (n + 1) / 2 }, conn:query_one {
        "select count(*)::float8, sum(id)::float8 from t", rows = "array" })
    end)

    for _, case in ipairs { { 3, 1 }, { 3, 2 }, { 3, 3 }, { 9500, 9001 }, { MANY, 1 }, { MANY, MANY - 1500 } } do
      it(("says that row %d of %d was refused by way of %s, and inserts none"):format(case[2], case[1], via), function()
        assert(conn:execute "insert into t values (-1)")
        local _, err = conn:insert_many("t", { "id", "name" }, numbered(case[1], case[2], -1), { via = via })
        assert.same({ "unique_violation", case[2] }, { err.kind, err.row })
        _, err = conn:insert_many("t", { "id", "name" }, numbered(case[1], case[2], 1e6, "too long"), { via = via })
        assert.same({ "string_data_right_truncation", case[2] }, { err.kind, err.row })
        _, err = conn:insert_many("t", { "id", "name" }, numbered(case[1], case[2], "no"), { via = via })
        assert.same({ "parameter", case[2], "id" }, { err.kind, err.row, err.column })
        assert.matches("nothing was inserted", tostring(err), 1, true)
        assert.equal(1, count())
        assert.equal("idle", conn:transaction_status())
      end)
    end
  end

  it("chooses values where unnest would take a column apart", function()
    assert.equal(2, conn:insert_many("t", { "id", "list" }, { { 1, { 1, 2 } }, { 2, {} } }))
    assert.same({ { 1, 2 }, {} }, conn:query_column "select list from t order by id")
    assert.error_matches(function()
      conn:insert_many("t", { "id", "list" }, { { 3, { 1 } } }, { via = "unnest" })
    end, 'column "list" is an array or a row')
  end)

  it("keeps user types, domains, char and bit as they are", function()
    assert(conn:script [[
      create type pg_temp.mood as enum ('sad', 'fine');
      create domain pg_temp.small as int check (value < 10);
      create type pg_temp.pair as (a int, b text);
      create temp table u (m pg_temp.mood, s pg_temp.small, c char(3), b bit(2), n numeric(6, 2))]])
    assert.equal(1, conn:insert_many("u", { "m", "s", "c", "b", "n" }, { { "fine", 9, "ab", "10", "1.234" } }))
    assert.same({ m = "fine", s = 9, c = "ab ", b = "10", n = "1.23" }, conn:query_one "select * from u")
    local _, err = conn:insert_many("u", { "s", "c" }, { { 1, "abc" }, { 10, "abc" } })
    assert.same({ "check_violation", 2 }, { err.kind, err.row })
    _, err = conn:insert_many("u", { "c" }, { { "abc" }, { "abcd" } })
    assert.same({ "string_data_right_truncation", 2 }, { err.kind, err.row })
  end)

  it("does nothing or updates on conflict", function()
    local function insert(rows, on_conflict) return conn:insert_many("t", { "id", "name" }, rows,
      { on_conflict = on_conflict }) end
    assert.equal(2, insert { { 1, "a" }, { 2, "b" } })
    assert.equal(1, insert({ { 2, "new" }, { 3, "c" } }, "nothing"))
    assert.equal(1, insert({ { 2, "new" }, { 4, "d" } }, { "id" }))
    assert.equal(2, insert({ { 2, "new" }, { 5, "e" } }, { "id", update = true }))
    assert.equal(1, insert({ { 1, "old" } }, { constraint = "t_pkey", update = { "name" } }))
    assert.same({ "old", "new", "c", "d", "e" }, conn:query_column "select name from t order by id")
    for said, given in pairs {
      ['must be "nothing" or a table'] = "replace", ["either columns"] = { update = true },
      ["has no field"] = { "id", set = true }, ["list of column names"] = { "id", update = {} },
    } do
      local ok, message = pcall(insert, { { 1, "a" } }, given)
      assert.is_false(ok)
      assert.matches(said, message, 1, true)
    end
  end)

  it("returns rows in the order they were given", function()
    local rows = conn:insert_many("t", { "id", "name" }, { { 7, "a" }, { 5, "b" } }, { returning = { "name", "id" } })
    assert.same({ { id = 7, name = "a" }, { id = 5, name = "b" } }, rows)
    assert.same({ { id = 8 } }, conn:insert_many("t", { "id" }, { { 8 } }, { returning = "id" }))
    local many = assert(conn:insert_many("t", { "id", "name" }, numbered(MANY, 0),
      { returning = "*", on_conflict = "nothing" }))
    assert.same({ MANY - 3, 1, MANY }, { #many, many[1].id, many[#many].id })
  end)

  for _, via in ipairs { "unnest", "values", "copy" } do
    it("keeps one time limit for all its portions, by way of " .. via, function()
      local n, i = via == "values" and 9000 or 17000, 0 -- two portions
      local function slowly()
        i = i + 1
        if i == n - 8000 then assert(shell.run "sleep 0.3") end
        if i <= n then return { i, "x" } end
      end
      local _, err = conn:insert_many("t", { "id", "name" }, slowly, { via = via, timeout = 0.25 })
      assert.same({ "query_timeout", nil }, { err.kind, err.row })
      assert.equal(0, count())
      assert.equal("idle", conn:transaction_status())
      i = 0
      assert.equal(n, conn:insert_many("t", { "id", "name" }, slowly, { via = via, timeout = 60 * probe.slow }))
    end)

    it("stops what the server does too slowly, by way of " .. via, function()
      assert(conn:script [[
        create function pg_temp.nap() returns trigger language plpgsql as
          $$ begin perform pg_sleep(new.id / 10.0); return new; end $$;
        create trigger nap before insert on t for each row execute function pg_temp.nap()]])
      local from = probe.now()
      local _, err = conn:insert_many("t", { "id" }, { { 0 }, { 200 } }, { via = via, timeout = 0.2 })
      assert.same({ "query_timeout", nil }, { err.kind, err.row })
      assert.is_true(probe.now() - from < 5 * probe.slow)
      assert.equal(0, count())
    end)
  end

  it("has no time limit with timeout = false, where the connection has one", function()
    local hasty = assert(luphant.connect(env.url(), { timeout = 0.15 }))
    assert(hasty:script [[create temp table t (id int);
      create function pg_temp.nap() returns trigger language plpgsql as
        $$ begin perform pg_sleep(0.4); return new; end $$;
      create trigger nap before insert on t for each row execute function pg_temp.nap()]])
    local _, err = hasty:insert_many("t", { "id" }, { { 1 } })
    assert.equal("query_timeout", err.kind)
    assert.equal(1, hasty:insert_many("t", { "id" }, { { 1 } }, { timeout = false }))
    assert.error_matches(function() hasty:insert_many("t", { "id" }, { { 1 } }, { timeout = 0 }) end, "timeout")
    hasty:close()
  end)

  it("names what is wrong with a row, a table, a column", function()
    for _, case in ipairs {
      { { { 1, "a" }, "text" }, 'row 2: a table expected, got "text"', 2 },
      { { { 1, "a", "more" } }, "row 1: there is no column for 3", 1 },
      { { { id = 1, nam = "a" } }, 'row 1: there is no column for "nam" (did you mean "name"?)', 1 },
    } do
      local _, err = conn:insert_many("t", { "id", "name" }, case[1])
      assert.same({ "parameter", case[2], case[3] }, { err.kind, err.message, err.row })
    end
    assert.equal("undefined_column", (select(2, conn:insert_many("t", { "id", "nome" }, {}))).kind)
    assert.equal("undefined_table", (select(2, conn:insert_many("nowhere", { "id" }, {}))).kind)
    assert.equal(0, conn:insert_many("t", { "id" }, {}))
    assert.equal(0, count())
  end)

  it("refuses misuse at the caller's line", function()
    for _, given in ipairs {
      { "insert_many expects a table's name", 5, { "id" }, {} },
      { "columns must be a list of column names", "t", {}, {} },
      { "number 1 is 5", "t", { 5 }, {} },
      { "rows must be a list or a function", "t", { "id" }, "rows" },
      { "COPY knows neither on_conflict nor returning", "t", { "id" }, {}, { via = "copy", returning = "id" } },
      { "unknown insert_many option", "t", { "id" }, {}, { return_ = "id" } },
    } do
      local ok, message = pcall(function() return conn:insert_many(given[2], given[3], given[4], given[5]) end)
      assert.is_false(ok)
      assert.matches("^spec/bulk_spec.lua:%d+: ", message)
      assert.matches(given[1], message, 1, true)
    end
  end)

  it("takes names as they are, and the table as in SQL", function()
    assert(conn:script [[create temp table "My ""Table" ("Id" int, "a b" text)]])
    assert.equal(1, conn:insert_many([["My ""Table"]], { "Id", "a b" }, { { Id = 1, ["a b"] = "x" } }))
    assert.equal(1, conn:insert_many("pg_temp.t", { "id" }, { { 1 } }))
    assert.is_nil((conn:insert_many("t; drop table t", { "id" }, { { 2 } })))
    assert.equal("undefined_column", (select(2, conn:insert_many("t", { 'id") select 1 --' }, { { 2 } }))).kind)
    assert.equal(1, count())
  end)

  it("with an iterator that raises inserts none", function()
    for _, after in ipairs { 10, MANY } do
      local rows = numbered(after)
      assert.error_matches(function()
        conn:insert_many("t", { "id", "name" }, function() return rows() or error "thrown" end)
      end, "thrown")
      assert.equal("idle", conn:transaction_status())
      assert.equal(0, count())
    end
  end)

  it("inside a transaction shares its fate", function()
    assert.is_true(conn:transaction(function(tx)
      assert(tx:insert_many("t", { "id" }, { { 1 }, { 2 } }))
      return true
    end))
    local _, err = conn:transaction(function(tx)
      assert(tx:execute "insert into t values (3)")
      local _, why = tx:insert_many("t", { "id" }, { { 4 }, { 2 } })
      assert.equal(2, why.row)
      return true -- ignoring it does not help
    end)
    assert.same({ "unique_violation", 2 }, { err.kind, err.row })
    assert.equal(2, count())
  end)

  it("works on a pool, and strictly", function()
    local db = assert(luphant.open(env.url(), { max_connections = 1 }))
    assert(db:script "drop table if exists bulk_pool; create table bulk_pool (id int primary key, name text)")
    assert.equal(MANY, db:insert_many("bulk_pool", { "id", "name" }, numbered(MANY, 0)))
    local ok, err = pcall(function() return db:strict():insert_many("bulk_pool", { "id" }, { { 0 }, { 5 } }) end)
    assert.same({ false, "unique_violation", 2 }, { ok, err.kind, err.row })
    assert.equal(MANY, db:query_value "select count(*) from bulk_pool")
    assert(db:script "drop table bulk_pool")
    assert.equal(1, db:stats().idle)
    db:close()
  end)

  it("leaves the connection usable", function() probe.usable(conn) end)
end)
