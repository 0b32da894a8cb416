-- A child after fork holds copies of all its parent's connections. It never speaks on them, and its end is not theirs.
-- spec/fork_spec.lua tries every verb in the child; here it is done from within each way of waiting.
--
-- To see it fail: let drop_session in csrc/core/conn.c call PQfinish without asking whose connection it is.
--
-- SPDX-License-Identifier: MIT

local ordeal = require "spec.support.ordeal"
local probe = require "spec.support.probe"
local server = require "luphant.testing.server"

local function start() return assert(server.start { tls = true, settings = { log_disconnections = true } }) end

-- Left out under valgrind as spec/fork_spec.lua is: a child leaves its copy of the session to the system on purpose.
ordeal.family("a forked child #slow", { server = start }, function(test)
  local fork, wait, leave

  local function load()
    if fork then return end
    probe.with_library("fork", function(path)
      fork, wait, leave = assert(package.loadlib(path, "lfork_fork")), assert(package.loadlib(path, "lfork_wait")),
        assert(package.loadlib(path, "lfork_leave"))
    end)
  end

  local function in_child(fn)
    load()
    io.stdout:flush() -- or the child would print it once more
    local pid = fork()
    if pid == 0 then
      local ok, code = pcall(fn)
      if not ok then io.stderr:write("child: ", tostring(code), "\n") end
      leave(ok and code or 99)
    end
    return wait(pid)
  end

  local function connect(world, tls)
    local pg = world.server
    return world.connect(tls and { host = "127.0.0.1", port = pg.port, password = pg.password, sslmode = "require" })
  end

  local function assert_untouched(world, conn, pid)
    probe.usable(conn)
    assert.equal(pid, conn:query_value "select pg_backend_pid()")
    local log = world.server:log()
    for _, word in ipairs { "unexpected EOF", "SSL error", "protocol" } do
      assert.is_nil(log:find(word, 1, true), word)
    end
  end

  local function try_all_verbs(world, tls)
    local conn = connect(world, tls)
    local pid = conn:backend_pid()
    for _ = 1, 5 do
      assert.equal(0, in_child(function()
        for i, verb in ipairs { "query", "execute", "query_value", "script", "describe", "prepare" } do
          local value, err = conn[verb](conn, "create table from_the_child ()")
          if value or err.kind ~= "forked" or err.sent ~= "no" then return i end
        end
        local value, err = conn:cancel()
        if value or err.kind ~= "forked" then return 10 end
        return 0
      end))
      assert_untouched(world, conn, pid)
    end
    assert.is_nil(conn:query_value "select to_regclass('from_the_child')")
  end

  local function let_go(world, tls)
    local conn = connect(world, tls)
    local pid = conn:backend_pid()
    assert(conn:script "begin; create table of_the_parent (n int)")
    assert.equal(0, in_child(function()
      conn:close()
      return conn:is_open() and 1 or 0
    end))
    assert.equal(0, in_child(function()
      conn = nil -- luacheck: ignore 311
      collectgarbage()
      collectgarbage()
      return 0
    end))
    assert(conn:script "insert into of_the_parent values (1); rollback")
    assert_untouched(world, conn, pid)
  end

  test("F40 in a child the connection is its parent's, and nothing is sent on it", function(world)
    try_all_verbs(world, false)
  end)

  test("F40 in a child the connection is its parent's, also under TLS", function(world)
    try_all_verbs(world, true)
  end)

  test("F40 a child that closes or collects the connection ends nothing of its parent's", function(world)
    let_go(world, false)
  end)

  test("F40 a child that closes or collects the connection breaks no TLS of its parent's", function(world)
    let_go(world, true)
  end)

  test("F40 a child's pool begins empty, and its parent's goes on with its own sessions", function(world)
    local db = world.pool(world.options { max_connections = 2, waiter = "poll" })
    local lent = assert(db:acquire())
    local pids = { lent:backend_pid(), db:query_value "select pg_backend_pid()" }
    for _ = 1, 3 do
      assert.equal(0, in_child(function()
        local value, err = lent:query "select 1"
        if value or err.kind ~= "forked" then return 1 end
        if db:query_value "select 42" ~= 42 then return 2 end
        local pid = db:query_value "select pg_backend_pid()"
        if pid == pids[1] or pid == pids[2] then return 3 end
        if db:stats().total ~= 1 then return 4 end
        db:close()
        return 0
      end))
    end
    assert.same(pids, { lent:query_value "select pg_backend_pid()", db:query_value "select pg_backend_pid()" })
    lent:release()
    for _, word in ipairs { "unexpected EOF", "protocol" } do assert.is_nil(world.server:log():find(word, 1, true)) end
    assert.equal(2, db:stats().total)
  end)

  -- What the child does, it does on sessions of its own; what had arrived is its parent's to hear.
  local function listen_across_fork(world, tls)
    local pg = world.server
    local options = tls and { host = "127.0.0.1", port = pg.port, password = pg.password, sslmode = "require" } or {}
    options.waiter = "poll"
    local db = world.pool(world.options(options))
    local listener = assert(db:listen "forked")
    local pid = db:stats().listening.backend_pid
    for round = 1, 3 do
      assert(db:notify("forked", "before " .. round))
      assert.equal(0, in_child(function()
        if round == 3 then collectgarbage() end
        local payload = listener:wait(0.3)
        if payload and round < 3 then return 1 end
        if (db:stats().listening or {}).backend_pid == pid then return 2 end
        if round == 2 then
          if not db:notify("forked", "of the child") then return 3 end
          if listener:wait(5) ~= "of the child" then return 4 end
        end
        listener:close()
        db:close()
        return 0
      end))
      assert.equal("before " .. round, (listener:wait(5)))
      if round == 2 then assert.equal("of the child", (listener:wait(5))) end
      assert(db:notify("forked", "after " .. round))
      assert.equal("after " .. round, (listener:wait(5)))
    end
    assert.same({ 1, pid }, { db:stats().listening.sessions, db:stats().listening.backend_pid })
    for _, word in ipairs { "unexpected EOF", "SSL error", "protocol" } do
      assert.is_nil(world.server:log():find(word, 1, true), word)
    end
    listener:close()
  end

  test("F40 a child neither hears nor ends what its parent listens to", function(world)
    listen_across_fork(world, false)
  end)

  test("F40 a child neither hears nor ends what its parent listens to under TLS", function(world)
    listen_across_fork(world, true)
  end)
end)
