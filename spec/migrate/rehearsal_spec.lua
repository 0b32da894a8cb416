-- A plan that is run and rolled back: what it did is told, and nothing of it stays.
--
-- To see it fail: let rehearsal.lua return true from its transaction, or leave add_known out.

local ground = require "spec.support.migration_ground"
local migrate = require "luphant.migrate"

describe("a plan with trace", function()
  local g

  before_each(function()
    g = ground.open()
    assert(g.conn:script [[
      create table orders (id bigint primary key, note text, total int);
      create table users (id bigint primary key);
      insert into orders select n, n, n from generate_series(1, 100) n]])
  end)
  after_each(function() g.close() end)

  local function locks(statement)
    local out = {}
    for i, lock in ipairs(statement.locks) do out[i] = lock.mode .. " " .. lock.relation end
    return out
  end

  it("tells locks, rewrites, scans and indexes of each statement, and leaves nothing", function()
    g.put("0001_a.sql", "-- migrate:up\nalter table orders alter column total type bigint;\n"
      .. "create index orders_note on orders (note);\nalter table orders add check (total > 0);\n"
      .. "update orders set total = total + 1 where id < 11;\n"
      .. "-- migrate:verify\nselect count(*) = 100 from orders;\n")
    g.put("0002_b.sql", "alter table orders add column user_id bigint references users (id);\n")
    local plan = assert(migrate.trace(g.conn, g.dir))
    assert.is_nil(plan.failed)
    local first = plan.traced[1].statements
    assert.equal(5, #first)
    assert.same({ { "AccessExclusiveLock orders" }, { "orders" } }, { locks(first[1]), first[1].rewritten })
    assert.same({ { "ShareLock orders" }, { "orders_note" } }, { locks(first[2]), first[2].built })
    assert.same({ "orders" }, first[3].scanned)
    assert.equal(10, first[4].affected)
    assert.same({ "verify", 7 }, { first[5].part, first[5].line })
    -- orders is locked since the first migration; the second one would have to take that lock again.
    local second = plan.traced[2].statements[1]
    assert.same({ "AccessExclusiveLock orders", "ShareRowExclusiveLock users" }, locks(second))
    assert.is_true(second.duration_ms >= 0)
    assert.equal("integer", g.value "select format_type(atttypid, null) from pg_attribute where attname = 'total'")
    assert.is_false(g.exists "luphant.migrations")
    assert.equal(0, g.locks())
    -- What was seen is what runs.
    assert.equal(2, #assert(migrate.up(g.conn, g.dir, { plan_hash = plan.hash })))
  end)

  it("names the statement that would fail, and leaves nothing", function()
    g.put("0001_a.sql", "create table a ();\n")
    g.put("0002_b.sql", "create table b ();\nalter table orders add column note text;\n")
    g.put("0003_c.sql", "create table c ();\n")
    local plan = assert(migrate.trace(g.conn, g.dir))
    assert.equal("migration_failed", plan.failed.kind)
    assert.same({ "0002", 2 }, { plan.failed.version, plan.failed.line })
    assert.equal(2, #plan.traced)
    assert.is_false(g.exists "a")
  end)

  it("does not run what could not be rolled back, nor what comes after that", function()
    g.put("0001_a.sql", "create table a ();\n")
    g.put("0002_b.sql", "-- migrate:up transaction:false\ncreate index concurrently orders_note on orders (note);\n")
    g.put("0003_c.sql", "create table c ();\n")
    local plan = assert(migrate.trace(g.conn, g.dir))
    assert.is_nil(plan.traced[1].skipped)
    assert.truthy(plan.traced[2].skipped:find("has no transaction", 1, true))
    assert.equal("comes after 0002_b, which was not run", plan.traced[3].skipped)
    assert.same({}, plan.traced[3].statements)
    g.remove "0002_b.sql"
    g.put("0002_b.lua", "return { up = function(db) return db:execute 'create table b ()' end }\n")
    plan = assert(migrate.trace(g.conn, g.dir))
    assert.truthy(plan.traced[2].skipped:find("is written in Lua", 1, true))
    assert.is_false(g.exists "b")
  end)

  it("of the way back tells that, too", function()
    g.put("0001_a.sql", "-- migrate:up\ncreate index orders_note on orders (note);\n"
      .. "-- migrate:down\ndrop index orders_note;\n")
    assert(migrate.up(g.conn, g.dir))
    local plan = assert(migrate.trace(g.conn, g.dir, { direction = "down" }))
    assert.same({ "down", { "AccessExclusiveLock orders" } },
      { plan.traced[1].statements[1].part, locks(plan.traced[1].statements[1]) })
    assert.is_true(g.exists "orders_note")
  end)

  it("waits for locks no longer than a run would", function()
    g.put("0001_a.sql", "alter table orders add column n int;\n")
    local other = g.connect()
    assert(other:script "begin; lock table orders")
    local plan = assert(migrate.trace(g.conn, g.dir, { lock_timeout = 0.2 }))
    assert.equal("55P03", plan.failed.sqlstate)
    other:close()
  end)
end)
