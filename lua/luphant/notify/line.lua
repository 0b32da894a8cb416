-- notify/line.lua - the connection a pool listens on: one for all channels, made again whenever it is lost.
--
--   connecting -> subscribing -> hearing -> (lost) -> a pause -> connecting ...
--
-- Whoever does the line's work takes one `turn` after the other: a task of its own where tasks can be started, else
-- whoever waits (notify/joining.lua). Others only send: they put LISTEN on its way, and the answer is read by the one
-- whose turn it is, who waits for a descriptor that stays open whatever becomes of the session (core/notify.h).
--
-- The session is none of the pool's slots. Between two turns nothing is kept of it but what was subscribed.
--
-- SPDX-License-Identifier: MIT

local backoff = require "luphant.notify.backoff"
local compat = require "luphant.compat"
local core = require "luphant.core"
local deadline = require "luphant.deadline"
local dial = require "luphant.dial"
local errors = require "luphant.errors"
local joining = require "luphant.notify.joining"
local listener = require "luphant.notify.listener"

local PENDING = core.PENDING

local ANSWER_SECONDS = 5  -- without a word from the server while it owes us an answer
local SHORTEST_ANSWER = 1 -- the same when listen_keepalive is shorter than that
local TEXT_BYTES = 8192   -- of LISTEN and UNLISTEN at a time: always fits into an empty socket
local LARGEST = 2 ^ 20    -- what one message may have; notifications have a hundredth of that
local BATCH = 256         -- notifications between two looks at the clock

local line = {}

---@class luphant.notify.line
---@field pool luphant.pool
---@field waiter luphant.waiter
---@field has_tasks boolean
---@field private box userdata|nil       the session
---@field private members table<luphant.listener, true>
---@field private wanted table<string, luphant.listener[]>  by channel
---@field private subscribed table<string, true>            in this session
---@field private op table|nil           what is under way: { listen =, unlisten =, since = }
local methods = {}
local metatable = { __name = "luphant.notify.line", __index = methods }

-- Of the pool's settings, those of a session that only listens. The server must take LISTEN: of several hosts it is
-- the primary that is looked for.
local function plan_of(pool)
  local plan, settings, params = pool.plan, compat.copy(pool.plan.settings), pool.plan.params
  settings.max_result_bytes, settings.timeout = LARGEST, nil
  if params.target_session_attrs or (params.host or params.hostaddr or ""):find(",", 1, true) then
    params = compat.copy(params)
    params.target_session_attrs = "primary"
  end
  local waiter = compat.copy(pool.waiter)
  waiter.name = "listening" -- under the plain one's name the core would wait itself, and read past notifications
  return { params = params, settings = settings, waiter = waiter, types = plan.types }
end

---@param pool luphant.pool
---@return luphant.notify.line
function line.new(pool)
  local self = setmetatable({
    pool = pool, members = {}, wanted = {}, subscribed = {}, pause = backoff.new(), retry_at = 0, heard_at = 0,
    sessions = 0, failures = 0, joining = {}, token = {},
  }, metatable)
  self:adopt()
  return self
end

--- Takes the pool's waiter over.
function methods:adopt()
  self.waiter, self.has_tasks = self.pool.waiter, self.pool.waiter.spawn ~= nil
  self.plan = nil
end

--------------------------------------------------------------------------------------------- session

local function now(self) return self.waiter.now() end

-- Closes the session. By whoever waits for it, or when nobody does.
local function drop(self)
  local box = self.box
  self.box, self.op, self.subscribed = nil, nil, {}
  if box then box:hear_end() end
end

local function tell_lost(self, box, err)
  for member in pairs(self.members) do
    if member.session == box then listener.push(member, { lost = err }) end
  end
end

local function wake_joining(self)
  for token in pairs(self.joining) do self.waiter.wake(token) end
end

-- The session, or the attempt to make one, has failed.
local function lost(self, err)
  local box = self.box
  drop(self)
  if not next(self.members) then return end -- it was ended because nobody listens any more
  self.last_error, self.failures = err, self.failures + 1
  self.retry_at = now(self) + self.pause:next()
  if box then tell_lost(self, box, err) end
  local observers = self.pool.settings.observers
  if observers then observers:failed("listen", err) end
  wake_joining(self)
