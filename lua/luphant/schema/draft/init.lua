-- luphant.schema.draft - from the differences of two snapshots to statements that would make one like the other.
--
-- A draft, for people to read: it knows no rows, so it can only drop and add what in truth was renamed, and it knows
-- no locks, of which the linter speaks. What it finds no statement for it says. Pure.
--
-- SPDX-License-Identifier: MIT

local change = require "luphant.schema.draft.change"
local compat = require "luphant.compat"
local diff = require "luphant.schema.diff"
local family = require "luphant.schema.family"
local make = require "luphant.schema.draft.make"
local plan_of = require "luphant.schema.draft.plan"
local text = require "luphant.schema.text"
local words = require "luphant.schema.draft.words"

local quote = words.quote

local ADD = {
  schemas = make.schema, extensions = make.extension, types = make.type, sequences = make.sequence,
  tables = make.table, views = make.view, functions = make["function"],
}

local DROP_PLACE = {
  schemas = "drop schemas", extensions = "drop extensions", types = "drop types", sequences = "drop sequences",
  tables = "drop tables", views = "drop views", functions = "drop functions",
}

-- What is made anew when this field changes: all fields but those that change.lua has a statement for.
local MADE_ANEW = {
  constraint = true, index = true, trigger = true, rule = true, policy = true, statistics = true,
}
local ANEW_FIELDS = {
  ["function"] = { arguments = true, returns = true, kind = true }, view = { definition = true, kind = true },
}
for _, kind in ipairs { "procedure", "window function" } do ANEW_FIELDS[kind] = ANEW_FIELDS["function"] end
ANEW_FIELDS["materialized view"] = ANEW_FIELDS.view

-- ---- finding things ------------------------------------------------------------------------------------------

