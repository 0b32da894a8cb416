-- compat/pgmoon/hstore.lua - what `require "pgmoon.hstore"` gives. A NULL value is read as the string "NULL", as there.
--
-- SPDX-License-Identifier: MIT

local literal = require "luphant.compat.pgmoon.literal"

local hstore = {}

local base = {}
base.__index = base

--- Marks a table as an hstore; those of results are marked.
hstore.PostgresHstore = setmetatable({ __base = base }, {
  __call = function(_, pairs_of) return setmetatable(pairs_of, base) end,
})

local function quoted(text) return '"' .. tostring(text):gsub('[\\"]', "\\%0") .. '"' end

--- An hstore as a literal for a statement's text, keys in order.
---@param values table
---@param escape? fun(text: string): string
---@return string
function hstore.encode_hstore(values, escape)
  local texts = {}
  for key, value in pairs(values) do texts[#texts + 1] = quoted(key) .. "=>" .. quoted(value) end
  table.sort(texts)
  return (escape or literal.value)(table.concat(texts, ", "))
end

local function refuse() error("failed to parse postgresql hstore", 0) end

local function read_quoted(text, at)
  local from, pieces = at + 1, {}
  if text:sub(at, at) ~= '"' then refuse() end
  while true do
    local stop = text:find('["\\]', from)
    if not stop then refuse() end
    pieces[#pieces + 1] = text:sub(from, stop - 1)
    if text:sub(stop, stop) == '"' then return table.concat(pieces), stop + 1 end
    pieces[#pieces + 1] = text:sub(stop + 1, stop + 1)
    from = stop + 2
  end
end

--- A table from the text of an hstore; raises when it is none.
---@param text string
---@return table<string, string>
function hstore.decode_hstore(text)
  local values, at = {}, 1
  while at <= #text do
    local key, value
    key, at = read_quoted(text, at)
    if text:sub(at, at + 1) ~= "=>" then refuse() end
    at = at + 2
    if text:sub(at, at + 3) == "NULL" then
      value, at = "NULL", at + 4
    else
      value, at = read_quoted(text, at)
    end
    values[key] = value
    if at > #text then break end
    if text:sub(at, at + 1) ~= ", " then refuse() end
    at = at + 2
  end
  return setmetatable(values, base)
end

return hstore
