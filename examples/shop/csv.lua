-- A strict reader of CSV after RFC 4180: comma, double quotes, "" for a quote inside quotes, line
-- breaks allowed inside quotes, lines ended by CRLF or LF. What breaks these rules is an error with
-- its line; guessing what a broken file meant is how wrong data gets in.
--
-- Numbers of fields are not compared here: a record that is too short is well-formed CSV, and the
-- import wants to refuse it alone, not the whole file.
--
-- SPDX-License-Identifier: MIT

local M = {}

-- One field from `at`. Answers its value, the place behind it, and the line breaks it held;
-- or nil and what is wrong.
local function read_field(text, at)
  if text:sub(at, at) ~= '"' then
    local value = text:match("^[^,\r\n]*", at)
    if value:find('"', 1, true) then return nil, 'a quote (") inside a field that is not quoted' end
    return value, at + #value, 0
  end
  local from, parts, breaks = at + 1, {}, 0
  while true do
    local quote = text:find('"', from, true)
    if not quote then return nil, "the quoted field that begins here never ends" end
    parts[#parts + 1] = text:sub(from, quote - 1)
    breaks = breaks + select(2, parts[#parts]:gsub("\n", ""))
    if text:sub(quote + 1, quote + 1) ~= '"' then return table.concat(parts, '"'), quote + 1, breaks end
    from = quote + 2
  end
end

-- What stands behind a field: "," goes on, a line end or the end of the text closes the record.
local function read_separator(text, at)
  local char = text:sub(at, at)
  if char == "," then return "field", at + 1 end
  if char == "" then return "end", at end
  local line_end = text:match("^\r?\n", at)
  if line_end then return "record", at + #line_end end
  if char == "\r" then return nil, "a carriage return without a line feed" end
  return nil, "text behind the closing quote of a field"
end

--- Reads a whole text.
---@param text string
---@return table[]? records lists of strings, each with the `line` on which it begins
---@return string? message
---@return integer? line
function M.parse(text)
  local records, at, line = {}, text:find "^\239\187\191" and 4 or 1, 1
  while at <= #text do
    local record, what = { line = line }, "field"
    while what == "field" do
      local value, behind, breaks = read_field(text, at)
      if not value then return nil, behind, line end
      record[#record + 1], line = value, line + breaks
      what, at = read_separator(text, behind)
      if not what then return nil, at, line end
    end
    line = line + 1
    records[#records + 1] = record
  end
  return records
end

--- Reads a file whose first record names the columns.
---@param path string
---@return string[] header
---@return table[] records
function M.read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  local records, message, line = M.parse(text)
  if not records then error(("%s:%d: %s"):format(path, line, message), 0) end
  local header = table.remove(records, 1)
  if not header then error(path .. ": is empty", 0) end
  return header, records
end

return M
