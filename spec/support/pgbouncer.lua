-- spec.support.pgbouncer: a private PgBouncer in front of a private server.
--
--   local pooler = assert(pgbouncer.start(server, { pool_size = 1 }))
--   luphant.connect(pooler:url())
--   pooler:stop()
--
-- It lives in a directory of its own with a Unix socket there, runs as the account that runs the
-- server, and is stopped and removed by the same kind of watchdog. Defaults: transaction mode, one
-- server session for all clients - the setting in which everything that can go wrong does.
--
-- SPDX-License-Identifier: MIT

local host = require "luphant.testing.host"
local shell = require "luphant.testing.shell"
local watchdog = require "luphant.testing.watchdog"

local M = {}

local PORT = 6432 -- only the number in the socket's name: PgBouncer does not listen on TCP here

local pooler = {}
pooler.__index = pooler

--- Is the program there at all?
function M.is_installed()
  return M.program() ~= nil
end

function M.program()
  return shell.run("command -v pgbouncer || ls /usr/sbin/pgbouncer")
end

local function configuration(server, dir, options)
  local settings = {
    pool_mode = options.pool_mode or "transaction",
    default_pool_size = options.pool_size or 1,
    max_client_conn = 50,
    auth_type = "trust",
    auth_file = dir .. "/users.txt",
    admin_users = "postgres",
    listen_port = PORT,
    unix_socket_dir = dir,
    logfile = dir .. "/pgbouncer.log",
    -- The name is the watchdog's: it stops whatever process a postmaster.pid below `dir` names.
    pidfile = dir .. "/run/postmaster.pid",
    server_idle_timeout = 0,
    query_wait_timeout = 20,
    -- what a fresh libpq sends that PgBouncer does not know
    ignore_startup_parameters = "extra_float_digits",
  }
  for name, value in pairs(options.settings or {}) do settings[name] = value end
  local lines = {
    "[databases]",
    ("* = host=%s port=%d"):format(server.socket_dir, server.port),
    "[pgbouncer]",
  }
  for name, value in pairs(settings) do lines[#lines + 1] = name .. " = " .. tostring(value) end
  return table.concat(lines, "\n") .. "\n"
end

--- The URL of a database behind the pooler.
function pooler:url(database)
  return ("postgresql://postgres@/%s?host=%s&port=%d&sslmode=disable"):format(
    database or self.server.database, self.dir, PORT)
end

--- Runs one of PgBouncer's own commands ("show pools", "reconnect") or SQL in another database.
function pooler:psql(sql, database)
  return self.server:psql(sql, { host = self.dir, port = PORT, database = database or "pgbouncer" })
end

function pooler:log()
  return shell.read_file(self.dir .. "/pgbouncer.log") or ""
end

function pooler:stop()
  if not self.watchdog then return end
  watchdog.finish(self.watchdog, self.dir, "smart") -- SIGTERM: PgBouncer's immediate shutdown
  self.watchdog = nil
end

--- Options: pool_size (1), pool_mode ("transaction"), settings (more lines of pgbouncer.ini).
function M.start(server, options)
  options = options or {}
  local account = assert(host.account())
  local dir, watcher = host.make_dir(account, watchdog.start)
  assert(dir, watcher)
  local self = setmetatable({ server = server, dir = dir, port = PORT, watchdog = watcher }, pooler)
  shell.write_file(dir .. "/users.txt", '"postgres" ""\n')
  shell.write_file(dir .. "/pgbouncer.ini", configuration(server, dir, options))
  assert(shell.run("mkdir " .. shell.quote(dir .. "/run")))
  host.give(account, dir)
  watchdog.settle(dir)
  local program = M.program()
  if not program then
    self:stop()
    return nil, "pgbouncer is not installed (Debian: apt-get install pgbouncer)"
  end
  local started, message = shell.try("pgbouncer", host.as(account, "cd " .. shell.quote(dir) .. " && "
    .. host.CLEAN_ENV .. shell.line { program, "-d", "-q", dir .. "/pgbouncer.ini" }))
  -- The daemon's parent may be back before the socket is there.
  for _ = 1, started and 50 or 0 do
    started, message = self:psql("select 1", server.database)
    if started then break end
    shell.run("sleep 0.1")
  end
  if not started then
    message = message .. "\n" .. self:log()
    self:stop()
    return nil, message
  end
  return self
end

return M
