-- What db:listen promises, under one waiter.
--
-- Where tasks can be started the line works by itself; in a plain script the one who waits does the work. `settle`
-- hides the difference.
--
-- SPDX-License-Identifier: MIT

-- A module does not see what busted gives a spec.
local busted = require "busted"
local describe, it, pending = busted.describe, busted.it, busted.pending
local assert = require "luassert"

local env = require "spec.support.env"
local luphant = require "luphant"
local probe = require "spec.support.probe"

local NAME = "listen_suite"

local function tests(setting)
  local function test(title, body)
    it(title, function()
      local world = setting.start()
      world.run(function()
        local function open(options)
          local given = { waiter = world.waiter, application_name = NAME }
          for key, value in pairs(options or {}) do given[key] = value end
          if not given.host and not given.url then given.url = env.url() end
          return assert(luphant.open(given))
        end
        local db = open()
        -- Until fn() is true: time passes, and who listens hears.
        local function settle(listener, fn)
          local limit = world.functions.now() + 10 * probe.slow
          while not fn() do
            assert(world.functions.now() < limit, "it does not come true")
            if setting.has_others then world.pause(0.005) else listener:wait(0.01) end
          end
        end
        local ok, err = xpcall(body, function(e) return type(e) == "string" and debug.traceback(e, 2) or e end,
          db, settle, world, open)
        db:close(1)
        if not ok then error(err, 0) end
      end)
    end)
  end

  -- Looks at the server through a connection that is none of the pool's.
  local function sessions(db)
    return db:query_value("select count(*) from pg_stat_activity where application_name = $1 and query ilike 'listen%'",
      NAME)
  end

  test("delivers what is sent, in order, with channel and sender", function(db, settle)
    local got, pids = {}, {}
    local listener = assert(db:listen("suite", function(payload, channel, pid)
      got[#got + 1] = payload
      pids[pid] = channel
    end))
    assert.is_true(listener:is_listening())
    for i = 1, 200 do assert(db:notify("suite", tostring(i))) end
    assert(db:transaction(function(tx)
      assert(tx:notify("suite", "201"))
      return tx:notify "suite"
    end))
    settle(listener, function() return #got == 202 end)
    for i = 1, 201 do assert.equal(tostring(i), got[i]) end
    assert.equal("", got[202])
    local sender = db:query_value "select pg_backend_pid()"
    assert.equal("suite", pids[sender])
    listener:close()
  end)

  test("says that it is ready before anything is delivered", function(db, settle)
    local told = {}
    local listener = assert(db:listen("suite", function(payload) told[#told + 1] = payload end, {
      on_ready = function(why) told[#told + 1] = why end,
    }))
    assert(db:notify("suite", "work"))
    settle(listener, function() return #told == 2 end)
    assert.same({ "listening", "work" }, told)
    listener:close()
  end)

  test("gives many listeners and channels one connection, whatever the channels are called", function(db, settle)
    local names = { "plain", "MiXed", 'quo"te', "it's", "semi; select 1", "$dollar$", "ünïcödé", "back\\slash", "--c",
      ("x"):rep(63) }
    local got, listeners = {}, {}
    for i, name in ipairs(names) do
      listeners[i] = assert(db:listen(name, function(payload, channel) got[channel] = payload end))
    end
    local both = {}
    listeners[#listeners + 1] = assert(db:listen({ "plain", "MiXed" }, function(payload) both[#both + 1] = payload end))
    assert.equal(1, sessions(db))
    for i, name in ipairs(names) do assert(db:notify(name, "to " .. i)) end
    for i, name in ipairs(names) do
      settle(listeners[i], function() return got[name] ~= nil end)
      assert.equal("to " .. i, got[name])
    end
    settle(listeners[#listeners], function() return #both == 2 end)
    assert.same({ "to 1", "to 2" }, both)
    for _, listener in ipairs(listeners) do listener:close() end
  end)

  test("comes back when its session is ended, and says so, so that what was missed can be read", function(db, settle)
    local told = {}
    local listener = assert(db:listen({ "suite", "other" }, function(payload) told[#told + 1] = payload end, {
      on_ready = function(why) told[#told + 1] = why end,
      on_lost = function(err) told[#told + 1] = err.sqlstate end,
    }))
    settle(listener, function() return #told == 1 end)
    for round = 1, 3 do
      local pid = db:stats().listening.backend_pid
      assert(db:query_value("select pg_terminate_backend($1)", pid))
      settle(listener, function() return told[#told] == "again" end)
      assert(db:notify(round % 2 == 0 and "other" or "suite", "round " .. round))
      settle(listener, function() return told[#told] == "round " .. round end)
    end
    assert.same({ "listening", "57P01", "again", "round 1", "57P01", "again", "round 2", "57P01", "again", "round 3" },
      told)
    assert.equal(4, db:stats().listening.sessions)
    listener:close()
  end)

  test("contains what a function raises, reports it, and goes on", function(_, settle, _, open)
    local reported, told, got = {}, {}, {}
    local db = open {
      on_hook_error = function(err, where) reported[#reported + 1] = where .. ": " .. tostring(err) end,
    }
    db:on("error", function(info) told[#told + 1] = info end)
    local listener = assert(db:listen("suite", function(payload)
      got[#got + 1] = payload
      if payload == "bad" then error "trouble" end
    end, { on_ready = function() error { "no text" } end }))
    for _, payload in ipairs { "good", "bad", "good again" } do assert(db:notify("suite", payload)) end
    settle(listener, function() return #got == 3 end)
    assert.equal(2, #reported)
    assert.is_truthy(reported[1]:find("on_ready of the listener for suite", 1, true))
    assert.is_truthy(reported[2]:find("the function of the listener for suite: .*trouble", 1))
    assert.equal("listen", told[2].where)
    assert.equal("suite", told[2].channel)
    db:close(1)
  end)

  test("is waited for, with a limit", function(db, _, world)
    local listener = assert(db:listen "suite")
    local from = world.functions.now()
    assert.is_nil(listener:wait(0.05))
    local took = world.functions.now() - from
    assert.is_true(took >= 0.045 and took < 2 * probe.slow, took)
    assert.is_nil(listener:wait(0))
    assert(db:notify("suite", "one"))
    assert(db:notify("suite", "two"))
    assert.equal("one", (listener:wait(5)))
    local payload, channel, pid = listener:wait(5)
    assert.equal("two suite", payload .. " " .. channel)
    assert.equal(db:query_value "select pg_backend_pid()", pid)
    listener:close()
    local nothing, err = listener:wait(5)
    assert.is_nil(nothing)
    assert.equal("closed", err.kind)
  end)

  test("ends listening to one channel without disturbing the others", function(db, settle)
    local got = {}
    local function note(payload, channel) got[#got + 1] = channel .. payload end
    local one, two = assert(db:listen("one", note)), assert(db:listen("two", note))
    local again = assert(db:listen("two", note))
    one:close()
    one:close()
    again:close()
    assert(db:notify("one", "!"))
    assert(db:notify("two", "!"))
    settle(two, function() return #got >= 1 end)
    assert.same({ "two!" }, got)
    two:close()
    assert.is_true(probe.eventually(function()
      if setting.has_others then return true end
      return sessions(db) == 0
    end))
    local new = assert(db:listen("one", note))
    assert(db:notify("one", "?"))
    settle(new, function() return #got == 2 end)
    new:close()
  end)

  test("refuses what cannot be listened to, or sent, before anything is sent", function(db, _, _, open)
    for _, bad in ipairs { "", ("x"):rep(64), "nul\0byte" } do
      local listener, err = db:listen(bad, print)
      assert.is_nil(listener)
      assert.equal("parameter", err.kind)
      local sent, why = db:notify(bad, "x")
      assert.is_nil(sent)
      assert.equal("parameter no", why.kind .. " " .. why.sent)
    end
    local sent, err = db:notify("suite", ("x"):rep(8000))
    assert.is_nil(sent)
    assert.equal("parameter no", err.kind .. " " .. err.sent)
    assert.is_truthy(err.message:find("7999", 1, true))
    assert.is_true(db:notify("suite", ("x"):rep(7999)))
    assert.is_nil(db.line)
    local pooled = open { pooler = "transaction" }
    local nothing, why = pooled:listen("suite", print)
    assert.is_nil(nothing)
    assert.equal("config", why.kind)
    pooled:close()
  end)

  test("tells who waits that the pool was closed", function(_, _, world, open)
    local db = open()
    local listener = assert(db:listen "suite")
    if not setting.has_others then
      db:close()
      assert.equal("pool_closed", select(2, listener:wait(1)).kind)
      return
    end
    local task = world.spawn(function() return { listener:wait() } end)
    world.pause(0.02)
    db:close()
    world.join { task }
    assert.equal("pool_closed", task.result[2].kind)
    assert.equal("pool_closed", select(2, db:listen("suite", print)).kind)
  end)

  test("fails in time where there is no server, and with the reason at once where trying again is of no use",
    function(_, _, _, open)
      local nowhere = open { host = "127.0.0.1", port = probe.closed_port(), acquire_timeout = 0.3 }
      local err = probe.fails(2.5, nowhere.listen, nowhere, "suite", print)
      assert.equal("connect_timeout", err.kind)
      assert.equal("refused", err.cause.kind)
      assert.is_nil(next(nowhere.line.members))
      nowhere:close()
      local url = env.url():gsub("(//[^/]*/)[^?]*", "%1no_such_database_here")
      local wrong = open { url = url }
      err = probe.fails(4, wrong.listen, wrong, "suite", print)
      assert.equal("invalid_catalog_name", err.kind)
      wrong:close()
    end)

  if setting.has_others then
    test("works beside what others do, and holds nobody up", function(db, settle, world)
      local order = {}
      local slow = assert(db:listen("suite", function(payload)
        world.pause(0.01)
        assert.equal(1, db:query_value "select 1")
        order[#order + 1] = payload
      end))
      local fast = 0
      local other = assert(db:listen("suite", function() fast = fast + 1 end))
      for i = 1, 20 do assert(db:notify("suite", ("%02d"):format(i))) end
      settle(other, function() return fast == 20 end)
      assert.is_true(#order < 20)
      settle(slow, function() return #order == 20 end)
      for i = 1, 20 do assert.equal(("%02d"):format(i), order[i]) end
      slow:close()
      other:close()
    end)

    test("gives each of those who wait one notification", function(db, _, world)
      local listener = assert(db:listen "suite")
      local tasks, seen = {}, {}
      for i = 1, 5 do
        tasks[i] = world.spawn(function()
          local payload = listener:wait(5)
          seen[#seen + 1] = payload
        end)
      end
      world.pause(0.02)
      for i = 1, 5 do assert(db:notify("suite", tostring(i))) end
      world.join(tasks)
      table.sort(seen)
      assert.same({ "1", "2", "3", "4", "5" }, seen)
      listener:close()
    end)

    test("a queue that runs full costs notifications, and says to read again", function(db, settle, world)
      local told = {}
      local listener = assert(db:listen("suite", function(payload)
        told[#told + 1] = payload
        if payload == "1" then world.pause(0.2) end
      end, { max_queued = 3, on_ready = function(why) told[#told + 1] = why end }))
      assert(db:notify("suite", "1"))
      settle(listener, function() return told[2] == "1" end)
      assert(db:execute "select pg_notify('suite', n::text) from generate_series(2, 50) n")
      settle(listener, function() return told[#told] == "overflow" end)
      assert.same({ "listening", "1", "2", "3", "4", "overflow" }, told)
      assert(db:notify("suite", "on it goes"))
      settle(listener, function() return told[#told] == "on it goes" end)
      listener:close()
    end)

    test("a listener that is closed lets the loop end, whoever closes it", function(db, settle)
      local listener
      listener = assert(db:listen("suite", function() listener:close() end))
      assert(db:notify "suite")
      settle(listener, function() return listener.closed end)
      settle(listener, function() return not (db.line.task and db.line.task.thread) and db.line.box == nil end)
    end)

    test("many listen at once, while sessions are being ended", function(db, _, world)
      local ready, tasks = 0, {}
      local killer = world.spawn(function()
        for _ = 1, 5 do
          world.pause(0.01)
          local stats = db:stats().listening
          if stats and stats.backend_pid then db:query("select pg_terminate_backend($1)", stats.backend_pid) end
        end
      end)
      for i = 1, 20 do
        tasks[i] = world.spawn(function()
          local listener = assert(db:listen("suite" .. i % 7, print, { on_ready = function() ready = ready + 1 end,
            timeout = 20 }))
          world.pause(0.01)
          listener:close()
        end)
      end
      world.join(tasks)
      world.join { killer }
      assert.is_nil(next(db.line.members))
      assert.is_nil(next(db.line.wanted))
    end)
  end
end

return function(setting)
  describe("a listener under the waiter " .. setting.name, function()
    if setting.missing then
      pending(setting.missing)
    else
      tests(setting)
    end
  end)
end
