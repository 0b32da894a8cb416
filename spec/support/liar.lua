-- spec.support.liar: a PostgreSQL server that says what a script tells it to say.
--
-- Real servers do not lie, so hostile and broken ones are played by this one: a process of its own
-- (luphant.testing.child) that accepts connections and follows a list of steps for each, while it
-- writes down every byte the client sent.
--
--   local server = assert(liar.start {
--     { "startup" }, { "send", liar.authentication(3) }, { "silence" },
--   })
--   ... connect to server.host, server.port ...
--   assert.is_nil(server:received():find(password, 1, true))
--   server:stop()
--
-- Steps (lists of steps may be nested; after the last one the connection is closed):
--   { "startup", ssl = "N" }     reads until a StartupMessage has come; SSLRequest is answered with
--                                the bytes of `ssl`, GSSENCRequest always with "N"
--   { "bytes", n }               reads n bytes
--   { "read" }                   reads one message
--   { "await", "SQ" }            reads messages up to one whose type is among these letters
--   { "send", bytes }            sends them at once
--   { "trickle", bytes, seconds = 1 }       one byte at a time, that many seconds apart
--   { "repeat", bytes, times = n, pause = seconds }   without `times`: until the client goes
--   { "pause", seconds }
--   { "silence" }                says nothing until the client goes
--   { "scram", iterations = n, signature = bytes, nonce = string, salt = base64 }
--                                the server's half of SCRAM, with a signature that is always wrong
--   { "reset" }                  closes with RST
--   { "again", n }               goes back to step n (for "answers every query like this")
--
-- It cannot speak TLS; for lies inside TLS use a real server with a bad certificate.
--
-- SPDX-License-Identifier: MIT

local child = require "luphant.testing.child"

local M = {}

-- ---- building messages ----------------------------------------------------------------------------

local function int(value, bytes)
  local out = {}
  value = value % 2 ^ (8 * bytes) -- two's complement for the negative
  for i = bytes, 1, -1 do
    out[i] = string.char(value % 256)
    value = math.floor(value / 256)
  end
  return table.concat(out)
end

function M.int32(value) return int(value, 4) end
function M.int16(value) return int(value, 2) end

