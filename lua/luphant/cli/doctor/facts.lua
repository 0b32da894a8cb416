-- cli/doctor/facts.lua - collects what the doctor looks at: this build, its surroundings, a server.
--
-- Facts only, no opinion (that is advice.lua). Values that may hold a secret are left out here
-- already, so that no output can show them. Runs read-only statements on the server.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"
local conninfo = require "luphant.conninfo"

local facts = {}

-- Read by libpq or by luphant itself, and no keyword of a connection string.
local MORE_VARIABLES = {
  "DATABASE_URL", "PGSERVICEFILE", "PGSYSCONFDIR", "PGLOCALEDIR", "PGDATESTYLE", "PGTZ", "PGGEQO",
}

local ROLE = [[
select current_user::text as name, current_database()::text as database, r.rolsuper as superuser,
       r.rolbypassrls as bypassrls, r.rolcreaterole as createrole, r.rolcreatedb as createdb,
       r.rolreplication as replication,
       (select string_agg(m.rolname, ', ' order by m.rolname) from pg_roles m
         where m.rolname <> current_user and pg_has_role(current_user, m.oid, 'member')
           and (m.rolsuper or m.rolname in ('pg_execute_server_program', 'pg_read_server_files',
                                            'pg_write_server_files'))) as powers,
       exists (select from pg_namespace n
                where n.nspname = 'public' and has_schema_privilege('public', n.oid, 'create')) as public_create,
       pg_backend_pid() as server_pid, pg_is_in_recovery() as in_recovery,
       (select count(*) from pg_stat_activity where backend_type = 'client backend')::int as sessions_used,
       (current_setting('max_connections')::int
         - current_setting('superuser_reserved_connections')::int) as sessions_limit
  from pg_roles r where r.rolname = current_user]]

local SETTINGS = "select n as name, current_setting(n, true) as value from unnest($1::text[]) n"

local SETTING_NAMES = {
  "server_version", "server_encoding", "TimeZone", "search_path", "default_transaction_isolation",
  "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "max_connections", "ssl",
  "password_encryption", "fsync", "full_page_writes", "synchronous_commit", "standard_conforming_strings",
}

--- Versions of everything on this side.
---@return { luphant: string, lua: string, libpq: string, openssl: string? }
function facts.versions()
  local luphant, core = require "luphant", require "luphant.core"
  local features = core.features()
  return {
    luphant = luphant.version, lua = compat.version, openssl = features.openssl,
    -- 150004 -> "15.4", as PostgreSQL itself writes it.
    libpq = ("%d.%d"):format(math.floor(features.libpq / 10000), features.libpq % 10000),
  }
end

-- The libpq keywords of this build by name, and what each comes to without a connection string.
local function keywords(core)
  local by_name = {}
  for _, option in ipairs(core.conninfo_keywords()) do by_name[option.keyword] = option end
  return by_name
end

local function is_secret(option) return option.dispchar == "*" or option.keyword:find("password", 1, true) end

local function environment(options, getenv)
  local list = {}
  local function add(name, may_show)
    local value = getenv(name)
    if value and value ~= "" then list[#list + 1] = { name = name, value = may_show and value or nil } end
  end
  for _, option in pairs(options) do
    if option.envvar then add(option.envvar, not is_secret(option)) end
  end
  for _, name in ipairs(MORE_VARIABLES) do add(name, name ~= "DATABASE_URL") end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

local function pass_file(core, params, getenv)
  local named = params.passfile or getenv("PGPASSFILE")
  local home = getenv("HOME")
  local path = named or (home and home .. "/.pgpass")
  if not path then return nil end
  local mode = core.file_mode(path)
  if not mode and not named then return nil end
  return {
    path = path, is_named = named ~= nil, exists = mode ~= nil,
    is_open = mode ~= nil and mode % 64 ~= 0, mode = mode and ("%04o"):format(mode % 4096),
  }
end

local function service(params, getenv)
  local name = params.service or getenv("PGSERVICE")
  if not name or name == "" then return nil end
  local file = getenv("PGSERVICEFILE") or "~/.pg_service.conf, or the system's pg_service.conf"
  return ("%s (from %s)"):format(name, file)
end

-- What a keyword comes to: the connection's own parameter, else libpq's environment and default.
local function effective(params, options, keyword)
  return params[keyword] or (options[keyword] and options[keyword].value) or nil
end

local function is_loopback(host)
  return host == nil or host == "" or host:find("^[/@]") ~= nil or host == "localhost" or host == "::1"
    or host:find("^127%.") ~= nil
end

-- The core says whether the certificate was accepted; only sslmode says whether its name was compared.
local function tls_facts(session_tls, params, options)
  local mode = effective(params, options, "sslmode")
  if not session_tls then return { is_on = false, sslmode = mode, verified = "no" } end
  return {
    is_on = true, version = session_tls.version, cipher = session_tls.cipher, sslmode = mode,
    verified = not session_tls.verified and "no" or mode == "verify-full" and "full" or "ca",
  }
end

local function connection_facts(conn, row, seconds)
  local to, backend_pid = conn:target(), conn:backend_pid()
  local is_socket = to.host and to.host:find("^[/@]")
  return {
    where = is_socket and to.host or ("%s:%s"):format(to.host or to.address, to.port),
    is_local = is_loopback(to.address or to.host),
    seconds = seconds, backend_pid = backend_pid,
    -- A pooler answers with a process number of its own making.
    pooler_between = backend_pid ~= row.server_pid,
  }
end

local function ask_server(conn, out, params, options, seconds)
  local row, err = conn:query_one(ROLE)
  if not row then return err end
  local settings
  settings, err = conn:query(SETTINGS, SETTING_NAMES)
  if not settings then return err end
  out.settings = {}
  for _, setting in ipairs(settings) do out.settings[setting.name] = setting.value end
  out.versions.server = out.settings.server_version
  out.role = {
    name = row.name, database = row.database, superuser = row.superuser, bypassrls = row.bypassrls,
    createrole = row.createrole, createdb = row.createdb, replication = row.replication, powers = row.powers,
    public_create = row.public_create,
  }
  out.in_recovery = row.in_recovery
  out.sessions_used, out.sessions_limit = row.sessions_used, row.sessions_limit
  out.connection = connection_facts(conn, row, seconds)
  out.tls = tls_facts(conn:tls(), params, options)
end

--- Everything the doctor knows. Failures to connect are a fact too: `error`.
---@param target string|nil
---@param connect_options table
---@param env luphant.cli.env
---@return table
function facts.gather(target, connect_options, env)
  local luphant, core = require "luphant", require "luphant.core"
  local options = keywords(core)
  local out = {
    versions = facts.versions(), features = core.features(),
    environment = environment(options, env.getenv),
  }
  local params, settings = conninfo.parse(target, connect_options, {
    conninfo_parse = core.conninfo_parse, conninfo_keywords = core.conninfo_keywords, file_mode = core.file_mode,
    getenv = env.getenv,
  })
  if not params then
    out.error = settings
    return out
  end
  out.target = conninfo.describe(params)
  out.pass_file, out.service = pass_file(core, params, env.getenv), service(params, env.getenv)
  out.channel_binding = effective(params, options, "channel_binding")
  out.plaintext_password, out.pooler = settings.plaintext_password, settings.pooler
  out.has_time_limit = settings.timeout ~= nil or settings.statement_timeout ~= nil
  local began = core.now()
  local conn, err = luphant.connect(target, connect_options)
  if not conn then
    out.error = err
    return out
  end
  out.is_reached = true
  out.error = ask_server(conn, out, params, options, core.now() - began)
  conn:close()
  return out
end

return facts
