-- luphant.sqltext.place - from bytes of a text to lines and columns, as editors count them: from 1, columns in
-- characters (of UTF-8). A cursor goes forward only, so that asking often costs one pass over the text.
--
-- SPDX-License-Identifier: MIT

local find, sub, gsub = string.find, string.sub, string.gsub

local place = {}

local function characters(text)
  if not find(text, "[\128-\191]") then return #text end
  local _, inner = gsub(text, "[\128-\191]", "")
  return #text - inner
end

--- A cursor over `text`. `line` is the number of the text's first line (default 1).
---@param text string
---@param line? integer
---@return table cursor
function place.cursor(text, line)
  return { text = text, at = 1, line = line or 1, column = 1, newline = find(text, "\n", 1, true) }
end

--- Moves the cursor to byte `to`, which must not lie before the last one.
---@param cursor table
---@param to integer
---@return integer line
---@return integer column
function place.advance(cursor, to)
  local text = cursor.text
  while cursor.newline and cursor.newline < to do
    cursor.line, cursor.column, cursor.at = cursor.line + 1, 1, cursor.newline + 1
    cursor.newline = find(text, "\n", cursor.at, true)
  end
  cursor.column = cursor.column + characters(sub(text, cursor.at, to - 1))
  cursor.at = to
  return cursor.line, cursor.column
end

--- The place of one byte.
---@param text string
---@param at integer
---@param line? integer number of the text's first line (default 1)
---@return integer line
---@return integer column
function place.of(text, at, line)
  return place.advance(place.cursor(text, line), at)
end

--- The byte at which character number `count` begins (the server counts so); behind the end when there are fewer.
---@param text string
---@param count integer
---@return integer
function place.byte(text, count)
  local left = count
  for start in text:gmatch "()[%z\1-\127\192-\255]" do
    left = left - 1
    if left <= 0 then return start end
  end
  return #text + 1
end

return place
