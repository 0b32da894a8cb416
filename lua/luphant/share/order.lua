-- share/order.lua - which shared connection the next statement rides on: the first in their order that has room.
--
-- So few of them have all the riders as long as these hardly wait for each other (lph_share_depth in share.h), and the
-- others are there for whoever needs one. Where none has room `best` is not always the one with the fewest riders, but
-- near it: it moves on whenever its neighbour has fewer.
--
-- SPDX-License-Identifier: MIT

local order, methods = {}, {}

--- There are more or fewer of them than before.
---@param self luphant.share.fleet
function order.arrange(self)
  local carriers = self.carriers
  local count = #carriers
  for i, one in ipairs(carriers) do one.next, one.place = carriers[i % count + 1], i end
  self.best, self.short = carriers[count], count < self.limit
end

--- For the carrier: it has room again.
---@param one luphant.share.carrier
function methods:has_room(one)
  local best = self.best
  if one.place < best.place or best.rides >= best.depth then self.best = one end
end

--- The next one, after `one` has got a rider more than it should have while others have room.
---@param one luphant.share.carrier
function methods:move_on(one)
  if not one.place then return end -- it has left the ring meanwhile
  local other = one.next
  while other ~= one do
    if other.rides < other.depth then
      self.best = other
      return
    end
    other = other.next
  end
  if one.next.rides < one.rides then self.best = one.next end
  if one.rides > one.depth and self.short then self:grow() end
end

--- Counts a statement that has come on board.
---@param one luphant.share.carrier
function methods:board(one)
  one.rides = one.rides + 1
  if one.rides >= one.depth then self:move_on(one) end
end

function order.add(class)
  for name, method in pairs(methods) do class[name] = method end
end

return order
