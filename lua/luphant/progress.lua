-- progress.lua - a progress bar for scripts and the command line.
--
--   local bar = progress.bar { total = 1000000, label = "users" }
--   local w = assert(db:copy_in("users", { progress = bar }))
--
-- One line that is written over again and again, on a terminal only: in a log or a pipe nothing appears. A bar is
-- called with what COPY tells its progress function, or with a table of the same fields from anywhere else.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local compat = require "luphant.compat"
local core = require "luphant.core"

local progress = {}

local RULES = {
  total = { type = "number", min = 0 },
  unit = { one_of = { "rows", "bytes" }, default = "rows" },
  label = { type = "string", default = "" },
  width = { type = "number", integer = true, min = 5, max = 200, default = 24 },
  out = { check = function(value)
    if io.type(value) == "file" then return nil end
    return "must be an open file such as io.stderr, got " .. args.show(value)
  end },
  show = { type = "boolean" },
}

---@class luphant.progress_bar
---@field total number|nil
---@field is_shown boolean
local methods = {}
local metatable = { __name = "luphant.progress_bar", __index = methods }

-------------------------------------------------------------------------------------------- words

-- 1234567 -> "1,234,567"
local function grouped(number)
  local digits = compat.digits(math.floor(number)):reverse():gsub("(%d%d%d)", "%1,"):reverse()
  return (digits:gsub("^,", ""))
end

local SIZES = { "B", "kB", "MB", "GB", "TB" }

local function size(bytes)
  local step = 1
  while bytes >= 1000 and step < #SIZES do bytes, step = bytes / 1000, step + 1 end
  return (step == 1 and "%d %s" or "%.1f %s"):format(bytes, SIZES[step])
end

local function clock(seconds)
  seconds = math.ceil(seconds)
  if seconds < 60 then return ("%d s"):format(seconds) end
  if seconds < 3600 then return ("%d:%02d min"):format(math.floor(seconds / 60), seconds % 60) end
  return ("%d:%02d h"):format(math.floor(seconds / 3600), math.floor(seconds % 3600 / 60))
end

local function amount(self, value)
  if self.unit == "bytes" then return size(value) end
  return grouped(value) .. " rows"
end

local function drawn(self, share)
  local filled = math.floor(share * self.width + 0.5)
  return ("[%s%s]"):format(("#"):rep(filled), ("-"):rep(self.width - filled))
end

--- The line as it stands on the terminal.
---@param told { rows: number, bytes: number, seconds: number, done: boolean }
---@return string
function methods:line(told)
  local value = told[self.unit]
  local rate = told.seconds > 0 and value / told.seconds or 0
  local words = { self.label ~= "" and self.label or nil }
  local share = self.total and self.total > 0 and math.min(value / self.total, 1)
  if told.done then
    words[#words + 1] = ("%s in %s (%s/s)"):format(amount(self, value), clock(told.seconds), amount(self, rate))
    return table.concat(words, "  ")
  end
  if share then words[#words + 1] = ("%s %3d%%"):format(drawn(self, share), math.floor(share * 100)) end
  words[#words + 1] = amount(self, value)
  words[#words + 1] = amount(self, rate) .. "/s"
  if share and share > 0 and rate > 0 then words[#words + 1] = clock((self.total - value) / rate) .. " left" end
  return table.concat(words, "  ")
end

------------------------------------------------------------------------------------------ the bar

-- What was there before is wider now and then.
local function write_over(self, line)
  local gap = math.max((self.last_length or 0) - #line, 0)
  self.last_length = #line
  self.out:write("\r", line, (" "):rep(gap))
  self.out:flush()
end

metatable.__call = function(self, told)
  if not self.is_shown then return end
  write_over(self, self:line(told))
  if told.done then self:close() end
end

--- Leaves the line, so that what is printed next begins on one of its own. Once is enough.
function methods:close()
  if not self.last_length then return end
  self.last_length = nil
  self.out:write "\n"
  self.out:flush()
end
metatable.__close = methods.close

local function is_terminal(out)
  if out == io.stderr then return core.is_terminal(2) end
  return out == io.stdout and core.is_terminal(1)
end

--- A bar: call it with { rows =, bytes =, seconds =, done = }.
---@param options? { total?: number, unit?: "rows"|"bytes", label?: string, width?: integer, out?: file*,
---show?: boolean }
---@return luphant.progress_bar
function progress.bar(options)
  local self = args.check(options, RULES, "progress option", 2)
  self.out = self.out or io.stderr
  if self.show ~= nil then self.is_shown = self.show else self.is_shown = is_terminal(self.out) end
  return setmetatable(self, metatable)
end

return progress
