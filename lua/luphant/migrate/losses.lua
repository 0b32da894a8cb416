-- luphant.migrate.losses - what a statement destroys or overwrites, as far as its text tells. Pure.
--
-- Rows of tables that go or are emptied, values of columns that go or get another type, rows that are deleted or
-- written over. What functions and DO blocks do is not in the text: that is answered as blind.
--
-- SPDX-License-Identifier: MIT

local ddl_of = require "luphant.migrate.ddl"
local reader_of = require "luphant.migrate.ddl.reader"

local M = {}

---@class (exact) luphant.migrate.Loss
---@field what "rows"|"column"|"schema"|"type"|"changes"
---@field name string as written
---@field column? string
---@field with_cascade? boolean rows: also of the tables that refer to it

local function of_names(list, what, names, with_cascade)
  for _, name in ipairs(names or {}) do
    list[#list + 1] = { what = what, name = name.text, with_cascade = with_cascade or nil }
  end
end

local DROPPED = { table = "rows", ["foreign table"] = false, schema = "schema", type = "type", domain = "type" }

local function drop(list, ddl)
  local what = DROPPED[ddl.object or ""]
  if what == "rows" or (what and ddl.cascade) then of_names(list, what, ddl.names) end
end

local COLUMN = { drop_column = true, change_type = true, set_expression = true }

local function alter(list, ddl)
  if ddl.object ~= "table" or not ddl.table then return end
  for _, action in ipairs(ddl.actions) do
    if COLUMN[action.kind] then
      list[#list + 1] = { what = "column", name = ddl.table.text, column = action.column }
    end
  end
end

-- ---- deleting and overwriting, also inside of WITH ----------------------------------------------------------

local CHANGES = { delete = true, update = true, merge = true, insert = true, select = true, with = true }
local NOT_A_VERB = { ["for"] = true, key = true, ["do"] = true, on = true, after = true, before = true }

local function target_at(reader, overwrites)
  if NOT_A_VERB[reader:word(-1) or ""] then return nil end
  if reader:accept "delete from" or reader:accept "merge into" or reader:accept "update" then
    reader:accept "only"
    return reader:name()
  elseif overwrites and reader:accept "insert into" then
    return reader:name()
  end
end

local function changes(list, sql)
  local reader = reader_of.new(sql)
  local overwrites = reader:has_word "conflict"
  local seen = {}
  while not reader:is_end() do
    local at = reader.at
    local name = target_at(reader, overwrites)
    if name and not seen[name.text] then
      seen[name.text] = true
      list[#list + 1] = { what = "changes", name = name.text }
    end
    reader.at = math.max(reader.at, at + 1)
  end
end

local BLIND_DROPS = { owned = true, extension = true }

local function is_blind(ddl)
  return ddl.verb == "do" or ddl.verb == "call" or (ddl.verb == "drop" and BLIND_DROPS[ddl.object or ""] == true)
end

--- What one statement may destroy.
---@param sql string
---@return luphant.migrate.Loss[]
---@return boolean is_blind its text does not tell
function M.of(sql)
  local ddl, list = ddl_of.read(sql), {}
  if ddl.verb == "drop" then
    drop(list, ddl)
  elseif ddl.verb == "alter" then
    alter(list, ddl)
  elseif ddl.verb == "truncate" then
    of_names(list, "rows", ddl.names, ddl.cascade)
  elseif CHANGES[ddl.verb] then
    changes(list, sql)
  end
  return list, is_blind(ddl)
end

return M
