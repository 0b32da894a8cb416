-- COMMIT under faults: a connection that is cut at every byte around it, and many transactions that are in each other's
-- way. A ledger is kept of what was said to be committed, and compared with what the table holds.
--
-- To see it fail: let core/txn.c answer LPH_TXN_ROLLED_BACK in lph_txn_lost, or launch.c forget lph_txn_commit_sent.
--
-- SPDX-License-Identifier: MIT

local luphant = require "luphant"
local ordeal = require "spec.support.ordeal"

-- Steps of the sweeps under the sanitizers and valgrind: not every byte, but the same kinds of places.
local STRIDE = (tonumber(os.getenv "LUPHANT_TEST_SLOW_FACTOR" or "1") or 1) > 1 and 7 or 1

local COMMIT_BYTES = 12   -- Q, length, "commit", NUL
local TAG_BYTES = 12      -- C, length, "COMMIT", NUL; ReadyForQuery follows with 6

-- luassert's assert makes a text of an error object; a transaction that is to be run again needs the object.
local function must(value, err)
  if value == nil then error(err, 0) end
  return value
end

ordeal.family("COMMIT", {}, function(test)
  -- Another shape of transaction: what runs before the cut is armed, and with it.
  local function ledger_of(world)
    assert(world.observer:script "drop table if exists ledger; create table ledger (id int primary key)")
    local ledger = { world = world, gate = world.gate(), outcomes = {}, next_id = 0 }

    function ledger.is_there(id)
      return world.observer:query_value("select count(*)::int from ledger where id = $1", id) == 1
    end

    -- One transaction through the gate; `cut` is armed by its function. Answers how it ended, and its error.
    function ledger.run(cut, fn, options)
      ledger.next_id = ledger.next_id + 1
      local id = ledger.next_id
      local conn = assert(luphant.connect(world.through(ledger.gate)))
      local value, err = conn:transaction(function(tx)
        local function arm() ledger.gate:cut_after { from = cut.from, bytes = cut.bytes, reset = cut.reset } end
        return fn(tx, id, arm)
      end, options)
      conn:close()
      ledger.gate:pass()
      local outcome = value and "committed" or err.kind == "commit_unknown" and "unknown" or "failed"
      ledger.outcomes[outcome] = (ledger.outcomes[outcome] or 0) + 1
      return outcome, err, id
    end

    -- The ledger's law. `resolvable`: an unknown outcome must be resolved; otherwise it may be told to be unknowable.
    function ledger.judge(where, resolvable, outcome, err, id)
      if outcome == "unknown" then
        assert.same({ "maybe", false, "transaction" }, { err.sent, err.retryable, err.class }, where)
        local truth, why = err:resolve(world.observer_conn, { timeout = 5 })
        if truth == nil and not resolvable then
          assert.equal("commit_unresolved", why.kind, where)
          return
        end
        assert(truth == "committed" or truth == "aborted", where .. ": " .. tostring(truth or why))
        assert.equal(truth == "committed", ledger.is_there(id), where)
        ledger.outcomes[truth] = (ledger.outcomes[truth] or 0) + 1
      elseif outcome == "failed" then
        assert(luphant.is(err, "connection", "timeout"), where .. ": " .. tostring(err))
        -- The server undoes it as soon as it has noticed.
        assert.is_false(ledger.is_there(id), where)
      else
        assert.is_true(ledger.is_there(id), where)
      end
    end

    function ledger.sweep(bytes, fn, resolvable, options)
      for _, from in ipairs { "client", "server" } do
        for at = 0, bytes[from], STRIDE do
          local cut = { from = from, bytes = at, reset = at % 2 == 1 }
          local where = ("cut after %d bytes of the %s"):format(at, from)
          ledger.judge(where, resolvable, ledger.run(cut, fn, options))
        end
      end
    end
    world.observer_conn = world.connect()
    return ledger
  end

  -- How many bytes each side sends once `arm` was called.
  local function measure(ledger, fn, options)
    local before
    local id = ledger.next_id + 1
    local conn = assert(luphant.connect(ledger.world.through(ledger.gate)))
    assert(conn:transaction(function(tx)
      return fn(tx, id, function() before = ledger.gate:stats() end)
    end, options))
    local after = ledger.gate:stats()
    conn:close()
    ledger.next_id = id
    return { client = after.from_client - before.from_client, server = after.from_server - before.from_server }
  end

  test("F29 a connection that is lost at any byte of COMMIT tells the truth about it", function(world)
    local ledger = ledger_of(world)
    local function fn(tx, id, arm)
      assert(tx:execute("insert into ledger values ($1)", id))
      arm()
      return "done"
    end
    local bytes = measure(ledger, fn)
    assert.same({ client = COMMIT_BYTES, server = TAG_BYTES + 6 }, bytes)
    for _, from in ipairs { "client", "server" } do
      for at = 0, bytes[from], STRIDE do
        for _, reset in ipairs { false, true } do
          local where = ("cut after %d bytes of the %s%s"):format(at, from, reset and " with RST" or "")
          local outcome, err, id = ledger.run({ from = from, bytes = at, reset = reset }, fn)
          -- RST throws away what has not been read yet; after no byte the session is gone before COMMIT leaves.
          local answered = from == "server" and at >= TAG_BYTES
          local expected = answered and "committed" or at == 0 and "failed" or "unknown"
          if not (answered and reset) then assert.equal(expected, outcome, where) end
          ledger.judge(where, true, outcome, err, id)
        end
      end
    end
    assert.is_true(ledger.outcomes.committed > 0 and ledger.outcomes.aborted > 0)
  end)

  test("F29 a connection that is lost before COMMIT left is no unknown outcome", function(world)
    local ledger = ledger_of(world)
    local outcome, err, id = ledger.run({}, function(tx, number)
      assert(tx:execute("insert into ledger values ($1)", number))
      ledger.gate:cut()
      world.pause(0.05) -- the news is here before COMMIT would leave
      return "done"
    end)
    assert.same({ "failed", "closed", "no" }, { outcome, err.kind, err.sent })
    ledger.judge("before COMMIT", true, outcome, err, id)
  end)

  test("F29 a connection that is lost at any byte of a flight with COMMIT tells the truth about it", function(world)
    local ledger = ledger_of(world)
    local function late(tx, id, arm)
      assert(tx:execute("insert into ledger values ($1)", id))
      assert(tx:query_value("select 1")) -- described, so that the last flight is one
      arm()
      local rows, err = tx:commit_with "select 1"
      return rows and "done", err
    end
    ledger.sweep(measure(ledger, late), late, true)
    -- With the first statement that writes: the id comes first, when that is asked for.
    local function first(tx, id, arm)
      assert(tx:describe "insert into ledger values ($1)")
      arm()
      local rows, err = tx:commit_with("insert into ledger values ($1)", id)
      return rows and "done", err
    end
    ledger.sweep(measure(ledger, first, { resolve = true }), first, true, { resolve = true })
    -- Without, it may be unknowable, and never wrong.
    ledger.sweep(measure(ledger, first), first, false)
  end)

  test("F29 a transaction whose outcome is not known is never run again", function(world)
    local ledger, runs = ledger_of(world), 0
    local outcome = ledger.run({ from = "server", bytes = 1 }, function(tx, id, arm)
      runs = runs + 1
      assert(tx:execute("insert into ledger values ($1)", id))
      arm()
      return "done"
    end, { retry = 5 })
    assert.same({ "unknown", 1 }, { outcome, runs })
  end)

  test("F29 COMMIT that is still being worked on is in progress, then what it comes to", function(world)
    local ledger = ledger_of(world)
    assert(world.observer:script [[create or replace function dawdle() returns trigger language plpgsql as
      'begin perform pg_sleep(0.4); return null; end';
      create constraint trigger dawdle after insert on ledger deferrable initially deferred
        for each row execute function dawdle()]])
    local outcome, err, id = ledger.run({ from = "client", bytes = COMMIT_BYTES }, function(tx, number, arm)
      assert(tx:execute("insert into ledger values ($1)", number))
      arm()
      return "done"
    end)
    assert.equal("unknown", outcome)
    assert.equal("in progress", err:resolve(world.observer_conn))
    assert.equal("committed", err:resolve(world.observer_conn, { timeout = 5 }))
    assert.is_true(ledger.is_there(id))
    assert(world.observer:script "drop table ledger; drop function dawdle()")
  end)

  ------------------------------------------------------------------------- in each other's way

  test.together("F27 transfers that collide are run again until all are done, and no money is lost", function(world)
    assert(world.observer:script [[drop table if exists purse;
      create table purse (id int primary key, amount int not null);
      insert into purse select n, 100 from generate_series(1, 4) n]])
    local tasks, attempts, most = {}, 0, 0
    for i = 1, 8 do
      local conn = world.connect()
      tasks[i] = world.spawn(function()
        for j = 1, 10 do
          local from, to = (i + j) % 4 + 1, (i + 3 * j + 1) % 4 + 1
          if from ~= to then
            local function move(tx)
              attempts, most = attempts + 1, math.max(most, tx:attempt())
              local left = must(tx:query_value("select amount from purse where id = $1", from))
              local right = must(tx:query_value("select amount from purse where id = $1", to))
              must(tx:execute("update purse set amount = $2 where id = $1", from, left - 1))
              must(tx:execute("update purse set amount = $2 where id = $1", to, right + 1))
              return true
            end
            local ok, err = conn:transaction(move, { isolation = "serializable", retry = 200, timeout = 60 })
            assert(ok, tostring(err))
          end
        end
      end)
    end
    world.join(tasks)
    assert.equal(400, world.observer:query_value "select sum(amount)::int from purse")
    assert.is_true(most > 1, "nobody was in anybody's way")
    assert(world.observer:script "drop table purse")
  end)

  test.together("F27 a storm that does not end is given up with all its causes, in time", function(world)
    assert(world.observer:script "drop table if exists purse; create table purse (n int); insert into purse values (0)")
    local conn, other = world.connect(), world.connect()
    local runs = 0
    local value, err = conn:transaction(function(tx)
      runs = runs + 1
      assert(tx:query_value "select n from purse")
      assert(other:execute "update purse set n = n + 1")
      return tx:execute "update purse set n = n + 1"
    end, { isolation = "repeatable read", retry = 3 })
    assert.is_nil(value)
    assert.same({ "serialization_failure", 4, 3, 4 }, { err.kind, err.attempts, #err.causes, runs })
    for _, cause in ipairs(err.causes) do assert.equal("serialization_failure", cause.kind) end
    local late = world.fails(1.5, conn.transaction, conn, function(tx)
      assert(tx:query_value "select n from purse")
      assert(other:execute "update purse set n = n + 1")
      return tx:execute "update purse set n = n + 1"
    end, { isolation = "repeatable read", retry = 1000, timeout = 1 })
    assert(luphant.is(late, "serialization_failure", "query_timeout"), tostring(late))
    assert(world.observer:script "drop table purse")
  end)

  test.together("F26 a deadlock is run again, and both have their way", function(world)
    assert(world.observer:script [[drop table if exists pair; create table pair (id int primary key, n int);
      insert into pair values (1, 0), (2, 0)]])
    local tasks, attempts = {}, {}
    for i = 1, 2 do
      local conn = world.connect()
      assert(conn:execute "set deadlock_timeout = '20ms'")
      tasks[i] = world.spawn(function()
        assert(conn:transaction(function(tx)
          attempts[i] = tx:attempt()
          must(tx:execute("update pair set n = n + 1 where id = $1", i))
          if tx:attempt() == 1 then world.pause(0.1) end
          return tx:execute("update pair set n = n + 1 where id = $1", 3 - i)
        end, { retry = 5 }))
      end)
    end
    world.join(tasks)
    assert.equal(3, attempts[1] + attempts[2]) -- the server picks one of the two
    assert.same({ 2, 2 }, world.observer:query_column "select n from pair order by id")
    assert(world.observer:script "drop table pair")
  end)
end)
