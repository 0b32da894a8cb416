-- spec.support.footprint: how much memory something takes at its worst.
--
-- SPDX-License-Identifier: MIT

local footprint = { MEGABYTE = 1024 * 1024 }

-- Most memory this process has had since the last reset, in bytes; nil where /proc does not tell.
local function peak()
  local file = io.open "/proc/self/status"
  local text = file and file:read "*a"
  if file then file:close() end
  local kilobytes = text and text:match "VmHWM:%s*(%d+) kB"
  return kilobytes and tonumber(kilobytes) * 1024
end

local function reset_peak()
  collectgarbage()
  collectgarbage()
  local file = io.open("/proc/self/clear_refs", "w")
  if not file then return false end
  file:write "5"
  return file:close()
end

--- How far memory rose above what it was, while fn ran; nil where that cannot be known.
function footprint.growth(fn)
  if not reset_peak() then return fn() and nil end
  local before = peak()
  fn()
  return before and peak() - before
end

return footprint
