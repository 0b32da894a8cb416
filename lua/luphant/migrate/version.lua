-- luphant.migrate.version - versions are text that compares as numbers: digits of any length, with dots between
-- them when they came from elsewhere (1.2). No float ever sees them, so that LuaJIT and Lua 5.4 agree.
--
-- SPDX-License-Identifier: MIT

local M = {}

--- A text that sorts as the version does. Equal for spellings of one number: 7, 007 and 7.0.
---@param version string
---@return string
function M.key(version)
  local parts, length = {}, 0
  for digits in version:gmatch "%d+" do
    digits = digits:gsub("^0+", "")
    -- Without leading zeros, the longer is the greater, and equal lengths compare as text.
    parts[#parts + 1] = ("%06d%s"):format(#digits, digits)
    if digits ~= "" then length = #parts end
  end
  return table.concat(parts, ".", 1, math.max(length, 1))
end

--- Is this text a version?
---@param text any
---@return boolean
function M.is(text)
  return type(text) == "string" and (text .. "."):gsub("%d+%.", "") == ""  and text ~= ""
end

--- Does version `a` come before `b`?
---@param a string
---@param b string
---@return boolean
function M.before(a, b) return M.key(a) < M.key(b) end

return M
