-- redact.lua - takes secrets out of texts before anyone reads them.
--
-- Used on error messages and on SQL that is shown to people. It replaces, it never judges: whether
-- a text is shown at all is decided elsewhere. `sql` keeps the length in characters, so positions
-- that the server reported stay true. Pure functions; nothing of luphant is required.
--
-- SPDX-License-Identifier: MIT

local redact = {}

local MASK = "********"

local function plain(text)
  return (text:gsub("%p", "%%%0"))
end

local function percent_encode(text)
  return (text:gsub("[^%w%-._~]", function(c) return ("%%%02X"):format(c:byte()) end))
end

local function replace(text, secret)
  local pattern = plain(secret)
  -- A password such as "a" would turn every word to stars: short ones only as words of their own.
  if #secret < 4 and secret:find("^%w+$") then pattern = "%f[%w]" .. pattern .. "%f[%W]" end
  return (text:gsub(pattern, MASK))
end

--- `text` without `secret`, as it is and as it looks percent-encoded in a URL.
---@param text string
---@param secret string|nil  nil or empty: the text as it is
---@return string
function redact.secret(text, secret)
  if type(secret) ~= "string" or secret == "" then return text end
  text = replace(text, secret)
  local encoded = percent_encode(secret)
  if encoded ~= secret then text = replace(text, encoded) end
  return text
end

-- One star per character (not per byte): positions after it must not move.
local function stars(text)
  local _, continuation = text:gsub("[\128-\191]", "")
  return ("*"):rep(#text - continuation)
end

local function mask_quoted(lead, literal)
  return lead .. "'" .. stars(literal) .. "'"
end

-- Lua patterns know no "ignore case".
local function any_case(word)
  return (word:gsub("%a", function(c) return "[" .. c:upper() .. c .. "]" end))
end

local PASSWORD = any_case("password")

--- SQL with the secrets hidden that statements may spell out: ALTER ROLE ... PASSWORD '...',
--- user mappings (password '...'), and connection strings inside literals (dblink, subscriptions).
---@param text string
---@return string
function redact.sql(text)
  if not text:find(PASSWORD) and not text:find("://", 1, true) then return text end
  text = text:gsub("(" .. PASSWORD .. "%s+[eE]?)'([^']*)'", mask_quoted)
  text = text:gsub("(" .. PASSWORD .. "%s*=%s*)([^%s']+)", function(lead, word)
    return lead .. stars(word)
  end)
  return (text:gsub("(://[^/%s:@']*:)([^@%s']+)@", function(lead, word)
    return lead .. stars(word) .. "@"
  end))
end

return redact
