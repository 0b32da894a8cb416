-- luphant.testing.server - a private PostgreSQL server for tests and demos.
--
-- `start` makes a cluster of its own in a temporary directory, reachable through a Unix socket in that
-- directory (and through loopback TCP only when asked), fast and unsafe (fsync off). Nothing outside the
-- directory is touched. It is always stopped and removed: by `stop`, when the object is collected,
-- and - by a watchdog process - when this process dies of whatever cause. Not for data anyone wants to keep.
--
-- Works on any Lua, with nothing but io and os and the programs of PostgreSQL; the core is not needed.
-- Misuse raises; what the world refuses gives nil and a readable message.
--
-- SPDX-License-Identifier: MIT
local certificates = require "luphant.testing.certificates"
local host = require "luphant.testing.host"
local shell = require "luphant.testing.shell"
local watchdog = require "luphant.testing.watchdog"

local quote, line = shell.quote, shell.line

local server = {}

---@class luphant.testing.ServerOptions
---@field bin_dir? string directory of initdb and postgres; default: looked for (see docs/api/testing-server.md)
---@field version? string|number major version to use when several are installed, e.g. 16
---@field database? string created at start and the default of `url`; default "postgres"
---@field settings? table<string, string|number|boolean> for postgresql.conf
---@field tcp? boolean listen on 127.0.0.1 as well
---@field port? integer also the number in the socket's name; default 5432, or a free one with TCP
---@field tls? boolean|string true, or the name of a certificate of luphant.testing.certificates; implies TCP
---@field hba? string[] lines put before ours in pg_hba.conf
---@field standby? boolean|luphant.testing.StandbyOptions start a streaming hot standby as well

---@class luphant.testing.StandbyOptions
---@field settings? table<string, string|number|boolean>
---@field port? integer default: the next number after the primary's

---@class luphant.testing.Server
---@field dir string everything of this server is in here
---@field data_dir string
---@field socket_dir string
---@field port integer
---@field database string
---@field user string the superuser: "postgres"
---@field password string the superuser's; asked for on TCP only
---@field version string major version, e.g. "15"
---@field bin_dir string
---@field tcp boolean
---@field certificates? luphant.testing.Certificates with `tls`
---@field standby? luphant.testing.Server with `standby`
---@field private _account luphant.testing.Account
---@field private _watchdog? userdata
---@field private _log string
local Server = {}
Server.__index = Server
Server.__name = "luphant.testing.Server"

-- Fast, and the same on every machine. A crash of the machine loses the cluster, which is worth nothing.
local DEFAULTS = {
  fsync = false,
  synchronous_commit = false,
  full_page_writes = false,
  max_connections = 100,
  shared_buffers = "32MB",
  timezone = "UTC",
  log_timezone = "UTC",
  lc_messages = "C",
  max_wal_senders = 10,
  wal_level = "replica",
}

