-- The edges of a worker: no connection of nginx left, numbers of descriptors that come again, what is begun before any
-- request, requests that nginx itself ends, a server that has spoken or gone while nobody was looking.
--
-- To see it fail: leave the generation away in csrc/bind/lnginx.c (deliver), have arm not try EPOLL_CTL_ADD after
-- ENOENT, or leave the look before lending away in csrc/bind/lpool.c.
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local luphant = require "luphant"
local probe = require "spec.support.probe"
local shell = require "luphant.testing.shell"
local socket = require "socket"
local web = require "spec.openresty.web"

local LONG = 30 -- seconds for what comes at once, or after ten, on a machine that has nothing else to do

local EDGE = [[
local luphant = require "luphant"
local edge = { heard = 0, url = os.getenv "LUPHANT_TEST_URL" }

function edge.open(name, more)
  local options = { application_name = name, max_connections = 3, acquire_timeout = 10 }
  for key, value in pairs(more or {}) do options[key] = value end
  return assert(luphant.open(edge.url, options))
end

-- A session that its server ends, so that libpq closes the descriptor, and another one that got the number. (Threads
-- and pools take numbers, too: not the first attempt always succeeds.)
function edge.twins()
  local held = {}
  for _ = 1, 10 do
    local x = assert(luphant.connect(edge.url))
    local fd = x.box:fd()
    x:query "select pg_terminate_backend(pg_backend_pid())"
    for _ = 1, 4 do
      local y = assert(luphant.connect(edge.url))
      if y.box:fd() == fd then
        for _, conn in ipairs(held) do conn:close() end
        return x, y
      end
      held[#held + 1] = y
    end
  end
end

return edge
]]

local HTTP = [[
  client_body_timeout 300ms;
  init_worker_by_lua_block {
    local edge = require "edge"
    edge.ready = edge.open("nginx_edge_ready", { min_connections = 2 })
    edge.db = edge.open "nginx_edge"
    ngx.timer.at(0, function()
      edge.listener = assert(edge.db:listen("nginx_edge", function(n) edge.heard = edge.heard + tonumber(n) end))
    end)
  }
]]

local SERVER = [[
  location = /heard { content_by_lua_block { ngx.say(require("edge").heard, " ", ngx.worker.pid()) } }
  location = /one { content_by_lua_block { ngx.say((assert(require("edge").db:query_value "select 1"))) } }
  location = /stats { content_by_lua_block { ngx.say(require("edge").db:stats().used) } }
  location = /body { # nginx ends it by itself: 408
    content_by_lua_block {
      require("edge").db:transaction(function(tx)
        assert(tx:execute "insert into nginx_edge values (nextval('nginx_edge_begun'))")
        ngx.req.read_body()
        return true
      end)
      ngx.say "read"
    }
  }
  location = /numbers {
    content_by_lua_block {
      local edge, luphant = require "edge", require "luphant"
      local core = require "luphant.core"
      local said = {}
      -- X breaks, Y has its number; X is closed once more, and Y goes on.
      local x, y = edge.twins()
      local fd = y.box:fd()
      x:close()
      said[#said + 1] = assert(y:query_value "select 1 from pg_sleep(0.02)")
      -- Somebody waits for Z; Z is closed under him, and the number is another's before he wakes.
      local z = assert(luphant.connect(edge.url))
      local from = core.now()
      local thread = ngx.thread.spawn(function() return select(2, z:query "select pg_sleep(10)").kind end)
      z:close()
      local w = assert(luphant.connect(edge.url))
      said[#said + 1] = assert(w:query_value "select 2 from pg_sleep(0.02)")
      said[#said + 1] = select(2, ngx.thread.wait(thread))
      -- Somebody waits for a number while the session that had it is lost, and another one gets it.
      local waiter = require("luphant.wait").choose "openresty"
      local v, u = edge.twins()
      fd = u.box:fd()
      local waiting = ngx.thread.spawn(function() return waiter.wait(fd, "r", waiter.now() + 0.2) end)
      u:query "select pg_terminate_backend(pg_backend_pid())"
      local t = assert(luphant.connect(edge.url))
      for i = 1, 3 do assert(t:query_value("select $1::int from pg_sleep(0.02)", i) == i) end
      ngx.thread.wait(waiting)
      said[#said + 1] = assert(t:query_value "select 3")
      said[#said + 1] = core.now() - from < 5 and "soon" or "late"
      for _, conn in ipairs { y, z, w, v, u, t } do conn:close() end
      ngx.say(table.concat(said, " "))
    }
  }
]]

-- A full worker polls for ten seconds before it looks again: what it does then is seen at the end.
local full

describe("a worker of nginx that has used up", function()
  if web.missing() then return pending(web.missing()) end

  local FULL = [[
    location = /until { # the test says so
      content_by_lua_block {
        local file
        repeat
          ngx.sleep(0.02)
          file = io.open("$dir/" .. ngx.var.arg_file)
        until file
        file:close()
        ngx.say "over"
      }
    }
    location = /direct { # waits in the request
      content_by_lua_block {
        local conn = assert(require("luphant").connect(os.getenv "LUPHANT_TEST_URL"))
        ngx.say("direct ", (assert(conn:query_value "select 1")))
        conn:close()
      }
    }
    location = /timer {
      content_by_lua_block {
        ngx.timer.at(0, function() ngx.sleep(1.2) end)
        ngx.sleep(0.05)
        ngx.say "runs"
      }
    }
    location = /pooled { # connects in a timer
      content_by_lua_block {
        local edge = require "edge"
        edge.db = edge.db or edge.open "nginx_edge_full"
        ngx.say("pooled ", (assert(edge.db:query_value "select 2")))
      }
    }
  ]]

  local function start(options)
    options.server, options.files = FULL, { ["edge.lua"] = EDGE }
    return web.start(options)
  end

  -- Requests that stay, one more than the worker has room for.
  local function fill(server)
    local others = {}
    repeat
      local sock = assert(socket.connect("127.0.0.1", server.port))
      sock:send "GET /until?file=leave HTTP/1.0\r\n\r\n"
      others[#others + 1] = sock
      socket.sleep(0.005) -- or nginx takes connections back that have not sent their request yet
      -- (The warning that it takes some back says more.)
    until server:log():find "worker_connections are not enough[^,]" or #others > 1000
    return others
  end

  it("its connections polls, says so, and goes on", function()
    full = start { events = "worker_connections 24;" }
    local first = assert(socket.connect("127.0.0.1", full.port)) -- is in before the others
    first:settimeout(60)
    assert(first:send("GET /until?file=go HTTP/1.1\r\nHost: x\r\n\r\n"
      .. "GET /direct HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
    socket.sleep(0.05)
    local others = fill(full)
    shell.write_file(full.dir .. "/go", "")
    local answers = assert(first:receive "*a")
    shell.write_file(full.dir .. "/leave", "")
    for _, sock in ipairs(others) do sock:close() end
    first:close()
    assert.matches("over.*direct 1", answers)
    assert.matches("(worker_connections): sockets are polled once a millisecond", full:log(), 1, true)
    assert.is_true(probe.eventually(function() return (full:get "/pooled") == "pooled 2\n" end, LONG))
  end)

  it("its timers asks for those that were dropped again", function()
    local server = start { http = "lua_max_running_timers 1;" }
    assert.equal("runs", web.fetch(server, "/timer"))
    local took = probe.timed(function() assert.equal("pooled 2", web.fetch(server, "/pooled")) end)
    assert.matches("lua_max_running_timers are not enough", server:log(), 1, true) -- or this shows nothing
    server:stop()
    assert.is_true(took < 10 * probe.slow, "it took " .. took) -- the pool's patience
  end)
end)

describe("at its edges a worker of nginx", function()
  if web.missing() then return pending(web.missing()) end

  local admin, server

  setup(function()
    admin = assert(luphant.connect(env.url()))
    assert(admin:script [[
      drop table if exists nginx_edge; create table nginx_edge (n int);
      drop sequence if exists nginx_edge_begun; create sequence nginx_edge_begun]])
    server = web.start { server = SERVER, http = HTTP, files = { ["edge.lua"] = EDGE } }
  end)
  teardown(function()
    if server then server:stop() end
    if admin then admin:close() end
  end)

  local function sessions(name, condition)
    return admin:query_value(("select count(*) from pg_stat_activity where application_name = $1 and (%s)"):format(
      condition or "true"), name)
  end

  it("connects min_connections from init_worker, before any request", function()
    assert.is_true(probe.eventually(function() return sessions "nginx_edge_ready" == 2 end, LONG))
  end)

  it("keeps apart what has had the same number of a descriptor", function()
    for _ = 1, 3 do assert.equal("1 2 closed 3 soon", web.fetch(server, "/numbers")) end
  end)

  it("rolls back what a request was at that nginx has timed out", function()
    local sock = assert(socket.connect("127.0.0.1", server.port))
    assert(sock:send "POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nonly this")
    sock:settimeout(60)
    assert.matches("408", sock:receive "*l" or "408 without a word")
    sock:close()
    assert.is_true(probe.eventually(function() return web.fetch(server, "/stats") == "0" end, LONG))
    assert.is_true(probe.eventually(function() return sessions("nginx_edge", "state like 'idle in%'") == 0 end, LONG))
    assert.is_true(admin:query_value "select is_called from nginx_edge_begun") -- the row was there
    assert.equal(0, admin:query_value "select count(*) from nginx_edge")
  end)

  it("notices before lending what has happened to idle connections", function()
    local ended = [[select count(pg_terminate_backend(pid)) from pg_stat_activity
      where application_name = 'nginx_edge' and query !~* 'listen']]
    for _ = 1, 4 do
      web.burst(server, { "/one", "/one", "/one" })
      -- More than once: further ones may be on their way.
      assert.is_true(probe.eventually(function() return admin:query_value(ended) == 0 end, LONG))
      for _ = 1, 4 do assert.equal("1", web.fetch(server, "/one")) end -- no request fails
    end
    -- What the server only says - a setting that was reloaded, here - is read, and the connection goes on.
    local pid = admin:query_value [[select pid from pg_stat_activity
      where application_name = 'nginx_edge' and query !~* 'listen' limit 1]]
    assert(admin:execute "alter system set standard_conforming_strings = off")
    assert(admin:execute "select pg_reload_conf()")
    for _ = 1, 3 do assert.equal("1", web.fetch(server, "/one")) end
    assert(admin:execute "alter system reset standard_conforming_strings")
    assert(admin:execute "select pg_reload_conf()")
    assert.equal(1, admin:query_value("select count(*) from pg_stat_activity where pid = $1", pid))
  end)

  it("goes on listening over a reload", function()
    local function heard() return web.fetch(server, "/heard"):match "^(%d+) (%d+)$" end
    local function listeners() return sessions("nginx_edge", "query ~* '^listen'") end
    assert.is_true(probe.eventually(function() return listeners() == 1 end, LONG))
    assert(admin:notify("nginx_edge", "3"))
    assert.is_true(probe.eventually(function() return heard() == "3" end, LONG))
    local _, before = heard()
    assert(server:reload())
    -- Until the old worker is gone it may be the one that answers, and the one that listens.
    assert.is_true(probe.eventually(function()
      return #server:workers() == 1 and select(2, heard()) ~= before and listeners() == 1
    end, LONG))
    assert.is_true(probe.eventually(function()
      assert(admin:notify("nginx_edge", "4"))
      return tonumber((heard())) > 0
    end, LONG))
    assert.equal(0, tonumber((heard())) % 4)
  end)

  it("has nothing to complain about", function() web.check(server) end)
end)

describe("a worker of nginx that polls", function()
  if web.missing() then return pending(web.missing()) end

  teardown(function() if full then full:stop() end end)

  it("looks again after ten seconds whether it need not", function()
    local function epolls() return shell.run(("ls -l /proc/%d/fd | grep -c eventpoll"):format(full:workers()[1])) end
    assert.is_true(probe.eventually(function()
      return web.fetch(full, "/pooled") == "pooled 2" and epolls() == "2" -- nginx's and ours
    end, LONG))
    assert.equal("direct 1", web.fetch(full, "/direct"))
    local _, told = full:log():gsub("polled once a millisecond", "")
    assert.is_true(told <= 2, full:log()) -- at most one attempt that failed because the requests had not ended yet
  end)
end)
