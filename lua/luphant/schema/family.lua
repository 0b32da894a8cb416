-- schema/family.lua - the families of a snapshot, and a snapshot as a flat list of things that can be compared.
--
-- An item is one object, or one member of an object (a column, a constraint, an index ...), with its fields. The
-- differences, the text and the hash of a snapshot are all made from its items, so they always agree.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"

local family = { FORMAT = 1 }

---@class luphant.schema.item
---@field key string        the same in both snapshots for the same thing
---@field kind string       "table", "column", ...
---@field object string     what it is called
---@field fields table<string, any>   what -> text, number, boolean or list of texts
---@field owner? string     key of the object it is a member of
---@field rank string        sorts items of two snapshots as those of one are sorted
---@field follows? string[] keys of what it is inherited from: the same change there says enough
---@field implied? string   a field of the owner that decides about this one: its change says enough
---@field order? string[]   names of members whose order was left out of `fields` since it changes nothing
---@field is_place? boolean  the database itself
---@field soft? table<string, any>  like `fields`, of what no migration is answerable for: a difference is a warning

-- In the order in which one would create them, more or less.
family.ORDER = {
  "schemas", "extensions", "languages", "access_methods", "types", "collations", "functions", "operators",
  "operator_families", "operator_classes", "casts", "transforms", "conversions", "text_search_parsers",
  "text_search_templates", "text_search_dictionaries", "text_search_configurations", "foreign_data_wrappers", "servers",
  "user_mappings", "sequences", "tables", "views", "event_triggers", "publications", "subscriptions",
  "default_privileges", "settings",
}

-- These belong to no schema: a snapshot of chosen schemas is without them.
family.OF_DATABASE = {
  extensions = true, languages = true, access_methods = true, casts = true, transforms = true,
  foreign_data_wrappers = true, servers = true, user_mappings = true, event_triggers = true, publications = true,
  subscriptions = true, default_privileges = true, settings = true,
}

-- What one object of a family is called; those of the others say it themselves (`kind`).
local SINGULAR = {
  schemas = "schema", extensions = "extension", languages = "language", access_methods = "access method",
  collations = "collation", operators = "operator", operator_families = "operator family",
  operator_classes = "operator class", casts = "cast", transforms = "transform", conversions = "conversion",
  text_search_parsers = "text search parser", text_search_templates = "text search template",
  text_search_dictionaries = "text search dictionary", text_search_configurations = "text search configuration",
  foreign_data_wrappers = "foreign data wrapper", servers = "server", user_mappings = "user mapping",
  sequences = "sequence", event_triggers = "event trigger", publications = "publication",
  subscriptions = "subscription", default_privileges = "default privileges", settings = "settings",
}

-- Fields with members: how a member is called, and which of its fields only repeat what its definition says.
local MEMBERS = {
  columns = { kind = "column", rank = 1 },
  attributes = { kind = "attribute", rank = 1 },
  constraints = {
    kind = "constraint", rank = 2,
    repeats = { type = true, columns = true, foreign_table = true, foreign_columns = true },
  },
  indexes = {
    kind = "index", rank = 3, has_own_name = true,
    repeats = { unique = true, method = true, columns = true, include = true, where = true },
  },
  statistics = { kind = "statistics", rank = 4, has_own_name = true },
  triggers = { kind = "trigger", rank = 5 },
  policies = { kind = "policy", rank = 6 },
  rules = { kind = "rule", rank = 7 },
}

local PARTS = { "columns", "attributes", "constraints", "indexes", "statistics", "triggers", "policies", "rules" }

-- The key says these.
local NAMES = { name = true, schema = true }
local IN_KEY = {
  default_privileges = { role = true, objects = true }, user_mappings = { user = true, server = true },
  operator_families = { method = true }, operator_classes = { method = true },
}

-- Whether somebody has refreshed a view since is nothing the migrations are answerable for.
local SOFT = { views = { unpopulated = true } }

local function is_list(value) return value[1] ~= nil end

local function add_fields(out, prefix, object, skip)
  for field, value in pairs(object) do
    if not skip(field) then
      if type(value) == "table" and not is_list(value) then
        add_fields(out, prefix .. field .. ".", value, function() return false end)
      else
        out[prefix .. field] = value
      end
    end
  end
