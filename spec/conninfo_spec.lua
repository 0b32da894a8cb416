local conninfo = require "luphant.conninfo"
local errors = require "luphant.errors"
local settings = require "luphant.settings"

-- libpq's keywords as version 15 has them (those that matter here), and a parser of both string forms
-- that is good enough for well-formed strings. What the real one says is asked at the end of the file.
local KEYWORDS = {
  "service", "user", "password", "connect_timeout", "dbname", "host", "hostaddr", "port", "client_encoding",
  "options", "application_name", "fallback_application_name", "keepalives", "keepalives_idle",
  "keepalives_interval", "keepalives_count", "tcp_user_timeout", "sslmode", "sslrootcert", "sslsni",
  "channel_binding", "gssencmode", "target_session_attrs", "sslpassword", "passfile", "replication",
}
local ENVIRONMENT = { sslmode = "PGSSLMODE", gssencmode = "PGGSSENCMODE", host = "PGHOST" }

local function is_keyword(word)
  for _, known in ipairs(KEYWORDS) do
    if known == word then return true end
  end
end

local function decode(text)
  return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

local function parse_url(text)
  local out = {}
  local rest, query = text:match("^%a+://([^?]*)%??(.*)$")
  local authority, path = rest:match("^([^/]*)/?(.*)$")
  local login, address = authority:match("^([^@]*)@(.*)$")
  address = address or authority
  if login then
    local user, password = login:match("^([^:]*):?(.*)$")
    if user ~= "" then out.user = decode(user) end
    if password ~= "" then out.password = decode(password) end
  end
  local hosts, ports, has_port = {}, {}, false
  for one in address:gmatch("[^,]+") do
    local host, port = one:match("^([^:]*):?(.*)$")
    hosts[#hosts + 1], ports[#ports + 1] = decode(host), port
    has_port = has_port or port ~= ""
  end
  if #hosts > 0 then out.host = table.concat(hosts, ",") end
  if has_port then out.port = table.concat(ports, ",") end
  if path ~= "" then out.dbname = decode(path) end
  for key, value in query:gmatch("([^&=]+)=([^&]*)") do
    if not is_keyword(key) then return nil, ('invalid URI query parameter: "%s"\n'):format(key) end
    out[key] = decode(value)
  end
  return out
end

local function parse(text)
  if text:find("^postgres") and text:find("://", 1, true) then return parse_url(text) end
  local out = {}
  if not text:find("=", 1, true) and text:find("%S") then
    return nil, ('missing "=" after "%s" in connection info string\n'):format(text)
  end
  for key, value in text:gmatch("([%w_]+)%s*=%s*(%S*)") do
    if not is_keyword(key) then return nil, ('invalid connection option "%s"\n'):format(key) end
    out[key] = value:gsub("^'(.*)'$", "%1")
  end
  return out
end

local environment, files, facts

before_each(function()
  environment, files = {}, {}
  facts = {
    conninfo_parse = parse,
    conninfo_keywords = function()
      local out = {}
      for i, keyword in ipairs(KEYWORDS) do
        local variable = ENVIRONMENT[keyword]
        out[i] = { keyword = keyword, envvar = variable, value = variable and environment[variable] }
      end
      return out
    end,
    getenv = function(name) return environment[name] end,
    file_mode = function(path)
      if not files[path] then return nil, "No such file or directory" end
      return files[path].mode
    end,
    open = function(path)
      local text = files[path].text
      return { read = function() return text ~= "" and text or nil end, close = function() end }
    end,
  }
end)

-- The params that differ from what an empty call gives, so that tests name only what they are about.
local function params_of(target, options)
  local saved = environment
  environment = {}
  local base = assert(conninfo.parse(nil, nil, facts))
  environment = saved
  local params, settings_or_err = conninfo.parse(target, options, facts)
  assert(params, tostring(settings_or_err))
  local out = {}
  for keyword, value in pairs(params) do
    if base[keyword] ~= value then out[keyword] = value end
  end
  return out, settings_or_err, params
end

local function fault(target, options)
  local params, err = conninfo.parse(target, options, facts)
  assert.is_nil(params)
  assert.is_true(errors.is_error(err))
  assert.equal("config", err.kind)
  return err.message
end

local function misuse(target, options)
  local ok, message = pcall(function() return (conninfo.parse(target, options, facts, 1)) end)
  assert.is_false(ok)
  assert.is_string(message)
  return (message:gsub("^[^ ]*: ", "", 1))
end

describe("conninfo.parse with one source", function()
  it("leaves everything to libpq when nothing is given, but for a few defaults", function()
    local params, own = conninfo.parse(nil, nil, facts)
    assert.same({
      keepalives_idle = "30", keepalives_interval = "10", keepalives_count = "3", tcp_user_timeout = "20000",
      gssencmode = "disable", fallback_application_name = "luphant", client_encoding = "UTF8",
    }, params)
    assert.is_nil(own.password)
    assert.equal(5, own.connect_timeout)
    assert.equal(256, own.statement_cache_size)
    assert.equal(8388608, own.statement_cache_bytes)
    assert.equal("verified", own.plaintext_password)
    assert.equal(2, own.cancel_grace)
  end)

  it("reads a URL", function()
    assert.same({ user = "app", host = "db.example", port = "6432", dbname = "shop", sslmode = "verify-full" },
      (params_of("postgres://app@db.example:6432/shop?sslmode=verify-full")))
  end)

  it("reads a keyword string", function()
    assert.same({ host = "/run/pg", dbname = "shop" }, (params_of("host=/run/pg dbname=shop")))
  end)

  it("reads a table, with numbers where libpq wants digits", function()
    assert.same({ host = "db", port = "6432", keepalives = "0", keepalives_idle = "7" },
      (params_of { host = "db", port = 6432.0, keepalives = false, keepalives_idle = 7 }))
  end)

  it("takes several hosts as a string or as a list", function()
    local wanted = { host = "a,b", port = "1,2", target_session_attrs = "primary" }
    assert.same(wanted, (params_of { host = "a,b", port = "1,2", target_session_attrs = "primary" }))
    assert.same(wanted, (params_of { host = { "a", "b" }, port = { 1, 2 }, target_session_attrs = "primary" }))
  end)

  it("splits luphant's options from libpq's keywords", function()
    local params, own = params_of { host = "db", pooler = "transaction", statement_cache_size = 0, timeout = 2.5 }
    assert.same({ host = "db" }, params)
    assert.equal("transaction", own.pooler)
    assert.equal(0, own.statement_cache_size)
    assert.equal(2.5, own.timeout)
  end)

  it("reads DATABASE_URL when no target is given", function()
    environment.DATABASE_URL = "postgres://env/db"
    assert.same({ host = "env", dbname = "db" }, (params_of(nil)))
    assert.same({ host = "env", dbname = "db" }, (params_of { timeout = 1 }))
    environment.DATABASE_URL = ""
    assert.same({}, (params_of(nil)))
  end)

  it("does not read DATABASE_URL when the target names a server or a database", function()
    environment.DATABASE_URL = "postgres://env/db?sslmode=require"
    assert.same({ host = "here" }, (params_of { host = "here" }))
    assert.same({ dbname = "mine" }, (params_of { dbname = "mine" }))
    assert.same({ service = "s" }, { service = select(1, params_of { service = "s" }).service })
    assert.same({ host = "x" }, (params_of("host=x")))
    assert.same({ host = "u" }, (params_of { url = "postgres://u" }))
  end)
end)

describe("conninfo.parse with several sources", function()
  it("lets a table refine its own url, and the options refine both", function()
    local params = params_of({ url = "postgres://a:1/x?sslmode=require", port = 2, dbname = "y" }, { dbname = "z" })
    assert.same({ host = "a", port = "2", dbname = "z", sslmode = "require" }, params)
  end)

  it("lets options refine DATABASE_URL when there is no target", function()
    environment.DATABASE_URL = "postgres://env/db"
    assert.same({ host = "env", dbname = "test" }, (params_of(nil, { dbname = "test" })))
    assert.same({ host = "opt" }, (params_of(nil, { url = "postgres://opt" })))
  end)

  it("forgets the address of a host that was replaced", function()
    assert.same({ host = "b" }, (params_of("host=a hostaddr=10.0.0.1", { host = "b" })))
    assert.same({ host = "a", hostaddr = "10.0.0.2" },
      (params_of("host=a hostaddr=10.0.0.1", { hostaddr = "10.0.0.2" })))
  end)

  it("refuses lists that do not fit together", function()
    assert.equal("3 ports for 2 hosts (one port for all, or one for each)", fault { host = "a,b", port = "1,2,3" })
    assert.equal("2 ports for 1 host (one port for all, or one for each)",
      fault("postgres://a:1,b:2", { host = "c" }))
    assert.equal("2 hosts but 1 hostaddrs", fault { host = "a,b", hostaddr = "10.0.0.1" })
  end)

  it("does not change the tables it is given", function()
    local target, options = { url = "postgres://a", password = "x" }, { timeout = 1 }
    conninfo.parse(target, options, facts)
    assert.same({ url = "postgres://a", password = "x" }, target)
    assert.same({ timeout = 1 }, options)
  end)
end)

describe("connect_timeout", function()
  local function seconds(...) return select(2, params_of(...)).connect_timeout end

  it("means the same in a URL, a keyword string, a table and the environment", function()
    assert.equal(7, seconds("postgres://h?connect_timeout=7"))
    assert.equal(7, seconds("connect_timeout=7"))
    assert.equal(0.5, seconds { connect_timeout = 0.5 })
    environment.PGCONNECT_TIMEOUT = "9"
    assert.equal(9, seconds(nil))
    assert.equal(7, seconds("connect_timeout=7"))
  end)

  it("never reaches libpq, which counts it per host and in whole seconds", function()
    local _, _, params = params_of("connect_timeout=7")
    assert.is_nil(params.connect_timeout)
  end)

  it("has no limit for libpq's zero and for false", function()
    assert.is_nil(seconds("connect_timeout=0"))
    assert.is_nil(seconds { connect_timeout = false })
  end)

  it("is refused when it is no number", function()
    assert.matches("number of seconds", fault("connect_timeout=soon"))
    environment.PGCONNECT_TIMEOUT = "soon"
    assert.matches("PGCONNECT_TIMEOUT", fault(nil))
    assert.matches('"connect_timeout" must be above 0', misuse { connect_timeout = 0 })
  end)

  it("leaves attempt_timeout to the user; without it the dial shares out what is left", function()
    local function attempt(...) return select(2, params_of(...)).attempt_timeout end
    assert.equal(1, attempt { host = "a,b", attempt_timeout = 1 })
    assert.is_nil(attempt { host = "a,b,c", connect_timeout = 6 })
  end)
end)

describe("defaults of luphant", function()
  it("step back for what the user says", function()
    local _, _, params = params_of { keepalives_idle = 99, tcp_user_timeout = 0, gssencmode = "prefer" }
    assert.same({ "99", "0", "prefer" }, { params.keepalives_idle, params.tcp_user_timeout, params.gssencmode })
  end)

  it("step back for the environment", function()
    environment.PGGSSENCMODE = "require"
    local params = conninfo.parse(nil, nil, facts)
    assert.is_nil(params.gssencmode)
    assert.equal("30", params.keepalives_idle)
  end)

  it("step back for a service, which may say all of it", function()
    local params = conninfo.parse("service=shop", nil, facts)
    assert.same({ service = "shop", client_encoding = "UTF8" }, params)
    environment.PGSERVICE = "shop"
    assert.is_nil(conninfo.parse(nil, nil, facts).keepalives_idle)
  end)

  it("leave out what this libpq does not know", function()
    local old = facts.conninfo_keywords
    facts.conninfo_keywords = function()
      local out = {}
      for _, option in ipairs(old()) do
        if option.keyword ~= "tcp_user_timeout" then out[#out + 1] = option end
      end
      return out
    end
    assert.is_nil(conninfo.parse(nil, nil, facts).tcp_user_timeout)
  end)

  it("never let go of client_encoding", function()
    for _, value in ipairs { "UTF8", "utf-8", "Unicode", "utf_8" } do
      assert.equal("UTF8", conninfo.parse({ client_encoding = value }, nil, facts).client_encoding)
    end
    assert.matches("client_encoding can only be UTF8", misuse { client_encoding = "LATIN1" })
    assert.matches("client_encoding can only be UTF8", fault("client_encoding=auto"))
  end)
end)

describe("an unknown key", function()
  it("in a table names the nearest keyword or option and raises at the caller", function()
    assert.equal('unknown option "max_result_byte" (did you mean "max_result_bytes"?)',
      misuse { max_result_byte = 1 })
    assert.equal('unknown option "hots" (did you mean "host"?)', misuse(nil, { hots = "x" }))
    assert.equal('unknown option "pasword" (did you mean "password"?)', misuse { pasword = "x" })
    assert.equal("options have names, but one was given at [1]", misuse { "postgres://x" })
    local line = debug.getinfo(1, "l").currentline + 2
    local function connect(options) return (conninfo.parse(options, nil, facts)) end
    local ok, message = pcall(function() connect { hots = 1 } end)
    assert.is_false(ok)
    assert.matches(("conninfo_spec.lua:%d: unknown option"):format(line), message, 1, true)
  end)

  it("understands the words of other drivers", function()
    for given, meant in pairs { database = "dbname", username = "user", ssl = "sslmode", passwd = "password" } do
      assert.equal(('unknown option "%s" (did you mean "%s"?)'):format(given, meant), misuse { [given] = "x" })
    end
  end)

  it("says which libpq it would need", function()
    assert.matches('unknown option "require_auth" %(it needs libpq 16 or newer', misuse { require_auth = "x" })
    assert.matches('unknown keyword "require_auth" in the URL %(it needs libpq 16',
      fault("postgres://h?require_auth=scram-sha-256"))
  end)

  it("in a URL or a keyword string comes back as an error", function()
    assert.equal('unknown keyword "sslmod" in the URL (did you mean "sslmode"?)', fault("postgres://h/d?sslmod=x"))
    assert.equal('unknown keyword "hots" in the connection string (did you mean "host"?)', fault("hots=x dbname=y"))
  end)

  it("in a string that is an option of luphant is sent to the table", function()
    assert.matches('^"pooler" is an option of luphant, not of libpq: give it in the options table, not in the URL',
      fault("postgres://h?pooler=transaction"))
    assert.matches('^"timeout" is an option of luphant', fault("host=h timeout=3"))
  end)

  it("in DATABASE_URL says where it stands", function()
    environment.DATABASE_URL = "postgres://h?sslmod=x"
    assert.matches("^DATABASE_URL: unknown keyword", fault(nil))
  end)
end)

describe("a value that cannot work", function()
  it("is refused at once, not at the first connect", function()
    assert.matches('sslmode must be .*"verify%-full" %(did you mean "verify%-full"%?%)',
      fault("postgres://h?sslmode=verify_full"))
    assert.matches("target_session_attrs must be", misuse { target_session_attrs = "master" })
    assert.matches("port must be a number between 1 and 65535", misuse { port = 70000 })
    assert.matches("port must be a number", fault("port=54x2"))
    environment.PGSSLMODE = "yes"
    assert.matches("sslmode must be .*environment", fault(nil))
  end)

  it("is refused when it has the wrong type or a NUL byte", function()
    assert.matches("host must be a string or an integer, got a function", misuse { host = print })
    assert.matches("dbname must be a string or an integer, got a table", misuse { dbname = {} })
    assert.matches("port must be a string or an integer, got a number", misuse { port = 1.5 })
    assert.matches("user must be a string or an integer, got a boolean", misuse { user = true })
    assert.matches("application_name holds a NUL byte", misuse { application_name = "a\0user\0admin" })
    assert.matches("NUL byte", misuse { password = "a\0b" })
    assert.matches("NUL byte", fault("host=a\0b"))
    assert.matches("an entry of the list host holds a comma", misuse { host = { "a,b" } })
    assert.matches("the list host is empty", misuse { host = {} })
  end)

  it("is refused when the call makes no sense", function()
    assert.matches("expected a URL, a keyword string or a table of options, got a number", misuse(5))
    assert.matches("the options must be a table, got a string", misuse("host=a", "host=b"))
    assert.matches("url must be a string", misuse { url = 5 })
    assert.matches("url has no place in the second", misuse("host=a", { url = "postgres://b" }))
  end)

  it("of luphant's own options is checked by their rules", function()
    assert.matches('option "rows" must be "named", "array" or "columns", got "name" %(did you mean "named"%?%)',
      misuse { rows = "name" })
    assert.matches('option "statement_timeout" must be at least 0.001', misuse { statement_timeout = 0.0001 })
    assert.matches('option "on_notice" must be a function', misuse { on_notice = 1 })
    if not rawget(_G, "jit") then
      assert.matches('"int8" can be "cdata" on LuaJIT only', misuse { int8 = "cdata" })
    else
      assert.equal("cdata", select(2, params_of { int8 = "cdata" }).int8)
    end
  end)

  it("explains strings that are no connection string", function()
    assert.matches('begins with postgres:// or postgresql://, not with "mysql://"', fault("mysql://h/db"))
    assert.matches("not with \"jdbc:\"", fault("jdbc:postgresql://h/db"))
    assert.matches("expected a URL .* or keywords", fault("shop"))
  end)
end)

describe("the password", function()
  local function source(...) return select(2, params_of(...)).password end

  it("never stands in the params or visibly in the settings", function()
    for _, target in ipairs { "postgres://u:hunter2@h", "password=hunter2", { password = "hunter2" } } do
      local params, own = conninfo.parse(target, nil, facts)
      for _, found in ipairs { params, own } do
        for _, value in pairs(found) do assert.not_equal("hunter2", value) end
      end
      assert.equal("hunter2", own.password())
    end
  end)

  it("is decoded from a URL", function()
    assert.equal("p@ss/w?rd", source("postgres://u:p%40ss%2Fw%3Frd@h")())
  end)

  it("of a later layer wins", function()
    assert.equal("b", source("postgres://u:a@h", { password = "b" })())
    files["/p"] = { mode = 384, text = "c" }
    assert.equal("c", source("postgres://u:a@h", { password_file = "/p" })())
    assert.equal("d", source({ password_file = "/p" }, { password = "d" })())
  end)

  it("counts as not given when it is empty", function()
    assert.is_nil(source { password = "" })
    assert.is_nil(source("postgres://u:@h"))
  end)

  it("can be a function, asked for each connection with a copy of where it goes", function()
    local calls = {}
    local ask = source { password = function(info)
      calls[#calls + 1] = info
      return "token" .. #calls
    end }
    assert.equal(0, #calls)
    local info = { host = "db", user = "app" }
    assert.equal("token1", ask(info))
    assert.equal("token2", ask(info))
    assert.same(info, calls[1])
    assert.not_equal(info, calls[1])
  end)

  it("function's failures come back as an error with their cause", function()
    local function failure(fn)
      local secret, err = source { password = fn } {}
      assert.is_nil(secret)
      assert.equal("auth", err.kind)
      return err
    end
    assert.matches("boom", failure(function() error("boom") end).cause)
    assert.equal("vault is sealed", failure(function() return nil, "vault is sealed" end).cause)
    assert.matches("must give a string, it gave a table", failure(function() return {} end).message)
    assert.matches("is empty", failure(function() return "" end).message)
    local nul = failure(function() return "hunter\0two" end).message
    assert.matches("NUL byte", nul)
    assert.not_matches("hunter", nul)
  end)

  it("file is read anew each time and loses one trailing newline", function()
    files["/p"] = { mode = 384, text = "s3cret \n" }
    local ask = source { password_file = "/p" }
    assert.equal("s3cret ", ask())
    files["/p"].text = "new\r\n"
    assert.equal("new", ask())
    files["/p"].text = "two\n\n"
    assert.equal("two\n", ask())
  end)

  it("file is refused when it is open to others, missing, empty or absurd", function()
    for _, mode in ipairs { 420, 416, 388, 33188 --[[ with the file type, as stat gives it ]] } do
      files["/p"] = { mode = mode, text = "s3cret" }
      assert.matches("open to its group or to everybody", fault { password_file = "/p" })
    end
    assert.matches("mode 0644", fault { password_file = "/p" })
    files["/p"] = nil
    assert.matches('password_file "/p" cannot be read: No such file', fault { password_file = "/p" })
    for _, text in ipairs { "", "\n" } do
      files["/p"] = { mode = 33152, text = text }
      assert.matches("is empty", fault { password_file = "/p" })
    end
    files["/p"].text = "a\0b"
    assert.matches("NUL", fault { password_file = "/p" })
    files["/p"].text = ("x"):rep(70000)
    assert.matches("longer than", fault { password_file = "/p" })
  end)

  it("has one source only, of the right type", function()
    assert.matches("exclude each other", misuse { password = "a", password_file = "/p" })
    assert.matches("password must be a string or a function, got a number", misuse { password = 123456 })
    assert.not_matches("123456", misuse { password = 123456 })
    assert.matches("password_file must be a path", misuse { password_file = 5 })
  end)

  it("is in no message about a string that cannot be read", function()
    local broken = {
      "postgres://u:hunter2@h?sslmod=1", "postgres://u:hunt?er2@h/db", "postgres://u:hunt?er2=x@h/db",
      "password=hunter2 foo=1", "password=hunter2 hunter3=1", "hunter2", "mysql://u:hunter2@h",
      "postgres://u:hunter2@h?connect_timeout=soon", "sslmode=hunter2", "port=hunter2",
      "client_encoding=hunter2", "connect_timeout=hunter2",
    }
    for _, text in ipairs(broken) do
      local message = fault(text)
      assert.not_matches("hunt", message)
      assert.not_matches("er2", message)
    end
  end)

  it("that was not escaped in a URL is not taken for a host or a database", function()
    assert.matches("%%40", fault("postgres://u:hunt@er2@h/db"))
    assert.matches("%%2F", fault("postgres://u:12/34@h/db"))
    assert.equal("/run/a@b", (params_of("postgres://?host=/run/a@b")).host)
    assert.equal("@abstract", (params_of { host = "@abstract" }).host)
  end)

  it("with a space or a ? that was not escaped gets advice", function()
    assert.matches("single quotes", fault("password=correct horse=1 host=h"))
    assert.matches("%%3F", fault("postgres://u:a?b=c@h/db"))
  end)
end)

describe("conninfo.describe", function()
  it("says in one line where a connection goes, and nothing secret", function()
    local params = conninfo.parse("postgres://app:hunter2@a,b:6432/my%20db?sslpassword=hunter2", nil, facts)
    params.port = "6432"
    assert.equal("host=a,b port=6432 dbname='my db' user=app", conninfo.describe(params))
    assert.equal("service=shop", conninfo.describe { service = "shop" })
    assert.equal("libpq's defaults", conninfo.describe {})
    assert.equal("user='o\\'x'", conninfo.describe { user = "o'x" })
  end)
end)

describe("settings.extend", function()
  it("adds rules for others to use and refuses a second meaning", function()
    facts.rules = settings.extend { max_connections = { type = "number", integer = true, min = 1, default = 10 } }
    assert.equal(10, select(2, params_of(nil)).max_connections)
    assert.equal('unknown option "max_conections" (did you mean "max_connections"?)', misuse { max_conections = 1 })
    assert.is_nil(settings.connection.max_connections)
    assert.is_false(pcall(settings.extend, { timeout = {} }))
  end)
end)

describe("conninfo with the real libpq", function()
  local ok, core = pcall(require, "luphant.core")
  if not ok then
    pending("needs luphant.core to be built")
    return
  end

  before_each(function()
    facts.conninfo_parse = core.conninfo_parse
    facts.conninfo_keywords = core.conninfo_keywords
  end)

  it("reads the same strings in the same way", function()
    local params, own = conninfo.parse("postgres://app:p%40ss@a,b:6432/shop?sslmode=verify-full", nil, facts)
    assert.same({ "a,b", "app", "shop", "verify-full" }, { params.host, params.user, params.dbname, params.sslmode })
    assert.equal("p@ss", own.password())
    params = conninfo.parse([[host=/run/pg dbname = 'my \'db\'' user=x]], nil, facts)
    assert.same({ "/run/pg", "my 'db'", "x" }, { params.host, params.dbname, params.user })
    assert.equal("::1", conninfo.parse("postgresql://[::1]:5432/x", nil, facts).host)
    assert.equal("/run/pg", conninfo.parse("postgresql://%2Frun%2Fpg/x", nil, facts).host)
  end)

  it("says what is wrong without ever showing a password", function()
    local broken = {
      "postgres://u:hunter2@h?sslmod=1", "postgres://u:hunter2@h:54x2/db", "postgres://u:hunter2@[::1/db",
      "postgres://u:hunter2@[::1]x/db", "postgres://u:hunter2%zz@h", "postgres://u:hunter2%00@h",
      "postgres://u:hunter2@h?sslmode", "postgres://u:hunter2@h?a=b=c", "postgres://u:hunt?er2@h/db",
      "postgres://u:hunt\"er2%zz\"@h/db", "postgres://u:h@hunter2:x:y/db", "postgres://u:hunter2@[]/db",
      "postgres://u:x@hunter2@h/db", "postgres://u:12/hunter2@h/db",
      "password=hunter2 foo=1", "password='hunter2", "password='hunter2' foo", "password=hunter2 hunter3",
      "password=hunt er2=x", "hunter2", "password=hunter2\\", "password=\"hunter2 x\" host=h",
      "jdbc:postgresql://h?password=hunter2", "postgres+x://u:hunter2@h", "POSTGRES://u:hunter2@h?a=b",
    }
    for _, text in ipairs(broken) do
      local params, err = conninfo.parse(text, nil, facts)
      if not params then -- some are odd but legal
        assert.equal("config", err.kind)
        assert.not_matches("hunt", tostring(err))
        assert.not_matches("er2", tostring(err))
      else
        assert.not_matches("er2", conninfo.describe(params))
      end
    end
  end)

  it("finds a password file's permissions on a real file", function()
    facts.file_mode, facts.open = core.file_mode, nil
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write("s3cret\n")
    file:close()
    assert(os.execute("chmod 644 " .. path))
    local public = fault { password_file = path }
    assert(os.execute("chmod 600 " .. path))
    local params, own = conninfo.parse({ password_file = path }, nil, facts)
    os.remove(path)
    assert.matches("mode 0644", public)
    assert.is_table(params)
    assert.equal("config", select(2, own.password()).kind) -- the file is gone by now
  end)
end)
