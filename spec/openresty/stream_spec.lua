-- The stream subsystem of nginx, beside HTTP in the same worker. Where the module is not installed this is skipped
-- (LUPHANT_NGINX, LUPHANT_NGINX_MODULES: another nginx, other modules).
--
-- SPDX-License-Identifier: MIT

local probe = require "spec.support.probe"
local socket = require "socket"
local web = require "spec.openresty.web"

local SHOP = [[
local luphant = require "luphant"
local shop = {}
shop.db = assert(luphant.open(os.getenv "LUPHANT_TEST_URL", {
  application_name = "nginx_" .. require("ngx").config.subsystem, max_connections = 3, acquire_timeout = 10,
}))
return shop
]]

local STREAM = [[
  lua_check_client_abort on;
  server {
    listen 127.0.0.1:$stream_port;
    preread_by_lua_block { ngx.ctx.factor = assert(require("shop").db:query_value "select 2 from pg_sleep(0.01)") }
    content_by_lua_block {
      local db, sock = require("shop").db, ngx.req.socket(true)
      while true do
        local line = sock:receive()
        if not line then break end
        local value, err = db:query_value("select $1::int * $3::int from pg_sleep($2)", tonumber(line), 0.01,
          ngx.ctx.factor)
        ngx.say(value or tostring(err))
        ngx.flush(true)
      end
    }
    log_by_lua_block {
      local ok, why = pcall(require("shop").db.query, require("shop").db, "select 1")
      ngx.log(ngx.NOTICE, "in log: ", tostring(ok), " ", tostring(why))
    }
  }
]]

local SERVER = [[
  location = /one { content_by_lua_block { ngx.say((assert(require("shop").db:query_value "select 1"))) } }
]]

describe("the stream subsystem of nginx", function()
  if web.missing(true) then return pending(web.missing(true)) end

  it("has the same API and a pool of its own, and puts abandoned connections in order", function()
    web.with({ server = SERVER, stream = STREAM, files = { ["shop.lua"] = SHOP }, log_level = "notice" },
      function(server)
        local clients = {}
        for i = 1, 8 do
          clients[i] = assert(socket.connect("127.0.0.1", server.stream_port))
          clients[i]:settimeout(20)
          assert(clients[i]:send(i .. "\n"))
        end
        for i = 1, 8 do assert.equal(tostring(2 * i), clients[i]:receive()) end
        assert.equal("1", web.fetch(server, "/one"))
        for round = 1, 3 do
          for i = 1, 8 do assert(clients[i]:send(round * 100 + i .. "\n")) end
          for i = 1, 8 do assert.equal(tostring(2 * (round * 100 + i)), clients[i]:receive()) end
        end
        for i = 1, 4 do -- go away in the middle
          clients[i]:send "5\n"
          clients[i]:close()
        end
        for _ = 1, 3 do
          assert(clients[5]:send "21\n")
          assert.equal("42", clients[5]:receive())
        end
        for i = 5, 8 do clients[i]:close() end
        assert.is_true(probe.eventually(function()
          return server:log():find("in log: false .*cannot wait in log_by_lua") ~= nil
        end))
      end)
  end)
end)
