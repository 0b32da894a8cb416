-- luphant.migrate.ddl.create - what CREATE makes, and of which table it is.
--
-- SPDX-License-Identifier: MIT

local column = require "luphant.migrate.ddl.column"

local M = {}

-- ---- tables ----------------------------------------------------------------------------------------------

-- Words that begin an element which is neither a column nor a constraint.
local function read_element(reader, ddl)
  if reader:accept "like" then ddl.has_like = true end
  if reader:is_end() or ddl.has_like and reader:word(-1) == "like" then return end
  local constraint = column.table_constraint(reader)
  if constraint then
    ddl.constraints[#ddl.constraints + 1] = constraint
    return
  end
  local found = column.read(reader)
  if not found then return end
  ddl.columns[#ddl.columns + 1] = found
  for _, item in ipairs(found.constraints) do ddl.constraints[#ddl.constraints + 1] = item end
end

local function read_elements(reader, ddl)
  local group = reader:group()
  for _, item in ipairs(group and group:items() or {}) do read_element(item, ddl) end
end

local function read_table(reader, ddl)
  ddl.columns, ddl.constraints = {}, {}
  ddl.if_not_exists = reader:accept "if not exists"
  ddl.name = reader:name()
  if reader:accept "partition of" then
    ddl.partition_of = reader:name()
    ddl.is_default = reader:accept "default"
  elseif reader:accept "of" then
    reader:name()
  end
  if reader:is_symbol "(" and not ddl.partition_of then read_elements(reader, ddl) end
  local group_end = reader.at
  while not reader:is_end() do
    if reader:accept "inherits" then
      local group = reader:group()
      ddl.inherits = group and group:names()
    elseif reader:accept "partition by" then
      ddl.is_partitioned = true
    elseif reader:is "as" and not ddl.partition_of then
      ddl.is_query = true
      return
    elseif not reader:group() then
      reader:skip()
    end
  end
  reader.at = group_end
end

-- ---- what belongs to a table -------------------------------------------------------------------------------

local function read_index(reader, ddl)
  ddl.concurrently = reader:accept "concurrently"
  ddl.if_not_exists = reader:accept "if not exists"
  if not reader:is "on" then ddl.name = reader:name() end
  reader:accept "on"
  ddl.only = reader:accept "only"
  ddl.table = reader:name()
  ddl.definition = reader:rest() -- [using method] (columns) ...
  if reader:accept "using" then reader:skip() end
  local group = reader:group()
  ddl.index_columns = {}
  for _, item in ipairs(group and group:items() or {}) do
    local name = item:name()
    -- An expression keeps the place: what stands behind it does not lead the index.
    ddl.index_columns[#ddl.index_columns + 1] = name and not item:is_symbol "(" and name.name or false
  end
  ddl.is_partial = reader:has_word "where"
end

local function read_trigger(reader, ddl)
  ddl.name = reader:name()
  reader:skip_until(function(r) return r:is "on" end)
  reader:accept "on"
  ddl.table = reader:name()
end

local function read_policy(reader, ddl)
  ddl.name = reader:name()
  reader:accept "on"
  ddl.table = reader:name()
end

local function read_rule(reader, ddl)
  ddl.name = reader:name()
  reader:skip_until(function(r) return r:is "to" end)
  reader:accept "to"
  ddl.table = reader:name()
end

local function read_domain(reader, ddl)
  ddl.name = reader:name()
  reader:accept "as"
  ddl.definition = column.clauses(reader)
end

local function read_view(reader, ddl)
  ddl.if_not_exists = reader:accept "if not exists"
  ddl.name = reader:name()
end

local function read_named(reader, ddl)
  ddl.if_not_exists = reader:accept "if not exists"
  ddl.name = reader:name()
end

-- What CREATE may be followed by (after OR REPLACE and the like) -> object and reader. Longer phrases first.
local OBJECTS = {
  { "access method", "access method", read_named },
  { "constraint trigger", "trigger", read_trigger },
  { "event trigger", "event trigger", read_named },
  { "foreign data wrapper", "foreign data wrapper", read_named },
  { "foreign table", "foreign table", read_named },
  { "materialized view", "materialized view", read_view },
  { "operator class", "operator class", read_named },
  { "operator family", "operator family", read_named },
  { "text search", "text search" },
  { "user mapping", "user mapping" },
  { "unique index", "index", read_index },
  { "aggregate", "aggregate", read_named },
  { "cast", "cast" },
  { "collation", "collation", read_named },
  { "conversion", "conversion", read_named },
  { "database", "database", read_named },
  { "domain", "domain", read_domain },
  { "extension", "extension", read_named },
  { "function", "function", read_named },
  { "group", "role", read_named },
  { "index", "index", read_index },
  { "language", "language", read_named },
  { "operator", "operator" },
  { "policy", "policy", read_policy },
  { "procedure", "procedure", read_named },
  { "publication", "publication", read_named },
  { "role", "role", read_named },
  { "rule", "rule", read_rule },
  { "schema", "schema", read_named },
  { "sequence", "sequence", read_named },
  { "server", "server", read_named },
  { "statistics", "statistics", read_named },
  { "subscription", "subscription", read_named },
  { "table", "table", read_table },
  { "tablespace", "tablespace", read_named },
  { "transform", "transform" },
  { "trigger", "trigger", read_trigger },
  { "type", "type", read_named },
  { "user", "role", read_named },
  { "view", "view", read_view },
}

local PREFIXES = { "or replace", "global", "local", "temporary", "temp", "unlogged", "recursive", "default", "trusted",
  "procedural" }

--- Reads what stands behind CREATE.
function M.read(reader, ddl)
  local prefix = reader:accept_any(PREFIXES)
  while prefix do
    if prefix == "or replace" then ddl.or_replace = true end
    if prefix:find "^temp" then ddl.temporary = true end
    if prefix == "unlogged" then ddl.unlogged = true end
    prefix = reader:accept_any(PREFIXES)
  end
  for _, rule in ipairs(OBJECTS) do
    if reader:accept(rule[1]) then
      ddl.object, ddl.unique = rule[2], rule[1] == "unique index" or nil
      if rule[3] then rule[3](reader, ddl) end
      return
    end
  end
end

--- Object phrases, longest first, for DROP, ALTER and COMMENT: { phrase, object }.
M.OBJECTS = OBJECTS

return M
