-- The shortest way of a borrowing (csrc/bind/llend.c): that it is taken when all is in order, and left for whatever is
-- unusual. What that then comes to is looked at more closely in the other specs of this folder.
--
-- To see it fail: let `borrow` in llend.c ignore b->lane, or `return_handle` one of its conditions.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"
local env = require "spec.support.env"
local luphant = require "luphant"
local pools = require "spec.support.pools"

local poll = require("luphant.wait.poll").waiter()

local function sleep(seconds) poll.sleep(poll.now() + seconds) end

-- How many Lua functions of the pool run inside fn, and what it answers.
local function functions_in(fn, ...)
  local count = 0
  local function note()
    local info = debug.getinfo(2, "S")
    if info.what == "Lua" and info.source:find "luphant[/\\]pool[/\\]" then count = count + 1 end
  end
  if compat.is_luajit then require("jit").off() end -- compiled code calls no hooks
  debug.sethook(note, "c")
  local ok, a, b = pcall(fn, ...)
  debug.sethook()
  if compat.is_luajit then require("jit").on() end
  if not ok then error(a, 0) end
  return count, a, b
end

-- LuaJIT has a Lua function around each of the core's.
local SHORTEST = compat.is_luajit and 1 or 0

local function borrow(db) return db:acquire() end
local function give_back(conn) conn:release() end

-- Does a borrowing take the shortest way, and its end?
local function ways(db)
  local there, conn = functions_in(borrow, db)
  assert(conn)
  local back = functions_in(give_back, conn)
  return { there == SHORTEST, back == SHORTEST }
end

local SHORT, LONG = { true, true }, { false, false }

local function with_pool(options, fn)
  local given = { application_name = "lane_spec", waiter = "poll", max_connections = 2, on_warning = function() end }
  for name, value in pairs(options) do given[name] = value end
  local db = assert(luphant.open(env.url(), given))
  assert(db:ready())
  local ok, err = pcall(fn, db)
  db:close(0)
  if not ok then error(err, 0) end
end

describe("a borrowing when all is in order", function()
  it("runs no Lua but the caller's", function()
    with_pool({}, function(db)
      assert.same(SHORT, ways(db))
      assert.same({ 1, 1 }, { db:stats().total, db:stats().idle })
    end)
  end)

  it("does so in a task of an event loop, too", function()
    pools.run({ max_connections = 2 }, function(db)
      assert.equal(1, db:query_value "select 1")
      assert.same(SHORT, ways(db))
    end)
  end)

  it("counts, and measures how long it lasted", function()
    with_pool({}, function(db)
      local before = db:stats()
      local conn = assert(db:acquire())
      local from = db.waiter.now()
      while db.waiter.now() < from + 0.004 do end
      assert.equal("used", db:stats().connections[1].state)
      conn:release()
      local after = db:stats()
      assert.equal(before.borrowed + 1, after.borrowed)
      assert.equal(before.histograms.use.count + 1, after.histograms.use.count)
      assert.is_true(after.histograms.use.max >= 0.004)
    end)
  end)

  it("gives a handle of its own each time", function()
    with_pool({}, function(db)
      local first = assert(db:acquire())
      local pid = first:backend_pid()
      first:release()
      local second = assert(db:acquire())
      assert.equal(pid, second:backend_pid())
      assert.is_false(first == second)
      assert.same({ false, true }, { first:is_lent(), second:is_lent() })
      for name, call in pairs {
        query = function() return first:query "select 1" end,
        transaction = function() return first:transaction(function() end) end,
        begin = function() return first:begin() end,
        stream = function() return first:stream "select 1" end,
        batch = function() return first:batch { { "select 1" } } end,
      } do
        local ok, err = pcall(call)
        assert.is_false(ok, name)
        assert.matches("given back to its pool", tostring(err), 1, true)
      end
      first:release() -- the second time nothing happens, and nothing to the second's connection
      first:close()
      assert.equal(7, second:query_value "select 7")
      assert.matches("closed", tostring(first))
      second:release()
    end)
  end)
end)

