-- luphant.migrate.ddl.column - columns and constraints, as CREATE TABLE, ALTER TABLE and CREATE DOMAIN write them.
--
-- SPDX-License-Identifier: MIT

local datatype = require "luphant.migrate.ddl.datatype"

local M = {}

---@class (exact) luphant.migrate.ddl.Constraint
---@field kind "check"|"unique"|"primary_key"|"foreign_key"|"exclude"|"not_null"
---@field name? string
---@field columns string[]
---@field expression? string of CHECK
---@field references? luphant.migrate.ddl.Name
---@field using_index? string
---@field not_valid boolean
---@field from integer first byte in the statement
---@field to integer last byte

---@class (exact) luphant.migrate.ddl.Column
---@field name string
---@field type luphant.migrate.ddl.Type
---@field default? string the expression
---@field not_null boolean
---@field identity boolean
---@field stored? string expression of GENERATED ALWAYS AS ... STORED
---@field virtual? string the same, VIRTUAL
---@field constraints luphant.migrate.ddl.Constraint[] those written behind it
---@field from integer byte in the statement

local SUFFIX = { check = "check", foreign_key = "fkey", unique = "key", primary_key = "pkey", exclude = "excl",
  not_null = "not_null" }

--- The name of a constraint; where none is written, the one the server chooses.
---@param constraint luphant.migrate.ddl.Constraint
---@param relation string name of the table, without schema
---@return string
function M.constraint_name(constraint, relation)
  if constraint.name then return constraint.name end
  local parts = { relation }
  if constraint.kind ~= "primary_key" then
    for _, name in ipairs(constraint.columns) do parts[#parts + 1] = name end
  end
  parts[#parts + 1] = SUFFIX[constraint.kind]
  return table.concat(parts, "_")
end

local function column_list(reader)
  local list, group = {}, reader:group()
  for _, item in ipairs(group and group:items() or {}) do
    local name = item:name()
    if name then list[#list + 1] = name.name end
  end
  return list
end

local STARTS = {
  "constraint", "not null", "null", "default", "generated", "primary key", "unique", "check", "references", "collate",
  "deferrable", "not deferrable", "initially", "storage", "compression", "using", "options", "not valid", "enforced",
  "not enforced",
}

local function begins_clause(reader)
  if reader:is_symbol "," then return true end
  for _, phrase in ipairs(STARTS) do
    if reader:is(phrase) then return true end
  end
  return false
end

-- `default x is not null`: these words belong to the expression.
local function ends_default(reader)
  local before, first = reader:word(-1), reader:word(-2)
  return begins_clause(reader) and before ~= "is" and not (before == "not" and first == "is")
end

-- ON DELETE SET NULL (a), MATCH FULL and the like, up to what the next clause could be.
local FOREIGN_KEY_TAIL = { "match full", "match partial", "match simple", "deferrable", "not deferrable",
  "initially deferred", "initially immediate", "on delete", "on update" }
local FOREIGN_KEY_ACTION = { "no action", "restrict", "cascade", "set null", "set default" }

local function foreign_key_tail(reader)
  local taken = reader:accept_any(FOREIGN_KEY_TAIL)
  while taken do
    if taken:find "^on " then
      reader:accept_any(FOREIGN_KEY_ACTION)
      reader:group()
    end
    taken = reader:accept_any(FOREIGN_KEY_TAIL)
  end
end

local function read_references(reader, constraint)
  constraint.kind, constraint.references = "foreign_key", reader:name()
  reader:group()
  foreign_key_tail(reader)
end

local function read_check(reader, constraint)
  local group = reader:group()
  constraint.kind = "check"
  constraint.expression = group and group:rest() or ""
  reader:accept "no inherit"
end

local function read_index_options(reader)
  reader:accept "nulls not distinct"
  reader:accept "nulls distinct"
  if reader:accept "include" then reader:group() end
  if reader:accept "with" then reader:group() end
  if reader:accept "using index tablespace" then reader:name() end
end

-- ---- constraints behind a column -----------------------------------------------------------------------

local function constraint_of(reader, name, from)
  return { name = name, columns = {}, not_valid = false, from = from or reader:from() }
end

local function add(column, constraint, kind)
  constraint.kind = kind or constraint.kind
  if #constraint.columns == 0 then constraint.columns = { column.name } end
  column.constraints[#column.constraints + 1] = constraint
end

local function read_generated(reader, column)
  reader:accept "always"
  reader:accept "by default"
  if reader:accept "as identity" then
    reader:group()
    column.identity = true
  elseif reader:accept "as" then
    local group = reader:group()
    local expression = group and group:rest() or ""
    -- Neither word means virtual since PostgreSQL 18; before it is a syntax error.
    if reader:accept "stored" then
      column.stored = expression
    else
      reader:accept "virtual"
      column.virtual = expression
    end
  end
end

local CLAUSES = {
  ["not null"] = function(reader, column, constraint)
    column.not_null = true
    reader:accept "no inherit"
    constraint.kind = "not_null"
  end,
  ["primary key"] = function(reader, column, constraint)
    column.not_null = true
    read_index_options(reader)
    add(column, constraint, "primary_key")
  end,
  unique = function(reader, column, constraint)
    read_index_options(reader)
    add(column, constraint, "unique")
  end,
  check = function(reader, column, constraint)
    read_check(reader, constraint)
    add(column, constraint)
  end,
  references = function(reader, column, constraint)
    read_references(reader, constraint)
    add(column, constraint)
  end,
  default = function(reader, column)
    local first = reader.at -- whatever stands there belongs to it, also NULL and NOT
    reader:skip_until(function(r) return r.at > first and ends_default(r) end)
    column.default = reader:text(first)
  end,
  generated = read_generated,
  collate = function(reader) reader:name() end,
  storage = function(reader) reader:skip() end,
  compression = function(reader) reader:skip() end,
  options = function(reader) reader:group() end,
  ["null"] = function() end, deferrable = function() end, ["not deferrable"] = function() end,
  ["not valid"] = function() end, enforced = function() end, ["not enforced"] = function() end,
  initially = function(reader) reader:skip() end,
}
local CLAUSE_NAMES = {}
for phrase in pairs(CLAUSES) do CLAUSE_NAMES[#CLAUSE_NAMES + 1] = phrase end
table.sort(CLAUSE_NAMES, function(a, b) return #a > #b end)

local function read_clauses(reader, column)
  while not reader:is_end() and not reader:is_symbol "," do
    local from, name = reader:from(), nil
    if reader:accept "constraint" then name = reader:name() end
    local phrase = reader:accept_any(CLAUSE_NAMES)
    if phrase then
      local constraint = constraint_of(reader, name and name.name, from)
      CLAUSES[phrase](reader, column, constraint)
      constraint.to = reader.tokens[reader.at - 1].to
    elseif not name then
      reader:skip()
    end
  end
end

--- Reads `name type clauses`.
---@return luphant.migrate.ddl.Column?
function M.read(reader)
  local name = reader:name()
  if not name then return nil end
  local column = { name = name.name, from = name.from, not_null = false, identity = false, constraints = {} }
  local first = reader.at
  reader:skip_until(begins_clause)
  column.type = datatype.read(reader:text(first))
  read_clauses(reader, column)
  return column
end

--- Reads what stands behind the type of a domain: clauses of a column without name.
---@return luphant.migrate.ddl.Column
function M.clauses(reader)
  local column = { name = "", from = reader:from(), not_null = false, identity = false, constraints = {} }
  local first = reader.at
  reader:skip_until(begins_clause)
  column.type = datatype.read(reader:text(first))
  read_clauses(reader, column)
  return column
end

-- ---- constraints of a table ----------------------------------------------------------------------------

local function read_key(kind)
  return function(reader, constraint)
    constraint.kind = kind
    reader:accept "nulls not distinct"
    reader:accept "nulls distinct"
    if reader:accept "using index" and not reader:is "tablespace" then
      local index = reader:name()
      constraint.using_index = index and index.name
    else
      constraint.columns = column_list(reader)
    end
  end
end

local TABLE_CONSTRAINTS = {
  check = read_check,
  unique = read_key "unique",
  ["primary key"] = read_key "primary_key",
  exclude = function(_, constraint) constraint.kind = "exclude" end,
  ["foreign key"] = function(reader, constraint)
    constraint.columns = column_list(reader)
    reader:accept "references"
    read_references(reader, constraint)
  end,
  ["not null"] = function(reader, constraint)
    local name = reader:name()
    constraint.kind, constraint.columns = "not_null", { name and name.name }
  end,
}
local TABLE_CONSTRAINT_NAMES = { "primary key", "foreign key", "not null", "exclude", "unique", "check" }

--- Reads `[constraint name] check (...)` and its kin; nil, nothing taken, when none stands here.
---@return luphant.migrate.ddl.Constraint?
function M.table_constraint(reader)
  local start, from, name = reader.at, reader:from(), nil
  if reader:accept "constraint" then name = reader:name() end
  -- All are reserved words but "exclude", which can be the name of a column.
  local phrase = reader:accept_any(TABLE_CONSTRAINT_NAMES)
  if not phrase or (phrase == "exclude" and not reader:is "using" and not reader:is_symbol "(") then
    reader.at = start
    return nil
  end
  local constraint = constraint_of(reader, name and name.name, from)
  TABLE_CONSTRAINTS[phrase](reader, constraint)
  while not reader:is_end() and not reader:is_symbol "," do
    if reader:accept "not valid" then constraint.not_valid = true else reader:skip() end
  end
  constraint.to = reader.tokens[reader.at - 1].to
  return constraint
end

return M
