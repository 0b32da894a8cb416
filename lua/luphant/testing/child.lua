-- luphant.testing.child: a small service in a process of its own.
--
-- The cuttable connection (`luphant.testing.proxy`) and other fixtures must keep moving bytes while
-- the script under test waits inside a query, so each runs as a second Lua interpreter with its own
-- select loop. This module starts such a process, talks to it (one request, one answer, over a
-- loopback socket) and makes sure that it ends: on `stop`, when the control connection breaks, and
-- when the process that started it is gone.
-- It is a tool for tests: it must not be required by anything that runs in production.
--
-- SPDX-License-Identifier: MIT

local interpreter = require "luphant.testing.interpreter"
local shell = require "luphant.testing.shell"

local M = {}

local START_SECONDS = 10 -- for the interpreter to start, and for the parent to call back
local WATCH_SECONDS = 0.5 -- how often a child looks whether its parent still lives

local load_text = rawget(_G, "loadstring") or load

-- LuaSocket is wanted only by those who start a child, and by the child itself.
local function need(name)
  local ok, module = pcall(require, name)
  if ok then return module end
  error("luphant.testing needs LuaSocket (Debian: lua-socket, LuaRocks: luasocket): " .. tostring(module), 0)
end

--- LuaSocket's module `name`, or an error that says what to install.
function M.socket(name)
  return need(name or "socket")
end

-- ---- values on the wire: a Lua literal, percent-encoded so that it is one word ------------------

local function literal(value)
  local kind = type(value)
  if kind == "string" then return string.format("%q", value) end
  if kind == "number" then return string.format("%.17g", value) end
  if kind == "boolean" then return tostring(value) end
  if kind ~= "table" then error("a " .. kind .. " cannot be sent to a child process") end
  local parts = {}
  for key, item in pairs(value) do
    parts[#parts + 1] = "[" .. literal(key) .. "]=" .. literal(item)
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

local function pack(value)
  return (literal(value):gsub("[^%w]", function(c) return string.format("%%%02x", c:byte()) end))
end

local function unpack_word(word)
  local text = word:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end)
  return assert(load_text("return " .. text))()
end

-- ---- the parent's side --------------------------------------------------------------------------

---@class luphant.testing.child
---@field hello table what the service said about itself when it was ready
---@field private control table
local child = {}
child.__index = child

--- Sends a request and returns the answer table, or nil and a text.
---@param verb string
---@param arguments? table
function child:ask(verb, arguments)
  if not self.control then return nil, "the process was stopped" end
  local sent, send_error = self.control:send(verb .. " " .. pack(arguments or {}) .. "\n")
  if not sent then return nil, "the process is gone: " .. tostring(send_error) end
  local line, read_error = self.control:receive("*l")
  if not line then return nil, "the process is gone: " .. tostring(read_error) end
  local status, word = line:match("^(%w+) (.*)$")
  if status == "ok" then return unpack_word(word) end
  return nil, unpack_word(word)
end

--- Ends the process and waits until it has let go of its sockets. Idempotent.
function child:stop()
  local control = self.control
  if not control then return end
  self.control = nil
  control:settimeout(5)
  control:send("stop " .. pack({}) .. "\n")
  repeat until not control:receive("*l") -- the end of the stream is the end of the process
  control:close()
end

--- Starts `require(module).service(settings)` in a second interpreter.
---@param module string
---@param settings table plain values only
---@return luphant.testing.child|nil
---@return string? error
function M.start(module, settings)
  local socket = need("socket")
  local exe, pid = interpreter.find()
  local code = string.format("package.path, package.cpath = %q, %q; require(%q).serve(%q, %q, %q)",
    package.path, package.cpath, "luphant.testing.child", module, pack(settings or {}), pid)
  -- In the background of a shell that ends at once: closing the pipe never waits for the service.
  local pipe = io.popen(exe .. " -e " .. shell.quote(code) .. " </dev/null &")
  local line = pipe:read("*l")
  pipe:close()
  local status, word = (line or ""):match("^(%w+) (.*)$")
  if status ~= "ready" then
    return nil, "cannot start " .. module .. ": " .. tostring(word and unpack_word(word) or "the process died at once")
  end
  local hello = unpack_word(word)
  local control = socket.tcp()
  control:settimeout(START_SECONDS)
  local ok, err = control:connect("127.0.0.1", hello.control_port)
  if not ok then
    control:close()
    return nil, "cannot reach " .. module .. ": " .. tostring(err)
  end
  control:setoption("tcp-nodelay", true)
  return setmetatable({ control = control, hello = hello }, child)
end

-- ---- the child's side ---------------------------------------------------------------------------

-- Without /proc only the control connection tells; that is enough unless another child of the same
-- parent inherited it.
local function parent_lives(pid)
  local probe = io.open("/proc/self/stat")
  if not probe then return true end
  probe:close()
  local stat = io.open("/proc/" .. pid .. "/stat")
  if not stat then return false end
  local text = stat:read("*l") or ""
  stat:close()
  return not text:find(") Z", 1, true)
end

local function answer_lines(service, control, buffer)
  while true do
    local line, rest = buffer:match("^([^\n]*)\n(.*)$")
    if not line then return buffer end
    buffer = rest
    local verb, word = line:match("^(%S+) (.*)$")
    if verb == "stop" then return nil end
    local ok, result, err = pcall(service.command, service, verb, unpack_word(word))
    local reply
    if not ok then reply = "error " .. pack(tostring(result))
    elseif not result then reply = "error " .. pack(tostring(err))
    else reply = "ok " .. pack(result) end
    control:settimeout(5)
    control:send(reply .. "\n")
    control:settimeout(0)
  end
end

-- A service has: `hello`, interest(now) -> sockets to read, sockets to write, seconds; ready(readable,
-- writable, now); command(verb, arguments) -> table or nil, err; close().
local function loop(service, control, pid)
  local socket = need("socket")
  local buffer, watched = "", socket.gettime()
  control:settimeout(0)
  while true do
    local now = socket.gettime()
    if now - watched > WATCH_SECONDS then
      watched = now
      if not parent_lives(pid) then return end
    end
    local reading, writing, seconds = service:interest(now)
    reading[#reading + 1] = control
    seconds = math.max(0, math.min(seconds or WATCH_SECONDS, WATCH_SECONDS))
    local readable, writable = socket.select(reading, writing, seconds)
    if readable[control] then
      local data, err, partial = control:receive(8192)
      buffer = answer_lines(service, control, buffer .. (data or partial or ""))
      if not buffer or err == "closed" then return end
    end
    service:ready(readable, writable, socket.gettime())
  end
end

--- Entry point of the child process; `M.start` writes the call.
function M.serve(module, word, pid)
  local ok, service = pcall(function() return require(module).service(unpack_word(word)) end)
  if not ok then
    io.stdout:write("error ", pack(tostring(service)), "\n")
    return
  end
  local listener = assert(need("socket").bind("127.0.0.1", 0, 1))
  local _, port = listener:getsockname()
  service.hello.control_port = tonumber(port)
  io.stdout:write("ready ", pack(service.hello), "\n")
  io.stdout:flush() -- the last word there: from now on the control connection is the way
  listener:settimeout(START_SECONDS)
  local control = listener:accept()
  listener:close() -- nobody else may steer this process
  if control then loop(service, control, pid) end
  service:close()
end

return M
