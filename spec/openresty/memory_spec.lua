-- Memory that runs out inside of an nginx worker, at each allocation of the core in turn: what a request asked for
-- comes or is told as lack of memory, and the worker goes on as if nothing had been. Each run has a worker of its own,
-- in which everything is made for the first time: epoll, slots, watches of descriptors, records, connections.
--
-- To see it fail: leave the look for NULL away behind any lph_zalloc of csrc/bind/lnginx.c.
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"
local probe = require "spec.support.probe"
local web = require "spec.openresty.web"

local FULL = os.getenv "LUPHANT_SWEEP_FULL" == "1"
local RUNS = FULL and 1000 or 4

local SERVER = [[
  location = /sweep {
    content_by_lua_block {
      local luphant, core = require "luphant", require "luphant.core"

      local function three(db) -- at the same time
        local threads, sum, failure = {}, 0, nil
        for i = 1, 3 do
          threads[i] = ngx.thread.spawn(function() return pcall(db.query_value, db, "select $1::int", i) end)
        end
        for i = 1, 3 do
          local _, ok, n, err = ngx.thread.wait(threads[i])
          if ok and n then sum = sum + n else failure = ok and err or n end
        end
        return sum, failure
      end

      local function open(most)
        return assert(luphant.open(os.getenv "LUPHANT_TEST_URL", {
          application_name = "nginx_memory", max_connections = most, acquire_timeout = 0.5,
        }))
      end

      -- `warm`: what verbs need that the core waits for is there, but for the first of them on this pool (ltrip.c).
      local warm = ngx.var.arg_warm == "1"
      local db = open(warm and 1 or 2)
      if warm then
        three(db)
        db:close()
        db = open(1)
        assert(db:query_value("select $1::int", 1) == 1)
      end
      package.loaded.swept = db
      core.mem_fail_at(tonumber(ngx.var.arg_n), ngx.var.arg_forever == "1")
      local ok, sum, failure = pcall(three, db)
      local failed = core.mem_failed()
      core.mem_fail_at(0, false)
      if not ok then failure = sum end
      local said = (not failure and sum == 6) and "fine" or tostring(failure)
      local again, why
      for _ = 1, 10 do -- the pool may rest after attempts to connect that have failed
        again, why = three(db)
        if again == 6 then break end
      end
      ngx.say(failed and "reached" or "beyond", " ", again == 6 and "goes on" or tostring(why), ": ", said)
    }
  }
  location = /used { content_by_lua_block { ngx.say(package.loaded.swept:stats().used) } }
]]

describe("memory that runs out inside of nginx", function()
  if web.missing(false, true) then return pending(web.missing(false, true)) end
  if not core.mem_fail_at(0, false) then return pending "the core was built without LPH_FAULT_ALLOC" end
  if not (os.getenv "ASAN_OPTIONS" or FULL) then return pending "run under sanitizers, or with LUPHANT_SWEEP_FULL=1" end

  for title, warm in pairs { ["is told, and the worker goes on"] = 0, ["is told on the way of later verbs"] = 1 } do
    it(title, function()
      web.with({ server = SERVER }, function(server)
        local function run(n, forever)
          assert.is_true(probe.eventually(function() return #server:workers() == 1 end))
          local old = server:workers()[1]
          assert(server:reload())
          assert.is_true(probe.eventually(function()
            local now = server:workers()
            return #now == 1 and now[1] ~= old
          end, 10))
          local report = web.fetch(server, ("/sweep?n=%d&forever=%d&warm=%d"):format(n, forever and 1 or 0, warm))
          local said = report:match "goes on: (.*)$"
          assert.is_truthy(said, ("allocation %d: %s"):format(n, report))
          if said ~= "fine" then assert.matches("memory", said, nil, ("allocation %d: %s"):format(n, report)) end
          assert.is_true(probe.eventually(function() return web.fetch(server, "/used") == "0" end))
          return report:find "^reached" ~= nil
        end
        local high = 8
        while run(high, false) do high = high * 2 end
        local reached = 0
        for _, forever in ipairs { false, true } do
          local n, step = 1, math.ceil(high / (forever and RUNS / 2 or RUNS))
          while run(n, forever) do
            n = n + step
            reached = reached + 1
          end
        end
        assert.is_true(reached > 4)
      end)
    end)
  end
end)
