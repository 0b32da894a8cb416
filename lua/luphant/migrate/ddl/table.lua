-- luphant.migrate.ddl.table - the actions of ALTER TABLE, one by one.
--
-- `KINDS` is the whole list: what an action begins with, and what it is called here. Where more is to be known than
-- the name of a column, a reader of its own stands behind. Kinds, not words, are what locks and rules are keyed by.
--
-- SPDX-License-Identifier: MIT

local column = require "luphant.migrate.ddl.column"
local datatype = require "luphant.migrate.ddl.datatype"

local M = {}

---@class (exact) luphant.migrate.ddl.Action
---@field kind string one of KINDS
---@field from integer byte in the statement
---@field name? string of a constraint, trigger, policy, index
---@field column? string
---@field definition? luphant.migrate.ddl.Column of add_column
---@field constraint? luphant.migrate.ddl.Constraint of add_constraint
---@field type? luphant.migrate.ddl.Type of change_type
---@field using? string the same, its USING expression
---@field default? string of set_default
---@field to? string new name or schema
---@field relation? luphant.migrate.ddl.Name partition, parent
---@field if_exists? boolean
---@field if_not_exists? boolean
---@field concurrently? boolean
---@field text string as written

local function name_of(reader)
  local name = reader:name()
  return name and name.name
end

local function read_type(reader, action)
  local first = reader.at
  reader:skip_until(function(r) return r:is "using" or r:is "collate" or r:is_symbol "," end)
  action.type = datatype.read(reader:text(first))
  if reader:accept "collate" then reader:name() end
  if reader:accept "using" then action.using = reader:rest() end
end

-- ---- alter column --------------------------------------------------------------------------------------

-- Longer phrases first.
local COLUMN_KINDS = {
  { "set data type", "change_type", read_type },
  { "type", "change_type", read_type },
  { "set default", "set_default", function(reader, action) action.default = reader:rest() end },
  { "drop default", "drop_default" },
  { "set not null", "set_not_null" },
  { "drop not null", "drop_not_null" },
  { "set expression", "set_expression" },
  { "drop expression", "drop_expression" },
  { "add generated", "add_identity" },
  { "set generated", "change_identity" },
  { "restart", "change_identity" },
  { "drop identity", "drop_identity" },
  { "set statistics", "set_statistics" },
  { "set storage", "set_storage" },
  { "set compression", "set_compression" },
  { "set", "set_attribute" },
  { "reset", "set_attribute" },
}

local function take(list, reader, action)
  for _, rule in ipairs(list) do
    if reader:accept(rule[1]) then
      action.kind = rule[2]
      if rule[3] then rule[3](reader, action) end
      return true
    end
  end
  return false
end

local function read_alter_column(reader, action)
  reader:accept "column"
  action.column = name_of(reader)
  if not take(COLUMN_KINDS, reader, action) then action.kind = "unknown" end
end

-- ---- add, drop, rename, partitions ---------------------------------------------------------------------

local function read_add(reader, action)
  local constraint = column.table_constraint(reader)
  if constraint then
    action.kind, action.constraint, action.name = "add_constraint", constraint, constraint.name
    return
  end
  reader:accept "column"
  action.if_not_exists = reader:accept "if not exists"
  action.kind, action.definition = "add_column", column.read(reader)
  action.column = action.definition and action.definition.name
  if not action.definition then action.kind = "unknown" end
end

local function read_drop_column(reader, action)
  reader:accept "column"
  action.if_exists = reader:accept "if exists"
  action.column = name_of(reader)
end

local function read_named(reader, action)
  action.if_exists = reader:accept "if exists"
  action.name = name_of(reader)
end

local function read_rename(reader, action)
  if reader:accept "to" then
    action.kind, action.to = "rename", name_of(reader)
  elseif reader:accept "constraint" then
    action.kind, action.name = "rename_constraint", name_of(reader)
    reader:accept "to"
    action.to = name_of(reader)
  else
    reader:accept "column"
    action.kind, action.column = "rename_column", name_of(reader)
    reader:accept "to"
    action.to = name_of(reader)
  end
end

local function read_detach(reader, action)
  action.relation = reader:name()
  if reader:accept "concurrently" then action.concurrently = true end
  if reader:accept "finalize" then action.kind = "finalize_detach" end
end

local function read_to(reader, action) action.to = name_of(reader) end
local function read_relation(reader, action) action.relation = reader:name() end

-- Longer phrases first.
M.KINDS = {
  { "add", "add_column", read_add },
  { "drop constraint", "drop_constraint", read_named },
  { "drop", "drop_column", read_drop_column },
  { "alter constraint", "alter_constraint", read_named },
  { "alter", "alter_column", read_alter_column },
  { "validate constraint", "validate_constraint", read_named },
  { "rename", "rename", read_rename },
  { "set schema", "set_schema", read_to },
  { "set tablespace", "set_tablespace", read_to },
  { "set access method", "set_access_method", read_to },
  { "set logged", "set_logged" },
  { "set unlogged", "set_unlogged" },
  { "set without cluster", "cluster_on" },
  { "set without oids", "set_without_oids" },
  { "set", "set_parameters" },
  { "reset", "set_parameters" },
  { "attach partition", "attach_partition", read_relation },
  { "detach partition", "detach_partition", read_detach },
  { "disable trigger", "disable_trigger", read_named },
  { "enable replica trigger", "enable_trigger", read_named },
  { "enable always trigger", "enable_trigger", read_named },
  { "enable trigger", "enable_trigger", read_named },
  { "disable rule", "change_rule", read_named },
  { "enable replica rule", "change_rule", read_named },
  { "enable always rule", "change_rule", read_named },
  { "enable rule", "change_rule", read_named },
  { "enable row level security", "row_security" },
  { "disable row level security", "row_security" },
  { "no force row level security", "row_security" },
  { "force row level security", "row_security" },
  { "cluster on", "cluster_on", read_named },
  { "no inherit", "no_inherit", read_relation },
  { "inherit", "inherit", read_relation },
  { "not of", "of_type" },
  { "of", "of_type" },
  { "owner to", "change_owner", read_to },
  { "replica identity", "replica_identity" },
}

--- One action.
---@return luphant.migrate.ddl.Action
function M.action(reader)
  local action = { from = reader:from(), text = reader:rest() }
  if not take(M.KINDS, reader, action) then action.kind = "unknown" end
  return action
end

--- All actions from here to the end of the statement.
---@return luphant.migrate.ddl.Action[]
function M.actions(reader)
  local list = {}
  for _, item in ipairs(reader:items()) do list[#list + 1] = M.action(item) end
  return list
end

return M
