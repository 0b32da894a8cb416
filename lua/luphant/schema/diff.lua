-- schema/diff.lua - what is different between two snapshots: an ordered list, each difference once.
--
-- Of an object that is new or gone its members are not told, of what is inherited only the parent's side, of a view
-- with another definition not its columns. What one of the snapshots was told not to record is not compared. Knows
-- nothing about SQL: renaming is removing one and adding another, and nobody guesses that it was not.
--
-- SPDX-License-Identifier: MIT

local family = require "luphant.schema.family"

---@class (exact) luphant.schema.Difference
---@field object string  what it is called: "shop.orders", "shop.orders.total", "orders_pkey on shop.orders"
---@field kind string    "table", "column", "constraint", ...
---@field what string    "added", "removed" or the field that differs: "type", "definition", "grants.alice", ...
---@field from? any      text, number, true or list of texts; nil: not there
---@field to? any
---@field warning? true  nothing a migration is answerable for: what `select *` looks like, who may connect, ...

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b end
  if #a ~= #b then return false end
  for i = 1, #a do
    if a[i] ~= b[i] then return false end
  end
  return true
end

-- Names of switches in the scope of a snapshot by the fields they are about.
local SWITCHES = {
  owner = "owners", comment = "comments", index_comment = "comments", grants = "grants", revoked = "grants",
}

-- Did both snapshots record this field ("type", "grants.alice", "sequence.comment")?
local function is_recorded(what, a, b)
  for word in what:gmatch "[^.]+" do
    local switch = SWITCHES[word]
    if switch and not (a.scope[switch] and b.scope[switch]) then return false end
    if word == "grants" or word == "revoked" then break end -- what follows is somebody's name
  end
  return true
end

local function leaves_out(a, b)
  local is_part = a.scope.schemas ~= nil or b.scope.schemas ~= nil
  local has_grants = a.scope.grants and b.scope.grants
  return function(name)
    if name == "database" then return not (a.database and b.database) end -- older snapshots do not know of it
    return (is_part and family.OF_DATABASE[name] or false) or (name == "default_privileges" and not has_grants)
  end
end

local function by_key(items)
  local map = {}
  for _, item in ipairs(items) do map[item.key] = item end
  return map
end

local function merged_keys(olds, news)
  local all = {}
  for key, item in pairs(olds) do all[#all + 1] = { key = key, rank = item.rank } end
  for key, item in pairs(news) do
    if not olds[key] then all[#all + 1] = { key = key, rank = item.rank } end
  end
  table.sort(all, function(x, y) return x.rank < y.rank end)
  return all
end

local function names_of(old, new)
  local names, seen = {}, {}
  for _, fields in ipairs { old, new } do
    for what in pairs(fields) do
      if not seen[what] then
        seen[what] = true
        names[#names + 1] = what
      end
    end
  end
  table.sort(names)
  return names
end

-- The order of those names that both lists have.
local function common_order(list, other)
  local known, common = {}, {}
  for _, name in ipairs(other) do known[name] = true end
  for _, name in ipairs(list) do
    if known[name] then common[#common + 1] = name end
  end
  return common
end

local function order_change(old, new)
  if not (old.order and new.order) then return nil end
  local from, to = common_order(old.order, new.order), common_order(new.order, old.order)
  if not same(from, to) then return { what = "column order", from = from, to = to, warning = true } end
end

-- Differences of one item, without looking at any other.
local function compare(old, new, a, b)
  if not old then return { { what = "added" } } end
  if not new then return { { what = "removed" } } end
  local list = {}
  local function compare_fields(olds, news, warning)
    for _, what in ipairs(names_of(olds, news)) do
      local from, to = olds[what], news[what]
      if not same(from, to) and is_recorded(what, a, b) then
        list[#list + 1] = { what = what, from = from, to = to, warning = warning }
      end
    end
  end
  compare_fields(old.fields, new.fields)
  compare_fields(old.soft or {}, new.soft or {}, true)
  list[#list + 1] = order_change(old, new)
  return list
end

local function has_change(list, change)
  for _, other in ipairs(list or {}) do
    if other.what == change.what and same(other.from, change.from) and same(other.to, change.to) then return true end
  end
  return false
end

local function has_field(list, what)
  for _, change in ipairs(list or {}) do
    if change.what == what then return true end
  end
  return false
end

-- Where a table got or lost a parent, its members did; where a column became or ceased to be an identity, there is or
-- was a sequence.
local function is_consequence(change, owner, own)
  if change.what == "inherited" or change.what == "parent" then
    return has_field(owner, "partition_of") or has_field(owner, "inherits")
  end
  if not change.what:find "^sequence%." then return false end
  for _, other in ipairs(own) do
    if other.what == "identity" and (other.from == nil or other.to == nil) then return true end
  end
  return false
end

-- Is the change already told by that of another field or object?
local function is_told(item, change, changes)
  local owner = item.owner and changes[item.owner]
  if is_consequence(change, owner, changes[item.key]) then return true end
  if has_field(owner, "added") or has_field(owner, "removed") then return true end
  if item.implied and has_field(owner, item.implied) then return true end
  for _, key in ipairs(item.follows or {}) do
    if has_change(changes[key], change) then return true end
  end
  return false
end

--- What has to happen to `a` to be like `b`. Two snapshots that differ in nothing but warnings have one hash.
---@param a luphant.schema.Snapshot
---@param b luphant.schema.Snapshot
---@return luphant.schema.Difference[]
return function(a, b)
  local without = leaves_out(a, b)
  local olds, news = by_key(family.items(a, without)), by_key(family.items(b, without))
  local keys, changes, list = merged_keys(olds, news), {}, {}
  for _, entry in ipairs(keys) do
    changes[entry.key] = compare(olds[entry.key], news[entry.key], a, b)
  end
  for _, entry in ipairs(keys) do
    local item = news[entry.key] or olds[entry.key]
    for _, change in ipairs(changes[entry.key]) do
      if not is_told(item, change, changes) then
        change.object, change.kind = item.object, item.kind
        list[#list + 1] = change
      end
    end
  end
  return list
end