local function conf_lines(settings)
  local names, lines = {}, {}
  for name in pairs(settings) do
    names[#names + 1] = name
  end
  table.sort(names)
  for i, name in ipairs(names) do
    local value = settings[name]
    if type(value) == "boolean" then
      value = value and "on" or "off"
    end
    lines[i] = ("%s = '%s'\n"):format(name, (tostring(value):gsub("'", "''")))
  end
  return table.concat(lines)
end

local function url_escape(text)
  return (tostring(text):gsub("[^%w_.~-]", function(c)
    return ("%%%02X"):format(c:byte())
  end))
end

-- Runs one of PostgreSQL's programs as the account that owns the cluster, from inside its directory.
function Server:_program(name, words)
  local command = quote(self.bin_dir .. "/" .. name) .. " " .. line(words)
  return shell.try(name, host.as(self._account, "cd " .. quote(self.dir) .. " && " .. host.CLEAN_ENV .. command))
end

function Server:_pg_ctl(action, ...)
  return self:_program("pg_ctl", { action, "-D", self.data_dir, "-w", "-t", 60, ... })
end

-- pg_ctl tells only that the server did not start; the reason is in the server's own log.
function Server:_launch()
  local started, message = self:_pg_ctl("start", "-s", "-l", self._log)
  if not started then
    return nil, message .. "\n" .. self:log()
  end
  return true
end

--- The connection URL.
---@param options? { tcp?: boolean, user?: string, password?: string, database?: string, [string]: any }
--- tcp: over loopback instead of the socket. Every other key is a libpq parameter, e.g. sslmode.
---@return string
function Server:url(options)
  options = options or {}
  local known = { tcp = true, user = true, password = true, database = true }
  local user, password = options.user or self.user, options.password
  if options.tcp and not self.tcp then
    error("this server does not listen on TCP; start it with { tcp = true }", 2)
  end
  if options.tcp and user == self.user and password == nil then
    password = self.password
  end
  local parameters = {}
  local function add(name, value)
    parameters[#parameters + 1] = url_escape(name) .. "=" .. url_escape(value)
  end
  add("host", options.host or (options.tcp and "localhost" or self.socket_dir))
  if options.tcp and not options.host then
    add("hostaddr", "127.0.0.1") -- no name service; certificates are still checked against "localhost"
  end
  add("port", options.port or self.port)
  local rest = {}
  for name in pairs(options) do
    if not known[name] and name ~= "host" and name ~= "port" then
      rest[#rest + 1] = name
    end
  end
  table.sort(rest)
  for _, name in ipairs(rest) do
    add(name, options[name])
  end
  return ("postgresql://%s%s@/%s?%s"):format(
    url_escape(user), password and ":" .. url_escape(password) or "",
    url_escape(options.database or self.database), table.concat(parameters, "&")
  )
end

--- Runs SQL through psql as the superuser; stops at the first error.
---@param sql string one or more statements
---@param options? table as for `url`
---@return string? output rows by lines, columns by "|", no headers
---@return string? message
function Server:psql(sql, options)
  local file = ("%s/psql-%s.sql"):format(self.dir, shell.random_hex(4))
  shell.write_file(file, sql)
  local output, message = shell.try("psql", host.CLEAN_ENV .. line {
    self.bin_dir .. "/psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", file, "-d", self:url(options),
  })
  os.remove(file)
  return output, message
end

--- What the server has written to its log so far.
---@return string
function Server:log()
  return shell.read_file(self._log) or ""
end

--- Changes settings. Those that need it take effect at the next `restart`.
---@param settings table<string, string|number|boolean>
---@return true?
---@return string? message
function Server:configure(settings)
  shell.write_file(self.data_dir .. "/postgresql.conf", conf_lines(settings), "ab")
  return self:reload()
end

--- Makes the server read its configuration files again.
---@return true?
---@return string? message
function Server:reload()
  local output, message = self:_program("pg_ctl", { "reload", "-s", "-D", self.data_dir })
  return output and true, message
end

--- Shows another certificate from now on.
---@param name string a certificate of luphant.testing.certificates, e.g. "expired"
---@return true?
---@return string? message
function Server:use_certificate(name)
  local certificate = self.certificates and self.certificates[name]
  if type(certificate) ~= "table" then
    error(("no certificate %q; start with { tls = true } and see luphant.testing.certificates"):format(name), 2)
  end
  return self:configure { ssl_cert_file = certificate.cert, ssl_key_file = certificate.key }
end

--- Stops and starts again; the data stay.
---@param mode? "smart"|"fast"|"immediate" default "fast"; "immediate" is a crash
---@return true?
---@return string? message
function Server:restart(mode)
  local stopped, message = self:_pg_ctl("stop", "-s", "-m", mode or "fast")
  if not stopped then
    return nil, message
  end
  return self:_launch()
end

--- Turns a standby into a primary.
---@return true?
---@return string? message
function Server:promote()
  local output, message = self:_pg_ctl("promote", "-s")
  return output and true, message
end

--- Stops the server (and its standby) and removes everything. A second call does nothing. On a standby:
--- stops that alone.
---@param mode? "smart"|"fast"|"immediate" default "fast"
function Server:stop(mode)
  if self._watchdog then
    watchdog.finish(self._watchdog, self.dir, mode or "fast")
    self._watchdog = nil
  elseif self._primary and self._primary._watchdog and shell.is_file(self.data_dir .. "/postmaster.pid") then
    self:_pg_ctl("stop", "-s", "-m", mode or "fast")
  end
end

function Server:__tostring()
  return ("luphant.testing.Server (PostgreSQL %s, %s)"):format(self.version, self.dir)
end
Server.__close = function(self)
  self:stop()
end

local function write_hba(self, extra)
  local lines = extra or {}
  shell.write_file(self.data_dir .. "/pg_hba.conf", table.concat(lines, "\n") .. [[

local all all trust
local replication all trust
host all all 127.0.0.1/32 scram-sha-256
host replication all 127.0.0.1/32 scram-sha-256
]])
end

local function init_cluster(self, options)
  local password_file = self.dir .. "/password"
  shell.write_file(password_file, self.password .. "\n")
  host.give(self._account, password_file)
  local made, message = self:_program("initdb", {
    "-D", self.data_dir, "-U", self.user, "-E", "UTF8", "--locale=C", "--no-sync",
    "--auth-local=trust", "--auth-host=scram-sha-256", "--pwfile=" .. password_file,
  })
  if not made then
    return nil, message
  end
  os.remove(password_file)
  self.version = (shell.read_file(self.data_dir .. "/PG_VERSION") or ""):match("%d+")
  shell.write_file(self.data_dir .. "/postgresql.conf", conf_lines(DEFAULTS), "ab")
  write_hba(self, options.hba)
  return true
end

local function make_certificates(self, name)
  local dir = self.dir .. "/tls"
  local made, message = shell.try("mkdir", "mkdir " .. quote(dir))
  if not made then
    return nil, message
  end
  self.certificates, message = certificates.make(dir)
  if not self.certificates then
    return nil, message
  end
  host.give(self._account, dir)
  local certificate = assert(self.certificates[name], "no certificate of this name: " .. name)
  return {
    ssl = true,
    ssl_cert_file = certificate.cert,
    ssl_key_file = certificate.key,
    ssl_ca_file = self.certificates.ca,
  }
end

-- A free port cannot be found out without sockets: take one by chance, let the server try, take another.
local function launch_on_free_port(self, options)
  local message
  for _ = 1, options.port and 1 or 20 do
    self.port = options.port or (self.tcp and 20000 + tonumber(shell.random_hex(2), 16) % 40000) or 5432
    shell.write_file(self.data_dir .. "/postgresql.conf", conf_lines { port = self.port }, "ab")
    local started
    started, message = self:_launch()
    if started then
      return true
    end
    if not message:find("Address already in use", 1, true) then
      break
    end
    os.remove(self._log)
  end
  return nil, message
end

local function add_standby(self, options)
  options = type(options) == "table" and options or {}
  local standby = setmetatable({}, Server)
  for _, field in ipairs { "dir", "socket_dir", "database", "user", "password", "version", "bin_dir", "tcp",
    "certificates", "_account" } do
    standby[field] = self[field]
  end
  standby._primary = self
  standby.data_dir = self.dir .. "/standby"
  standby._log = self.dir .. "/standby.log"
  standby.port = options.port or self.port + 1
  local made, message = self:_program("pg_basebackup", {
    "-D", standby.data_dir, "-R", "-X", "stream", "-c", "fast", "--no-sync",
    "-h", self.socket_dir, "-p", self.port, "-U", self.user,
  })
  if not made then
    return nil, message
  end
  shell.write_file(standby.data_dir .. "/postgresql.conf",
    conf_lines { port = standby.port } .. conf_lines(options.settings or {}), "ab")
  local started
  started, message = standby:_launch()
  if not started then
    return nil, message
  end
  self.standby = standby
  return true
end

local function set_up(self, options)
  local made, message = init_cluster(self, options)
  if not made then
    return nil, message
  end
  local conf = { unix_socket_directories = self.socket_dir, listen_addresses = self.tcp and "127.0.0.1" or "" }
  local text = conf_lines(conf)
  if options.tls then
    local tls
    tls, message = make_certificates(self, options.tls == true and "server" or options.tls)
    if not tls then
      return nil, message
    end
    text = text .. conf_lines(tls)
  end
  shell.write_file(self.data_dir .. "/postgresql.conf", text .. conf_lines(options.settings or {}), "ab")
  made, message = launch_on_free_port(self, options)
  if made and self.database ~= "postgres" then
    made, message = self:psql('create database "' .. self.database:gsub('"', '""') .. '"', { database = "postgres" })
  end
  if made and options.standby then
    made, message = add_standby(self, options.standby)
  end
  return made and true, message
end

local KNOWN = { bin_dir = true, version = true, database = true, settings = true, tcp = true, port = true, tls = true,
  hba = true, standby = true }

--- Makes and starts a server. It answers when this returns.
---@param options? luphant.testing.ServerOptions
---@return luphant.testing.Server?
---@return string? message
function server.start(options)
  options = options or {}
  for name in pairs(options) do
    if not KNOWN[name] then
      error(("luphant.testing.server.start: unknown option %q"):format(tostring(name)), 2)
    end
  end
  local bin_dir, message = host.find_server(options.bin_dir, options.version)
  if not bin_dir then
    return nil, message
  end
  local account, dir
  account, message = host.account()
  if not account then
    return nil, message
  end
  dir, message = host.make_dir(account)
  if not dir then
    return nil, message
  end
  local self = setmetatable({
    dir = dir,
    data_dir = dir .. "/data",
    socket_dir = dir,
    database = options.database or "postgres",
    user = "postgres",
    password = shell.random_hex(16),
    bin_dir = bin_dir,
    tcp = (options.tcp or options.tls) and true or false,
    _account = account,
    _watchdog = watchdog.start(dir),
    _log = dir .. "/server.log",
  }, Server)
  local ready
  ready, message = set_up(self, options)
  if not ready then
    self:stop("immediate")
    return nil, message
  end
  return self
end

return server
