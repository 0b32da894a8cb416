-- luphant.testing.gate: the process behind `luphant.testing.proxy`.
--
-- Accepts connections, opens one to the target for each, and moves bytes both ways - or does not:
-- every fault the proxy offers is a rule about when a byte may pass. A rule belongs to a direction
-- ("client" = what the client says, "server" = what the server says) and holds for open and for
-- later connections alike. What it can be told is in luphant.testing.orders.
-- It works on bytes, so it serves TLS connections as well; that bytes make messages is known to
-- luphant.testing.framing alone.
--
-- SPDX-License-Identifier: MIT

local child = require "luphant.testing.child"
local flow = require "luphant.testing.flow"
local framing = require "luphant.testing.framing"
local orders = require "luphant.testing.orders"

local socket = child.socket()

local M = {}

local QUEUE_BYTES = 256 * 1024 -- held per direction before the sender is made to wait
local PIECE_BYTES = 8192
local GOODBYE_SECONDS = 1 -- after a cut: for the other side to take what was sent and hang up

local other = { client = "server", server = "client" }

-- ---- the gate -------------------------------------------------------------------------------------

---@class luphant.testing.gate
local gate = {}
gate.__index = gate

local function open_target(settings)
  local s
  if settings.target_socket then
    s = child.socket("socket.unix").stream()
    s:settimeout(5)
    if not s:connect(settings.target_socket) then return nil end
  else
    s = socket.tcp()
    s:settimeout(5)
    if not s:connect(settings.target_host or "127.0.0.1", settings.target_port) then return nil end
    s:setoption("tcp-nodelay", true)
  end
  s:settimeout(0)
  return s
end

local function open_listener(settings)
  if settings.listen_socket then
    local s = child.socket("socket.unix").stream()
    os.remove(settings.listen_socket)
    assert(s:bind(settings.listen_socket))
    assert(s:listen(128))
    s:settimeout(0)
    return s
  end
  local s = socket.tcp4() -- socket.tcp() has no descriptor yet, and loses the option
  assert(s:setoption("reuseaddr", true))
  assert(s:bind(settings.listen_host or "127.0.0.1", settings.listen_port or 0))
  assert(s:listen(128))
  s:settimeout(0)
  return s
end

local function abort(s)
  -- SO_LINGER with zero seconds makes close() send RST; a Unix socket has no such thing.
  pcall(s.setoption, s, "linger", { on = true, timeout = 0 })
  s:close()
end

function gate:forget(pair)
  self.links[pair] = nil
  self.counts.open = self.counts.open - 1
end

function gate:close_pair(pair)
  if pair.client then pair.client:close() end
  if pair.server then pair.server:close() end
  self:forget(pair)
end

function gate:count(name, more)
  self.counts[name] = self.counts[name] + more
end

function gate:cut_pair(pair, reset)
  self.counts.cut = self.counts.cut + 1
  if reset then
    abort(pair.client)
    abort(pair.server)
    return self:forget(pair)
  end
  pair.client:shutdown("send")
  pair.server:shutdown("send")
  pair.goodbye = socket.gettime() + GOODBYE_SECONDS
end

function gate:accept()
  local client = self.listener:accept()
  if not client then return end
  client:settimeout(0)
  pcall(client.setoption, client, "tcp-nodelay", true)
  self.counts.accepted = self.counts.accepted + 1
  local server = open_target(self.settings)
  if not server then return client:close() end
  local client_frames, server_frames = framing.pair()
  local pair = {
    client = client,
    server = server,
    flows = {
      client = flow.new(self.rules.client, client_frames),
      server = flow.new(self.rules.server, server_frames),
    },
    turn = "server", -- who spoke last
  }
  self.links[pair] = true
  self.counts.open = self.counts.open + 1
  self:check_cut(pair)
end

function gate:listen()
  if not self.listener then self.listener = open_listener(self.settings) end
end

function gate:refuse()
  if self.listener then self.listener:close() end
  self.listener = nil
end

-- From here on `from` says nothing more: the other side gets the end of the stream after what is on its way.
function gate:half_close(pair, from)
  local stream = pair.flows[from]
  if stream.deaf then return end
  stream.deaf, stream.cut = true, nil
  self.counts.cut = self.counts.cut + 1
end

-- The far end has rebooted: it knows nothing of this connection, and says so when it hears of it.
function gate:forget_far_end(pair)
  if pair.forgotten then return end
  pair.forgotten = true
  pair.server:close()
  self.counts.cut = self.counts.cut + 1
end

-- Cuts when a direction has let through all it may. True when the pair is gone.
function gate:check_cut(pair)
  for from, stream in pairs(pair.flows) do
    if flow.is_cut(stream) then
      local rule = self.rules[from]
      if rule.half then
        flow.drop(stream)
        self:half_close(pair, from)
      else
        self:cut_pair(pair, rule.reset)
      end
      if rule.once then
        rule.cut = nil
        for each in pairs(self.links) do each.flows[from].cut = nil end
      end
      return not rule.half
    end
  end
  return false
