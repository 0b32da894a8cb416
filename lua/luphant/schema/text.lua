-- schema/text.lua - snapshots and differences as text for people: files in a repository, reviews, terminals.
--
-- A block for each object, in a fixed order; a line for each field, and one for each member as long as that is short
-- enough. What diff calls a difference changes the text; so does the order of columns.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"
local family = require "luphant.schema.family"

local text = {}

local WIDTH = 120

-- These come first and need no label: they are what the thing is.
local HEADS = { "definition", "type" }

local function list_text(list)
  local out = {}
  for i, value in ipairs(list) do
    value = compat.text(value)
    if value == "" or value:find '[,%[%]"%c]' or value:find "^%s" or value:find "%s$" then
      value = '"' .. value:gsub('["\\]', "\\%0"):gsub("\n", "\\n") .. '"'
    end
    out[i] = value
  end
  return "[" .. table.concat(out, ", ") .. "]"
end

-- A value in one line; nil when it has several.
local function inline(value)
  if type(value) == "table" then return list_text(value) end
  value = compat.text(value)
  return not value:find "[\r\n]" and value or nil
end

-- `true` needs no value: the name of the field says it.
local function labelled(label, value)
  if value == true then return label end
  local short = inline(value)
  if not short then return nil end
  return label and label .. ": " .. short or short
end

-- Pairs { label or false, value } of an item, the most telling first.
local function parts_of(item, has_heads)
  local parts, taken = {}, {}
  for _, head in ipairs(has_heads and HEADS or {}) do
    if item.fields[head] ~= nil then
      parts[#parts + 1], taken[head] = { false, item.fields[head] }, true
    end
  end
  for _, what in ipairs(compat.sorted_keys(item.fields)) do
    if not taken[what] then parts[#parts + 1] = { what, item.fields[what] } end
  end
  return parts
end

local function add_lines(out, indent, parts)
  for _, part in ipairs(parts) do
    local line = labelled(part[1], part[2])
    if line then
      out[#out + 1] = indent .. line
    else
      if part[1] then out[#out + 1] = indent .. part[1] .. ":" end
      for piece in (part[2] .. "\n"):gmatch "(.-)\r?\n" do
        out[#out + 1] = indent .. (piece == "" and "  |" or "  | " .. piece)
      end
    end
  end
end

local function one_line(parts)
  local words = {}
  for i, part in ipairs(parts) do
    words[i] = labelled(part[1], part[2])
    if not words[i] then return nil end
  end
  return table.concat(words, ", ")
end

local function member_name(item)
  return item.key:match "([^%z]*)$"
end

local function add_member(out, item)
  local head = ("  %s %s"):format(item.kind, member_name(item))
  local parts = parts_of(item, true)
  local line = one_line(parts)
  if #parts == 0 then
    out[#out + 1] = head
  elseif line and #head + 2 + #line <= WIDTH then
    out[#out + 1] = head .. ": " .. line
  else
    out[#out + 1] = head
    add_lines(out, "    ", parts)
  end
end

--- A snapshot as text.
---@param snapshot luphant.schema.Snapshot
---@return string
function text.of(snapshot)
  local out = {}
  for _, item in ipairs(family.items(snapshot)) do
    if item.owner then
      add_member(out, item)
    elseif not item.is_place or next(item.soft) then
      for what, value in pairs(item.soft) do item.fields[what] = value end
      if #out > 0 then out[#out + 1] = "" end
      out[#out + 1] = item.kind .. " " .. item.object
      item.fields.kind = nil -- stands before the name
      add_lines(out, "  ", parts_of(item, false))
    end
  end
  return table.concat(out, "\n") .. (#out > 0 and "\n" or "")
end

-- Elements of a list, lines of a text.
local function lines_of(value)
  local list = {}
  if value == nil then return list end
  if type(value) == "table" then return value end
  for line in ((inline(value) or value) .. "\n"):gmatch "(.-)\r?\n" do list[#list + 1] = line end
  return list
end

-- Lines that are gone and lines that are new; what both begin and end with is left out.
local function add_changed_lines(out, from, to)
  local olds, news = lines_of(from), lines_of(to)
  local first, last = 1, 0
  while first <= #olds and first <= #news and olds[first] == news[first] do first = first + 1 end
  while #olds - last >= first and #news - last >= first and olds[#olds - last] == news[#news - last] do
    last = last + 1
  end
  for i = first, #olds - last do out[#out + 1] = "    - " .. olds[i] end
  for i = first, #news - last do out[#out + 1] = "    + " .. news[i] end
end

local MARKS = { added = "+", removed = "-" }

local function value_text(value)
  if value == nil then return "(none)" end
  return inline(value)
end

local function add_difference(out, difference)
  local name = ("%s %s"):format(difference.kind, difference.object)
  local mark = MARKS[difference.what]
  if mark then
    out[#out + 1] = mark .. " " .. name
    return
  end
  local head = ("%s %s: %s"):format(difference.warning and "!" or "~", name, difference.what)
  local from, to = value_text(difference.from), value_text(difference.to)
  if from and to and #head + #from + #to + 6 <= WIDTH then
    out[#out + 1] = ("%s: %s -> %s"):format(head, from, to)
  else
    out[#out + 1] = head
    add_changed_lines(out, difference.from, difference.to)
  end
end

--- Differences as text: `+` added, `-` removed, `~` changed, `!` a warning.
---@param differences luphant.schema.Difference[]
---@return string
function text.of_differences(differences)
  local out = {}
  for _, difference in ipairs(differences) do add_difference(out, difference) end
  return table.concat(out, "\n") .. (#out > 0 and "\n" or "")
end

return text