--- A message; `length` lies about its size.
function M.message(kind, body, length)
  body = body or ""
  return kind .. M.int32(length or #body + 4) .. body
end

function M.authentication(code, rest) return M.message("R", M.int32(code) .. (rest or "")) end

function M.sasl(...)
  return M.authentication(10, table.concat({ ... }, "\0") .. "\0\0")
end

--- ErrorResponse from its fields: M.failure { S = "FATAL", C = "57P03", M = "..." }.
function M.failure(fields, kind)
  local parts = {}
  for _, letter in ipairs { "S", "V", "C", "M", "D", "H", "P", "s", "t", "c", "n" } do
    if fields[letter] then parts[#parts + 1] = letter .. fields[letter] .. "\0" end
  end
  return M.message(kind or "E", table.concat(parts) .. "\0")
end

function M.notice(fields) return M.failure(fields, "N") end
function M.parameter(name, value) return M.message("S", name .. "\0" .. value .. "\0") end
function M.ready(status) return M.message("Z", status or "I") end
function M.complete(tag) return M.message("C", tag .. "\0") end

--- RowDescription; a column is { name, oid [, format] }.
function M.row_description(columns, count)
  local parts = { M.int16(count or #columns) }
  for _, column in ipairs(columns) do
    parts[#parts + 1] = column[1] .. "\0" .. M.int32(0) .. M.int16(0) .. M.int32(column[2])
      .. M.int16(-1) .. M.int32(-1) .. M.int16(column[3] or 0)
  end
  return M.message("T", table.concat(parts))
end

--- DataRow of texts (false = NULL).
function M.data_row(values, count)
  local parts = { M.int16(count or #values) }
  for _, value in ipairs(values) do
    parts[#parts + 1] = value and M.int32(#value) .. value or M.int32(-1)
  end
  return M.message("D", table.concat(parts))
end

M.parse_complete, M.bind_complete, M.no_data = M.message("1"), M.message("2"), M.message("n")
M.close_complete = M.message("3")

--- What an honest server says after a successful login.
M.welcome = table.concat {
  M.authentication(0),
  M.parameter("server_version", "15.0"), M.parameter("server_encoding", "UTF8"),
  M.parameter("client_encoding", "UTF8"), M.parameter("DateStyle", "ISO, MDY"),
  M.parameter("IntervalStyle", "postgres"), M.parameter("TimeZone", "UTC"),
  M.parameter("integer_datetimes", "on"), M.parameter("standard_conforming_strings", "on"),
  M.message("K", M.int32(4711) .. M.int32(815)), M.ready(),
}
M.login = { { "startup" }, { "send", M.welcome } }

-- ---- the parent's side ----------------------------------------------------------------------------

local liar = {}
liar.__index = liar

--- All bytes the clients have sent, connection after connection.
function liar:received()
  return assert(self.process:ask("received")).bytes
end

--- The messages after start-up, as { type =, body =, connection = }.
function liar:messages()
  return assert(self.process:ask("messages"))
end

--- { accepted =, open = }
function liar:connections()
  return assert(self.process:ask("connections"))
end

function liar:stop()
  self.process:stop()
end

local function flatten(steps, out)
  for _, step in ipairs(steps) do
    if type(step[1]) == "table" then flatten(step, out)
    elseif step[1] then out[#out + 1] = step end -- an empty list says nothing
  end
  return out
end

--- Starts a server that follows `script` on every connection; `more` holds scripts for the second,
--- third ... connection (the last one given goes for all that follow).
function M.start(script, more)
  local scripts = { flatten(script, {}) }
  for _, each in ipairs(more or {}) do scripts[#scripts + 1] = flatten(each, {}) end
  -- A script may be larger than a command line, so it goes over the control connection.
  local process, err = child.start("spec.support.liar", {})
  if not process then return nil, err end
  local ok, refusal = process:ask("scripts", scripts)
  if not ok then return nil, refusal end
  return setmetatable({ process = process, host = "127.0.0.1", port = process.hello.port }, liar)
end

-- ---- the child's side: one coroutine per connection -----------------------------------------------

-- A coroutine yields what it waits for: { read = true }, { write = true }, { at = time }.
local GONE = {} -- raised inside a script when the client has hung up

local function read(link, count)
  while #link.buffer < count do
    if link.ended then error(GONE, 0) end
    coroutine.yield({ read = true })
  end
  local data = link.buffer:sub(1, count)
  link.buffer = link.buffer:sub(count + 1)
  return data
end

local function write(link, data)
  local sent = 0
  while sent < #data do
    local last, err, partial = link.client:send(data, sent + 1)
    sent = last or partial or sent
    if err and err ~= "timeout" then error(GONE, 0) end
    if sent < #data then coroutine.yield({ write = true, read = true }) end
  end
end

local function pause(seconds)
  if seconds and seconds > 0 then coroutine.yield({ at = child.socket().gettime() + seconds, read = true }) end
end

local function number(data)
  local value = 0
  for i = 1, #data do value = value * 256 + data:byte(i) end
  return value
end

local function read_message(link)
  local head = read(link, 5)
  local message = { type = head:sub(1, 1), body = read(link, number(head:sub(2)) - 4), connection = link.number }
  table.insert(link.owner.messages, message)
  return message
end

local steps = {}

function steps.startup(link, step)
  while true do
    local body = read(link, number(read(link, 4)) - 4)
    local code = number(body:sub(1, 4))
    if code == 80877103 then write(link, step.ssl or "N")
    elseif code == 80877104 then write(link, "N")
    elseif code == 80877102 then error(GONE, 0) -- a cancel request: nothing is ever answered
    else return end
  end
end

function steps.bytes(link, step) read(link, step[2]) end
steps.read = read_message

function steps.await(link, step)
  repeat
    local kind = read_message(link).type
    if kind == "X" then error(GONE, 0) end
  until step[2]:find(kind, 1, true)
end

function steps.send(link, step) write(link, step[2]) end
function steps.pause(_, step) pause(step[2]) end

function steps.trickle(link, step)
  for i = 1, #step[2] do
    write(link, step[2]:sub(i, i))
    pause(step.seconds or 1)
  end
end

steps["repeat"] = function(link, step)
  local left = step.times
  while not left or left > 0 do
    write(link, step[2])
    if step.pause then pause(step.pause) else coroutine.yield({ write = true, read = true }) end
    left = left and left - 1
  end
end

function steps.silence(link)
  while not link.ended do coroutine.yield({ read = true }) end
end

function steps.scram(link, step)
  local first = read_message(link).body
  local nonce = first:match(",r=([^,]+)")
  write(link, M.authentication(11, ("r=%s%s,s=%s,i=%s"):format(step.nonce or nonce or "", "liar",
    step.salt or "c2FsdHNhbHRzYWx0c2FsdA==", step.iterations or 4096)))
  read_message(link)
  write(link, M.authentication(12, "v=" .. (step.signature or ("A"):rep(43) .. "=")))
end

function steps.reset(link)
  link.client:setoption("linger", { on = true, timeout = 0 })
  error(GONE, 0)
end

local function follow(link)
  local at = 1
  while link.script[at] do
    local step = link.script[at]
    if step[1] == "again" then at = step[2] else
      local run = steps[step[1]] or error("no such step: " .. tostring(step[1]))
      run(link, step)
      at = at + 1
    end
  end
end

local service = {}
service.__index = service

function service:resume(link)
  local ok, wish = coroutine.resume(link.routine)
  link.wish = wish
  if coroutine.status(link.routine) == "dead" then
    if not ok and wish ~= GONE then io.stderr:write("liar: ", tostring(wish), "\n") end
    link.client:close()
    self.links[link] = nil
  end
end

function service:accept()
  local client = self.listener:accept()
  if not client then return end
  client:settimeout(0)
  client:setoption("tcp-nodelay", true)
  self.accepted = self.accepted + 1
  local link = { client = client, buffer = "", number = self.accepted, owner = self,
    script = self.scripts[math.min(self.accepted, #self.scripts)] or {} }
  link.routine = coroutine.create(function() follow(link) end)
  self.links[link] = true
  self:resume(link)
end

function service:interest(now)
  local reading, writing, next_look = { self.listener }, {}, now + 60
  for link in pairs(self.links) do
    if not link.ended then reading[#reading + 1] = link.client end
    if link.wish.write then writing[#writing + 1] = link.client end
    if link.wish.at then next_look = math.min(next_look, link.wish.at) end
  end
  return reading, writing, next_look - now
end

function service:ready(readable, writable, now)
  if readable[self.listener] then self:accept() end
  local all = {}
  for link in pairs(self.links) do all[#all + 1] = link end
  for _, link in ipairs(all) do
    local came = readable[link.client]
    if came then
      local data, err, partial = link.client:receive(8192)
      data = data or partial or ""
      link.buffer = link.buffer .. data
      self.bytes[#self.bytes + 1] = data
      if err and err ~= "timeout" then link.ended = true end
    end
    local wish = link.wish
    -- Someone who waits for a time is not woken by bytes; for the end of the client he is.
    if (wish.at and (now >= wish.at or link.ended)) or (not wish.at and came)
      or (wish.write and writable[link.client]) then
      self:resume(link)
    end
  end
end

function service:command(verb, arguments)
  if verb == "scripts" then
    self.scripts = arguments
    return {}
  elseif verb == "received" then
    return { bytes = table.concat(self.bytes) }
  elseif verb == "messages" then
    return self.messages
  elseif verb == "connections" then
    local open = 0
    for _ in pairs(self.links) do open = open + 1 end
    return { accepted = self.accepted, open = open }
  end
  return nil, "no such command: " .. verb
end

function service:close()
  self.listener:close()
  for link in pairs(self.links) do link.client:close() end
end

function M.service()
  local socket = child.socket()
  local listener = assert(socket.bind("127.0.0.1", 0, 64))
  listener:settimeout(0)
  local _, port = listener:getsockname()
  return setmetatable({ hello = { port = tonumber(port) }, listener = listener, scripts = {}, links = {},
    messages = {}, bytes = {}, accepted = 0 }, service)
end

return M
