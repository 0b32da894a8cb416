-- copy/meter.lua - how far a COPY has come, told to the caller's function now and then.
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"

local now = core.now

local meter = {}

---@class luphant.copy.progress
---@field rows integer     0 while bytes are passed on as they are, until the server has counted
---@field bytes integer
---@field seconds number   since the COPY began
---@field rate number      rows per second so far
---@field done boolean     this is the last call

--- nil when nobody wants to know.
---@param options table
function meter.new(options)
  if not options.progress then return nil end
  return {
    fn = options.progress, every = options.progress_every, from = now(), at = now(),
    told = { rows = 0, bytes = 0, seconds = 0, rate = 0, done = false },
  }
end

local function tell(self, rows, bytes, done)
  local told = self.told
  self.at = now()
  told.rows, told.bytes, told.done = rows, bytes, done
  told.seconds = self.at - self.from
  told.rate = told.seconds > 0 and rows / told.seconds or 0
  self.fn(told)
end

--- Tells it when it is time to.
function meter.tick(self, guard)
  if now() - self.at < self.every then return end
  local rows, bytes = guard:counts()
  tell(self, rows, bytes, false)
end

--- The last word.
function meter.finish(self, rows, bytes)
  tell(self, rows, bytes, true)
end

return meter
