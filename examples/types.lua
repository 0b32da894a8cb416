-- Values both ways: Lua tables go in as arrays, composites, ranges and JSON, and come back as such.
--
--     DATABASE_URL=postgres:///postgres lua examples/types.lua
--
-- SPDX-License-Identifier: MIT

local luphant = require "luphant"

local conn = assert(luphant.connect(os.getenv "DATABASE_URL"))

-- A Lua value as source text, keys sorted.
local function show(value)
  if value == luphant.NULL then return "NULL" end
  if type(value) == "string" then return ("%q"):format(value) end
  if type(value) ~= "table" then return tostring(value) end
  local keys, parts = {}, {}
  for key in pairs(value) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  for i, key in ipairs(keys) do
    parts[i] = (type(key) == "number" and "" or key .. " = ") .. show(value[key])
  end
  return "{" .. table.concat(parts, ", ") .. "}"
end

-- Sends a value as a parameter of a type and prints what comes back.
local function there_and_back(type_name, value)
  local back = assert(conn:query_value("select $1::" .. type_name, value))
  print(("%-16s %-40s %s"):format(type_name, show(value), show(back)))
end

-- Types of our own are looked up in the catalog when first met.
assert(conn:script [[
  create type pg_temp.mood as enum ('calm', 'curious');
  create type pg_temp.animal as (name text, kg numeric, moods pg_temp.mood[]);
]])

print(("%-16s %-40s %s"):format("type", "sent", "came back"))
there_and_back("boolean", true)
there_and_back("integer", 42)
there_and_back("bigint", "9007199254740993") -- beyond 2^53: LuaJIT gets the digits, Lua 5.4 an integer
there_and_back("double precision", 0.1)
there_and_back("numeric", "12345678901234567890.10")
there_and_back("text", "naïve")
there_and_back("bytea", "\0\1\2")
there_and_back("uuid", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11")
there_and_back("timestamptz", "2024-02-29 12:00:00+02")
there_and_back("interval", "36 hours")
there_and_back("text[]", { "a", luphant.NULL, 'say "hi"' })
there_and_back("integer[]", { { 1, 2 }, { 3, 4 } })
there_and_back("jsonb", { list = { 1, 2.5 }, none = luphant.NULL })
there_and_back("int4range", { lower = 1, upper = 9, bounds = "[]" })
there_and_back("pg_temp.animal", { name = "Ida", kg = "5400.25", moods = { "calm" } })

-- What does not fit is refused before it is sent, and says which parameter is meant.
local _, err = conn:query_value("select $1::smallint + $2::integer", 40000, 1)
print(err.kind, err.message)

conn:close()
