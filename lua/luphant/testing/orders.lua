-- luphant.testing.orders: what the gate can be told, one function for each order of `luphant.testing.proxy`, which says
-- what they promise. An order changes the rules and applies them to the connections that are open; it moves no bytes.
--
-- SPDX-License-Identifier: MIT

local flow = require "luphant.testing.flow"

local orders = {}

-- The connections to which nothing final has happened yet, as a list: an order may end some of them.
local function healthy(gate)
  local list = {}
  for pair in pairs(gate.links) do
    if not pair.goodbye and not pair.forgotten then list[#list + 1] = pair end
  end
  return list
end

local function directions(arguments)
  return ipairs(arguments.from and { arguments.from } or { "client", "server" })
end

function orders.rule(gate, arguments)
  for _, from in directions(arguments) do
    for name, value in pairs(arguments.set) do gate.rules[from][name] = value end
    if arguments.set.cut then
      for _, pair in ipairs(healthy(gate)) do flow.set_cut(pair.flows[from], arguments.set.cut) end
    end
  end
  for _, pair in ipairs(healthy(gate)) do gate:check_cut(pair) end
  return {}
end

function orders.pass(gate)
  gate.rules = { client = {}, server = {} }
  for pair in pairs(gate.links) do
    for _, stream in pairs(pair.flows) do stream.cut, stream.free_at = nil, 0 end
  end
  return orders.accept(gate)
end

function orders.cut(gate, arguments)
  for _, pair in ipairs(healthy(gate)) do gate:cut_pair(pair, arguments.reset) end
  return {}
end

function orders.half_close(gate, arguments)
  for _, pair in ipairs(healthy(gate)) do gate:half_close(pair, arguments.from) end
  return {}
end

function orders.forget(gate)
  for _, pair in ipairs(healthy(gate)) do gate:forget_far_end(pair) end
  return {}
end

function orders.refuse(gate)
  gate:refuse()
  return {}
end

function orders.accept(gate)
  gate:listen()
  return {}
end

function orders.stats(gate, arguments)
  local answer = {}
  for name, value in pairs(gate.counts) do answer[name] = value end
  if arguments.reset then
    for name in pairs(gate.counts) do
      if name ~= "open" then gate.counts[name] = 0 end
    end
  end
  return answer
end

return orders
