local report = require "luphant.cli.doctor.report"
local style = require "luphant.cli.style"
local errors = require "luphant.errors"

local function env(is_terminal, variables)
  return {
    getenv = function(name) return (variables or {})[name] end,
    is_terminal = function() return is_terminal end,
  }
end

local plain = style.new(env(false))

local function facts()
  return {
    versions = { luphant = "0.1.0", lua = "Lua 5.4", libpq = "15.4", openssl = "OpenSSL 3.0.2", server = "16.1" },
    environment = { { name = "PGHOST", value = "db" }, { name = "PGPASSWORD" } },
    target = "host=db",
    pass_file = { path = "/p", exists = true, is_open = true, mode = "0644" },
    connection = { where = "db:5432", seconds = 0.0123, backend_pid = 99 },
    tls = { is_on = true, version = "TLSv1.3", cipher = "TLS_X", verified = "full", sslmode = "verify-full" },
    role = { name = "app", database = "shop", superuser = true },
    settings = { TimeZone = "UTC", search_path = '"$user", public' },
  }
end

describe("doctor's report", function()
  it("shows what is there and hides what may be secret", function()
    local text = report.text(facts(), {}, plain)
    for _, piece in ipairs {
      "luphant     0.1.0", "server      16.1", "PGHOST=db PGPASSWORD (hidden)",
      "/p (ignored: open to others, mode 0644)",
      "db:5432 in 12 ms, backend process 99",
      "TLSv1.3, TLS_X, certificate and host name verified (sslmode=verify-full)",
      "app, superuser", "shop", "TimeZone=UTC", [[search_path='"$user", public']],
    } do assert.is_truthy(text:find(piece, 1, true), piece .. "\n" .. text) end
    assert.matches("\n0 problems, 0 warnings, 0 notes\n$", text)
  end)

  it("puts the worst finding last, where the eye is, with its advice", function()
    local text = report.text(facts(), {
      { level = "problem", id = "a", text = "It burns.", advice = "Put it out." },
      { level = "note", id = "b", text = "It is warm." },
    }, plain)
    assert.matches("It is warm%..*It burns%.\n +%-> Put it out%.\n1 problem, 0 warnings, 1 note\n$", text)
  end)

  it("ends with the reason when there was no connection", function()
    local f = facts()
    f.connection, f.tls, f.role, f.settings = nil, nil, nil, nil
    f.error = errors.new("refused", "connection refused", { hint = "Is it running?" })
    local text = report.text(f, {}, plain)
    assert.matches("refused: connection refused\n    hint: Is it running%?\ncannot connect; 0 problems", text)
  end)

  it("does not call a server unreachable that took us and then would not answer", function()
    local f = facts()
    f.is_reached, f.error = true, errors.new("insufficient_privilege", "permission denied")
    local text = report.text(f, {}, plain)
    assert.matches("Cannot look at the server\n  insufficient_privilege: permission denied", text)
    assert.not_matches("[Cc]annot connect", text)
  end)

  it("wraps long findings behind their margin", function()
    local text = report.text(facts(), { { level = "note", id = "x", text = ("word "):rep(60) } }, plain)
    for line in text:gmatch("[^\n]+") do assert.is_true(#line <= 100, line) end
    assert.matches("\n              word", text)
  end)
end)

describe("cli style", function()
  local function is_coloured(paint) return paint.red("x") ~= "x" end

  it("colours terminals only, and none for NO_COLOR, dumb terminals and --no-color", function()
    assert.is_true(is_coloured(style.new(env(true))))
    assert.is_false(is_coloured(style.new(env(false))))
    assert.is_false(is_coloured(style.new(env(true, { NO_COLOR = "1" }))))
    assert.is_true(is_coloured(style.new(env(true, { NO_COLOR = "" }))))
    assert.is_false(is_coloured(style.new(env(true, { TERM = "dumb" }))))
    assert.is_false(is_coloured(style.new(env(true), true)))
    assert.equal("\27[31mx\27[0m", style.new(env(true)).red("x"))
  end)

  it("does not ask about the terminal when the answer is no anyway", function()
    local asked = false
    local e = env(true, { NO_COLOR = "1" })
    e.is_terminal = function() asked = true end
    style.new(e)
    assert.is_false(asked)
  end)
end)
