-- luphant.testing.framing: where the messages of PostgreSQL's protocol begin and end in one direction of a stream.
--
-- Only counts: what a message says is nobody's business here, except that a start-up packet has no type letter and that
-- the answer to a request for encryption is a single byte. What follows a "yes" to such a request is encrypted and has
-- no borders that could be seen; neither has a stream that is something else altogether.
--
-- SPDX-License-Identifier: MIT

local M = {}

-- The codes that stand where a start-up packet has the protocol version.
local ENCRYPTION = { [80877103] = true, [80877104] = true } -- SSLRequest, GSSENCRequest

-- How many bytes tell the size of what follows.
local HEAD = { startup = 8, message = 5, answer = 1 }

---@class luphant.testing.framing
---@field phase "startup"|"message"|"answer" what comes next
---@field head string the beginning of a message whose size is not known yet
---@field left integer bytes until the end of the message
---@field opaque boolean no borders from here on
---@field peer? luphant.testing.framing the other direction

--- The framings of both directions, which learn from each other.
---@return luphant.testing.framing client
---@return luphant.testing.framing server
function M.pair()
  local client = { phase = "startup", head = "", left = 0, opaque = false }
  local server = { phase = "message", head = "", left = 0, opaque = false, peer = client }
  client.peer = server
  return client, server
end

local function number(bytes)
  local value = 0
  for i = 1, #bytes do value = value * 256 + bytes:byte(i) end
  return value
end

local function go_blind(framing)
  framing.opaque, framing.peer.opaque = true, true
end

local begin = {}

function begin.startup(framing, head)
  framing.left = number(head:sub(1, 4)) - 8
  if ENCRYPTION[number(head:sub(5))] then
    framing.peer.phase = "answer"
  else
    framing.phase = "message"
  end
end

function begin.message(framing, head)
  framing.left = number(head:sub(2)) - 4
end

-- "N", or the first letter of an error, or "yes".
function begin.answer(framing, head)
  framing.phase = "message"
  if head == "S" or head == "G" then return go_blind(framing) end
  if head ~= "N" then framing.head = head end
end

--- How many of the next bytes surely belong to the same message.
---@param framing luphant.testing.framing
---@return number
function M.ahead(framing)
  if framing.opaque then return math.huge end
  if framing.left > 0 then return framing.left end
  return HEAD[framing.phase] - #framing.head
end

--- These bytes have passed. Answers how many messages ended in them.
---@param framing luphant.testing.framing
---@param bytes string
---@return integer
function M.pass(framing, bytes)
  local at, ended = 1, 0
  while at <= #bytes and not framing.opaque do
    local size = math.min(M.ahead(framing), #bytes - at + 1)
    if framing.left > 0 then
      framing.left = framing.left - size
    else
      framing.head = framing.head .. bytes:sub(at, at + size - 1)
      if #framing.head < HEAD[framing.phase] then return ended end
      local head = framing.head
      framing.head = ""
      begin[framing.phase](framing, head)
      if framing.left < 0 then go_blind(framing) end
    end
    at = at + size
    if framing.left == 0 and framing.head == "" and not framing.opaque then ended = ended + 1 end
  end
  return ended
end

return M
