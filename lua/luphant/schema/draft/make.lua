-- schema/draft/make.lua - statements that make an object as a snapshot has it. Pure.
--
-- Each maker is given a plan, into which it puts statements with the place where they belong (see plan.lua).
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"
local words = require "luphant.schema.draft.words"

local quote, literal = words.quote, words.literal

local make = {}

-- ---- what all have in common ---------------------------------------------------------------------------------

--- Comment, owner and privileges.
function make.trimmings(plan, noun, name, object)
  if object.comment then plan:put("comments", words.comment(noun, name, object.comment)) end
  if object.owner then plan:put("owners", ("alter %s %s owner to %s"):format(noun, name, quote(object.owner))) end
  for _, sql in ipairs(words.not_by_default(plan.defaults, noun, name, object)) do plan:put("default grants", sql) end
  local list = words.all_privileges(noun, name, object)
  if not list then return plan:leave(("%s %s: what is granted on it"):format(noun, name)) end
  for _, sql in ipairs(list) do plan:put("grants", sql) end
end

-- ---- columns -------------------------------------------------------------------------------------------------

--- The options of a sequence, with a blank before each.
function make.sequence_options(sequence)
  local out = {}
  local function add(form, value) if value then out[#out + 1] = form:format(value) end end
  add(" as %s", sequence.type)
  add(" increment by %s", sequence.increment)
  add(" minvalue %s", sequence.minimum)
  add(" maxvalue %s", sequence.maximum)
  add(" start with %s", sequence.start)
  add(" cache %s", sequence.cache)
  add(" cycle", sequence.cycle)
  return table.concat(out)
end

--- A column as CREATE TABLE and ADD COLUMN want it.
function make.column(column)
  local out = { quote(column.name), column.type }
  local function add(form, value) if value then out[#out + 1] = form:format(value) end end
  add("collate %s", column.collation)
  add("compression %s", column.compression)
  if column.identity then
    local options = make.sequence_options(column.sequence or {})
    out[#out + 1] = ("generated %s as identity%s"):format(column.identity,
      options ~= "" and " (" .. options:sub(2) .. ")" or "")
  elseif column.generated then
    out[#out + 1] = ("generated always as (%s)%s"):format(column.generated, column.virtual and "" or " stored")
  else
    add("default %s", column.default)
  end
  if column.not_null then out[#out + 1] = "not null" end
  return table.concat(out, " ")
end

--- What a column has that stands in no CREATE TABLE.
function make.column_rest(plan, relation, column)
  local name = quote(column.name)
  local function alter(form, value)
    if value then plan:put("columns", ("alter table %s alter column %s " .. form):format(relation, name, value)) end
  end
  alter("set storage %s", column.storage)
  alter("set statistics %d", column.statistics)
  alter("set (%s)", column.options and table.concat(column.options, ", "))
  if column.comment then
    plan:put("comments", words.comment("column", relation .. "." .. name, column.comment))
  end
  local list = words.all_privileges("column", { relation, name }, column)
  for _, sql in ipairs(list or {}) do plan:put("grants", sql) end
  if not list then plan:leave(("column %s.%s: what is granted on it"):format(relation, name)) end
end

-- ---- members of tables -----------------------------------------------------------------------------------------

--- The index that a constraint has made stands in the schema of its table.
function make.index_of(relation, name)
  return (relation:match '^("[^"]*")%.' or relation:match "^([^.]*)%.") .. "." .. name
end

function make.constraint(plan, relation, constraint, noun)
  if constraint.inherited or constraint.parent then return end
  local place = constraint.type == "foreign key" and "foreign keys" or "constraints"
  local name = quote(constraint.name)
  local definition = constraint.definition
  plan:put(place, ("alter %s %s add constraint %s %s"):format(noun or "table", relation, name, definition))
  if constraint.index_options then
    plan:put("flags", ("alter index %s set (%s)"):format(make.index_of(relation, name),
      table.concat(constraint.index_options, ", ")))
  end
  if constraint.clustered then plan:put("flags", ("alter table %s cluster on %s"):format(relation, name)) end
  if constraint.comment then
    local on = noun == "domain" and "domain " .. relation or relation
    plan:put("comments", words.comment("constraint", name .. " on " .. on, constraint.comment))
  end
  if constraint.index_comment then
    plan:put("comments", words.comment("index", make.index_of(relation, name), constraint.index_comment))
  end
end

function make.index(plan, relation, index, id, kind)
  if index.parent then return end
  if index.invalid and kind ~= "partitioned table" then return plan:leave(("index %s: it is not valid"):format(id)) end
  -- Of a partitioned table the server says ONLY; without it each partition gets its own.
  local definition = kind == "partitioned table" and index.definition:gsub(" ON ONLY ", " ON ", 1) or index.definition
  plan:put(kind == "materialized view" and "columns after views" or "indexes", definition)
  for _, entry in ipairs(index.statistics or {}) do
    plan:put("flags", ("alter index %s alter column %s set statistics %s"):format(id, entry:match "^(%d+): (%d+)$"))
  end
  if index.clustered then plan:put("flags", ("alter table %s cluster on %s"):format(relation, quote(index.name))) end
  if index.comment then plan:put("comments", words.comment("index", id, index.comment)) end
end

local ENABLE = { disabled = "disable", replica = "enable replica", always = "enable always" }

local function defined(noun, place)
  return function(plan, relation, object)
    local name = quote(object.name)
    plan:put(place, (object.definition:gsub(";%s*$", "")))
    if object.enabled then
      plan:put(place, ("alter table %s %s %s %s"):format(relation, ENABLE[object.enabled], noun, name))
    end
    if object.comment then
      plan:put("comments", words.comment(noun, name .. " on " .. relation, object.comment))
    end
  end
end

make.trigger, make.rule = defined("trigger", "triggers"), defined("rule", "rules")
make.ENABLE = ENABLE

function make.policy(plan, relation, policy)
  local roles = {}
  for i, role in ipairs(policy.roles) do roles[i] = role == "public" and role or quote(role) end
  local out = { ("create policy %s on %s"):format(quote(policy.name), relation) }
  if policy.restrictive then out[#out + 1] = "as restrictive" end
  out[#out + 1] = ("for %s to %s"):format(policy.command, table.concat(roles, ", "))
  if policy.using then out[#out + 1] = ("using (%s)"):format(policy.using) end
  if policy.check then out[#out + 1] = ("with check (%s)"):format(policy.check) end
  plan:put("policies", table.concat(out, " "))
  if policy.comment then
    plan:put("comments", words.comment("policy", quote(policy.name) .. " on " .. relation, policy.comment))
  end
end

function make.statistics(plan, _, statistics, id)
  plan:put("statistics", statistics.definition)
  if statistics.target then
    plan:put("flags", ("alter statistics %s set statistics %d"):format(id, statistics.target))
  end
  make.trimmings(plan, "statistics", id, { comment = statistics.comment, owner = statistics.owner })
end

local MEMBERS = {
  constraints = "constraint", indexes = "index", triggers = "trigger", rules = "rule", policies = "policy",
  statistics = "statistics",
}
local PARTS = { "constraints", "indexes", "statistics", "triggers", "rules", "policies" }

--- All members but columns.
function make.members(plan, id, object)
  for _, part in ipairs(PARTS) do
    for _, key in ipairs(compat.sorted_keys(object[part] or {})) do
      local member, name = object[part][key], MEMBERS[part]
      if name == "index" then
        make.index(plan, id, member, key, object.kind)
      elseif name == "statistics" then
        make.statistics(plan, id, member, key)
      else
        make[name](plan, id, member)
      end
    end
  end
end

-- ---- tables --------------------------------------------------------------------------------------------------

local function table_body(object)
  if object.partition_of then return (" partition of %s %s"):format(object.partition_of, object.bound) end
  local lines = {}
  for _, column in ipairs(object.columns or {}) do
    if not column.inherited then lines[#lines + 1] = "  " .. make.column(column) end
  end
  local body = #lines > 0 and " (\n" .. table.concat(lines, ",\n") .. "\n)" or " ()"
  if object.inherits then body = body .. (" inherits (%s)"):format(table.concat(object.inherits, ", ")) end
  return body
end

--- The flags of a table: { form to set, form to take away }.
make.TABLE_FLAGS = {
  row_security = { "enable row level security", "disable row level security" },
  force_row_security = { "force row level security", "no force row level security" },
}

--- REPLICA IDENTITY in SQL.
function make.replica_identity(value)
  local index = value and value:match "^index (.*)$"
  return "replica identity " .. (index and "using index " .. quote(index) or value or "default")
end

function make.table(plan, id, object)
  if object.kind == "foreign table" or object.of_type or object.access_method or object.tablespace then
    return plan:leave(("%s %s"):format(object.kind, id))
  end
  local options = object.options and (" with (%s)"):format(table.concat(object.options, ", ")) or ""
  plan:put_by_name("tables", id, ("create %stable %s%s%s%s"):format(object.persistence and "unlogged " or "", id,
    table_body(object), object.partition_key and " partition by " .. object.partition_key or "", options))
  for _, column in ipairs(object.columns or {}) do
    if not column.inherited then make.column_rest(plan, id, column) end
  end
  make.members(plan, id, object)
  for flag, forms in pairs(make.TABLE_FLAGS) do
    if object[flag] then plan:put("flags", ("alter table %s %s"):format(id, forms[1])) end
  end
  if object.replica_identity then
    plan:put("flags", ("alter table %s %s"):format(id, make.replica_identity(object.replica_identity)))
  end
  make.trimmings(plan, "table", id, object)
end

function make.view(plan, id, object)
  if object.access_method or object.tablespace then return plan:leave(("%s %s"):format(object.kind, id)) end
  local options = object.options and (" with (%s)"):format(table.concat(object.options, ", ")) or ""
  plan:put_by_name("views", id, ("create %s %s%s as\n%s%s"):format(object.kind, id, options,
    (object.definition:gsub(";%s*$", "")), object.unpopulated and "\nwith no data" or ""))
  for _, column in ipairs(object.columns or {}) do
    local name = quote(column.name)
    if column.default then
      plan:put("columns after views", ("alter view %s alter column %s set default %s"):format(id, name, column.default))
    end
    if column.comment then plan:put("comments", words.comment("column", id .. "." .. name, column.comment)) end
  end
  make.members(plan, id, object)
  make.trimmings(plan, object.kind, id, object)
end

-- ---- the rest ------------------------------------------------------------------------------------------------

function make.sequence(plan, id, object)
  plan:put("sequences", ("create %ssequence %s%s"):format(object.persistence and "unlogged " or "", id,
    make.sequence_options(object)))
  if object.owned_by then plan:put("owned by", ("alter sequence %s owned by %s"):format(id, object.owned_by)) end
  make.trimmings(plan, "sequence", id, object)
end

function make.schema(plan, id, object)
  plan:put("schemas", "create schema " .. id)
  make.trimmings(plan, "schema", id, object)
end

function make.extension(plan, id, object)
  plan:put("extensions", ("create extension if not exists %s%s"):format(id,
    object.schema ~= "pg_catalog" and " schema " .. quote(object.schema) or ""))
  if object.comment then plan:put("comments", words.comment("extension", id, object.comment)) end
end

local function labels_of(object)
  local list = {}
  for i, label in ipairs(object.labels or {}) do list[i] = literal(label) end
  return table.concat(list, ", ")
end

local TYPES = {
  enum = function(plan, id, object)
    plan:put_by_name("types", id, ("create type %s as enum (%s)"):format(id, labels_of(object)))
  end,
  ["composite type"] = function(plan, id, object)
    local list = {}
    for i, attribute in ipairs(object.attributes or {}) do
      list[i] = ("%s %s%s"):format(quote(attribute.name), attribute.type,
        attribute.collation and " collate " .. attribute.collation or "")
      if attribute.comment then
        plan:put("comments", words.comment("column", id .. "." .. quote(attribute.name), attribute.comment))
      end
    end
    plan:put_by_name("types", id, ("create type %s as (%s)"):format(id, table.concat(list, ", ")))
  end,
  domain = function(plan, id, object)
    plan:put_by_name("types", id, ("create domain %s as %s%s%s%s"):format(id, object.type,
      object.collation and " collate " .. object.collation or "",
      object.default and " default " .. object.default or "", object.not_null and " not null" or ""))
    for _, name in ipairs(compat.sorted_keys(object.constraints or {})) do
      make.constraint(plan, id, object.constraints[name], "domain")
    end
  end,
}

function make.type(plan, id, object)
  local maker = TYPES[object.kind]
  if not maker then return plan:leave(("%s %s"):format(object.kind, id)) end
  maker(plan, id, object)
  make.trimmings(plan, words.noun(object.kind), id, object)
end

-- Lists among settings are written as lists; any other value is one text.
local LISTS = { search_path = true, temp_tablespaces = true, session_preload_libraries = true,
  local_preload_libraries = true }

local function function_clauses(object)
  local out = {}
  local function add(form, value) if value then out[#out + 1] = form:format(value) end end
  add("returns %s", object.kind ~= "procedure" and object.returns)
  add("language %s", quote(object.language))
  if object.kind == "window function" then out[#out + 1] = "window" end
  add("%s", object.volatility)
  if object.strict then out[#out + 1] = "strict" end
  if object.security_definer then out[#out + 1] = "security definer" end
  if object.leakproof then out[#out + 1] = "leakproof" end
  add("parallel %s", object.parallel)
  add("cost %s", object.cost)
  add("rows %s", object.rows)
  add("support %s", object.support and object.support:gsub("%(.*$", ""))
  for _, setting in ipairs(object.settings or {}) do
    local name, value = setting:match "^([^=]+)=(.*)$"
    out[#out + 1] = ("set %s to %s"):format(name, LISTS[name] and value or literal(value))
  end
  return table.concat(out, " ")
end

--- CREATE OR REPLACE of a function or procedure; nil where it cannot be written.
function make.function_text(object)
  if object.kind == "aggregate" or object.transforms then return nil end
  local body = object.sql_body or object.library and ("as %s, %s"):format(literal(object.library), literal(object.body))
    or "as " .. words.dollars(object.body)
  return ("create or replace %s %s.%s(%s) %s\n%s"):format(object.kind == "procedure" and "procedure" or "function",
    quote(object.schema), quote(object.name), object.arguments or "", function_clauses(object), body)
end

make["function"] = function(plan, id, object)
  local text = make.function_text(object)
  if not text then return plan:leave(("%s %s"):format(object.kind, id)) end
  plan:put(object.sql_body and "functions with parsed bodies" or "functions", text)
  make.trimmings(plan, object.kind == "procedure" and "procedure" or "function", id, object)
end

return make
