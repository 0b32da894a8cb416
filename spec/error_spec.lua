-- What an error tells about what a real server said or did: words, places, names, causes, and whether the statement can
-- be sent again.
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local luphant = require "luphant"
local probe = require "spec.support.probe"
local server = require "luphant.testing.server"
local shell = require "luphant.testing.shell"

local NAME = "error_spec"

describe("an error of the server", function()
  local conn, other

  before_each(function() conn = assert(luphant.connect(env.url(), { application_name = NAME })) end)
  after_each(function()
    conn:close()
    if other then other:close() end
    other = nil
  end)

  local function second()
    other = other or assert(luphant.connect(env.url(), { application_name = NAME }))
    return other
  end

  local function fails(sql, ...)
    local value, err = conn:query(sql, ...)
    assert.is_nil(value)
    return err
  end

  describe("has a kind, a class and a SQLSTATE:", function()
    before_each(function()
      assert(conn:script [[
        create temp table parents (id int primary key, name text not null unique, age int check (age > 0));
        create temp table children (id int references parents, span int4range, exclude using gist (span with &&));
        insert into parents values (1, 'one', 1); insert into children values (1, '[1,5)')]])
    end)

    for _, case in ipairs {
      { "insert into parents values (1, 'two', 1)", "unique_violation", "constraint", "23505", false },
      { "insert into parents values (2, null, 1)", "not_null_violation", "constraint", "23502", false },
      { "insert into parents values (2, 'two', 0)", "check_violation", "constraint", "23514", false },
      { "insert into children values (9)", "foreign_key_violation", "constraint", "23503", false },
      { "insert into children values (1, '[2,3)')", "exclusion_violation", "constraint", "23P01", false },
      { "selec 1", "syntax_error", "query", "42601", false },
      { "select * from nowhere", "undefined_table", "query", "42P01", false },
      { "select nothing from parents", "undefined_column", "query", "42703", false },
      { "select nothing()", "undefined_function", "query", "42883", false },
      { "select 1 / 0", "division_by_zero", "query", "22012", false },
      { "select 'x'::int", "invalid_text_representation", "query", "22P02", false },
      { "select 2147483647 + 1", "numeric_value_out_of_range", "query", "22003", false },
      { "select pg_read_file('/nowhere/at/all')", "undefined_file", "query", "58P01", false },
      { "do $$ begin raise exception 'mine' using errcode = 'LU042'; end $$", nil, "query", "LU042", false },
      { "do $$ begin raise exception 'again' using errcode = '40001'; end $$", "serialization_failure", "transaction",
        "40001", true },
      { "do $$ begin raise exception 'again' using errcode = '40P01'; end $$", "deadlock_detected", "transaction",
        "40P01", true },
      { "set transaction isolation level nonsense", "syntax_error", "query", "42601", false },
    } do
      it(case[1], function()
        local err = fails(case[1])
        assert.same({ case[3], case[4], case[5], "yes", "ERROR" },
          { err.class, err.sqlstate, err.retryable, err.sent, err.severity })
        if case[2] then assert.equal(case[2], err.kind) end
        assert.is_true(err:is(case[3]) and err:is(case[4]) and err:is(case[4]:sub(1, 2)) and err:is(err.kind))
        assert.equal(case[1], err.query)
        assert.is_true(luphant.is(err, case[4]))
        assert.matches("error_spec.lua", err.traceback, 1, true)
        probe.usable(conn)
      end)
    end

    it("a lock that could not be had at once", function()
      assert(conn:script "drop table if exists public.error_spec_lock; create table public.error_spec_lock (n int)")
      assert(second():script "begin; lock table public.error_spec_lock")
      local err = fails "lock table public.error_spec_lock nowait"
      assert.equal("25P01", err.sqlstate) -- outside of a transaction LOCK means nothing
      assert(conn:execute "begin")
      err = fails "lock table public.error_spec_lock nowait"
      assert.same({ "lock_not_available", "55P03" }, { err.kind, err.sqlstate })
      assert(conn:execute "rollback")
      assert(second():script "rollback; drop table public.error_spec_lock")
    end)

    it("a real serialization failure", function()
      assert(conn:script "drop table if exists public.error_spec_ssi; create table public.error_spec_ssi (n int)")
      assert(conn:execute "insert into public.error_spec_ssi values (1)")
      assert(conn:execute "begin isolation level repeatable read")
      assert(conn:query "select * from public.error_spec_ssi")
      assert(second():execute "update public.error_spec_ssi set n = 2")
      local err = fails "update public.error_spec_ssi set n = 3"
      assert.same({ "serialization_failure", "transaction", true }, { err.kind, err.class, err.retryable })
      assert.equal("in_failed_sql_transaction", fails("select 1").kind)
      assert(conn:script "rollback; drop table public.error_spec_ssi")
    end)
  end)

  describe("names", function()
    it("schema, table, column and constraint of what was violated", function()
      assert(conn:script [[create temp table things (id int constraint one_id primary key,
        size int not null constraint no_giants check (size < 100))]])
      local schema = conn:query_value "select nspname from pg_namespace where oid = pg_my_temp_schema()"
      local err = fails "insert into things values (1, 1000)"
      assert.same({ schema, "things", "no_giants" }, { err.schema, err.table, err.constraint })
      assert.matches("Failing row", err.detail, 1, true)
      err = fails "insert into things values (1, null)"
      assert.same({ schema, "things", "size" }, { err.schema, err.table, err.column })
      assert.is_nil(err.constraint)
      assert(conn:execute "insert into things values (1, 1)")
      err = fails("insert into things values ($1, $2)", 1, 2)
      assert.same({ "one_id", "Key (id)=(1) already exists." }, { err.constraint, err.detail })
    end)

    it("the type a domain's value has violated", function()
      assert(conn:script "create domain pg_temp.small as int constraint is_small check (value < 10)")
      local err = fails "select 11::pg_temp.small"
      assert.same({ "small", "is_small" }, { err.datatype, err.constraint })
    end)

    it("the server's routine, and the hint", function()
      local err = fails "select no_such_function(1)"
      assert.equal("ParseFuncOrColumn", err.routine)
      assert.matches("No function matches", err.hint, 1, true)
    end)
  end)

  describe("points at the place", function()
    -- The character of `sql` below the caret in the error's text.
    local function under_caret(err)
      local lines = {}
      for line in (tostring(err) .. "\n"):gmatch "(.-)\n" do lines[#lines + 1] = line end
      for i, line in ipairs(lines) do
        local spaces = line:match "^( +)%^$"
        if spaces then return lines[i - 1]:sub(#spaces + 1), lines[i - 1] end
      end
    end

    it("in one line", function()
      local err = fails "select 1 + wrong from nowhere_else"
      assert.equal(select(2, ("select 1 + wrong from "):gsub(".", "")) + 1, err.position)
      assert.matches("^nowhere_else", under_caret(err))
    end)

    it("in a text of several lines, and of several line ends", function()
      for _, newline in ipairs { "\n", "\r\n" } do
        local err = fails(table.concat({ "select 1,", "  2,", "\twrong_column,", "  4" }, newline))
        local found, line = under_caret(err)
        assert.matches("^wrong_column", found)
        assert.matches("LINE 3:", line, 1, true)
      end
    end)

    it("behind characters of more than one byte, counting characters", function()
      local before = "select 'äöü€😀漢字' as ü, "
      local err = fails(before .. "wrong_column")
      local characters = select(2, before:gsub("[^\128-\191]", ""))
      assert.equal(characters + 1, err.position)
      assert.matches("^%s*LINE 1: .*wrong_column", (select(2, under_caret(err))))
    end)

    it("behind an end", function()
      local err = fails "select ("
      assert.equal(9, err.position)
      assert.matches("at end of input", err.message, 1, true)
      assert.is_truthy(tostring(err):find("\n[ ]+%^"))
    end)

    it("in a long line, cut to what fits", function()
      local err = fails("select " .. ("1 + "):rep(5000) .. "wrong_column" .. (" + 1"):rep(5000))
      assert.equal(20008, err.position)
      assert.matches("^wrong_column", (under_caret(err)))
      assert.is_true(#tostring(err) < 1000)
    end)

    it("for every verb, also where the statement has parameters", function()
      for _, verb in ipairs { "query", "query_one", "query_opt", "query_value", "query_column", "execute" } do
        local value, err = conn[verb](conn, "select $1::int + wrong_column", 1)
        assert.is_nil(value)
        assert.equal(18, err.position)
      end
      assert.equal(15, (select(2, conn:describe "select 1 from nowhere")).position)
      assert.equal(15, (select(2, conn:prepare "select 1 from nowhere")).position)
      local ok, err = pcall(conn.values, conn, "select 1 from nowhere")
      assert.same({ false, 15 }, { ok, err.position })
    end)
  end)

  it("tells the statement inside a function that failed", function()
    assert(conn:script [[create function pg_temp.outer_one(n int) returns int language plpgsql as $$
      begin
        if n > 0 then return (select count(*) from nowhere_at_all); end if;
        return 0;
      end $$]])
    local err = fails("select pg_temp.outer_one($1)", 1)
    assert.equal("undefined_table", err.kind)
    assert.matches("from nowhere_at_all", err.internal_query, 1, true)
    local before = err.internal_query:sub(1, err.internal_query:find("nowhere_at_all", 1, true) - 1)
    assert.equal(#before + 1, err.internal_position)
    assert.is_nil(err.position)
    assert.matches("PL/pgSQL function", err.context, 1, true)
    local text = tostring(err)
    assert.matches("LINE 1: .*from nowhere_at_all", text)
    assert.matches("context: PL/pgSQL function", text, 1, true)
  end)

  it("has not a word of parameter values in its fields, and none of the password in its text", function()
    local err = fails("select $1::text || wrong_column", "a secret value")
    for _, value in pairs(err) do assert.is_nil(tostring(value):find("a secret value", 1, true)) end
    assert.is_nil(tostring(err):find("a secret value", 1, true))
    err = fails "alter role nobody_here password 'hunter2 is long'"
    assert.is_nil(tostring(err):find("hunter2", 1, true))
  end)

  it("is raised whole by assert", function()
    -- Lua's assert, not the one of the test framework.
    local load_text = rawget(_G, "loadstring") or load
    local ok, err = pcall(load_text "local conn = ... return assert(conn:query 'select 1 / 0')", conn)
    assert.is_false(ok)
    assert.equal("division_by_zero", err.kind)
    assert.matches("^division_by_zero %(22012%): ", tostring(err))
  end)

  it("stands apart from the error of the next statement", function()
    local first = fails "select * from nowhere"
    local following = fails "select 1 / 0"
    assert.same({ "undefined_table", 15 }, { first.kind, first.position })
    assert.equal("division_by_zero", following.kind)
    assert.is_nil(following.position)
    assert.is_nil(following.hint)
  end)

  it("in another language keeps its kind", function()
    -- Messages may be translated; kinds and severity are not.
    assert(conn:execute "set lc_messages = 'C'")
    assert.equal("ERROR", fails("select 1 / 0").severity)
  end)

  describe("that came from a limit tells which:", function()
    it("the server's statement_timeout", function()
      assert(conn:execute "set statement_timeout = 50")
      local err = fails "select pg_sleep(5)"
      assert.same({ "query_canceled", "timeout", "57014", "yes" }, { err.kind, err.class, err.sqlstate, err.sent })
      assert.matches("statement timeout", err.message, 1, true)
    end)

    it("the server's lock_timeout", function()
      assert(conn:script "drop table if exists public.error_spec_lock2; create table public.error_spec_lock2 (n int)")
      assert(second():script "begin; lock table public.error_spec_lock2")
      assert(conn:execute "set lock_timeout = 50")
      local err = fails "select * from public.error_spec_lock2"
      assert.same({ "lock_not_available", "55P03" }, { err.kind, err.sqlstate })
      assert(second():script "rollback; drop table public.error_spec_lock2")
    end)

    it("the caller's own deadline", function()
      local value, err = conn:query { "select pg_sleep(5)", timeout = 0.05 }
      assert.is_nil(value)
      assert.same({ "query_timeout", "timeout", "yes", "ok" }, { err.kind, err.class, err.sent, err.connection })
      assert.is_nil(err.sqlstate)
    end)

    it("somebody's pg_cancel_backend", function()
      os.execute(("(sleep 0.5; %s) > /dev/null 2>&1 &"):format(shell.line {
        env.bin_dir() .. "/psql", "-X", "-d", env.url(), "-c",
        ("select pg_cancel_backend(%d)"):format(conn:backend_pid()),
      }))
      local value, err = conn:query { "select pg_sleep(7)", timeout = 6 }
      assert.is_nil(value)
      assert.same({ "query_canceled", "57014" }, { err.kind, err.sqlstate })
      assert.matches("user request", err.message, 1, true)
      probe.usable(conn)
    end)
  end)

  describe("with a hook for notices that fails", function()
    it("is not made: the statement worked", function()
      conn:close()
      conn = assert(luphant.connect(env.url(), { on_notice = function() error "the hook is broken" end }))
      assert.equal(0, conn:execute "do $$ begin raise notice 'hello'; raise notice 'again'; end $$")
      assert.equal(7, conn:query_value "select 7")
      probe.usable(conn)
    end)

    it("is the server's own", function()
      conn:close()
      conn = assert(luphant.connect(env.url(), { on_notice = function() error { "a table" } end }))
      assert.equal("division_by_zero", fails("do $$ begin raise notice 'hello'; perform 1 / 0; end $$").kind)
      probe.usable(conn)
    end)
  end)
end)

describe("an error about a lost session", function()
  local pg, open

  setup(function() pg = assert(server.start { tcp = true }) end)
  teardown(function() pg:stop() end)
  before_each(function() open = {} end)
  after_each(function()
    for _, each in ipairs(open) do each:close() end
  end)

  local function connect(options)
    local conn = assert(luphant.connect(pg:url { application_name = NAME }, options))
    open[#open + 1] = conn
    return conn
  end

  local function gone(pid)
    local sql = ("select count(*) from pg_stat_activity where pid = %d"):format(pid)
    assert.is_true(probe.eventually(function() return assert(pg:psql(sql)):match "^0" end))
  end

  local function terminate(conn)
    local pid = conn:backend_pid()
    assert(pg:psql(("select pg_terminate_backend(%d)"):format(pid)))
    gone(pid)
  end

  local function assert_closed(conn)
    assert.is_false(conn:is_open())
    local value, err = conn:query "select 1"
    assert.is_nil(value)
    assert.same({ "closed", "connection", "no", true }, { err.kind, err.class, err.sent, err.retryable })
    return err
  end

  it("that pg_terminate_backend ended while idle tells the server's last words; the statement was not sent", function()
    for _, verb in ipairs { "query", "execute", "query_value", "script", "describe" } do
      local conn = connect()
      assert.equal(1, conn:query_value "select 1")
      terminate(conn)
      local value, err = conn[verb](conn, "select 1")
      assert.is_nil(value)
      assert.same({ "closed", "connection", "57P01", "no", true },
        { err.kind, err.class, err.sqlstate, err.sent, err.retryable }, tostring(err))
      assert.matches("terminating connection due to administrator command", tostring(err), 1, true)
      local after = assert_closed(conn)
      assert.matches("terminating connection", after.message, 1, true)
    end
  end)

  it("that pg_terminate_backend ended while idle in a transaction says the same", function()
    local conn = connect()
    assert(conn:script "begin; create table lost_with_it (n int)")
    terminate(conn)
    local value, err = conn:execute "insert into lost_with_it values (1)"
    assert.is_nil(value)
    assert.same({ "closed", "57P01", "no" }, { err.kind, err.sqlstate, err.sent })
    assert_closed(conn)
  end)

  it("that pg_terminate_backend ended while a statement ran says that it may have been done", function()
    local conn = connect()
    os.execute(("(sleep 0.3; %s) > /dev/null 2>&1 &"):format(shell.line {
      pg.bin_dir .. "/psql", "-X", "-d", pg:url(), "-c", ("select pg_terminate_backend(%d)"):format(conn:backend_pid()),
    }))
    local value, err = conn:query { "select pg_sleep(5)", timeout = 10 }
    assert.is_nil(value)
    assert.same({ "57P01", "connection", "maybe", false }, { err.sqlstate, err.class, err.sent, err.retryable })
    assert_closed(conn)
  end)

  it("that idle_session_timeout ended says so", function()
    local conn = connect()
    if conn:server_version() < 140000 then return pending "needs PostgreSQL 14" end
    assert(conn:execute "set idle_session_timeout = 100")
    gone(conn:backend_pid())
    local value, err = conn:query "select 1"
    assert.is_nil(value)
    assert.same({ "closed", "57P05", "no", true }, { err.kind, err.sqlstate, err.sent, err.retryable })
  end)

  it("that idle_in_transaction_session_timeout ended says so", function()
    local conn = connect()
    assert(conn:script "set idle_in_transaction_session_timeout = 100; begin")
    gone(conn:backend_pid())
    local value, err = conn:query "select 1"
    assert.is_nil(value)
    assert.same({ "closed", "25P03", "no" }, { err.kind, err.sqlstate, err.sent })
  end)

  it("whose own statement ended it has the server's words", function()
    local conn = connect()
    local value, err = conn:query "select pg_terminate_backend(pg_backend_pid())"
    assert.is_nil(value)
    assert.same({ "57P01", "maybe" }, { err.sqlstate, err.sent })
    assert_closed(conn)
  end)

  it("whose server process was killed says what libpq saw", function()
    local conn, survivor = connect(), connect()
    assert(conn:query_value "select 1")
    assert(shell.try("kill", "kill -9 " .. conn:backend_pid()))
    local value, err = conn:query "select 1"
    assert.is_nil(value)
    assert.equal("connection", err.class)
    assert.is_true(err.sent == "no" or err.sent == "maybe")
    assert.is_false(conn:is_open())
    -- The server ends all other sessions as well, and says why.
    probe.eventually(function() return (survivor:query "select 1") == nil end)
    assert.is_false(survivor:is_open())
    -- It comes back by itself.
    assert.is_true(probe.eventually(function() return luphant.connect(pg:url()) ~= nil end, 15))
  end)

  it("whose server was restarted says so, and a new session works", function()
    for _, mode in ipairs { "fast", "immediate" } do
      local conn = connect()
      assert(conn:query_value "select 1")
      assert(pg:restart(mode))
      local value, err = conn:query "select 1"
      assert.is_nil(value)
      assert.same({ "closed", "connection", "no", true }, { err.kind, err.class, err.sent, err.retryable },
        tostring(err))
      -- A server that is stopped at once does not always get its last words out.
      if mode == "fast" or err.sqlstate then
        assert.matches("^57P0[12]$", err.sqlstate)
        assert.matches("terminating connection", err.message, 1, true)
      end
      probe.usable(connect())
    end
  end)

  it("while a notice hook listens gives the hook the last words too", function()
    local seen = {}
    local conn = connect { on_notice = function(notice) seen[#seen + 1] = notice.sqlstate end }
    terminate(conn)
    conn:query "select 1"
    assert.is_true(#seen <= 1)
    assert_closed(conn)
  end)

  it("of a server that is away says that nothing was sent, and may be tried again", function()
    local stopped = assert(server.start())
    local url = stopped:url()
    local conn = assert(luphant.connect(url))
    stopped:stop()
    local value, err = conn:query "select 1"
    assert.is_nil(value)
    assert.same({ "closed", "no", true }, { err.kind, err.sent, err.retryable })
    value, err = luphant.connect(url)
    assert.is_nil(value)
    assert.same({ "refused", "connection", "no", true }, { err.kind, err.class, err.sent, err.retryable })
  end)
end)
