-- Much at once inside of nginx: batches, COPY both ways, insert_many, streams and cursors; both directions of a socket
-- full; the worker serves others meanwhile.
--
-- To see it fail: let lnginx.c's await arm for POLLIN alone, or wait/openresty.lua wait with core.poll.
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local luphant = require "luphant"
local web = require "spec.openresty.web"

local BULK = [[
local luphant = require "luphant"
local bulk = {}
bulk.db = assert(luphant.open(os.getenv "LUPHANT_TEST_URL", { max_connections = 4, acquire_timeout = 20 }))

-- Beside fn a light thread that wants to run every millisecond: answers fn's results and how often it did.
function bulk.beside(fn)
  local turns, over = 0, false
  local thread = ngx.thread.spawn(function()
    while not over do
      turns = turns + 1
      ngx.sleep(0.001)
    end
  end)
  local result = fn()
  over = true
  ngx.thread.wait(thread)
  return result, turns
end

return bulk
]]

local SERVER = [[
  lua_check_client_abort on;
  location = /both { # answers of one flight come while its parameters go: both directions of the socket are full
    content_by_lua_block {
      local bulk, list = require "bulk", {}
      local large = ("0123456789abcdef"):rep(65536)
      for i = 1, 24 do list[i] = { "select $2::int as n, $1::text as t", large, i } end
      local results, turns = bulk.beside(function() return assert(bulk.db:batch(list)) end)
      local same = true
      for i = 1, 24 do same = same and results[i][1].n == i and results[i][1].t == large end
      ngx.say(tostring(same), " ", turns > 3 and "beside others" or "alone, " .. turns)
    }
  }
  location = /batch {
    content_by_lua_block {
      local bulk, list = require "bulk", {}
      for i = 1, 3000 do list[i] = { "select $1::int + 1 as n", i } end
      local sum = 0
      for _, rows in ipairs(assert(bulk.db:batch(list))) do sum = sum + rows[1].n end
      local _, err = bulk.db:batch { "insert into nginx_bulk values (0)", "select 1 / 0" }
      ngx.say(sum, " ", err.kind, " ", err.index)
    }
  }
  location = /copy {
    content_by_lua_block {
      local bulk = require "bulk"
      local db, names = bulk.db, { columns = { "id", "name" } }
      local taken, turns = bulk.beside(function()
        local w = assert(db:copy_in("nginx_bulk", names))
        for i = 1, 40000 do assert(w:row(i, "name " .. i)) end
        return assert(w:finish())
      end)
      local count, sum = 0, 0
      for row in assert(db:copy_out "select id, name from nginx_bulk order by id") do
        count, sum = count + 1, sum + row.id
        assert(row.name == "name " .. row.id)
      end
      local many = assert(db:insert_many("nginx_bulk", { "id", "name" }, { { -1, "a" }, { -2, "b" } }))
      local refused = select(2, assert(db:copy_in("nginx_bulk", names)):row("x", "y"))
      ngx.say(taken, " ", count, " ", sum, " ", many, " ", refused.kind, " ", turns > 3 and "beside others" or turns)
    }
  }
  location = /left { # the client goes away in the middle
    content_by_lua_block {
      local db = require("bulk").db
      local w = assert(db:copy_in("nginx_bulk", { columns = { "id", "name" } }))
      for i = 1, 100 do assert(w:row(-i, "left")) end
      ngx.sleep(20)
    }
  }
  location = /left_stream {
    content_by_lua_block {
      for row in require("bulk").db:stream "select n from generate_series(1, 1000000) n" do
        if row.n == 1000 then ngx.sleep(20) end
      end
    }
  }
  location = /stream {
    content_by_lua_block {
      local bulk = require "bulk"
      local said = {}
      for _, via in ipairs { "rows", "portal" } do
        local sum, turns = bulk.beside(function()
          local sum = 0
          for row in bulk.db:stream({ "select n from generate_series(1, $1::int) n", via = via }, 60000) do
            sum = sum + row.n
          end
          return sum
        end)
        said[#said + 1] = sum .. (turns > 3 and " beside" or " alone")
      end
      for row in bulk.db:stream "select n from generate_series(1, 1000000) n" do
        if row.n == 10 then break end
      end
      local ok, err = pcall(function()
        for _ in bulk.db:stream "select 1 / (3 - n) from generate_series(1, 5) n" do end -- luacheck: ignore
      end)
      said[#said + 1] = tostring(ok) .. " " .. err.kind
      ngx.say(table.concat(said, " "))
    }
  }
  location = /cursor {
    content_by_lua_block {
      local db = require("bulk").db
      ngx.say(assert(db:transaction(function(tx)
        local cursor = assert(tx:cursor("select n from generate_series(1, 50) n where n > $1", { 10 },
          { scroll = true }))
        local first, last = cursor:next().n, cursor:last().n
        assert(cursor:close())
        return first .. " " .. last
      end)))
    }
  }
  location = /state {
    content_by_lua_block {
      local db = require("bulk").db
      ngx.say(db:stats().used, " ", assert(db:query_value "select count(*) from nginx_bulk where name = 'left'"))
    }
  }
]]

describe("much at once inside of nginx", function()
  if web.missing(false, true) then return pending(web.missing(false, true)) end

  local server

  setup(function()
    local conn = assert(luphant.connect(env.url()))
    assert(conn:script "drop table if exists nginx_bulk; create table nginx_bulk (id int, name text)")
    conn:close()
    server = web.start { server = SERVER, files = { ["bulk.lua"] = BULK } }
  end)
  teardown(function() if server then server:stop() end end)

  it("large parameters go while large answers come", function()
    assert.equal("true beside others", web.fetch(server, "/both"))
  end)

  it("a batch of thousands, and one that fails", function()
    assert.equal("4504500 division_by_zero 2", web.fetch(server, "/batch"))
  end)

  it("COPY both ways, and insert_many", function()
    assert.equal("40000 40000 800020000 2 parameter beside others", web.fetch(server, "/copy"))
  end)

  it("streams of both forms, broken off and failing ones", function()
    assert.equal("1800030000 beside 1800030000 beside false division_by_zero", web.fetch(server, "/stream"))
  end)

  it("cursors", function() assert.equal("11 50", web.fetch(server, "/cursor")) end)

  it("a COPY and a stream whose clients go away leave nothing", function()
    for _ = 1, 3 do web.burst(server, { "/left", "/left_stream", "/left", "/left_stream" }, 0.3) end
    assert.is_true(require("spec.support.probe").eventually(function()
      return web.fetch(server, "/state") == "0 0"
    end, 30), web.fetch(server, "/state"))
    assert.equal("11 50", web.fetch(server, "/cursor"))
  end)

  it("and the worker has nothing to complain about", function() web.check(server) end)
end)
