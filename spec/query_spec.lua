-- The verbs of a connection: what each gives back, what it says when it cannot, and that the connection is in order
-- whatever a caller did with it.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"
local env = require "spec.support.env"
local luphant = require "luphant"
local probe = require "spec.support.probe"

local NULL = luphant.NULL

-- Runs the text of a chunk whose misuse must raise; answers the message. The chunk gets conn and its name is
-- "caller", so that a message at the caller's line begins with "caller:<line>:".
local function misuse(conn, text)
  local load_text = rawget(_G, "loadstring") or load
  local chunk = assert(load_text("local conn = ...\n" .. text .. "\nreturn 'nothing was raised'", "=caller"))
  local ok, message = pcall(chunk, conn)
  assert(not ok, tostring(message))
  return message
end

describe("a connection", function()
  local conn

  before_each(function() conn = assert(luphant.connect(env.url(), { application_name = "query_spec" })) end)

  after_each(function()
    if conn:is_open() then
      assert.equal("idle", conn:transaction_status())
      probe.usable(conn)
    end
    conn:close()
  end)

  local function fails(kind, verb, ...)
    local value, err = conn[verb](conn, ...)
    assert.is_nil(value)
    assert.equal(kind, err.kind, tostring(err))
    return err
  end

  local THREE = "select n, 'row ' || n as name from generate_series(1, 3) n"
  local NOTHING = "select 1 as n where false"

  describe("query", function()
    it("gives rows keyed by column name", function()
      assert.same({ { n = 1, name = "row 1" }, { n = 2, name = "row 2" }, { n = 3, name = "row 3" } },
        conn:query(THREE))
    end)

    it("gives an empty array when there is no row", function()
      assert.same({}, conn:query(NOTHING))
    end)

    it("leaves NULL out of a row", function()
      local rows = assert(conn:query "select null::int as a, 2 as b")
      assert.same({ b = 2 }, rows[1])
    end)

    it("takes nil anywhere as NULL, also last", function()
      local row = assert(conn:query("select $1::int is null as a, $2::int as b, $3::text is null as c", nil, 5, nil))[1]
      assert.same({ a = true, b = 5, c = true }, row)
    end)

    it("counts nil parameters too", function()
      local err = fails("parameter", "query", "select $1::int, $2::int, $3::int", 1, nil)
      assert.matches("takes 3 parameters, but 2 were given", err.message, 1, true)
    end)

    it("tells columns, command and affected to who asks", function()
      local rows = assert(conn:query(THREE))
      assert.equal("SELECT", rows.command)
      assert.equal(3, rows.affected)
      assert.same({ { name = "n", type = "integer", oid = 23 }, { name = "name", type = "text", oid = 25 } },
        rows.columns)
      assert.is_nil(rows.nothing_of_this_name)
    end)

    it("shows a loop over its rows nothing but the rows", function()
      local rows = assert(conn:query(THREE))
      local keys = {}
      for key in pairs(rows) do keys[#keys + 1] = key end
      assert.same({ 1, 2, 3 }, keys)
    end)

    it("tells them also of statements without rows", function()
      assert(conn:query "create temp table t (n int)")
      local rows = assert(conn:query "insert into t values (1), (2)")
      assert.same({ "INSERT", 2, 0, {} }, { rows.command, rows.affected, #rows, rows.columns })
      rows = assert(conn:query "update t set n = n + 1 where n = 1")
      assert.same({ "UPDATE", 1 }, { rows.command, rows.affected })
      rows = assert(conn:query "insert into t values (7) returning n")
      assert.same({ "INSERT", 1, 7 }, { rows.command, rows.affected, rows[1].n })
      rows = assert(conn:query "create index on t (n)")
      assert.same({ "CREATE INDEX", 0 }, { rows.command, rows.affected })
    end)

    it("tells the right command of each execution of a statement that was rewritten", function()
      assert(conn:query "create temp table t (n int)")
      for expected = 0, 2 do
        assert.equal(expected, assert(conn:query "update t set n = 1").affected)
        assert(conn:execute "insert into t values (1)")
      end
    end)

    it("gives the last of two columns with one name, and all of them by position", function()
      assert.same({ { a = 2 } }, conn:query "select 1 as a, 2 as a")
      assert.same({ {} }, conn:query "select 1 as a, null as a")
      assert.same({ { 1, 2 } }, conn:query { "select 1 as a, 2 as a", rows = "array" })
    end)

    it("gives rows without columns", function()
      local rows = assert(conn:query "select from generate_series(1, 3)")
      assert.same({ {}, {}, {} }, rows)
      assert.same({ {}, {}, {} }, conn:query { "select from generate_series(1, 3)", rows = "array" })
    end)

    it("gives as many columns as PostgreSQL has", function()
      local list = {}
      for i = 1, 1600 do list[i] = i .. " as c" .. i end
      local sql = "select " .. table.concat(list, ", ")
      local row = assert(conn:query(sql))[1]
      assert.equal(1600, row.c1600)
      assert.equal(1, row.c1)
      row = assert(conn:query { sql, rows = "array" })[1]
      assert.equal(800, row[800])
      assert.equal(1600, select(1600, conn:values(sql)()))
    end)

    it("takes column names that are odd words", function()
      local row = assert(conn:query [[select 1 as "end", 2 as "a b", 3 as "quo""te", 4 as "new
line", 5 as "ünï", 6 as "back\slash", 7 as "__index", 8 as "nil"]])[1]
      assert.same({ ["end"] = 1, ["a b"] = 2, ['quo"te'] = 3, ["new\nline"] = 4, ["ünï"] = 5, ["back\\slash"] = 6,
        __index = 7, ["nil"] = 8 }, row)
    end)

    it("runs the empty statement", function()
      for _, sql in ipairs { "", " ", ";", "-- nothing" } do
        local rows = assert(conn:query(sql))
        assert.same({ 0, 0 }, { #rows, rows.affected })
        assert.equal(0, assert(conn:execute(sql)))
      end
    end)

    it("runs one statement, with or without its semicolon, and refuses two", function()
      assert.equal(1, conn:query_value "select 1;")
      local err = fails("syntax_error", "query", "select 1; select 2")
      assert.equal("42601", err.sqlstate)
      fails("syntax_error", "execute", "select 1; drop table if exists never_there")
    end)

    it("refuses a NUL byte in the text before anything is sent", function()
      local err = fails("parameter", "query", "select 1\0 + 1")
      assert.equal("no", err.sent)
      err = fails("parameter", "script", "select 1\0; select 2")
      assert.equal("no", err.sent)
      fails("parameter", "describe", "select 1\0")
    end)

    it("takes 65535 parameters and refuses one more", function()
      local list, marks = {}, {}
      for i = 1, 65535 do list[i], marks[i] = 1, "$" .. i .. "::int" end
      local ok, value = pcall(function()
        return conn:query_value("select " .. table.concat(marks, "+", 1, 2000), compat.unpack(list, 1, 2000))
      end)
      assert.same({ true, 2000 }, { ok, value })
      -- LuaJIT's stack ends before the limit does; where the call can be made, the answer is a sentence.
      local made, result, err = pcall(function() return conn:query("select 1", compat.unpack(list, 1, 65535), 1) end)
      if made and err and result == nil then assert.equal("parameter", err.kind) end
    end)
  end)

  describe("query_one", function()
    it("gives exactly one row", function()
      assert.same({ n = 1, name = "row 1" }, conn:query_one(THREE .. " where n = $1", 1))
    end)

    it("says so when there is none or more than one", function()
      local err = fails("no_rows", "query_one", NOTHING)
      assert.same({ "query", "yes", NOTHING }, { err.class, err.sent, err.query })
      err = fails("too_many_rows", "query_one", THREE)
      assert.matches("3", err.message)
    end)

    it("says so when the statement has no rows to give", function()
      assert.matches("returns no rows", fails("no_rows", "query_one", "create temp table t (n int)").message, 1, true)
    end)
  end)

  describe("query_opt", function()
    it("gives one row, or nil and no error", function()
      assert.same({ n = 1, name = "row 1" }, conn:query_opt(THREE .. " where n = $1", 1))
      local values = { n = select("#", conn:query_opt(NOTHING)), conn:query_opt(NOTHING) }
      assert.is_nil(values[1])
      assert.is_nil(values[2])
    end)

    it("says so when there is more than one", function()
      fails("too_many_rows", "query_opt", THREE)
    end)

    it("says so when the statement failed", function()
      fails("division_by_zero", "query_opt", "select 1 / 0")
    end)
  end)

  describe("query_value", function()
    it("gives the first column of exactly one row", function()
      assert.equal("x", conn:query_value "select 'x', 2")
      assert.equal(false, conn:query_value "select false")
    end)

    it("gives nil and no error for NULL", function()
      local value, err = conn:query_value "select null::int"
      assert.is_nil(value)
      assert.is_nil(err)
    end)

    it("says so when there is no row, or more than one, or no column", function()
      fails("no_rows", "query_value", NOTHING)
      fails("too_many_rows", "query_value", THREE)
      fails("no_rows", "query_value", "create temp table t (n int)")
      assert.matches("without a column", fails("usage", "query_value", "select").message, 1, true)
      fails("too_many_rows", "query_value", "select from generate_series(1, 2)")
    end)
  end)

  describe("query_column", function()
    it("gives the first column of all rows", function()
      assert.same({ 1, 2, 3 }, conn:query_column(THREE))
      assert.same({}, conn:query_column(NOTHING))
    end)

    it("gives NULL a place", function()
      local column = assert(conn:query_column "select nullif(n, 2) from generate_series(1, 3) n")
      assert.same({ 1, NULL, 3 }, column)
    end)

    it("says so when there is no column", function()
      fails("no_rows", "query_column", "create temp table t (n int)")
      fails("usage", "query_column", "select from generate_series(1, 2)")
    end)
  end)

  describe("execute", function()
    it("gives the number of affected rows", function()
      assert.equal(0, conn:execute "create temp table t (n int)")
      assert.equal(3, conn:execute "insert into t select generate_series(1, 3)")
      assert.equal(2, conn:execute("delete from t where n > $1", 1))
      assert.equal(1, conn:execute "select * from t")
      assert.equal(0, conn:execute "begin")
      assert.equal(0, conn:execute "rollback")
    end)

    it("runs procedures", function()
      assert(conn:script [[create procedure pg_temp.twice(inout n int) language plpgsql as 'begin n := n * 2; end']])
      assert.same({ { n = 42 } }, conn:query("call pg_temp.twice($1)", 21))
      assert(conn:execute("call pg_temp.twice($1)", 21))
    end)
  end)

  describe("values", function()
    it("gives each row's columns as plain values, NULL as luphant.NULL", function()
      local seen = {}
      for n, name in conn:values("select n, nullif('row ' || n, 'row 2') from generate_series(1, 3) n") do
        seen[#seen + 1] = { n, name }
      end
      assert.same({ { 1, "row 1" }, { 2, NULL }, { 3, "row 3" } }, seen)
    end)

    it("raises the error object when the statement fails", function()
      local ok, err = pcall(function() for _ in conn:values "select 1 / 0" do error "no row here" end end)
      assert.is_false(ok)
      assert.equal("division_by_zero", err.kind)
      assert.equal("select 1 / 0", err.query)
    end)

    it("leaves the connection free for other statements inside the loop", function()
      local sum = 0
      for n in conn:values "select generate_series(1, 10)" do
        sum = sum + conn:query_value("select $1::int * 10", n)
        for m in conn:values("select generate_series(1, $1::int)", n) do sum = sum + m end
      end
      assert.equal(550 + 220, sum)
    end)

    it("may be broken out of, and outlives the connection", function()
      for n in conn:values "select generate_series(1, 10)" do
        if n == 3 then break end
      end
      probe.usable(conn)
      local iterator = conn:values "select generate_series(1, 3)"
      assert.equal(1, iterator())
      conn:close()
      assert.equal(2, iterator())
      assert.equal(3, iterator())
      assert.is_nil(iterator())
      assert.is_nil(iterator()) -- the end stays the end
    end)

    it("gives nothing for a statement without rows", function()
      for _ in conn:values "create temp table t (n int)" do error "no row here" end
      for _ in conn:values(NOTHING) do error "no row here" end
      assert.equal("t", conn:query_value "select relname from pg_class where oid = 't'::regclass")
    end)
  end)

  describe("describe", function()
    it("tells parameters and columns without running the statement", function()
      assert(conn:execute "create temp table t (id int, name text)")
      local about = assert(conn:describe "insert into t values ($1, $2) returning id, name as called, now()")
      assert.same({ { type = "integer", oid = 23 }, { type = "text", oid = 25 } }, about.params)
      assert.same({ { name = "id", type = "integer", oid = 23 }, { name = "called", type = "text", oid = 25 },
        { name = "now", type = "timestamp with time zone", oid = 1184 } }, about.columns)
      assert.equal(0, conn:query_value "select count(*) from t")
    end)

    it("knows statements without parameters or columns", function()
      assert.same({ params = {}, columns = {} }, conn:describe "create table never_made (n int)")
      assert.is_nil(conn:query_value "select to_regclass('never_made')")
    end)

    it("names user types", function()
      assert(conn:script "create type pg_temp.mood as enum ('sad', 'fine')")
      local about = assert(conn:describe "select $1::pg_temp.mood as m")
      assert.matches("mood", about.columns[1].type)
      assert.matches("mood", about.params[1].type)
    end)

    it("says what is wrong with the statement", function()
      local err = fails("undefined_table", "describe", "select * from no_such_table")
      assert.equal(15, err.position)
    end)

    it("gives a description of the caller's own", function()
      local about = assert(conn:describe "select 1 as a")
      about.columns[1].name, about.params[1] = "spoilt", "spoilt"
      about = assert(conn:describe "select 1 as a")
      assert.same({ "a", 0 }, { about.columns[1].name, #about.params })
    end)
  end)

  describe("script", function()
    it("runs several statements and tells of each", function()
      local list = assert(conn:script [[
        create temp table t (n int);
        insert into t values (1), (2);
        select n, n * 2 as twice from t order by n;
        update t set n = 3 where n = 9]])
      assert.same({ "CREATE TABLE", "INSERT", "SELECT", "UPDATE" },
        { list[1].command, list[2].command, list[3].command, list[4].command })
      assert.same({ 0, 2, 2, 0 },
        { list[1].affected, list[2].affected, list[3].affected, list[4].affected })
      assert.same({ { n = 1, twice = 2 }, { n = 2, twice = 4 } }, list[3].rows)
      assert.equal("twice", list[3].columns[2].name)
      assert.is_nil(list[4].rows)
    end)

    it("is one transaction: a failure undoes what came before it", function()
      local err = fails("division_by_zero", "script", "create table script_left_this (n int); select 1 / 0; select 2")
      assert.matches("1 / 0", err.query, 1, true)
      assert.is_nil(conn:query_value "select to_regclass('script_left_this')")
    end)

    it("points at the place of a failure in the whole text", function()
      local err = fails("undefined_table", "script", "select 1;\nselect * from no_such_table")
      assert.equal(25, err.position)
    end)

    it("runs an empty text", function()
      local list = assert(conn:script "")
      assert.is_true(#list <= 1)
      assert(conn:script "-- only a comment\n;;")
    end)

    it("may begin and end a transaction of its own", function()
      assert(conn:script [[begin; create table script_made_this (n int); commit;
        begin; drop table script_made_this; rollback]])
      assert.equal("script_made_this", conn:query_value "select to_regclass('script_made_this')::text")
      assert(conn:script "drop table script_made_this")
    end)

    it("reads NULL, duplicate names and user types as the other verbs do", function()
      local list = assert(conn:script "select null as a, 2 as b, 3 as b, array[1,null]::int[] as c")
      assert.same({ { b = 3, c = { 1, NULL } } }, list[1].rows)
    end)
  end)

  describe("prepare", function()
    it("gives a handle with the same verbs and the description", function()
      local statement = assert(conn:prepare "select n, $1::text as given from generate_series(1, $2) n")
      assert.same({ "text", "integer" }, { statement.params[1].type, statement.params[2].type })
      assert.same({ "n", "given" }, { statement.columns[1].name, statement.columns[2].name })
      assert.same({ { n = 1, given = "x" } }, statement:query("x", 1))
      assert.same({ n = 1, given = "x" }, statement:query_one("x", 1))
      assert.is_nil((statement:query_opt("x", 0)))
      assert.equal(1, statement:query_value("x", 1))
      assert.same({ 1, 2 }, statement:query_column("x", 2))
      assert.equal(2, statement:execute("x", 2))
      for n, given in statement:values("x", 1) do assert.same({ 1, "x" }, { n, given }) end
    end)

    it("survives being evicted from the cache, and DISCARD ALL", function()
      local small = assert(luphant.connect(env.url(), { statement_cache_size = 1 }))
      local statement = assert(small:prepare "select $1::int + 1")
      assert.equal(1, small:query_value "select 1")
      assert.equal(3, statement:query_value(2))
      assert(small:execute "discard all")
      assert.equal(4, statement:query_value(3))
      small:close()
    end)

    it("says what is wrong at once", function()
      fails("syntax_error", "prepare", "selec 1")
    end)
  end)

  describe("the options of one call", function()
    it("choose the shape of rows", function()
      assert.same({ { 1, "row 1" }, { 2, "row 2" }, { 3, "row 3" } }, conn:query { THREE, rows = "array" })
      assert.same({ n = { 1, 2, 3 }, name = { "row 1", "row 2", "row 3" } }, conn:query { THREE, rows = "columns" })
      assert.same({ n = {}, name = {} }, conn:query { THREE .. " where false", rows = "columns" })
      assert.same({ 1, "row 1" }, conn:query_one({ THREE .. " where n = $1", rows = "array" }, 1))
      assert.same({ { n = 7 } }, conn:query { "select 7 as n", rows = "named" })
    end)

    it("put luphant.NULL where a position must not be empty", function()
      assert.same({ { 1, NULL, 3 } }, conn:query { "select 1, null, 3", rows = "array" })
      assert.same({ a = { 1, NULL } }, conn:query { "select nullif(n, 2) as a from generate_series(1, 2) n",
        rows = "columns" })
    end)

    it("may have a default on the connection, which a call overrides", function()
      local arrays = assert(luphant.connect(env.url(), { rows = "array" }))
      assert.same({ { 1, 2 } }, arrays:query "select 1, 2")
      assert.same({ { a = 1 } }, arrays:query { "select 1 as a", rows = "named" })
      assert.same({ { 1 } }, arrays:query "select 1 as a")
      arrays:close()
    end)

    it("hold for one call only, also the timeout of a call that failed early", function()
      assert.equal("query_timeout", (select(2, conn:query { "select pg_sleep(3)", timeout = 0.05 })).kind)
      assert(conn:query "select pg_sleep(0.1)")
      fails("parameter", "query", { "select $1::int", timeout = 0.05 })
      assert(conn:query "select pg_sleep(0.1)")
      fails("parameter", "query", { "select 1\0", timeout = 0.05 })
      assert(conn:query "select pg_sleep(0.1)")
    end)

    it("do not change the caller's table", function()
      local request = { "select $1::int as n", rows = "array", timeout = 5 }
      assert(conn:query(request, 1))
      assert.same({ "select $1::int as n", rows = "array", timeout = 5 }, request)
    end)
  end)

  describe("misuse raises at the caller's line", function()
    for _, case in ipairs {
      { "SQL that is no text", "conn:query(nil)", "SQL text expected" },
      { "SQL that is a number", "local rows = conn:query(42)", "SQL text expected" },
      { "a request without SQL", "local n = conn:execute { rows = 'array' }", "SQL text expected" },
      { "an unknown option", "local row = conn:query_one { 'select 1', row = 'array' }", "rows" },
      { "a bad row style", "local row = conn:query_value { 'select 1', rows = 'arrays' }", "array" },
      { "a bad timeout", "local row = conn:query_opt { 'select 1', timeout = -1 }", "timeout" },
      { "values without SQL", "for _ in conn:values() do end", "SQL text expected" },
      { "describe without SQL", "local d = conn:describe {}", "SQL text expected" },
      { "prepare without SQL", "local d = conn:prepare()", "SQL text expected" },
      { "script without SQL", "local d = conn:script { 'select 1' }", "SQL text expected" },
      { "query as a tail call of a function", "local function f(c) return (c:query(false)) end local r = f(conn)",
        "SQL text expected" },
      { "register_type without a name", "local ok = conn:register_type(nil, {})", "string expected" },
      { "register_type without a codec", "local ok = conn:register_type('int4')", "table expected" },
      { "transaction without a function", "local ok = conn:transaction('begin')", "function" },
      { "transaction with an unknown option", "local ok = conn:transaction(print, { isolaton = 1 })", "isolation" },
      { "typed with an unknown type", "conn = require 'luphant'.typed(1, 'no_such')", "built-in types" },
      { "array of no table", "conn = require 'luphant'.array(1)", "table" },
    } do
      it(": " .. case[1], function()
        local message = misuse(conn, "\n\n" .. case[2])
        assert.matches("^caller:4: ", message)
        assert.matches(case[3], message, 1, true)
      end)
    end

    for _, use in ipairs {
      "conn:query 'select 1'", "conn:query_one 'select 1'", "conn:query_opt 'select 1'", "conn:query_value 'select 1'",
      "conn:query_column 'select 1'", "conn:execute 'select 1'", "for _ in conn:values 'select 1' do end",
      "conn:describe 'select 1'", "conn:script 'select 1'", "conn:prepare 'select 1'",
      "conn:transaction(function() end)", "conn:cancel()", "conn:query { 'select 1', rows = 'array', timeout = 3 }",
      "conn:register_type('int4', {})", "STATEMENT:query()", "local _ = conn:backend_pid()",
    } do
      it(": " .. use .. " after close", function()
        local prelude = use:find "STATEMENT" and "local STATEMENT = conn:prepare 'select 1'\nconn:close()\n"
          or "conn:close()\n\n"
        local message = misuse(conn, prelude .. use)
        assert.matches("^caller:4: ", message)
        assert.matches("closed", message, 1, true)
      end)
    end
  end)

  it("may be closed twice, says so, and stays closed", function()
    conn:close()
    conn:close()
    assert.is_false(conn:is_open())
    assert.matches("closed", tostring(conn), 1, true)
  end)

  describe("that is busy", function()
    -- A waiter during whose wait another piece of the program uses the same connection.
    local function interrupted_by(action)
      local poll = require("luphant.wait").choose "poll"
      local waiter, done = { name = "interrupting" }, false
      for name, fn in pairs(poll) do
        if type(fn) == "function" then waiter[name] = fn end
      end
      local shared
      function waiter.wait(...)
        if shared and not done then
          done = true
          action(shared)
        end
        return poll.wait(...)
      end
      shared = assert(luphant.connect(env.url(), { waiter = waiter }))
      return shared
    end

    it("refuses a second statement with a sentence and finishes the first", function()
      local seen = {}
      local shared = interrupted_by(function(busy)
        for _, verb in ipairs { "query", "query_one", "query_value", "execute", "describe", "script", "prepare" } do
          local value, err = busy[verb](busy, "select 2")
          assert.is_nil(value)
          seen[#seen + 1] = err
        end
      end)
      assert.equal(1, shared:query_value "select 1 from pg_sleep(0.05)")
      assert.equal(7, #seen)
      for _, err in ipairs(seen) do
        assert.same({ "busy", "usage", "no" }, { err.kind, err.class, err.sent })
        assert.matches("another statement is under way on this connection", err.message, 1, true)
      end
      probe.usable(shared)
      shared:close()
    end)

    it("keeps the first statement's shape and deadline when a second one is refused", function()
      local shared = interrupted_by(function(busy)
        busy:query { "select 2", rows = "array", timeout = 0.001 }
        busy:execute "select 2"
      end)
      assert.same({ { a = 1 } }, shared:query "select 1 as a from pg_sleep(0.05)")
      assert(shared:query "select pg_sleep(0.05)")
      shared:close()
    end)

    it("may be closed: the statement under way says so", function()
      local shared = interrupted_by(function(busy) busy:close() end)
      local value, err = shared:query "select pg_sleep(0.05)"
      assert.is_nil(value)
      assert.equal("closed", err.kind)
    end)
  end)

  describe("a notice", function()
    local function listening(hook)
      return assert(luphant.connect(env.url(), { on_notice = hook }))
    end

    local NOTICE = "do $$ begin raise notice 'hello %', 7 using hint = 'a hint', errcode = '01234'; end $$"

    it("goes to on_notice as an object with the server's fields", function()
      local seen = {}
      local listener = listening(function(notice) seen[#seen + 1] = notice end)
      assert(listener:execute(NOTICE))
      assert.equal(1, #seen)
      assert.same({ "hello 7", "a hint", "NOTICE", "01234" },
        { seen[1].message, seen[1].hint, seen[1].severity, seen[1].sqlstate })
      listener:close()
    end)

    it("is there by the time any verb returns, in the server's order", function()
      local seen = {}
      local listener = listening(function(notice) seen[#seen + 1] = notice.message end)
      assert(listener:script [[create function pg_temp.say(n int) returns int language plpgsql as
        'begin raise notice ''%'', n; return n; end']])
      local calls = {
        query = 1, query_one = 2, query_opt = 3, query_value = 4, query_column = 5, execute = 6, values = 7,
      }
      for verb, n in pairs(calls) do
        seen = {}
        assert(listener[verb](listener, "select pg_temp.say($1)", n))
        assert.same({ tostring(n) }, seen, verb)
      end
      seen = {}
      assert(listener:script "select pg_temp.say(1); select pg_temp.say(2)")
      assert.same({ "1", "2" }, seen)
      seen = {}
      assert(listener:query_column "select pg_temp.say(n) from generate_series(1, 60) n")
      assert.same({ "1", "60", 60 }, { seen[1], seen[60], #seen })
      listener:close()
    end)

    it("reaches the hook also before a statement fails", function()
      local seen = {}
      local listener = listening(function(notice) seen[#seen + 1] = notice.message end)
      local value, err = listener:execute "do $$ begin raise notice 'first'; perform 1 / 0; end $$"
      assert.is_nil(value)
      assert.equal("division_by_zero", err.kind)
      assert.same({ "first" }, seen)
      listener:close()
    end)

    it("may be answered with a statement on the same connection", function()
      local listener, answers = nil, {}
      listener = listening(function() answers[#answers + 1] = assert(listener:query_value "select 42") end)
      assert.same({ { n = 1 } }, listener:query [[select 1 as n, set_config('client_min_messages', 'notice', false)
        is null as x from (select 1) t]] and { { n = 1 } })
      assert(listener:execute(NOTICE))
      assert.same({ 42 }, answers)
      probe.usable(listener)
      listener:close()
    end)

    it("is dropped without a hook, and counted when there are too many for the queue", function()
      assert(conn:execute "do $$ begin for i in 1..500 loop raise notice '%', i; end loop; end $$")
      probe.usable(conn)
      local seen = {}
      local listener = listening(function(notice) seen[#seen + 1] = notice.message end)
      assert(listener:execute "do $$ begin for i in 1..500 loop raise notice '%', i; end loop; end $$")
      assert.equal(500, #seen + listener:stats().notices_lost)
      assert.equal("500", seen[#seen])
      listener:close()
    end)

    it("never goes to stderr", function()
      local url = ("%q"):format(env.url())
      local output = probe.script({}, [[
        io.stderr:close()
        io.stderr = nil
        os.remove ""
        local conn = assert(require("luphant").connect(]] .. url .. [[))
        assert(conn:execute "do $x$ begin raise notice 'LOUD'; raise warning 'LOUDER'; end $x$")
        conn:query "select 1 / 0"
        conn:close()
        print "silent"]])
      assert.equal("silent", output)
    end)
  end)

  describe("COPY through a verb", function()
    local INTO, OUT = "copy copy_target from stdin", "copy (select generate_series(1, 20000)) to stdout"

    before_each(function() assert(conn:execute "create temp table copy_target (n int)") end)

    for _, verb in ipairs { "query", "query_one", "query_opt", "query_value", "query_column", "execute", "script" } do
      it("is refused by " .. verb .. " in both directions, with the way to go", function()
        for _, sql in ipairs { INTO, OUT } do
          local err = fails("usage", verb, sql)
          assert.matches("copy", err.hint, 1, true)
          probe.usable(conn)
        end
        assert.equal(0, conn:query_value "select count(*) from copy_target")
      end)
    end

    it("is refused by values", function()
      for _, sql in ipairs { INTO, OUT } do
        local ok, err = pcall(conn.values, conn, sql)
        assert.is_false(ok)
        assert.equal("usage", err.kind)
        probe.usable(conn)
      end
    end)

    it("is refused in the middle of a script, whose other statements are undone too", function()
      fails("usage", "script", "insert into copy_target values (1); " .. INTO .. "; insert into copy_target values (2)")
      fails("usage", "script", "insert into copy_target values (1); " .. OUT .. "; select 1 / 0")
      assert.equal(0, conn:query_value "select count(*) from copy_target")
    end)

    it("to a file of the server is an ordinary statement", function()
      assert.equal(3, conn:execute "copy (select generate_series(1, 3)) to '/dev/null'")
    end)
  end)

  describe("a very long statement", function()
    it("is run when the server can take it", function()
      local text = ("x"):rep(2 ^ 22)
      assert.equal(#text, conn:query_value("select length('" .. text .. "')"))
      assert.equal(#text, conn:query_value("select length($1::text)", text))
    end)

    it("that no message can hold is refused before anything is sent #slow", function()
      if probe.slow > 1 or rawget(_G, "jit") then return pending "a text of 1 GB needs a Lua that can hold it" end
      local text = "select '" .. ("x"):rep(2 ^ 30 + 16) .. "'"
      local err = fails("parameter", "query", text)
      assert.same({ "no", "1 GB" }, { err.sent, err.message:match "1 GB" })
      assert.is_true(#tostring(err) < 1000)
      fails("parameter", "script", text)
      fails("parameter", "query", "select length($1::text)", text)
    end)
  end)

  describe("tells facts of its session", function()
    it("without asking the server", function()
      assert.equal(conn:query_value "select pg_backend_pid()", conn:backend_pid())
      assert.equal(conn:query_value "select current_setting('server_version_num')::int", conn:server_version())
      assert.equal("query_spec", conn:parameter_status "application_name")
      assert.is_nil(conn:parameter_status "no_such_parameter")
      assert.is_false(conn:tls())
      assert.equal("postgres", conn:target().dbname)
      assert.is_nil(conn:target().password)
    end)

    it("and the state of its transaction", function()
      assert.equal("idle", conn:transaction_status())
      assert(conn:execute "begin")
      assert.equal("intrans", conn:transaction_status())
      conn:query "select 1 / 0"
      assert.equal("inerror", conn:transaction_status())
      assert(conn:execute "rollback")
      assert.equal("idle", conn:transaction_status())
    end)
  end)
end)
