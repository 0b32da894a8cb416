-- bench/json.lua - how long does one document of about 2 kB take, both ways?
--
-- Compares luphant's codec with lua-cjson where that is installed. The document is an order with
-- twelve positions: objects of one shape in an array, short strings, integers, prices, small arrays.
-- Prints nanoseconds a document, the best of nine rounds (the others were disturbed).
--
--   lua5.4 bench/json.lua        luajit bench/json.lua

local core = require "luphant.core"

local function document()
  local items = {}
  for i = 1, 12 do
    items[i] = ('{"id": %d, "sku": "AB-%05d", "name": "Article number %d", "price": %d.%02d, '
      .. '"quantity": %d, "tags": ["new", "blue"], "gift": %s, "note": %s}'):format(1000 + i, i * 37, i, i * 3,
      i * 7, i, tostring(i % 2 == 0), i % 3 == 0 and '"wrap \\"well\\""' or "null")
  end
  return ('{"order": 4711, "customer": {"id": 12, "name": "Zo\195\171 Example", "address": {"street": '
    .. '"Long Street 12", "city": "Sometown", "zip": "12345", "geo": [52.5163, 13.3777]}}, "items": [%s], '
    .. '"total": 1234.50, "paid": true, "history": []}'):format(table.concat(items, ", "))
end

local function measure(run, argument)
  local best = math.huge
  for _ = 1, 9 do
    collectgarbage()
    local start = os.clock()
    for _ = 1, 20000 do run(argument) end
    best = math.min(best, (os.clock() - start) / 20000)
  end
  return best * 1e9
end

local jit = rawget(_G, "jit")
local text = document()
local value = core.json_decode(text)
print(("%s, %d bytes"):format(jit and jit.version or _VERSION, #text))
print(("luphant  decode %6.0f ns  encode %6.0f ns"):format(measure(core.json_decode, text),
  measure(core.json_encode, value)))
local has_cjson, cjson = pcall(require, "cjson")
if has_cjson then
  print(("cjson    decode %6.0f ns  encode %6.0f ns"):format(measure(cjson.decode, text),
    measure(cjson.encode, cjson.decode(text))))
end
