-- notify/send.lua - q:notify(channel, payload): pg_notify with its limits told before anything is sent.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local core = require "luphant.core"
local errors = require "luphant.errors"

local send = {}

-- NAMEDATALEN and NOTIFY_PAYLOAD_MAX_LENGTH of a server that was built as usual, less the end of the string.
local CHANNEL_BYTES, PAYLOAD_BYTES = 63, 7999

local PAYLOAD_HINT = "Put the data into a table and send its key."

local SQL = "select pg_notify($1, $2)"

local function check_text(value, index, name)
  if type(value) == "string" then return end
  args.misuse(("bad argument #%d to '%s' (string expected, got %s)"):format(
    index, name, value == nil and "nil" or type(value)))
end

local function problem(message, hint) return errors.new("parameter", message, { hint = hint, sent = "no" }) end

--- What is wrong with a channel's name, as an error object, or nil. Raises when it is no string.
---@param channel any
---@param name string  the public function
---@return luphant.error|nil
function send.channel_problem(channel, name)
  check_text(channel, 1, name)
  if channel == "" then return problem "a channel's name cannot be empty" end
  if channel:find("\0", 1, true) then return problem "a channel's name cannot contain a NUL byte" end
  if not core.is_utf8(channel) then return problem "a channel's name must be UTF-8" end
  if #channel <= CHANNEL_BYTES then return nil end
  return problem(("a channel's name has at most %d bytes, this one has %d"):format(CHANNEL_BYTES, #channel),
    "The server would cut it short, and mean another channel.")
end

local function payload_problem(payload)
  if payload == nil then return nil end
  check_text(payload, 2, "notify")
  if #payload <= PAYLOAD_BYTES then return nil end
  local message = "the payload of a notification has at most %d bytes, this one has %d"
  return problem(message:format(PAYLOAD_BYTES, #payload), PAYLOAD_HINT)
end

--- The verb, for pool, connection and transaction.
---@param self luphant.pool|luphant.connection|luphant.transaction
---@param channel string
---@param payload? string
---@return true|nil
---@return luphant.error|nil
function send.notify(self, channel, payload)
  local err = send.channel_problem(channel, "notify") or payload_problem(payload)
  if err then return nil, err end
  local done
  done, err = self:execute(SQL, channel, payload or "")
  if done then return true end
  return nil, err
end

return send
