-- Migrations when nginx starts: the master applies them before its workers are forked, and a worker only asks.
--
-- SPDX-License-Identifier: MIT

local ground = require "spec.support.migration_ground"
local web = require "spec.openresty.web"

describe("migrations in nginx", function()
  if web.missing() then return pending(web.missing()) end

  local g

  before_each(function() g = ground.open() end)
  after_each(function() g.close() end)

  local function options(how)
    return {
      http = ([[init_by_lua_block {
        local migrate = require "luphant.migrate"
        local answer, err = migrate.run({ url = "%s", waiter = "poll" }, { dir = "%s", on_startup = "%s" })
        started = answer and answer.state or err.kind
      }]]):format(g.url, g.dir, how),
      server = ([[
        location = /started { content_by_lua_block { ngx.say(started) } }
        location = /ready {
          content_by_lua_block {
            local conn = assert(require("luphant").connect("%s"))
            ngx.say(tostring(require("luphant.migrate").ready(conn, "%s")))
            conn:close()
          }
        }
      ]]):format(g.url, g.dir),
    }
  end

  it("run in init_by_lua, in many masters at once, and a worker can tell", function()
    g.put("0001_a.sql", "create table a (n int);\nselect pg_sleep(0.2);\n")
    g.put("0002_b.sql", "-- migrate:up transaction:false\ncreate index concurrently a_n on a (n);\n")
    local servers = {}
    for i = 1, 2 do servers[i] = web.start(options "apply") end
    for _, server in ipairs(servers) do
      assert.equal("current", web.fetch(server, "/started"))
      assert.equal("true", web.fetch(server, "/ready"))
      web.check(server)
      server:stop()
    end
    assert.equal(2, g.value "select count(*) from luphant.events where action = 'apply'")
    assert.equal(0, g.locks())
  end)

  it("that are missing are told by check, and a worker is not ready", function()
    g.put("0001_a.sql", "create table a (n int);\n")
    web.with(options "check", function(server)
      assert.equal("migration_behind", web.fetch(server, "/started"))
      assert.equal("false", web.fetch(server, "/ready"))
    end)
    assert.is_false(g.exists "a")
  end)
end)
