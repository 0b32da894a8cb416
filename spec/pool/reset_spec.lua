-- The option `reset`: what happens to what a borrower left. What "auto" undoes, under every waiter, is in
-- spec/contract/pool_suite.lua.
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local luphant = require "luphant"
local proxy = require "luphant.testing.proxy"

describe("the option reset", function()
  local db, gate

  local function open(options)
    options.max_connections, options.waiter = 1, "poll"
    db = assert(luphant.open(env.url(), options))
    return db
  end

  local function through_gate(options)
    local probe = assert(luphant.connect(env.url()))
    local target = probe:target()
    probe:close()
    gate = assert(proxy.start { target_socket = ("%s/.s.PGSQL.%s"):format(target.host, target.port) })
    options.host, options.port, options.sslmode, options.dbname, options.user =
      gate.host, gate.port, "disable", "postgres", "postgres"
    options.max_connections, options.waiter = 1, "poll"
    db = assert(luphant.open(options))
    return db
  end

  local function trips(fn)
    for _ = 1, 2 do fn() end
    gate:stats { reset = true }
    fn()
    return gate:stats().round_trips
  end

  after_each(function()
    if db then db:close() end
    if gate then gate:stop() end
    db, gate = nil, nil
  end)

  local function change(conn) assert(conn:execute "set work_mem = '3MB'") end

  it('"auto" undoes what was left, and is free when that is nothing', function()
    through_gate { reset = "auto" }
    assert.equal(1, trips(function() db:query "select 1" end))
    assert.equal(2, trips(function() db:with(change) end))
    assert.equal("4MB", db:query_value "show work_mem")
  end)

  it('"always" resets after every borrower', function()
    through_gate { reset = "always" }
    assert.equal(1, trips(function() assert(db:acquire()):release() end))
    db:with(change)
    assert.equal("4MB", db:query_value "show work_mem")
    -- Also what no text tells: a function that sets something.
    assert(db:query "select set_config('work_mem', '3MB', false)")
    assert.equal("4MB", db:query_value "show work_mem")
  end)

  it('"off" leaves settings where they are, and still ends transactions', function()
    through_gate { reset = "off" }
    assert.equal(1, trips(function() db:with(change) end))
    assert.equal("3MB", db:query_value "show work_mem")
    db:with(function(conn) conn:execute "begin" end)
    assert.equal("idle", db:with(function(conn) return conn:transaction_status() end))
  end)

  it("runs after_connect again, whose settings it has undone", function()
    local calls = 0
    open { after_connect = function(conn)
      calls = calls + 1
      return conn:execute "set work_mem = '5MB'"
    end }
    assert.equal("5MB", db:query_value "show work_mem")
    db:query "select 1"
    assert.equal(1, calls)
    db:with(change)
    assert.equal("5MB", db:query_value "show work_mem")
    assert.same({ 2, 1 }, { calls, db:stats().connected })
  end)

  it("ends a session whose state no statement can undo", function()
    open {}
    local pid = db:query_value "select pg_backend_pid()"
    db:with(function(conn) assert(conn:execute "load 'plpgsql'") end)
    assert.are_not.equal(pid, db:query_value "select pg_backend_pid()")
  end)

  it("knows what verbs of the pool have left, too", function()
    open {}
    assert(db:execute "set work_mem = '3MB'")
    assert.equal("4MB", db:query_value "show work_mem")
    assert(db:script "listen a; set role pg_monitor")
    assert.same({ 0, "postgres" }, {
      db:query_value "select count(*) from pg_listening_channels()", db:query_value "select current_user::text" })
  end)
end)
