-- The phases of a TLS handshake that nginx suspends, over a Unix socket. ssl_certificate_by_lua in every nginx; in
-- ssl_client_hello_by_lua stock nginx closes the connection as soon as any Lua code gives way, and luphant says why. A
-- client that goes away in the middle of its handshake leaves nothing behind.
--
-- To see it fail: leave the guard away in wait/nginxtasks.lua, or make token.abandoned of pool/borrow.lua a closure.
--
-- SPDX-License-Identifier: MIT

local certificates = require "luphant.testing.certificates"
local env = require "spec.support.env"
local luphant = require "luphant"
local probe = require "spec.support.probe"
local shell = require "luphant.testing.shell"
local web = require "spec.openresty.web"

local SHOP = [[
local luphant = require "luphant"
local shop = {}
shop.db = assert(luphant.open(os.getenv "LUPHANT_TEST_URL", {
  application_name = "nginx_ssl", max_connections = 3, acquire_timeout = 10,
}))
return shop
]]

local HTTP = [[
  server {
    listen unix:$dir/tls.sock ssl;
    ssl_certificate CERTIFICATES/self_signed.crt;
    ssl_certificate_key CERTIFICATES/self_signed.key;
    ssl_session_tickets off;
    ssl_certificate_by_lua_block {
      local shop, ssl = require "shop", require "ngx.ssl"
      if ssl.server_name() == "slow.test" then
        shop.db:transaction(function(tx)
          assert(tx:query "select 1")
          return tx:query "select pg_sleep(0.5)"
        end)
      end
      local row = assert(shop.db:query_one "select certificate, key from nginx_ssl")
      assert(ssl.clear_certs())
      assert(ssl.set_cert(assert(ssl.parse_pem_cert(row.certificate))))
      assert(ssl.set_priv_key(assert(ssl.parse_pem_priv_key(row.key))))
    }
    location = /hello { content_by_lua_block { ngx.say "hello" } }
  }
  server {
    listen unix:$dir/hello.sock ssl;
    ssl_certificate CERTIFICATES/server.crt;
    ssl_certificate_key CERTIFICATES/server.key;
    ssl_client_hello_by_lua_block { assert(require("shop").db:query_value "select 1") }
    location = /hello { content_by_lua_block { ngx.say "hello" } }
  }
]]

local SERVER = [[
  location = /stats { content_by_lua_block {
    local stats = require("shop").db:stats()
    ngx.say(stats.used, " ", stats.waiting)
   } }
]]

describe("the phases of a TLS handshake in nginx", function()
  if web.missing(false, true) then return pending(web.missing(false, true)) end

  local dir, conn

  setup(function()
    dir = os.tmpname()
    os.remove(dir)
    assert(shell.try("mkdir", "mkdir -m 755 " .. dir))
    local made = assert(certificates.make(dir))
    conn = assert(luphant.connect(env.url()))
    assert(conn:script "drop table if exists nginx_ssl; create table nginx_ssl (certificate text, key text)")
    assert(conn:execute("insert into nginx_ssl values ($1, $2)", shell.read_file(made.server.cert),
      shell.read_file(made.server.key)))
  end)
  teardown(function()
    if dir then shell.run("rm -r " .. shell.quote(dir)) end
    if conn then conn:close() end
  end)

  it("may ask the database, the certificate among other things", function()
    web.with({
      server = SERVER, http = HTTP:gsub("CERTIFICATES", dir), files = { ["shop.lua"] = SHOP },
    }, function(server)
      local function get(name, socket, more)
        return shell.run(("curl -sS %s --cacert %s/ca.crt --unix-socket %s/%s.sock --resolve %s:443:127.0.0.1"
          .. " https://%s/hello 2>&1"):format(more or "", dir, server.dir, socket, name, name))
      end
      local function is_whole()
        assert.is_true(probe.eventually(function() return web.fetch(server, "/stats") == "0 0" end, 30))
        assert.is_true(probe.eventually(function()
          return conn:query_value [[select count(*) from pg_stat_activity
            where application_name = 'nginx_ssl' and state <> 'idle']] == 0
        end, 30))
      end
      -- Only the certificate of the database is one that the client trusts.
      for _ = 1, 3 do assert.equal("hello", get("localhost", "tls")) end
      local clients = {}
      for i = 1, 8 do -- some of them go while they wait for a connection of the pool
        clients[i] = io.popen(("curl -sSk -m 0.%d --unix-socket %s/tls.sock --resolve slow.test:443:127.0.0.1"
          .. " https://slow.test/hello 2>&1"):format(i, server.dir))
      end
      for _, client in ipairs(clients) do client:close() end
      is_whole()
      if get("localhost", "hello") ~= "hello" then
        assert.matches("only with a patch of OpenResty's", server:log(), 1, true)
      end
      is_whole()
      assert.equal("hello", get("localhost", "tls"))
    end)
  end)
end)
