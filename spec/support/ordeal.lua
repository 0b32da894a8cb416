-- spec.support.ordeal: the ground on which the faults of docs/faults.md are tried. Each test runs under the plain
-- waiter and in an event loop, with connections of its own, and has to leave nothing behind: no descriptor, no session
-- on the server.
--
--   ordeal.family("a network that fails", function(test)
--     test("F7 a black hole in mid-query ...", function(world)
--       local gate = world.gate()
--       local conn = world.connect_through(gate)
--       ...
--     end)
--   end)
--
-- test.together(title, body) is for what needs other callers: it is left out where nobody else can run. test.once is
-- for what is the same everywhere.
-- A body that returns a text cannot be tried here; the text says why.
--
-- SPDX-License-Identifier: MIT

-- A module does not see what busted gives a spec.
local busted = require "busted"
local describe, it, setup, teardown = busted.describe, busted.it, busted.setup, busted.teardown
local assert = require "luassert"

local env = require "spec.support.env"
local luphant = require "luphant"
local probe = require "spec.support.probe"
local proxy = require "luphant.testing.proxy"
local shell = require "luphant.testing.shell"
local worlds = require "spec.contract.worlds"

local ordeal = {}

local NAME = "ordeal"

-- An event loop in which nobody else could run for so long has been blocked by the one who waited.
local STILL = 0.15

------------------------------------------------------------------------------------------- worlds