end

-- What is left of the caller's time, but so much at least.
local SHORTEST_ATTEMPT = 1

local function connect_seconds(self, limit)
  local seconds = self.pool.settings.connect_timeout
  if not limit then return seconds end
  local left = math.max(limit - now(self), SHORTEST_ATTEMPT)
  return seconds and math.min(seconds, left) or left
end

local function connect(self, limit)
  self.plan = self.plan or plan_of(self.pool)
  local fields, err = dial.connect(self.plan, connect_seconds(self, limit))
  local ok
  if fields then
    ok, err = fields.box:hear_begin()
    if not ok then fields.box:close() end
  end
  if not ok then return lost(self, err) end
  self.box, self.heard_at, self.subscribed = fields.box, now(self), {}
  self.sessions = self.sessions + 1
end

----------------------------------------------------------------------------------------- subscribing

local function quoted(channel) return '"' .. channel:gsub('"', '""') .. '"' end

-- What the server is to be told, as much as fits: text, { channel, ... } to listen to, the same to end.
local function difference(self)
  local texts, bytes, begun, ended = {}, 0, {}, {}
  local function add(word, channel, list)
    if bytes >= TEXT_BYTES then return end
    texts[#texts + 1] = word .. quoted(channel)
    bytes = bytes + #texts[#texts] + 2
    list[#list + 1] = channel
  end
  for channel in pairs(self.wanted) do
    if not self.subscribed[channel] then add("listen ", channel, begun) end
  end
  for channel in pairs(self.subscribed) do
    if not self.wanted[channel] then add("unlisten ", channel, ended) end
  end
  return #texts > 0 and table.concat(texts, "; ") or nil, begun, ended
end

-- All its channels are subscribed: what is sent from now on arrives, what was before has to be read.
local function announce(self)
  self.pause:reset()
  for member in pairs(self.members) do
    if member.session ~= self.box and self:has_subscribed(member.channels) then
      member.session = self.box
      listener.push(member, { ready = member.times == 0 and "listening" or "again" })
    end
  end
  wake_joining(self)
end

-- The server has answered LISTEN with an error that will come again: those who wait for these channels are told, and
-- are out before anything is sent once more. Answers whether that was all that is to be done; where others were to get
-- their channels back (a session that was made again, on a standby now), only trying again helps them. Several who come
-- at the same time share a text, and its fate: what the server refuses is LISTEN, hardly ever a name.
local function refuse(self, op, err)
  if not backoff.is_refusal(err) or self.box:state() ~= "idle" then return false end
  local refused, is_old_in_it = {}, false
  for _, channel in ipairs(op.listen) do
    for _, member in ipairs(self.wanted[channel] or {}) do
      if member.times == 0 then refused[member] = true else is_old_in_it = true end
    end
  end
  for member in pairs(refused) do
    member.refused = err
    self:leave(member)
  end
  wake_joining(self)
  return next(refused) ~= nil and not is_old_in_it
end

local function finish_op(self)
  local op, result, err = self.op, self.box:take()
  self.op = nil
  if not result then return lost(self, err) end
  for _, channel in ipairs(op.listen) do self.subscribed[channel] = true end
  for _, channel in ipairs(op.unlisten) do self.subscribed[channel] = nil end
  self:sync()
end

-- Sends a text; the answer is read in a turn.
local function send(self, text, op)
  self.op, op.since = op, now(self)
  local result, err = self.box:script(text)
  if result == PENDING then
    -- It did not fit into a socket that was empty: something is wrong with the session.
    if err ~= "r" then self.box:shutdown() end
  elseif result == nil then
    self.op, self.broken = nil, err -- for the one whose turn it is: he may be waiting
  else
    self.op = nil
  end
end

--- Tells the server what has changed, unless it owes us an answer.
function methods:sync()
  if not self.box or self.op or self.broken then return end
  local text, begun, ended = difference(self)
  if text then
    send(self, text, { listen = begun, unlisten = ended, patience = ANSWER_SECONDS })
  else
    announce(self)
  end
end

--------------------------------------------------------------------------------------------- hearing

-- Somebody may leave meanwhile.
local function push_to_all(listeners, event)
  local i = 1
  while listeners[i] do
    local member = listeners[i]
    listener.push(member, event)
    if listeners[i] == member then i = i + 1 end
  end
end

-- Takes what has arrived and passes it on. Answers how many.
local function collect(self)
  local box, taken = self.box, 0
  while taken < BATCH do
    local channel, payload, pid = box:next_notification()
    if not channel then break end
    taken = taken + 1
    local listeners = self.wanted[channel]
    if listeners then push_to_all(listeners, { channel = channel, payload = payload, pid = pid }) end
  end
  if taken > 0 then self.heard_at = now(self) end
  return taken
end

-- One read. Answers whether there may be more without waiting. What libpq has already comes first: it would pile up.
local function read(self)
  if collect(self) > 0 then return true end
  local box, was_done = self.box, false
  local want, err
  if self.op then
    want, err = box:step()
    was_done = want == "done"
    if was_done then finish_op(self) end
  else
    want, err = box:hear()
  end
  if self.box ~= box then return true end
  if not want then
    local op = self.op
    self.op = nil
    if not (op and refuse(self, op, err)) then lost(self, err) end
    return true
  end
  return collect(self) > 0 or was_done or box:has_input()
end

local function silent(seconds)
  return errors.new("closed", ("the server has not answered for %g seconds on the connection that listens")
    :format(seconds), { sent = "maybe" })
end

-- Until when there has to be a sign of life; asks for one when it is time.
local function next_check(self)
  local every = self.pool.settings.listen_keepalive
  if self.op then return math.max(self.op.since, self.heard_at) + self.op.patience end
  if not every then return nil end
  local at = self.heard_at + every
  if now(self) < at then return at end
  local patience = math.max(math.min(every, ANSWER_SECONDS), SHORTEST_ANSWER)
  send(self, "", { listen = {}, unlisten = {}, patience = patience })
  return now(self) + patience
end

-- Surroundings that may end tell nobody who waits for a socket.
local LOOK = 0.5

local function with_looks(self, limit)
  if not self.waiter.is_ending then return limit end
  return deadline.sooner(limit, now(self) + LOOK)
end

local function hear(self, limit)
  if self.broken then
    local err = self.broken
    self.broken = nil
    return lost(self, err)
  end
  if read(self) then
    -- A server that sends without a pause must not keep everybody else from running.
    if self.has_tasks then self.waiter.sleep(now(self)) end
    return
  end
  local box, check = self.box, next_check(self)
  if self.broken or not box then return end
  if self.op and now(self) >= check then return lost(self, silent(self.op.patience)) end
  self.waiter.wait(box:fd(), "r", with_looks(self, deadline.sooner(limit, check)))
end

-- Lets the pause after a failure pass; in a task, until something changes.
local function rest(self, limit)
  local at = with_looks(self, deadline.sooner(limit, self.retry_at))
  if self.has_tasks then
    self.token.parked = true
    self.waiter.park(self.token, at)
    self.token.parked = false
  else
    self.waiter.sleep(at)
  end
end

--- A piece of the line's work, which may wait until `limit`.
---@param limit number|nil
function methods:turn(limit)
  if self.box then return hear(self, limit) end
  if now(self) < self.retry_at then return rest(self, limit) end
  connect(self, limit)
  if self.box then self:sync() end
end

--- Has something arrived that nobody has looked at? Where nobody else does the work.
function methods:is_behind()
  return self.box ~= nil and core.poll(self.box:fd(), "r", 0) ~= nil
end

--------------------------------------------------------------------------------------- for joining.lua

--- Ends all listeners: whoever waits for a notification is told.
function methods:end_all()
  local members = {}
  for member in pairs(self.members) do members[#members + 1] = member end
  for _, member in ipairs(members) do
    listener.close(member, errors.new("closed", "the process that listens is ending"))
  end
end

--- Closes the session. By whoever waits for it, or when nobody does.
methods.drop = drop
methods.wake_joining = wake_joining

joining.add(methods)

return line
