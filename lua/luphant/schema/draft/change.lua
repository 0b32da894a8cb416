-- schema/draft/change.lua - statements that change one field of an object. Pure.
--
-- A function here is given the plan, what is changed ({ id, object, member, name, ... }, see init.lua), and the two
-- values. It answers true where it has found statements; anything else is left to people.
--
-- SPDX-License-Identifier: MIT

local make = require "luphant.schema.draft.make"
local words = require "luphant.schema.draft.words"

local quote, literal = words.quote, words.literal

local change = {}

-- ---- lists of options ------------------------------------------------------------------------------------------

local function names_gone(from, to)
  local is_kept, out = {}, {}
  for _, option in ipairs(to or {}) do is_kept[option:match "^[^=]+"] = true end
  for _, option in ipairs(from or {}) do
    local name = option:match "^[^=]+"
    if not is_kept[name] then out[#out + 1] = name end
  end
  return out
end

local function options(plan, place, head, from, to)
  local gone = names_gone(from, to)
  if #gone > 0 then plan:put(place, ("%s reset (%s)"):format(head, table.concat(gone, ", "))) end
  if to then plan:put(place, ("%s set (%s)"):format(head, table.concat(to, ", "))) end
  return true
end

-- ---- columns -------------------------------------------------------------------------------------------------

local function alter_column(plan, at, text)
  plan:put("columns", ("alter %s %s alter column %s %s"):format(at.noun, at.id, quote(at.name), text))
  return true
end

local function retype(plan, at)
  local column = at.member
  return alter_column(plan, at, ("type %s%s using %s::%s"):format(column.type,
    column.collation and " collate " .. column.collation or "", quote(at.name), column.type))
end

local SEQUENCE = {
  increment = { "increment by %s", "increment by 1" }, minimum = { "minvalue %s", "no minvalue" },
  maximum = { "maxvalue %s", "no maxvalue" }, cache = { "cache %s", "cache 1" }, cycle = { "cycle", "no cycle" },
  start = { "start with %s" }, type = { "as %s" },
}

local function sequence_text(field, to)
  local forms = SEQUENCE[field]
  if not forms then return nil end
  if to == nil then return forms[2] end
  return (forms[1]:format(to))
end

change.column = {
  type = retype, collation = retype,
  not_null = function(plan, at, _, to) return alter_column(plan, at, (to and "set" or "drop") .. " not null") end,
  default = function(plan, at, _, to)
    if at.family == "views" then
      plan:put("columns after views", ("alter view %s alter column %s %s"):format(at.id, quote(at.name),
        to and "set default " .. to or "drop default"))
      return true
    end
    return alter_column(plan, at, to and "set default " .. to or "drop default")
  end,
  generated = function(plan, at, _, to) return not to and alter_column(plan, at, "drop expression") end,
  identity = function(plan, at, from, to)
    if not to then return alter_column(plan, at, "drop identity") end
    if from then return alter_column(plan, at, "set generated " .. to) end
    local text = make.sequence_options(at.member.sequence or {})
    return alter_column(plan, at, ("add generated %s as identity%s"):format(to,
      text ~= "" and " (" .. text:sub(2) .. ")" or ""))
  end,
  storage = function(plan, at, _, to) return to and alter_column(plan, at, "set storage " .. to) end,
  compression = function(plan, at, _, to) return alter_column(plan, at, "set compression " .. (to or "default")) end,
  statistics = function(plan, at, _, to) return alter_column(plan, at, ("set statistics %d"):format(to or -1)) end,
  options = function(plan, at, from, to)
    return options(plan, "columns", ("alter table %s alter column %s"):format(at.id, quote(at.name)), from, to)
  end,
  sequence = function(plan, at, field, to)
    local text = sequence_text(field, to)
    return text and alter_column(plan, at, "set " .. text)
  end,
}

change.attribute = {
  type = function(plan, at, _, to)
    plan:put("columns", ("alter type %s alter attribute %s type %s cascade"):format(at.id, quote(at.name), to))
    return true
  end,
}

-- ---- tables --------------------------------------------------------------------------------------------------

local function alter_table(plan, at, text)
  plan:put("flags", ("alter table %s %s"):format(at.id, text))
  return true
end

local function flag(name)
  return function(plan, at, _, to) return alter_table(plan, at, make.TABLE_FLAGS[name][to and 1 or 2]) end
end

local function set_of(list)
  local set = {}
  for _, item in ipairs(list or {}) do set[item] = true end
  return set
end

change.table = {
  row_security = flag "row_security", force_row_security = flag "force_row_security",
  replica_identity = function(plan, at, _, to) return alter_table(plan, at, make.replica_identity(to)) end,
  persistence = function(plan, at, _, to) return alter_table(plan, at, to and "set unlogged" or "set logged") end,
  options = function(plan, at, from, to) return options(plan, "flags", "alter table " .. at.id, from, to) end,
  partition_of = function(plan, at, from, to)
    if from then plan:put("drop columns", ("alter table %s detach partition %s"):format(from, at.id)) end
    if to then alter_table(plan, { id = to }, ("attach partition %s %s"):format(at.id, at.object.bound)) end
    return true
  end,
  bound = function(_, at) return at.was.partition_of ~= at.object.partition_of end,
  inherits = function(plan, at, from, to)
    local olds, news = set_of(from), set_of(to)
    -- INHERIT takes columns over as the table's own, which they are not where the table was made to inherit.
    for _, parent in ipairs(to or {}) do
      if not olds[parent] then return false end
    end
    for _, parent in ipairs(from or {}) do
      if not news[parent] then plan:put("drop columns", ("alter table %s no inherit %s"):format(at.id, parent)) end
    end
    return true
  end,
}

-- ---- members -------------------------------------------------------------------------------------------------

change.constraint = {
  -- NOT VALID that became valid is validated; anything else is made anew.
  definition = function(plan, at, from, to)
    if from ~= to .. " NOT VALID" then return false end
    plan:put("constraints", ("alter %s %s validate constraint %s"):format(at.noun, at.id, quote(at.name)))
    return true
  end,
}

function change.constraint.index_comment(plan, at, _, to)
  plan:put("comments", words.comment("index", make.index_of(at.id, quote(at.name)), to))
  return true
end

function change.constraint.index_options(plan, at, from, to)
  return options(plan, "flags", "alter index " .. make.index_of(at.id, quote(at.name)), from, to)
end

local function enabled(noun, place)
  return function(plan, at, _, to)
    plan:put(place, ("alter table %s %s %s %s"):format(at.id, make.ENABLE[to] or "enable", noun, quote(at.name)))
    return true
  end
end

change.trigger, change.rule = { enabled = enabled("trigger", "triggers") }, { enabled = enabled("rule", "rules") }

change.index = {
  -- An index of a partition that fits is taken over when that of the parent is made.
  parent = function(_, _, _, to) return to ~= nil end,
  clustered = function(plan, at, _, to)
    plan:put("flags", to and ("alter table %s cluster on %s"):format(at.id, quote(at.member.name))
      or ("alter table %s set without cluster"):format(at.id))
    return true
  end,
}
change.constraint.clustered = function(plan, at, _, to)
  plan:put("flags", to and ("alter table %s cluster on %s"):format(at.id, quote(at.name))
    or ("alter table %s set without cluster"):format(at.id))
  return true
end

change.statistics = {
  target = function(plan, at, _, to)
    plan:put("flags", ("alter statistics %s set statistics %d"):format(at.name, to or -1))
    return true
  end,
}

-- ---- other objects -------------------------------------------------------------------------------------------

local function sequence_field(field)
  return function(plan, at, _, to)
    local text = sequence_text(field, to)
    if text then plan:put("columns", ("alter sequence %s %s"):format(at.id, text)) end
    return text ~= nil
  end
end

change.sequence = {
  owned_by = function(plan, at, _, to)
    plan:put("owned by", ("alter sequence %s owned by %s"):format(at.id, to or "none"))
    return true
  end,
}
for field in pairs(SEQUENCE) do change.sequence[field] = sequence_field(field) end

change.view = {
  options = function(plan, at, from, to)
    return options(plan, "flags", ("alter %s %s"):format(at.kind, at.id), from, to)
  end,
}
change["materialized view"] = change.view
change["materialized view"].unpopulated = function(plan, at, _, to)
  plan:put("flags", ("refresh materialized view %s%s"):format(at.id, to and " with no data" or ""))
  return true
end

-- New labels between old ones; none may go or change its place.
local function add_labels(plan, at, from, to)
  local i, previous = 1, nil
  for _, label in ipairs(to) do
    if label == from[i] then
      i = i + 1
    else
      local place = previous and " after " .. literal(previous) or from[1] and " before " .. literal(from[1]) or ""
      plan:put("types", ("alter type %s add value %s%s"):format(at.id, literal(label), place))
    end
    previous = label
  end
end

change.enum = {
  labels = function(plan, at, from, to)
    local i = 1
    for _, label in ipairs(to) do i = i + (label == from[i] and 1 or 0) end
    if i <= #from then return false end
    add_labels(plan, at, from, to)
    return true
  end,
}

local function alter_domain(plan, at, text)
  plan:put("columns", ("alter domain %s %s"):format(at.id, text))
  return true
end

change.domain = {
  default = function(plan, at, _, to) return alter_domain(plan, at, to and "set default " .. to or "drop default") end,
  not_null = function(plan, at, _, to) return alter_domain(plan, at, (to and "set" or "drop") .. " not null") end,
}

change["composite type"] = {
  -- Attributes that came or went change the order by that alone.
  ["attribute order"] = function(_, _, from, to) return #from ~= #to end,
}

change.extension = {
  version = function(plan, at, _, to)
    plan:put("extensions", ("alter extension %s update to %s"):format(at.id, literal(to)))
    return true
  end,
  schema = function(plan, at, _, to)
    plan:put("extensions", ("alter extension %s set schema %s"):format(at.id, quote(to)))
    return true
  end,
  members = function(_, at) return at.was.version ~= at.object.version or at.was.schema ~= at.object.schema end,
}

return change
