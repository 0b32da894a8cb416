-- Headings and aligned tables for a terminal, with colour only where a person looks.
--
-- Columns are as wide as what is drawn, not as the bytes: two columns for East Asian characters,
-- none for combining marks.
--
-- SPDX-License-Identifier: MIT

local M = {}

local function is_terminal()
  if os.getenv "NO_COLOR" or os.getenv "TERM" == "dumb" then return false end
  local answer = os.execute "test -t 1" -- true on Lua 5.4, an exit status on 5.1
  return answer == true or answer == 0
end

local coloured
local STYLES = { bold = "1", dim = "2", red = "31", green = "32", cyan = "36" }

--- Text in a style, plain when the output is not a terminal.
---@param name "bold"|"dim"|"red"|"green"|"cyan"
---@param text string
---@return string
function M.style(name, text)
  if coloured == nil then coloured = is_terminal() end
  return coloured and ("\27[%sm%s\27[0m"):format(STYLES[name], text) or text
end

-- First and last code point of what is drawn wide, and of what takes no place.
local WIDE = {
  { 0x1100, 0x115F }, { 0x2E80, 0xA4CF }, { 0xAC00, 0xD7A3 }, { 0xF900, 0xFAFF },
  { 0xFE30, 0xFE6F }, { 0xFF00, 0xFF60 }, { 0x1F300, 0x1FAFF }, { 0x20000, 0x3FFFD },
}
local NARROW = { { 0x0300, 0x036F }, { 0x093A, 0x093A }, { 0x093C, 0x093C }, { 0x0941, 0x0948 }, { 0x094D, 0x094D } }

local function within(ranges, point)
  for _, range in ipairs(ranges) do
    if point >= range[1] and point <= range[2] then return true end
  end
  return false
end

local function code_point(char)
  local first, length = char:byte(), #char
  if length == 1 then return first end
  local point = first % 2 ^ (7 - length)
  for i = 2, length do point = point * 64 + char:byte(i) % 64 end
  return point
end

--- How many columns a text takes.
---@param text string
---@return integer
function M.width(text)
  local columns = 0
  for char in text:gmatch "[%z\1-\127\194-\244][\128-\191]*" do
    local point = code_point(char)
    columns = columns + (within(NARROW, point) and 0 or within(WIDE, point) and 2 or 1)
  end
  return columns
end

--- One line of at most `columns`, with control characters and broken UTF-8 made visible.
---@param text string
---@param columns integer
---@return string
function M.clip(text, columns)
  local out, used, at = {}, 0, 1
  while at <= #text do
    local char = text:match("^[%z\1-\127]", at) or text:match("^[\194-\223][\128-\191]", at)
      or text:match("^[\224-\239][\128-\191][\128-\191]", at)
      or text:match("^[\240-\244][\128-\191][\128-\191][\128-\191]", at)
    local shown = char or ("\\x%02X"):format(text:byte(at))
    if char == "\n" then shown = "⏎" elseif char and char:find "%c" then shown = "?" end
    if used + M.width(shown) > columns - 1 and at + #(char or "x") <= #text then
      return table.concat(out) .. "…"
    end
    out[#out + 1], used, at = shown, used + M.width(shown), at + #(char or "x")
  end
  return table.concat(out)
end

function M.heading(text)
  print()
  print(M.style("bold", text))
end

local function pad(text, width, is_right)
  local gap = (" "):rep(width - M.width(text))
  return is_right and gap .. text or text .. gap
end

--- Prints a table. A column's title that begins with ">" puts the column to the right.
---@param titles string[]
---@param rows string[][]
function M.table(titles, rows)
  local names, right, widths = {}, {}, {}
  for i, title in ipairs(titles) do
    names[i], right[i] = title:gsub("^>", ""), title:find "^>" ~= nil
    widths[i] = M.width(names[i])
    for _, row in ipairs(rows) do widths[i] = math.max(widths[i], M.width(row[i])) end
  end
  local function line(cells)
    local out = {}
    for i, cell in ipairs(cells) do out[i] = pad(cell, widths[i], right[i]) end
    return "  " .. (table.concat(out, "  "):gsub("%s+$", ""))
  end
  print(M.style("dim", line(names)))
  for _, row in ipairs(rows) do print(line(row)) end
end

return M
