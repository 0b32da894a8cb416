-- luphant.migrate.environment - which environment a database belongs to, kept in the database itself.
--
-- A name in a configuration file says where a program believes it is; one in the database says where it is. What
-- destroys, or sets the history right by hand, asks twice where the environment is protected. Databases called
-- production, prod or live are, unless they were told not to be.
--
-- SPDX-License-Identifier: MIT

local history = require "luphant.migrate.history"
local tables = require "luphant.migrate.tables"

local M = {}

local PROTECTED = { production = true, prod = true, live = true }

---@class (exact) luphant.migrate.Environment
---@field name? string absent: nobody has said
---@field protected boolean

--- Reads it. Creates nothing.
---@param q table
---@param place luphant.migrate.Place
---@return luphant.migrate.Environment?
---@return luphant.error?
function M.read(q, place)
  local is_there, err = q:query_value("select to_regclass($1) is not null", place.meta)
  if err then return nil, err end
  local known = {}
  if is_there then
    local rows
    rows, err = q:query(("select key, value from %s where key in ('environment', 'protected')"):format(place.meta))
    if not rows then return nil, err end
    for _, row in ipairs(rows) do known[row.key] = row.value end
  end
  local name = known.environment
  local is_protected = name ~= nil and PROTECTED[name:lower()] == true
  if known.protected then is_protected = known.protected == "yes" end
  return { name = name, protected = is_protected }
end

local SET = "insert into %s (key, value) values ($1, $2) on conflict (key) do update set value = excluded.value"

--- Says it.
---@param conn luphant.connection
---@param place luphant.migrate.Place
---@param name? string nil: as it was
---@param protected? boolean nil: as it was, or as the name says
---@return luphant.migrate.Environment?
---@return luphant.error?
function M.set(conn, place, name, protected)
  local ok, err = tables.ensure(conn, place)
  if not ok then return nil, err end
  local answer = { environment = name, protected = protected ~= nil and (protected and "yes" or "no") or nil }
  ok, err = conn:transaction(function(tx)
    for key, value in pairs(answer) do
      local done, why = tx:execute(SET:format(place.meta), key, value)
      if not done then return nil, why end
    end
    return history.tell(tx, place, { action = "environment", name = name, detail = answer })
  end)
  if not ok then return nil, err end
  return M.read(conn, place)
end

return M
