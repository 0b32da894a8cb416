local env = require "spec.support.env"
local main = require "luphant.cli.main"
local core = require "luphant.core"

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
