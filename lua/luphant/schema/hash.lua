-- schema/hash.lua - the one text that stands for all a diff would compare, to be hashed.
--
-- Lengths stand before the pieces, so no piece can look like two others. Columns of a table come sorted by name: their
-- order is no difference. What is only a warning does not count.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"
local family = require "luphant.schema.family"

local function add(out, piece)
  piece = compat.text(piece)
  out[#out + 1] = #piece .. ":" .. piece
end

local function add_value(out, value)
  if type(value) ~= "table" then return add(out, value) end
  add(out, "[")
  for _, element in ipairs(value) do add(out, element) end
  add(out, "]")
end

---@param snapshot luphant.schema.Snapshot
---@return string
return function(snapshot)
  local items, out = family.items(snapshot), {}
  table.sort(items, function(x, y) return x.rank < y.rank end)
  for _, item in ipairs(items) do
    if not item.is_place then
      add(out, item.key)
      for _, what in ipairs(compat.sorted_keys(item.fields)) do
        add(out, what)
        add_value(out, item.fields[what])
      end
      out[#out + 1] = "\n"
    end
  end
  return table.concat(out)
end
