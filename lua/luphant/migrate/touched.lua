-- luphant.migrate.touched - which tables that are there a plan works on, as far as the texts of its statements tell.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"
local ddl_of = require "luphant.migrate.ddl"
local losses = require "luphant.migrate.losses"
local parts = require "luphant.migrate.parts"

local M = {}

local function add(names, name)
  if name and not names[name] then
    names[name] = true
    names[#names + 1] = name
  end
end

local RELATIONS = { table = true, ["materialized view"] = true }

local function of_statement(names, sql)
  local ddl = ddl_of.read(sql)
  add(names, ddl.table and ddl.table.text)
  for _, name in ipairs(RELATIONS[ddl.object or ""] and ddl.names or {}) do add(names, name.text) end
  for _, action in ipairs(ddl.actions) do add(names, action.relation and action.relation.text) end
  local list, is_blind = losses.of(sql)
  for _, loss in ipairs(list) do
    if loss.what == "schema" or loss.what == "type" then is_blind = true end
    add(names, loss.name)
  end
  return is_blind
end

-- Names as written; nil when a text does not tell all of them.
local function names_of(steps)
  local names = {}
  for _, step in ipairs(steps) do
    for _, part in ipairs(parts.of(step)) do
      if part.fn then return nil end
      for _, statement in ipairs(part.section.statements) do
        if of_statement(names, statement.sql) then return nil end
      end
    end
  end
  return names
end

--- The tables, quoted and with their schemas, sorted; nil when it cannot be told, which means: all.
---@param q table
---@param steps luphant.migrate.Step[]
---@return string[]? tables
---@return luphant.error? err
function M.of(q, steps)
  local names = names_of(steps)
  if not names then return nil end
  local out = {}
  for _, name in ipairs(names) do
    local full, err = q:query_value([[
      select format('"%s"."%s"', replace(n.nspname, '"', '""'), replace(c.relname, '"', '""'))
        from (select to_regclass($1)) r (id)
        left join pg_class c on c.oid = r.id and c.relkind in ('r', 'p', 'm')
        left join pg_namespace n on n.oid = c.relnamespace]], name)
    if err then return nil, err end
    if full ~= '"".""' then out[full] = true end
  end
  return compat.sorted_keys(out)
end

return M
