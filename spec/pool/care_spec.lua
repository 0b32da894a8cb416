-- Coming back and going away: after_release, what a pool leaves behind, changing over to an event loop, forks.
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local luphant = require "luphant"
local pools = require "spec.support.pools"
local probe = require "spec.support.probe"

local function sessions(name)
  local observer = assert(luphant.connect(env.url(), { waiter = "poll" }))
  local count = observer:query_value("select count(*) from pg_stat_activity where application_name = $1", name)
  observer:close()
  return count
end

describe("the hook after_release", function()
  it("runs after every borrowing, when everything is undone, and may use SQL", function()
    local seen = {}
    pools.run({ max_connections = 1, after_release = function(conn)
      seen[#seen + 1] = ("%s %s"):format(conn:transaction_status(), conn:query_value "show work_mem")
      assert(conn:execute "set application_name = 'back'")
    end }, function(db, world)
      db:with(function(conn) assert(conn:script "begin; set work_mem = '3MB'") end)
      assert.equal(1, db:query_value "select 1")
      assert.equal(pools.NAME, db:query_value "show application_name") -- what the hook has set is no session's state
      assert.is_true(world.within(1, function() return #seen == 3 and db:stats().idle == 1 end))
      assert.same({ "idle 4MB", "idle 4MB", "idle 4MB" }, seen)
      assert.equal(1, db:stats().connected)
    end)
  end)

  for how, hook in pairs {
    ["false"] = function() return false end,
    ["nil and a reason"] = function() return nil, "worn out" end,
    ["an error"] = function() error "worn out" end,
    ["closing it"] = function(conn) conn:close() end,
  } do
    it("discards the connection with " .. how, function()
      pools.run({ max_connections = 1, after_release = hook }, function(db, world)
        for i = 1, 3 do assert.equal(i, db:query_value("select $1::int", i)) end
        assert.is_true(world.within(1, function() return db:stats().total == 0 end))
        assert.same({ 3, 3 }, { db:stats().connected, db:stats().closed })
        assert.equal(how == "an error" and 3 or 0, #world.warnings)
      end)
    end)
  end

  it("that leaves a transaction open has it rolled back", function()
    pools.run({ max_connections = 1, after_release = function(conn) conn:script "begin; set work_mem = '3MB'" end },
      function(db)
        for _ = 1, 3 do
          assert.equal("4MB", db:query_value "show work_mem")
          assert.equal("idle", db:with(function(conn) return conn:transaction_status() end))
        end
        assert.equal(1, db:stats().connected)
      end)
  end)

  it("does not keep the borrower waiting, nor others for ever", function()
    pools.run({ max_connections = 1, acquire_timeout = 20, cancel_grace = 0.2,
      after_release = function(conn) return conn:query "select pg_sleep(60)" end }, function(db)
      local took, value = probe.timed(db.query_value, db, "select 1")
      assert.equal(1, value)
      assert.is_true(took < 1 * probe.slow, "it took " .. took)
      took, value = probe.timed(db.query_value, db, "select 2")
      assert.equal(2, value)
      assert.is_true(took > 4 and took < 5 + 1.5 * probe.slow, "it took " .. took)
      db:resize { acquire_timeout = 0.2 }
    end)
  end)
end)

describe("a pool that goes away", function()
  it("leaves no descriptor open, however it was used", function()
    probe.keeps_descriptors(function()
      for round = 1, 3 do
        pools.run({ max_connections = 4 }, function(db, world)
          local tasks = {}
          for i = 1, 12 do
            tasks[i] = world.spawn(function()
              db:query "select pg_sleep(0.01)"
              local conn = db:acquire()
              conn:execute "begin"
              if i % 3 == 0 then conn:close() elseif i % 3 == 1 then conn:release() end
              if i % 3 == 2 then -- forgotten
                conn = nil -- luacheck: ignore 311
                collectgarbage()
              end
            end)
          end
          world.join(tasks)
          if round == 3 then assert(db:acquire()) end -- lent when it is closed
        end)
      end
    end)
    assert.is_true(probe.eventually(function() return sessions(pools.NAME) == 0 end))
  end)

  it("without being closed is collected with its connections", function()
    probe.keeps_descriptors(function()
      coroutine.wrap(function() -- whose stack goes with it
        local db = assert(luphant.open(env.url(), { application_name = "pool_forgotten", waiter = "poll" }))
        local held = { db:acquire(), (db:acquire()) }
        held[1]:release()
        assert.equal(2, sessions "pool_forgotten")
      end)()
    end)
    assert.is_true(probe.eventually(function() return sessions "pool_forgotten" == 0 end))
  end)

  it("with the Lua state harms nothing, whatever is lent, waited for or half done", function()
    local name = "pool_state_end"
    local printed, code = probe.script({}, ([[
      local luphant = require "luphant"
      local scheduler = require("spec.support.scheduler").new()
      lent, pools = {}, {}
      for i, waiter in ipairs { "poll", scheduler.waiter } do
        pools[i] = assert(luphant.open(%q, { application_name = %q, max_connections = 2, waiter = waiter,
          on_warning = function() end }))
      end
      lent[1], lent[2] = assert(pools[1]:acquire()), assert(pools[1]:acquire())
      assert(lent[1]:execute "begin")
      setmetatable(_G, { __gc = function() pcall(lent[1].release, lent[1]) end })
      pcall(scheduler.run, scheduler, function()
        lent[3] = assert(pools[2]:acquire())
        scheduler:spawn(function() assert(pools[2]:query "select pg_sleep(5)") end)
        scheduler:spawn(function() lent[4] = pools[2]:acquire() end)
        scheduler.waiter.sleep(scheduler.waiter.now() + 0.2)
        error "left"
      end)
      assert(pools[2]:stats().used == 2 and pools[2]:stats().waiting == 1)
      print "leaving"
      os.exit(0, true)]]):format(env.url(), name))
    assert.equal("leaving", printed)
    assert.is_nil(code ~= 0 and code or nil)
    assert.is_true(probe.eventually(function() return sessions(name) <= 1 end)) -- the statement is still asleep there
  end)

  it("is closed by <close> and by leaving it", function()
    if not _VERSION:find "5.4" then return pending "<close> is Lua 5.4's" end
    local run = assert(load([[
      local luphant, url, note = ...
      local db <close> = assert(luphant.open(url, { waiter = "poll", max_connections = 1 }))
      note(db)
      do
        local conn <close> = assert(db:acquire())
        assert(conn:execute "begin")
      end
      return assert(db:query_value "select 3")]]))
    local pool
    assert.equal(3, run(luphant, env.url(), function(db) pool = db end))
    assert.same({ 0, 1 }, { pool:stats().total, pool:stats().connected })
    assert.equal("pool_closed", (select(2, pool:query "select 1")).kind)
  end)
end)

describe("a pool that was opened before the loop runs", function()
  it("changes over to it: nobody is stopped by a statement, and earlier connections are replaced", function()
    local has, cqueues = pcall(require, "cqueues")
    if not has then return pending "cqueues is not installed" end
    local db = assert(luphant.open(env.url(), { max_connections = 3, min_connections = 2 }))
    local before = db:query_value "select pg_backend_pid()"
    local kept = assert(db:acquire())
    local loop, ticks, after, over = cqueues.new(), 0, nil, false
    loop:wrap(function()
      while not over do
        cqueues.sleep(0.01)
        ticks = ticks + 1
      end
    end)
    loop:wrap(function()
      after = assert(db:query_value "select pg_backend_pid() from pg_sleep(0.3)")
      kept:release()
      for _ = 1, 3 do assert(db:query "select pg_sleep(0.05)") end
      over = true
      assert(db:close())
    end)
    assert(loop:loop())
    assert.is_true(ticks > 15, ticks .. " ticks")
    assert.are_not.equal(before, after)
  end)

  it("can be closed when the loop has ended", function()
    local has, cqueues = pcall(require, "cqueues")
    if not has then return pending "cqueues is not installed" end
    local db = assert(luphant.open(env.url(), { application_name = "pool_after_loop", max_connections = 3 }))
    local kept
    local loop = cqueues.new()
    loop:wrap(function()
      kept = assert(db:acquire())
      assert(db:query "select 1")
    end)
    assert(loop:loop())
    local took, ok, err = probe.timed(db.close, db)
    assert.is_nil(ok)
    assert.matches("1 connection had not been given back", err.message, 1, true)
    assert.is_true(took < 0.5 * probe.slow)
    assert.is_false(kept:is_open())
    assert.is_true(probe.eventually(function() return sessions "pool_after_loop" == 0 end))
  end)
end)
