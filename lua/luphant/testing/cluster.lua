-- luphant.testing.cluster - makes the directories of a test server: initdb, configuration, certificates, a
-- standby's copy.
--
-- Works on the server object of server.lua (its paths, its account, its `_program`); starting and stopping is
-- that file's affair.
--
-- SPDX-License-Identifier: MIT
local certificates = require "luphant.testing.certificates"
local host = require "luphant.testing.host"
local shell = require "luphant.testing.shell"

local cluster = {}

-- Fast, and the same on every machine. A crash of the machine loses the cluster, which is worth nothing; a crash
-- of the server must lose nothing that was committed, so synchronous_commit stays on.
local DEFAULTS = {
  fsync = false,
  full_page_writes = false,
  max_connections = 100,
  shared_buffers = "32MB",
  timezone = "UTC",
  log_timezone = "UTC",
  lc_messages = "C",
  max_wal_senders = 10,
  wal_level = "replica",
  wal_retrieve_retry_interval = "200ms", -- a standby finds its restarted primary soon
}

local HBA = [[

local all all trust
local replication all trust
host all all 127.0.0.1/32 scram-sha-256
host replication all 127.0.0.1/32 scram-sha-256
]]

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

--- Appends settings to postgresql.conf; later lines win.
---@param self luphant.testing.Server
---@param settings table<string, string|number|boolean>
function cluster.configure(self, settings)
  shell.write_file(self.data_dir .. "/postgresql.conf", conf_lines(settings), "ab")
end

local function init(self)
  local password_file = self.dir .. "/password"
  shell.write_file(password_file, self.password .. "\n")
  host.give(self._account, password_file)
  local made, message = self:_program("initdb", {
    "-D", self.data_dir, "-U", self.user, "-E", "UTF8", "--locale=C", "--no-sync",
    "--auth-local=trust", "--auth-host=scram-sha-256", "--pwfile=" .. password_file,
  })
  os.remove(password_file)
  if not made then
    return nil, message
  end
  self.version = shell.read_file(self.data_dir .. "/PG_VERSION"):match("%d+")
  return true
end

local function add_certificates(self, name)
  local dir = self.dir .. "/tls"
  local made, message = shell.try("mkdir", "mkdir " .. shell.quote(dir))
  if not made then
    return nil, message
  end
  self.certificates, message = certificates.make(dir)
  if not self.certificates then
    return nil, message
  end
  host.give(self._account, dir)
  local certificate = self.certificates[name]
  cluster.configure(self, {
    ssl = true,
    ssl_cert_file = certificate.cert,
    ssl_key_file = certificate.key,
    ssl_ca_file = self.certificates.ca,
  })
  return true
end

--- Makes the primary's cluster, ready to start but for its port.
---@param self luphant.testing.Server
---@param options luphant.testing.ServerOptions
---@return true?
---@return string? message
function cluster.make(self, options)
  local made, message = init(self)
  if not made then
    return nil, message
  end
  shell.write_file(self.data_dir .. "/pg_hba.conf", table.concat(options.hba or {}, "\n") .. HBA)
  cluster.configure(self, DEFAULTS)
  cluster.configure(self, {
    unix_socket_directories = self.socket_dir,
    listen_addresses = self.tcp and "127.0.0.1" or "",
  })
  if options.tls then
    made, message = add_certificates(self, options.tls == true and "server" or options.tls)
    if not made then
      return nil, message
    end
  end
  cluster.configure(self, options.settings or {})
  return true
end

--- Copies a running primary into its standby's directory, which then streams from it.
---@param primary luphant.testing.Server
---@param standby luphant.testing.Server
---@param settings? table<string, string|number|boolean>
---@return true?
---@return string? message
function cluster.copy(primary, standby, settings)
  local made, message = primary:_program("pg_basebackup", {
    "-D", standby.data_dir, "-R", "-X", "stream", "-c", "fast", "--no-sync",
    "-h", primary.socket_dir, "-p", primary.port, "-U", primary.user,
  })
  if not made then
    return nil, message
  end
  cluster.configure(standby, { port = standby.port })
  cluster.configure(standby, settings or {})
  return true
end

return cluster
