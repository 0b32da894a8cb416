-- share/stopping.lua - cancelling the statement that runs on a shared connection and is of no use to anybody.
--
-- The request is aimed at the session. It may come late and hit the next statement: that one was rolled back by it and
-- is sent again (see "hit" in lshare.c). While one is on its way no other is sent.
--
-- SPDX-License-Identifier: MIT

local stopping = {}

local IMPATIENCE = 0.01 -- what a statement nobody wants gets before it is cancelled
local AGAIN = 0.1       -- between two requests
stopping.IMPATIENCE = IMPATIENCE

local function finish(self)
  self.cancel:close()
  self.cancel, self.swollen = nil, false
  self.box:cancelling(false)
end

local function start(self, at)
  self.cancel_at = self.cancel_at or at
  self.cancel_after = at + AGAIN
  self.box:cancelling(true)
  self.cancel = self.box:start_cancel(self.owner.settings.cancel_grace)
  if not self.cancel then self.box:cancelling(false) end
end

--- Looks after the running statement. One that is swollen does not wait, nor for the last request to have its effect:
--- that was for another.
---@param self luphant.share.carrier
---@param at_once? boolean  whoever has just left was waiting for it
function stopping.mind(self, at_once)
  if self.cancel and self.cancel:is_done() then finish(self) end
  if not self.stuck then
    self.stuck_at, self.cancel_at = nil, nil
    return
  end
  local at = self.now()
  self.stuck_at = self.stuck_at or at
  if self.cancel_at and at - self.cancel_at > self.owner.settings.cancel_grace then
    self.owner:on_sick(self)
  end
  if self.cancel then return end
  if self.swollen then return start(self, at) end
  if at < (self.cancel_after or 0) then return end
  if at_once or at - self.stuck_at >= IMPATIENCE then start(self, at) end
end

return stopping
