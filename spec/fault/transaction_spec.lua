-- Transactions that end otherwise than their function thinks. spec/transaction_spec.lua has every shape of it; here the
-- faults of the table are tried under each way of waiting.
--
-- To see it fail: let transaction.lua forget the first error, or take COMMIT's answer without looking at the state of
-- the session before it and at the command tag after it.
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
end)
