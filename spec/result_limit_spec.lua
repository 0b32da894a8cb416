-- max_result_bytes: a result that is too large is refused while it arrives, and the connection goes on -
-- whether the core waits by itself (the plain waiter) or is stepped.
--
-- SPDX-License-Identifier: MIT
local env = require "spec.support.env"
local luphant = require "luphant"
local poll = require "luphant.wait.poll"

local LARGE = "select repeat('x', 1000) as t from generate_series(1, 20000)"

-- The plain waiter under another name: the core cannot know it and leaves all waiting to it.
local function stepping_waiter()
  local waiter = {}
  for key, value in pairs(poll.waiter()) do waiter[key] = value end
  waiter.name = "stepping"
  return waiter
end

describe("a result larger than max_result_bytes", function()
  for how, waiter in pairs { ["under the plain waiter"] = "poll", ["step by step"] = stepping_waiter() } do
    describe(how, function()
      local conn, pid

      before_each(function()
        conn = assert(luphant.connect(env.url(), { waiter = waiter, max_result_bytes = 100000 }))
        pid = conn:backend_pid()
      end)
      after_each(function() conn:close() end)

      local function check(result, err)
        assert.is_nil(result)
        assert.equal("result_too_big", err.kind)
        assert.equal("yes", err.sent)
        assert.equal(1, conn:query_value("select 1"))
        assert.equal(pid, conn:query_value("select pg_backend_pid()"))
        assert.equal("idle", conn:transaction_status())
      end

      it("is refused by every verb", function()
        for _, verb in ipairs { "query", "query_column", "query_one", "execute", "values_iterator", "script" } do
          check(conn[verb](conn, LARGE))
          check(conn[verb](conn, LARGE))
        end
      end)

      it("is refused when only its memory is too large", function()
        check(conn:query("select repeat('x', 150) as t from generate_series(1, 600)"))
      end)

      it("inside a transaction fails that, and nothing else", function()
        local result, err = conn:transaction(function(tx) return tx:query(LARGE) end)
        check(result, err)
      end)
    end)
  end
end)
