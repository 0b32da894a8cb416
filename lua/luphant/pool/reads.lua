-- pool/reads.lua - which texts ride on the shared connections of a pool that shares reads, and which do not now.
--
-- What is a read is readtext.lua's to say. Such a statement costs nobody who rides behind it more than its own time,
-- and a cancel request that hits the wrong one is made good by sending it once more. Everything else runs on a
-- connection of its own, which is never wrong; what turned out to be slow, or to have a long result, too, for a while.
--
-- SPDX-License-Identifier: MIT

local readtext = require "luphant.pool.readtext"

local reads = {}

local LONGEST = 8192 -- bytes; longer texts do not ride anyway
local MOST = 1000    -- texts that are remembered; a program with more makes them up as it goes
local CROWD = 4      -- times as many riders as there should be
local APART = 64     -- how often a text that was not taken runs elsewhere before it is tried again: at first,
local FAR_APART = 4096 -- and at most; twice as often each time

---@class luphant.pool.reads
---@field texts table<string, boolean|integer>  rides; never; so many runs elsewhere before it may ride again
---@field count integer
---@field pauses table<string, integer>  how often each that was not taken will run elsewhere the next time

---@param core userdata  of the pool
---@return luphant.pool.reads
function reads.new(core) return { texts = {}, pauses = {}, count = 0, core = core } end

local function learn(self, sql)
  if type(sql) ~= "string" or #sql > LONGEST then return false end
  if self.count == MOST then self.texts, self.pauses, self.count = {}, {}, 0 end
  self.texts[sql], self.count = readtext.is_read(sql), self.count + 1
  return self.texts[sql]
end

--- This text was not taken: it runs elsewhere for a while.
---@param self luphant.pool.reads
---@param sql string
function reads.keep_apart(self, sql)
  if not self.texts[sql] then return end
  local pause = self.pauses[sql] or APART
  self.texts[sql], self.pauses[sql] = pause, math.min(2 * pause, FAR_APART)
end

local function count_down(self, sql, left)
  self.texts[sql] = left > 1 and left - 1 or true
  return false
end

-- All have as many riders as they should. Where it would have to wait for a connection anyway it rides all the same, if
-- those before it are as quick as it takes to be many (lph_share_depth).
local function is_better_than_waiting(self, best)
  return best.depth > 1 and best.rides < CROWD * best.depth and self.core:is_spent()
end

-- One more shared connection? The first when two statements run at a time; another one not at the cost of those who
-- wait.
local function is_worth_growing(self, best)
  if best then return not self.core:is_spent() end
  return self.core:counts().used > 0
end

--- May this text ride now, on one of these? There are none before two statements run at a time.
---@param self luphant.pool.reads
---@param sql any
---@param fleet luphant.share.fleet
---@return boolean
function reads.may_ride(self, sql, fleet)
  local mark = self.texts[sql]
  if mark == nil then mark = learn(self, sql) end
  if not mark then return false end
  if mark ~= true then return count_down(self, sql, mark) end
  local best = fleet.best
  if best and best.rides < best.depth and fleet.queued == 0 then return true end
  if fleet.short and is_worth_growing(self, best) then fleet:grow() end
  return best ~= nil and fleet.queued == 0 and is_better_than_waiting(self, best)
end

return reads
