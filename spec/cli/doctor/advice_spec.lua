local advice = require "luphant.cli.doctor.advice"

-- A deployment with nothing to say about it; each test spoils one thing.
local function healthy()
  return {
    features = { require_auth = true, sslrootcert_system = true, encrypted_cancel = true, chunked_rows = true },
    environment = {},
    connection = { is_local = false, pooler_between = false },
    tls = { is_on = true, version = "TLSv1.3", verified = "full", sslmode = "verify-full" },
    channel_binding = "prefer",
    plaintext_password = "verified",
    pooler = "session",
    has_time_limit = true,
    role = { name = "app" },
    settings = {
      fsync = "on", full_page_writes = "on", synchronous_commit = "on", standard_conforming_strings = "on",
      server_encoding = "UTF8", password_encryption = "scram-sha-256", statement_timeout = "0", lock_timeout = "5s",
      idle_in_transaction_session_timeout = "1min",
    },
    sessions_used = 10, sessions_limit = 100,
  }
end

local facts

before_each(function() facts = healthy() end)

-- "level id" of each finding, in order.
local function found()
  local out = {}
  for i, finding in ipairs(advice.find(facts)) do out[i] = finding.level .. " " .. finding.id end
  return out
end

describe("doctor's advice", function()
  it("is silent when nothing is wrong", function()
    assert.same({}, found())
  end)

  it("is silent about what is not known, such as the server that was not reached", function()
    facts.connection, facts.tls, facts.role, facts.settings, facts.sessions_used = nil, nil, nil, nil, nil
    assert.same({}, found())
  end)

  it("names each gap of an old libpq", function()
    for feature, id in pairs {
      require_auth = "no_require_auth", sslrootcert_system = "no_system_roots", encrypted_cancel = "plain_cancel",
      chunked_rows = "no_chunked_rows",
    } do
      facts = healthy()
      facts.features[feature] = false
      assert.same({ "note " .. id }, found())
    end
  end)

  it("calls an unencrypted way to another machine a problem, and to this one none", function()
    facts.tls = { is_on = false, sslmode = "prefer", verified = "no" }
    assert.same({ "problem no_tls" }, found())
    facts.connection.is_local = true
    assert.same({}, found())
  end)

  it("calls encryption to nobody in particular a problem and advises channel binding", function()
    facts.tls.verified, facts.tls.sslmode = "no", "require"
    assert.same({ "problem tls_unverified", "note channel_binding" }, found())
    facts.channel_binding = "require"
    assert.same({ "problem tls_unverified" }, found())
  end)

  it("warns when only the authority was checked", function()
    facts.tls.verified, facts.channel_binding = "ca", "require"
    assert.same({ "warning tls_no_host_check" }, found())
  end)

  it("knows the TLS versions that are broken", function()
    for version, is_broken in pairs { TLSv1 = true, ["TLSv1.1"] = true, ["TLSv1.2"] = false, ["TLSv1.3"] = false } do
      facts.tls.version = version
      assert.same(is_broken and { "problem old_tls" } or {}, found())
    end
  end)

  it("calls giving away plain-text passwords a problem", function()
    facts.plaintext_password = "allow"
    assert.same({ "problem plaintext_password" }, found())
  end)

  it("sees a pooler in between unless luphant was told", function()
    facts.connection.pooler_between = true
    assert.same({ "warning pooler" }, found())
    facts.pooler = "transaction"
    assert.same({}, found())
  end)

  it("warns of PGPASSWORD and of an encoding that is ignored", function()
    facts.environment = { { name = "PGPASSWORD" }, { name = "PGCLIENTENCODING", value = "LATIN1" } }
    assert.same({ "warning pgpassword", "note client_encoding" }, found())
    facts.environment = { { name = "PGCLIENTENCODING", value = "utf-8" }, { name = "PGHOST", value = "x" } }
    assert.same({}, found())
  end)

  it("finds a pass file that libpq will not read", function()
    facts.pass_file = { path = "/p", exists = true, is_open = true, mode = "0644" }
    assert.same({ "problem pass_file_open" }, found())
    assert.equal("chmod 600 /p", advice.find(facts)[1].advice)
    facts.pass_file = { path = "/p", exists = false, is_named = true }
    assert.same({ "problem pass_file_missing" }, found())
    facts.pass_file = { path = "/p", exists = false, is_named = false }
    assert.same({}, found())
  end)

  it("judges the role, and says no more than superuser of a superuser", function()
    facts.role = { name = "app", superuser = true, bypassrls = true, createdb = true, powers = "pg_x" }
    assert.same({ "problem superuser" }, found())
    facts.role.superuser = false
    assert.same({ "problem bypassrls", "problem powers", "warning createdb" }, found())
    facts.role = { name = "app", createrole = true, replication = true, public_create = true }
    assert.same({ "warning createrole", "warning replication", "warning public_create" }, found())
  end)

  it("judges settings that lose data or stop everybody", function()
    for name, case in pairs {
      fsync = { "off", "problem" }, full_page_writes = { "off", "problem" },
      synchronous_commit = { "off", "warning" }, standard_conforming_strings = { "off", "problem" },
      server_encoding = { "SQL_ASCII", "problem" }, password_encryption = { "md5", "warning" },
      idle_in_transaction_session_timeout = { "0", "note" }, lock_timeout = { "0", "note" },
    } do
      facts = healthy()
      facts.settings[name] = case[1]
      assert.same({ case[2] .. " " .. name }, found())
    end
  end)

  it("wants a time limit on one side at least", function()
    facts.has_time_limit = false
    assert.same({ "note statement_timeout" }, found())
    facts.settings.statement_timeout = "30s"
    assert.same({}, found())
  end)

  it("notes a standby, and warns when sessions run out", function()
    facts.in_recovery = true
    facts.sessions_used = 80
    assert.same({ "warning sessions", "note standby" }, found())
  end)

  it("puts problems first, then warnings, then notes", function()
    facts.features.require_auth = false
    facts.settings.synchronous_commit = "off"
    facts.settings.fsync = "off"
    assert.same({ "problem fsync", "warning synchronous_commit", "note no_require_auth" }, found())
  end)

  it("never leaves a problem without advice", function()
    facts.role.superuser, facts.tls.verified, facts.settings.fsync = true, "no", "off"
    facts.settings.server_encoding, facts.plaintext_password = "SQL_ASCII", "allow"
    for _, finding in ipairs(advice.find(facts)) do
      if finding.level == "problem" then assert.is_string(finding.advice) end
    end
  end)
end)
