-- How transactions end: by hand, with a value, in hooks, by statements that have no business there.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"
local env = require "spec.support.env"
local luphant = require "luphant"
local probe = require "spec.support.probe"
local transaction = require "luphant.transaction"

describe("a transaction", function()
  local conn, other

  before_each(function()
    conn = assert(luphant.connect(env.url(), { on_hook_error = function() end }))
    other = assert(luphant.connect(env.url()))
    assert(other:script "drop table if exists ends; create table ends (n int primary key)")
  end)
  after_each(function()
    if conn:is_open() then
      assert.equal("idle", conn:transaction_status())
      probe.usable(conn)
    end
    conn:close()
    assert(other:script "drop table ends")
    other:close()
  end)

  local function insert(tx, n) return tx:execute("insert into ends values ($1)", n) end
  local function rows()
    return other:query_value "select coalesce(string_agg(n::text, ',' order by n), '') from ends"
  end
  local function raises(pattern, fn, ...)
    local ok, message = pcall(fn, ...)
    assert.is_false(ok)
    assert.matches(pattern, tostring(message))
  end

  describe("begun by hand", function()
    it("is committed and rolled back by hand", function()
      local tx = assert(conn:begin { isolation = "repeatable read" })
      assert.equal("repeatable read", tx:query_value "show transaction_isolation")
      assert(insert(tx, 1))
      assert.equal("", rows())
      assert.same({ true, n = 1 }, { tx:commit(), n = select("#", tx.commit and true) })
      assert.equal("1", rows())
      tx = assert(conn:begin())
      assert(insert(tx, 2))
      assert.is_true(tx:rollback())
      assert.equal("1", rows())
      raises("has ended", tx.commit, tx)
      raises("has ended", tx.rollback, tx)
      raises("ends_spec.lua:%d+: .*has ended", function() tx:query "select 1" end)
    end)

    it("is not committed after a failure, and says which", function()
      local tx = assert(conn:begin())
      assert(insert(tx, 1))
      local _, first = insert(tx, 1)
      local ok, err = tx:commit()
      assert.is_nil(ok)
      assert.is_true(rawequal(first, err))
      assert.equal("", rows())
    end)

    it("has savepoints by hand", function()
      local tx = assert(conn:begin())
      local sp = assert(tx:begin())
      raises("savepoint is open", tx.commit, tx)
      assert(insert(sp, 1))
      insert(sp, 1)
      assert.equal("unique_violation", (select(2, sp:commit())).kind)
      sp = assert(tx:begin())
      assert(insert(sp, 2))
      assert.is_true(sp:commit())
      sp = assert(tx:begin())
      assert(insert(sp, 3))
      assert.equal("kept", sp:rollback("kept"))
      assert.is_true(tx:commit())
      assert.equal("2", rows())
      raises("a savepoint takes no options", tx.begin, conn:begin(), { read_only = true })
      conn.tx:rollback()
    end)

    if compat.has_integers then -- Lua 5.4
      it("is rolled back when its block is left, with all that is open in it", function()
        local block = assert(load([[local conn, insert = ...
          local tx <close> = assert(conn:begin())
          assert(insert(tx, 1))
          local sp = assert(tx:begin())
          assert(insert(sp, 2))
          error("left", 0)]]))
        local ok, err = pcall(block, conn, insert)
        assert.same({ false, "left" }, { ok, err })
        assert.equal("", rows())
        assert(load([[local conn, insert = ...
          local tx <close> = assert(conn:begin())
          assert(insert(tx, 3))
          assert(tx:commit())]]))(conn, insert)
        assert.equal("3", rows())
      end)
    end

    it("is one at a time, and not retried", function()
      local tx = assert(conn:begin())
      raises("ends_spec.lua:%d+: .*tx:transaction", function() conn:begin() end)
      raises("tx:transaction", function() conn:transaction(print) end)
      tx:rollback()
      raises("ends_spec.lua:%d+: retry needs a function", function() conn:begin { retry = 3 } end)
      assert(conn:execute "begin")
      raises("ends_spec.lua:%d+: .*by hand", function() return (conn:begin()) end)
      assert(conn:execute "rollback")
    end)

    it("does not reach those who borrow its connection after it", function()
      local db = assert(luphant.open(env.url(), { max_connections = 1 }))
      local lent = assert(db:acquire())
      local tx = assert(lent:begin())
      assert(insert(tx, 1))
      lent:release()
      assert(db:with(function(next_one)
        local theirs = assert(next_one:begin { timeout = 5 })
        assert(insert(theirs, 2))
        local ok, err = tx:commit()
        assert.same({ nil, "closed" }, { ok, err.kind })
        assert.is_nil((tx:id()))
        assert.is_true(theirs:is_open())
        assert(insert(theirs, 3))
        return theirs:commit()
      end))
      lent = assert(db:acquire())
      tx = assert(lent:begin()) -- its BEGIN never leaves, and does not wait for the next borrower either
      lent:release()
      assert(db:with(function(next_one)
        assert(next_one:execute("insert into ends values (4)"))
        return next_one:transaction_status() == "idle"
      end))
      assert.is_true(tx:rollback())
      db:close()
      assert.equal("2,3,4", rows())
    end)

    it("is gone with its connection", function()
      local mine = assert(luphant.connect(env.url()))
      local tx = assert(mine:begin())
      assert(insert(tx, 1))
      mine:close()
      assert.is_false(tx:is_open())
      assert.equal("closed", (select(2, tx:commit())).kind)
      assert.is_true(probe.eventually(function() return rows() == "" end))
      -- One that nobody keeps is collected, and the server rolls back.
      mine = assert(luphant.connect(env.url { application_name = "ends_spec_lost" }))
      coroutine.wrap(function()
        local lost = assert(mine:begin())
        assert(insert(lost, 2))
        coroutine.yield()
      end)()
      mine = nil -- luacheck: ignore
      collectgarbage()
      collectgarbage()
      assert.is_true(probe.eventually(function()
        return other:query_value("select count(*)::int from pg_stat_activity where application_name = $1",
          "ends_spec_lost") == 0
      end))
      assert.equal("", rows())
    end)
  end)

  describe("rolled back with a value", function()
    it("leaves with the value and without an error", function()
      local n = select("#", conn:transaction(function(tx)
        assert(insert(tx, 1))
        return tx:rollback(nil, "not an error")
      end))
      assert.equal(2, n)
      assert.same({ "a", 2 }, { conn:transaction(function(tx)
        assert(insert(tx, 1))
        return tx:rollback("a", 2)
      end) })
      assert.is_true(conn:transaction(function(tx)
        insert(tx, "not a number") -- whatever failed before
        return tx:rollback()
      end))
      assert.equal("", rows())
    end)

    it("inside a savepoint undoes that alone", function()
      assert.equal("inner", conn:transaction(function(tx)
        assert(insert(tx, 1))
        return tx:transaction(function(sp)
          assert(insert(sp, 2))
          return sp:rollback("inner")
        end)
      end))
      assert.equal("1", rows())
    end)

    it("runs nothing afterwards", function()
      raises("has ended", conn.transaction, conn, function(tx)
        tx:rollback()
        insert(tx, 1)
      end)
    end)
  end)

  it("may be committed early by its function, which then decides no more", function()
    assert.same({ nil, "too late" }, { conn:transaction(function(tx)
      assert(insert(tx, 1))
      assert(tx:commit())
      return nil, "too late"
    end) })
    raises("too late", conn.transaction, conn, function(tx)
      assert(tx:commit_with "insert into ends values (2)")
      error "too late"
    end)
    assert.equal("1,2", rows())
  end)

  it("whose commit failed inside its function does not look committed", function()
    assert(other:script "create table later (n int unique deferrable initially deferred)")
    for _, how in ipairs { "commit", "commit_with" } do
      local value, err = conn:transaction(function(tx)
        assert(tx:execute "insert into later values (1), (1)")
        tx[how](tx, "select 1")
        return "swallowed"
      end)
      assert.same({ nil, "unique_violation" }, { value, err.kind })
    end
    assert(other:execute "drop table later")
  end)

  it("takes a prepared statement as its last", function()
    local statement = assert(conn:prepare "insert into ends values ($1) returning n")
    assert.equal(3, conn:transaction(function(tx) return assert(tx:commit_with(statement, 3))[1].n end))
    assert.equal(4, conn:transaction(function(tx)
      local request = { "insert into ends values ($1) returning n", rows = "array", timeout = 2 }
      return assert(tx:commit_with(request, 4))[1][1]
    end))
    assert.equal("3,4", rows())
  end)

  it("knows that COMMIT went with a statement whose values nobody could read", function()
    local ended = {}
    assert(conn:register_type("int4", { decode = function() error "no way" end }))
    raises("no way", conn.transaction, conn, function(tx)
      tx:after_commit(function() ended[#ended + 1] = "committed" end)
      tx:after_rollback(function() ended[#ended + 1] = "rolled back" end)
      return tx:commit_with "insert into ends values (1) returning n"
    end)
    assert.same({ "committed" }, ended)
    local tx = assert(conn:begin())
    pcall(tx.commit_with, tx, "insert into ends values (2) returning n")
    tx:rollback() -- no: it is over
    assert.same("1,2", rows())
  end)

  describe("that is ended by a statement", function()
    for _, sql in ipairs { "commit", "end", "rollback", "abort", "begin", "start transaction", "commit and chain",
      "rollback and chain", "prepare transaction 'x'" } do
      it(("(%s) runs nothing more in its name"):format(sql), function()
        local second, kinds = nil, {}
        local value, err = conn:transaction(function(tx)
          tx:after_commit(function() kinds[1] = "commit" end)
          tx:after_rollback(function() kinds[1] = "rollback" end)
          tx:after_unknown(function(_, why) kinds[1] = why.kind end)
          assert(insert(tx, 1))
          local ok, why = tx:execute(sql)
          if not ok then return nil, why end -- max_prepared_transactions may be 0
          assert.is_false(tx:is_open())
          second = select(2, insert(tx, 2))
          return "as if nothing had been"
        end)
        assert.is_nil(value)
        if err.kind == "object_not_in_prerequisite_state" then return end
        assert.same({ "tx_state", "tx_state" }, { err.kind, second and second.kind })
        assert.same({ "tx_state" }, kinds)
        assert.equal("idle", conn:transaction_status())
        assert.not_matches("2", rows())
      end)
    end

    it("in a script does not get away with beginning another", function()
      for i, text in ipairs { "commit; begin", "rollback; begin", "rollback and chain",
        "commit; insert into ends values (10)", "begin; insert into ends values (11)" } do
        local value, err = conn:transaction(function(tx)
          assert(insert(tx, i))
          tx:script(text)
          return "as if nothing had been"
        end)
        assert.same({ nil, "tx_state" }, { value, err.kind }, text)
      end
    end)

    it("in a savepoint ends all levels", function()
      local value, err = conn:transaction(function(tx)
        local inner, why = tx:transaction(function(sp)
          assert(insert(sp, 1))
          assert(sp:execute "commit")
          return "as if nothing had been"
        end)
        assert.same({ nil, "tx_state" }, { inner, why.kind })
        assert.equal("tx_state", (select(2, insert(tx, 2))).kind)
        return "neither here"
      end)
      assert.same({ nil, "tx_state" }, { value, err.kind })
      assert.equal("1", rows())
    end)

    it("is not one that was only rolled back to a savepoint of its own", function()
      assert.equal("done", conn:transaction(function(tx)
        assert(insert(tx, 1))
        assert(tx:execute "savepoint mine")
        assert(insert(tx, 2))
        assert(tx:execute "rollback to savepoint mine")
        assert(tx:script "savepoint two; release two")
        return "done"
      end))
      assert.equal("1", rows())
    end)
  end)

  describe("has hooks", function()
    local log

    local function watch(tx, name)
      for _, kind in ipairs { "before_commit", "after_commit", "after_rollback", "after_unknown" } do
        tx[kind](tx, function() log[#log + 1] = name .. ":" .. kind end)
      end
    end

    before_each(function() log = {} end)

    it("that run in their order around COMMIT", function()
      assert(conn:transaction(function(tx)
        watch(tx, "first")
        tx:transaction(function(sp)
          watch(sp, "inner")
          return insert(sp, 1)
        end)
        watch(tx, "last")
        tx:after_commit(function(done) log[#log + 1] = ("%s %d"):format(tostring(done:is_open()), done:attempt()) end)
        return insert(tx, 2)
      end))
      assert.same({ "first:before_commit", "inner:before_commit", "last:before_commit", "first:after_commit",
        "inner:after_commit", "last:after_commit", "false 1" }, log)
    end)

    it("that run when it is rolled back, for whatever reason", function()
      conn:transaction(function(tx)
        watch(tx, "a")
        tx:after_rollback(function(_, reason) log[#log + 1] = reason end)
        return nil, "reason"
      end)
      pcall(conn.transaction, conn, function(tx)
        tx:after_rollback(function(_, reason, traceback)
          log[#log + 1] = reason
          assert.matches("ends_spec", traceback)
        end)
        error("raised", 0)
      end)
      conn:transaction(function(tx)
        tx:after_rollback(function(_, err) log[#log + 1] = err.kind end)
        tx:query "select 1 / 0"
      end)
      assert(conn:begin()):rollback()
      assert.same({ "a:after_rollback", "reason", "raised", "division_by_zero" }, log)
    end)

    it("that run when COMMIT is refused", function()
      assert(other:script "create table later (n int unique deferrable initially deferred)")
      conn:transaction(function(tx)
        watch(tx, "a")
        return tx:execute "insert into later values (1), (1)"
      end)
      assert.same({ "a:before_commit", "a:after_rollback" }, log)
      assert(other:execute "drop table later")
    end)

    it("of a savepoint that was undone, which run then and never again", function()
      assert(conn:transaction(function(tx)
        watch(tx, "outer")
        tx:transaction(function(sp)
          watch(sp, "undone")
          sp:transaction(function(deeper)
            watch(deeper, "deeper")
            return insert(deeper, 1)
          end)
          return nil, "undone"
        end)
        log[#log + 1] = "then"
        return insert(tx, 2)
      end))
      assert.same({ "undone:after_rollback", "deeper:after_rollback", "then", "outer:before_commit",
        "outer:after_commit" }, log)
      assert.equal("2", rows())
    end)

    it("before COMMIT that may run statements, register others, and refuse", function()
      assert(conn:transaction(function(tx)
        tx:before_commit(function(same)
          assert.equal(tx, same)
          assert(insert(same, 1))
          same:before_commit(function() log[1] = "registered late" end)
        end)
        return true
      end))
      assert.same({ { "registered late" }, "1" }, { log, rows() })
      assert.same({ nil, "refused" }, { conn:transaction(function(tx)
        tx:before_commit(function() return nil, "refused" end)
        tx:after_rollback(function(_, reason) log[1] = reason end)
        return insert(tx, 2)
      end) })
      assert.equal("refused", log[1])
      local thrown = {}
      local ok, err = pcall(conn.transaction, conn, function(tx)
        tx:before_commit(function() error(thrown) end)
        return insert(tx, 3)
      end)
      assert.same({ false, true }, { ok, rawequal(err, thrown) })
      local value, why = conn:transaction(function(tx)
        tx:before_commit(function(same) insert(same, 1) end) -- is there already, and nobody looks
        return insert(tx, 4)
      end)
      assert.same({ nil, "unique_violation" }, { value, why.kind })
      local tx = assert(conn:begin())
      assert(insert(tx, 5))
      tx:before_commit(function() error(thrown) end)
      ok, err = pcall(tx.commit, tx)
      assert.same({ false, true }, { ok, rawequal(err, thrown) })
      value, why = conn:transaction(function(last)
        last:before_commit(function() return nil, "refused" end)
        last:commit_with "insert into ends values (6)"
        return "swallowed"
      end)
      assert.same({ nil, "tx_state", "refused" }, { value, why.kind, why.cause })
      assert.equal("1", rows())
    end)

    it("after it that can change nothing: what they raise is told elsewhere", function()
      local told = {}
      local hooked = assert(luphant.connect(env.url(), {
        on_hook_error = function(err, where) told[#told + 1] = where .. ": " .. tostring(err):match "[^\n]*" end,
      }))
      assert.equal("fine", hooked:transaction(function(tx)
        tx:after_commit(function() error("oh", 0) end)
        tx:after_commit(function() log[1] = "the next one runs" end)
        assert(insert(tx, 1))
        return "fine"
      end))
      assert.equal("why", select(2, hooked:transaction(function(tx)
        tx:after_rollback(function() error({}) end)
        return nil, "why"
      end)))
      assert.same({ "after_commit: oh", "the next one runs" }, { told[1], log[1] })
      assert.matches("^after_rollback: table", told[2])
      assert.equal("1", rows())
      hooked:close()
    end)

    it("and refuses what is no hook", function()
      assert(conn:transaction(function(tx)
        raises("ends_spec.lua:%d+: after_commit expects a function", function() tx:after_commit("x") end)
        return true
      end))
      local tx = assert(conn:begin())
      tx:rollback()
      raises("has ended", tx.after_commit, tx, print)
    end)
  end)

  it("tells about itself", function()
    local seen
    assert(conn:transaction(function(tx)
      assert.is_nil((tx:id()))
      assert.equal(1, tx:query_value "select 1")
      assert.same({}, { tx:id() }) -- nothing was written
      assert(insert(tx, 1))
      assert.equal(tx:query_value "select pg_current_xact_id()::text", tx:id())
      assert.same({ "order", 7 }, { tx:context().name, tx:context().user })
      tx:transaction(function(sp)
        sp:context().added = true
        assert.equal(tx:id(), sp:id())
        return true
      end)
      assert.is_true(tx:context().added)
      assert.matches("order, open", tostring(tx))
      tx:after_commit(function(done) seen = { done:context().user, done:id() ~= nil, done:elapsed() >= 0 } end)
      return true
    end, { name = "order", tags = { user = 7 } }))
    assert.same({ 7, true, true }, seen)
    assert(conn:transaction(function(tx)
      assert(insert(tx, 2))
      assert.matches("^%d+$", tx:id()) -- asked for on demand
      return true
    end, { resolve = false }))
  end)

  it("closes what is open in it before it ends, the youngest first", function()
    local closed = {}
    local function resource(name, tx)
      local it = { close = function()
        closed[#closed + 1] = name
        assert(tx:query_value "select 1")
      end }
      transaction.register(tx, it)
      return it
    end
    assert(conn:transaction(function(tx)
      resource("a", tx)
      local b = resource("b", tx)
      tx:transaction(function(sp) resource("inner", sp) end)
      resource("c", tx)
      assert.equal(3, #tx:resources())
      transaction.unregister(tx, b)
      return insert(tx, 1)
    end))
    conn:transaction(function(tx)
      resource("rolled back", tx)
      return nil, "no"
    end)
    assert.same({ "inner", "c", "a", "rolled back" }, closed)
  end)

  describe("takes advisory locks", function()
    local function held() return other:query_value "select count(*)::int from pg_locks where locktype = 'advisory'" end

    it("of every kind of key, until its end", function()
      assert(conn:transaction(function(tx)
        assert.is_true(tx:advisory_lock(42))
        assert.is_true(tx:advisory_lock({ 1, -2 }))
        assert.is_true(tx:advisory_lock("a name", { shared = true }))
        assert.is_false(other:query_value "select pg_try_advisory_lock(42)")
        assert.is_false(other:query_value "select pg_try_advisory_lock(1, -2)")
        assert.is_false(other:query_value "select pg_try_advisory_lock(hashtextextended('a name', 0))")
        assert.equal(3, held())
        return true
      end))
      assert.equal(0, held())
    end)

    it("and goes on where one is not to be had", function()
      assert(other:execute "select pg_advisory_lock(7)")
      local usual = conn:query_value "show lock_timeout"
      assert.equal("done", conn:transaction(function(tx)
        assert(insert(tx, 1))
        assert.is_false(tx:advisory_lock(7, { try = true }))
        local ok, err = tx:advisory_lock(7, { timeout = 0.05 })
        assert.same({ nil, "lock_not_available" }, { ok, err.kind })
        assert.is_true(tx:advisory_lock(8, { timeout = 0.05 }))
        assert.equal(usual, tx:query_value "show lock_timeout")
        return "done"
      end))
      assert(other:execute "select pg_advisory_unlock(7)")
      assert.equal("1", rows())
    end)

    it("and refuses what is no key", function()
      assert(conn:transaction(function(tx)
        for _, key in ipairs { 1.5, true, {}, { 1 }, { 1, 2.5 } } do
          raises("ends_spec.lua:%d+: advisory_lock expects", function() tx:advisory_lock(key) end)
        end
        raises("takes no timeout", function() tx:advisory_lock(1, { try = true, timeout = 1 }) end)
        raises("advisory_lock option", function() tx:advisory_lock(1, { tyr = true }) end)
        return true
      end))
    end)
  end)

  it("refuses options that would have no effect, or make no sense", function()
    for pattern, options in pairs {
      ["deferrable has an effect only"] = { deferrable = true },
      ["deferrable has"] = { deferrable = true, isolation = "serializable" },
      ["timeout"] = { timeout = 0 },
      ["did you mean \"isolation\""] = { isolaton = "serializable" },
      ["retry"] = { retry = -1 },
      ["unknown retry option \"maximum\""] = { retry = { maximum = 1 } },
      ["names of settings"] = { set = { "x" } },
      ["a string, number or boolean for \"x\""] = { set = { x = {} } },
    } do
      raises("ends_spec.lua:%d+: .*" .. pattern, function() conn:transaction(print, options) end)
      if not options.retry then
        raises("ends_spec.lua:%d+: .*" .. pattern, function() return (conn:begin(options)) end)
      end
    end
    assert.same({ "on", "off", "5", "local" }, conn:transaction(function(tx)
      return { tx:query_value "show transaction_deferrable" == "off" and "on", tx:query_value "show enable_seqscan",
        tx:query_value "show extra_float_digits" == "2" and "5", tx:query_value "show synchronous_commit" }
    end, {
      deferrable = false, set = { enable_seqscan = false, extra_float_digits = 2, synchronous_commit = "local" },
    }))
  end)

  it("resolves only what is unknown", function()
    local _, err = conn:query "select 1 / 0"
    raises("ends_spec.lua:%d+: resolve is for errors of", function() return (err:resolve(other)) end)
    local errors = require "luphant.errors"
    local id = assert(conn:transaction(function(tx)
      assert(insert(tx, 1))
      return tx:id()
    end))
    local unknown = errors.new("commit_unknown", "x", { xid = id })
    raises("resolve needs a connection", function() return (unknown:resolve("x")) end)
    assert.equal("committed", unknown:resolve(other))
    local forgotten, too_late = errors.new("commit_unknown", "x", { xid = "3" }):resolve(other) -- older than all tables
    assert.same({ nil, "commit_unresolved" }, { forgotten, too_late.kind })
    local far, why = errors.new("commit_unknown", "x", { xid = "99999999999" }):resolve(other)
    assert.same({ nil, "invalid_parameter_value" }, { far, why.kind })
    local blind
    blind, why = errors.new("commit_unknown", "x", { hint = "no id" }):resolve(other)
    assert.same({ nil, "commit_unresolved" }, { blind, why.kind })
  end)
end)
