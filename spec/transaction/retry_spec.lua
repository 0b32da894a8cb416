-- Running a transaction again, its deadline, and running it on a lent connection.
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local luphant = require "luphant"
local probe = require "spec.support.probe"
local retry = require "luphant.transaction.retry"
local transaction = require "luphant.transaction"

local NAME = "retry_spec"

describe("a transaction with retry", function()
  local conn, other

  before_each(function()
    conn = assert(luphant.connect(env.url { application_name = NAME }))
    other = assert(luphant.connect(env.url()))
    assert(other:script "drop table if exists again; create table again (n int)")
  end)
  after_each(function()
    if conn:is_open() then
      assert.equal("idle", conn:transaction_status())
      probe.usable(conn)
    end
    conn:close()
    assert(other:script "drop table again")
    other:close()
  end)

  local function raises(pattern, fn, ...)
    local ok, message = pcall(fn, ...)
    assert.is_false(ok)
    assert.matches(pattern, tostring(message))
  end

  -- What the server says when transactions are in each other's way.
  local function collide(tx, sqlstate)
    return tx:script(("do $$ begin raise sqlstate '%s'; end $$"):format(sqlstate or "40001"))
  end

  it("runs its function as a whole until it goes through", function()
    for _, sqlstate in ipairs { "40001", "40P01" } do
      local seen = {}
      assert.equal("done", conn:transaction(function(tx)
        seen[#seen + 1] = tx:attempt()
        assert(tx:execute("insert into again values ($1)", tx:attempt()))
        if tx:attempt() < 3 then return collide(tx, sqlstate) end
        return "done"
      end, { retry = 5 }))
      assert.same({ 1, 2, 3 }, seen)
      assert.same({ 3 }, other:query_column "select n from again")
      assert(other:execute "delete from again")
    end
  end)

  it("runs it again whether the error object is returned, raised or ignored", function()
    local ways = {
      function(tx) return collide(tx) end,
      function(tx)
        local _, err = collide(tx)
        error(err)
      end,
      function(tx)
        collide(tx)
        return "as if nothing had been"
      end,
      function(tx)
        tx:transaction(function(sp) return collide(sp) end) -- undone alone; the rest may go on
        local _, err = collide(tx)
        error(err, 0)
      end,
    }
    for i, fail in ipairs(ways) do
      local runs = 0
      assert.equal("done", conn:transaction(function(tx)
        runs = runs + 1
        if runs == 1 then return fail(tx) end
        return "done"
      end, { retry = true }), i)
      assert.equal(2, runs, i)
    end
  end)

  it("runs it again when COMMIT is what fails", function()
    assert(other:script "truncate again; insert into again values (1), (2)")
    local runs = 0
    assert(conn:transaction(function(tx)
      runs = runs + 1
      local sum = assert(tx:query_value "select sum(n)::int from again")
      if runs == 1 then -- the other half of a write skew, committed first
        assert(other:transaction(function(otx)
          local n = assert(otx:query_value "select sum(n)::int from again")
          return otx:execute("insert into again values ($1)", n)
        end, { isolation = "serializable" }))
      end
      return tx:execute("insert into again values ($1)", sum)
    end, { isolation = "serializable", retry = 3 }))
    assert.equal(2, runs)
    assert.same({ 1, 2, 3, 6 }, other:query_column "select n from again order by n")
  end)

  it("gives up after as many runs as it was given, with their causes", function()
    for _, way in ipairs { 2, { max = 2 } } do
      local value, err = conn:transaction(function(tx) return collide(tx) end, { retry = way })
      assert.is_nil(value)
      assert.same({ "serialization_failure", 3, 2 }, { err.kind, err.attempts, #err.causes })
      assert.is_false(rawequal(err, err.causes[1]))
      assert.matches("serialization_failure", tostring(err))
      local errors = require "luphant.errors"
      assert.equal(err, errors.redact(err, "secret"))
    end
    local ok, raised = pcall(conn.transaction, conn, function(tx)
      local _, err = collide(tx)
      error(err, 0)
    end, { retry = 1 })
    assert.same({ false, 2 }, { ok, raised.attempts })
    local _, once = conn:transaction(function(tx) return collide(tx) end, { retry = 0 })
    assert.is_nil(once.attempts)
  end)

  it("does not repeat what others cannot help", function()
    local runs = 0
    local function count(fn)
      runs = 0
      local answers = { pcall(conn.transaction, conn, function(tx)
        runs = runs + 1
        return fn(tx)
      end, { retry = 5 }) }
      assert.equal(1, runs)
      return answers
    end
    assert.equal("division_by_zero", count(function(tx) return tx:query "select 1 / 0" end)[3].kind)
    local thrown = setmetatable({}, { __tostring = function() return "40001" end })
    local answers = count(function(tx)
      collide(tx)
      error(thrown)
    end)
    assert.same({ false, true }, { answers[1], rawequal(answers[2], thrown) })
    answers = count(function(tx)
      collide(tx)
      return nil, "my own words"
    end)
    assert.equal("my own words", answers[3])
    answers = count(function(tx)
      tx:transaction(function(sp) return collide(sp) end)
      return tx:query_value "select 'went on'" -- a savepoint is not run again, nor the whole because of it
    end)
    assert.equal("went on", answers[2])
    answers = count(function(tx)
      assert(tx:execute "insert into again values (1)")
      tx:rollback()
      return nil, "rolled back by hand"
    end)
    assert.equal("rolled back by hand", answers[3])
  end)

  it("runs the hooks of each attempt", function()
    local log = {}
    assert(conn:transaction(function(tx)
      tx:after_rollback(function(past, err) log[#log + 1] = ("%d %s"):format(past:attempt(), err.kind) end)
      tx:after_commit(function(past) log[#log + 1] = ("%d committed"):format(past:attempt()) end)
      tx:context().seen = (tx:context().seen or 0) + 1
      assert.equal(1, tx:context().seen)
      if tx:attempt() < 3 then return collide(tx) end
      return true
    end, { retry = 5 }))
    assert.same({ "1 serialization_failure", "2 serialization_failure", "3 committed" }, log)
  end)

  it("is refused where it makes no sense", function()
    assert(conn:transaction(function(tx)
      raises("a savepoint takes no options", tx.transaction, tx, print, { retry = 3 })
      return true
    end))
  end)

  it("keeps pauses that grow at random, within a second", function()
    local expected = 0.005
    for failed = 1, 40 do
      assert.equal(0, retry.pause(failed, 0))
      assert.is_true(math.abs(retry.pause(failed, 1) - math.min(expected, 1)) < 1e-9)
      expected = expected * 2
    end
    local slept = {}
    local waiter = {}
    for name, fn in pairs(require "luphant.wait".choose "poll") do waiter[name] = fn end
    function waiter.sleep(deadline) slept[#slept + 1] = deadline - waiter.now() end
    local paused = assert(luphant.connect(env.url(), { waiter = waiter }))
    paused:transaction(function(tx) return collide(tx) end, { retry = 30 })
    assert.equal(30, #slept)
    local seen, sum = {}, 0
    for i, seconds in ipairs(slept) do
      assert.is_true(seconds <= math.min(0.005 * 2 ^ (i - 1), 1))
      seen[("%.6f"):format(seconds)], sum = true, sum + seconds
    end
    assert.is_true(sum > 1)
    local distinct = 0
    for _ in pairs(seen) do distinct = distinct + 1 end
    assert.is_true(distinct > 20)
    paused:close()
  end)

  it("begins no attempt after its time", function()
    for _, options in ipairs { { retry = { max = 10000, timeout = 0.3 } }, { retry = 10000, timeout = 0.3 } } do
      local runs = 0
      local took, value, err = probe.timed(conn.transaction, conn, function(tx)
        runs = runs + 1
        return collide(tx)
      end, options)
      assert.is_nil(value)
      assert(luphant.is(err, "serialization_failure", "query_timeout"), tostring(err))
      assert.is_true(runs > 2)
      assert.is_true(took < 1 * probe.slow, took)
    end
  end)

  it("grows no stack, however often it runs", function()
    local depth = {}
    conn:transaction(function(tx)
      local level = 1
      while debug.getinfo(level, "l") do level = level + 1 end
      depth[#depth + 1] = level
      return collide(tx)
    end, { retry = 6 })
    assert.equal(7, #depth)
    assert.equal(depth[2], depth[7])
  end)
end)

describe("a transaction with a timeout", function()
  local conn

  before_each(function() conn = assert(luphant.connect(env.url())) end)
  after_each(function()
    if conn:is_open() then probe.usable(conn) end
    conn:close()
  end)

  it("gives each statement what is left, and begins none after its end", function()
    local took, value, err = probe.timed(conn.transaction, conn, function(tx)
      assert(tx:query "select pg_sleep(0.2)")
      return tx:query "select pg_sleep(5)"
    end, { timeout = 0.4 })
    assert.same({ nil, "query_timeout", "yes" }, { value, err.kind, err.sent })
    assert.is_true(took < 1.5 * probe.slow)
    value, err = conn:transaction(function(tx)
      assert(tx:query "select 1")
      conn.waiter.sleep(conn.waiter.now() + 0.15)
      local _, late = tx:query "select 2"
      assert.same({ "query_timeout", "no" }, { late.kind, late.sent })
      return "as if nothing had been"
    end, { timeout = 0.1 })
    assert.same({ nil, "query_timeout" }, { value, err.kind })
    value, err = conn:transaction(function(tx)
      assert(tx:query "select 1")
      conn.waiter.sleep(conn.waiter.now() + 0.15)
      return "too late for COMMIT"
    end, { timeout = 0.1 })
    assert.same({ nil, "query_timeout" }, { value, err.kind })
    assert.equal("idle", conn:transaction_status())
    assert(conn:query "select pg_sleep(0.2)") -- nothing of it is left
  end)

  it("tells the server, which is stricter if it was", function()
    local function limits(options, setting)
      local one = assert(luphant.connect(env.url(), setting))
      local shown = assert(one:transaction(function(tx) return tx:query_value "show statement_timeout" end, options))
      assert.equal(setting and setting.statement_timeout and "1500ms" or "0", one:query_value "show statement_timeout")
      one:close()
      return shown
    end
    assert.equal("11s", limits { timeout = 10 })
    assert.equal("1500ms", limits({ timeout = 10 }, { statement_timeout = 1.5 }))
    assert.equal("1200ms", limits({ timeout = 0.2 }, { statement_timeout = 1.5 }))
    assert.equal("0", limits { timeout = false })
  end)
end)

describe("a transaction on a lent connection", function()
  local conns, acquired, released, deadlines

  before_each(function()
    conns, acquired, released, deadlines = {}, 0, 0, {}
    for i = 1, 2 do conns[i] = assert(luphant.connect(env.url { application_name = NAME })) end
  end)
  after_each(function()
    assert.equal(acquired, released)
    for _, conn in ipairs(conns) do conn:close() end
  end)

  -- Gives the first connection that is open.
  local function lease()
    return {
      acquire = function(deadline)
        acquired = acquired + 1
        deadlines[acquired] = deadline or false
        for _, conn in ipairs(conns) do
          if conn:is_open() then return conn end
        end
        released = released + 1
        return nil, "nobody is left"
      end,
      release = function() released = released + 1 end,
    }
  end

  local function kill(conn)
    local other, pid = assert(luphant.connect(env.url())), conn:backend_pid()
    assert(other:query("select pg_terminate_backend($1)", pid))
    assert.is_true(probe.eventually(function()
      return other:query_value("select count(*)::int from pg_stat_activity where pid = $1", pid) == 0
    end))
    other:close()
    conn.waiter.sleep(conn.waiter.now() + 0.02) -- one that was used a moment ago is not looked at
  end

  local function collide(tx) return tx:script "do $$ begin raise sqlstate '40001'; end $$" end

  it("gives it back, whatever happens", function()
    assert.same({ 1, 2 }, { transaction.run_leased(lease(), function() return 1, 2 end) })
    assert.same({ nil, "no" }, { transaction.run_leased(lease(), function() return nil, "no" end) })
    local thrown = {}
    local ok, err = pcall(transaction.run_leased, lease(), function() error(thrown) end)
    assert.same({ false, true }, { ok, rawequal(err, thrown) })
    assert.same({ 3, 3 }, { acquired, released })
    assert.same({ false, false, false }, deadlines)
  end)

  it("keeps it from attempt to attempt, and takes another when it is lost", function()
    local used = {}
    assert.equal("done", transaction.run_leased(lease(), function(tx)
      used[tx:attempt()] = tx:query_value "select pg_backend_pid()"
      if tx:attempt() == 2 then
        local _, err = collide(tx)
        kill(conns[1])
        return nil, err
      end
      if tx:attempt() == 1 then return collide(tx) end
      return "done"
    end, { retry = 5, timeout = 10 }))
    assert.same({ conns[2]:backend_pid(), true, true },
      { used[3], used[1] == used[2], used[2] ~= used[3] })
    assert.equal(2, acquired)
    assert.equal(deadlines[1], deadlines[2])
  end)

  it("takes another when the first turns out to be dead before anything was sent", function()
    kill(conns[1])
    local runs = 0
    assert.equal(1, transaction.run_leased(lease(), function(tx)
      runs = runs + 1
      return tx:query_value "select 1"
    end, { retry = 1 }))
    assert.same({ 1, 2 }, { runs, acquired })
    kill(conns[2])
    local value, err = transaction.run_leased(lease(), function() end, { retry = 1 })
    assert.same({ nil, "nobody is left" }, { value, err })
  end)

  it("does not begin when there is none", function()
    for _, conn in ipairs(conns) do conn:close() end
    assert.same({ nil, "nobody is left" }, { transaction.run_leased(lease(), function() error "ran" end) })
  end)
end)
