-- session.lua - what a connection tells about its session. None of it asks the server.
--
-- SPDX-License-Identifier: MIT

local session, methods = {}, {}

--- Is the session there and not known to be lost?
---@return boolean
function methods:is_open()
  local state = self.box:state()
  return state == "idle" or state == "busy" or state == "shared"
end

--- "idle", "active", "intrans", "inerror" or "unknown", in libpq's words.
function methods:transaction_status() return self.box:transaction_status() end

--- Process id of the server process that serves this session.
---@return integer|nil
function methods:backend_pid() return self.box:backend_pid() end

--- 150018 for 15.18.
---@return integer|nil
function methods:server_version() return self.box:server_version() end

--- A parameter the server reports, such as "TimeZone" or "server_version".
---@param name string
---@return string|nil
function methods:parameter_status(name) return self.box:parameter_status(name) end

--- { version =, cipher =, bits =, verified = }, false without TLS, nil without a session.
function methods:tls() return self.box:tls() end

--- Where the session goes: { host =, address =, port =, dbname =, user = }.
function methods:target() return self.box:target() end

--- Counters of this session: { state =, statements = { count, bytes, hits, misses, evictions }, notices_lost = }.
function methods:stats()
  local box = self.box
  return {
    state = box:state(), backend_pid = box:backend_pid(), statements = box:statements(),
    notices_lost = box:notices_lost(),
  }
end

--- connection.lua has these methods.
---@param class table
function session.add(class)
  for name, method in pairs(methods) do class[name] = method end
end

return session
