-- The contract of the waiter, the verbs of a connection, batches and the pool, inside of nginx: the suites that every
-- waiter has to pass, run in a request. Once in its own event loop, once in the fallback.
--
-- SPDX-License-Identifier: MIT

local shell = require "luphant.testing.shell"
local web = require "spec.openresty.web"

local SERVER = [[
  location = /run {
    content_by_lua_block {
      if ngx.var.arg_apart then
        local luphant = require "luphant"
        local open = luphant.open
        function luphant.open(target, options)
          local given = { share = false }
          for name, value in pairs(options or {}) do given[name] = value end
          return open(target, given)
        end
      end
      local suites = {}
      for name in ngx.var.arg_suites:gmatch "[^,]+" do suites[#suites + 1] = name end
      ngx.print(require("spec.openresty.inside").run(suites, ngx.var.arg_without))
    }
  }
]]

-- They mostly wait, so all run at the same time, each in an nginx of its own.
local RUNS = {
  { title = "the waiter keeps its contract", suite = "waiter_suite", least = 20 },
  { title = "the verbs of a connection do", suite = "verbs_suite", least = 25 },
  { title = "the pool does", suite = "pool_suite", least = 40 },
  { title = "batches do", suite = "batch_suite", least = 14 },
  { title = "streams do", suite = "stream_suite", least = 10 },
  { title = "listeners do", suite = "listen_suite", least = 10 },
  {
    title = "the waiter keeps its contract where descriptors have to be polled", suite = "waiter_suite", least = 20,
    environment = { LUPHANT_OPENRESTY = "polling" }, without = "CPU",
  },
  -- Once more, so when those above have ended: they use the same tables.
  { title = "the pool does where nothing rides", suite = "pool_suite", least = 40, apart = true },
  { title = "the verbs of a connection do where nothing rides", suite = "verbs_suite", least = 25, apart = true },
}

describe("inside of nginx", function()
  if web.missing() then return pending(web.missing()) end

  local function start(run)
    run.server = web.start { server = SERVER, environment = run.environment }
    run.answer = os.tmpname()
    run.pipe = io.popen(("curl -sS -m 300 -o %s %s 2>&1"):format(run.answer,
      shell.quote(run.server:url("/run?suites=spec.contract." .. run.suite
        .. (run.without and "&without=" .. run.without or "") .. (run.apart and "&apart=yes" or "")))))
  end

  setup(function()
    for _, run in ipairs(RUNS) do
      if not run.apart then start(run) end
    end
  end)
  teardown(function()
    for _, run in ipairs(RUNS) do
      if run.server then run.server:stop() end
      if run.answer then os.remove(run.answer) end
    end
  end)

  for _, run in ipairs(RUNS) do
    it(run.title, function()
      if run.apart then start(run) end
      local failure = run.pipe:read "*a"
      run.pipe:close()
      local report = shell.read_file(run.answer) or ""
      local passed, failed = report:match "^passed (%d+), skipped %d+, failed (%d+)"
      assert.equal("0", failed, failure .. report .. run.server:log():sub(-3000))
      assert.is_true(tonumber(passed) >= run.least, report)
      web.check(run.server)
    end)
  end
end)
