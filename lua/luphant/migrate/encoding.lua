-- luphant.migrate.encoding - the text of a file as it is hashed and read: UTF-8, no byte order mark, LF.
--
-- SPDX-License-Identifier: MIT

local M = {}

local byte, find = string.byte, string.find

--- Without byte order mark, line ends as LF: what a checkout on another system turned them into does not count.
---@param text string
---@return string
function M.normalise(text)
  return (text:gsub("^\239\187\191", ""):gsub("\r\n", "\n"))
end

-- Leading byte -> how many follow, and the bounds of the first of these (they keep overlong forms, surrogates and
-- what lies beyond U+10FFFF out).
local function shape(lead)
  if lead >= 0xC2 and lead <= 0xDF then return 1, 0x80, 0xBF end
  if lead == 0xE0 then return 2, 0xA0, 0xBF end
  if lead == 0xED then return 2, 0x80, 0x9F end
  if lead >= 0xE1 and lead <= 0xEF then return 2, 0x80, 0xBF end
  if lead == 0xF0 then return 3, 0x90, 0xBF end
  if lead == 0xF4 then return 3, 0x80, 0x8F end
  if lead >= 0xF1 and lead <= 0xF3 then return 3, 0x80, 0xBF end
end

-- The first byte that is no UTF-8, or nil.
local function first_bad(text)
  local at = find(text, "[\128-\255]")
  while at do
    local more, low, high = shape(byte(text, at))
    local second = byte(text, at + 1)
    if not more or not second or second < low or second > high then return at end
    local _, last = find(text, "^[\128-\191]+", at + 1)
    if last - at < more then return at end
    at = find(text, "[\128-\255]", at + more + 1)
  end
end

--- What makes a text unfit to be SQL for the server, or nil.
---@param text string
---@return integer? at first byte of the trouble
---@return string? complaint
function M.fault(text)
  if find(text, "^\255\254") or find(text, "^\254\255") then return 1, "is UTF-16; save it as UTF-8" end
  local nul = find(text, "\0", 1, true)
  if nul then return nul, "holds a NUL byte; is this a text file in UTF-8?" end
  local bad = first_bad(text)
  if not bad then return nil end
  return bad, ("holds the byte %02X, which is no UTF-8 there; save the file as UTF-8"):format(byte(text, bad))
end

return M
