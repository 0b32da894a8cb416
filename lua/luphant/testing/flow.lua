-- luphant.testing.flow: the bytes of one direction of one connection, on their way through the gate.
--
-- A queue of pieces, each with the time it is due, and the decision how much of it may pass now under a
-- rule { stall, delay, rate, split, cut }. Data only: no sockets here.
--
-- SPDX-License-Identifier: MIT

local M = {}

---@class luphant.testing.flow
---@field cut? integer bytes that may still pass
---@field ended boolean the sender has hung up
---@field closed boolean the receiver has been told
---@field queued integer bytes

--- An empty queue; a cut that the rule holds counts from here.
---@return luphant.testing.flow
function M.new(rule)
  return { queue = {}, first = 1, last = 0, queued = 0, free_at = 0, cut = rule.cut, ended = false, closed = false }
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
  if flow.cut then size = math.min(size, flow.cut) end
  return size
end

--- `count` bytes of the next piece have passed.
function M.take(flow, rule, count, now)
  local piece = flow.queue[flow.first]
  flow.queued = flow.queued - count
  if flow.cut then flow.cut = flow.cut - count end
  if rule.rate then flow.free_at = math.max(flow.free_at, now) + count / rule.rate end
  if count < #piece.data then
    piece.data = piece.data:sub(count + 1)
    return
  end
  flow.queue[flow.first] = nil
  flow.first = flow.first + 1
end

return M
