-- luphant.migrate.ddl - what a statement does to the schema, as far as its text tells.
--
-- A small classifier, no parser: it knows the beginnings of statements and the parts that decide about locks, and
-- steps over expressions, queries and bodies. What it does not know has an object or action "unknown"; it never
-- raises. The server stays the judge: lint/trace.lua compares.
--
-- SPDX-License-Identifier: MIT

local create = require "luphant.migrate.ddl.create"
local column = require "luphant.migrate.ddl.column"
local reader_of = require "luphant.migrate.ddl.reader"
local table_actions = require "luphant.migrate.ddl.table"

local M = {}

---@class (exact) luphant.migrate.Ddl
---@field verb string "create", "alter", "drop", "update", ...: the first word
---@field object? string "table", "index", "materialized view", ...
---@field what string verb and object
---@field name? luphant.migrate.ddl.Name of the object itself
---@field names? luphant.migrate.ddl.Name[] of all objects, where there can be several
---@field table? luphant.migrate.ddl.Name the relation it works on, also when that is the object
---@field actions luphant.migrate.ddl.Action[]
---@field columns? luphant.migrate.ddl.Column[] of CREATE TABLE
---@field constraints? luphant.migrate.ddl.Constraint[] of CREATE TABLE, those of its columns included
---@field concurrently? boolean
---@field if_exists? boolean
---@field if_not_exists? boolean
---@field or_replace? boolean
---@field temporary? boolean
---@field unlogged? boolean
---@field unique? boolean
---@field only? boolean
---@field cascade? boolean
---@field partition_of? luphant.migrate.ddl.Name
---@field is_default? boolean CREATE TABLE ... PARTITION OF ... DEFAULT
---@field inherits? luphant.migrate.ddl.Name[]
---@field is_partitioned? boolean
---@field has_like? boolean CREATE TABLE (LIKE ...)
---@field is_query? boolean CREATE TABLE ... AS
---@field condition? string of UPDATE and DELETE, what stands behind WHERE
---@field index_columns? (string|false)[] false for an expression
---@field is_partial? boolean
---@field definition? any of an index its text, of a domain its clauses
---@field has_where? boolean of UPDATE and DELETE
---@field setting? string of SET and RESET
---@field value? string of SET
---@field scope? "local"|"session" of SET
---@field mode? string of LOCK
---@field with_no_data? boolean
---@field body? string of DO
---@field options? table<string, boolean> words of VACUUM and REINDEX

local RELATIONS = { table = true, view = true, ["materialized view"] = true, ["foreign table"] = true, sequence = true }

local function read_object(reader, ddl)
  for _, rule in ipairs(create.OBJECTS) do
    if rule[1] ~= "unique index" and reader:accept(rule[1]) then
      ddl.object = rule[2]
      return true
    end
  end
  return false
end

-- ---- verbs -----------------------------------------------------------------------------------------------

local ON_TABLE = { trigger = true, policy = true, rule = true }

local function read_drop(reader, ddl)
  if reader:accept "owned" then ddl.object = "owned" return end
  read_object(reader, ddl)
  ddl.concurrently = reader:accept "concurrently"
  ddl.if_exists = reader:accept "if exists"
  ddl.names = reader:names()
  ddl.name = ddl.names[1]
  if ON_TABLE[ddl.object] and reader:accept "on" then
    ddl.table = reader:name()
  elseif RELATIONS[ddl.object] then
    ddl.table = ddl.name
  end
  ddl.cascade = reader:has_word "cascade"
end

