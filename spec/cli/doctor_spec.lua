local core = require "luphant.core"
local env = require "spec.support.env"
local main = require "luphant.cli.main"
local pgbouncer = require "spec.support.pgbouncer"
local server = require "luphant.testing.server"

local function sink()
  local file = { text = "" }
  function file:write(...)
    self.text = self.text .. table.concat { ... }
    return self
  end
  return file
end

local function doctor(variables, ...)
  local outside = {
    out = sink(), err = sink(), is_terminal = function() return false end,
    getenv = function(name) return variables[name] end,
  }
  local code = main.run({ "doctor", ... }, outside)
  return code, outside.out.text, outside.err.text
end

local function report(variables, ...)
  local code, out, err = doctor(variables, "--json", ...)
  assert.equal("", err)
  return assert(core.json_decode(out)), code
end

local function finding(facts, id)
  for _, found in ipairs(facts.findings) do
    if found.id == id then return found end
  end
end

describe("luphant doctor", function()
  it("tells versions, connection, role and settings of a server it can reach", function()
    local facts = report({}, env.url())
    assert.matches("^%d+%.%d+", facts.versions.libpq)
    assert.matches("^%d+", facts.versions.server)
    assert.matches("OpenSSL", facts.versions.openssl)
    assert.matches("^Lua", facts.versions.lua)
    assert.equal("UTF8", facts.settings.server_encoding)
    assert.is_string(facts.role.name)
    assert.is_true(facts.connection.backend_pid > 0)
    assert.is_true(facts.connection.is_local)
    assert.is_false(facts.connection.pooler_between)
    assert.is_false(facts.tls.is_on)
    assert.is_true(facts.sessions_used >= 1)
    assert.is_nil(facts.error)
  end)

  it("finds that the superuser of the test server is one, and that it runs without fsync", function()
    local facts, code = report({}, env.url())
    assert.equal(1, code)
    assert.equal("problem", finding(facts, "superuser").level)
    assert.equal("problem", finding(facts, "fsync").level)
  end)

  it("says the same as text, with a last line that sums it up", function()
    local code, out = doctor({}, env.url())
    assert.equal(1, code)
    assert.matches("is a superuser", out)
    assert.matches("\n%d+ problems?, %d+ warnings?, %d+ notes?\n$", out)
    assert.not_matches("\27", out)
  end)

  it("answers 3 and the whole reason when nothing listens", function()
    local code, out = doctor({}, "host=/nonexistent dbname=x user=y")
    assert.equal(3, code)
    assert.matches("host=/nonexistent", out)
    assert.matches("Cannot connect", out)
    local facts = report({}, "host=/nonexistent dbname=x user=y")
    assert.is_string(facts.error.kind)
    assert.is_nil(facts.error.traceback)
    assert.is_nil(facts.connection)
  end)

  it("answers 2 when the URL makes no sense, without showing its password", function()
    local code, out = doctor({}, "postgres://u:hunter2@h?sslmod=x")
    assert.equal(2, code)
    assert.matches('did you mean "sslmode"', out)
    assert.not_matches("hunter2", out)
  end)

  it("names variables and hides the values of those that may be secret", function()
    local variables = {
      PGHOST = "db.example", PGPASSWORD = "hunter2", DATABASE_URL = "postgres://u:hunter2@/nowhere?host=/nonexistent",
      PGCLIENTENCODING = "LATIN1", UNRELATED = "x",
    }
    local _, out = doctor(variables, env.url())
    assert.matches("PGHOST=db.example", out)
    assert.matches("PGPASSWORD %(hidden%)", out)
    assert.matches("DATABASE_URL %(hidden%)", out)
    assert.not_matches("hunter2", out)
    assert.not_matches("UNRELATED", out)
    local facts = report(variables, env.url())
    assert.is_table(finding(facts, "pgpassword"))
    assert.is_table(finding(facts, "client_encoding"))
  end)

  it("finds a pass file that libpq will ignore", function()
    local path = os.tmpname()
    assert(os.execute("chmod 644 " .. path))
    local facts = report({ PGPASSFILE = path }, env.url())
    os.remove(path)
    assert.equal("problem", finding(facts, "pass_file_open").level)
    assert.equal("problem", finding(report({ PGPASSFILE = path }, env.url()), "pass_file_missing").level)
  end)

  it("names the gaps of the libpq at hand and no others", function()
    local major = math.floor(core.features().libpq / 10000)
    local facts = report({}, env.url())
    assert.equal(major < 16, finding(facts, "no_require_auth") ~= nil)
    assert.equal(major < 16, finding(facts, "no_system_roots") ~= nil)
    assert.equal(major < 17, finding(facts, "plain_cancel") ~= nil)
    assert.equal(major < 17, finding(facts, "no_chunked_rows") ~= nil)
  end)
end)

describe("luphant doctor with a server of its own", function()
  local pg

  setup(function()
    pg = assert(server.start { tls = true })
    assert(pg:psql [[
      create role app login;
      create role reader login;
      grant pg_read_server_files to reader;
      alter role reader createdb bypassrls;
    ]])
  end)

  teardown(function() pg:stop() end)

  it("tells a checked certificate and host name from encryption alone", function()
    local checked = report({}, pg:url { tcp = true, sslmode = "verify-full", sslrootcert = pg.certificates.ca })
    assert.equal("full", checked.tls.verified)
    assert.matches("^TLSv1%.[23]$", checked.tls.version)
    assert.is_string(checked.tls.cipher)
    assert.equal("ca",
      report({}, pg:url { tcp = true, sslmode = "verify-ca", sslrootcert = pg.certificates.ca }).tls.verified)
    local unchecked = report({}, pg:url { tcp = true, sslmode = "require" })
    assert.is_true(unchecked.tls.is_on)
    assert.equal("no", unchecked.tls.verified)
    assert.is_table(finding(unchecked, "channel_binding"))
  end)

  it("has nothing to say about a role that is as it should be", function()
    local facts = report({}, pg:url { user = "app" })
    assert.equal("app", facts.role.name)
    assert.is_false(facts.role.superuser)
    for _, id in ipairs { "superuser", "bypassrls", "powers", "createrole", "createdb", "replication" } do
      assert.is_nil(finding(facts, id))
    end
  end)

  it("finds the powers a role has by itself and through others", function()
    local facts, code = report({}, pg:url { user = "reader" })
    assert.equal(1, code)
    assert.equal("problem", finding(facts, "bypassrls").level)
    assert.equal("warning", finding(facts, "createdb").level)
    assert.matches("pg_read_server_files", finding(facts, "powers").text)
  end)

  if pgbouncer.is_installed() then
    it("sees a pooler in between", function()
      local pooler = assert(pgbouncer.start(pg, { pool_mode = "session" }))
      local facts = report({}, pooler:url())
      pooler:stop()
      assert.is_nil(facts.error)
      assert.is_true(facts.connection.pooler_between)
      assert.is_table(finding(facts, "pooler"))
    end)
  end
end)
