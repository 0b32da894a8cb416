-- schema/draft/plan.lua - statements in an order in which the server takes them: what goes first frees what comes, and
-- what is used by others goes last. Pure.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"

local PLACES = {
  "drop triggers", "drop views", "drop foreign keys", "drop constraints", "drop indexes", "drop columns",
  "drop tables", "drop functions that change",
  "schemas", "extensions", "types", "sequences", "functions", "tables", "columns", "constraints", "indexes",
  "foreign keys", "statistics", "views", "columns after views", "functions with parsed bodies", "triggers", "rules",
  "policies", "flags", "owners", "owned by", "default grants", "grants", "comments",
  "drop functions", "drop sequences", "drop types", "drop extensions", "drop schemas",
}

---@class luphant.schema.DraftPlan
---@field left string[] what no statement was found for
local Plan = {}
Plan.__index = Plan

--- One more statement.
function Plan:put(place, sql) table.insert(self.places[place], sql) end

--- One that makes the object `id`: it comes behind those it mentions.
function Plan:put_by_name(place, id, sql)
  self.named[place] = self.named[place] or {}
  self.named[place][id] = sql
end

--- One more object to drop; those of a kind go together, whatever they need of each other.
function Plan:drop(place, noun, id)
  self.drops[place] = self.drops[place] or {}
  self.drops[place][noun] = self.drops[place][noun] or {}
  table.insert(self.drops[place][noun], id)
end

--- Something that a person has to write.
function Plan:leave(what) table.insert(self.left, what) end

local function mentions(sql, id)
  local at, last = sql:find(id, 1, true)
  while at do
    local before, after = sql:sub(at - 1, at - 1), sql:sub(last + 1, last + 1)
    if not before:find "[%w_$\"]" and not after:find "[%w_$\"]" then return true end
    at, last = sql:find(id, last + 1, true)
  end
  return false
end

-- Those a statement mentions first; of a circle somebody comes first.
local function in_order(named)
  local out, state = {}, {}
  local ids = compat.sorted_keys(named)
  local function visit(id)
    if state[id] then return end
    state[id] = true
    for _, other in ipairs(ids) do
      if other ~= id and mentions(named[id], other) then visit(other) end
    end
    out[#out + 1] = named[id]
  end
  for _, id in ipairs(ids) do visit(id) end
  return out
end

--- All of it.
---@return string[]
function Plan:statements()
  local out = {}
  local is_function_made = #self.places.functions > 0
  for _, place in ipairs(PLACES) do
    -- Bodies may speak of tables that are made only later.
    if place == "functions" and is_function_made then out[#out + 1] = "set local check_function_bodies = off" end
    for _, noun in ipairs(compat.sorted_keys(self.drops[place] or {})) do
      out[#out + 1] = ("drop %s %s"):format(noun, table.concat(self.drops[place][noun], ", "))
    end
    for _, sql in ipairs(in_order(self.named[place] or {})) do out[#out + 1] = sql end
    for _, sql in ipairs(self.places[place]) do out[#out + 1] = sql end
  end
  return out
end

return {
  mentions = mentions,
  --- `defaults`: the default privileges where the statements will run.
  new = function(defaults)
    local self = setmetatable({ places = {}, named = {}, drops = {}, left = {}, defaults = defaults or {} }, Plan)
    for _, place in ipairs(PLACES) do self.places[place] = {} end
    return self
  end,
}
