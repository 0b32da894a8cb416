-- compat/pgmoon/literal.lua - Lua values as pieces of SQL text, for code that glues statements together.
--
-- As pgmoon writes them: with standard_conforming_strings, which is PostgreSQL's default and stays untouched here.
-- Parameters ($1) are the better way, and need none of this.
--
-- SPDX-License-Identifier: MIT

local literal = {}

--- What stands for NULL where an instance has nothing of its own for it.
literal.NULL = { "NULL" }

-- A NUL would end the text early on the server's side.
local function check(text)
  if text:find("\0", 1, true) then error("a text with a NUL byte cannot stand in SQL", 3) end
  return text
end

--- 'it''s', 5, TRUE; `null` is what stands for NULL. Raises for what has no form.
---@param value any
---@param null any
---@return string
function literal.value(value, null)
  if value == null then return "NULL" end
  local kind = type(value)
  if kind == "number" then return tostring(value) end
  if kind == "boolean" then return value and "TRUE" or "FALSE" end
  if kind == "string" then return "'" .. check(value):gsub("'", "''") .. "'" end
  error("don't know how to escape value: " .. tostring(value), 2)
end

--- "a ""quoted"" name"
---@param name any
---@return string
function literal.identifier(name)
  return '"' .. check(tostring(name)):gsub('"', '""') .. '"'
end

--- bytea as a literal of its own, whatever the session's settings are.
---@param bytes string
---@return string
function literal.bytea(bytes)
  return "E'\\\\x" .. bytes:gsub(".", function(byte) return ("%02x"):format(byte:byte()) end) .. "'"
end

--- The bytes of bytea in text form, `bytea_output` hex or escape.
---@param text string
---@return string
function literal.bytes(text)
  if text:sub(1, 2) == "\\x" then
    return (text:sub(3):gsub("%x%x", function(hex) return string.char(tonumber(hex, 16)) end))
  end
  return (text:gsub("\\(\\?)(%d?%d?%d?)", function(backslash, octal)
    if backslash ~= "" then return "\\" .. octal end
    return string.char(tonumber(octal, 8))
  end))
end

return literal
