-- strict.lua - a view of a pool (and of the connections and transactions it gives) whose verbs raise their errors.
--
--   local strict = db:strict()
--   local id = strict:query_value("insert into users (name) values ($1) returning id", name)   -- no assert needed
--
-- The view holds nothing of its own: it calls the verb it stands for and raises the error object where that one would
-- return it. What a verb hands to a function of the caller is a strict view, too.
--
-- SPDX-License-Identifier: MIT

local strict = {}

local INNER = {} -- the key under which a view keeps what it is a view of

local view

-- What may carry verbs of its own.
local function is_object(value)
  local mt = type(value) == "table" and getmetatable(value)
  return type(mt) == "table" and (mt.has_verbs or (value.query ~= nil and value.execute ~= nil))
end

local function shown(value, ...)
  if is_object(value) then return view(value), ... end
  return value, ...
end

local function raised(...)
  local value, err = ...
  if value == nil and err ~= nil then error(err, 0) end
  return shown(...)
end

-- Functions of the caller get views where they would get a pool's connection or transaction.
local function with_views(fn)
  if type(fn) ~= "function" then return fn end
  return function(...) return fn(shown(...)) end
end

local TAKES_FUNCTION = { transaction = true, with = true }

local calls = setmetatable({}, {
  __index = function(calls, name)
    local function call(self, first, ...)
      local inner = rawget(self, INNER)
      if inner == nil then error(("call it with a colon: strict:%s(...)"):format(name), 2) end
      if TAKES_FUNCTION[name] then first = with_views(first) end
      return raised(inner[name](inner, first, ...))
    end
    calls[name] = call
    return call
  end,
})

local metatable = {
  __name = "luphant.strict",
  __index = function(self, name)
    local value = rawget(self, INNER)[name]
    if type(value) == "function" then return calls[name] end
    return value
  end,
  __tostring = function(self) return "strict " .. tostring(rawget(self, INNER)) end,
  __close = function(self, reason)
    local close = getmetatable(rawget(self, INNER)).__close
    if close then close(rawget(self, INNER), reason) end
  end,
}

--- A view of `object` whose verbs raise.
---@generic T
---@param object T
---@return T
function view(object)
  return setmetatable({ [INNER] = object }, metatable)
end

strict.view = view

return strict
