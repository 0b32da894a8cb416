-- notify/init.lua - db:listen(channel, fn, options) and db:notify(channel, payload).
--
--   local listener = assert(db:listen("jobs", function(payload) ... end, { on_ready = read_all_jobs }))
--
-- One connection per pool listens, beside the pool's own; see notify/line.lua. How notifications reach the program is
-- in notify/listener.lua, sending in notify/send.lua.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local errors = require "luphant.errors"
local line = require "luphant.notify.line"
local listener = require "luphant.notify.listener"
local send = require "luphant.notify.send"

local methods = {}
local notify = { methods = methods }

local RULES = {
  on_ready = { type = "function" },
  on_lost = { type = "function" },
  timeout = { type = "number", above = 0, none = true },
  max_queued = { type = "number", integer = true, min = 1, default = 10000 },
}

-- A channel, or a list of them, as a list of its own. nil, err: a name that cannot be.
local function channels_of(given)
  if type(given) ~= "table" then given = { given ~= nil and given or false } end
  local list = given
  if #list == 0 then args.misuse "listen expects at least one channel" end
  local out, seen = {}, {}
  for _, channel in ipairs(list) do
    local err = send.channel_problem(channel, "listen")
    if err then return nil, err end
    if not seen[channel] then out[#out + 1] = channel end
    seen[channel] = true
  end
  return out
end

local function refusal(self)
  if self.closed then return errors.new("pool_closed", "the pool has been closed with db:close()") end
  if self.settings.pooler == "transaction" then
    return errors.new("config", 'pooler = "transaction" and LISTEN do not go together: the pooler would give the'
      .. " session to others", { hint = "Open a second pool that leads to the server itself, and listen there." })
  end
end

--- Listens: `fn(payload, channel, pid)` is called for each notification, in order. See docs/api/listen.md.
---@param channel string|string[]
---@param fn? fun(payload: string, channel: string, pid: integer)  without it: listener:wait()
---@param options? { on_ready?: fun(why: string), on_lost?: fun(err: luphant.error), timeout?: number|false,
---max_queued?: integer }
---@return luphant.listener|nil
---@return luphant.error|nil
function methods:listen(channel, fn, options)
  if type(fn) == "table" and options == nil then fn, options = nil, fn end
  if fn ~= nil then args.argument(fn, "function", 2, "listen", 2) end
  local given = args.check(options, RULES, "listen option", 2)
  local channels, err = channels_of(channel)
  err = err or refusal(self)
  if err then return nil, err end
  if self.auto then self:choose_waiter() end
  self.line = self.line or line.new(self)
  self.line:settle()
  local seconds = given.timeout
  if seconds == nil and (options == nil or options.timeout ~= false) then seconds = self.settings.acquire_timeout end
  local member = listener.new(self.line, channels, fn, given)
  local ok
  ok, err = self.line:join(member, seconds and self.waiter.now() + seconds)
  if not ok then return nil, err end
  return member
end

--- Sends a notification: with COMMIT, to whoever listens then.
---@param channel string  at most 63 bytes
---@param payload? string  at most 7999 bytes
---@return true|nil
---@return luphant.error|nil
function methods:notify(channel, payload) end -- luacheck: ignore
methods.notify = send.notify

function notify.add(class)
  for name, method in pairs(methods) do class[name] = method end
end

return notify
