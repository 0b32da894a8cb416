-- luphant.testing.nginx - a private nginx with ngx_lua, for tests and demos of code that runs in it.
--
-- `start` makes a temporary directory with a configuration of its own and starts nginx there, on a free port of the
-- loopback. Nothing of the system's configuration is read or written. It is always stopped and the directory removed:
-- by `stop`, and - by a watchdog process - when this process dies of whatever cause.
--
-- The Lua code in nginx finds the modules the caller finds: package.path and package.cpath are handed on. So the caller
-- runs on LuaJIT, or says where the modules for LuaJIT are. Requests are made with LuaSocket.
--
-- Misuse raises; what the world refuses gives nil and a readable message.
--
-- SPDX-License-Identifier: MIT

local child = require "luphant.testing.child"
local host = require "luphant.testing.host"
local shell = require "luphant.testing.shell"
local watchdog = require "luphant.testing.watchdog"

local quote = shell.quote

local nginx = {}

local REQUEST_SECONDS = 60
local STOP_SECONDS = 20
local TRIES = 10 -- ports

---@class luphant.testing.NginxOptions
---@field server string inside of the server block: locations
---@field http? string inside of the http block
---@field stream? string a whole stream block's inside; `$stream_port` in it stands for a second port
---@field main? string at the top: `env NAME=value;` for instance
---@field events? string inside of the events block; default worker_connections 512
---@field workers? integer default 1
---@field files? table<string, string> name -> content, in the directory ($dir) of the configuration
---@field log_level? string default "warn"
---@field binary? string the program; default: looked for
---@field lua_path? string default package.path
---@field lua_cpath? string default package.cpath

local OPTIONS = {
  server = "string", http = "string", stream = "string", main = "string", events = "string", workers = "number",
  files = "table", log_level = "string", binary = "string", lua_path = "string", lua_cpath = "string",
}

---@class luphant.testing.Nginx
---@field dir string
---@field port integer
---@field stream_port integer|nil
---@field private binary string
local Nginx = {}
Nginx.__index = Nginx
Nginx.__name = "luphant.testing.Nginx"

------------------------------------------------------------------------------------------ what is there

local PLACES = { "/usr/sbin/nginx", "/usr/local/openresty/nginx/sbin/nginx", "/usr/local/sbin/nginx",
  "/usr/local/nginx/sbin/nginx" }
local MODULE_DIRS = { "/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules" }

local function find_binary(given)
  given = given or os.getenv "LUPHANT_NGINX"
  if given then return shell.is_file(given) and given or nil end
  local on_path = shell.run "command -v nginx"
  if on_path then return on_path end
  for _, place in ipairs(PLACES) do
    if shell.is_file(place) then return place end
  end
end

local function find_module(name)
  local given = os.getenv "LUPHANT_NGINX_MODULES"
  for _, dir in ipairs(given and { given } or MODULE_DIRS) do
    local path = ("%s/%s.so"):format(dir, name)
    if shell.is_file(path) then return path end
  end
end

