-- SQL as text, judged by the server where that can be: it parts a script itself, so that its count of results is the
-- truth about ours.
--
-- To see it fail: let block comments end at the first */ in lex.lua, or take the BEGIN ATOMIC branch out of split.lua.

local env = require "spec.support.env"
local luphant = require "luphant"
local sqltext = require "luphant.sqltext"

local function kinds(text, options)
  local out = {}
  for _, token in ipairs((sqltext.tokens(text, options))) do
    if token.kind ~= "space" then out[#out + 1] = token.kind .. ":" .. token.text end
  end
  return out
end

local function statements(text, options)
  local list, problems = sqltext.split(text, options)
  assert(list, problems and problems[1] and problems[1].message)
  local out = {}
  for i, statement in ipairs(list) do out[i] = statement.sql end
  return out
end

local function problem(text, options)
  local list, problems = sqltext.split(text, options)
  assert.is_nil(list)
  return problems[1]
end

-- A small generator of our own: the same texts on both Luas, and a seed that can be put into a message.
local function dice(seed)
  local state = seed
  return function(count)
    state = (state * 16807) % 2147483647
    return state % count + 1
  end
end

describe("tokens", function()
  local function one(kind, text, options)
    assert.same({ kind .. ":" .. text }, kinds(text, options), text)
  end

  it("are all kinds of constants, each whole", function()
    one("string", "'it''s'")
    one("string", [['back\slash']])
    one("string", [[E'it\'s; \\']])
    one("string", [[e'a''b']])
    one("string", [[U&'\0041''b\']])
    one("string", "B'01'")
    one("string", "x'1F'")
    one("string", "N'text'")
    one("dollar", "$$a ; 'b$$")
    one("dollar", "$q$ $$ $other$ $q$")
    one("dollar", "$ü1$ x $ü1$")
  end)

  it("join the parts of a string over a line break, and keep the rules of its first part", function()
    one("string", "'a'\n  'b;'")
    one("string", "E'a'  \n\t'b\\'c'")
    one("string", "'a' -- in between\n -- again\n'b'")
    assert.same({ "string:'a'", "string:'b'" }, kinds "'a' 'b'")
    assert.same({ "string:'a'", "comment:/*\n*/", "string:'b'" }, kinds "'a'/*\n*/'b'")
    assert.same({ "string:'a'", "comment:-- at the end" }, kinds "'a' \n-- at the end")
  end)

  it("end a bit string at the first quote", function()
    assert.same({ "string:B'1'", "string:'0'" }, kinds "B'1''0'")
  end)

  it("take a letter for a prefix only when it is alone and touches the quote", function()
    assert.same({ "word:be", [[string:'\']] }, kinds [[be'\']])
    assert.same({ "word:e", [[string:'\']] }, kinds [[e '\']])
    assert.same({ "word:u", "operator:&", "number:1" }, kinds "u&1")
    assert.same({ "number:1", [[string:'\']] }, kinds [[1'\']])
  end)

  it("know backslashes in plain strings when standard_conforming_strings is off", function()
    local off = { standard_conforming_strings = false }
    one("string", [['it\'s']], off)
    one("string", [[N'it\'s']], off)
    assert.same({ [[string:'it\']], "word:s", "string:'" }, kinds [['it\'s']])
    assert.same({ [[string:B'1']] }, kinds("B'1'", off))
  end)

  it("are names, quoted or not", function()
    one("quoted", [["semi;colon ""x"" \"]])
    one("quoted", [[U&"d\0061t;a"]])
    one("word", "größe$1")
    one("word", "_a1")
    assert.same({ "word:a$$b$$" }, kinds "a$$b$$") -- a name may hold dollars, so this is no string
  end)

  it("nest comments", function()
    one("comment", "/* a /* b */ ; */")
    one("comment", "/*/ still open */")
    one("comment", "/***/")
    one("comment", "/* /**/ */")
    one("comment", "-- to the end ; ' \"")
    assert.same({ "comment:-- a", "word:b" }, kinds "-- a\nb")
    assert.same({ "comment:-- a", "word:b" }, kinds "-- a\rb")
  end)

  it("part operators as the server does", function()
    assert.same({ "word:a", "operator:=", "operator:-", "number:1" }, kinds "a=-1")
    assert.same({ "operator:@-", "number:1" }, kinds "@-1")
    assert.same({ "number:1", "operator:+", "comment:-- c" }, kinds "1+-- c")
    assert.same({ "number:2", "operator:*", "comment:/* c */", "number:3" }, kinds "2*/* c */3")
    assert.same({ "word:a", "operator:->>", "string:'b'" }, kinds "a->>'b'")
    assert.same({ "word:a", "symbol:::", "word:int", "symbol:[", "number:1", "symbol::", "number:2", "symbol:]" },
      kinds "a::int[1:2]")
    local long = ("+"):rep(150)
    assert.equal(150, #kinds(long))
    assert.same({ "operator:" .. ("<"):rep(62), "comment:--" }, { kinds(("<"):rep(62) .. "--")[1], "comment:--" })
    assert.same({ "comment:-- x" }, { kinds(("<"):rep(62) .. "-- x")[2] })
    assert.same({ "comment:-- x" }, { kinds(("<"):rep(63) .. "-- x")[2] })
  end)

  it("are numbers and parameters", function()
    for _, text in ipairs { "1", "1.5", ".5", "1.", "1e10", "1.5E-3", "0x1F", "0o17", "0b11", "1_000" } do
      one("number", text)
    end
    assert.same({ "number:1", "symbol:..", "number:10" }, kinds "1..10")
    assert.same({ "parameter:$1", "operator:+", "parameter:$23" }, kinds "$1+$23")
    assert.same({ "number:1", "dollar:$$x$$" }, kinds "1$$x$$")
    assert.same({ "other:$", "word:tag" }, kinds "$tag")
  end)

  it("are placeholders only when asked for", function()
    one("placeholder", "${role}", { placeholders = true })
    one("placeholder", "${role:literal}", { placeholders = true })
    assert.same({ "other:$", "other:{", "word:role", "other:}" }, kinds "${role}")
    assert.same({ "string:'${role}'" }, kinds("'${role}'", { placeholders = true }))
  end)

  it("know their line and their column in characters", function()
    local list = sqltext.tokens("select 'äö',\n  \"ü\" x", { line = 7 })
    local places = {}
    for _, token in ipairs(list) do
      if token.kind ~= "space" then places[#places + 1] = token.line .. ":" .. token.column end
    end
    assert.same({ "7:1", "7:8", "7:12", "8:3", "8:7" }, places)
  end)

  it("tell what is not closed, and where it began", function()
    for text, message in pairs {
      ["select\n 'a''"] = "a string in quotes is not closed",
      ["select\n E'a\\'"] = "a string in quotes is not closed",
      ["select\n B'1"] = "a string in quotes is not closed",
      ["select\n \"a\"\""] = "a quoted name is not closed",
      ["select\n $x$ a $y$"] = "a string that begins with $x$ is not closed",
      ["select\n /* a /* b */"] = "a comment that begins with /* is not closed",
    } do
      local list, found = sqltext.tokens(text)
      assert.same({ 2, 2, message }, { found.line, found.column, found.message }, text)
      assert.equal(#text, list[#list].to)
    end
  end)
end)

describe("splitting", function()
  it("parts at semicolons that end statements, at no others", function()
    assert.same({ "select ';'", "select $$;$$", 'select 1 as ";"', "select 2 /* ; */ + 1" }, statements(
      "select ';'; select $$;$$;\n select 1 as \";\";;\n; -- ;\n select 2 /* ; */ + 1"))
    assert.same({}, statements " ; -- nothing\n /* at all */ ;; ")
    assert.same({}, statements "")
  end)

  it("keeps the actions of a rule together", function()
    local rule = "create or replace rule r as on insert to t do also (delete from a; select (1); )"
    assert.same({ rule, "select 1" }, statements(rule .. "; select 1;"))
  end)

  it("keeps a BEGIN ATOMIC body together, whatever stands in it", function()
    for _, body in ipairs {
      "begin atomic end",
      "BEGIN /* c */ ATOMIC select 1; END",
      "begin atomic select case when true then 1 else 2 end; "
        .. "select case 1 when 1 then case when true then 2 end end; end",
      "begin atomic select 1 as \"end\"; select 2 as end; select 3 end; select x.end from (select 1 as end) x; end",
      "begin atomic; select 1;; end",
      "begin atomic select 1 as case; end",
      "begin atomic select ';' || $$; end;$$; /* end; */ end",
    } do
      local sql = "create or replace function f() returns int language sql " .. body
      assert.same({ sql, "select 1" }, statements(sql .. ";\nselect 1"), body)
      assert.same({ sql }, statements(sql), body)
    end
    local procedure = "create procedure p(begin atomic) begin atomic select 1; end"
    assert.same({ procedure, "select 2" }, statements(procedure .. "; select 2"))
  end)

  it("takes begin and atomic for words elsewhere", function()
    assert.same({ "begin", "select atomic from t", "end" }, statements "begin; select atomic from t; end;")
    assert.same({ "select begin atomic", "select 1", "end" }, statements "select begin atomic; select 1; end")
  end)

  it("says of every statement where it is and which words it has", function()
    local text = "-- head\n\n  Create /* x */ TABLE \"T\" (a int); /* y */ drop Table t"
    local list = assert(sqltext.split(text, { line = 10 }))
    assert.same({ 12, 3, "Create /* x */ TABLE \"T\" (a int)" }, { list[1].line, list[1].column, list[1].sql })
    assert.same({ "create", "table", "a", "int" }, list[1].words)
    assert.same({ "drop", "table", "t" }, list[2].words)
    assert.same({ 12, 45 }, { list[2].line, list[2].column })
  end)

  it("leaves comments between statements out, but not hints to extensions", function()
    assert.same({ "select 1", "/*+ SeqScan(t) */ select 2" }, statements(
      "/* first */ select 1 /* after */; -- second\n/*+ SeqScan(t) */ select 2"))
  end)

  it("follows standard_conforming_strings as the script sets it", function()
    assert.same({ "set standard_conforming_strings = off", [[select 'a\';']] },
      statements [[set standard_conforming_strings = off; select 'a\';']])
    for _, set in ipairs {
      "SET LOCAL standard_conforming_strings TO 'off'", "set session standard_conforming_strings=false",
      "set standard_conforming_strings to 0",
    } do
      assert.equal(2, #statements(set .. [[; select 'a\';']]), set)
      assert.equal(4, #statements(set .. [[; select 'a\';'; set standard_conforming_strings to on; select 'a\']]), set)
    end
    assert.equal(3, #statements(
      [[set standard_conforming_strings to on; set standard_conforming_strings to default; select 'a\';']],
      { standard_conforming_strings = false }))
    assert.equal(2, #statements [[select 'set standard_conforming_strings = off'; select 'a\']])
  end)

  it("refuses commands of psql with a hint, all of them", function()
    local list, problems = sqltext.split(
      "\\set x 1\nselect 1;\n  \\i 'other file.sql'\n\\restrict abc\nselect 'a\\b' \\gset\n")
    assert.is_nil(list)
    local seen = {}
    for i, found in ipairs(problems) do
      seen[i] = ("%d:%d %s (%s)"):format(found.line, found.column, found.message, found.hint)
    end
    assert.same({
      [[1:1 \set is a command of psql, not SQL (variables of psql do not exist here)]],
      [[3:3 \i is a command of psql, not SQL (put the text of that file here, or run it as a migration of its own)]],
      [[4:1 \restrict is a command of psql, not SQL (pg_dump wrote it for psql; take the line out)]],
      [[5:14 \gset is a command of psql, not SQL (only psql understands it; take it out)]],
    }, seen)
  end)

  it("refuses COPY FROM STDIN with its data, and reads on behind them", function()
    local text = "select 1;\ncopy public.t (a, b) from stdin with (format text);\n1\tit's\n2\t/* (\n\\.\n\nselect (2;"
    local _, problems = sqltext.split(text)
    assert.equal(2, #problems)
    assert.same({ 2, 1 }, { problems[1].line, problems[1].column })
    assert.truthy(problems[1].message:find("COPY ... FROM STDIN", 1, true))
    assert.truthy(problems[1].hint:find("INSERT", 1, true))
    assert.same({ 7, 8 }, { problems[2].line, problems[2].column })
    assert.truthy(problem("COPY t FROM\n STDOUT;"))
    assert.same({ "copy t from '/tmp/stdin'", "copy (select a from stdin) to '/tmp/x'" },
      statements "copy t from '/tmp/stdin'; copy (select a from stdin) to '/tmp/x'")
  end)

  it("names the parenthesis that is not closed", function()
    local found = problem "select 1;\ncreate table t (\n  a int;\nselect 2;"
    assert.same({ 2, 16 }, { found.line, found.column })
    assert.equal("a parenthesis is not closed before the statement ends", found.message)
    assert.same({ 1, 8 }, { problem("select (1").line, problem("select (1").column })
    assert.same({ "select 1)", "select 2" }, statements "select 1); select 2") -- the server says it better
  end)

  it("names the body that has no end", function()
    local found = problem "create function f() begin atomic select 1;\nselect case 1 when 1 then 1 end;"
    assert.truthy(found.message:find("BEGIN ATOMIC without an END", 1, true))
    assert.equal(1, found.line)
  end)

  it("tells a list of problems of some length only", function()
    local _, problems = sqltext.split(("\\x\n"):rep(10000))
    assert.equal(20, #problems)
  end)
end)

describe("for logs", function()
  it("no value stays, names and shape do", function()
    assert.equal('select ?, a."b" from t where c = ? and d = $1 and e in (?, ...)', sqltext.normalise(
      "select 'x' ,  -- secret\n a.\"b\" from t\n where c = 0x1F and d = $1 and e in (1, 'two', $$three$$ , 4)"))
    assert.equal("insert into t values (?, ...), (?, ...)", sqltext.normalise "insert into t values (1,2), (3, 4)")
    assert.equal("select ?", sqltext.normalise "select E'a\\'b'\n  'c'")
    assert.equal("do ?", sqltext.normalise "do $$ begin perform 'password'; end $$")
  end)

  it("broken text hides more, not less", function()
    assert.equal("alter role a password ?", sqltext.normalise "alter role a password 'secret")
    assert.equal("select ?", sqltext.normalise "select $x$ secret $y$")
    assert.equal("select", sqltext.normalise "select /* secret ")
  end)
end)

describe("without comments", function()
  it("the text means the same", function()
    assert.equal("select 1\n +   2", sqltext.strip "  -- head\n select 1-- one\n + /* two */ 2 /* end */\n")
    assert.equal("select '-- no comment', $$/* nor this */$$, \"--\"",
      sqltext.strip "select '-- no comment', $$/* nor this */$$, \"--\" -- but this")
    assert.equal("", sqltext.strip " /* only */ -- comments")
    assert.equal("", sqltext.strip "")
  end)

  it("bare texts are equal when only comments and blanks differ", function()
    assert.equal(sqltext.bare "select  a ,b\nfrom t -- x", sqltext.bare "/* y */ select a,b from t")
    assert.not_equal(sqltext.bare "select 'a  b'", sqltext.bare "select 'a b'")
    assert.not_equal(sqltext.bare "select E'a'", sqltext.bare "select E 'a'")
    assert.not_equal(sqltext.bare "select Ab", sqltext.bare "select ab")
  end)
end)

describe("places", function()
  it("go from bytes to lines and columns, and from the server's characters to bytes", function()
    assert.same({ 2, 3 }, { sqltext.place("ä\nöüx", 8) })
    assert.same({ 42, 1 }, { sqltext.place("x", 1, 42) })
    assert.equal(8, sqltext.byte("ä\nöüx", 5))
    assert.equal(9, sqltext.byte("ä\nöüx", 6))
    assert.equal(9, sqltext.byte("ä\nöüx", 99))
    assert.equal(1, sqltext.byte("x", 1))
  end)
end)

-- ---- properties -----------------------------------------------------------------------------------------

local FRAGMENTS = {
  "select", " ", "\n", ";", "'", "''", "E'", "\\", "$$", "$a$", "$1", "$", "\"", "U&'", "--", "/*", "*/", "(",
  ")", "begin",
  " atomic ", "create function f()", " end", "case", "1", ".5", "1e", "+", "-", "*", "/", "@", "::", ":",
  "\t", "\r\n", "ä",
  "\\copy t\n", "copy t from stdin", "\\.\n", "create rule r", "B'", "x'", "${a}", "{", "\255",
  "set standard_conforming_strings=off",
}

local function random_text(roll, length)
  local out = {}
  for i = 1, length do out[i] = FRAGMENTS[roll(#FRAGMENTS)] end
  return table.concat(out)
end

describe("any text whatever", function()
  it("is its tokens, in a row and without a gap", function()
    local roll = dice(4711)
    for round = 1, 1500 do
      local text = random_text(roll, roll(40))
      local options = { standard_conforming_strings = round % 2 == 0, placeholders = round % 3 == 0 }
      local list, out, expected = sqltext.tokens(text, options), {}, 1
      for i, token in ipairs(list) do
        assert(token.from == expected and token.to >= token.from, text)
        local line, column = sqltext.place(text, token.from)
        assert(line == token.line and column == token.column, text)
        expected, out[i] = token.to + 1, token.text
      end
      assert.equal(text, table.concat(out))
      local bare = sqltext.bare(text, options)
      assert.equal(bare, sqltext.bare(bare, options))
      sqltext.normalise(text, options)
      sqltext.strip(text, options)
    end
  end)

  it("is its statements, and between them nothing but blanks, comments and semicolons", function()
    local roll, good = dice(815), 0
    for _ = 1, 3000 do
      local text = random_text(roll, roll(12))
      local list = sqltext.split(text)
      if list then
        good = good + 1
        local at, out = 1, {}
        local function gap(to)
          local between = text:sub(at, to)
          for _, token in ipairs((sqltext.tokens(between))) do
            assert(token.kind == "space" or token.kind == "comment" or token.text == ";", text)
          end
          out[#out + 1] = between
        end
        for _, statement in ipairs(list) do
          gap(statement.from - 1)
          assert.equal(text:sub(statement.from, statement.to), statement.sql)
          out[#out + 1], at = statement.sql, statement.to + 1
          local line, column = sqltext.place(text, statement.from)
          assert.same({ line, column }, { statement.line, statement.column })
        end
        gap(#text)
        assert.equal(text, table.concat(out))
      end
    end
    assert.is_true(good > 500, good)
  end)

  -- A quadratic reader needs minutes for these; the limit leaves room for a slow machine under load.
  it("takes time in proportion to its length", function()
    local began = os.clock()
    for _, piece in ipairs {
      "/*", "$a", "${", "'\n", "(", "\\x\n", "'a' ", "-- x\n", "1.e", "E", "$", "$$ a $$; ", "+", "<>-", "*/",
      "\"", "' ", "a$",
      "begin atomic ", "copy from stdin;",
    } do
      local text = piece:rep(math.floor(60000 / #piece))
      sqltext.split(text)
      sqltext.tokens(text)
      sqltext.bare(text)
      sqltext.normalise(text)
      sqltext.strip(text .. (" "):rep(30000) .. "x" .. (" "):rep(30000))
    end
    assert.is_true(os.clock() - began < 20)
  end)
end)

describe("the server", function()
  local conn

  lazy_setup(function() conn = assert(luphant.connect(env.url())) end)
  lazy_teardown(function() conn:close() end)

  -- Whole statements; each may stand beside each other.
  local STATEMENTS = {
    "select 1", "select ';'", "select 'it''s;'", [[select E'\';']], [[select 'a\']], [[select U&'\0041;']],
    "select B'01', x'1F'",
    "select $$;$$", "select $a$ $$ ; $b$ $a$", "select 1 as \";\"\"\"",
    "select U&\"d\\0061t;a\" from (select 1 as data) as x(\"dat;a\")",
    "select 'a' -- ; '\n ';b'", "select E'a'\n'\\';'", "select /* ; /* ; */ ' */ 2", "select 1 -- ;\n + 1",
    "select (1), (select 2)",
    "select 1 as a$$b", "select 2*/* c */3", "select -1 - -1, @ -1, 1+-- x ;\n2",
    "select (array[1,2,3])[1:2]", "select 'x'::text || N';'",
    "create or replace function pg_temp.f() returns int begin atomic select 1; select case when true then 2 end; end",
    "create or replace function pg_temp.g() returns int language sql begin atomic select 1 as end; select 3 end; end",
    "create or replace procedure pg_temp.p() begin atomic end",
    "create or replace function pg_temp.h() returns int begin atomic "
      .. "select case 1 when 1 then case when true then 1 end end; select 2 as \"end\"; END",
    "create or replace function pg_temp.i() returns int return 1",
    "create or replace function pg_temp.j() returns int language plpgsql as $f$ begin return 1; end; $f$",
    "do $$ begin perform ';'; end $$", "set local application_name = ';'",
    "select 1 as begin, 2 as atomic, 3 as case, 4 as end", "select 5 end",
    "select $ü$ ; $ü$", "select 1 where 'a' = 'a' /*;*/ and 2 > 1", "select .5, 1., 1.5e-3",
    "create or replace rule r as on insert to pg_temp.t do also (delete from pg_temp.t; select (1); )",
  }
  local GAPS = { ";", ";\n", "; -- it's ;\n", ";/* ; ' */", ";;", ";\n\n ; ", "; /* /* ; */ */ ;" }

  it("parts a script as we do, whatever stands together in it", function()
    local roll = dice(20)
    assert(conn:execute "create temp table t (a int)")
    for _ = 1, 400 do
      local text, count = {}, roll(8)
      for i = 1, count do
        text[#text + 1] = STATEMENTS[roll(#STATEMENTS)]
        text[#text + 1] = (i < count or roll(2) == 1) and GAPS[roll(#GAPS)] or ""
      end
      text = table.concat(text)
      local list, problems = sqltext.split(text)
      assert(list, problems and problems[1].message .. "\n" .. text)
      local results, err = conn:script(text)
      assert(results, tostring(err) .. "\n" .. text)
      assert.equal(#results, #list, text)
      assert.equal(count, #list, text)
    end
  end)

  it("takes each of our statements alone, and takes it for one", function()
    for _, sql in ipairs(STATEMENTS) do
      local results, err = conn:script((sqltext.split(sql .. ";"))[1].sql)
      assert(results, tostring(err) .. "\n" .. sql)
      assert.equal(1, #results, sql)
    end
  end)

  it("reads strings as we do when standard_conforming_strings is off", function()
    -- One by one: the server reads the whole of a script before it runs the first statement of it.
    local values = {}
    assert(conn:execute "set escape_string_warning = off")
    for i, sql in ipairs(statements("set standard_conforming_strings = off; select 'a\\';b' as v; "
      .. "select E'c' as v; set standard_conforming_strings = on; select 'd\\' as v")) do
      local result = assert(conn:script(sql))[1]
      values[i] = result.rows and result.rows[1] and result.rows[1].v or "-"
    end
    assert.same({ "-", "a';b", "c", "-", [[d\]] }, values)
  end)

  it("says the same of a text without comments", function()
    for _, sql in ipairs(STATEMENTS) do
      local stripped = sqltext.strip(sql)
      local results, err = conn:script(stripped)
      assert(results, tostring(err) .. "\n" .. stripped)
      if sql:find "^select" then
        local before = assert(conn:script(sql))
        assert.same(before[1].rows, results[1].rows, sql)
        assert.same(before[1].rows, assert(conn:script(sqltext.bare(sql)))[1].rows, sql)
      end
    end
  end)

  it("finds the same tokens to be unclosed", function()
    for _, sql in ipairs {
      "select 'a", "select $x$ a $y$", "select \"a", "select /* a", "select E'a\\'", "select '\\' '",
    } do
      local _, found = sqltext.tokens(sql)
      local _, err = conn:script(sql)
      assert.is_table(found, sql)
      assert.truthy(err.message:find "unterminated", sql)
      local line, column = sqltext.place(sql, sqltext.byte(sql, err.position))
      assert.same({ found.line, found.column }, { line, column }, sql)
    end
  end)
end)
