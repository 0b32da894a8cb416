-- Event loops of others inside of nginx: luphant does not touch their libraries there, and does not mind them.
--
-- What this guards against: ngx_lua's coroutine.resume gives way to nginx. Called below a function of C - while
-- `require` loads a file, in table.sort - it cannot, and ngx_lua 0.10.23 is left in a state in which the request fails
-- or the worker crashes. copas does so while it is loaded (through coxpcall). cqueues and luv can be loaded.
--
-- To see it fail: let load_waiter in lua/luphant/wait/init.lua begin with its pcall.
--
-- SPDX-License-Identifier: MIT

local web = require "spec.openresty.web"

local SERVER = [[
  location = /choose {
    content_by_lua_block {
      local luphant, said = require "luphant", {}
      for _, name in ipairs { "cqueues", "luv", "copas" } do
        local ok, why = pcall(luphant.open, os.getenv "LUPHANT_TEST_URL", { waiter = name })
        said[#said + 1] = ok and "opened" or tostring(why):match('the waiter "' .. name .. '" .*nginx runs this code')
          and "refused" or tostring(why)
        said[#said + 1] = tostring(package.loaded[name] ~= nil)
      end
      ngx.say(table.concat(said, " "))
    }
  }
  location = /beside { # cqueues and luv as somebody else's code may have loaded them
    content_by_lua_block {
      for _, name in ipairs { "cqueues", "luv" } do pcall(require, name) end
      local db = package.loaded.beside or assert(require("luphant").open(os.getenv "LUPHANT_TEST_URL"))
      package.loaded.beside = db
      local threads = {}
      for i = 1, 4 do
        threads[i] = ngx.thread.spawn(function() return db:query_value("select $1::int from pg_sleep(0.01)", i) end)
      end
      local sum = 0
      for i = 1, 4 do sum = sum + select(2, ngx.thread.wait(threads[i])) end
      ngx.say(sum)
    }
  }
  location = /copas { # loaded in the master, where nginx runs nothing yet
    content_by_lua_block {
      local ok, db = pcall(require("luphant").open, os.getenv "LUPHANT_TEST_URL")
      ngx.say(tostring(package.loaded.copas ~= nil), " ", ok and db:query_value "select 7" or tostring(db))
      if ok then db:close() end
    }
  }
]]

describe("other event loops inside of nginx", function()
  if web.missing() then return pending(web.missing()) end

  it("are refused as waiters without being loaded, and do no harm beside", function()
    web.with({
      server = SERVER, http = "init_by_lua_block { pcall(require, 'copas') }",
    }, function(server)
      for _ = 1, 3 do assert.equal("10", web.fetch(server, "/beside")) end
      assert.matches("^%a+ 7$", web.fetch(server, "/copas"))
    end)
    web.with({ server = SERVER }, function(server)
      for _ = 1, 2 do
        assert.equal("refused false refused false refused false", web.fetch(server, "/choose"))
      end
    end)
  end)
end)
