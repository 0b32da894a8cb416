-- luphant.migrate.lint.locks - which locks a statement takes on relations that were there before, and how long its
-- work under them lasts.
--
-- A table of what PostgreSQL does; every row of it is run by spec/migrate/lint_locks_spec.lua and compared with
-- pg_locks, so it can be believed.
--
-- SPDX-License-Identifier: MIT

local datatype = require "luphant.migrate.ddl.datatype"
local volatility = require "luphant.migrate.lint.volatility"

local M = {}

local AEX, EX, SRX, SH = "AccessExclusiveLock", "ExclusiveLock", "ShareRowExclusiveLock", "ShareLock"
local SUX, RX, RS = "ShareUpdateExclusiveLock", "RowExclusiveLock", "RowShareLock"

M.LEVEL = {
  AccessShareLock = 1, RowShareLock = 2, RowExclusiveLock = 3, ShareUpdateExclusiveLock = 4, ShareLock = 5,
  ShareRowExclusiveLock = 6, ExclusiveLock = 7, AccessExclusiveLock = 8,
}

--- Does the lock make readers or writers wait?
function M.is_strong(mode) return M.LEVEL[mode] >= M.LEVEL.ShareLock end

--- ShareRowExclusiveLock -> SHARE ROW EXCLUSIVE
function M.sql_name(mode)
  return (mode:gsub("Lock$", ""):gsub("(%l)(%u)", "%1 %2"):upper())
end

---@class (exact) luphant.migrate.lint.Lock
---@field relation luphant.migrate.ddl.Name
---@field mode string as pg_locks spells it
---@field work? "rewrite"|"scan"|"build" what is done with all rows while it is held

local function lock(relation, mode, work) return { relation = relation, mode = mode, work = work } end

-- ---- alter table -------------------------------------------------------------------------------------------

-- What adding a column does with the rows that are there.
function M.column_work(column, known)
  if datatype.serial(column.type) or column.identity or column.stored then return "rewrite" end
  if column.default and volatility.of(column.default, known) == "volatile" then return "rewrite" end
end

local CONSTRAINT_WORK = { check = "scan", foreign_key = "scan", not_null = "scan", unique = "build",
  primary_key = "build", exclude = "build" }

