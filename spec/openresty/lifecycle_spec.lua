-- What happens to requests, workers and servers in the middle of things: clients that go away, errors, kills,
-- reloads, restarts. Afterwards the pool is whole, the server has no session nobody owns, and nginx has nothing to
-- complain about.
--
-- To see it fail: leave `watch(guard)` away in lua/luphant/pool/care.lua (abandoned connections stay lent), or at_end
-- in wait/nginxtasks.lua (old workers stay for up to a minute).
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local luphant = require "luphant"
local probe = require "spec.support.probe"
local shell = require "luphant.testing.shell"
local web = require "spec.openresty.web"

local MOST = 6 -- connections of a pool

local SHOP = [[
local luphant = require "luphant"
local shop = { ended = {} }
shop.db = assert(luphant.open(os.getenv "LUPHANT_TEST_URL", {
  application_name = os.getenv "SHOP_NAME", max_connections = ]] .. MOST .. [[, acquire_timeout = 10,
  share = os.getenv "SHOP_SHARE" == "yes" or nil,
}))
return shop
]]

local SERVER = [[
  lua_check_client_abort on;
  location = /one { content_by_lua_block { ngx.say((assert(require("shop").db:query_value "select 1"))) } }
  location = /stats {
    content_by_lua_block {
      local stats = require("shop").db:stats()
      ngx.say(stats.used, " ", stats.waiting, " ",
        stats.total <= ]] .. MOST .. [[ and "few" or "many")
    }
  }
  location = /slow { content_by_lua_block { ngx.say((assert(require("shop").db:query_value(
    "select 's' from pg_sleep($1)", tonumber(ngx.var.arg_s)))))
  } }
  location = /locked { content_by_lua_block { ngx.say((assert(require("shop").db:query_value
    "select 's' from pg_advisory_xact_lock_shared(77002)")))
  } }
  location = /transaction {
    content_by_lua_block {
      assert(require("shop").db:transaction(function(tx)
        assert(tx:execute "insert into nginx_life values (1)")
        return tx:query_value "select 1 from pg_sleep(0.3)"
      end))
    }
  }
  location = /held { # released by nobody
    content_by_lua_block {
      local conn = assert(require("shop").db:acquire())
      assert(conn:query "begin")
      assert(conn:query "set search_path to nowhere")
      package.loaded.held = conn -- not collected either
      ngx.say "held"
    }
  }
  location = /error {
    content_by_lua_block {
      local shop = require "shop"
      ngx.thread.spawn(function() shop.db:query "select pg_sleep(1)" end)
      shop.db:with(function(conn) conn:query "select 1" error "oops" end)
    }
  }
  location = /exit {
    content_by_lua_block {
      local shop = require "shop"
      ngx.thread.spawn(function() shop.db:query "select pg_sleep(1)" end)
      ngx.thread.spawn(function() shop.db:transaction(function(tx) tx:query "select 1" ngx.sleep(5) end) end)
      ngx.sleep(0.02)
      ngx.exit(204)
    }
  }
  location = /kill {
    content_by_lua_block {
      local shop = require "shop"
      for _ = 1, 3 do
        local thread = ngx.thread.spawn(function() shop.db:query "select pg_sleep(1)" end)
        ngx.sleep(0.01)
        ngx.thread.kill(thread)
      end
      ngx.say(assert(shop.db:query_value "select 'alive'"))
    }
  }
  location = /timer {
    content_by_lua_block {
      ngx.timer.at(0, function()
        local conn = assert(require("shop").db:acquire())
        conn:query "begin"
        error "a timer that fails"
      end)
      ngx.say "started"
    }
  }
  location = /listen { # in each worker one listener for all requests, and one who waits by himself
    content_by_lua_block {
      local shop = require "shop"
      shop.heard, shop.waited, shop.listens = 0, 0, false
      assert(shop.db:listen("nginx_life", function(payload) shop.heard = shop.heard + tonumber(payload) end))
      ngx.timer.at(0, function()
        local listener = assert(shop.db:listen "nginx_life")
        shop.listens = true
        while true do
          local payload = listener:wait()
          if not payload then break end
          shop.waited = shop.waited + tonumber(payload)
        end
      end)
      while not shop.listens do ngx.sleep(0.01) end
      ngx.say "listens"
    }
  }
  location = /heard { content_by_lua_block { ngx.say(require("shop").heard, " ", require("shop").waited) } }
  location = /at_exit { # a timer with work under way when its worker is told to go
    content_by_lua_block {
      ngx.timer.at(0, function()
        require("shop").db:transaction(function(tx)
          assert(tx:query "select pg_sleep(0.7)")
          return assert(tx:execute "insert into nginx_life values (7)")
        end)
      end)
      ngx.say "started"
    }
  }
]]

local WHOLE = "0 0 few" -- used, waiting, total
local LONG = 30 -- seconds for what comes at once on a machine that has nothing else to do

