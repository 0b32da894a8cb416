-- The task that keeps a pool's idle connections in order: what it does in time, and that it holds no loop.
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local luphant = require "luphant"
local probe = require "spec.support.probe"
local scheduler = require "spec.support.scheduler"
local worlds = require "spec.contract.worlds"

local NAME = "keep_spec"

-- Programs whose tasks end while connections of two pools are idle; nobody closes the pools. %s: the pools and a task.
local PROGRAMS = {
  cqueues = [[
    local loop = require("cqueues").new()
    loop:wrap(function() %s end)
    assert(loop:loop())]],
  luv = [[
    coroutine.wrap(function() %s end)()
    require("luv").run()]],
}

local TASK = [[
  local luphant = require "luphant"
  for _ = 1, 2 do
    local db = assert(luphant.open(%q, { max_connections = 2 }))
    assert(db:query "select 1")
    assert(db:stats().idle == 1)
    require("luphant.wait").choose(%q).spawn(function() assert(db:query_value "select 2 from pg_sleep(0.2)" == 2) end)
  end]]

describe("the keeper of a pool", function()
  for _, setting in ipairs(worlds.loops) do
    local name = setting.name
    local program = PROGRAMS[name]
    if program then
      it("lets a loop of " .. name .. " end when its last task has ended", function()
        if setting.missing then return pending(setting.missing) end
        local text = program:format(TASK:format(env.url(), name)) .. ' print("ended", os.clock() < 1)'
        local took, printed = probe.timed(probe.script, {}, text)
        assert.equal("ended\ttrue", printed)
        assert.is_true(took < 2.5 * probe.slow, "it took " .. took)
      end)
    end
  end

  local loop, db

  local function with_pool(options, fn)
    loop = scheduler.new()
    loop:run(function()
      options.application_name, options.waiter = NAME, loop.waiter
      db = assert(luphant.open(env.url(), options))
      local ok, err = pcall(fn)
      db:close(1)
      if not ok then error(err, 0) end
    end)
  end

  local function pause(seconds) loop.waiter.sleep(loop.waiter.now() + seconds) end

  local function within(seconds, fn)
    local limit = loop.waiter.now() + seconds * probe.slow
    while not fn() do
      if loop.waiter.now() > limit then return false end
      pause(0.01)
    end
    return true
  end

  it("closes what has been idle for idle_timeout, down to min_connections", function()
    with_pool({ max_connections = 4, min_connections = 1, idle_timeout = 0.3 }, function()
      local held = {}
      for i = 1, 4 do held[i] = assert(db:acquire()) end
      for i = 1, 4 do held[i]:release() end
      assert.equal(4, db:stats().idle)
      assert.is_true(within(2, function() return db:stats().total == 1 end))
      pause(0.5)
      assert.same({ 1, 4, 3 }, { db:stats().idle, db:stats().connected, db:stats().closed })
    end)
  end)

  it("connects min_connections at once, and again when they are lost", function()
    with_pool({ max_connections = 4, min_connections = 2 }, function()
      assert.is_true(within(1, function() return db:stats().idle == 2 end))
      for _ = 1, 2 do db:with(function(conn) conn:close() end) end
      assert.is_true(within(1, function() return db:stats().idle == 2 end))
      assert.equal(4, db:stats().connected)
    end)
  end)

  it("goes on trying to have min_connections while the server is away", function()
    local failing = true
    with_pool({ max_connections = 4, min_connections = 2,
      after_connect = function() return not failing end }, function()
      assert.is_true(within(2, function() return db:stats().connect_failed >= 3 end))
      failing = false
      assert.is_true(within(3, function() return db:stats().idle == 2 end))
    end)
  end)

  it("replaces a connection that is too old although nobody uses it", function()
    with_pool({ max_connections = 2, min_connections = 1, max_lifetime = 0.4, lifetime_jitter = 0 }, function()
      assert.is_true(within(1, function() return db:stats().idle == 1 end))
      assert.is_true(within(2, function() return db:stats().connected >= 2 and db:stats().idle == 1 end))
    end)
  end)

  it("pings idle connections, and closes those that do not answer", function()
    with_pool({ max_connections = 2, keepalive_interval = 0.2 }, function()
      local pid = db:query_value "select pg_backend_pid()"
      local observer = assert(luphant.connect(env.url(), { waiter = "poll" }))
      local function changed_at()
        return observer:query_value("select state_change::text from pg_stat_activity where pid = $1", pid)
      end
      local before = changed_at()
      assert.is_true(within(2, function() return changed_at() ~= before end))
      observer:query_value("select pg_terminate_backend($1)", pid)
      assert.is_true(within(2, function() return db:stats().total == 0 end))
      observer:close()
    end)
  end)

  it("takes back what a borrower has forgotten, though nobody waits for it", function()
    local warnings = {}
    with_pool({ max_connections = 2, on_warning = function(w) warnings[#warnings + 1] = w.event end }, function()
      local function lose() assert(db:acquire()):execute "begin" end
      lose()
      assert.is_true(within(2, function()
        collectgarbage() -- again and again: LuaJIT takes what is left on a stack for alive
        return db:stats().idle == 1
      end))
      assert.same({ 1, "reclaimed" }, { db:stats().reclaimed, warnings[1] })
    end)
  end)

  it("works for a pool whose first connection is never given back", function()
    local leaks = {}
    local function note(warning) leaks[#leaks + 1] = warning end
    with_pool({ max_connections = 2, leak_timeout = 0.2, on_warning = note }, function()
      local conn = assert(db:acquire())
      assert.is_true(within(1.5, function() return #leaks == 1 end))
      assert.equal("leak", leaks[1].event)
      conn:release()
    end)
  end)

  it("is there again in another controller, when its own was closed under it", function()
    local has, cqueues = pcall(require, "cqueues")
    if not has then return pending "cqueues is not installed" end
    local pool = assert(luphant.open(env.url(), { application_name = NAME, waiter = "cqueues", max_connections = 1,
      on_warning = function() end }))
    local first = cqueues.new()
    first:wrap(function() assert(pool:query "select 1") end)
    for _ = 1, 10 do first:step(0.02) end
    assert.equal(1, pool:stats().idle)
    local keeper = pool.keeper
    assert.is_table(keeper)
    first:close()
    local second = cqueues.new()
    second:wrap(function()
      local lost = assert(pool:acquire())
      second:wrap(function() assert(pool:query "select 2") end)
      cqueues.sleep(0.05)
      lost:close()
      pool:resize { min_connections = 1 } -- something to do
      cqueues.sleep(0.1)
      assert.is_true(pool.keeper ~= keeper)
      pool:close(1)
    end)
    assert(second:loop())
  end)
end)