local function constraint_locks(constraint, relation, list)
  local work = CONSTRAINT_WORK[constraint.kind]
  if constraint.not_valid or constraint.using_index then work = nil end
  list[#list + 1] = lock(relation, constraint.kind == "foreign_key" and SRX or AEX, work)
  if constraint.kind == "foreign_key" and constraint.references then
    list[#list + 1] = lock(constraint.references, SRX)
  end
end

local function add_column(action, relation, list, known)
  list[#list + 1] = lock(relation, AEX, M.column_work(action.definition, known))
  for _, constraint in ipairs(action.definition.constraints) do constraint_locks(constraint, relation, list) end
end

local function change_type(action, relation, list, known)
  local there = known and known:relation(relation)
  local column = there and there.columns[action.column or ""]
  local is_free = column and column.type and not action.using and datatype.is_free_change(column.type, action.type)
  local work = not is_free and "rewrite" or nil
  if is_free and known:is_checked(relation, action.column) then work = "scan" end
  list[#list + 1] = lock(relation, AEX, work)
end

local function detach(action, relation, list)
  list[#list + 1] = lock(relation, action.concurrently and SUX or AEX)
  if not action.concurrently then list[#list + 1] = lock(action.relation, AEX) end
end

local function plain(mode, work)
  return function(_, relation, list) list[#list + 1] = lock(relation, mode, work) end
end

-- The default partition is locked and read, to see that it has no row that belongs into the new one.
local function add_default_partition(parent, list, known)
  local relation = known and known:relation(parent)
  local name = relation and relation.default_partition
  if name then
    list[#list + 1] = lock({ name = name, schema = relation.schema, text = name, from = parent.from }, AEX, "scan")
  end
end

-- A foreign key has triggers on the other table; to drop them it is locked as well.
local function add_referenced(constraint, list)
  if constraint.kind == "foreign_key" and constraint.references then
    list[#list + 1] = lock(constraint.references, AEX)
  end
end

local function drop_constraint(action, relation, list, known)
  list[#list + 1] = lock(relation, AEX)
  local there = known and known:relation(relation)
  for _, constraint in ipairs(there and there.constraints or {}) do
    if constraint.name == action.name then add_referenced(constraint, list) end
  end
end

local ACTIONS = {
  add_column = add_column,
  add_constraint = function(action, relation, list) constraint_locks(action.constraint, relation, list) end,
  add_identity = plain(AEX),
  alter_constraint = plain(AEX),
  attach_partition = function(action, relation, list, known)
    list[#list + 1] = lock(relation, SUX)
    list[#list + 1] = lock(action.relation, AEX, "scan")
    add_default_partition(relation, list, known)
  end,
  change_identity = plain(AEX), change_owner = plain(AEX), change_rule = plain(AEX),
  change_type = change_type,
  cluster_on = plain(SUX),
  detach_partition = detach,
  disable_trigger = plain(SRX), enable_trigger = plain(SRX),
  drop_column = plain(AEX), drop_constraint = drop_constraint, drop_default = plain(AEX), drop_expression = plain(AEX),
  drop_identity = plain(AEX), drop_not_null = plain(AEX),
  finalize_detach = plain(SUX),
  inherit = function(action, relation, list)
    list[#list + 1] = lock(relation, AEX)
    list[#list + 1] = lock(action.relation, SUX)
  end,
  no_inherit = plain(AEX), of_type = plain(AEX),
  rename = plain(AEX), rename_column = plain(AEX), rename_constraint = plain(AEX),
  replica_identity = plain(AEX), row_security = plain(AEX),
  set_access_method = plain(AEX, "rewrite"),
  set_attribute = plain(SUX), set_parameters = plain(SUX), set_statistics = plain(SUX),
  set_compression = plain(AEX), set_storage = plain(AEX),
  set_default = plain(AEX), set_expression = plain(AEX, "rewrite"),
  set_logged = plain(AEX, "rewrite"), set_unlogged = plain(AEX, "rewrite"),
  set_not_null = function(action, relation, list, known)
    local is_proven = known and known:proves_not_null(relation, action.column or "")
    list[#list + 1] = lock(relation, AEX, not is_proven and "scan" or nil)
  end,
  set_schema = plain(AEX), set_tablespace = plain(AEX, "rewrite"), set_without_oids = plain(AEX),
  validate_constraint = plain(SUX, "scan"),
}

local function alter_table(ddl, list, known)
  for _, action in ipairs(ddl.actions) do
    local rule = ACTIONS[action.kind]
    if rule and ddl.table then rule(action, ddl.table, list, known) end
  end
end

-- ---- other statements ----------------------------------------------------------------------------------------

local function on_table(mode, work)
  return function(ddl, list)
    if ddl.table then list[#list + 1] = lock(ddl.table, mode, work) end
  end
end

local function on_names(mode)
  return function(ddl, list)
    for _, name in ipairs(ddl.names or {}) do list[#list + 1] = lock(name, mode) end
  end
end

local function drop_table(ddl, list, known)
  for _, name in ipairs(ddl.names or {}) do
    list[#list + 1] = lock(name, AEX)
    local there = known and known:relation(name)
    for _, constraint in ipairs(there and there.constraints or {}) do add_referenced(constraint, list) end
  end
end

local function create_table(ddl, list, known)
  for _, constraint in ipairs(ddl.constraints or {}) do
    if constraint.kind == "foreign_key" and constraint.references then
      list[#list + 1] = lock(constraint.references, SRX)
    end
  end
  if ddl.partition_of then
    list[#list + 1] = lock(ddl.partition_of, AEX)
    add_default_partition(ddl.partition_of, list, known)
  end
  for _, parent in ipairs(ddl.inherits or {}) do list[#list + 1] = lock(parent, SUX) end
end

local function create_index(ddl, list)
  if ddl.table then list[#list + 1] = lock(ddl.table, ddl.concurrently and SUX or SH, "build") end
end

local function drop_index(ddl, list, known)
  for _, name in ipairs(ddl.names or {}) do
    local _, relation = nil, nil
    if known then _, relation = known:index(name) end
    if relation then
      list[#list + 1] = lock({ name = relation.name, schema = relation.schema, text = relation.name, from = name.from },
        ddl.concurrently and SUX or AEX)
    end
  end
end

local function reindex_table(ddl, list)
  if ddl.table then list[#list + 1] = lock(ddl.table, ddl.concurrently and SUX or SH, "build") end
end

local function vacuum(ddl, list)
  if not ddl.table then return end
  list[#list + 1] = lock(ddl.table, ddl.options.full and AEX or SUX, ddl.options.full and "rewrite" or nil)
end

local function refresh(ddl, list)
  if ddl.table then list[#list + 1] = lock(ddl.table, ddl.concurrently and EX or AEX, "rewrite") end
end

local function replace_view(ddl, list)
  if ddl.or_replace and ddl.name then list[#list + 1] = lock(ddl.name, AEX) end
end

local LOCK_MODES = {
  ["access share"] = "AccessShareLock", ["row share"] = RS, ["row exclusive"] = RX, ["share update exclusive"] = SUX,
  share = SH, ["share row exclusive"] = SRX, exclusive = EX, ["access exclusive"] = AEX,
}

local STATEMENTS = {
  ["alter table"] = alter_table, ["alter foreign table"] = alter_table,
  ["alter view"] = on_table(AEX), ["alter materialized view"] = on_table(AEX), ["alter policy"] = on_table(AEX),
  ["alter trigger"] = on_table(AEX), ["alter rule"] = on_table(AEX),
  analyze = on_table(SUX), cluster = on_table(AEX, "rewrite"),
  ["create index"] = create_index, ["create policy"] = on_table(AEX), ["create rule"] = on_table(AEX),
  ["create table"] = create_table, ["create trigger"] = on_table(SRX), ["create view"] = replace_view,
  ["drop index"] = drop_index, ["drop materialized view"] = on_names(AEX), ["drop policy"] = on_table(AEX),
  ["drop rule"] = on_table(AEX), ["drop table"] = drop_table, ["drop trigger"] = on_table(AEX),
  ["drop view"] = on_names(AEX), ["drop foreign table"] = on_names(AEX),
  delete = on_table(RX, "scan"), insert = on_table(RX), merge = on_table(RX, "scan"), update = on_table(RX, "scan"),
  lock = function(ddl, list)
    for _, name in ipairs(ddl.names) do list[#list + 1] = lock(name, LOCK_MODES[ddl.mode] or AEX) end
  end,
  ["refresh materialized view"] = refresh, ["reindex table"] = reindex_table, truncate = on_names(AEX),
  vacuum = vacuum,
}

--- The locks of one statement. Relations it makes itself are not among them.
---@param ddl luphant.migrate.Ddl
---@param known? table luphant.migrate.lint.known
---@return luphant.migrate.lint.Lock[]
function M.of(ddl, known)
  local list, rule = {}, STATEMENTS[ddl.what]
  if rule then rule(ddl, list, known) end
  return list
end

--- What is known by a table row: kinds of actions and statements, for the spec that runs them all.
M.ACTIONS, M.STATEMENTS = ACTIONS, STATEMENTS

return M