describe("the shortest way is left", function()
  it("for hooks that want to see it, and taken again when they have gone", function()
    with_pool({}, function(db)
      local seen = {}
      local function note(info) seen[#seen + 1] = info.how or "acquired" end
      assert.same(SHORT, ways(db))
      db:on("acquire", note)
      db:on("release", note)
      assert.same(LONG, ways(db))
      assert.same({ "acquired", "given back" }, seen)
      db:off("acquire", note)
      db:off("release", note)
      assert.same(SHORT, ways(db))
      assert.equal(2, #seen)
    end)
    for _, name in ipairs { "before_acquire", "after_release" } do
      local called = 0
      with_pool({ [name] = function() called = called + 1 end }, function(db)
        called = 0
        assert.same(LONG, ways(db))
        assert.equal(1, called, name)
      end)
    end
    with_pool({ reset = "always" }, function(db) assert.same(LONG, ways(db)) end)
  end)

  it("for who waits: he is next, and nobody overtakes him", function()
    pools.run({ max_connections = 1 }, function(db, world)
      local order = {}
      local held = assert(db:acquire())
      local tasks = {}
      for i = 1, 3 do
        tasks[i] = world.spawn(function()
          local conn = assert(db:acquire())
          order[#order + 1] = i
          world.pause(0.01)
          conn:release()
        end)
      end
      world.pause(0.02)
      assert.equal(3, db:stats().waiting)
      assert.is_true(functions_in(give_back, held) > SHORTEST)
      local late = world.spawn(function()
        local conn = assert(db:acquire())
        order[#order + 1] = "late"
        conn:release()
      end)
      world.join(tasks)
      world.join { late }
      assert.same({ 1, 2, 3, "late" }, order)
    end)
  end)

  it("for a connection that must go: too old, used too often, replaced, too many", function()
    with_pool({ max_uses = 3, max_connections = 1 }, function(db)
      local pid = db:with(function(conn) return conn:backend_pid() end) -- the second: ready() was the first
      local third = assert(db:acquire())
      assert.equal(pid, third:backend_pid())
      third:release()
      assert.same({ 0, 1 }, { db:stats().total, db:stats().closed })
    end)
    with_pool({ max_lifetime = 0.05, lifetime_jitter = 0 }, function(db)
      local conn = assert(db:acquire())
      sleep(0.06)
      conn:release()
      assert.equal(0, db:stats().total)
    end)
    with_pool({}, function(db)
      local conn = assert(db:acquire())
      db:refresh()
      conn:release()
      assert.equal(0, db:stats().total)
    end)
    with_pool({}, function(db)
      local one, two = assert(db:acquire()), assert(db:acquire())
      db:resize { max_connections = 1 }
      one:release()
      assert.same({ 1, 1 }, { db:stats().total, db:stats().used })
      two:release()
      assert.same({ 1, 1 }, { db:stats().total, db:stats().idle })
      assert.same(SHORT, ways(db))
    end)
  end)

  it("for a connection that is too old when it is to be lent", function()
    with_pool({ max_lifetime = 0.05, lifetime_jitter = 0 }, function(db)
      local pid = db:with(function(conn) return conn:backend_pid() end)
      sleep(0.06)
      local conn = assert(db:acquire())
      assert.not_equal(pid, conn:backend_pid())
      conn:release()
    end)
  end)

  it("for a connection that was idle for long: it is asked first", function()
    with_pool({ health_check_after = 0.02 }, function(db)
      assert.same(SHORT, ways(db))
      sleep(0.03)
      local count, conn = functions_in(borrow, db)
      assert.is_true(count > SHORTEST)
      conn:release()
    end)
  end)

  it("for a session the server has ended: another one is lent", function()
    with_pool({ max_connections = 1 }, function(db)
      local killer = assert(luphant.connect(env.url(), { waiter = "poll" }))
      local conn = assert(db:acquire())
      local pid = conn:backend_pid()
      conn:release()
      assert(killer:query("select pg_terminate_backend($1, 5000)", pid))
      killer:close()
      sleep(0.02)
      conn = assert(db:acquire())
      assert.not_equal(pid, conn:backend_pid())
      assert.equal(1, conn:query_value "select 1")
      conn:release()
    end)
  end)

  it("for what a borrower left: it is gone before the next one comes, on the same session", function()
    for what, leave in pairs {
      ["a setting"] = function(conn) assert(conn:execute "set work_mem = '7MB'") end,
      ["a transaction"] = function(conn) assert(conn:execute "begin") end,
      ["a transaction that was never sent"] = function(conn) assert(conn:begin()) end,
      ["an advisory lock"] = function(conn) assert(conn:query "select pg_advisory_lock(4711)") end,
      ["an open cursor"] = function(conn) assert(conn:cursor("select 1", {}, { hold = true })) end,
    } do
      with_pool({ max_connections = 1 }, function(db)
        local conn = assert(db:acquire())
        local pid = conn:backend_pid()
        leave(conn)
        assert.is_true(functions_in(give_back, conn) > SHORTEST, what)
        conn = assert(db:acquire())
        assert.equal(pid, conn:backend_pid(), what)
        assert.not_equal("7MB", conn:query_value "show work_mem")
        assert.equal("idle", conn.box:transaction_status())
        assert.equal(0, conn:query_value("select count(*)::int from pg_locks where locktype = 'advisory'"
          .. " and pid = pg_backend_pid()"))
        conn:release()
      end)
    end
  end)

  it("for a pool that was closed", function()
    with_pool({}, function(db)
      local conn = assert(db:acquire())
      conn:release()
      conn = assert(db:acquire())
      db:close(0)
      conn:release() -- it was closed under its borrower
      local none, err = db:acquire()
      assert.is_nil(none)
      assert.equal("pool_closed", err.kind)
      assert.equal(0, db:stats().total)
    end)
  end)

  it("for options of the call", function()
    with_pool({}, function(db)
      local conn = assert(db:acquire { timeout = 1 })
      conn:release()
      local ok, err = pcall(function() print(db:acquire { timeuot = 1 }) end)
      assert.is_false(ok)
      assert.matches('lane_spec%.lua:%d+:.-"timeuot"', err)
      assert.matches("timeout", err, 1, true)
    end)
  end)

  it("where an event loop may have begun to run since the pool was opened", function()
    local has, cqueues = pcall(require, "cqueues")
    if not has then return pending "cqueues is not installed" end
    for name, borrowed in pairs {
      acquire = function(db)
        local conn = assert(db:acquire())
        local waiter = conn.waiter.name
        conn:release()
        return waiter
      end,
      with = function(db) return db:with(function(conn) return conn.waiter.name end) end,
      transaction = function(db) return db:transaction(function(tx) return tx.conn.waiter.name end) end,
    } do
      local db = assert(luphant.open(env.url(), { max_connections = 2 }))
      assert.equal("poll", borrowed(db))
      local loop, inside = cqueues.new(), nil
      loop:wrap(function()
        inside = borrowed(db)
        db:close()
      end)
      assert(loop:loop())
      assert.equal("cqueues", inside, name)
    end
  end)

  it("in a hook, whose connection is not lent: giving it back does nothing but end its handle", function()
    local handles = {}
    with_pool({ max_connections = 1, after_connect = function(conn)
      handles[#handles + 1] = conn
      conn:release()
    end }, function(db)
      db:with(function(conn) assert(conn:execute "set work_mem = '7MB'") end)
      local conn = assert(db:acquire())
      assert.not_equal("7MB", conn:query_value "show work_mem")
      assert.same({ 2, 1, 1 }, { #handles, db:stats().total, db:stats().used })
      for _, handle in ipairs(handles) do assert.is_false(handle:is_lent()) end
      conn:release()
    end)
  end)

  it("for a pool of another name, called by the function of this one", function()
    with_pool({}, function(db)
      with_pool({}, function(other)
        local conn = assert(db.acquire(other))
        assert.same({ 0, 1 }, { db:stats().used, other:stats().used })
        conn:release()
      end)
    end)
  end)
end)

describe("a borrower on the shortest way", function()
  it("is known: a connection it forgot comes back, and one whose coroutine ended", function()
    with_pool({ max_connections = 1 }, function(db)
      local function lose() assert(db:acquire()) end
      lose()
      assert.equal(1, db:query_value "select 1")
      local kept
      local thread = coroutine.create(function() kept = assert(db:acquire()) end)
      assert(coroutine.resume(thread))
      assert.equal(2, db:query_value "select 2")
      local ok, err = pcall(kept.query, kept, "select 1")
      assert.is_false(ok)
      assert.matches("taken back by its pool", tostring(err), 1, true)
      assert.equal(2, db:stats().reclaimed)
    end)
  end)

  it("cannot come back from the dead with its handle", function()
    if compat.is_luajit then return pending "what a finalizer brings back was never collected on LuaJIT" end
    -- A finalizer brings it back after the pool has found it collected. To see it fail: leave out handle.retire in
    -- pool/reclaim.lua.
    with_pool({ max_connections = 1 }, function(db)
      local back = {}
      local function finalize(holder) back.conn = holder.conn end
      local function lose()
        local conn = assert(db:acquire())
        return setmetatable({ conn = conn }, { __gc = finalize })
      end
      lose()
      for _ = 1, 3 do collectgarbage() end
      db:reclaim_abandoned(true)
      local conn = assert(db:acquire())
      assert.is_table(back.conn)
      assert.same({ false, true }, { back.conn:is_lent(), conn:is_lent() })
      back.conn:release()
      assert.is_true(conn:is_lent())
      local ok, err = pcall(back.conn.query, back.conn, "select 1")
      assert.is_false(ok)
      assert.matches("taken back by its pool", tostring(err), 1, true)
      assert.equal(3, conn:query_value "select 3")
      conn:release()
      assert.same(SHORT, ways(db))
    end)
  end)

  it("is told by its own line, and by those before it with leak_frames", function()
    local function line() return debug.getinfo(2, "l").currentline end
    for frames = 1, 2 do
      with_pool({ leak_frames = frames }, function(db)
        local inner, outer
        local function helper()
          inner = line() + 1
          local conn = assert(db:acquire())
          return conn
        end
        outer = line() + 1
        local conn = helper()
        local borrower = db:stats().connections[1].borrower
        assert.matches(("lane_spec.lua:%d"):format(inner), borrower, 1, true)
        assert.equal(frames == 2, borrower:find((" < .*lane_spec.lua:%d$"):format(outer)) ~= nil)
        conn:release()
        db:with(function()
          inner = db:stats().connections[1].borrower
        end)
        assert.matches("^[^<]*lane_spec.lua:%d+", inner)
        assert.equal(frames, select(2, inner:gsub("%.lua:%d", "")))
        db:strict():acquire():release()
        db:transaction(function()
          assert.matches("^[^<]*lane_spec.lua:%d+", db:stats().connections[1].borrower)
        end)
      end)
    end
  end)
end)
