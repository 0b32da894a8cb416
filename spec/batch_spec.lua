-- q:batch: what it takes and refuses, on whom it can be called, and what the statement cache has to do with it. What
-- holds under any waiter is in spec/contract/batch_suite.lua.
--
-- To see it fail: let batch.prepare in lua/luphant/batch.lua borrow before it fills, let is_one_of in core/batchtext.c
-- compare with strncmp, or let can_be_healed in bind/lbatchrun.c answer false where a statement was prepared ahead.
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local luphant = require "luphant"
local probe = require "spec.support.probe"

describe("a batch", function()
  local conn, opened

  local function open(options)
    local one = assert(luphant.connect(env.url(), options))
    opened[#opened + 1] = one
    return one
  end

  before_each(function()
    opened = {}
    conn = open()
    assert(conn:script "create temp table t (id int primary key, name text)")
  end)

  after_each(function()
    for _, each in ipairs(opened) do each:close() end
  end)

  local function count() return conn:query_value "select count(*) from t" end

  -- ---- what it takes ------------------------------------------------------------------------------------

  it("of nothing is nothing", function()
    assert.same({ n = 0 }, conn:batch {})
    assert.same({ n = 0 }, conn:batch(function() end))
  end)

  it("takes prepared statements, and texts with a row style", function()
    local statement = assert(conn:prepare "select $1::int as n")
    local results = assert(conn:batch(function(b)
      b:query_one(statement, 5)
      b:query_one({ "select $1::int as n", rows = "array" }, 6)
    end))
    assert.same({ { n = 5 }, { 6 }, n = 2 }, results)
    assert.same({ { 7 }, n = 1 }, open { rows = "array" }:batch { { "select 7 as n", verb = "query_one" } })
  end)

  it("refuses what is none, at the caller's line", function()
    for _, case in ipairs {
      { "batch expects a function or a list of statements, got nil", nil },
      { "batch option", {}, { isolate = true } },
      { "item 1 of the batch must be a text or a table", { 5 } },
      { "item 2 of the batch: there is no verb", { "select 1", { "select 1", verb = "stream" } } },
      { "a statement of a batch has no time limit of its own", { { { "select 1", timeout = 1 } } } },
    } do
      local ok, message = pcall(function() return conn:batch(case[2], case[3]) end)
      assert.is_false(ok)
      assert.matches(case[1], message, 1, true)
      assert.matches("^spec/batch_spec.lua:%d+: ", message)
    end
    local ok, message = pcall(conn.batch, conn, function(b) b:query(5) end)
    assert.is_false(ok)
    assert.matches("^spec/batch_spec.lua:%d+: SQL text expected", message)
  end)

  it("cannot be filled once it has been sent", function()
    local kept
    assert(conn:batch(function(b)
      kept = b
      b:query "select 1"
    end))
    assert.error_matches(function() kept:query "select 2" end, "this batch has been sent")
  end)

  it("whose function raises or returns an error is not sent", function()
    assert.error_matches(function()
      conn:batch(function(b)
        b:execute "insert into t values (1)"
        error "thrown"
      end)
    end, "thrown")
    assert.same({ nil, "no" }, { conn:batch(function(b)
      b:execute "insert into t values (1)"
      return nil, "no"
    end) })
    assert.equal(0, count())
  end)

  it("refuses COPY, LISTEN and what would end its transaction, with nothing sent", function()
    for text, said in pairs {
      ["copy t from stdin"] = "COPY cannot run in a batch",
      ["-- x\n COPY t TO STDOUT"] = "COPY cannot run in a batch",
      ["listen x"] = "nobody would be told",
      ["/* a /* b */ */ unlisten *"] = "nobody would be told",
      ["begin"] = "a batch begins and ends its own transaction",
      ["Commit"] = "a batch begins and ends its own transaction",
      ["rollback to savepoint x"] = "a batch begins and ends its own transaction",
      ["prepare transaction 'x'"] = "a batch begins and ends its own transaction",
    } do
      local _, err = conn:batch({ "insert into t values (1)", text }, { isolated = true })
      assert.same({ "usage", 2, text, "no" }, { err.kind, err.index, err.query, err.sent })
      assert.matches(said, err.message, 1, true)
    end
    assert.equal(0, count())
    probe.usable(conn)
  end)

  -- ---- how it fails -------------------------------------------------------------------------------------

  it("that fails at its end says so", function()
    assert(conn:script "create temp table d (id int unique deferrable initially deferred)")
    local _, err = conn:batch { "insert into d values (1)", "insert into d values (1)" }
    assert.same({ "unique_violation" }, { err.kind, err.index })
    assert.equal("the end of all 2 statements; nothing of the batch was kept", err.batch)
    assert.equal(0, conn:query_value "select count(*) from d")
    local results = assert(conn:batch({ "insert into d values (1)", "insert into d values (1)", "select 1" },
      { isolated = true }))
    assert.is_nil(results[2])
    local why = results.errors[2]
    assert.same({ "unique_violation", 2, "insert into d values (1)" }, { why.kind, why.index, why.query })
    assert.equal(1, #results[3])
  end)

  it("with a verb's complaint was run, and still answers nil", function()
    local _, err = conn:batch {
      { "insert into t values (1) returning id", verb = "query_value" }, { "select 1 where false", verb = "query_one" },
    }
    assert.same({ "no_rows", 2, "statement 2 of 2; all of the batch was run" }, { err.kind, err.index, err.batch })
    assert.same({ 1, nil }, { err.results[1], err.results[2] })
    assert.equal(1, count())
    assert.matches("batch: statement 2 of 2", tostring(err), 1, true)
  end)

  it("checks values as a verb does, and keeps nothing of it when one does not fit", function()
    for _, known in ipairs { false, true } do
      local _, err = conn:batch {
        { "insert into t values ($1, $2)", 1, "x" }, { "insert into t values ($1, $2)", 2 ^ 40, "x" },
      }
      assert.same({ "parameter", 2, 1 }, { err.kind, err.index, err.param }, tostring(known))
    end
    local _, err = conn:batch { { "insert into t values ($1, $2)", 1 } }
    assert.matches("takes 2 parameters, but 1 was given", err.message, 1, true)
    assert.equal("parameter", (select(2, conn:batch { { "select $1::text", "a\0b" } })).kind)
    assert.equal(0, count())
  end)

  it("inside a transaction begun by hand rolls nothing of it back", function()
    assert(conn:script "begin; insert into t values (1)")
    local _, err = conn:batch { "insert into t values (2)", { "insert into t values ($1)", "x" } }
    assert.equal("parameter", err.kind)
    assert.equal("intrans", conn:transaction_status())
    assert(conn:script "commit")
    assert.same({ 1, 2 }, conn:query_column "select id from t order by id")
  end)

  it("is not isolated inside a transaction", function()
    conn:transaction(function(tx)
      assert.error_matches(function() tx:batch({ "select 1" }, { isolated = true }) end,
        "isolated is not possible there")
      return true
    end)
  end)

  it("can be the first of a transaction, and is healed there too", function()
    assert.equal(1, conn:query_value "select 1 as n")
    assert(conn:script "do $$ begin execute 'deallocate all'; end $$")
    assert.same({ { { n = 1 } }, n = 1 }, conn:transaction(function(tx) return tx:batch { "select 1 as n" } end))
  end)

  it("is told when it was stopped by conn:cancel in the surroundings of others", function()
    local loop = require("spec.support.scheduler").new()
    loop:run(function()
      local one = open { waiter = loop.waiter }
      local results, err
      local task = loop:spawn(function()
        results, err = one:batch { "select pg_sleep(5)", "select 1" }
      end)
      loop.waiter.sleep(loop.waiter.now() + 0.05)
      assert(one:cancel())
      while not task.done do loop.waiter.sleep(loop.waiter.now() + 0.005) end
      assert.is_nil(results)
      assert.same({ "query_canceled", 1 }, { err.kind, err.index })
      probe.usable(one)
    end)
  end)

  it("whose floats have lost digits says so, and was run", function()
    assert(conn:script "set extra_float_digits = 0")
    local text = "select 0.1::float8 as f, 'a'::tsvector as x"
    local _, err = conn:batch { "insert into t values (1)", text, "select 1" }
    assert.same({ "decode", 2, nil }, { err.kind, err.index, err.results[2] })
    assert.equal(1, count())
    assert(conn:script "set extra_float_digits = 1")
    assert.equal(0.1, assert(conn:batch { text })[1][1].f)
    probe.usable(conn)
  end)

  it("tells the hooks", function()
    local seen = {}
    local db = assert(luphant.open(env.url(), { max_connections = 1 }))
    db:on("batch", function(info) seen[#seen + 1] = { info.statements, info.error and info.error.kind } end)
    assert(db:batch { "select 1", "select 2" })
    assert.is_nil((db:batch { "select 1 / 0" }))
    assert.same({ { 2 }, { 1, "division_by_zero" } }, seen)
    db:close()
  end)

  -- ---- the statement cache ------------------------------------------------------------------------------

  it("prepares what is new in the same flight, and only once", function()
    local before = conn:stats().statements
    assert(conn:batch(function(b)
      for i = 1, 50 do
        b:query_value("select $1::int + 1", i)
        b:query_value("select $1::int + 2", i)
      end
    end))
    assert.equal(2, conn:stats().statements.misses - before.misses)
    assert.equal(2, conn:query_value "select count(*) from pg_prepared_statements where statement like '%$1::int + _'")
  end)

  for name, options in pairs {
    ["that keeps nothing"] = { statement_cache_size = 0 },
    ["of one statement"] = { statement_cache_size = 1 },
    ["without names"] = { pooler = "transaction" },
  } do
    it("works with a cache " .. name, function()
      local one = open(options)
      for _ = 1, 2 do
        local results = assert(one:batch(function(b)
          for i = 1, 40 do b:query_value(("select $1::int + %d"):format(i % 7), i) end
        end))
        for i = 1, 40 do assert.equal(i + i % 7, results[i]) end
      end
      probe.usable(one)
    end)
  end

  it("uses what a function in it has made", function()
    assert(conn:script [[create function pg_temp.make() returns int language plpgsql as
      $$ begin create temp table made_by_function (a int); return 1; end $$]])
    assert.same({ 1, 1, n = 2 }, conn:batch {
      { "select pg_temp.make()", verb = "query_value" },
      { "insert into made_by_function values ($1)", 1, verb = "execute" },
    })
  end)

  it("describes a statement anew while its answers are on their way", function()
    local one = open()
    assert(one:script "create temp table g (a int)")
    local results = assert(one:batch {
      { "insert into g values ($1) returning *", 1, verb = "query_one" },
      "alter table g add b int default 2",
      { "insert into g values ($1) returning *", 3, verb = "query_one" },
      "alter table g drop a",
      { "select * from g limit 1", verb = "query_one" },
    })
    assert.same({ { a = 1 }, { a = 3, b = 2 }, { b = 2 } }, { results[1], results[3], results[5] })
  end)

  it("goes on after many statements failed alone", function()
    local results = assert(conn:batch(function(b)
      for i = 1, 500 do b:execute("insert into t values ($1)", i % 2) end
    end, { isolated = true }))
    assert.same({ 1, 1 }, { results[1], results[2] })
    for i = 3, 500 do assert.equal("unique_violation", results.errors[i].kind) end
  end)

  -- ---- on whom ------------------------------------------------------------------------------------------

  it("on a pool borrows nothing while it is filled", function()
    local db = assert(luphant.open(env.url(), { max_connections = 1 }))
    local results = assert(db:batch(function(b)
      b:query_value("select $1::int + 1", (db:query_value "select 41"))
    end))
    assert.same({ 42, n = 1 }, results)
    assert.equal("division_by_zero", (select(2, db:batch { "select 1 / 0" })).kind)
    assert.same({ { { n = 1 } }, n = 1 }, db:with(function(lent) return lent:batch { "select 1 as n" } end))
    assert.equal(1, db:stats().idle)
    local ok, err = pcall(db:strict().batch, db:strict(), { "select 1", "select 1 / 0" })
    assert.same({ false, "division_by_zero", 2 }, { ok, err.kind, err.index })
    db:close()
  end)

  it("on a pool is run elsewhere when its connection was dead before", function()
    local db = assert(luphant.open(env.url(), { max_connections = 1 }))
    local pid = assert(db:query_value "select pg_backend_pid()")
    assert(conn:query_value("select pg_terminate_backend($1, 1000)", pid))
    local results = assert(db:batch { { "select pg_backend_pid()", verb = "query_value" } })
    assert.not_equal(pid, results[1])
    db:close()
  end)
end)
