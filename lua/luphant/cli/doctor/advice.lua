-- cli/doctor/advice.lua - what the facts of a connection mean for whoever runs the application.
--
-- Pure: facts in (see facts.lua), a list of findings out, worst first. A finding has
--   level    "problem" (exit code 1), "warning" or "note"
--   id       a stable word, for scripts that read the JSON
--   text     what was found, in one sentence
--   advice   what to do about it; absent when there is nothing to do
-- One rule is one function; a rule looks only at what it needs and stays silent when it is unknown.
--
-- SPDX-License-Identifier: MIT

local advice = {}

local RANK = { problem = 1, warning = 2, note = 3 }

local rules = {}

local function rule(check) rules[#rules + 1] = check end

-------------------------------------------------------------------------- this build and its libpq

rule(function(facts, find)
  local can = facts.features
  if not can.require_auth then
    find("note", "no_require_auth", "This libpq cannot refuse weak password methods by itself (require_auth"
      .. " came with 16). luphant does: it gives no plain-text password to a server that has not proven"
      .. " itself.", 'For more, set channel_binding=require, or build luphant with libpq 16 or newer.')
  end
  if not can.sslrootcert_system then
    find("note", "no_system_roots", "This libpq cannot use the system's certificate authorities"
      .. " (sslrootcert=system came with 16).", "Name the bundle: sslrootcert=/etc/ssl/certs/ca-certificates.crt"
      .. " (Debian; other systems have it elsewhere).")
  end
  if not can.encrypted_cancel then
    find("note", "plain_cancel", "Cancel requests travel unencrypted with this libpq (encrypted ones came with"
      .. " 17). They carry a process number and a key that is good for nothing but cancelling.")
  end
  if not can.chunked_rows then
    find("note", "no_chunked_rows", "This libpq has no chunked rows (they came with 17); streams fetch rows"
      .. " one by one.")
  end
end)

--------------------------------------------------------------------------------- the surroundings

rule(function(facts, find)
  for _, variable in ipairs(facts.environment) do
    if variable.name == "PGPASSWORD" then
      find("warning", "pgpassword", "PGPASSWORD is set: other processes of this user can read it, and child"
        .. " processes inherit it.", "Use password_file, a pass file or a password function.")
    elseif variable.name == "PGCLIENTENCODING" and not variable.value:upper():find("^UTF%-?8$") then
      find("note", "client_encoding", "PGCLIENTENCODING is ignored: luphant always speaks UTF-8.")
    end
  end
end)

rule(function(facts, find)
  local file = facts.pass_file
  if file and file.exists and file.is_open then
    find("problem", "pass_file_open", ("The pass file %s is open to others (mode %s), so libpq ignores it.")
      :format(file.path, file.mode), "chmod 600 " .. file.path)
  elseif file and file.is_named and not file.exists then
    find("problem", "pass_file_missing", ("The pass file %s does not exist."):format(file.path),
      "Create it with mode 600, or do not name it.")
  end
end)

--------------------------------------------------------------------------------- the connection

local function is_remote(connection) return not connection.is_local end

rule(function(facts, find)
  local connection, tls = facts.connection, facts.tls
  if not connection or not tls then return end
  if is_remote(connection) and not tls.is_on then
    find("problem", "no_tls", "The connection to another machine is not encrypted.",
      "Set sslmode=verify-full and sslrootcert to the authority that signed the server's certificate.")
  elseif tls.is_on and tls.verified == "no" and is_remote(connection) then
    find("problem", "tls_unverified", ("The connection is encrypted, but nobody checked to whom"
      .. " (sslmode=%s): whoever sits in between can read it."):format(tls.sslmode),
      "Set sslmode=verify-full and sslrootcert to the authority that signed the server's certificate.")
  elseif tls.is_on and tls.verified == "ca" then
    find("warning", "tls_no_host_check", "The certificate was checked, but not its host name (sslmode=verify-ca):"
      .. " any server with a certificate of that authority is taken for yours.", "Set sslmode=verify-full.")
  end
  if tls.is_on and (tls.version == "TLSv1" or tls.version == "TLSv1.1") then
    find("problem", "old_tls", ("The server speaks %s only, which is broken."):format(tls.version),
      "Set ssl_min_protocol_version = 'TLSv1.2' on the server.")
  end
  if tls.is_on and facts.channel_binding ~= "require" and tls.verified ~= "full" then
    find("note", "channel_binding", "With channel_binding=require a server that does not know the password"
      .. " cannot pretend to be yours, even without certificate checks.",
      "Set channel_binding=require where users log in with SCRAM passwords and no pooler is in between.")
  end
end)

rule(function(facts, find)
  if facts.plaintext_password == "allow" then
    find("problem", "plaintext_password", 'plaintext_password = "allow" gives the password in plain text to any'
      .. " server that asks.", "Leave it out, and use scram-sha-256 on the server.")
  end
end)

rule(function(facts, find)
  local connection = facts.connection
  if connection and connection.pooler_between and facts.pooler ~= "transaction" then
    find("warning", "pooler", "A pooler stands between luphant and the server.",
      'If it pools transactions (PgBouncer: pool_mode = transaction), set pooler = "transaction".')
  end
end)

--------------------------------------------------------------------------------- role and server

rule(function(facts, find)
  local role = facts.role
  if not role then return end
  if role.superuser then
    find("problem", "superuser", ("The role %s is a superuser: a mistake or an injection can do anything,"
      .. " on the server's machine too."):format(role.name),
      "Let the application log in as a role that owns nothing and has only the grants it needs.")
    return -- the rest is contained in it
  end
  if role.bypassrls then
    find("problem", "bypassrls", ("Row-level security does not apply to the role %s."):format(role.name),
      ("alter role %s nobypassrls"):format(role.name))
  end
  if role.powers then
    find("problem", "powers", ("The role %s can take on roles that reach the server's machine: %s.")
      :format(role.name, role.powers), "Revoke them, or let the application log in as another role.")
  end
  for _, right in ipairs { "createrole", "replication", "createdb" } do
    if role[right] then
      find("warning", right, ("The role %s may %s."):format(role.name,
        ({ createrole = "create roles and grant itself more", replication = "copy the whole cluster",
           createdb = "create databases" })[right]), ("alter role %s no%s"):format(role.name, right))
    end
  end
  if role.public_create then
    find("warning", "public_create", "Everybody may create objects in the schema public, and so shadow"
      .. " functions that others call.", "revoke create on schema public from public")
  end
end)

-- Settings that lose data or lie about it, and those that let one mistake stop everybody.
local SETTINGS = {
  { "fsync", "off", "problem", "fsync is off: a crash of the server's machine can destroy the cluster.",
    "Turn it on, unless the data is worth nothing." },
  { "full_page_writes", "off", "problem", "full_page_writes is off: a crash can leave torn pages.",
    "Turn it on, unless the data is worth nothing." },
  { "synchronous_commit", "off", "warning",
    "synchronous_commit is off: the last commits before a crash are lost.", nil },
  { "standard_conforming_strings", "off", "problem",
    "standard_conforming_strings is off: a backslash in a literal is an escape.", "Turn it on." },
  { "server_encoding", "SQL_ASCII", "problem",
    "The database has the encoding SQL_ASCII: nothing checks or converts its texts.",
    "Move the data to a database made with encoding 'UTF8'." },
  { "password_encryption", "md5", "warning", "New passwords are stored as MD5, which is as good as plain text.",
    "Set password_encryption = 'scram-sha-256' and let users set their passwords again." },
  { "idle_in_transaction_session_timeout", "0", "note",
    "A session that forgets to end its transaction keeps its locks for ever.",
    "Set idle_in_transaction_session_timeout for the role, to some minutes." },
  { "lock_timeout", "0", "note", "A statement waits for locks without limit.",
    "Set lock_timeout for the role, at least in migrations." },
}

rule(function(facts, find)
  local settings = facts.settings
  if not settings then return end
  for _, entry in ipairs(SETTINGS) do
    if settings[entry[1]] == entry[2] then find(entry[3], entry[1], entry[4], entry[5]) end
  end
  if settings.statement_timeout == "0" and not facts.has_time_limit then
    find("note", "statement_timeout", "Statements may run without limit, on this side and on the server's.",
      "Give luphant timeout or statement_timeout.")
  end
  if facts.in_recovery then
    find("note", "standby", "The server is a standby: it only reads.",
      "Set target_session_attrs=read-write to be taken to the primary among several hosts.")
  end
end)

rule(function(facts, find)
  local used, limit = facts.sessions_used, facts.sessions_limit
  if used and limit and used >= limit * 0.8 then
    find("warning", "sessions", ("%d of the server's %d sessions are in use."):format(used, limit),
      "Smaller pools, or a pooler in front of the server.")
  end
end)

--- Findings for `facts`, worst first, otherwise in the order of the rules.
---@param facts table
---@return { level: string, id: string, text: string, advice: string? }[]
function advice.find(facts)
  local found = {}
  local function find(level, id, text, what_to_do)
    found[#found + 1] = { level = level, id = id, text = text, advice = what_to_do, order = #found }
  end
  for _, check in ipairs(rules) do check(facts, find) end
  table.sort(found, function(a, b)
    if a.level ~= b.level then return RANK[a.level] < RANK[b.level] end
    return a.order < b.order
  end)
  for _, finding in ipairs(found) do finding.order = nil end
  return found
end

return advice
