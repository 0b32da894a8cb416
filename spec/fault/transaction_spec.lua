-- Transactions that end otherwise than their function thinks. spec/transaction_spec.lua has every shape of it; here the
-- faults of the table are tried under each way of waiting.
--
-- To see it fail: let transaction.lua forget the first error (F30), or transaction/retry.lua try again for ever or not
-- at all (F27).
--
-- SPDX-License-Identifier: MIT

local ordeal = require "spec.support.ordeal"
local probe = require "spec.support.probe"

ordeal.family("a transaction", {}, function(test)
  local function with_table(world)
    local conn = world.connect()
    assert(conn:script [[create temp table parent (id int primary key);
      create temp table child (id int references parent deferrable initially deferred)]])
    return conn
  end

  test("F30 a statement that failed ends the transaction, though its function went on and returned", function(world)
    local conn = with_table(world)
    local first
    local value, err = conn:transaction(function(tx)
      assert(tx:execute "insert into parent values (1)")
      first = select(2, tx:execute "insert into parent values (1)")
      local _, second = tx:execute "insert into parent values (2)"
      assert.equal("25P02", second.sqlstate)
      return "done"
    end)
    assert.is_nil(value)
    assert.is_true(rawequal(first, err)) -- the reason, not what came of it
    assert.equal("23505", err.sqlstate)
    assert.equal(0, conn:query_value "select count(*)::int from parent")
    probe.usable(conn)
  end)

  test("F30 a failure that the transaction was not told of is found out at its end", function(world)
    local conn = with_table(world)
    -- A failure nobody of ours saw: another part of the program drives the same session below the verbs.
    local value, err = conn:transaction(function(tx)
      assert(tx:execute "insert into parent values (1)")
      local box = conn.box
      box:script "select 1 / 0"
      while box:state() == "busy" do box:step() end
      return "done"
    end)
    assert.is_nil(value)
    assert.same({ "tx_state", "transaction" }, { err.kind, err.class })
    assert.equal(0, conn:query_value "select count(*)::int from parent")
    probe.usable(conn)
  end)

  test("F30 a constraint that is checked at COMMIT comes back as what it is", function(world)
    local conn = with_table(world)
    local value, err = conn:transaction(function(tx)
      assert(tx:execute "insert into parent values (1)")
      assert(tx:execute "insert into child values (9)")
      return "done"
    end)
    assert.is_nil(value)
    assert.same({ "foreign_key_violation", "constraint", "child_id_fkey" }, { err.kind, err.class, err.constraint })
    assert.same({ 0, 0 }, { conn:query_value "select count(*)::int from parent",
      conn:query_value "select count(*)::int from child" })
    probe.usable(conn)
  end)

  test("F30 a savepoint that failed takes nothing else with it", function(world)
    local conn = with_table(world)
    assert.equal("done", conn:transaction(function(tx)
      assert(tx:execute "insert into parent values (1)")
      local value, err = tx:transaction(function(sp)
        sp:execute "insert into parent values (1)"
        return "not done"
      end)
      assert.same({ nil, "23505" }, { value, err.sqlstate })
      assert(tx:execute "insert into parent values (2)")
      return "done"
    end))
    assert.equal(2, conn:query_value "select count(*)::int from parent")
  end)

  test("F27 a transaction that fails each time is tried as often as agreed, and within its time", function(world)
    local conn = world.connect()
    local function fail(tx)
      return tx:script "do $$ begin raise exception 'again' using errcode = '40001'; end $$"
    end
    for _, retry in ipairs { 3, 1 } do
      local runs = 0
      local value, err = conn:transaction(function(tx)
        runs = runs + 1
        return fail(tx)
      end, { retry = retry })
      assert.same({ nil, "serialization_failure", "40001", true }, { value, err.kind, err.sqlstate, err.retryable })
      assert.same({ retry + 1, retry + 1 }, { runs, err.attempts })
      assert.equal("idle", conn:transaction_status())
    end
    local took, value, err = probe.timed(conn.transaction, conn, fail, { retry = { max = 1000, timeout = 0.3 } })
    assert.same({ nil, "40001" }, { value, err.sqlstate })
    assert.is_true(took < 0.55 * probe.slow and err.attempts < 1000)
    probe.usable(conn)
  end)

  test("F30 hooks are told of the end that there was", function(world)
    local conn = with_table(world)
    local told = {}
    local value, err = conn:transaction(function(tx)
      tx:after_commit(function() told[#told + 1] = "commit" end)
      tx:after_rollback(function() told[#told + 1] = "rollback" end)
      assert(tx:execute "insert into child values (9)")
      return "done"
    end)
    assert.same({ nil, "foreign_key_violation" }, { value, err.kind })
    assert.same({ "rollback" }, told)
    probe.usable(conn)
  end)
end)
