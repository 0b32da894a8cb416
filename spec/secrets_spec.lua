-- No password ever shows: not in an error, not in tostring, not in what a dumper finds in an error or a
-- connection, not in a traceback, however the connecting fails and however the password was written.
--
-- To see it fail: put the target into the message of a refused connection string.
--
-- SPDX-License-Identifier: MIT

local liar = require "spec.support.liar"
local luphant = require "luphant"
local probe = require "spec.support.probe"
local server = require "luphant.testing.server"
local shell = require "luphant.testing.shell"

-- Signs that a URL must escape, and a part that stays recognisable however it is quoted or cut.
local CANARY = "CANARY-7c2f"
local AWKWARD = CANARY .. "%/:@ ?'\\#"

local function percent(text)
  return (text:gsub("[^%w]", function(c) return ("%%%02X"):format(c:byte()) end))
end

-- Everything that can be reached from a value: keys, fields, metatables, and its text.
local function dump(value, seen, out)
  out[#out + 1] = tostring(value)
  if type(value) ~= "table" or seen[value] then return out end
  seen[value] = true
  for key, item in pairs(value) do
    dump(key, seen, out)
    dump(item, seen, out)
  end
  return out
end

local function assert_hidden(value)
  local text = table.concat(dump(value, {}, {}), "\n")
  local at = text:find(CANARY, 1, true) or text:find(percent(CANARY), 1, true)
  assert.is_nil(at, at and "the password is in: " .. text:sub(math.max(1, at - 100), at + 60))
  return text
end

-- Calls that may raise (misuse) or answer nil, err: what they say either way.
local function outcome(target, options)
  local ok, value, err = xpcall(function() return luphant.connect(target, options) end, debug.traceback)
  assert(not ok or value == nil, "this was to fail")
  return ok and err or value
end

describe("a password", function()
  local pg, dead

  setup(function()
    pg = assert(server.start { tcp = true })
    assert(pg:psql("create role app login password 'something else'"))
    dead = probe.closed_port()
  end)

  teardown(function() pg:stop() end)

  describe("stays hidden when a connection fails that was written as", function()
    -- name -> function(host, port): target, options
    local FORMS = {
      ["a URL"] = function(port) return ("postgres://app:%s@127.0.0.1:%d/postgres"):format(percent(AWKWARD), port) end,
      ["a URL, the password in its query"] = function(port)
        return ("postgres://app@127.0.0.1:%d/postgres?password=%s"):format(port, percent(AWKWARD))
      end,
      ["a keyword string"] = function(port)
        return ("host=127.0.0.1 port=%d user=app dbname=postgres password='%s'"):format(port,
          (AWKWARD:gsub("[\\']", "\\%0")))
      end,
      ["a table"] = function(port)
        return { host = "127.0.0.1", port = port, user = "app", dbname = "postgres", password = AWKWARD }
      end,
      ["a URL in a table"] = function(port)
        return { url = ("postgres://app:%s@127.0.0.1:%d/postgres"):format(percent(AWKWARD), port) }
      end,
      ["a function"] = function(port)
        return { host = "127.0.0.1", port = port, user = "app", password = function() return AWKWARD end }
      end,
      ["a URL and a password in the options"] = function(port)
        return ("postgres://app@127.0.0.1:%d/postgres"):format(port), { password = AWKWARD }
      end,
    }
    for name, form in pairs(FORMS) do
      it(name, function()
        local refused = outcome(form(dead))
        assert.equal("refused", refused.kind)
        assert_hidden(refused)
        local wrong = outcome(form(pg.port))
        assert.equal("28P01", wrong.sqlstate, tostring(wrong))
        assert_hidden(wrong)
      end)
    end
  end)

  it("stays hidden in a password file", function()
    local path = pg.dir .. "/canary"
    shell.write_file(path, AWKWARD .. "\n")
    assert(shell.run("chmod 600 " .. shell.quote(path)))
    local given = { host = "127.0.0.1", port = pg.port, user = "app", password_file = path }
    assert.equal("28P01", assert_hidden(outcome(given)) and outcome(given).sqlstate)
    shell.write_file(path, AWKWARD .. "\0" .. AWKWARD)
    assert_hidden(outcome(given))
    assert(shell.run("chmod 666 " .. shell.quote(path)))
    assert_hidden(outcome(given))
  end)

  it("stays hidden in a DATABASE_URL that is broken", function()
    for _, url in ipairs { "postgres://app:" .. CANARY .. "@[::1/db", "postgres://app:" .. CANARY .. "%zz@h/db",
      "postgres://app:" .. CANARY .. "@h/db?nonsense=1" } do
      local printed = probe.script({ DATABASE_URL = url }, [[print(select(2, require("luphant").connect()))]])
      assert.matches("config", printed, 1, true)
      assert_hidden(printed)
    end
  end)

  describe("stays hidden in what cannot be read:", function()
    local BROKEN = {
      "postgres://app:" .. CANARY .. "@[::1/db",
      "postgres://app:" .. CANARY .. "%zz@host/db",
      "postgres://app:" .. CANARY .. "%00@host/db",
      "postgres://app:" .. CANARY .. "@host:port/db",
      "postgres://app:" .. CANARY .. "/slash@host/db",
      "postgres://app:" .. CANARY .. "?question@host/db",
      "postgres://app:" .. CANARY .. "#hash@host/db",
      "postgres://app:" .. CANARY .. "@" .. CANARY .. "@host/db",
      "postgres://app:" .. CANARY .. "@host/db?sslmode=" .. CANARY,
      "postgres://app:" .. CANARY .. "@host/db?nosuchkey=1",
      "postgres://app:" .. CANARY .. "@host/db?password",
      "postgres://app@host/db?pasword=" .. CANARY,
      "mysql://app:" .. CANARY .. "@host/db",
      "postgres:/app:" .. CANARY .. "@host/db",
      "//app:" .. CANARY .. "@host/db",
      CANARY,
      "host=h password=" .. CANARY .. " " .. CANARY,
      "host=h password='" .. CANARY,
      "host=h password=it's " .. CANARY .. " port=1",
      "host=h pasword=" .. CANARY,
      "host=h password = ",
      "password=" .. CANARY .. " port=nonsense",
      "password=" .. CANARY .. " sslmode=nonsense",
      "password=" .. CANARY .. " connect_timeout=soon",
    }
    for _, text in ipairs(BROKEN) do
      it((text:gsub(CANARY, "***")), function()
        for _, options in ipairs { {}, { password = CANARY } } do
          -- Those that libpq can read after all must fail to connect: nothing listens there.
          assert_hidden(outcome(text, { port = dead, hostaddr = "127.0.0.1", password = options.password }))
        end
        assert_hidden(outcome { url = text, hostaddr = "127.0.0.1", port = dead })
      end)
    end
  end)

  it("stays hidden in options that are misuse", function()
    for _, options in ipairs {
      { password = AWKWARD, connect_timeout = "soon" }, { password = AWKWARD, nonsense = true },
      { password = { AWKWARD } }, { pasword = AWKWARD }, { password = AWKWARD, password_file = "/etc/passwd" },
      { password = AWKWARD .. "\0" }, { password = AWKWARD, sslmode = AWKWARD }, { password = AWKWARD, port = 0 },
    } do
      options.host = "127.0.0.1"
      assert_hidden(outcome(options))
    end
  end)

  it("stays hidden when the server repeats it", function()
    -- What a hostile or careless server can do: put it into every text it sends.
    local echo = assert(liar.start { { "startup" },
      { "send", liar.authentication(3) }, { "read" },
      { "send", liar.failure { S = "FATAL", V = "FATAL", C = "28P01", M = "wrong password: " .. CANARY,
        D = "you said " .. CANARY, H = "not " .. CANARY } } })
    local err = outcome { host = "127.0.0.1", port = echo.port, user = "app", password = CANARY, sslmode = "disable",
      plaintext_password = "allow" }
    local sent = echo:received():find(CANARY, 1, true)
    echo:stop()
    assert.is_truthy(sent)
    assert_hidden(err)
  end)

  it("stays hidden in an open connection, and in the errors of its statements", function()
    local conn = assert(luphant.connect { host = "127.0.0.1", port = pg.port, user = "app", dbname = "postgres",
      password = "something else" })
    local _, err = conn:query("select 1/0")
    assert.equal("22012", err.sqlstate)
    for _, value in ipairs { conn, err, getmetatable(conn) or {} } do
      local text = table.concat(dump(value, {}, {}), "\n")
      assert.is_nil(text:find("something else", 1, true))
    end
    conn:close()
  end)

  it("stays hidden in the SQL that sets one", function()
    local conn = assert(luphant.connect(pg:url()))
    local _, err = conn:execute("alter role nobody_such password '" .. CANARY .. "'")
    assert.equal("42704", err.sqlstate)
    assert.is_nil(tostring(err):find(CANARY, 1, true))
    probe.usable(conn)
    conn:close()
  end)
end)