local function pieces(key)
  local list = {}
  for piece in (key .. "\0"):gmatch "([^%z]*)%z" do list[#list + 1] = piece end
  return list
end

local function member_of(object, part, name)
  local members = object and object[part]
  if not members then return nil end
  if part ~= "columns" and part ~= "attributes" then return members[name] end
  for _, member in ipairs(members) do
    if member.name == name then return member end
  end
end

local function index_of(...)
  local index = {}
  for _, snapshot in ipairs { ... } do
    for _, item in ipairs(family.items(snapshot)) do index[item.kind .. "\0" .. item.object] = item.key end
  end
  return index
end

-- What a difference is about.
local function place_of(self, difference)
  local key = self.index[difference.kind .. "\0" .. difference.object]
  local parts = pieces(key)
  local at = { key = key, family = parts[1], id = parts[2], part = parts[3], name = parts[4], kind = difference.kind }
  if at.family == "database" then return at end
  at.was, at.object = self.a[at.family][at.id], self.b[at.family][at.id]
  if at.part then
    at.old, at.member = member_of(at.was, at.part, at.name), member_of(at.object, at.part, at.name)
  end
  at.noun = at.family == "types" and (at.object or at.was).kind == "domain" and "domain" or "table"
  return at
end

-- ---- added and removed -----------------------------------------------------------------------------------------

local DROP_MEMBER = {
  column = function(plan, at)
    plan:put("drop columns", ("alter table %s drop column %s"):format(at.id, quote(at.name)))
  end,
  attribute = function(plan, at)
    plan:put("drop columns", ("alter type %s drop attribute %s cascade"):format(at.id, quote(at.name)))
  end,
  constraint = function(plan, at)
    local place = at.old.type == "foreign key" and "drop foreign keys" or "drop constraints"
    plan:put(place, ("alter %s %s drop constraint %s"):format(at.noun, at.id, quote(at.name)))
  end,
  index = function(plan, at) plan:put("drop indexes", "drop index " .. at.name) end,
  statistics = function(plan, at) plan:put("drop indexes", "drop statistics " .. at.name) end,
}
for _, noun in ipairs { "trigger", "policy", "rule" } do
  DROP_MEMBER[noun] = function(plan, at)
    plan:put("drop triggers", ("drop %s %s on %s"):format(noun, quote(at.name), at.id))
  end
end

local ADD_MEMBER = {
  column = function(plan, at)
    plan:put("columns", ("alter table %s add column %s"):format(at.id, make.column(at.member)))
    make.column_rest(plan, at.id, at.member)
  end,
  attribute = function(plan, at)
    plan:put("columns", ("alter type %s add attribute %s %s cascade"):format(at.id, quote(at.name), at.member.type))
  end,
  constraint = function(plan, at)
    -- A partition that is detached keeps what it had from its parent.
    local is_kept = at.was and at.was.partition_of and not at.object.partition_of
    if not is_kept then make.constraint(plan, at.id, at.member, at.noun) end
  end,
  index = function(plan, at) make.index(plan, at.id, at.member, at.name, at.object.kind) end,
}

local function add_member(plan, at)
  local fn = ADD_MEMBER[at.kind]
  if fn then return fn(plan, at) end
  make[at.kind](plan, at.id, at.member, at.name)
end

local function remove_member(plan, at)
  local is_others = at.old.inherited or at.old.parent
  if not is_others then DROP_MEMBER[at.kind](plan, at) end
end

local function drop_object(plan, at, place)
  local noun = words.noun(at.was.kind or at.kind)
  plan:drop(place or DROP_PLACE[at.family], noun, at.id)
end

-- A partition has its parent's triggers; only whether they are enabled is its own.
local function is_clone(snapshot, at)
  local object = snapshot.tables[at.id]
  local parent = object and object.partition_of and snapshot.tables[object.partition_of]
  return at.kind == "trigger" and parent ~= nil and (parent.triggers or {})[at.name] ~= nil
end

local function switch_clone(plan, at)
  local word = at.member and make.ENABLE[at.member.enabled] or "enable"
  plan:put("triggers", ("alter table %s %s trigger %s"):format(at.id, word, quote(at.name)))
end

-- A sequence goes with the column that owns it.
local function goes_along(self, at)
  local owner = at.family == "sequences" and at.was and at.was.owned_by
  for id, relation in pairs(owner and self.a.tables or {}) do
    for _, column in ipairs(owner:find(id .. ".", 1, true) == 1 and relation.columns or {}) do
      local is_it = owner == id .. "." .. quote(column.name)
      if is_it and not member_of(self.b.tables[id], "columns", column.name) then return true end
    end
  end
  return false
end

local function add_or_remove(self, at, difference)
  local plan = self.plan
  if at.part and is_clone(self.a, at) and is_clone(self.b, at) then return switch_clone(plan, at) end
  if at.part then
    if difference.what == "added" then add_member(plan, at) else remove_member(plan, at) end
  elseif not ADD[at.family] then
    plan:leave(text.of_differences { difference })
  elseif difference.what == "added" then
    ADD[at.family](plan, at.id, at.object)
  elseif not goes_along(self, at) then
    drop_object(plan, at)
  end
end

-- ---- made anew -------------------------------------------------------------------------------------------------

-- Views that speak of what is made anew, or of a table whose column changes: they have to make room, and come back.
local function dependents(self, id, column)
  local out = {}
  for _, other in ipairs(compat.sorted_keys(self.a.views)) do
    local definition = self.b.views[other] and other ~= id and self.a.views[other].definition
    local is_one = definition and plan_of.mentions(definition, id)
      and (not column or plan_of.mentions(definition:gsub("%.", " "), column))
    if is_one then out[#out + 1] = other end
  end
  return out
end

local function remake_view(self, id)
  local key = "views\0" .. id
  if self.anew[key] then return end
  self.anew[key] = true
  for _, other in ipairs(dependents(self, id)) do remake_view(self, other) end
  drop_object(self.plan, { family = "views", id = id, was = self.a.views[id] })
  make.view(self.plan, id, self.b.views[id])
end

local function make_room(self, at)
  for _, other in ipairs(dependents(self, at.id, quote(at.name))) do remake_view(self, other) end
end

local function remake(self, at)
  if self.anew[at.key] then return end
  if at.family == "views" and not at.part then return remake_view(self, at.id) end
  self.anew[at.key] = true
  if at.part then
    DROP_MEMBER[at.kind](self.plan, at)
    return add_member(self.plan, at)
  end
  drop_object(self.plan, at, "drop functions that change")
  ADD[at.family](self.plan, at.id, at.object)
end

-- ---- changed ---------------------------------------------------------------------------------------------------

local function name_in_sql(at)
  if not at.part then return at.id end
  if at.part == "columns" or at.part == "attributes" then return at.id .. "." .. quote(at.name) end
  if at.kind == "index" or at.kind == "statistics" then return at.name end
  local on = at.noun == "domain" and "domain " .. at.id or at.id
  return quote(at.name) .. " on " .. on
end

-- Of these a name alone does not do for COMMENT and ALTER.
local NAMELESS = {
  casts = true, operators = true, transforms = true, user_mappings = true, default_privileges = true, settings = true,
}

local function comment(self, at, difference)
  if NAMELESS[at.family] then return false end
  local noun = at.part and (at.part == "attributes" and "column" or at.kind) or words.noun(at.kind)
  self.plan:put("comments", words.comment(noun, name_in_sql(at), difference.to))
  return true
end

local function owner(self, at, difference)
  if not difference.to or NAMELESS[at.family] then return false end
  local name = at.part and at.name or at.id
  self.plan:put("owners", ("alter %s %s owner to %s"):format(words.noun(at.kind), name, quote(difference.to)))
  return true
end

local function privileges(self, at, difference)
  local field, grantee = difference.what:match "^(%l+)%.(.*)$"
  local noun = at.part == "columns" and "column" or words.noun(at.kind)
  local name = at.part == "columns" and { at.id, quote(at.name) } or at.id
  local list = words.privileges(noun, name, field, grantee, difference.from, difference.to)
  for _, sql in ipairs(list or {}) do self.plan:put("grants", sql) end
  return list ~= nil
end

local function replace_function(self, at)
  if not self.anew[at.key] then
    self.anew[at.key] = "replaced"
    local body = make.function_text(at.object)
    if not body then return false end
    self.plan:put(at.object.sql_body and "functions with parsed bodies" or "functions", body)
  end
  return true
end

local function by_field(self, at, difference)
  local what, rules = difference.what, change[words.noun(at.kind)] or change[at.kind] or {}
  if at.kind ~= words.noun(at.kind) and change[at.kind] then rules = change[at.kind] end
  local field = what:match "^sequence%.(.*)$"
  if field and rules.sequence then return rules.sequence(self.plan, at, field, difference.to) end
  local rule = rules[what]
  return rule and rule(self.plan, at, difference.from, difference.to)
end

local function changed(self, at, difference)
  local what = difference.what
  if what == "comment" then return comment(self, at, difference) end
  if what == "owner" then return owner(self, at, difference) end
  if what:find "^grants%." or what:find "^revoked%." then return privileges(self, at, difference) end
  if what == "column order" then return true end
  if by_field(self, at, difference) then return true end
  if at.part and MADE_ANEW[at.kind] and not (at.old.inherited or at.old.parent) then
    remake(self, at)
    return true
  end
  if at.family == "functions" and at.kind ~= "aggregate" then return replace_function(self, at) end
  return false
end

-- Decides what is made anew before anything else, for what is told of it besides needs no statement of its own then.
local function prepare(self, list)
  for _, difference in ipairs(list) do
    local at = place_of(self, difference)
    local fields = ANEW_FIELDS[difference.kind]
    if fields and fields[difference.what] and not at.part then remake(self, at) end
    local is_moved = difference.kind == "column" and at.family == "tables"
      and (difference.what == "type" or difference.what == "removed" or difference.what == "collation")
    if is_moved then make_room(self, at) end
  end
end

-- Columns of a typed table are those of its type.
local function is_typed(at)
  return at.part == "columns" and at.was and at.was.of_type and at.was.of_type == at.object.of_type
end

local function is_done(self, at)
  if is_typed(at) then return true end
  return self.anew[at.key] == true or (at.part and self.anew[at.family .. "\0" .. at.id] == true) or false
end

--- Statements that make a database like `a` one like `b`, in order, without semicolons; and what is left to people.
---@param a luphant.schema.Snapshot
---@param b luphant.schema.Snapshot
---@return string[] statements
---@return string[] left lines
return function(a, b)
  local self = { a = a, b = b, index = index_of(a, b), plan = plan_of.new(a.default_privileges), anew = {} }
  local list = diff(a, b)
  prepare(self, list)
  for _, difference in ipairs(list) do
    local at = place_of(self, difference)
    if at.family == "database" then
      self.plan:leave(text.of_differences { difference })
    elseif difference.what == "added" or difference.what == "removed" then
      if not is_done(self, at) then add_or_remove(self, at, difference) end
    elseif not is_done(self, at) and not changed(self, at, difference) then
      self.plan:leave(text.of_differences { difference })
    end
  end
  return self.plan:statements(), self.plan.left
end
