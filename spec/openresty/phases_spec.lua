-- Where luphant works inside of nginx, and what it says where it cannot: every phase, timers, light threads; the same
-- pool for all requests of a worker; values; requests beside each other.
--
-- To see it fail: leave lrun_gate away from "run" in csrc/bind/lconn.c (statements are sent where nobody can wait for
-- them), or let wait/openresty.lua wait with core.poll.
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local luphant = require "luphant"
local probe = require "spec.support.probe"
local shell = require "luphant.testing.shell"
local web = require "spec.openresty.web"

local NOTES = [[
local luphant = require "luphant"
local notes = { errors = {} }

notes.db = assert(luphant.open(os.getenv "LUPHANT_TEST_URL", {
  application_name = "nginx_phases", max_connections = 6, acquire_timeout = 10,
}))
notes.idle = assert(luphant.open(os.getenv "LUPHANT_TEST_URL", {
  application_name = "nginx_idle", min_connections = 2, max_connections = 2,
}))

-- Runs in any phase: what it got, or why not.
function notes.try(phase, fn)
  local ok, value, err = pcall(fn)
  notes.errors[phase] = not ok and tostring(value) or value == nil and tostring(err) or "fine: " .. tostring(value)
end

function notes.insert() return notes.db:execute "insert into nginx_phases values (1)" end

-- One of everything; answers a sum that tells whether all of it was right.
function notes.everything()
  local db = notes.db
  local one = assert(db:query_value("select $1::int", 1))
  local two = assert(db:transaction(function(tx) return tx:query_value "select 2" end))
  local three = assert(db:with(function(conn) return conn:query_value "select 3" end))
  local conn = assert(db:acquire())
  local four = assert(conn:query_one "select 4 as n").n
  conn:release()
  local _, err = db:query "select 1 / 0"
  local five = err.kind == "division_by_zero" and 5 or 0
  local _, late = db:query { "select pg_sleep(5)", timeout = 0.05 }
  local six = late.kind == "query_timeout" and 6 or 0
  local own = assert(luphant.connect(os.getenv "LUPHANT_TEST_URL"))
  local seven = assert(own:query_value "select 7")
  own:close()
  return one + two + three + four + five + six + seven
end

function notes.blocking()
  local conn = assert(luphant.connect(os.getenv "LUPHANT_TEST_URL", { waiter = "poll" }))
  local value = conn:query_value "select 42"
  conn:close()
  return value
end

return notes
]]

local HTTP = [[
  init_by_lua_block {
    local notes = require "notes"
    notes.try("init", notes.insert)
    notes.try("init, blocking", notes.blocking)
  }
  init_worker_by_lua_block {
    local notes = require "notes"
    notes.try("init_worker", notes.insert)
    notes.try("init_worker, blocking", notes.blocking)
  }
]]