end

local function key_of(...) return table.concat({ ... }, "\0") end

local place_of = {}
for place, name in ipairs(family.ORDER) do place_of[name] = ("%02d"):format(place) end

local function rank_of(name, id, part, member_key) return key_of(place_of[name], id, part, member_key) end

local function title(spec, member_key, owner_id)
  if spec.has_own_name then return member_key end
  if spec.rank == 1 then return owner_id .. "." .. member_key end
  return member_key .. " on " .. owner_id
end

-- What a member may be inherited from, as keys; a column of the parent's name is always the parent's, too.
local function followed(part, member_key, member, owner)
  if part == "columns" or part == "constraints" then
    local keys = {}
    local wanted = part == "constraints" and member.parent or member_key
    for _, parent in ipairs(owner.partition_of and { owner.partition_of } or owner.inherits or {}) do
      keys[#keys + 1] = key_of("tables", parent, part, wanted)
    end
    return keys
  end
  if part == "indexes" and member.parent and owner.partition_of then
    return { key_of("tables", owner.partition_of, part, member.parent) }
  end
end

local function member_item(id, name, owner, part, member_key, member)
  local spec = MEMBERS[part]
  local item = {
    key = key_of(name, id, part, member_key), owner = key_of(name, id), kind = spec.kind,
    object = title(spec, member_key, id), fields = {}, rank = rank_of(name, id, spec.rank, member_key),
    follows = followed(part, member_key, member, owner),
    implied = name == "views" and part == "columns" and "definition" or nil,
  }
  add_fields(item.fields, "", member, function(field)
    return NAMES[field] or (spec.repeats and spec.repeats[field]) or false
  end)
  return item
end

local function add_members(items, id, name, object)
  for _, part in ipairs(PARTS) do
    local members = object[part]
    if part == "columns" or part == "attributes" then
      for _, member in ipairs(members or {}) do
        items[#items + 1] = member_item(id, name, object, part, member.name, member)
      end
    else
      for _, key in ipairs(compat.sorted_keys(members or {})) do
        items[#items + 1] = member_item(id, name, object, part, key, members[key])
      end
    end
  end
end

local function names_of(list)
  local names = {}
  for i, member in ipairs(list) do names[i] = member.name end
  return names
end

-- The order of attributes is part of what a composite value looks like; the order of a table's columns only of what
-- `select *` looks like, and no ALTER TABLE can change it.
local function object_item(name, id, object)
  local item = {
    key = key_of(name, id), kind = object.kind or SINGULAR[name], object = id, fields = {},
    rank = rank_of(name, id, 0, ""),
  }
  local soft = SOFT[name] or {}
  add_fields(item.fields, "", object, function(field)
    return NAMES[field] or MEMBERS[field] ~= nil or (IN_KEY[name] and IN_KEY[name][field]) or soft[field] or false
  end)
  item.soft = {}
  add_fields(item.soft, "", object, function(field) return not soft[field] end)
  if object.attributes then item.fields["attribute order"] = names_of(object.attributes) end
  if name == "tables" and object.columns then item.order = names_of(object.columns) end
  return item
end

-- The database itself is a place where migrations ran, not their work: who may connect to it, what it is there for.
local function place_item(database)
  local item = {
    key = "database", kind = "database", object = "itself", fields = {}, soft = {}, rank = "", is_place = true,
  }
  add_fields(item.soft, "", database, function() return false end)
  return item
end

--- Every object and every member, in order.
---@param snapshot luphant.schema.Snapshot
---@param without? fun(name: string): boolean  families to leave out
---@return luphant.schema.item[]
function family.items(snapshot, without)
  local items = {}
  if snapshot.database and not (without and without "database") then items[1] = place_item(snapshot.database) end
  for _, name in ipairs(family.ORDER) do
    local objects = not (without and without(name)) and snapshot[name] or {}
    for _, id in ipairs(compat.sorted_keys(objects)) do
      items[#items + 1] = object_item(name, id, objects[id])
      add_members(items, id, name, objects[id])
    end
  end
  return items
end

return family
