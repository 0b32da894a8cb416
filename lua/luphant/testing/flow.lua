-- luphant.testing.flow: the bytes of one direction of one connection, on their way through the gate.
--
-- A queue of pieces, each with the time it is due, and the decision how much of it may pass now under a
-- rule { stall, rate, split, cut }. Data only: no sockets here.
--
-- SPDX-License-Identifier: MIT

local framing = require "luphant.testing.framing"

local M = {}

---@class luphant.testing.flow
---@field cut? { messages: integer, bytes: integer } what may still pass: messages first, then bytes
---@field framing luphant.testing.framing
---@field deaf boolean what the sender says from now on is thrown away
---@field ended boolean the sender has hung up
---@field closed boolean the receiver has been told
---@field queued integer bytes

--- An empty queue; a cut that the rule holds counts from here.
---@return luphant.testing.flow
function M.new(rule, frames)
  local flow = { queue = {}, first = 1, last = 0, queued = 0, free_at = 0, framing = frames, deaf = false,
    ended = false, closed = false }
  M.set_cut(flow, rule.cut)
  return flow
end

--- From here on `cut.messages` whole messages and `cut.bytes` more bytes may pass; nil: everything.
function M.set_cut(flow, cut)
  flow.cut = cut and { messages = cut.messages, bytes = cut.bytes }
end

--- Has all passed that may?
function M.is_cut(flow)
  return flow.cut ~= nil and flow.cut.messages == 0 and flow.cut.bytes == 0
end

function M.push(flow, data, due)
  flow.last = flow.last + 1
  flow.queue[flow.last] = { data = data, due = due }
  flow.queued = flow.queued + #data
end

--- The piece that is next.
---@return string
function M.peek(flow)
  return flow.queue[flow.first].data
end

--- How many bytes of the next piece may pass now; nil when none may, and when to look again if that is known.
---@return integer? count
---@return number? due
function M.allowance(flow, rule, now)
  local piece = flow.queue[flow.first]
  if not piece or rule.stall then return nil end
  local due = math.max(piece.due, flow.free_at)
  if due > now then return nil, due end
  local size = #piece.data
  if rule.rate then size = math.min(size, math.max(1, math.floor(rule.rate / 20))) end
  if rule.split then size = 1 end
  local cut = flow.cut
  if cut and cut.messages > 0 then size = math.min(size, framing.ahead(flow.framing))
  elseif cut then size = math.min(size, cut.bytes) end
  return size
end

--- Forgets what has not passed yet.
function M.drop(flow)
  flow.queue, flow.first, flow.last, flow.queued = {}, 1, 0, 0
end

--- `count` bytes of the next piece have passed. Answers how many messages ended in them.
---@return integer
function M.take(flow, rule, count, now)
  local piece, cut = flow.queue[flow.first], flow.cut
  local ended = framing.pass(flow.framing, piece.data:sub(1, count))
  flow.queued = flow.queued - count
  if cut and cut.messages > 0 then cut.messages = cut.messages - ended
  elseif cut then cut.bytes = cut.bytes - count end
  if rule.rate then flow.free_at = math.max(flow.free_at, now) + count / rule.rate end
  if count < #piece.data then
    piece.data = piece.data:sub(count + 1)
    return ended
  end
  flow.queue[flow.first] = nil
  flow.first = flow.first + 1
  return ended
end

return M
