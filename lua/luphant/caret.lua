-- caret.lua - shows where in an SQL text the server stumbled.
--
-- Positions come from the server: 1-based, in characters. Shown is the one line that holds the
-- position, cut to a window when it is long, with a caret below it. Characters are UTF-8 here
-- (client_encoding always is); bytes that are not only make the caret miss, they cannot break it.
-- Pure: text in, text out.
--
-- SPDX-License-Identifier: MIT

local caret = {}

local WINDOW = 100 -- columns of SQL; with "LINE 12: " in front it still fits a wide terminal
local BEFORE = 60  -- of these, how many stand in front of the caret when a line is cut
local CHARACTER = "[%z\1-\127\192-\255][\128-\191]*"

-- Ranges of code points that terminals draw two columns wide (East Asian wide and full-width, and
-- emoji), and combining ones that take none. Coarse on purpose: a caret, not a layout engine.
local WIDE = {
  0x1100, 0x115F, 0x2E80, 0xA4CF, 0xAC00, 0xD7A3, 0xF900, 0xFAFF, 0xFE30, 0xFE6F,
  0xFF00, 0xFF60, 0xFFE0, 0xFFE6, 0x1F300, 0x1FAFF, 0x20000, 0x3FFFD,
}
local NONE = { 0x0300, 0x036F, 0x200B, 0x200F, 0xFE00, 0xFE0F }

local function is_in(point, ranges)
  for i = 1, #ranges, 2 do
    if point >= ranges[i] and point <= ranges[i + 1] then return true end
  end
  return false
end

local function code_point(char)
  local first = char:byte()
  if first < 0xC0 or #char < 2 then return first end
  local point = first % (#char == 2 and 0x20 or #char == 3 and 0x10 or 0x08)
  for i = 2, #char do point = point * 64 + char:byte(i) % 64 end
  return point
end

local function width(char)
  if #char < 2 then return 1 end
  local point = code_point(char)
  if is_in(point, NONE) then return 0 end
  return is_in(point, WIDE) and 2 or 1
end

-- Characters are counted by their first bytes, so a stray continuation byte belongs to its neighbour.
local function count(text)
  return select(2, text:gsub("[^\128-\191]", ""))
end

-- Where the n-th character of `text` begins; one past the end when there are fewer. Whole blocks are
-- skipped first: a bulk insert of a megabyte in one line must not become a table of characters.
local function byte_of(text, n)
  local at = 1
  while true do
    local here = count(text:sub(at, at + 4095))
    if here >= n or at > #text then break end
    n, at = n - here, at + 4096
  end
  for i = at, #text do
    local byte = text:byte(i)
    if byte < 128 or byte > 191 then n = n - 1 end
    if n == 0 then return i end
  end
  return #text + 1
end

-- The line that holds `position`: its number, its text, and the column in characters.
local function locate(sql, position)
  local line, at, left = 1, 1, position
  while true do
    local stop = sql:find("[\r\n]", at) or #sql + 1
    local text = sql:sub(at, stop - 1)
    local length = count(text)
    if left <= length + 1 then return line, text, left, length end
    if stop > #sql then return nil end
    local newline = sql:find("^\r\n", stop) and 2 or 1
    left = math.max(1, left - length - newline)
    line, at = line + 1, stop + newline
  end
end

local function window(column, length)
  if length <= WINDOW then return 1, length end
  local to = math.min(length, math.max(1, column - BEFORE) + WINDOW - 1)
  return to - WINDOW + 1, to
end

--- Two lines: the SQL line and a caret under the position. nil when the position is not in the text
--- (one past its end is: "syntax error at end of input").
---@param sql string
---@param position integer  1-based, in characters
---@param first_line? integer number of the first line (default 1)
---@return string|nil
function caret.show(sql, position, first_line)
  if type(sql) ~= "string" or type(position) ~= "number" or position < 1 then return nil end
  local line, text, column, length = locate(sql, position)
  if not line then return nil end
  local from, to = window(column, length)
  local lead = ("LINE %d: "):format(line + (first_line or 1) - 1) .. (from > 1 and "..." or "")
  local indent, index, shown = #lead, from, {}
  for char in text:sub(byte_of(text, from), byte_of(text, to + 1) - 1):gmatch(CHARACTER) do
    if index < column then indent = indent + width(char) end
    -- Tabs and other control characters would move or colour what follows: one column each.
    shown[#shown + 1] = char:find("^%c") and " " or char
    index = index + 1
  end
  return lead .. table.concat(shown) .. (to < length and "..." or "") .. "\n"
    .. (" "):rep(indent) .. "^"
end

return caret
