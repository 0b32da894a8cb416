-- TLS, TCP and Unix sockets, several workers under load, names that take long to resolve, few connections of nginx, and
-- the stream subsystem.
--
-- SPDX-License-Identifier: MIT

local probe = require "spec.support.probe"
local server = require "luphant.testing.server"
local shell = require "luphant.testing.shell"
local web = require "spec.openresty.web"

local SERVER = [[
  location = /number {
    content_by_lua_block {
      local luphant, shop = require "luphant", package.loaded.shop or {}
      package.loaded.shop = shop
      shop.db = shop.db or assert(luphant.open(os.getenv "LUPHANT_TEST_URL", { max_connections = 4 }))
      local n = tonumber(ngx.var.arg_n)
      ngx.say((assert(shop.db:query_value("select $1::int from pg_sleep($2)", n, n % 3 * 0.001))))
    }
  }
  location = /tls {
    content_by_lua_block {
      local tls = package.loaded.shop.db:with(function(conn) return conn:tls() end)
      ngx.say(tls and tls.version or "no", " ", tls and tls.verified and "verified" or "not verified")
    }
  }
  location = /refused {
    content_by_lua_block {
      local conn, err = require("luphant").connect(ngx.unescape_uri(ngx.var.arg_url), {
        connect_timeout = tonumber(ngx.var.arg_s) or 2,
      })
      ngx.say(conn and "connected" or err.kind)
    }
  }
]]

local function escaped(url) return (url:gsub("[^%w]", function(c) return ("%%%02x"):format(c:byte()) end)) end

describe("inside of nginx", function()
  if web.missing() then return pending(web.missing()) end

  local pg

  setup(function() pg = assert(server.start { tls = true }) end)
  teardown(function() if pg then pg:stop() end end)

  local function answers_by_load(front)
    for round = 1, 3 do
      local paths = {}
      for i = 1, 48 do paths[i] = "/number?n=" .. round * 1000 + i end
      for i, body in ipairs(web.burst(front, paths)) do assert.equal(tostring(round * 1000 + i), body) end
    end
    local report = shell.run(("wrk -t1 -c24 -d1 %s"):format(shell.quote(front:url "/number?n=6")))
    assert.not_matches("Non%-2xx", report)
    assert.is_true(tonumber(report:match "(%d+) requests in") > 50, report)
  end

  it("several workers connect by TLS, verified, each with a pool of its own", function()
    local url = pg:url { tcp = true, sslmode = "verify-full", sslrootcert = pg.certificates.ca }
    web.with({ server = SERVER, workers = 2, environment = { LUPHANT_TEST_URL = url } }, function(front)
      answers_by_load(front)
      assert.matches("TLSv1.%d verified", web.fetch(front, "/tls"))
      assert.is_true(tonumber(pg:psql "select count(*) from pg_stat_ssl where ssl") <= 2 * 4)
    end)
  end)

  it("several workers connect by a Unix socket", function()
    web.with({ server = SERVER, workers = 2, environment = { LUPHANT_TEST_URL = pg:url() } }, function(front)
      answers_by_load(front)
      assert.equal("no not verified", web.fetch(front, "/tls"))
    end)
  end)

  it("what cannot be reached is told, and the next host of several is taken", function()
    web.with({ server = SERVER, environment = { LUPHANT_TEST_URL = pg:url() } }, function(front)
      local closed = probe.closed_port()
      local function connect(url) return web.fetch(front, "/refused?url=" .. escaped(url)) end
      assert.equal("refused", connect(("postgresql://x@127.0.0.1:%d/x"):format(closed)))
      assert.equal("auth", connect(pg:url { tcp = true, password = "wrong" }))
      assert.equal("connected", connect(
        ("host=127.0.0.1,127.0.0.1 port=%d,%d user=postgres password=%s dbname=postgres"):format(
          closed, pg.port, pg.password)))
      local _, port = probe.deaf_listener()
      assert.equal("connect_timeout", connect(("postgresql://x@127.0.0.1:%d/x"):format(port)))
    end)
  end)

  it("a name that takes long to resolve keeps nobody", function()
    probe.with_library("slow_resolver", function(path)
      local wrapper = os.tmpname()
      shell.write_file(wrapper, ("#!/bin/sh\nLD_PRELOAD=%s exec %s \"$@\"\n"):format(path,
        os.getenv "LUPHANT_NGINX" or "nginx"))
      shell.run("chmod +x " .. wrapper)
      local front = web.start { server = SERVER, environment = { LUPHANT_TEST_URL = pg:url() }, binary = wrapper }
      local ok, err = pcall(function()
        web.fetch(front, "/number?n=0")
        local answer, asked = front.dir .. "/answer", front.dir .. "/asked"
        assert(os.execute(("(: >%s; curl -s -m 20 -o %s %s) &"):format(asked, answer,
          shell.quote(front:url "/refused?s=30&url=" .. escaped "postgresql://x@localhost:1/x"))))
        assert.is_true(probe.eventually(function() return shell.is_file(asked) end))
        shell.run "sleep 0.2" -- the request is there
        local paths = {}
        for i = 1, 40 do paths[i] = "/number?n=" .. i * 3 end
        for i, body in ipairs(web.burst(front, paths)) do assert.equal(tostring(i * 3), body) end
        assert.is_nil((shell.read_file(answer))) -- the name takes five seconds
      end)
      front:stop()
      os.remove(wrapper)
      if not ok then error(err, 0) end
    end)
  end)
end)
