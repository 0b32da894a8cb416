-- The contract of the waiter, the verbs of a connection and the pool, inside of nginx: the suites that every waiter
-- has to pass, run in a request. Once in its own event loop, once in the fallback.
--
-- SPDX-License-Identifier: MIT

local web = require "spec.openresty.web"

local SERVER = [[
  location = /run {
    content_by_lua_block {
      local suites = {}
      for name in ngx.var.arg_suites:gmatch "[^,]+" do suites[#suites + 1] = name end
      ngx.print(require("spec.openresty.inside").run(suites))
    }
  }
]]

describe("inside of nginx", function()
  if web.missing() then return pending(web.missing()) end

  local function run(environment, suites, least)
    web.with({ server = SERVER, environment = environment }, function(server)
      local report = web.fetch(server, "/run?suites=" .. suites)
      local passed, failed = report:match "^passed (%d+), skipped %d+, failed (%d+)"
      assert.equal("0", failed, report)
      assert.is_true(tonumber(passed) >= least, report)
    end)
  end

  for _, case in ipairs {
    { "the waiter keeps its contract", "waiter_suite", 20 },
    { "the verbs of a connection do", "verbs_suite", 20 },
    { "the pool does", "pool_suite", 20 },
  } do
    it(case[1], function() run(nil, "spec.contract." .. case[2], case[3]) end)
  end

  it("the waiter keeps its contract where descriptors have to be polled", function()
    run({ LUPHANT_OPENRESTY = "polling" }, "spec.contract.waiter_suite", 20)
  end)
end)
