-- The JSON codec of luphant.core as Lua sees it. What is JSON and what is not is tested byte by byte in
-- spec/c/test_json.c; here it is about values: which Lua value a text becomes, which text a Lua value
-- becomes, and that the way there and back loses nothing.

local core = require "luphant.core"

local decode, encode, array = core.json_decode, core.json_encode, core.json_array
local NULL = decode("null")
local math_type = rawget(math, "type")
local has_integers = math_type ~= nil
math_type = math_type or function() return "number" end

local function is_array(value)
  local meta = getmetatable(value)
  return meta ~= nil and meta.__name == "luphant.array"
end

-- Equal in value, number subtype and array mark, all the way down.
local function same(a, b)
  if type(a) ~= type(b) then return false end
  if type(a) == "number" then return a == b and math_type(a) == math_type(b) and 1 / a == 1 / b end
  if type(a) ~= "table" then return a == b end
  if is_array(a) ~= is_array(b) then return false end
  for key, value in pairs(a) do
    if not same(value, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

-- The same numbers on every Lua and in every run.
local function generator(seed)
  return function(limit)
    seed = (seed * 16807) % 2147483647
    return seed % limit
  end
end

local TEXTS = { "", "a", "\195\169", "\240\159\152\128", 'say "x"', "back\\slash", "line\nbreak", "nul\0byte",
  "\1\31", ("long "):rep(80), ("\t"):rep(300), "/", "\127" }
local NUMBERS = { 0, 1, -1, 42, -1.25, 1e-7, 123456.789, 1e300, -1e300, 5e-324, 9007199254740991, -9007199254740991,
  0.5, 2147483648, 0.1 + 0.2, 1e17, 1e19, 2 ^ 63, -2 ^ 63, 3.0, 2 ^ 53 }

local function random_value(random, depth)
  local kind = random(depth > 4 and 5 or 8)
  if kind == 0 then return NULL end
  if kind == 1 then return random(2) == 0 end
  if kind == 2 then return NUMBERS[random(#NUMBERS) + 1] end
  if kind == 3 then return random(1000000) - 500000 end
  if kind == 4 then return TEXTS[random(#TEXTS) + 1] end
  local value = {}
  if kind == 5 then
    for i = 1, random(9) do value[i] = random_value(random, depth + 1) end
    return array(value)
  end
  for _ = 1, random(9) do
    local key = TEXTS[random(#TEXTS) + 1] .. random(20)
    value[key] = random_value(random, depth + 1)
  end
  return value
end

describe("json_decode", function()
  it("gives each kind of value its Lua type", function()
    assert.is_true(decode("true"))
    assert.is_false((decode("false")))
    assert.equal("x", decode('"x"'))
    assert.equal(12, decode(" 12 "))
    assert.equal(-0.25, decode("-0.25"))
    assert.equal("userdata", type(NULL))
    assert.equal(NULL, decode("[null]")[1])
    assert.same({ a = { 1, 2, { b = "c" } }, d = {} }, decode('{"a": [1, 2, {"b": "c"}], "d": {}}'))
  end)

  it("keeps integers exact", function()
    local big = "9007199254740993"
    if has_integers then
      assert.equal(tostring(decode(big)), big)
      assert.equal("integer", math_type(decode("1")))
      assert.equal("9223372036854775807", tostring(decode("9223372036854775807")))
      assert.equal("-9223372036854775808", tostring(decode("-9223372036854775808")))
      assert.equal("integer", math_type(decode("-9223372036854775808")))
    else
      assert.equal(big, decode(big))
      assert.equal("-" .. big, decode("-" .. big))
      assert.equal("9223372036854775807", decode("9223372036854775807"))
      assert.equal(2 ^ 53, decode("9007199254740992"))
      assert.equal(-2 ^ 53, decode("-9007199254740992"))
    end
  end)

  it("gives an integer beyond int64 as text unless a float says the same", function()
    assert.equal("9223372036854775808", decode("9223372036854775808"))
    assert.equal("18446744073709551615", decode("18446744073709551615"))
    assert.equal(1e19, decode("10000000000000000000"))
    assert.equal(1e300, decode("1" .. ("0"):rep(300)))
    assert.equal("1" .. ("0"):rep(400), decode("1" .. ("0"):rep(400)))
  end)

  it("gives what is larger than the largest float as text", function()
    assert.equal("1e400", decode("1e400"))
    assert.equal("-1.5E+999", decode("-1.5E+999"))
    assert.equal(0, decode("1e-400"))
  end)

  it("keeps floats floats and the sign of zero", function()
    assert.is_true(same(decode("1.0"), 1.0))
    assert.is_true(same(decode("1e2"), 1e2))
    assert.equal(-1 / 0, 1 / decode("-0"))
    assert.equal(-1 / 0, 1 / decode("-0.0"))
  end)

  it("reads strings of any length with any escape", function()
    assert.equal('\195\169\240\159\152\128\0"\\/\b\f\n\r\t', decode([["\u00e9\ud83d\uDE00\u0000\"\\\/\b\f\n\r\t"]]))
    for _, n in ipairs { 0, 1, 126, 127, 128, 129, 255, 256, 257, 1000, 1048576 } do
      assert.equal(("x"):rep(n), decode('"' .. ("x"):rep(n) .. '"'))
      assert.equal(("\n"):rep(n), decode('"' .. ("\\n"):rep(n) .. '"'))
    end
    assert.equal(1, decode('{"a\\nb": 1}')["a\nb"])
    assert.equal(2, decode('{"": 2}')[""])
  end)

  it("marks every array and no object", function()
    local value = decode('{"a": [], "b": {}, "c": [1], "d": [[]]}')
    assert.is_true(is_array(value.a))
    assert.is_nil(getmetatable(value.b))
    assert.is_true(is_array(value.c))
    assert.is_true(is_array(value.d) and is_array(value.d[1]))
    assert.is_nil(getmetatable(value))
    assert.equal(getmetatable(value.a), getmetatable(value.c))
    assert.not_equal(value.a, decode("[]"))
  end)

  it("lets the last of repeated keys count", function()
    assert.same({ a = 3, b = 2 }, decode('{"a": 1, "b": 2, "a": 3}'))
    assert.equal(NULL, decode('{"a": 1, "a": null}').a)
  end)

  it("is not led astray by siblings of other sizes", function()
    local parts, sizes = {}, { 3, 0, 100, 1, 7, 70000, 2, 0, 5 }
    for i, n in ipairs(sizes) do
      local items, members = {}, {}
      for k = 1, n do
        items[k] = k
        members[k] = ('"k%d": %d'):format(k, k)
      end
      parts[i] = ('{"items": [%s], "members": {%s}}'):format(table.concat(items, ","), table.concat(members, ","))
    end
    for i, part in ipairs(decode("[" .. table.concat(parts, ",") .. "]")) do
      assert.equal(sizes[i], #part.items)
      local count = 0
      for key, value in pairs(part.members) do
        count = count + 1
        assert.equal("k" .. value, key)
      end
      assert.equal(sizes[i], count)
    end
  end)

  it("reads 512 levels and refuses more", function()
    for _, pair in ipairs { { "[", "]" }, { '{"a":', "}" } } do
      local text = pair[1]:rep(511) .. "[]" .. pair[2]:rep(511)
      local value, depth = decode(text), 0
      while value do
        depth, value = depth + 1, value[1] or value.a
      end
      assert.equal(512, depth)
      local nothing, message = decode(pair[1] .. text .. pair[2])
      assert.is_nil(nothing)
      assert.matches("more than 512 levels deep", message, 1, true)
    end
    assert.is_nil((decode(("["):rep(1000000))))
  end)

  it("answers nil, a sentence and the offset for what is not JSON", function()
    for text, expected in pairs {
      [""] = { 0, "malformed JSON at byte 1: the text ends too early" },
      ["[1,]"] = { 3, "malformed JSON at byte 4: a value is missing" },
      ['{"a" 1}'] = { 5, "malformed JSON at byte 6: the colon after a key is missing" },
      ["[1 2]"] = { 3, "malformed JSON at byte 4: a comma or ] is missing" },
      ["1 2"] = { 2, "malformed JSON at byte 3: something follows the value" },
      ['"\\ud800"'] = { 1, "malformed JSON at byte 2: half of a surrogate pair stands alone" },
      ['["\255"]'] = { 2, "malformed JSON at byte 3: a string is not valid UTF-8" },
      ["[[[1, {}, 01"] = { 10, "malformed JSON at byte 11: a number must not begin with 0" },
    } do
      local value, message, offset = decode(text)
      assert.is_nil(value)
      assert.equal(expected[2], message)
      assert.equal(expected[1], offset)
    end
  end)

  it("raises on what is no string", function()
    assert.error(function() decode() end)
    assert.error(function() decode({}) end)
  end)
end)

describe("json_encode", function()
  it("writes each kind of value", function()
    assert.equal("null", encode(NULL))
    assert.equal("true", encode(true))
    assert.equal("false", encode(false))
    assert.equal("[1,2,[3]]", encode({ 1, 2, { 3 } }))
    assert.equal('{"a":{"b":[null]}}', encode({ a = { b = { NULL } } }))
    assert.equal('"\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u001f\127\195\169"', encode('"\\/\b\f\n\r\t\0\31\127\195\169'))
  end)

  it("writes numbers so that they come back", function()
    assert.equal("9007199254740991", encode(9007199254740991))
    assert.equal("-9007199254740991", encode(-9007199254740991))
    assert.equal("0.1", encode(0.1))
    assert.equal("0.30000000000000004", encode(0.1 + 0.2))
    assert.equal("1e+300", encode(1e300))
    assert.equal("-0.0", encode(-1 / (1 / 0)))
    assert.equal("100000000000000000.0", encode(1e17))
    assert.equal(has_integers and "3.0" or "3", encode(6 / 2))
    if has_integers then
      assert.equal("9007199254740993", encode(decode("9007199254740993")))
      assert.equal("-9223372036854775808", encode(rawget(math, "mininteger")))
    end
  end)

  it("tells an empty array from an empty object", function()
    assert.equal("{}", encode({}))
    assert.equal("[]", encode(array({})))
    assert.equal('{"a":[]}', encode(decode('{"a": []}')))
    assert.equal('{"a":{}}', encode(decode('{"a": {}}')))
    assert.equal("[[],{}]", encode(decode("[[], {}]")))
  end)

  it("leaves an array an array when a program empties or fills it", function()
    local value = decode('{"tags": ["a", "b"]}')
    table.remove(value.tags)
    table.remove(value.tags)
    assert.equal('{"tags":[]}', encode(value))
    value.tags[1] = "c"
    assert.equal('{"tags":["c"]}', encode(value))
  end)

  it("takes sequences that Lua keeps in its hash part", function()
    local value = {}
    for i = 50, 1, -1 do value[i] = i end
    local numbers = {}
    for i = 1, 50 do numbers[i] = i end
    assert.equal("[" .. table.concat(numbers, ",") .. "]", encode(value))
  end)

  it("reads tables raw", function()
    local value = setmetatable({ a = 1 }, { __index = { b = 2 }, __pairs = error, __len = error })
    assert.equal('{"a":1}', encode(value))
  end)

  it("says which value or key has no JSON form", function()
    local sparse = { 1, 2, 3 }
    sparse[2] = nil
    local hole = "stands behind the hole at [%d] (luphant.NULL fills one; an object needs strings as keys)"
    for _, case in ipairs {
      { { items = { 1, { price = 0 / 0 } } }, "items[2].price: NaN has no JSON form" },
      { { 1 / 0 }, "[1]: infinity has no JSON form" },
      { -1 / 0, "infinity has no JSON form" },
      { print, "a function has no JSON form" },
      { { a = { b = coroutine.create(print) } }, "a.b: a thread has no JSON form" },
      { { [1] = io.stdout }, "[1]: a userdata has no JSON form" },
      { nil, "nil has no JSON form (luphant.NULL is null)" },
      { { a = sparse }, "a: the key [3] " .. hole:format(2) },
      { { [10] = true }, "the key [10] " .. hole:format(1) },
      { { [1.5] = true }, "the key [1.5] fits no array and no object" },
      { { [0] = true }, "the key [0] fits no array and no object" },
      { { [-1] = true }, "the key [-1] fits no array and no object" },
      { { [2 ^ 60] = true }, "the key [1.1529215046068e+18] fits no array and no object" },
      { { x = { [true] = 1 } }, "x: the key (a boolean) is not a string" },
      { array({ name = 1 }), "the key name cannot be in an array" },
      { { a = "\255" }, "a: the string is not valid UTF-8" },
      { { { ["\255\n"] = 1 } }, '[1]["??"]: this key is not valid UTF-8' },
      { { ["two words"] = print }, '["two words"]: a function has no JSON form' },
      { { [("k"):rep(100)] = print }, '["' .. ("k"):rep(40) .. '..."]: a function has no JSON form' },
    } do
      local text, message = encode(case[1])
      assert.is_nil(text)
      assert.equal(case[2], message)
    end
  end)

  it("refuses keys of both kinds in one table, whichever comes first", function()
    for _, value in ipairs { { 1, 2, x = 3 }, { x = 1, [7] = 2 }, { x = 1, y = 2, [1] = 3 }, { [3] = 1, z = 2 } } do
      local text, message = encode({ at = value })
      assert.is_nil(text)
      assert.matches("^at: the key .+ cannot be in an ", message)
    end
  end)

  it("refuses cycles and more than 512 levels", function()
    local cycle = {}
    cycle.a = { b = { cycle } }
    local text, message = encode(cycle)
    assert.is_nil(text)
    assert.matches("the table contains itself", message, 1, true)
    local deep = {}
    for _ = 1, 511 do deep = { deep } end
    assert.equal(("["):rep(511) .. "{}" .. ("]"):rep(511), encode(deep))
    text, message = encode({ deep })
    assert.is_nil(text)
    assert.matches("more than 512 levels deep", message, 1, true)
    local shared = { 1 }
    assert.equal("[[1],[1]]", encode({ shared, shared }))
  end)

  it("starts afresh after a refusal", function()
    assert.is_nil((encode({ "text before", print })))
    assert.equal('["x"]', encode({ "x" }))
  end)
end)

describe("json_array", function()
  it("marks the table it is given", function()
    local value = {}
    assert.equal(value, array(value))
    assert.is_true(is_array(value))
    assert.equal(value, array(value))
  end)

  it("does not replace another metatable and takes tables only", function()
    assert.error_matches(function() array(setmetatable({}, {})) end, "metatable of its own")
    assert.error(function() array("x") end)
  end)
end)

describe("JSON there and back", function()
  it("keeps random documents as they are", function()
    local random = generator(4711)
    for _ = 1, 1500 do
      local value = random_value(random, 0)
      local text = assert(encode(value))
      assert.is_true(same(value, decode(text)), text)
    end
  end)

  it("makes the same value of what it accepts among damaged documents", function()
    local random, accepted = generator(815), 0
    local bytes = '{}[]",:\\u0d89e-+.tfn \n\195\169\128'
    for _ = 1, 8000 do
      local text = encode(random_value(random, 3))
      local at, put = random(#text) + 1, random(#bytes) + 1
      text = text:sub(1, at - 1) .. bytes:sub(put, put) .. text:sub(at + random(2))
      local value, message = decode(text)
      if value == nil then
        assert.matches("^malformed JSON at byte %d+: ", message)
      else
        accepted = accepted + 1
        assert.is_true(same(value, decode(encode(value))), text)
      end
    end
    assert.is_true(accepted > 500)
  end)

  -- To see it fail: let scratch_take() in csrc/bind/ljson.c leave the buffer in the registry (LuaJIT, whose
  -- lua_pushlstring collects before it copies).
  it("holds while finalizers use it in the middle of a call", function()
    local runs, inside, newproxy = 0, 0, rawget(_G, "newproxy")
    local plain = '"' .. ("\\n"):rep(1000) .. '"'
    local function finalizer()
      runs = runs + 1
      assert(decode(plain) == ("\n"):rep(1000))
      assert(encode({ "from a finalizer", ("z"):rep(3000) }))
    end
    local function litter()
      if newproxy then
        getmetatable(newproxy(true)).__gc = finalizer
      else
        setmetatable({}, { __gc = finalizer })
      end
    end
    -- The next cycle begins as soon as one ends (the pause counts from the end of a cycle).
    local pause = collectgarbage("setpause", 1)
    finally(function() collectgarbage("setpause", pause) end)
    collectgarbage()
    local items = {}
    for i = 1, 20 do items[i] = { id = i, text = ("a\n"):rep(200) .. i } end
    local value = { 0, items }
    local rest = encode(value):sub(3)
    local texts = {}
    for i = 1, 100 do texts[i] = "" end
    local round = 0
    -- How many finalizers a round lets run inside is the collector's affair: go on until there were enough.
    while round < 30 or (inside < 300 and round < 2000) do
      round = round + 1
      for _ = 1, 100 do litter() end
      -- Nothing else takes memory here, so collection has to happen inside of the calls. (A new text each
      -- time: one that is there already takes none.)
      local before = runs
      for i = 1, 100 do
        value[1] = round * 100 + i
        texts[i] = encode(value)
      end
      inside = inside + runs - before
      for i = 1, 100 do
        if texts[i] ~= "[" .. round * 100 + i .. rest then error("a finalizer wrote into our buffer") end
      end
      assert.is_true(same(items[20], decode("[0" .. rest)[2][20]))
    end
    assert.is_true(inside >= 300)
  end)
end)