describe("inside of nginx", function()
  if web.missing(false, true) then return pending(web.missing(false, true)) end

  local admin, runs = nil, 0

  setup(function()
    admin = assert(luphant.connect(env.url()))
    assert(admin:script "drop table if exists nginx_life; create table nginx_life (n int)")
  end)
  teardown(function() if admin then admin:close() end end)

  -- An nginx whose sessions have a name of their own.
  local function with(options, fn)
    runs = runs + 1
    local name = "nginx_life_" .. runs
    local given = { files = { ["shop.lua"] = SHOP }, server = SERVER, environment = { SHOP_NAME = name } }
    for key, value in pairs(options) do given[key] = value end
    if options.variables then
      for key, value in pairs(options.variables) do given.environment[key] = value end
      given.variables = nil
    end
    local check = not options.crashes
    given.crashes = nil
    web.with(given, function(server) fn(server, name) end, check)
  end

  local function sessions(name, condition)
    return admin:query_value(("select count(*) from pg_stat_activity where application_name = $1 and (%s)"):format(
      condition or "true"), name)
  end

  local function is_whole(server)
    return probe.eventually(function() return web.fetch(server, "/stats") == WHOLE end, LONG)
  end

  local function looks_whole(server, name)
    assert.is_true(is_whole(server), "the pool has lost connections: " .. web.fetch(server, "/stats"))
    local left = "state like 'idle in%' or (state = 'active' and query like '%pg_sleep%')"
    assert.is_true(probe.eventually(function() return sessions(name, left) == 0 end, LONG), "something goes on")
    local paths = {}
    for i = 1, 3 * MOST do paths[i] = "/one" end
    for _, body in ipairs(web.burst(server, paths)) do assert.equal("1", body) end
    assert.is_true(is_whole(server))
  end

  local function storm(server, path, count)
    local paths = {}
    for i = 1, count do paths[i] = path end
    web.burst(server, paths, 0.03)
  end

  describe("a pool stays whole when", function()
    for title, variables in pairs { ["clients go away"] = {}, ["riders of shared pipelines go away"] = {
      SHOP_SHARE = "yes",
    } } do
      it(title .. " in the middle of a query, while they wait for a connection, and in a transaction", function()
        with({ variables = variables }, function(server, name)
          assert.equal("1", web.fetch(server, "/one"))
          for _ = 1, 2 do
            storm(server, "/slow?s=0.4", 50)
            storm(server, "/transaction", 30)
          end
          looks_whole(server, name)
          assert.equal(0, admin:query_value "select count(*) from nginx_life")
        end)
      end)
    end

    it("a handler fails, exits, kills its threads or forgets to give back", function()
      with({}, function(server, name)
        for _ = 1, 2 * MOST do
          web.fetch(server, "/error", 500)
          web.fetch(server, "/exit", 204)
          assert.equal("alive", web.fetch(server, "/kill"))
          assert.equal("held", web.fetch(server, "/held"))
          assert.equal("started", web.fetch(server, "/timer"))
        end
        looks_whole(server, name)
        -- Who forgot it is told; who was ended is no news.
        local _, told = server:log():gsub("luphant: reclaimed", "")
        assert.is_true(told >= 2 * MOST, server:log():sub(-2000))
        assert.matches("whose request ended without giving it back", server:log(), 1, true)
      end)
    end)

    it("the server ends its sessions, idle or busy", function()
      with({}, function(server, name)
        for _ = 1, 3 do
          web.burst(server, { "/slow?s=0.05", "/slow?s=0.05", "/slow?s=0.05", "/slow?s=0.05" })
          assert(admin:query("select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1",
            name))
          assert.is_true(probe.eventually(function() return sessions(name) == 0 end, LONG))
          for _ = 1, 8 do assert.equal("1", web.fetch(server, "/one")) end -- nobody notices
        end
        local bodies = web.burst(server, { "/slow?s=5", "/slow?s=5" }, 0.2)
        assert.same({}, bodies)
        looks_whole(server, name)
      end)
    end)
  end)

  it("a reload under load fails no request, and leaves no session behind", function()
    with({ workers = 2 }, function(server, name)
      local before = server:workers()
      local load = io.popen(("wrk -t1 -c16 -d3 %s 2>&1"):format(shell.quote(server:url "/one")))
      for _ = 1, 2 do
        shell.run "sleep 0.8"
        assert(server:reload())
      end
      local report = load:read "*a"
      load:close()
      assert.not_matches("Non%-2xx", report)
      assert.matches("requests in", report)
      assert.is_true(probe.eventually(function()
        local now, left = server:workers(), 0
        for _, pid in ipairs(before) do
          for _, other in ipairs(now) do left = left + (pid == other and 1 or 0) end
        end
        return left == 0 and #now == 2
      end, LONG), "old workers stay")
      assert.is_true(probe.eventually(function() return sessions(name) <= 2 * MOST end, LONG))
    end)
  end)

  it("an idle worker leaves at once, its sessions with it", function()
    with({}, function(server, name)
      web.fetch(server, "/one")
      assert.equal(1, sessions(name))
      local old = server:workers()[1]
      assert(server:reload())
      -- Who is not told waits for the keeper's or the janitor's next look, which may be a minute away.
      local took = probe.timed(function()
        assert.is_true(probe.eventually(function() return not (shell.run("kill -s 0 " .. old)) end, LONG))
      end)
      assert.is_true(took < 10 * probe.slow, "it took " .. took)
      assert.is_true(probe.eventually(function() return sessions(name) == 0 end, LONG))
    end)
  end)

  it("a worker that is told to quit finishes its requests first", function()
    with({}, function(server, name)
      assert(admin:query "select pg_advisory_lock(77002)")
      local urls = (" " .. shell.quote(server:url "/locked")):rep(MOST)
      local clients = io.popen("curl -sS --parallel --parallel-immediate" .. urls .. " 2>/dev/null") -- its progress
      assert.is_true(probe.eventually(function()
        return sessions(name, "wait_event_type = 'Lock' and wait_event = 'advisory'") == MOST
      end, LONG))
      assert(server:quit())
      assert.is_true(probe.eventually(function() return server:get "/one" == nil end, LONG)) -- nobody listens any more
      assert(admin:query "select pg_advisory_unlock(77002)")
      assert.equal(("s\n"):rep(MOST), clients:read "*a")
      clients:close()
      assert.is_true(probe.eventually(function() return not (shell.run("kill -s 0 " .. server.pid)) end, LONG))
      assert.is_true(probe.eventually(function() return sessions(name) == 0 end, LONG))
    end)
  end)

  it("a timer at work when its worker is told to go finishes", function()
    with({}, function(server, name)
      assert(admin:execute "delete from nginx_life")
      web.fetch(server, "/at_exit")
      probe.eventually(function() return sessions(name, "query like '%pg_sleep%'") == 1 end)
      assert(server:reload())
      assert.is_true(probe.eventually(function()
        return admin:query_value "select sum(n) from nginx_life" == 7
      end, LONG))
      assert(admin:execute "delete from nginx_life")
    end)
  end)

  it("listeners hear in the background, from request to request, and do not keep a worker", function()
    with({}, function(server, name)
      assert.equal("listens", web.fetch(server, "/listen"))
      for _ = 1, 3 do assert(admin:query "select pg_notify('nginx_life', '7')") end
      assert.is_true(probe.eventually(function() return web.fetch(server, "/heard") == "21 21" end, LONG),
        web.fetch(server, "/heard"))
      local old = server:workers()[1]
      assert(server:reload())
      assert.is_true(probe.eventually(function() return not (shell.run("kill -s 0 " .. old)) end, LONG))
      assert.is_true(probe.eventually(function() return sessions(name) == 0 end, LONG))
    end)
  end)

  it("a worker that is killed is replaced, and leaves no session behind", function()
    with({ crashes = true }, function(server, name)
      web.burst(server, { "/slow?s=0.05", "/slow?s=0.05", "/slow?s=0.05" })
      local before = sessions(name)
      assert.is_true(before >= 1 and before <= 3)
      shell.run("kill -s KILL " .. server:workers()[1])
      assert.is_true(probe.eventually(function() return server:get "/one" ~= nil end, LONG))
      assert.is_true(probe.eventually(function() return sessions(name) <= 1 end, LONG))
      looks_whole(server, name)
    end)
  end)

  it("a server that restarts is found again", function()
    local pg = assert(require("luphant.testing.server").start())
    local ok, err = pcall(with, { variables = { LUPHANT_TEST_URL = pg:url() } }, function(server)
      for _, mode in ipairs { "fast", "immediate" } do
        assert.equal("1", web.fetch(server, "/one"))
        assert(pg:restart(mode))
        assert.is_true(probe.eventually(function() return (server:get "/one") == "1\n" end, LONG))
        for _ = 1, 5 do assert.equal("1", web.fetch(server, "/one")) end
      end
      assert.is_true(is_whole(server))
    end)
    pg:stop()
    if not ok then error(err, 0) end
  end)

  it("with lua_code_cache off nothing piles up, and it is told once", function()
    with({ http = "lua_code_cache off;" }, function(server, name)
      for _ = 1, 3 do assert.equal("1", web.fetch(server, "/one")) end
      local worker = server:workers()[1] -- who answers has been forked
      local function epolls() return (shell.run(("ls -l /proc/%d/fd | grep -c eventpoll"):format(worker))) end
      local before = epolls()
      for _ = 1, 40 do assert.equal("1", web.fetch(server, "/one")) end
      assert.equal("2", before)
      assert.equal(before, epolls())
      assert.matches("luphant/core.so", shell.read_file(("/proc/%d/maps"):format(worker)), 1, true)
      local _, told = server:log():gsub("lua_code_cache is off: each request", "")
      assert.equal(1, told)
      assert.is_true(probe.eventually(function() return sessions(name) <= 2 end, LONG), "sessions: " .. sessions(name))
    end)
  end)

  it("where its events cannot be had it polls, says so, and loses nothing", function()
    with({ variables = { LUPHANT_OPENRESTY = "polling" } }, function(server, name)
      assert.equal("1", web.fetch(server, "/one"))
      storm(server, "/slow?s=0.4", 30)
      looks_whole(server, name)
      local _, told = server:log():gsub("polled once a millisecond", "")
      assert.equal(1, told)
    end)
  end)
end)
