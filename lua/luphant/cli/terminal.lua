-- cli/terminal.lua - what a person's terminal is given: text and colours, and nothing else that steers it.
--
-- A message of the server, a name or a comment may hold control characters, by mistake or by malice. On a terminal they
-- would move the cursor, hide lines or rename the window; there they are shown as \x1B. Files and pipes get every byte.
--
-- SPDX-License-Identifier: MIT

local terminal = {}

local CONTROL = "[%z\1-\8\11-\31\127]" -- all but tab and line feed
local CONTROL_BUT_ESCAPE = "[%z\1-\8\11-\26\28-\31\127]"

local function shown(char) return ("\\x%02X"):format(char:byte()) end

local function escape(tail)
  if tail:find "^%[[%d;]*m$" then return nil end -- a colour: stays as it is
  return shown "\27" .. tail
end

--- `text` without characters that steer a terminal. Colours may stay, and the carriage return with which a progress bar
--- begins its line again.
---@param text string
---@return string
function terminal.harmless(text)
  if not text:find(CONTROL) then return text end
  local front, rest = text:match "^(\r?)(.*)$"
  return front .. rest:gsub("\27(%[?[%d;]*m?)", escape):gsub(CONTROL_BUT_ESCAPE, shown)
end

local stream = {}
stream.__index = stream

function stream:write(...)
  if self.is_terminal == nil then self.is_terminal = self.ask() end
  if not self.is_terminal then
    self.file:write(...)
    return self
  end
  for i = 1, select("#", ...) do self.file:write(terminal.harmless(tostring((select(i, ...))))) end
  return self
end

function stream:flush() self.file:flush() end

--- A file that is written to, as `write` and `flush` need it; harmless when it is a terminal.
---@param file file*
---@param is_terminal fun(): boolean  asked before the first write
---@return table
function terminal.stream(file, is_terminal)
  return setmetatable({ file = file, ask = is_terminal }, stream)
end

return terminal
