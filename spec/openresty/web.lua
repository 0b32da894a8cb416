-- spec.openresty.web - an nginx for a spec, which sees the shared PostgreSQL server and the modules under test.
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local nginx = require "luphant.testing.nginx"
local shell = require "luphant.testing.shell"

local socket = require "socket"

local web = {}

local HANDED_ON = { "PATH", "TMPDIR", "LUPHANT_TEST_SLOW_FACTOR", "LUPHANT_OPENRESTY", "LUPHANT_TEST_WORLDS" }

local SANITIZED = os.getenv "ASAN_OPTIONS" ~= nil

--- Why nothing of this can be run here; nil: it can. On LuaJIT only: it is the Lua of nginx. `sanitized`: under
--- sanitizers, too, where it takes long; there is no need of it for what other specs do with the core as well.
function web.missing(stream, sanitized)
  if not rawget(_G, "jit") then return "nginx runs LuaJIT" end
  if SANITIZED and not sanitized then return "under sanitizers other specs of nginx suffice" end
  local ok, why = nginx.available(stream)
  return not ok and why or nil
end

local function environment(given)
  local values = {
    LUPHANT_TEST_URL = env.url(), LUPHANT_TEST_BIN = env.bin_dir(), LUPHANT_TEST_LUA = env.lua(),
  }
  local lines = {}
  for name, value in pairs(given or {}) do values[name] = value end
  for name, value in pairs(values) do lines[#lines + 1] = ("env %s=%s;"):format(name, value) end
  for _, name in ipairs(HANDED_ON) do
    if values[name] == nil then lines[#lines + 1] = "env " .. name .. ";" end
  end
  return table.concat(lines, "\n")
end

-- What a worker must never have to say. (Of its own configuration nginx may say what it likes.)
local function worst(log)
  for line in log:gmatch "[^\n]+" do
    if line:find "will hurt performance in" then -- luacheck: ignore 542
    elseif line:find "%[alert%]" or line:find "%[crit%]" or line:find "%[emerg%]" or line:find "exited on signal"
      or line:find("could not be put in order", 1, true)
      or line:find("AddressSanitizer", 1, true) or line:find("runtime error: ", 1, true)
        and not line:find("%[error%]") then
      return line
    end
  end
end

-- nginx is not built with the sanitizer; the core is, and finds it when it is there before anything else. Reports go to
-- nginx's log. Nobody is asked about leaks: nginx ends with its memory in use.
local function with_sanitizer(binary)
  local library
  for line in io.lines "/proc/self/maps" do library = library or line:match "%s(/[^%s]*libasan[^%s]*)" end
  local path = os.tmpname()
  shell.write_file(path, ("#!/bin/sh\nLD_PRELOAD=%s ASAN_OPTIONS=\"$ASAN_OPTIONS:detect_leaks=0\" exec %s \"$@\"\n")
    :format(assert(library, "the sanitizer is not in this process"), binary or shell.run "command -v nginx"
      or "/usr/sbin/nginx"))
  assert(shell.run("chmod +x " .. path))
  return path
end

--- An nginx of its own for the caller, who stops it. `options` are those of luphant.testing.nginx, and `environment`.
---@param options table
---@return luphant.testing.Nginx
function web.start(options)
  local given = {}
  for name, value in pairs(options) do given[name] = value end
  given.environment = nil
  given.main = environment(options.environment) .. (options.main or "")
  given.lua_path = "$dir/?.lua;" .. (options.lua_path or package.path)
  local wrapper = SANITIZED and with_sanitizer(options.binary)
  given.binary = wrapper or given.binary
  local server, why = nginx.start(given)
  if wrapper then os.remove(wrapper) end
  return assert(server, why)
end

--- Raises when a worker has crashed, or said what it must never have to say.
---@param server luphant.testing.Nginx
function web.check(server)
  local log = server:log()
  local line = worst(log)
  if line then error("nginx says: " .. line .. "\n" .. log:sub(-4000), 0) end
end

--- Runs fn(server) with an nginx as `start` makes it, and looks at its log afterwards unless `check` is false.
---@param options table
---@param fn fun(server: luphant.testing.Nginx)
---@param check? boolean
function web.with(options, fn, check)
  local server = web.start(options)
  local ok, err = xpcall(function()
    fn(server)
    if check ~= false then web.check(server) end
  end, function(e)
    return type(e) == "string" and debug.traceback(e, 2) or e
  end)
  if not ok and type(err) == "string" then err = err .. "\nnginx says:\n" .. server:log():sub(-4000) end
  server:stop()
  if not ok then error(err, 0) end
end

--- Makes requests to all paths at the same time; answers their bodies, and raises when one is missing. With `seconds`
--- those that were there in time: the clients of the others go away.
---@param server luphant.testing.Nginx
---@param paths string[]
---@param seconds? number
---@return table<integer, string>
function web.burst(server, paths, seconds)
  local bodies, waiting, names = {}, {}, {}
  for i, path in ipairs(paths) do
    local sock = assert(socket.connect("127.0.0.1", server.port))
    sock:settimeout(0)
    assert(sock:send(("GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n"):format(path)))
    waiting[#waiting + 1], names[sock] = sock, { number = i, text = "" }
  end
  local limit = socket.gettime() + (seconds or 60)
  while #waiting > 0 and socket.gettime() < limit do
    for _, sock in ipairs((socket.select(waiting, nil, limit - socket.gettime()))) do
      local name = names[sock]
      local data, why, partial = sock:receive "*a"
      name.text = name.text .. (data or partial or "")
      if data or why == "closed" then
        bodies[name.number] = name.text:match "\r\n\r\n(.-)%s*$"
        sock:close()
        for i, each in ipairs(waiting) do
          if each == sock then table.remove(waiting, i) break end
        end
      end
    end
  end
  for _, sock in ipairs(waiting) do sock:close() end
  for i, path in ipairs(seconds and {} or paths) do
    if not bodies[i] then error(("request %d, %s, was not answered"):format(i, path), 2) end
  end
  return bodies
end

--- The answer's body; raises when it is not `status` (200).
function web.fetch(server, path, status, options)
  local body, got = server:get(path, options)
  if got ~= (status or 200) then
    error(("%s: %s %s\n%s"):format(path, tostring(got), tostring(body), server:log():sub(-3000)), 2)
  end
  return (body:gsub("\n$", ""))
end

return web
