-- luphant.testing.proxy: a connection you can cut.
--
-- Stands between a client and a server (PostgreSQL, PgBouncer, anything on TCP or a Unix socket) and
-- does to the connection what networks do: stalls, delays, trickles, breaks after so many bytes. It
-- also counts bytes and round trips, so that a test can prove what a statement costs.
--
--   local p = assert(proxy.start { target_host = "127.0.0.1", target_port = 5432 })
--   local conn = luphant.connect { host = p.host, port = p.port, dbname = "app" }
--   p:cut_after { from = "server", bytes = 40 }      -- the answer ends in the middle
--   p:stop()
--
-- The bytes are moved by a process of its own (`luphant.testing.gate`), because the script under
-- test is usually waiting just then; it needs LuaSocket. Always `stop` a proxy; one that was
-- forgotten ends with the script.
-- A direction is named after who speaks: from = "client" or "server"; left out, both.
--
-- SPDX-License-Identifier: MIT

local child = require "luphant.testing.child"

local M = {}

---@class luphant.testing.proxy
---@field host string where to connect to; the folder of `listen_socket` when there is one
---@field port integer
---@field private process luphant.testing.child
local proxy = {}
proxy.__index = proxy

local function check_from(options, level)
  local from = options and options.from
  if from ~= nil and from ~= "client" and from ~= "server" then
    error('from must be "client" or "server"', level + 1)
  end
  return from
end

local function check_number(options, name, level)
  local value = options and options[name]
  if type(value) ~= "number" or value < 0 then error(name .. " must be a number, 0 or more", level + 1) end
  return value
end

-- A proxy that cannot obey would make a test pass or fail for a wrong reason, so it raises.
local function ask(self, verb, arguments)
  local answer, err = self.process:ask(verb, arguments)
  if not answer then error("proxy: " .. err, 3) end
  return answer
end

--- Lets everything through again; open connections go on.
function proxy:pass()
  ask(self, "pass")
end

--- Stops forwarding without closing anything: a network that swallows packets. New connections are
--- accepted and hear nothing.
---@param options? { from?: "client"|"server" }
function proxy:stall(options)
  ask(self, "rule", { from = check_from(options, 2), set = { stall = true } })
end

--- Ends `stall`; what was held back is delivered.
---@param options? { from?: "client"|"server" }
function proxy:resume(options)
  ask(self, "rule", { from = check_from(options, 2), set = { stall = false } })
end

---@class luphant.testing.cut
---@field from "client"|"server"
---@field messages? integer
---@field bytes? integer
---@field reset? boolean
---@field half? boolean
---@field once? boolean

--- Lets so much more pass in a direction, then closes the connection with FIN, both ways; `reset`: with RST; `half`:
--- this direction only, as `half_close`. How much: `messages` whole messages of PostgreSQL's protocol and then `bytes`
--- bytes of the next one; either may be left out. Messages can be told apart in plain text only: under TLS a cut by
--- messages waits for ever once the handshake has begun. A later connection is counted from its beginning; `once`:
--- only the first cut happens.
---@param options luphant.testing.cut
function proxy:cut_after(options)
  local from = check_from(options, 2)
  if not from then error('cut_after needs from = "client" or "server"', 2) end
  if options.bytes == nil and options.messages == nil then error("cut_after needs bytes or messages, or both", 2) end
  local cut = {
    messages = options.messages == nil and 0 or check_number(options, "messages", 2),
    bytes = options.bytes == nil and 0 or check_number(options, "bytes", 2),
  }
  local set = { cut = cut, reset = options.reset or false, half = options.half or false, once = options.once or false }
  ask(self, "rule", { from = from, set = set })
end

--- Closes all open connections now; new ones are served.
---@param options? { reset?: boolean }
function proxy:cut(options)
  ask(self, "cut", { reset = options and options.reset or false })
end