end

function gate:receive(pair, from, now)
  local stream = pair.flows[from]
  local data, err, partial = pair[from]:receive(PIECE_BYTES)
  data = data or partial or ""
  if #data > 0 and not stream.deaf then
    local rule = self.rules[from]
    flow.push(stream, data, now + (rule.delay or 0) + (rule.jitter or 0) * math.random())
    if from == "client" then
      if pair.turn == "server" then self.counts.round_trips = self.counts.round_trips + 1 end
      pair.turn = "client"
    end
  end
  if err and err ~= "timeout" then stream.ended = true end
end

-- Passes what may pass from one side; true when the pair is gone.
function gate:forward(pair, from, now)
  local stream, rule = pair.flows[from], self.rules[from]
  local to = pair[other[from]]
  local size = flow.allowance(stream, rule, now)
  if size then
    local sent, err, partial = to:send(flow.peek(stream), 1, size)
    local count = sent or partial or 0
    if count > 0 then
      local ended = flow.take(stream, rule, count, now)
      self:count("from_" .. from, count)
      self:count("messages_from_" .. from, ended)
      -- An answer that is still held back here is none yet: the client cannot have waited for it.
      if from == "server" then pair.turn = "server" end
      if self:check_cut(pair) then return true end
    end
    if err and err ~= "timeout" then
      self:close_pair(pair)
      return true
    end
  end
  if (stream.ended or stream.deaf) and stream.queued == 0 and not stream.closed and not rule.stall then
    stream.closed = true
    to:shutdown("send")
    if pair.flows[other[from]].closed then
      self:close_pair(pair)
      return true
    end
  end
  return false
end

-- A pair that was cut: what still comes is thrown away until both sides have hung up.
function gate:see_off(pair, readable, now)
  for _, from in ipairs { "client", "server" } do
    local s = pair[from]
    if s and readable[s] then
      local _, err = s:receive(PIECE_BYTES)
      if err and err ~= "timeout" then
        s:close()
        pair[from] = nil
      end
    end
  end
  if not (pair.client or pair.server) or now > pair.goodbye then self:close_pair(pair) end
end

-- A pair whose far end knows nothing of it: whatever comes is answered with RST.
function gate:answer_for_forgotten(pair, readable)
  if not readable[pair.client] then return end
  abort(pair.client)
  self:forget(pair)
end

function gate:interest(now)
  local reading, writing, next_look = {}, {}, now + 60
  if self.listener then reading[1] = self.listener end
  for pair in pairs(self.links) do
    for from, stream in pairs(pair.flows) do
      local rule = self.rules[from]
      if pair.forgotten then
        if from == "client" then reading[#reading + 1] = pair.client end
      elseif pair.goodbye then
        reading[#reading + 1] = pair[from]
        next_look = math.min(next_look, pair.goodbye)
      elseif not rule.stall then
        if not stream.ended and stream.queued < QUEUE_BYTES then reading[#reading + 1] = pair[from] end
        local size, due = flow.allowance(stream, rule, now)
        if size then writing[#writing + 1] = pair[other[from]] end
        if due then next_look = math.min(next_look, due) end
        if (stream.ended or stream.deaf) and stream.queued == 0 and not stream.closed then next_look = now end
      end
    end
  end
  return reading, writing, next_look - now
end

function gate:ready(readable, _, now)
  if self.listener and readable[self.listener] then self:accept() end
  local all = {}
  for pair in pairs(self.links) do all[#all + 1] = pair end
  for _, pair in ipairs(all) do
    if pair.forgotten then
      self:answer_for_forgotten(pair, readable)
    elseif pair.goodbye then
      self:see_off(pair, readable, now)
    else
      -- The server's answer is noted before the client's next words: both may wait at once, and
      -- then the answer came first.
      for _, from in ipairs { "server", "client" } do
        if readable[pair[from]] then self:receive(pair, from, now) end
      end
      if not self:forward(pair, "server", now) and not pair.goodbye then self:forward(pair, "client", now) end
    end
  end
end

function gate:command(verb, arguments)
  local run = orders[verb]
  if not run then return nil, "no such command: " .. verb end
  return run(self, arguments)
end

function gate:close()
  for pair in pairs(self.links) do self:close_pair(pair) end
  self:refuse()
  if self.settings.listen_socket then os.remove(self.settings.listen_socket) end
end

function M.service(settings)
  local self = setmetatable({
    settings = settings,
    links = {},
    rules = { client = {}, server = {} },
    counts = { accepted = 0, open = 0, cut = 0, round_trips = 0, from_client = 0, from_server = 0,
      messages_from_client = 0, messages_from_server = 0 },
  }, gate)
  self.listener = open_listener(settings)
  self.hello = {}
  if not settings.listen_socket then
    local _, port = self.listener:getsockname()
    self.hello.port = tonumber(port)
    settings.listen_port = tonumber(port) -- `refuse` then `accept` comes back at the same place
  end
  return self
end

return M
