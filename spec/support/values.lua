-- spec.support.values: what the specs of spec/types share: connections in each result format, exact
-- comparison, numbers of chance that are the same in every run, and what psql prints.
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local luphant = require "luphant"
local shell = require "luphant.testing.shell"

local values = {}

local NULL = luphant.NULL
local math_type = rawget(math, "type") or function() return "number" end

values.unpack = rawget(table, "unpack") or rawget(_G, "unpack")

--- Are all numbers doubles here?
values.is_luajit = rawget(_G, "jit") ~= nil

--- The ways a result can travel.
values.formats = { "auto", "binary", "text" }

--- A session of its own, in UTC. `options` as for luphant.connect.
function values.connect(options)
  local conn = assert(luphant.connect(env.url(), options))
  assert(conn:execute "set timezone = 'UTC'")
  return conn
end

--- One session for each result format: { auto =, binary =, text = }.
function values.sessions(options)
  local list = {}
  for _, format in ipairs(values.formats) do
    local copy = { result_format = format }
    for key, value in pairs(options or {}) do copy[key] = value end
    list[format] = values.connect(copy)
  end
  return list
end

function values.close(list)
  for _, conn in pairs(list) do conn:close() end
end

--- An int8 as this Lua shows it: an integer, on LuaJIT beyond 2^53 the digits.
function values.int8(digits)
  if not values.is_luajit then return assert(rawget(math, "tointeger")(digits)) end
  local number = tonumber(digits)
  local is_exact = math.abs(number) <= 2 ^ 53 and ("%.0f"):format(number) == digits
  return is_exact and number or digits
end

local function same_number(a, b)
  if a ~= a then return b ~= b end
  return a == b and math_type(a) == math_type(b) and 1 / a == 1 / b
end

local function lower_of(t)
  local meta = getmetatable(t)
  return meta and meta.lower or nil
end

--- Equal in type, number subtype, sign of zero, NaN and lower bounds, all the way down.
function values.same(a, b)
  if type(a) ~= type(b) then return false end
  if type(a) == "number" then return same_number(a, b) end
  if type(a) ~= "table" then return a == b end
  if (lower_of(a) or lower_of(b)) and not values.same(lower_of(a), lower_of(b)) then return false end
  for key, value in pairs(a) do
    if not values.same(value, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

local function show_number(n)
  if n ~= n then return "nan" end
  local text = math_type(n) == "integer" and tostring(n) or ("%.17g"):format(n)
  return math_type(n) == "float" and not text:find "[.ein]" and text .. ".0" or text
end

--- A value as source text, for messages.
function values.show(value)
  if value == NULL then return "NULL" end
  if type(value) == "number" then return show_number(value) end
  if type(value) == "string" then
    return #value > 200 and ("%q... (%d bytes)"):format(value:sub(1, 100), #value) or ("%q"):format(value)
  end
  if type(value) ~= "table" then return tostring(value) end
  local keys, parts = {}, {}
  for key in pairs(value) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  for i, key in ipairs(keys) do parts[i] = "[" .. tostring(key) .. "] = " .. values.show(value[key]) end
  local bounds = lower_of(value) and " lower " .. values.show(lower_of(value)) or ""
  return "{" .. table.concat(parts, ", ") .. "}" .. bounds
end

--- Raises unless both are the same; `what` says what was looked at.
function values.expect(expected, got, what)
  if values.same(expected, got) then return end
  error(("%s: expected %s, got %s"):format(what, values.show(expected), values.show(got)), 2)
end

--- random(n): a whole number from 0 to n - 1, n up to 2^31; the same series on every Lua and in every run.
function values.generator(seed)
  return function(n)
    seed = (seed * 16807) % 2147483647
    return math.floor(seed / 2147483647 * n)
  end
end

--- What psql prints (-At) for each statement of a list, run in one session; NULL is "<NULL>". Columns of a row are
--- joined by "|"; a statement gives exactly one row.
function values.psql(statements)
  local path = assert(shell.run "mktemp"):gsub("%s+$", "")
  shell.write_file(path, "\\pset null <NULL>\n\\pset recordsep_zero\n" .. table.concat(statements, ";\n") .. ";\n")
  local words = { "env", "PGTZ=UTC", "PGCLIENTENCODING=UTF8", env.bin_dir() .. "/psql", "-X", "-q", "-A", "-t",
    "-v", "ON_ERROR_STOP=1", "-d", env.url(), "-f", path }
  local pipe = assert(io.popen(shell.line(words), "r"))
  local output = pipe:read "*a"
  pipe:close()
  os.remove(path)
  local rows = {}
  for row in output:gmatch "([^%z]*)%z" do rows[#rows + 1] = row end
  assert(#rows == #statements, ("psql answered %d of %d statements"):format(#rows, #statements))
  return rows
end

return values