--- Ends one direction of all open connections: the other side gets what is on its way and then FIN. What the speaker
--- says from then on is thrown away; the other direction goes on.
---@param options { from: "client"|"server" }
function proxy:half_close(options)
  local from = check_from(options, 2)
  if not from then error('half_close needs from = "client" or "server"', 2) end
  ask(self, "half_close", { from = from })
end

--- The far end has rebooted: it knows nothing of the open connections. Their clients notice nothing until they speak,
--- and are answered with RST then. New connections are served.
function proxy:forget()
  ask(self, "forget")
end

--- Every byte arrives `seconds` later, and up to `jitter` seconds more by chance; order is kept.
---@param options { seconds: number, jitter?: number, from?: "client"|"server" }
function proxy:delay(options)
  local jitter = options and options.jitter ~= nil and check_number(options, "jitter", 2) or 0
  local set = { delay = check_number(options, "seconds", 2), jitter = jitter }
  ask(self, "rule", { from = check_from(options, 2), set = set })
end

--- Throttles: at most so many bytes per second (one connection, one direction).
---@param options { bytes_per_second: number, from?: "client"|"server" }
function proxy:limit(options)
  local rate = check_number(options, "bytes_per_second", 2)
  if rate == 0 then error("bytes_per_second must be more than 0; to stop all bytes use stall()", 2) end
  ask(self, "rule", { from = check_from(options, 2), set = { rate = rate } })
end

--- Forwards one byte at a time.
---@param options? { from?: "client"|"server" }
function proxy:split(options)
  ask(self, "rule", { from = check_from(options, 2), set = { split = true } })
end

--- Stops listening: new connections are refused, open ones go on.
function proxy:refuse()
  ask(self, "refuse")
end

--- Listens again, at the same place.
function proxy:accept()
  ask(self, "accept")
end

---@class luphant.testing.proxy_stats
---@field accepted integer connections so far
---@field open integer connections now
---@field cut integer connections that a fault ended
---@field from_client integer bytes forwarded to the server
---@field from_server integer bytes forwarded to the client
---@field messages_from_client integer messages forwarded, as far as they can be told apart (plain text)
---@field messages_from_server integer
---@field round_trips integer how often the client spoke after the server had (or for the first time)

--- What has passed so far; `reset` starts the counters again.
---@param options? { reset?: boolean }
---@return luphant.testing.proxy_stats
function proxy:stats(options)
  return ask(self, "stats", { reset = options and options.reset or false })
end

--- Ends the proxy and all connections through it. Idempotent.
function proxy:stop()
  self.process:stop()
end

local start_options = { target_host = "string", target_port = "number", target_socket = "string",
  listen_socket = "string", listen_host = "string", listen_port = "number" }

--- Starts a proxy on a free port of the loopback address (or on `listen_socket`, the path of a Unix
--- socket, for PostgreSQL `<folder>/.s.PGSQL.<port>`).
---@param options { target_host?: string, target_port?: integer, target_socket?: string, listen_socket?: string }
---@return luphant.testing.proxy|nil
---@return string? error
function M.start(options)
  if type(options) ~= "table" then error("proxy.start needs a table", 2) end
  local settings = {}
  for name, value in pairs(options) do
    local wanted = start_options[name]
    if not wanted then error("proxy.start: unknown option " .. tostring(name), 2) end
    if wanted == "number" then value = tonumber(value) end
    if type(value) ~= wanted then error("proxy.start: " .. name .. " must be a " .. wanted, 2) end
    settings[name] = value
  end
  if not settings.target_port and not settings.target_socket then
    error("proxy.start needs target_port or target_socket", 2)
  end
  local process, err = child.start("luphant.testing.gate", settings)
  if not process then return nil, err end
  local folder, port
  if settings.listen_socket then folder, port = settings.listen_socket:match("^(.*)/%.s%.PGSQL%.(%d+)$") end
  return setmetatable({
    process = process,
    host = folder or settings.listen_host or "127.0.0.1",
    port = process.hello.port or tonumber(port),
  }, proxy)
end

return M
