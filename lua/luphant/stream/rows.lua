-- stream/rows.lua - the form "rows": the answer itself, read row by row while the server sends it.
--
-- Who does not read does not make the server wait in vain: it stops sending when the buffers of the network are full.
-- Until the last row the connection does nothing else.
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"
local errors = require "luphant.errors"
local settle = require "luphant.stream.settle"

local PENDING = core.PENDING
local STREAM = 8 -- verb of the core

local rows = {}

--- Sends the statement and waits for its first row. Answers the core's stream.
---@param plan luphant.stream.plan
function rows.begin(self, plan, run, ...)
  if plan.has_timeout then self.box:set_timeout(plan.timeout) end
  self.box:set_portion(plan.fetch_size or 0)
  return run(self.conn, STREAM + plan.style, plan.sql, ...)
end

--- Waits for more rows: true, false when there are none, or nil and an error.
function rows.more(self)
  local conn, box, stream = self.conn, self.box, self.core
  while true do
    local more, want, how = box:stream_more(stream)
    if more ~= PENDING then
      if how == "unread" and box:state() == "busy" then settle.abandon(conn) end
      return more, want
    end
    local ok, err = settle.finish(conn, want)
    if not ok then return nil, err end
  end
end

function rows.finish() end

local function too_long(seconds)
  return errors.new("query_timeout", ("a stream was left before its end inside a transaction, and the rest of its rows"
    .. " could not be read away within cancel_grace (%g s): the statement was cancelled, which ends the transaction")
    :format(seconds), { hint = 'With via = "portal" a stream can be left at any time.', sent = "yes" })
end

-- A statement that is cancelled takes its transaction with it: the rest is read away, as far as there is time.
local function read_away(self)
  local conn, box = self.conn, self.box
  local seconds = conn.settings.cancel_grace
  local limit = core.now() + seconds
  box:set_deadline(limit)
  local done, want = box:stream_skip(self.core)
  while done == PENDING do
    if core.now() >= limit then
      settle.abandon(conn)
      return too_long(seconds)
    end
    local ok, err = settle.finish(conn, want)
    if not ok then return box:state() == "idle" and too_long(seconds) or err end
    done, want = box:stream_skip(self.core)
  end
  if not done then return want end
end

--- Leaves before the end. Answers what that cost, if anything.
---@return luphant.error|nil
function rows.leave(self)
  local conn, err = self.conn, nil
  if self.is_inside and self.box:is_streaming() then err = read_away(self) end
  self.core:close()
  local ok, why = settle.run(conn)
  if not ok and why.kind ~= "closed" then err = err or why end
  return err
end

return rows
