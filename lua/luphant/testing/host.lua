-- luphant.testing.host - what the test server must know about the machine it runs on.
--
-- Where the server programs are, which account may run them (PostgreSQL refuses root), and a temporary
-- directory that account can use. Only looks and makes the directory; starts nothing.
--
-- SPDX-License-Identifier: MIT
local shell = require "luphant.testing.shell"

local quote = shell.quote

local host = {}

-- The caller's own PostgreSQL settings must not lead our programs elsewhere.
host.CLEAN_ENV = "unset PGDATA PGHOST PGHOSTADDR PGPORT PGDATABASE PGUSER PGPASSWORD PGPASSFILE PGSERVICE "
  .. "PGSERVICEFILE PGOPTIONS PGAPPNAME PGSSLMODE PGSSLCERT PGSSLKEY PGSSLROOTCERT PGSSLCRL PGREQUIRESSL "
  .. "PGGSSENCMODE PGREQUIREAUTH PGCHANNELBINDING PGTARGETSESSIONATTRS PGCLIENTENCODING PGDATESTYLE PGTZ "
  .. "PGCONNECT_TIMEOUT; "

-- Lines of a shell script; each printed path is tried in this order.
local PLACES = [[
printf '%s\n' "$LUPHANT_PG_BIN"
pg_config --bindir
ls -d /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /opt/homebrew/opt/postgresql@*/bin | sort -t/ -k4 -Vr
command -v initdb | sed 's|/[^/]*$||'
printf '%s\n' /usr/local/pgsql/bin /usr/local/bin /opt/homebrew/bin
]]

local INSTALL = "Install the PostgreSQL server (Debian, Ubuntu: apt-get install postgresql; Fedora: dnf install "
  .. "postgresql-server; macOS: brew install postgresql), or set LUPHANT_PG_BIN to the directory of initdb."

local function version_of(bin_dir)
  local output = shell.run(quote(bin_dir .. "/postgres") .. " --version")
  return output and output:match("(%d+)%.?%d*")
end

--- The directory of initdb and postgres.
---@param bin_dir? string only look here
---@param version? string|number only take this major version
---@return string?
---@return string? message
function host.find_server(bin_dir, version)
  local places = bin_dir or shell.run("{ " .. PLACES .. "} 2>/dev/null; true")
  for place in places:gmatch("[^\n]+") do
    if shell.is_file(place .. "/initdb") and shell.is_file(place .. "/postgres")
      and (version == nil or version_of(place) == tostring(version)) then
      return place
    end
  end
  local wanted = version and " " .. version or ""
  return nil, ("no PostgreSQL%s server programs (initdb, postgres) found in: %s. %s"):format(
    wanted, (places:gsub("%s+", " ")), INSTALL)
end

---@class luphant.testing.Account
---@field name? string nil: whoever we are
---@field wrap? string shell words before `sh -c <script>`

-- Ways to become another user, best first: the first two make no session and ask nothing.
local TOOLS = {
  { "setpriv", "setpriv --reuid=%s --regid=%s --clear-groups -- sh -c " },
  { "runuser", "runuser -u %s -- sh -c " },
  { "su", "su -s /bin/sh %s -c " },
}

--- Who runs the server: ourselves, or an unprivileged account when we are root.
---@return luphant.testing.Account?
---@return string? message
function host.account()
  if shell.run("id -u") ~= "0" then
    return {}
  end
  for _, name in ipairs { "postgres", "nobody" } do
    if shell.run("id -u " .. name) then
      local group = shell.run("id -gn " .. name)
      for _, tool in ipairs(TOOLS) do
        if shell.run("command -v " .. tool[1]) then
          return { name = name, wrap = tool[2]:format(name, group) }
        end
      end
      return nil, "PostgreSQL does not run as root, and none of setpriv, runuser, su is there to become " .. name
    end
  end
  return nil, "PostgreSQL does not run as root, and there is no account postgres or nobody to run it as"
end

--- A command line that runs `script` as the account.
---@param account luphant.testing.Account
---@param script string
---@return string
function host.as(account, script)
  return account.wrap and account.wrap .. quote(script) or script
end

--- Makes a file or a whole directory the account's own.
---@param account luphant.testing.Account
---@param path string
function host.give(account, path)
  if account.name then
    assert(shell.try("chown", "chown -R " .. shell.line { account.name, path }))
  end
end

-- 107 bytes is what a Unix socket's path may have on Linux (103 on macOS); "/.s.PGSQL.65535" takes 15.
local LONGEST_DIR = 88

--- A new private directory that the account can reach and write.
---@param account luphant.testing.Account
---@param watch fun(dir: string): userdata called with the name before the directory is made, so that at no moment
--- one exists that nobody would remove
---@return string? dir
---@return userdata|string watcher_or_message
function host.make_dir(account, watch)
  local reasons = {}
  for _, base in ipairs { os.getenv("TMPDIR") or "/tmp", "/tmp" } do
    local dir = ("%s/luphant-pg.%s"):format(base, shell.random_hex(6))
    if #dir > LONGEST_DIR then
      reasons[#reasons + 1] = base .. " is too long a path for a Unix socket"
    else
      local watcher = watch(dir)
      local made, message = shell.try("mkdir", "mkdir -m 700 " .. quote(dir))
      if made then
        host.give(account, dir)
        if shell.run(host.as(account, "test -w " .. quote(dir))) then
          return dir, watcher
        end
        message = ("%s is not within reach of user %s"):format(base, account.name or "")
      end
      reasons[#reasons + 1] = message
      shell.run("rmdir " .. quote(dir))
      watcher:close()
    end
  end
  return nil, "no temporary directory for the server: " .. table.concat(reasons, "; ")
end

return host
