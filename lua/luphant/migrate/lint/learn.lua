-- luphant.migrate.lint.learn - what a statement changes about what is known of the schema.
--
-- SPDX-License-Identifier: MIT

local column_of = require "luphant.migrate.ddl.column"

local function add_constraint(relation, constraint)
  local given = column_of.constraint_name(constraint, relation.name)
  for _, item in ipairs(relation.constraints) do
    if item.name == given then return end
  end
  relation.constraints[#relation.constraints + 1] = {
    name = given, kind = constraint.kind, columns = constraint.columns, expression = constraint.expression,
    validated = not constraint.not_valid, references = constraint.references,
  }
  if constraint.kind == "primary_key" then
    for _, name in ipairs(constraint.columns) do
      if relation.columns[name] then relation.columns[name].not_null = true end
    end
  end
  if (constraint.kind == "unique" or constraint.kind == "primary_key") and not constraint.using_index then
    relation.indexes[given] = { name = given, columns = constraint.columns, unique = true, valid = true }
  end
end

local function add_column(relation, column)
  relation.columns[column.name] = { type = column.type, not_null = column.not_null, default = column.default }
  for _, constraint in ipairs(column.constraints) do add_constraint(relation, constraint) end
end

local function new_relation(known, name, kind, complete)
  local relation = {
    name = name.name, schema = name.schema, kind = kind, born = known.now, columns = {}, indexes = {},
    constraints = {}, complete = complete,
  }
  known.relations[#known.relations + 1] = relation
  return relation
end

local function forget(list, item)
  for i = #list, 1, -1 do
    if list[i] == item then table.remove(list, i) end
  end
end

local function create_table(known, ddl)
  local there = ddl.name and known:relation(ddl.name)
  if not ddl.name or (there and ddl.if_not_exists and not there.is_fact) then return end
  if there and there.is_fact then
    there.born = known.now -- the facts know more of it than this statement
    return
  end
  local relation = new_relation(known, ddl.name, "table", not (ddl.is_query or ddl.partition_of or ddl.has_like))
  relation.temporary, relation.is_partitioned = ddl.temporary, ddl.is_partitioned
  for _, column in ipairs(ddl.columns or {}) do
    relation.columns[column.name] = { type = column.type, not_null = column.not_null, default = column.default }
  end
  for _, constraint in ipairs(ddl.constraints or {}) do add_constraint(relation, constraint) end
  if ddl.partition_of then
    relation.parent = ddl.partition_of.name
    local parent = known:relation(ddl.partition_of)
    if parent and ddl.is_default then parent.default_partition = relation.name end
  end
end

local function create_view(kind)
  return function(known, ddl)
    if ddl.name and not known:relation(ddl.name) then new_relation(known, ddl.name, kind, false) end
  end
end

local function create_index(known, ddl)
  local relation = known:relation(ddl.table)
  if not relation or not ddl.name then return end
  relation.indexes[ddl.name.name] = relation.indexes[ddl.name.name] or {
    name = ddl.name.name, columns = ddl.index_columns, unique = ddl.unique, valid = true, partial = ddl.is_partial,
    definition = ddl.definition, born = known.now,
  }
end

local function create_type(kind)
  return function(known, ddl)
    if not ddl.name then return end
    local constrained = ddl.definition and (ddl.definition.not_null or #ddl.definition.constraints > 0)
    known.types[#known.types + 1] = {
      name = ddl.name.name, schema = ddl.name.schema, kind = kind, born = known.now, constrained = constrained,
      definition = ddl.definition,
    }
  end
end

local function drop(known, ddl)
  for _, name in ipairs(ddl.names or {}) do
    if ddl.object == "index" then
      local index, relation = known:index(name)
      if index then relation.indexes[name.name] = nil end
    elseif ddl.object == "type" or ddl.object == "domain" then
      forget(known.types, known:type(name))
    else
      forget(known.relations, known:relation(name))
    end
  end
end

local ACTIONS = {
  add_column = function(relation, action) add_column(relation, action.definition) end,
  add_constraint = function(relation, action)
    local constraint = action.constraint
    if not constraint then return end
    local index = constraint.using_index and relation.indexes[constraint.using_index]
    if index then constraint.columns = index.columns end
    add_constraint(relation, constraint)
  end,
  drop_column = function(relation, action) relation.columns[action.column or ""] = nil end,
  drop_constraint = function(relation, action)
    for i = #relation.constraints, 1, -1 do
      if relation.constraints[i].name == action.name then table.remove(relation.constraints, i) end
    end
    if action.name then relation.indexes[action.name] = nil end
  end,
  validate_constraint = function(relation, action)
    for _, item in ipairs(relation.constraints) do
      if item.name == action.name then item.validated = true end
    end
  end,
  change_type = function(relation, action)
    local column = relation.columns[action.column or ""]
    if column then column.type = action.type end
  end,
  set_not_null = function(relation, action)
    local column = relation.columns[action.column or ""]
    if column then column.not_null = true end
  end,
  drop_not_null = function(relation, action)
    local column = relation.columns[action.column or ""]
    if column then column.not_null = false end
  end,
  set_default = function(relation, action)
    local column = relation.columns[action.column or ""]
    if column then column.default = action.default end
  end,
  rename_column = function(relation, action)
    local column = relation.columns[action.column or ""]
    if not column or not action.to then return end
    relation.columns[action.column], relation.columns[action.to] = nil, column
  end,
  rename = function(relation, action) relation.name = action.to or action.name or relation.name end,
  set_schema = function(relation, action) relation.schema = action.to or action.name end,
}

local function alter(known, ddl)
  local relation = known:relation(ddl.table)
  if not relation then return end
  for _, action in ipairs(ddl.actions) do
    if ACTIONS[action.kind] then ACTIONS[action.kind](relation, action) end
  end
end

-- What is demanded of a domain later counts as well.
local function alter_domain(known, ddl)
  local type, action = known:type(ddl.name), ddl.actions[1]
  if not type or not type.definition or not action then return end
  if action.kind == "set_not_null" then type.constrained, type.definition.not_null = true, true end
  if action.kind == "add_constraint" and action.constraint then
    type.constrained = true
    type.definition.constraints[#type.definition.constraints + 1] = action.constraint
  end
end

local LEARN = {
  ["create table"] = create_table, ["create view"] = create_view "view",
  ["create materialized view"] = create_view "materialized view",
  ["create foreign table"] = create_view "foreign table",
  ["create index"] = create_index, ["create type"] = create_type "type", ["create domain"] = create_type "domain",
  ["alter table"] = alter, ["alter view"] = alter, ["alter materialized view"] = alter,
  ["drop table"] = drop, ["drop view"] = drop, ["drop materialized view"] = drop, ["drop index"] = drop,
  ["drop type"] = drop, ["drop domain"] = drop, ["alter domain"] = alter_domain,
}

--- Takes note of a statement.
---@param known table
---@param ddl luphant.migrate.Ddl
return function(known, ddl)
  local rule = LEARN[ddl.what]
  if rule then rule(known, ddl) end
end