-- The load_module lines for ngx_lua; "" where it is built in. nil: there is no ngx_lua.
local function modules_for(binary, wants_stream)
  local built = shell.run(quote(binary) .. " -V") or ""
  local lines = {}
  local function need(patterns, ...)
    for _, pattern in ipairs(patterns) do
      if built:find(pattern) then return true end
    end
    for _, name in ipairs { ... } do
      local path = find_module(name)
      if not path then return false end
      lines[#lines + 1] = ("load_module %s;"):format(path)
    end
    return true
  end
  if not need({ "lua%-nginx%-module", "ngx_lua%-" }, "ndk_http_module", "ngx_http_lua_module") then
    return nil, "ngx_http_lua"
  end
  if wants_stream then
    if not need({ "%-%-with%-stream%s" }, "ngx_stream_module") then return nil, "ngx_stream" end
    if not need({ "stream[%-_]lua" }, "ngx_stream_lua_module") then return nil, "ngx_stream_lua" end
  end
  return table.concat(lines, "\n")
end

--- Is there an nginx with ngx_lua (with `stream`: and ngx_stream_lua) on this machine? If not: what is missing.
---@param stream? boolean
---@param program? string  only look at this one
---@return boolean
---@return string? message
function nginx.available(stream, program)
  local binary = find_binary(program)
  if not binary then return false, "nginx is not installed (Debian: apt-get install nginx libnginx-mod-http-lua)" end
  local modules, missing = modules_for(binary, stream)
  if modules then return true end
  return false, ("the nginx module %s is not installed (Debian: apt-get install libnginx-mod-http-lua)"):format(
    missing)
end

----------------------------------------------------------------------------------------- configuration

local CONFIGURATION = [[
$modules
$user
daemon on;
worker_processes $workers;
pid $dir/nginx.pid;
error_log $dir/error.log $log_level;
$main
events { $events }
http {
  access_log off;
  client_body_temp_path $dir/body;
  $temporary
  lua_package_path "$lua_path";
  lua_package_cpath "$lua_cpath";
  lua_socket_log_errors off;
  $http
  server {
    listen 127.0.0.1:$port;
    $server
  }
}
$stream
]]

local STREAM = [[
stream {
  lua_package_path "$lua_path";
  lua_package_cpath "$lua_cpath";
  $inside
}
]]

-- Each module that may be there would make a directory of its own choice.
local function temporary_paths(binary)
  local built, lines = shell.run(quote(binary) .. " -V") or "", {}
  for _, name in ipairs { "proxy", "fastcgi", "uwsgi", "scgi" } do
    if not built:find("without-http_" .. name .. "_module", 1, true) then
      lines[#lines + 1] = ("%s_temp_path $dir/%s;"):format(name, name)
    end
  end
  return table.concat(lines, " ")
end

-- Values may hold names of others.
local function fill(text, values)
  for _ = 1, 3 do
    text = text:gsub("%$([%l_]+)", values)
  end
  return text
end

local function is_root() return shell.run "id -u" == "0" end

local function write_configuration(self, options)
  local stream = options.stream and STREAM:gsub("%$inside", function() return options.stream end) or ""
  shell.write_file(self.dir .. "/nginx.conf", fill(CONFIGURATION, {
    modules = self.modules, user = is_root() and "user root;" or "", workers = options.workers or 1,
    temporary = temporary_paths(self.binary), dir = self.dir,
    port = self.port, stream_port = self.stream_port, main = options.main or "",
    events = options.events or "worker_connections 512;", http = options.http or "", server = options.server,
    stream = stream, log_level = options.log_level or "warn", lua_path = options.lua_path or package.path,
    lua_cpath = options.lua_cpath or package.cpath,
  }))
end

-- Below those the system gives to outgoing connections.
local function random_port() return 20000 + tonumber(shell.random_hex(2), 16) % 12000 end

local function launch(self, options)
  local message
  for _ = 1, TRIES do
    self.port, self.stream_port = random_port(), options.stream and random_port() or nil
    write_configuration(self, options)
    local started
    started, message = shell.try("nginx", ("%s -p %s -c %s/nginx.conf -e %s/error.log"):format(
      quote(self.binary), quote(self.dir), quote(self.dir), quote(self.dir)))
    if started then return true end
    if not message:find("Address already in use", 1, true) then break end
    os.remove(self.dir .. "/error.log") -- the next attempt has its own
  end
  return nil, message
end

---------------------------------------------------------------------------------------------- methods

local function signal(self, name)
  return shell.try("kill", ("kill -s %s %d"):format(name, self.pid))
end

--- Processes that serve requests now, old ones that are still exiting among them.
---@return integer[]
function Nginx:workers()
  local list = {}
  local children = shell.run(("ps -o pid= --ppid %d"):format(self.pid)) or ""
  for pid in children:gmatch "%d+" do list[#list + 1] = tonumber(pid) end
  table.sort(list)
  return list
end

--- New workers with the configuration as it is now; the old ones finish their requests and exit.
function Nginx:reload() return signal(self, "HUP") end

--- Makes nginx finish what it does and exit.
function Nginx:quit() return signal(self, "QUIT") end

--- What nginx has written to its error log so far.
---@return string
function Nginx:log() return shell.read_file(self.dir .. "/error.log") or "" end

---@param path string
---@return string
function Nginx:url(path) return ("http://127.0.0.1:%d%s"):format(self.port, path) end

--- Makes a request and waits for the answer.
---@param path string
---@param options? { method?: string, body?: string, headers?: table }
---@return string|nil body
---@return integer|string status  or why there is none
---@return table headers
function Nginx:get(path, options)
  local http, ltn12 = child.socket "socket.http", child.socket "ltn12"
  options = options or {}
  local chunks, headers = {}, {}
  for name, value in pairs(options.headers or {}) do headers[name] = value end
  if options.body then headers["content-length"] = #options.body end
  http.TIMEOUT = REQUEST_SECONDS
  local ok, status, answer = http.request {
    url = self:url(path), method = options.method or (options.body and "POST" or "GET"), headers = headers,
    source = options.body and ltn12.source.string(options.body) or nil, sink = ltn12.sink.table(chunks),
    redirect = false,
  }
  if not ok then return nil, status, {} end
  return table.concat(chunks), status, answer
end

local function is_running(pid) return (shell.run(("kill -s 0 %d"):format(pid))) ~= nil end

--- Stops nginx and removes its directory. Idempotent.
function Nginx:stop()
  local watcher = self.watcher
  if not watcher then return end
  self.watcher = nil
  signal(self, "INT")
  local turns = STOP_SECONDS * 20
  while is_running(self.pid) and turns > 0 do
    shell.run "sleep 0.05"
    turns = turns - 1
  end
  watchdog.finish(watcher, self.base, "fast")
end

----------------------------------------------------------------------------------------------- start

local function check_options(options)
  if type(options) ~= "table" then error("nginx.start expects a table of options", 3) end
  for name, value in pairs(options) do
    if not OPTIONS[name] then error(('unknown option "%s"'):format(tostring(name)), 3) end
    if type(value) ~= OPTIONS[name] then
      error(('option "%s" must be a %s, got a %s'):format(name, OPTIONS[name], type(value)), 3)
    end
  end
  if not options.server then error('option "server" is missing', 3) end
end

--- Starts nginx.
---@param options luphant.testing.NginxOptions
---@return luphant.testing.Nginx|nil
---@return string? message
function nginx.start(options)
  check_options(options)
  local ok, missing = nginx.available(options.stream ~= nil, options.binary)
  if not ok then return nil, missing end
  local base, watcher = host.make_dir({}, watchdog.start)
  if not base then return nil, watcher end
  local self = setmetatable({
    base = base, dir = base .. "/nginx", watcher = watcher, binary = find_binary(options.binary),
  }, Nginx)
  self.modules = modules_for(self.binary, options.stream ~= nil)
  assert(shell.try("mkdir", "mkdir " .. quote(self.dir)))
  watchdog.settle(base)
  for name, content in pairs(options.files or {}) do
    shell.write_file(self.dir .. "/" .. name, (content:gsub("%$dir", self.dir)))
  end
  local started, message = launch(self, options)
  if not started then
    self.watcher = nil
    watchdog.finish(watcher, base, "fast")
    return nil, message
  end
  self.pid = tonumber((shell.read_file(self.dir .. "/nginx.pid") or ""):match "%d+")
  return self
end

return nginx
