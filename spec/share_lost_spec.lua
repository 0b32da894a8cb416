-- luphant.share when connections break: cut at random places, servers that end sessions, servers that go silent. Every
-- task hears what became of its own statement, and what was reported as done is there.
--
-- SPDX-License-Identifier: MIT

local connection = require "luphant.connection"
local core = require "luphant.core"
local luphant = require "luphant"
local probe = require "spec.support.probe"
local proxy = require "luphant.testing.proxy"
local servers = require "luphant.testing.server"
local sharing = require "spec.support.sharing"

local all = sharing.all
local VALUE = connection.verbs.query_value
local INSERT = "insert into share_lost (id) values ($1) returning id"

local function sequence(seed)
  return function(n)
    seed = (seed * 1103515245 + 12345) % 2147483648
    return math.floor(seed / 65536) % n + 1
  end
end

describe("shared connections that break", function()
  local server, gate, db, url

  setup(function()
    server = assert(servers.start())
    db = assert(luphant.connect(server:url()))
    assert(db:script "create table share_lost (id int primary key)")
    gate = assert(proxy.start { target_socket = server.socket_dir .. "/.s.PGSQL." .. server.port })
    url = { host = gate.host, port = gate.port, user = server.user, dbname = "postgres", sslmode = "disable" }
  end)
  teardown(function()
    db:close()
    gate:stop()
    server:stop()
  end)
  -- A session that was cut off still does what it had received. It must be over before the table is judged or emptied.
  local function settle()
    local others = [[select count(*)::int from pg_stat_activity
      where backend_type = 'client backend' and pid <> pg_backend_pid()]]
    assert.is_true(probe.eventually(function() return db:query_value(others) == 0 end, 10))
  end

  before_each(function()
    gate:pass()
    settle()
    assert(db:script "truncate share_lost")
  end)

  local function close(shared) shared:close() end
  local function with(options, fn)
    options.url = options.url or url
    sharing.with(options, fn, close)
  end

  -- Each statement is told as done, as not done, or as unknown; the table shows whether that is true.
  local function insert_all(shared, loop, outcome)
    all(loop, 12, function(task)
      for k = 1, 15 do
        local id = task * 100 + k
        local done, err = shared:run(VALUE, INSERT, id)
        if done then
          assert.equal(id, done)
          outcome[id] = "yes"
        else
          assert.equal("connection", err.class, tostring(err))
          outcome[id] = err.sent
        end
      end
    end)
  end

  local function check(outcome)
    settle()
    local there, unknown, seen = {}, 0, 0
    for _, id in ipairs(db:query_column "select id from share_lost") do there[id] = true end
    for id, how in pairs(outcome) do
      seen = seen + 1
      if how == "yes" then assert.is_true(there[id], "reported, and not there: " .. id) end
      if how == "no" then assert.is_nil(there[id], "not sent, and there: " .. id) end
      if how == "maybe" then unknown = unknown + 1 end
    end
    assert.equal(12 * 15, seen)
    return unknown
  end

  for _, from in ipairs { "client", "server" } do
    it("cut after any number of bytes from the " .. from .. ": each hears what became of its own", function()
      local pick, unknown = sequence(from == "client" and 122 or 96), 0
      for _ = 1, 12 do
        assert(db:script "truncate share_lost")
        gate:pass()
        local outcome = {}
        with({ connections = 2 }, function(shared, _, loop)
          assert(shared:run(VALUE, "select 1"))
          gate:cut_after { from = from, bytes = pick(4000), reset = pick(2) == 1, once = true }
          insert_all(shared, loop, outcome)
        end)
        unknown = unknown + check(outcome)
      end
      assert.is_true(unknown > 0)
    end)
  end

  it("ended by an administrator in the middle: the reason is told, others go on elsewhere", function()
    with({ connections = 1 }, function(shared, lender, loop)
      local pid = shared:run(VALUE, "select pg_backend_pid()")
      local errors = {}
      for i = 1, 5 do
        loop:spawn(function()
          local _, err = shared:run(VALUE, "select pg_sleep(3), $1::int", i)
          errors[#errors + 1] = err
        end)
      end
      loop.waiter.sleep(core.now() + 0.1)
      assert(db:query_value("select pg_terminate_backend($1)", pid))
      while #errors < 5 do loop.waiter.sleep(core.now() + 0.01) end
      for _, err in ipairs(errors) do
        assert.equal("57P01", err.sqlstate, tostring(err))
        assert.equal("maybe", err.sent)
      end
      assert.equal(7, shared:run(VALUE, "select 7"))
      assert.equal(2, lender.made)
    end)
  end)

  it("ended while they were idle: nobody hears of it", function()
    with({ connections = 2 }, function(shared, lender, loop)
      all(loop, 8, function(i) assert.equal(i, shared:run(VALUE, "select $1::int", i)) end)
      local before = lender.made
      assert(db:execute [[select pg_terminate_backend(pid) from pg_stat_activity
        where pid <> pg_backend_pid() and backend_type = 'client backend']])
      loop.waiter.sleep(core.now() + 0.1)
      all(loop, 8, function(i) assert.equal(i, shared:run(VALUE, "select $1::int", i)) end)
      assert.is_true(lender.made > before)
    end)
  end)

  it("whose server is silent: time limits hold, and the others' too", function()
    with({ connections = 1, cancel_grace = 0.2, limit = 1 }, function(shared, lender, loop)
      assert.equal(1, shared:run(VALUE, "select $1::int", 1))
      gate:stall()
      local from = core.now()
      all(loop, 6, function(i)
        local _, err = shared:run(VALUE, { "select $1::int", timeout = 0.1 + i * 0.02 }, i)
        assert.equal("query_timeout", err.kind)
        assert.equal("maybe", err.sent)
      end)
      assert.is_true(core.now() - from < 2 * probe.slow)
      gate:resume()
      loop.waiter.sleep(core.now() + 0.3)
      assert.equal(9, shared:run(VALUE, "select $1::int", 9))
      assert.is_true(lender.most == 1)
    end)
  end)

  it("byte by byte: nothing is mixed up", function()
    gate:split()
    with({ connections = 2 }, function(shared, _, loop)
      all(loop, 16, function(i)
        for k = 1, 3 do assert.equal(i * k, shared:run(VALUE, ("select $1::int * %d"):format(k), i)) end
      end)
    end)
  end)

  it("that cannot be had: everybody hears why, at once", function()
    gate:refuse()
    with({ connections = 2 }, function(shared, lender, loop)
      local from = core.now()
      all(loop, 10, function()
        local _, err = shared:run(VALUE, "select 1")
        assert.equal("refused", err.kind)
        assert.equal("no", err.sent)
      end)
      assert.is_true(core.now() - from < 3 * probe.slow)
      assert.equal(0, lender.open)
    end)
    gate:accept()
  end)
end)
