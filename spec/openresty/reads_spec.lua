-- Inside of nginx reads ride together unless a pool is told otherwise: that they do, and that nothing of it stays
-- behind when requests end early. What riding promises is held to in spec/share_spec.lua, which texts do in
-- spec/pool/reads_spec.lua.
--
-- To see it fail: leave out the line of plan_of in lua/luphant/pool/sharing.lua that knows openresty, or `check` in
-- lua/luphant/share/init.lua.
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local luphant = require "luphant"
local probe = require "spec.support.probe"
local web = require "spec.openresty.web"

local LONG = 30

local SHOP = [[
local luphant = require "luphant"
local function open(share)
  return assert(luphant.open(os.getenv "LUPHANT_TEST_URL", {
    application_name = os.getenv "SHOP_NAME", max_connections = 8, acquire_timeout = 20, share = share,
  }))
end
local shop = { pools = { usual = open(nil), apart = open(false), all = open(true) } }
function shop.db() return shop.pools[ngx.var.arg_pool or "usual"] end
-- Long for the server, and short to tell.
shop.LONG = "select count(*) from generate_series(1, 3000) a, generate_series(1, $1::int) b where a + b < 0"
return shop
]]

local SERVER = [[
  lua_check_client_abort on;
  location = /one { content_by_lua_block {
    local shop = require "shop"
    for _ = 1, 5 do
      local id = math.random(1000000)
      assert(id == assert(shop.db():query_value("select $1::int", id)))
    end
    ngx.say "1"
  } }
  location = /long { content_by_lua_block {
    ngx.say((assert(require("shop").db():query_value(require("shop").LONG, tonumber(ngx.var.arg_n)))))
  } }
  location = /stats { content_by_lua_block {
    local stats = require("shop").db():stats()
    local shared = stats.shared or { connections = "none", rides = 0 }
    ngx.say(shared.connections, " ", shared.rides, " ", stats.used, " ", stats.waiting)
  } }
  location = /log { content_by_lua_block { ngx.say "1" } log_by_lua_block {
    local shop = require "shop"
    for _, pool in ipairs { "usual", "all" } do
      shop.said = tostring(select(2, pcall(shop.pools[pool].query_value, shop.pools[pool], "select 1")))
      if pool == "all" then
        pcall(shop.pools.all.execute, shop.pools.all, "insert into nginx_reads values (1)")
      end
    end
  } }
  location = /said { content_by_lua_block { ngx.say(require("shop").said) } }
]]

describe("reads inside of nginx", function()
  if web.missing() then return pending(web.missing()) end

  local admin

  setup(function() admin = assert(luphant.connect(env.url())) end)
  teardown(function() if admin then admin:close() end end)

  local function with(name, fn)
    web.with({
      server = SERVER, files = { ["shop.lua"] = SHOP },
      environment = { LUPHANT_TEST_URL = env.url(), SHOP_NAME = name },
    }, fn)
  end

  local function burst(server, path, count)
    local paths = {}
    for i = 1, count do paths[i] = path end
    return web.burst(server, paths)
  end

  local function shared(server, pool) return web.fetch(server, "/stats?pool=" .. pool):match "^%S+" end

  -- Some are shared, none of all; afterwards nobody holds anything.
  local function share_something(server, pool)
    for _ = 1, 20 do
      for _, body in ipairs(burst(server, "/one?pool=" .. pool, 24)) do assert.equal("1", body) end
      if shared(server, pool) ~= "0" then return tonumber(shared(server, pool)) end
    end
    return 0
  end

  local function is_at_rest(server, pool)
    return probe.eventually(function()
      return (web.fetch(server, "/stats?pool=" .. pool):match "^%S+ (.*)$") == "0 0 0"
    end, LONG)
  end

  it("ride together unasked, on half of the connections at most, and not where that is not wanted", function()
    with("nginx_reads", function(server)
      local count = share_something(server, "usual")
      assert.is_true(count >= 1 and count <= 4, count .. " connections")
      assert.is_true(share_something(server, "all") >= 1)
      assert.is_nil(share_something(server, "apart"))
      assert.equal("none", shared(server, "apart"))
      for _, pool in ipairs { "usual", "apart", "all" } do assert.is_true(is_at_rest(server, pool)) end
    end)
  end)

  it("whose clients go away are cancelled, and leave nothing", function()
    with("nginx_reads_gone", function(server)
      assert.is_true(share_something(server, "usual") >= 1)
      for _ = 1, 3 do
        local paths = {}
        for i = 1, 24 do paths[i] = i % 2 == 0 and "/long?n=300000" or "/one" end
        local bodies = web.burst(server, paths, 0.5)
        for i in pairs(bodies) do assert.equal(1, i % 2) end -- nobody is so quick as that
      end
      assert.is_true(is_at_rest(server, "usual"))
      assert.is_true(probe.eventually(function()
        return admin:query_value([[select count(*) from pg_stat_activity where application_name = 'nginx_reads_gone'
          and state = 'active']]) == 0
      end, LONG))
      for _, body in ipairs(burst(server, "/one", 24)) do assert.equal("1", body) end
    end)
  end)

  it("are not begun where nothing can wait, nor is anything else that rides", function()
    assert(admin:script "drop table if exists nginx_reads; create table nginx_reads (n int)")
    with("nginx_reads_log", function(server)
      assert.is_true(share_something(server, "usual") >= 1)
      assert.is_true(share_something(server, "all") >= 1)
      assert.equal("1", web.fetch(server, "/log"))
      assert.matches("cannot wait in log_by_lua", web.fetch(server, "/said"), 1, true)
      assert.is_true(is_at_rest(server, "usual"))
      assert.is_true(is_at_rest(server, "all"))
      assert.equal(0, admin:query_value "select count(*) from nginx_reads")
    end)
    assert(admin:script "drop table nginx_reads")
  end)
end)