-- alter type ... add value / rename value / add attribute; alter domain ... add constraint; anything: rename, schema
local OTHER_ACTIONS = {
  { "rename value", "rename_value" }, { "rename attribute", "rename_attribute" }, { "add value", "add_value" },
  { "rename constraint", "rename_constraint" }, { "rename column", "rename_column" }, { "rename to", "rename" },
  { "set schema", "set_schema" }, { "owner to", "change_owner" }, { "add attribute", "add_attribute" },
  { "drop attribute", "drop_attribute" }, { "alter attribute", "alter_attribute" },
  { "validate constraint", "validate_constraint" }, { "drop constraint", "drop_constraint" },
  { "set not null", "set_not_null" }, { "drop not null", "drop_not_null" }, { "set default", "set_default" },
  { "drop default", "drop_default" }, { "attach partition", "attach_partition" },
  { "set tablespace", "set_tablespace" }, { "set", "set_parameters" }, { "reset", "set_parameters" },
}

local NAMED = { rename_constraint = true, validate_constraint = true, drop_constraint = true, rename_column = true,
  rename_attribute = true }

local function read_value(reader, action)
  action.if_not_exists = reader:accept "if not exists"
  local token = reader:peek()
  action.value = token and token.text
  reader:skip()
  action.has_position = reader:is "before" or reader:is "after"
end

local function read_other_action(reader)
  local action = { from = reader:from(), text = reader:rest(), kind = "unknown" }
  if reader:accept "add" and not reader:is "value" and not reader:is "attribute" then
    action.kind, action.constraint = "add_constraint", column.table_constraint(reader)
    return action
  end
  reader.at = reader.at - (reader:word(-1) == "add" and 1 or 0)
  for _, rule in ipairs(OTHER_ACTIONS) do
    if reader:accept(rule[1]) then
      action.kind = rule[2]
      if action.kind == "add_value" then read_value(reader, action) end
      if NAMED[action.kind] or action.kind:find "_schema$" or action.kind == "rename" then
        local name = reader:name()
        action.name = name and name.name
        if reader:accept "to" then reader:skip() end
      end
      break
    end
  end
  return action
end

local function read_alter(reader, ddl)
  if reader:accept "system" then ddl.object = "system" return end
  if reader:accept "default privileges" then ddl.object = "default privileges" return end
  if not read_object(reader, ddl) then return end
  ddl.if_exists = reader:accept "if exists"
  if reader:accept "all in tablespace" then return end
  ddl.only = reader:accept "only"
  ddl.name = reader:name()
  if reader:is_symbol "(" then reader:group() end -- argument types
  local star = reader:peek()
  if star and star.text == "*" then reader:skip() end
  if ON_TABLE[ddl.object] and reader:accept "on" then ddl.table = reader:name() end
  if RELATIONS[ddl.object] then ddl.table = ddl.name end
  local is_table = ddl.object == "table" or ddl.object == "foreign table"
  ddl.actions = is_table and table_actions.actions(reader) or { read_other_action(reader) }
end

local function read_options(reader, ddl)
  ddl.options = {}
  local group = reader:group()
  while group and not group:is_end() do
    local word = group:word()
    local is_off = group:word(1) == "false" or group:word(1) == "off"
    if word then ddl.options[word] = not is_off end
    group:skip_until(function(r) return r:is_symbol "," end)
    group:skip()
  end
end

local function read_reindex(reader, ddl)
  read_options(reader, ddl)
  if reader:accept "verbose" then ddl.options.verbose = true end
  ddl.object = reader:accept_any { "index", "table", "schema", "database", "system" }
  ddl.concurrently = reader:accept "concurrently" or ddl.options.concurrently or false
  ddl.name = reader:name()
  if ddl.object == "table" then ddl.table = ddl.name end
end

local VACUUM_WORDS = { "full", "freeze", "verbose", "analyze" }

local function read_vacuum(reader, ddl)
  read_options(reader, ddl)
  local word = reader:accept_any(VACUUM_WORDS)
  while word do
    ddl.options[word] = true
    word = reader:accept_any(VACUUM_WORDS)
  end
  ddl.name = reader:name()
  ddl.table = ddl.name
end

local function read_cluster(reader, ddl)
  read_options(reader, ddl)
  reader:accept "verbose"
  ddl.name = reader:name()
  ddl.table = ddl.name
end

