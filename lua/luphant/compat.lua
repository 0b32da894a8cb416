-- compat.lua - what differs between Lua 5.4 and LuaJIT, settled once for the Lua side.
--
-- Everything above asks here instead of testing _VERSION itself. Only differences and the few table
-- helpers that every room needs; nothing of luphant is required and nothing global is changed.
--
-- SPDX-License-Identifier: MIT

local floor = math.floor

local compat = {}

-- `rawget`, because the names exist on one Lua only and `luacheck std="min"` knows neither.
compat.is_luajit = rawget(_G, "jit") ~= nil
--- True where 1 and 1.0 are different kinds of number (Lua 5.3 and later).
compat.has_integers = rawget(math, "type") ~= nil
--- "Lua 5.4" or "LuaJIT 2.1.0-beta3": for messages and reports.
compat.version = compat.is_luajit and rawget(_G, "jit").version or _VERSION

compat.unpack = rawget(table, "unpack") or rawget(_G, "unpack")

--- Like table.pack: keeps the number of values, trailing nils included, in `n`.
compat.pack = rawget(table, "pack") or function(...)
  return { n = select("#", ...), ... }
end

local math_type = rawget(math, "type")

--- Is `value` a number without a fraction? Floats such as 3.0 count, infinities and NaN do not.
---@param value any
---@return boolean
function compat.is_integral(value)
  if type(value) ~= "number" then return false end
  if math_type and math_type(value) == "integer" then return true end
  return value == floor(value) and value - value == 0
end

--- The digits of an integral number, never "5432.0" and never an exponent.
---@param value number
---@return string
function compat.digits(value)
  return (("%.0f"):format(value))
end
if compat.has_integers then
  function compat.digits(value)
    if math_type(value) == "integer" then return ("%d"):format(value) end
    return (("%.0f"):format(value))
  end
end

--- tostring for messages: integral numbers as plain digits on both Lua versions.
---@param value any
---@return string
function compat.text(value)
  return compat.is_integral(value) and compat.digits(value) or tostring(value)
end

local setfenv = rawget(_G, "setfenv")

--- Compiles Lua source (never bytecode) with `env` as its globals.
---@param text string
---@param chunkname string
---@param env table
---@return function|nil chunk
---@return string|nil message
function compat.load(text, chunkname, env)
  if not setfenv then return load(text, chunkname, "t", env) end
  -- The "t" mode of LuaJIT's load is an extension, so bytecode is refused by its first byte.
  if text:byte(1) == 27 then return nil, "attempt to load a binary chunk" end
  local chunk, message = rawget(_G, "loadstring")(text, chunkname)
  if not chunk then return nil, message end
  return setfenv(chunk, env)
end

--- Is the caller inside a coroutine (as opposed to the main thread)?
---@return boolean
function compat.in_coroutine()
  local co, is_main = coroutine.running()
  return co ~= nil and not is_main
end

-- ngx_lua has put functions of its own in their place: for them the coroutines of another request are dead. And the
-- original finds light threads suspended that have ended; those have no frame left.
local is_nginx = rawget(coroutine, "_status") ~= nil
local raw_status = rawget(coroutine, "_status") or coroutine.status
local raw_create = rawget(coroutine, "_create") or coroutine.create
local raw_resume = rawget(coroutine, "_resume") or coroutine.resume
local raw_yield = rawget(coroutine, "_yield") or coroutine.yield

--- coroutine.status, for any coroutine of this Lua state that has begun.
---@param co thread
---@return string
function compat.thread_status(co)
  if is_nginx and not debug.getinfo(co, 0, "l") then return "dead" end
  return raw_status(co)
end

--- Something that is like a task, and never ends.
---@return thread
function compat.endless_task()
  local co = raw_create(function()
    while true do raw_yield() end
  end)
  raw_resume(co)
  return co
end

--- A shallow copy; `nil` gives an empty table.
---@param from table|nil
---@return table
function compat.copy(from)
  local to = {}
  if from then
    for key, value in pairs(from) do to[key] = value end
  end
  return to
end

--- The string keys of a table in alphabetical order, so that messages and reports are stable.
---@param from table
---@return string[]
function compat.sorted_keys(from)
  local keys = {}
  for key in pairs(from) do
    if type(key) == "string" then keys[#keys + 1] = key end
  end
  table.sort(keys)
  return keys
end

return compat
