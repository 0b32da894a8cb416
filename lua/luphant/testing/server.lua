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
local cluster = require "luphant.testing.cluster"
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
---@field private _log string
---@field private _watchdog? userdata the one that owns the directory has it: not a standby
local Server = {}
Server.__index = Server
Server.__name = "luphant.testing.Server"

-- Runs one of PostgreSQL's programs as the account that owns the cluster, from inside its directory.
function Server:_program(name, words)
  local command = quote(self.bin_dir .. "/" .. name) .. " " .. line(words)
  return shell.try(name, host.as(self._account, "cd " .. quote(self.dir) .. " && " .. host.CLEAN_ENV .. command))
end

function Server:_pg_ctl(action, ...)
  local output, message = self:_program("pg_ctl", { action, "-s", "-D", self.data_dir, ... })
  return output and true, message
end

-- pg_ctl tells only that the server did not start; the reason is in the server's own log.
function Server:_launch()
  local started, message = self:_pg_ctl("start", "-w", "-t", 60, "-l", self._log)
  return started, not started and message .. "\n" .. self:log() or nil
end

local function url_escape(text)
  return (tostring(text):gsub("[^%w_.~-]", function(c)
    return ("%%%02X"):format(c:byte())
  end))
end

local IN_FRONT = { tcp = true, user = true, password = true, database = true }

--- The connection URL.
---@param options? { tcp?: boolean, user?: string, password?: string, database?: string, [string]: any }
--- tcp: over loopback instead of the socket. Every other key is a libpq parameter, e.g. sslmode.
---@return string
function Server:url(options)
  options = options or {}
  local user, password = options.user or self.user, options.password
  local parameters = { host = self.socket_dir, port = self.port }
  if options.tcp then
    if not self.tcp then
      error("this server does not listen on TCP; start it with { tcp = true }", 2)
    end
    -- No name service is asked; a certificate is still checked against the name.
    parameters.host, parameters.hostaddr = "localhost", "127.0.0.1"
    password = password or (user == self.user and self.password or nil)
  end
  for name, value in pairs(options) do
    if not IN_FRONT[name] then
      parameters[name] = value
    end
  end
  local pairs_of_url = {}
  for name, value in pairs(parameters) do
    pairs_of_url[#pairs_of_url + 1] = url_escape(name) .. "=" .. url_escape(value)
  end
  table.sort(pairs_of_url)
  return ("postgresql://%s%s@/%s?%s"):format(
    url_escape(user), password and ":" .. url_escape(password) or "",
    url_escape(options.database or self.database), table.concat(pairs_of_url, "&")
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
  cluster.configure(self, settings)
  return self:reload()
end

--- Makes the server read its configuration files again.
---@return true?
---@return string? message
function Server:reload()
  return self:_pg_ctl("reload")
end

--- Shows another certificate from now on.
---@param name string a certificate of luphant.testing.certificates, e.g. "expired"
---@return true?
---@return string? message
function Server:use_certificate(name)
  if not self.certificates then
    error("this server has no certificates; start it with { tls = true }", 2)
  end
  certificates.check_name(name, 2)
  local certificate = self.certificates[name]
  return self:configure { ssl_cert_file = certificate.cert, ssl_key_file = certificate.key }
end

--- Stops and starts again; the data stay.
---@param mode? "smart"|"fast"|"immediate" default "fast"; "immediate" is a crash
---@return true?
---@return string? message
function Server:restart(mode)
  local stopped, message = self:_pg_ctl("stop", "-w", "-t", 60, "-m", mode or "fast")
  if not stopped then
    return nil, message
  end
  return self:_launch()
end

--- Turns a standby into a primary.
---@return true?
---@return string? message
function Server:promote()
  return self:_pg_ctl("promote", "-w", "-t", 60)
end

--- Stops the server and its standby and removes everything; a second call does nothing. A standby's own
--- `stop` stops that alone, and its data stay as long as the primary's.
---@param mode? "smart"|"fast"|"immediate" default "fast"
function Server:stop(mode)
  if self._watchdog then
    local handle = self._watchdog
    self._watchdog = nil
    watchdog.finish(handle, self.dir, mode or "fast")
  elseif shell.is_file(self.data_dir .. "/postmaster.pid") then
    self:_pg_ctl("stop", "-w", "-t", 60, "-m", mode or "fast")
  end
end

function Server:__close()
  self:stop()
end

function Server:__tostring()
  return ("luphant.testing.Server (PostgreSQL %s, %s)"):format(tostring(self.version), self.dir)
end

-- A free port cannot be found out without sockets: take one by chance, let the server try, take another. From below
-- those the system gives to outgoing connections, so that it is still free after a restart.
local function launch_on_free_port(self, wanted)
  local started, message
  for _ = 1, wanted and 1 or 20 do
    self.port = wanted or (self.tcp and 20000 + tonumber(shell.random_hex(2), 16) % 12000) or 5432
    cluster.configure(self, { port = self.port })
    started, message = self:_launch()
    if started or not message:find("Address already in use", 1, true) then
      break
    end
    os.remove(self._log)
  end
  return started, message
end

local function add_standby(self, options)
  options = type(options) == "table" and options or {}
  local standby = {}
  for name, value in pairs(self) do
    standby[name] = value
  end
  standby.data_dir, standby._log = self.dir .. "/standby", self.dir .. "/standby.log"
  standby.port = options.port or self.port + 1
  standby._watchdog = nil
  self.standby = setmetatable(standby, Server)
  local made, message = cluster.copy(self, standby, options.settings)
  if not made then
    return nil, message
  end
  return standby:_launch()
end

local function set_up(self, options)
  local done, message = cluster.make(self, options)
  if done then
    done, message = launch_on_free_port(self, options.port)
  end
  if done and self.database ~= "postgres" then
    done, message = self:psql('create database "' .. self.database:gsub('"', '""') .. '"', { database = "postgres" })
  end
  if done and options.standby then
    done, message = add_standby(self, options.standby)
  end
  return done, message
end

local KNOWN = {
  bin_dir = true, version = true, database = true, settings = true, tcp = true, port = true, tls = true, hba = true,
  standby = true,
}

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
  if type(options.tls) == "string" then
    certificates.check_name(options.tls, 2)
  end
  local bin_dir, account, dir, watcher, message
  bin_dir, message = host.find_server(options.bin_dir, options.version)
  if bin_dir then
    account, message = host.account()
  end
  if account then
    dir, watcher = host.make_dir(account, watchdog.start)
  end
  if not dir then
    return nil, message or watcher
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
    _watchdog = watcher,
    _log = dir .. "/server.log",
  }, Server)
  local ready
  ready, message = set_up(self, options)
  if not ready then
    self:stop("immediate")
    return nil, message
  end
  watchdog.settle(dir)
  return self
end

return server
