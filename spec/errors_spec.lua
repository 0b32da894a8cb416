local errors = require "luphant.errors"

local function lines(text)
  local out = {}
  for line in (text .. "\n"):gmatch("([^\n]*)\n") do out[#out + 1] = line end
  return out
end

describe("an error object", function()
  local violation

  before_each(function()
    -- As the core makes it: a plain table of fields under the metatable.
    violation = setmetatable({
      kind = "unique_violation", class = "constraint", sqlstate = "23505", sent = "yes", retryable = false,
      message = 'duplicate key value violates unique constraint "users_email_key"',
      detail = "Key (email)=(a@b.c) already exists.", constraint = "users_email_key",
    }, errors.metatable)
  end)

  it("reads alone in a log", function()
    assert.same({
      'unique_violation (23505): duplicate key value violates unique constraint "users_email_key"',
      "  detail: Key (email)=(a@b.c) already exists.",
    }, lines(tostring(violation)))
  end)

  it("shows the SQL line with a caret at the position", function()
    local err = errors.new("undefined_table", 'relation "usres" does not exist', {
      sqlstate = "42P01", query = "select id\n  from usres\n where id = $1", position = 18, hint = "Look again.",
    })
    assert.same({
      'undefined_table (42P01): relation "usres" does not exist',
      "  hint: Look again.",
      "  LINE 2:   from usres",
      "                 ^",
    }, lines(tostring(err)))
  end)

  it("shows the beginning of the query when there is no position", function()
    violation.query = "insert into users\n       (email) values ($1)"
    assert.equal("  query: insert into users (email) values ($1)", lines(tostring(violation))[3])
    violation.query = ("é"):rep(500)
    local shown = lines(tostring(violation))[3]
    assert.matches("é %.%.%.$", shown) -- cut between characters
    assert.is_true(#shown < 230)
  end)

  it("shows the query inside a function where the server stumbled, and the context", function()
    local err = errors.new("undefined_column", 'column "y" does not exist', {
      query = "select f()", internal_query = "select y", internal_position = 8,
      context = "PL/pgSQL function f() line 3 at SQL statement\nSQL statement",
    })
    assert.same({
      'undefined_column: column "y" does not exist',
      "  query: select f()",
      "  LINE 1: select y",
      "                 ^",
      "  context: PL/pgSQL function f() line 3 at SQL statement",
      "           SQL statement",
    }, lines(tostring(err)))
  end)

  it("says when the server may have run the statement, and on which session", function()
    local text = tostring(errors.new("closed", "server closed the connection", {
      sent = "maybe", host = "db1", port = 5432.0, dbname = "shop", user = "app", backend_pid = 77.0,
    }))
    assert.matches("sent: maybe %(no answer came back", text)
    assert.matches("session: host=db1 port=5432 dbname=shop user=app backend_pid=77", text)
  end)

  it("lists the attempts of a failed connect", function()
    local err = errors.new("refused", "no server of 2 took us", { attempts = {
      { host = "a", address = "10.0.0.1", port = "5432", message = "connection refused" },
      { host = "b", port = 5433, message = "timed out\nin the TLS handshake" },
    } })
    assert.same({
      "refused: no server of 2 took us",
      "  attempts:",
      "    1. a:5432 (10.0.0.1): connection refused",
      "    2. b:5433: timed out",
      "       in the TLS handshake",
    }, lines(tostring(err)))
  end)

  it("tells the chain of causes, whatever they are", function()
    local inner = errors.new("closed", "gone", { cause = "ECONNRESET" })
    local text = tostring(errors.new("commit_unknown", "lost during COMMIT", { cause = inner }))
    assert.same({
      "commit_unknown: lost during COMMIT", "  cause: closed: gone", "    cause: ECONNRESET",
    }, lines(text))
  end)

  it("does not follow a circle of causes for ever", function()
    local a = errors.new("closed", "a")
    local b = errors.new("closed", "b", { cause = a })
    a.cause = b
    assert.matches("more causes are not shown", tostring(a))
  end)

  it("is complete with no more than a kind and a message", function()
    local err = setmetatable({ kind = "connect_timeout", message = "timed out\n" }, errors.metatable)
    assert.equal("connect_timeout: timed out", tostring(err))
    assert.equal("connection", err.class)
    assert.is_true(err.retryable)
  end)

  it("has a text even when it holds nothing", function()
    assert.equal("unknown: no message was given", tostring(setmetatable({}, errors.metatable)))
    assert.equal("query", setmetatable({}, errors.metatable).class)
  end)

  it("joins with strings on either side", function()
    local err = errors.new("closed", "gone")
    assert.equal("x: closed: gone", "x: " .. err)
    assert.equal("closed: gone!", err .. "!")
    assert.equal("closed: goneclosed: gone", err .. err)
  end)

  it("hides the literal of a password statement but keeps the caret true", function()
    local query = "alter role app password 'hunter2' frm"
    local text = tostring(errors.new("syntax_error", "at or near", { query = query, position = 35 }))
    assert.not_matches("hunter2", text)
    local shown = lines(text)
    assert.equal("frm", shown[2]:sub(#shown[3], #shown[3] + 2))
    assert.not_matches("hunter2", tostring(errors.new("x", "y", { query = query })))
  end)
end)

describe("err:is", function()
  local err = errors.new("serialization_failure", "m", { sqlstate = "40001", class = "transaction" })

  it("knows the kind, the class, the SQLSTATE and its group", function()
    for _, name in ipairs { "serialization_failure", "transaction", "40001", "40" } do
      assert.is_true(err:is(name))
    end
    assert.is_false(err:is("deadlock_detected"))
    assert.is_false(err:is("4000"))
    assert.is_false(err:is())
  end)

  it("takes several names for any of them", function()
    assert.is_true(err:is("deadlock_detected", "serialization_failure"))
    assert.is_false(err:is("deadlock_detected", "40P01"))
  end)

  it("is false for everything that is no error of ours", function()
    for _, value in ipairs { "closed", 1, {}, { kind = "closed" }, true } do
      assert.is_false(errors.is(value, "closed"))
      assert.is_false(errors.is_error(value))
    end
    assert.is_false(errors.is(nil, "closed"))
    assert.is_true(errors.is_error(err))
  end)
end)

describe("errors.new", function()
  it("takes class and retryable from the kind and says that nothing was sent", function()
    local err = errors.new("connect_timeout", "no connection within 5 s")
    assert.equal("connection", err.class)
    assert.is_true(err.retryable)
    assert.equal("no", err.sent)
    assert.is_false(errors.new("config", "x").retryable)
  end)

  it("lets given fields win and keeps no reference to them", function()
    local fields = { sent = "maybe", retryable = true, class = "query", host = "a" }
    local err = errors.new("closed", "x", fields)
    assert.same({ "maybe", true, "query", "a" }, { err.sent, err.retryable, err.class, err.host })
    assert.is_nil(fields.kind)
  end)

  it("keeps parameters out of sight until asked", function()
    local err = errors.new("unique_violation", "x")
    assert.is_nil(err:params())
    errors.capture_params(err, { n = 2, "s3cret", nil })
    assert.equal("s3cret", err:params()[1])
    for _, value in pairs(err) do assert.is_not_table(value) end
    assert.not_matches("s3cret", tostring(err))
  end)
end)

describe("errors.kinds", function()
  it("lists each kind once with a class and a meaning", function()
    local classes = {
      connection = true, query = true, constraint = true, timeout = true, transaction = true, pool = true,
      usage = true,
    }
    local seen = {}
    for _, entry in ipairs(errors.kinds()) do
      assert.is_nil(seen[entry.kind])
      seen[entry.kind] = true
      assert.is_true(classes[entry.class])
      assert.is_true(#entry.meaning > 10)
      assert.equal(entry.class, errors.new(entry.kind, "x").class)
    end
    for _, kind in ipairs {
      "connect_timeout", "query_timeout", "tls_verify", "auth", "closed", "usage", "config",
      "no_rows", "too_many_rows", "commit_unknown",
    } do assert.is_true(seen[kind], kind) end
  end)

  it("gives a copy, which nobody can spoil", function()
    errors.kinds()[1].class = "spoilt"
    assert.not_equal("spoilt", errors.kinds()[1].class)
  end)
end)

describe("errors.redact", function()
  it("takes a secret out of every text of an error and its causes", function()
    local err = errors.new("auth", 'bad "hunter2"', {
      detail = "hunter2", hint = "hunter2", query = "select 'hunter2'",
      attempts = { { host = "a", message = "hunter2 refused" } },
      cause = errors.new("closed", "hunter2", { cause = "hunter2" }),
    })
    assert.equal(err, errors.redact(err, "hunter2"))
    assert.not_matches("hunter2", tostring(err))
    assert.not_matches("hunter2", err.query)
  end)

  it("does the same for a string, and nothing without a secret", function()
    assert.equal("a ********", errors.redact("a hunter2", "hunter2"))
    assert.equal("a hunter2", errors.redact("a hunter2", nil))
  end)
end)

describe("an error of the core", function()
  local built, core = pcall(require, "luphant.core")
  if not built then
    pending("needs luphant.core to be built")
    return
  end

  it("is one of ours, complete, and lists what was tried", function()
    core.set_error_metatable(errors.metatable)
    local waiter = require("luphant.wait").choose("poll")
    local conn = core.connection {}
    assert(conn:dial({ "host", "/nonexistent,/nowhere", "dbname", "x", "user", "y", "password", "hunter2" }, 5))
    local want, err
    repeat
      want, err = conn:step()
      if want and want ~= "done" then
        assert.is_string(waiter.wait(conn:fd(), want, waiter.now() + 10))
      end
    until not want or want == "done"
    assert.is_nil(want)
    err.attempts = conn:attempts()
    conn:close()
    assert.is_true(errors.is_error(err))
    assert.is_true(err:is("connection"))
    assert.equal("no", err.sent)
    assert.matches("1%. /nonexistent:%d+: .*\n    2%. /nowhere:%d+: ", tostring(err))
    assert.not_matches("hunter2", tostring(err))
  end)

  it("has the class and the retryability that the same kind has on the Lua side", function()
    -- Both come from kind.inc; a stale kinds.lua would show here.
    local conn = core.connection {}
    local _, err = conn:run(0, "select 1")
    assert.equal(errors.new(err.kind, "x").class, err.class)
  end)
end)