local function read_truncate(reader, ddl)
  reader:accept "table"
  ddl.names = reader:names()
  ddl.name, ddl.table, ddl.cascade = ddl.names[1], ddl.names[1], reader:has_word "cascade"
end

local function read_change(keyword)
  return function(reader, ddl)
    reader:accept(keyword)
    reader:accept "only"
    ddl.table = reader:name()
    local depth_zero_where = false
    reader:skip_until(function(r)
      if r:is "where" then depth_zero_where = true end
      return depth_zero_where
    end)
    ddl.has_where = depth_zero_where
    if depth_zero_where then
      reader:skip()
      ddl.condition = reader:rest()
    end
  end
end

local function read_refresh(reader, ddl)
  ddl.object = reader:accept "materialized view" and "materialized view" or nil
  ddl.concurrently = reader:accept "concurrently"
  ddl.name = reader:name()
  ddl.table = ddl.name
  ddl.with_no_data = reader:accept "with no data"
end

local function read_set(reader, ddl)
  if reader:accept "local" then ddl.scope = "local" elseif reader:accept "session" then ddl.scope = "session" end
  if reader:accept "time zone" then
    ddl.setting, ddl.value = "timezone", reader:rest()
    return
  end
  local name = reader:name()
  ddl.setting = name and (name.schema and name.schema .. "." or "") .. name.name
  local token = reader:peek()
  if token and (token.word == "to" or token.text == "=") then reader:skip() end
  ddl.value = reader:rest()
end

local function read_lock(reader, ddl)
  reader:accept "table"
  ddl.names = reader:names()
  ddl.name, ddl.table = ddl.names[1], ddl.names[1]
  ddl.mode = reader:accept "in" and reader:rest():lower():gsub("%s+nowait$", ""):gsub("%s+mode$", "")
    or "access exclusive"
end

local function read_do(reader, ddl)
  for i = reader.at, reader.last do
    local token = reader.tokens[i]
    if token.kind == "dollar" or token.kind == "string" then ddl.body = token.text end
  end
end

local function read_comment(reader, ddl)
  reader:accept "on"
  if reader:accept "column" then ddl.object = "column" else read_object(reader, ddl) end
  ddl.name = reader:name()
end

local function read_insert(reader, ddl)
  reader:accept "into"
  ddl.table = reader:name()
  if reader:is_symbol "(" then reader:group() end
  ddl.is_query = reader:has_word("select", "table", "with")
end

local function read_analyze(reader, ddl)
  reader:accept "verbose"
  ddl.name = reader:name()
  ddl.table = ddl.name
end

local VERBS = {
  alter = read_alter, analyze = read_analyze, cluster = read_cluster, comment = read_comment, create = create.read,
  delete = read_change "from", ["do"] = read_do, drop = read_drop, insert = read_insert, lock = read_lock,
  merge = read_change "into", refresh = read_refresh, reindex = read_reindex, reset = read_set, set = read_set,
  truncate = read_truncate, update = read_change "only", vacuum = read_vacuum,
}

-- WITH ... UPDATE: what the statement does stands behind the parentheses.
local MAIN = { select = true, insert = true, update = true, delete = true, merge = true }
local function skip_with(reader)
  if not reader:accept "with" then return end
  reader:skip_until(function(r) return MAIN[r:word() or ""] end)
end

--- Classifies one statement.
---@param sql string without a semicolon behind it
---@return luphant.migrate.Ddl
function M.read(sql)
  local reader = reader_of.new(sql)
  skip_with(reader)
  local verb = reader:word() or ""
  local ddl = { verb = verb, actions = {} }
  reader:skip()
  if VERBS[verb] then VERBS[verb](reader, ddl) end
  if ddl.object == "table" and verb == "create" then ddl.table = ddl.name end
  if ddl.object == "table" and not ddl.name then ddl.object = nil end -- cut off: nobody can say anything about it
  ddl.what = ddl.object and verb .. " " .. ddl.object or verb
  return ddl
end

return M