local SERVER = [[
  location = /phases {
    rewrite_by_lua_block { ngx.ctx.sums = { require("notes").everything() } }
    access_by_lua_block { table.insert(ngx.ctx.sums, require("notes").everything()) }
    content_by_lua_block {
      local notes = require "notes"
      table.insert(ngx.ctx.sums, notes.everything())
      local threads = {}
      for i = 1, 3 do threads[i] = ngx.thread.spawn(notes.everything) end
      for i = 1, 3 do
        local ok, sum = ngx.thread.wait(threads[i])
        table.insert(ngx.ctx.sums, ok and sum or tostring(sum))
      end
      local wrapped = coroutine.wrap(function() return notes.everything() end)
      table.insert(ngx.ctx.sums, wrapped())
      local done = require("ngx.semaphore").new(0)
      ngx.timer.at(0, function()
        local ok, sum = pcall(notes.everything)
        table.insert(notes, ok and sum or tostring(sum))
        done:post(1)
      end)
      done:wait(20)
      table.insert(ngx.ctx.sums, table.remove(notes))
      ngx.say(table.concat(ngx.ctx.sums, " "))
    }
  }
  location = /unable {
    set_by_lua_block $unused { local notes = require "notes" notes.try("set", notes.insert) return "" }
    content_by_lua_block { ngx.say "hello" }
    header_filter_by_lua_block { local notes = require "notes" notes.try("header_filter", notes.insert) }
    body_filter_by_lua_block { local notes = require "notes" notes.try("body_filter", notes.insert) }
    log_by_lua_block {
      local notes = require "notes"
      notes.try("log", notes.insert)
      notes.try("log, a transaction", function() return notes.db:transaction(notes.insert) end)
      notes.try("log, a batch", function() return notes.db:batch { "insert into nginx_phases values (1)" } end)
      notes.try("log, a script", function() return notes.db:script "insert into nginx_phases values (1)" end)
      notes.try("log, a connection of its own", function()
        return require("luphant").connect(os.getenv "LUPHANT_TEST_URL")
      end)
      notes.try("log, blocking", notes.blocking)
      ngx.timer.at(0, function() notes.try("log, in a timer", notes.everything) end)
    }
  }
  location = /inside_c {
    content_by_lua_block {
      local notes = require "notes"
      notes.try("sort", function() table.sort({ 2, 1 }, function(a, b) notes.insert() return a < b end) end)
      notes.try("gsub", function() ("x"):gsub("x", notes.insert) end)
      notes.try("require", function() package.preload.inner = notes.insert require "inner" end)
      ngx.say(notes.everything())
    }
  }
  location = /errors {
    content_by_lua_block { ngx.say(require("notes").errors[ngx.unescape_uri(ngx.var.arg_phase)]) }
  }
  location = /value {
    content_by_lua_block {
      ngx.say((assert(require("notes").db:query_value(ngx.unescape_uri(ngx.var.arg_sql)))))
    }
  }
  location = /number { # by way of slow and fast statements
    content_by_lua_block {
      local db, n = require("notes").db, tonumber(ngx.var.arg_n)
      ngx.say((assert(db:query_value("select $1::int from pg_sleep($2)", n, n % 3 * 0.002))))
    }
  }
  location = /stats { content_by_lua_block { ngx.say(require("notes").db:stats()[ngx.var.arg_of]) } }
  location = /json {
    content_by_lua_block {
      local cjson = require "cjson"
      local row = assert(require("notes").db:query_one "select 42::int8 as small, 9007199254740993::int8 as large")
      ngx.say(cjson.encode(row.small), " ", cjson.encode(row.large))
    }
  }
  location = /slow {
    content_by_lua_block {
      local notes = require "notes"
      assert(notes.db:query "select pg_advisory_xact_lock_shared(77001)") -- the test has it
      notes.slow = (notes.slow or 0) + 1
      ngx.say "slow"
    }
  }
  location = /one {
    content_by_lua_block {
      local notes = require "notes"
      ngx.say(assert(notes.db:query_value "select 1"), " ", notes.slow or 0)
    }
  }
  location = /beside { # a cosocket, a subrequest and luphant at the same time
    content_by_lua_block {
      local notes, seen = require "notes", {}
      local function by_socket()
        local sock = ngx.socket.tcp()
        assert(sock:connect("127.0.0.1", tonumber(ngx.var.server_port)))
        assert(sock:send "GET /one HTTP/1.0\r\n\r\n")
        seen.socket = assert(sock:receive "*a"):match "\r\n\r\n(%d)"
        sock:close()
      end
      local function by_luphant() seen.luphant = assert(notes.db:query_value "select 'l' from pg_sleep(0.02)") end
      local threads = { ngx.thread.spawn(by_socket), ngx.thread.spawn(by_luphant) }
      for _, each in ipairs(threads) do assert(ngx.thread.wait(each)) end
      ngx.say(seen.socket, seen.luphant, ngx.location.capture("/one").body:match "%d")
    }
  }
  location = /ahead { # the server is ahead of a worker that was busy
    content_by_lua_block {
      local notes, core = require "notes", require "luphant.core"
      local thread = ngx.thread.spawn(function()
        return #assert(notes.db:query "select n, repeat('x', 500) from generate_series(1, 2500) n")
      end)
      local busy = core.now() + 0.25
      while core.now() < busy do end
      local _, count = ngx.thread.wait(thread)
      ngx.say(count, " ", core.now() - busy < 3 and "soon" or "late")
    }
  }
  location = /large {
    content_by_lua_block {
      local db = require("notes").db
      local large = ("0123456789abcdef"):rep(5 * 65536)
      local same = db:query_value("select $1::text", large) == large
      ngx.say(tostring(same), " ", #db:query_value("select repeat('x', 60000000)"))
    }
  }
]]

describe("inside of nginx", function()
  if web.missing(false, true) then return pending(web.missing(false, true)) end

  local server

  setup(function()
    server = web.start { http = HTTP, server = SERVER, files = { ["notes.lua"] = NOTES } }
    local conn = assert(luphant.connect(env.url()))
    assert(conn:script "drop table if exists nginx_phases; create table nginx_phases (n int)")
    conn:close()
  end)
  teardown(function() if server then server:stop() end end)

  local function value(sql) return web.fetch(server, "/value?sql=" .. sql:gsub("[^%w]", function(c)
    return ("%%%02x"):format(c:byte())
  end)) end

  it("nothing is opened before a worker has something to do", function()
    assert.equal("0", value "select count(*) from pg_stat_activity where application_name = 'nginx_idle'")
  end)

  it("rewrite, access, content, light threads, coroutines and timers have the same API", function()
    for _ = 1, 3 do
      assert.equal("28 28 28 28 28 28 28 28", web.fetch(server, "/phases"))
    end
    -- Cancelled statements leave connections in order: no more than ever were needed at the same time.
    assert.is_true(tonumber(web.fetch(server, "/stats?of=connected")) <= 6)
  end)

  it("requests of a worker share its pool", function()
    local before = web.fetch(server, "/stats?of=connected")
    local pids = {}
    for _ = 1, 30 do pids[value "select pg_backend_pid()"] = true end
    local count = 0
    for _ in pairs(pids) do count = count + 1 end
    assert.is_true(count <= 6)
    assert.equal(before, web.fetch(server, "/stats?of=connected"))
    assert.equal("0", web.fetch(server, "/stats?of=used"))
  end)

  it("where nothing can be suspended an error says so, and nothing is sent", function()
    assert.equal("hello", web.fetch(server, "/unable"))
    web.fetch(server, "/inside_c")
    for phase, expected in pairs {
      init = "in init_by_lua", init_worker = "in init_worker_by_lua", set = "in set_by_lua",
      header_filter = "in header_filter_by_lua", body_filter = "in body_filter_by_lua", log = "in log_by_lua",
      ["log, a transaction"] = "in log_by_lua", ["log, a batch"] = "in log_by_lua",
      ["log, a script"] = "in log_by_lua", ["log, a connection of its own"] = "in log_by_lua",
      sort = "table.sort", gsub = "table.sort", require = "table.sort",
    } do
      local said = web.fetch(server, "/errors?phase=" .. phase:gsub("[ ,]", { [" "] = "%20", [","] = "%2c" }))
      assert.matches(expected, said, 1, true)
      assert.matches('choose waiter = "poll"', said, 1, true)
    end
    assert.equal("0", value "select count(*) from nginx_phases")
    assert.equal("28 28 28 28 28 28 28 28", web.fetch(server, "/phases"))
  end)

  it("who asks for blocking gets it in every phase", function()
    for _, phase in ipairs { "init", "init_worker", "log" } do
      assert.equal("fine: 42", web.fetch(server, ("/errors?phase=%s%%2c%%20blocking"):format(phase)))
    end
  end)

  it("a timer started where nothing can wait may wait", function()
    web.fetch(server, "/unable")
    assert.is_true(probe.eventually(function()
      return web.fetch(server, "/errors?phase=log%2c%20in%20a%20timer") == "fine: 28"
    end))
  end)

  it("64-bit integers keep every digit, also through cjson", function()
    assert.equal('42 "9007199254740993"', web.fetch(server, "/json"))
  end)

  it("a slow request does not keep the others", function()
    local conn = assert(luphant.connect(env.url()))
    assert(conn:query "select pg_advisory_lock(77001)")
    local urls = (" " .. shell.quote(server:url "/slow")):rep(3)
    local slow = io.popen("curl -sS --parallel --parallel-immediate" .. urls .. " 2>/dev/null") -- its progress
    assert.is_true(probe.eventually(function()
      return conn:query_value [[select count(*) from pg_stat_activity
        where application_name = 'nginx_phases' and wait_event = 'advisory']] == 3
    end, 30))
    local paths = {}
    for i = 1, 60 do paths[i] = "/one?" .. i end
    local bodies = web.burst(server, paths)
    conn:close()
    for i = 1, 60 do assert.equal("1 0", bodies[i]) end -- no slow one had ended
    assert.equal("slow\nslow\nslow\n", slow:read "*a")
    slow:close()
  end)

  it("each body belongs to its request", function()
    for round = 1, 4 do
      local paths = {}
      for i = 1, 64 do paths[i] = "/number?n=" .. round * 1000 + i * 7 end
      for i, body in ipairs(web.burst(server, paths)) do assert.equal(tostring(round * 1000 + i * 7), body) end
    end
  end)

  it("cosockets and subrequests beside it are undisturbed", function()
    for _ = 1, 5 do assert.equal("1l1", web.fetch(server, "/beside")) end
  end)

  it("an answer that came while the worker was busy is read at once", function()
    for _ = 1, 3 do assert.equal("2500 soon", web.fetch(server, "/ahead")) end
  end)

  it("large parameters and results pass", function()
    assert.equal("true 60000000", web.fetch(server, "/large"))
  end)

  it("and the worker has nothing to complain about", function() web.check(server) end)
end)
