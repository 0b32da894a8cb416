-- A PostgreSQL that is there but takes nobody in yet (57P03), seen from requests: one that recovers until it is
-- promoted, and one whose backend was killed, which ends all sessions and recovers from the crash.
--
-- To see it fail: let is_permanent of lua/luphant/pool/grow.lua say so of 57P03.
--
-- SPDX-License-Identifier: MIT

local probe = require "spec.support.probe"
local server = require "luphant.testing.server"
local shell = require "luphant.testing.shell"
local web = require "spec.openresty.web"

local SHOP = [[
local luphant = require "luphant"
return assert(luphant.open(os.getenv "LUPHANT_TEST_URL", { max_connections = 4, acquire_timeout = 60 }))
]]

local SERVER = [[
  location = /one { content_by_lua_block { ngx.say((assert(require("shop"):query_value "select 1"))) } }
  location = /pid { content_by_lua_block { ngx.say((assert(require("shop"):query_value "select pg_backend_pid()"))) } }
  location = /used { content_by_lua_block { ngx.say(require("shop"):stats().used) } }
  location = /impatient {
    content_by_lua_block {
      local conn, err = require("shop"):acquire { timeout = 0.3 }
      ngx.say(conn and "a connection" or err.kind, " ", err and err.cause and err.cause.sqlstate or "no cause")
      if conn then conn:release() end
    }
  }
]]

describe("inside of nginx a PostgreSQL that recovers", function()
  if web.missing() then return pending(web.missing()) end

  local pg

  setup(function() pg = assert(server.start { standby = true }) end)
  teardown(function() if pg then pg:stop() end end)

  local function with(database, fn)
    web.with({
      server = SERVER, files = { ["shop.lua"] = SHOP }, environment = { LUPHANT_TEST_URL = database:url() },
    }, fn)
  end

  local function burst(front, count)
    local paths = {}
    for i = 1, count do paths[i] = "/one" end
    return web.burst(front, paths)
  end

  it("is told to who cannot wait, and waited for by the others", function()
    local standby = pg.standby
    assert(standby:configure { hot_standby = false })
    assert(standby:restart())
    with(standby, function(front)
      assert.equal("pool_timeout 57P03", web.fetch(front, "/impatient"))
      assert(os.execute(("(for i in 1 2 3 4 5 6 7 8; do curl -sS -m 100 %s & done; wait) >%s/waited 2>&1 &"):format(
        front:url "/one", front.dir)))
      assert.equal("pool_timeout 57P03", web.fetch(front, "/impatient")) -- the worker serves others meanwhile
      assert(standby:promote())
      assert.is_true(probe.eventually(function()
        return shell.read_file(front.dir .. "/waited") == ("1\n"):rep(8)
      end, 30), shell.read_file(front.dir .. "/waited"))
      assert.equal("a connection no cause", web.fetch(front, "/impatient"))
      assert.equal("0", web.fetch(front, "/used"))
    end)
  end)

  it("after a backend was killed is found again, and the pool is whole", function()
    with(pg, function(front)
      for _ = 1, 3 do
        burst(front, 8)
        assert(shell.run("kill -s KILL " .. web.fetch(front, "/pid")))
        -- Whoever meets a session that is just being ended is told; nobody is who comes when that is over. (That one
        -- session answers is no sign of it: the others are ended some milliseconds after the one that was killed.)
        shell.run "sleep 0.1"
        assert.is_true(probe.eventually(function() return (front:get "/one") == "1\n" end, 30))
        for i, body in ipairs(burst(front, 12)) do assert.equal("1", body, "request " .. i) end
      end
      assert.is_true(probe.eventually(function() return web.fetch(front, "/used") == "0" end))
    end)
  end)
end)
