-- luphant.migrate.lint.known - what is known of the schema while migrations are read one after the other.
--
-- Two sources: the migrations that came before in the folder, and facts from a database where somebody passed them
-- in (lint/facts.lua). Nothing here is guessed: what is not known answers nil, and rules that need it stay silent.
-- A relation remembers which migration made it: who made it a moment ago is alone with it and needs no care.
--
-- SPDX-License-Identifier: MIT

local datatype = require "luphant.migrate.ddl.datatype"
local learn = require "luphant.migrate.lint.learn"

local Known = {}
Known.__index = Known

local M = {}

---@class (exact) luphant.migrate.lint.Relation
---@field name string
---@field schema? string
---@field kind string "table", "view", "materialized view", ...
---@field born? table the migration that made it, nil when it comes from facts
---@field columns table<string, { type: luphant.migrate.ddl.Type?, not_null: boolean, default: string? }>
---@field indexes table<string, table> name -> { name, columns, unique, valid, partial, born }
---@field constraints table[] { name, kind, columns, expression, validated, references }
---@field rows? number estimate, from facts
---@field parent? string of a partition
---@field default_partition? string name
---@field complete boolean is everything about it known?

local function same_schema(a, b) return (a or "public") == (b or "public") end

local function find(list, name)
  if not name then return nil end
  local fallback
  for i = #list, 1, -1 do
    local item = list[i]
    if item.name == name.name then
      if same_schema(item.schema, name.schema) then return item end
      -- Without a schema the search path decides, which nobody knows here.
      if not name.schema or not item.schema then fallback = fallback or item end
    end
  end
  return fallback
end

--- The relation of that name, or nil.
---@param name luphant.migrate.ddl.Name?
---@return luphant.migrate.lint.Relation?
function Known:relation(name) return find(self.relations, name) end

--- A type or domain: { kind, born, name }.
function Known:type(name) return find(self.types, name) end

--- An index and the relation it is of.
function Known:index(name)
  for i = #self.relations, 1, -1 do
    local relation = self.relations[i]
    local index = name and relation.indexes[name.name]
    if index and (not name.schema or same_schema(relation.schema, name.schema)) then return index, relation end
  end
end

--- Volatility of a function from facts: "v", "s", "i", or nil.
function Known:function_volatility(name) return self.functions[name] end

local function each_constraint(relation, fn)
  for _, item in ipairs(relation.constraints) do
    local result = fn(item)
    if result then return result end
  end
end

--- Names of the partitions of a table, as far as they are known.
function Known:partitions(name)
  local parent, list = self:relation(name), {}
  for _, relation in ipairs(self.relations) do
    if parent and relation.parent == parent.name and same_schema(relation.schema, parent.schema) then
      list[#list + 1] = (relation.schema and relation.schema .. "." or "") .. relation.name
    end
  end
  return list
end

--- Is there a valid CHECK that proves the column not to be null?
function Known:proves_not_null(name, column)
  local relation = self:relation(name)
  if not relation then return false end
  local wanted = column:lower() .. " is not null"
  return each_constraint(relation, function(item)
    if item.kind ~= "check" or not item.validated then return nil end
    local text = item.expression:lower():gsub('[()"]', ""):gsub("%s+", " "):gsub("^%s", ""):gsub("%s$", "")
    return text == wanted
  end) or false
end

--- Does a CHECK of the table mention the column? Then a change of its type has all rows checked again.
function Known:is_checked(name, column)
  local relation = self:relation(name)
  local word = "%f[%w_]" .. column:lower():gsub("%p", "%%%0") .. "%f[^%w_]"
  return relation ~= nil and each_constraint(relation, function(item)
    return item.kind == "check" and (item.expression or ""):lower():find(word) ~= nil
  end) or false
end

--- Constraints of other relations that point at this one.
function Known:referencing(name)
  local target, list = self:relation(name), {}
  for _, relation in ipairs(self.relations) do
    each_constraint(relation, function(item)
      if item.kind == "foreign_key" and relation ~= target and self:relation(item.references) == target and target then
        list[#list + 1] = { relation = relation, constraint = item }
      end
    end)
  end
  return list
end

--- Takes note of a statement that has been read.
---@param ddl luphant.migrate.Ddl
function Known:learn(ddl) learn(self, ddl) end

-- ---- from facts --------------------------------------------------------------------------------------------

local function from_fact(fact)
  local relation = {
    name = fact.name, schema = fact.schema, kind = fact.kind or "table", columns = {}, indexes = {}, constraints = {},
    rows = fact.rows, parent = fact.parent, default_partition = fact.default_partition, complete = true,
    is_fact = true, is_partitioned = fact.is_partitioned,
  }
  for _, column in ipairs(fact.columns or {}) do
    relation.columns[column.name] = {
      type = datatype.read(column.type), not_null = column.not_null, default = column.default,
    }
  end
  for _, index in ipairs(fact.indexes or {}) do relation.indexes[index.name] = index end
  for _, item in ipairs(fact.constraints or {}) do relation.constraints[#relation.constraints + 1] = item end
  return relation
end

--- Nothing known but the facts.
---@param facts? luphant.migrate.lint.Facts
function M.new(facts)
  local known = setmetatable({ relations = {}, types = {}, functions = facts and facts.functions or {},
    counted_days = facts and facts.counted_days or 0 }, Known)
  for _, fact in ipairs(facts and facts.relations or {}) do known.relations[#known.relations + 1] = from_fact(fact) end
  return known
end

return M
