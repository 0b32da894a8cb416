-- luphant.migrate.lint.fields - the names of a statement, for the {places} in messages.
--
-- SPDX-License-Identifier: MIT

local column_of = require "luphant.migrate.ddl.column"

local M = {}

local function bare(text) return text and text:gsub('^.*%.', ""):gsub('"', "") or "" end

-- "add constraint x foreign key (a) references b" -> "foreign key (a) references b"
local function definition_of(action)
  local text = action.text:gsub("^%a+%s+", "")
  local behind = text:lower():match "^constraint%s+()"
  if behind then text = text:sub(behind):gsub("^%S+%s+", "") end
  return text
end

local function add_constraint(out, constraint, relation)
  out.constraint = column_of.constraint_name(constraint, bare(relation))
  out.expression = constraint.expression
  out.columns = table.concat(constraint.columns, ", ")
  out.index = constraint.using_index or (bare(relation) .. "_" .. table.concat(constraint.columns, "_") .. "_idx")
  out.other = constraint.references and constraint.references.text
end

local function add_action(out, action, relation)
  out.action, out.column, out.to = action.text, action.column, action.to
  out.constraint = action.name
  out.type = action.type and action.type.text
  out.partition = action.relation and action.relation.text
  if action.constraint then
    out.definition = definition_of(action)
    add_constraint(out, action.constraint, relation)
  end
  local column = action.definition
  if column then
    out.type, out.default = column.type.text, column.default
    out.expression = column.stored or column.virtual
    if column.constraints[1] then add_constraint(out, column.constraints[1], relation) end
  end
end

--- Fields of a statement, and of one action of it.
---@param item luphant.migrate.lint.Item
---@param target? luphant.migrate.ddl.Name the table it is about
---@param action? table
---@return table<string, any>
function M.of(item, target, action)
  local ddl = item.ddl
  local out = {
    statement = item.statement.sql, table = target and target.text, name = ddl.name and ddl.name.text,
    definition = ddl.definition, object = ddl.object, verb = ddl.verb:upper(), relation = target,
    unique = ddl.unique and "unique " or "", setting = ddl.setting, value = ddl.value,
  }
  out.bare = bare(out.table)
  if action then add_action(out, action, out.table) end
  return out
end

return M
