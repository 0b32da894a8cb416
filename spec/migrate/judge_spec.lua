-- What cannot run where it stands; the server is the referee for what needs to be outside of a transaction.

local env = require "spec.support.env"
local judge = require "luphant.migrate.judge"
local luphant = require "luphant"
local parse = require "luphant.migrate.parse"
local sqltext = require "luphant.sqltext"

local function statement(sql)
  local list, problems = sqltext.split(sql)
  assert(list, problems and problems[1].message)
  assert.equal(1, #list, sql)
  return list[1]
end

local function complaints(text)
  local sections, problems = parse(text, "f.sql")
  assert.same({}, problems, text)
  sections.file, sections.transaction = "f.sql", sections.up.options.transaction ~= false
  local out = {}
  for i, problem in ipairs(judge.migration(sections)) do
    out[i] = ("%d:%d: %s (%s)"):format(problem.line, problem.column, problem.message, problem.hint)
  end
  return table.concat(out, "\n")
end

-- Statement -> what it is called; false: may run in a transaction.
local CASES = {
  { "create index concurrently on judged (a)", "CREATE INDEX CONCURRENTLY" },
  { "CREATE UNIQUE INDEX CONCURRENTLY i ON judged (a)", "CREATE INDEX CONCURRENTLY" },
  { "create /* x */ index -- y\n concurrently if not exists i on judged (a)", "CREATE INDEX CONCURRENTLY" },
  { "create index on judged (a)", false },
  { "create index \"concurrently\" on judged (a)", false },
  { "drop index concurrently if exists nosuch", "DROP INDEX CONCURRENTLY" },
  { "drop index if exists nosuch", false },
  { "reindex index concurrently judged_pkey", "REINDEX CONCURRENTLY" },
  { "reindex (verbose) table concurrently judged", "REINDEX CONCURRENTLY" },
  { "reindex (concurrently) table judged", "REINDEX CONCURRENTLY" },
  { "reindex schema public", "REINDEX SCHEMA" },
  { "reindex (verbose) database " .. "postgres", "REINDEX DATABASE" },
  { "reindex system postgres", "REINDEX SYSTEM" },
  { "reindex table judged", false },
  { "vacuum judged", "VACUUM" },
  { "vacuum (analyze) judged", "VACUUM" },
  { "analyze judged", false },
  { "create database judged_database", "CREATE DATABASE" },
  { "drop database if exists judged_nosuch", "DROP DATABASE" },
  { "alter database postgres set tablespace pg_default", "ALTER DATABASE SET TABLESPACE" },
  { "alter database postgres set work_mem = '4MB'", false },
  { "create tablespace judged_space location '/nonexistent'", "CREATE TABLESPACE" },
  { "drop tablespace if exists judged_nosuch", "DROP TABLESPACE" },
  { "alter system set work_mem = '4MB'", "ALTER SYSTEM" },
  { "alter table judged_parent detach partition judged_part concurrently",
    "ALTER TABLE DETACH PARTITION CONCURRENTLY" },
  { "alter table judged_parent detach partition judged_part", false },
  { "create subscription s connection 'dbname=x' publication p", "CREATE SUBSCRIPTION with a slot" },
  { "create subscription s connection 'dbname=x' publication p with (connect = false)", false },
  { "cluster", "CLUSTER of the whole database" },
  { "cluster verbose", "CLUSTER of the whole database" },
  { "cluster judged using judged_pkey", false },
  { "commit prepared 'x'", "COMMIT PREPARED" },
  { "rollback prepared 'x'", "ROLLBACK PREPARED" },
  { "refresh materialized view concurrently judged_view", false },
  { "alter type judged_mood add value 'new'", false },
  { "truncate judged", false },
  { "discard temp", false },
}

describe("statements that need to be alone", function()
  for _, case in ipairs(CASES) do
    it(case[1]:gsub("%s+", " ") .. (case[2] and "" or " does not"), function()
      assert.equal(case[2] or nil, judge.needs_no_transaction(statement(case[1])))
    end)
  end

  it("are those that the server refuses in a transaction", function()
    local admin = assert(luphant.connect(env.url()))
    assert(admin:execute "drop database if exists luphant_judge_spec with (force)")
    assert(admin:execute "create database luphant_judge_spec")
    local conn = assert(luphant.connect(env.url(), { dbname = "luphant_judge_spec" }))
    assert(conn:script [[
      set client_min_messages = error;
      create table judged (a int primary key);
      create materialized view judged_view as select 1 as a; create unique index on judged_view (a);
      create type judged_mood as enum ('old');
      create table judged_parent (a int) partition by list (a);
      create table judged_part partition of judged_parent for values in (1)]])
    for _, case in ipairs(CASES) do
      local fine, err
      conn:transaction(function(tx)
        fine, err = tx:script((case[1]:gsub("postgres", "luphant_judge_spec")))
        return nil, "back"
      end)
      local is_refused = not fine and err.sqlstate == "25001"
      assert.equal(case[2] ~= false, is_refused, case[1] .. ": " .. tostring(err))
    end
    conn:close()
    assert(admin:execute "drop database luphant_judge_spec with (force)")
    admin:close()
  end)
end)

describe("in a migration, what cannot run in a transaction", function()
  it("is told with the marker to write", function()
    assert.equal("2:1: CREATE INDEX CONCURRENTLY cannot run in a transaction (write `-- migrate:up transaction:false`)",
      complaints "-- migrate:up\ncreate index concurrently i on t (a);")
    assert.equal("3:3: VACUUM cannot run in a transaction "
      .. "(put it into a migration of its own, with `-- migrate:up transaction:false`)",
      complaints "-- migrate:up\nselect 1;\n  vacuum t;")
    assert.truthy(complaints("-- migrate:up\nselect 1;\n-- migrate:verify\nvacuum t")
      :find("4:1: VACUUM cannot run in a transaction (it belongs into migrate:up", 1, true))
  end)

  it("is fine where there is none", function()
    assert.equal("", complaints "-- migrate:up transaction:false\ncreate index concurrently i on t (a); vacuum t;")
  end)
end)

describe("statements that no migration may have", function()
  local REFUSED = {
    ["begin"] = "BEGIN", ["start transaction"] = "START", ["commit"] = "COMMIT", ["end"] = "END",
      ["rollback"] = "ROLLBACK",
    ["abort"] = "ABORT", ["commit and chain"] = "COMMIT", ["prepare transaction 'x'"] = "PREPARE",
      ["BEGIN WORK"] = "BEGIN",
    ["rollback work"] = "ROLLBACK",
    ["discard all"] = "DISCARD ALL", ["select pg_advisory_unlock_all()"] = "pg_advisory_unlock_all",
    ["do $$ begin perform pg_catalog.PG_Advisory_Unlock_All(); end $$"] = "pg_advisory_unlock_all",
    ["copy t to stdout"] = "COPY TO STDOUT", ["copy (select 1) to stdout with csv"] = "COPY TO STDOUT",
  }

  it("are refused, in a transaction or not", function()
    for sql, word in pairs(REFUSED) do
      for _, in_transaction in ipairs { true, false } do
        local why, hint = judge.refusal(statement(sql), in_transaction)
        assert.truthy(why and why:find(word, 1, true), sql)
        assert.is_string(hint)
      end
    end
  end)

  it("are no others", function()
    for _, sql in ipairs {
      "discard plans", "select 'commit'", "comment on table t is 'begin'", "select pg_advisory_unlock(1)",
      "create function f() returns void language sql as 'select pg_advisory_unlock_all()'", "copy t to '/tmp/stdout'",
      "prepare p as select 1", "select 1 as end", "set local lock_timeout = '1s'", "savepoint s", "rollback to s",
      "rollback work to savepoint s", "release s", "lock table t", "commit prepared 'x'",
    } do
      assert.is_nil(judge.refusal(statement(sql), true), sql)
    end
  end)

  it("include, without a transaction, what has no effect or no place there", function()
    for _, sql in ipairs { "set local lock_timeout = '1s'", "savepoint s", "rollback to s", "release s",
      "lock table t" } do
      assert.is_string((judge.refusal(statement(sql), false)), sql)
    end
    for _, sql in ipairs { "set lock_timeout = '1s'", "commit prepared 'x'", "rollback prepared 'x'" } do
      assert.is_nil((judge.refusal(statement(sql), false)), sql)
    end
  end)
end)

describe("new enum values", function()
  local function added(rest) return "-- migrate:up\nalter type mood add value if not exists 'new' after 'old';\n"
    .. rest end
  local TOLD = "3:1: uses the enum value 'new', which the same transaction adds (line 2)"

  it("are not used by the transaction that adds them", function()
    for _, use in ipairs {
      "insert into t values ('new');", "alter table t alter m set default 'new';",
        "do $$ begin insert into t values ('new'); end $$;",
      "create function f() returns mood language sql as $$ select 'new'::mood $$;", "select 1 where 'old' < 'new'",
    } do
      assert.truthy(complaints(added(use)):find(TOLD, 1, true), use)
    end
    assert.truthy(complaints(added "-- migrate:verify\nselect 'new'::mood is not null"):find("4:1: uses the enum", 1,
      true))
  end)

  it("may be there for later", function()
    for _, use in ipairs {
      "insert into t values ('old');", "alter type mood add value 'newer' after 'new';",
        "comment on type mood is 'new'",
      "create function f() returns mood language plpgsql as $$ begin return 'new'; end $$;", "select \"new\" from t",
    } do
      assert.equal("", complaints(added(use)), use)
    end
    assert.equal("", complaints("-- migrate:up\ninsert into t values ('new');\nalter type mood add value 'new';"))
    assert.equal("",
      complaints("-- migrate:up transaction:false\nalter type mood add value 'new';\nselect 'new'::mood"))
  end)

  it("may be used at once when the type is new, too", function()
    assert.equal("", complaints("-- migrate:up\ncreate type App . Mood as enum ('old');\n"
      .. "alter type app.mood add value 'new';\ninsert into t values ('new');"))
  end)

  it("behave so in the server", function()
    local conn = assert(luphant.connect(env.url()))
    assert(conn:script "drop type if exists judge_mood cascade; create type judge_mood as enum ('old')")
    local refused = {}
    for _, use in ipairs {
      "select 'new'::judge_mood", "do $$ begin perform 'new'::judge_mood; end $$",
      "create function judge_f() returns judge_mood language sql as $$ select 'new'::judge_mood $$",
      "create function judge_f() returns judge_mood language plpgsql as $$ begin return 'new'; end $$",
      "alter type judge_mood add value 'newer' after 'new'",
    } do
      conn:transaction(function(tx)
        assert(tx:execute "alter type judge_mood add value 'new'")
        local fine, err = tx:script(use)
        refused[#refused + 1] = not fine and err.sqlstate or "fine"
        return nil, "back"
      end)
    end
    assert(conn:execute "drop type judge_mood")
    conn:close()
    assert.same({ "55P04", "55P04", "55P04", "fine", "fine" }, refused)
  end)
end)
