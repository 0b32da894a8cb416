-- luphant.compat.pgmoon in an nginx: requests share the worker's pool by keepalive, and wait beside each other.
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local luphant = require "luphant"
local web = require "spec.openresty.web"

local missing = web.missing()

local SERVER = [[
location = /one {
  content_by_lua_block {
    local pg = require("app").connect()
    local rows = assert(pg:query("select pg_backend_pid() as pid, $1::int as n", ngx.var.arg_n))
    ngx.print(rows[1].pid, " ", rows[1].n)
    assert(pg:keepalive(10000, 10))
  }
}
location = /slow {
  content_by_lua_block {
    local pg = require("app").connect()
    assert(pg:query "begin; select pg_sleep(0.3)")
    ngx.print(pg:query("select 1 as n")[1].n)
    pg:keepalive()
  }
}
location = /crowd { # eight at once, two connections, three may wait
  content_by_lua_block {
    local app = require "app"
    local served, refused, messages = 0, 0, {}
    local function ask()
      local pg, why = app.try { pool_size = 2, backlog = 3, pool_name = "crowd" }
      if not pg then
        refused, messages[why] = refused + 1, true
        return
      end
      assert(pg:query "select pg_sleep(0.3)")
      served = served + 1
      pg:keepalive()
    end
    local threads = {}
    for i = 1, 8 do threads[i] = ngx.thread.spawn(ask) end
    for _, thread in ipairs(threads) do assert(ngx.thread.wait(thread)) end
    ngx.print(served, " ", refused, " ", (next(messages)))
  }
}
location = /beside {
  content_by_lua_block {
    local app = require "app"
    local function sleep()
      local pg = app.connect()
      assert(pg:query "select pg_sleep(0.5)")
      pg:keepalive()
    end
    local from = ngx.now()
    ngx.update_time()
    local threads = {}
    for i = 1, 4 do threads[i] = ngx.thread.spawn(sleep) end
    for _, thread in ipairs(threads) do assert(ngx.thread.wait(thread)) end
    ngx.update_time()
    ngx.print(ngx.now() - from)
  }
}
]]

describe("luphant.compat.pgmoon in nginx", function()
  if missing then return pending(missing) end
  local server

  lazy_setup(function()
    local conn = assert(luphant.connect(env.url()))
    local target = conn:target()
    conn:close()
    server = web.start {
      files = { ["app.lua"] = ([[
        local pgmoon = require "luphant.compat.pgmoon"
        local app = {}
        function app.try(config)
          config.socket_path, config.user, config.database = "%s/.s.PGSQL.%s", "%s", "%s"
          config.application_name = "pgmoon_spec"
          local pg = pgmoon.new(config)
          local ok, why = pg:connect()
          return ok and pg, why
        end
        function app.connect() return assert(app.try {}) end
        return app]]):format(target.host, target.port, target.user, target.dbname) },
      http = "init_by_lua_block { package.path = '$dir/?.lua;' .. package.path }",
      server = SERVER,
    }
  end)

  lazy_teardown(function() if server then server:stop() end end)

  it("keeps connections from request to request", function()
    local pid, n = web.fetch(server, "/one?n=7"):match "^(%d+) (%d+)$"
    assert.equal("7", n)
    for i = 1, 5 do assert.equal(pid .. " " .. i, web.fetch(server, "/one?n=" .. i)) end
    web.check(server)
  end)

  it("rolls back what a request has left open", function()
    assert.equal("1", web.fetch(server, "/slow"))
    local conn = assert(luphant.connect(env.url()))
    assert.equal(0, conn:query_value [[
      select count(*) from pg_stat_activity where application_name = 'pgmoon_spec' and state <> 'idle']])
    conn:close()
    web.check(server)
  end)

  it("lets no more than backlog wait for pool_size connections", function()
    assert.matches("^5 3 pool_overflow: too many waiting connect operations", web.fetch(server, "/crowd"))
    web.check(server)
  end)

  it("lets light threads wait beside each other", function()
    local seconds = tonumber(web.fetch(server, "/beside"))
    assert(seconds >= 0.4 and seconds < 1.8, "four sleeps of 0.5 s took " .. seconds .. " s") -- 2 s one after the other
    web.check(server)
  end)
end)
