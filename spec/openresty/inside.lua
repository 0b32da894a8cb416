-- spec.openresty.inside - runs suites of spec/contract inside of nginx, in the content phase of a request.
--
-- `run(names)` answers a report for the spec that made the request: "passed <count>", then the failures in full.
--
-- SPDX-License-Identifier: MIT

local ngx = require "ngx"

local inside = {}

local function text_of(message)
  if type(message) == "string" then return message end
  return tostring(message) ~= "" and tostring(message) or "no message"
end

---@param suites string[]  names of modules
---@param without? string   tests with this in their title may fail
---@return string
function inside.run(suites, without)
  local busted = require "busted.core"()
  require "busted"(busted)
  local passed, skipped, failures = 0, 0, {}
  -- For the log of a worker that does not live to answer.
  busted.subscribe({ "test", "start" }, function(element) ngx.log(ngx.NOTICE, "begins: ", element.name) end)
  busted.subscribe({ "test", "end" }, function(_, _, status)
    if status == "success" then passed = passed + 1 elseif status == "pending" then skipped = skipped + 1 end
  end)
  local function note(element, _, message, trace)
    if without and element.name:find(without, 1, true) then return end
    failures[#failures + 1] = ("%s\n%s\n%s"):format(tostring(element.name), text_of(message),
      trace and trace.traceback or "")
  end
  busted.subscribe({ "failure" }, note)
  busted.subscribe({ "error" }, note)
  for _, name in ipairs(suites) do
    -- What busted's own loader of files gives it, in short.
    busted.executors.file(name, setmetatable({
      getTrace = function(_, info) return info end, rewriteMessage = function(_, message) return message end,
    }, {
      __call = function()
        local suite = require(name)
        suite(require("spec.contract.worlds").named.openresty)
      end,
    }))
  end
  require "busted.execute"(busted)(1, {})
  return ("passed %d, skipped %d, failed %d\n%s\n"):format(passed, skipped, #failures, table.concat(failures, "\n\n"))
end

return inside