-- The plain waiter and one event loop: under all of them the suites of spec/contract run. LUPHANT_FAULT_WORLDS names
-- others: "all", or names with commas.
local function chosen()
  local wish = os.getenv "LUPHANT_FAULT_WORLDS" or "poll,cqueues"
  if wish == "all" then return worlds.all end
  local list = {}
  for name in wish:gmatch "[^,]+" do
    for _, setting in ipairs(worlds.all) do
      if setting.name == name then list[#list + 1] = setting end
    end
  end
  assert(#list > 0, "LUPHANT_FAULT_WORLDS names no way of waiting that there is")
  return list
end

---------------------------------------------------------------------------------------- the ground

local function check_balance(db)
  local stats = db:stats()
  assert(stats.idle + stats.used + stats.connecting == stats.total and stats.total <= stats.max,
    ("%d idle, %d used, %d connecting are not %d of %d"):format(stats.idle, stats.used, stats.connecting, stats.total,
      stats.max))
end

-- What every test finds, besides the world's own run, waiter and spawn.
local function furnish(world, ground)
  local kept = {}

  --- Closed or stopped when the test is over, the latest first.
  function world.keep(thing)
    kept[#kept + 1] = thing
    return thing
  end

  -- After a failure its own reason is the one to be told, not what else cannot be closed now.
  function world.clear(has_failed)
    for i = #kept, 1, -1 do
      local thing = kept[i]
      local ok, why = pcall(thing.stop or thing.close, thing)
      if not ok and not has_failed then error(why, 0) end
    end
  end

  world.server, world.observer = ground.server, ground.observer

  --- The options of a connection to the server, through a Unix socket unless `more` says otherwise.
  function world.options(more)
    local options = { host = ground.socket_dir, port = ground.port, dbname = "postgres", user = "postgres",
      application_name = NAME, waiter = world.waiter }
    for name, value in pairs(more or {}) do options[name] = value end
    return options
  end

  function world.connect(more)
    local conn, err = luphant.connect(world.options(more))
    assert(conn, tostring(err))
    return world.keep(conn)
  end

  --- A proxy in front of the server.
  function world.gate()
    return world.keep(assert(proxy.start { target_socket = ("%s/.s.PGSQL.%s"):format(ground.socket_dir, ground.port) }))
  end

  --- The options of a connection through a proxy.
  function world.through(gate, more)
    local options = world.options { host = gate.host, port = gate.port, sslmode = "disable", cancel_grace = 0.2 }
    for name, value in pairs(more or {}) do options[name] = value end
    return options
  end

  function world.connect_through(gate, more) return world.connect(world.through(gate, more)) end

  --- A pool on such options; where others can run its figures are looked at all the time.
  function world.pool(options)
    local db, err = luphant.open(options)
    assert(db, tostring(err))
    if world.spawn then
      world.spawn(function()
        while not db.closed do
          check_balance(db)
          world.pause(0.01)
        end
      end)
    end
    return world.keep(db)
  end

  --- The fault is over: nothing is borrowed, nobody waits, and twice as many borrowings as the pool has places work.
  function world.assert_sound(db)
    local stats = db:stats()
    local function borrow(number)
      local value, err = db:with(function(conn)
        assert(conn:transaction_status() == "idle", "lent in a transaction")
        return assert(conn:query_value("select $1::int from pg_sleep(0.002)", number))
      end)
      assert(value == number, tostring(err))
    end
    local tasks = {}
    for i = 1, 2 * stats.max do
      if world.spawn then tasks[i] = world.spawn(function() borrow(i) end) else borrow(i) end
    end
    if world.spawn then world.join(tasks) end
    assert.is_true(world.eventually(function() -- what is cleaned in the background is counted as used
      stats = db:stats()
      return stats.used == 0 and stats.waiting == 0 and stats.connecting == 0
    end))
    check_balance(db)
  end

  --- As probe.eventually, while others run.
  function world.eventually(fn, seconds)
    local limit = probe.now() + (seconds or 5) * probe.slow
    while not fn() do
      if probe.now() > limit then return false end
      world.pause(0.01)
    end
    return true
  end

  --- Runs a shell command in some seconds, beside whatever goes on then.
  function world.soon(seconds, command)
    assert(shell.run(("(sleep %g; %s) >/dev/null 2>&1 &"):format(seconds, command)))
  end

  --- Runs SQL in some seconds, in a session of its own.
  function world.sql_soon(seconds, sql)
    world.soon(seconds, shell.line { env.bin_dir() .. "/psql", "-X", "-d", ground.url, "-c", sql })
  end

  --- As probe.fails; where others can run, they must have been able to all the time.
  function world.fails(seconds, fn, ...)
    if not world.spawn then return probe.fails(seconds, fn, ...) end
    local over, longest, last = false, 0, probe.now()
    local function look()
      longest, last = math.max(longest, probe.now() - last), probe.now()
    end
    local ticker = world.spawn(function()
      while not over do
        look()
        world.pause(0.005)
      end
    end)
    world.pause(0.001) -- the ticker has begun
    local err, took = probe.fails(seconds, fn, ...)
    look()
    over = true
    world.join { ticker }
    assert(longest < STILL * probe.slow, ("the event loop stood still for %.3f s"):format(longest))
    return err, took
  end

  --- The session has ended for the client: the connection says so, and no statement will ever be sent on it.
  function world.assert_gone(conn)
    assert.is_false(conn:is_open())
    local err = world.fails(0.3, conn.query, conn, "select 1")
    assert.same({ "closed", "no" }, { err.kind, err.sent })
  end

  return world
end

local function lay_ground(options)
  local ground = {}
  if options.server then
    ground.server = options.server()
    ground.url, ground.socket_dir, ground.port = ground.server:url(), ground.server.socket_dir, ground.server.port
  else
    ground.url = env.url()
    local conn = assert(luphant.connect(ground.url))
    local target = conn:target()
    conn:close()
    ground.socket_dir, ground.port = target.host, target.port
  end

  -- Asks the server beside the test; the session is opened for each question, so that it may be restarted.
  ground.observer = {}
  setmetatable(ground.observer, { __index = function(_, verb)
    return function(_, ...)
      local conn = assert(luphant.connect(ground.url))
      local value, err = conn[verb](conn, ...)
      conn:close()
      return value, err
    end
  end })
  return ground
end

local SESSIONS = "select count(*)::int from pg_stat_activity where application_name like $1 || '%'"

local function try(setting, ground, body)
  local world = furnish(setting.start(), ground)
  local reason
  local ok, failure = pcall(world.run, function()
    probe.keeps_descriptors(function()
      reason = body(world)
      world.clear()
    end)
  end)
  if not ok then
    world.clear(true)
    error(failure, 0)
  end
  -- Also a session whose client was cut off ends: its statements sleep for seconds at most.
  assert.is_true(probe.eventually(function()
    return ground.observer:query_value(SESSIONS, NAME) == 0
  end, 10), "a session was left behind on the server")
  if reason then busted.pending(reason) end
end

--- Defines the tests of a family under each world. options.server() starts a server of the family's own;
--- options.missing says why nothing of it can be tried.
---@param name string
---@param options table
---@param define fun(test: table)
function ordeal.family(name, options, define)
  describe(name, function()
    local ground

    setup(function()
      if not options.missing then ground = lay_ground(options) end
    end)
    teardown(function()
      if ground and ground.server then ground.server:stop() end
    end)

    for index, setting in ipairs(chosen()) do
      describe("under " .. setting.name .. ":", function()
        local function add(title, body)
          it(title, function()
            local reason = options.missing or setting.missing
            if reason then return busted.pending(reason) end
            try(setting, ground, body)
          end)
        end
        local test = setmetatable({}, { __call = function(_, title, body) add(title, body) end })
        function test.together(title, body)
          if setting.has_others then add(title, body) end
        end
        function test.once(title, body)
          if index == 1 then add(title, body) end
        end
        define(test)
      end)
    end
  end)
end

return ordeal
