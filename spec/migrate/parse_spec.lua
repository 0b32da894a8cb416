-- The text of one file, taken apart.

local parse = require "luphant.migrate.parse"

local function text(...) return table.concat({ ... }, "\n") end

local function messages(problems)
  local out = {}
  for i, problem in ipairs(problems) do
    out[i] = ("%s%s%s%s"):format(problem.line and problem.line .. ":" or "", problem.column and problem.column
      .. ":" or "",
      problem.message, problem.hint and " (" .. problem.hint .. ")" or "")
  end
  return table.concat(out, "\n")
end

local function good(body, part)
  local sections, problems = parse(body, "f.sql", part)
  assert.equal("", messages(problems))
  return sections
end

local function bad(body, part)
  local _, problems = parse(body, "f.sql", part)
  for _, problem in ipairs(problems) do assert.equal("f.sql", problem.file) end
  return messages(problems)
end

describe("one migration file", function()
  it("falls into its sections, each knowing its first line and its statements", function()
    local sections = good(text(
      "-- Why this exists.",
      "",
      "-- migrate:up lock_timeout:5s",
      "create table t (a int);",
      "insert into t values (1);",
      "-- migrate:check",
      "select true;",
      "-- migrate:verify",
      "select count(*) = 1 from t;",
      "-- migrate:down",
      "drop table t;"))
    assert.equal("create table t (a int);\ninsert into t values (1);", sections.up.text)
    assert.equal(4, sections.up.line)
    assert.same({ lock_timeout = 5 }, sections.up.options)
    assert.equal("insert into t values (1)", sections.up.statements[2].sql)
    assert.equal(5, sections.up.statements[2].line)
    assert.same({ "select true;", 7 }, { sections.check.text, sections.check.line })
    assert.same({ "select count(*) = 1 from t;", 9 }, { sections.verify.text, sections.verify.line })
    assert.same({ "drop table t;", 11 }, { sections.down.text, sections.down.line })
    assert.equal(11, sections.down.statements[1].line)
  end)

  it("reads the same with a byte order mark and CRLF", function()
    local plain = "-- migrate:up\nselect 1;\n-- migrate:down\nselect 2;\n"
    local foreign = "\239\187\191" .. plain:gsub("\n", "\r\n")
    assert.same({ parse(plain, "f.sql") }, { parse(foreign, "f.sql") })
  end)

  it("without a marker is all up, or what its name says", function()
    local sections = good "-- sqlx would say so\nselect 1;\n"
    assert.equal(2, sections.up.statements[1].line)
    assert.is_nil(sections.down)
    assert.is_nil(good("drop table t", "down").up)
    assert.equal(1, good("drop table t", "down").down.statements[1].line)
  end)

  it("finds markers where the server sees comments, nowhere else", function()
    local sections = good(text(
      "/* the format:",
      "-- migrate:up",
      "*/",
      "  -- migrate:up",
      "create function f() returns text language sql as $$",
      "-- migrate:down",
      "select '",
      "-- migrate:verify",
      "'$$;",
      "-- migrate:down",
      "drop function f();"))
    assert.equal(5, sections.up.line)
    assert.equal(1, #sections.up.statements)
    assert.equal(11, sections.down.line)
    assert.is_nil(sections.verify)
  end)

  it("tells every problem at once, with its line", function()
    assert.equal(text(
      "has no `-- migrate:up` section",
      "1:SQL before the first marker; begin with a line `-- migrate:up`",
      "2:unknown section \"upp\" (did you mean \"up\"?); there are migrate:up, migrate:down, "
        .. "migrate:check and migrate:verify",
      "3:migrate:down: unknown option \"retri\" (did you mean \"retry\"?)",
      "3:migrate:down is empty",
      "5:migrate:verify: vars belongs on the line of migrate:up",
      "6:11:a parenthesis is not closed before the statement ends",
      "7:a second migrate:down section",
      "8:a marker has to begin its line"
    ), bad(text(
      "select 'stray';",
      "-- migrate:upp",
      "-- migrate:down retri:true",
      "-- only a comment",
      "-- migrate:verify vars:x",
      "select 1, (2;",
      "-- migrate:down",
      "select 1; -- migrate:verify")))
  end)

  it("refuses a section without statements", function()
    assert.equal("1:migrate:up is empty",
      bad "-- migrate:up\n\n-- nothing yet\n/* at all */;\n-- migrate:down\nselect 1;")
    assert.equal("1:migrate:up is empty", bad "")
    assert.equal("1:migrate:up is empty", bad "-- only a comment")
    assert.equal("3:migrate:down is empty", bad "-- migrate:up\nselect 1;\n-- migrate:down\n")
  end)

  it("knows a way back that is meant to be missing", function()
    assert.is_true(good("-- migrate:up irreversible\nselect 1;").up.options.irreversible)
    assert.is_true(good("-- migrate:up\nselect 1;\n-- migrate:down irreversible\n").down.options.irreversible)
    assert.equal("3:there is a way back, yet migrate:up says irreversible",
      bad "-- migrate:up irreversible\nselect 1;\n-- migrate:down\nselect 2;")
    assert.equal("3:migrate:down says irreversible, yet it has statements",
      bad "-- migrate:up\nselect 1;\n-- migrate:down irreversible\nselect 2;")
  end)

  it("keeps the halves of a pair to themselves", function()
    local sections = good("-- migrate:up transaction:false\nselect 1;\n-- migrate:verify\nselect true;", "up")
    assert.is_false(sections.up.options.transaction)
    assert.is_table(sections.verify)
    assert.is_false(good("-- migrate:down transaction:false\nselect 1;", "down").down.options.transaction)
    assert.equal("3:migrate:down does not belong into the .up.sql file of a pair",
      bad("-- migrate:up\nselect 1;\n-- migrate:down\nselect 2;", "up"))
    assert.equal("has no `-- migrate:down` section\n1:migrate:up does not belong into the .down.sql file of a pair",
      bad("-- migrate:up\nselect 1;", "down"))
    assert.equal("3:migrate:verify does not belong into the .down.sql file of a pair",
      bad("-- migrate:down\nselect 1;\n-- migrate:verify\nselect 2;", "down"))
  end)

  it("tells what is no SQL, with place and hint", function()
    assert.equal("2:1:\\i is a command of psql, not SQL "
      .. "(put the text of that file here, or run it as a migration of its own)",
      bad "-- migrate:up\n\\i other.sql\nselect 1;")
    assert.truthy(bad("copy t from stdin;\n1\n\\.\n"):find("1:1:COPY ... FROM STDIN reads data", 1, true))
    assert.truthy(bad("-- +goose Up\nselect 1;"):find("1:is a directive of goose", 1, true))
    assert.truthy(bad("-- Migrate:Up\nselect 1;"):find("1:is no marker; did you mean `-- migrate:up`?", 1, true))
  end)

  it("says when something open hides a marker", function()
    assert.equal("2:8:a string in quotes is not closed (it reaches over the marker on line 4)",
      bad(text("-- migrate:up", "select 'a;", "", "-- migrate:down", "select 1;")))
    assert.equal("1:1:a comment that begins with /* is not closed (it reaches over the marker on line 2)",
      bad(text("/* open", "-- migrate:up", "select 1;")):gsub("\n.*", ""))
  end)

  it("refuses bytes the server would refuse, naming the line", function()
    assert.truthy(bad("-- migrate:up\nselect 'a\0b';"):find "^2:holds a NUL byte")
    assert.truthy(bad("-- migrate:up\n\nselect 'gr\xfcn';"):find "^3:holds the byte FC")
    assert.truthy(bad("\255\254-\0-\0"):find "^1:is UTF%-16")
  end)
end)

describe("placeholders", function()
  it("are taken when declared, in all sections", function()
    local sections = good("-- migrate:up vars:role,n\ngrant select on t to ${role};\n"
      .. "-- migrate:down\nselect ${n:literal}, ${n:raw}")
    assert.same({ "role", "n" }, sections.up.options.vars)
    assert.equal("grant select on t to ${role}", sections.up.statements[1].sql)
  end)

  it("are refused outside of strings when not", function()
    assert.equal("2:${rolle} is not declared (did you mean \"role\"?); write vars:rolle on the line of migrate:up",
      bad "-- migrate:up vars:role\ngrant a to ${rolle}, ${role}")
    assert.equal("1:${a} is not declared; write vars:a on the line of migrate:up", bad "select ${a}")
    assert.equal("1:`${` begins a placeholder: ${name}, of letters, digits and `_`", bad "select ${a-b}")
    good "select '${a}', $$ ${b} $$ -- ${c}"
  end)

  it("have three forms", function()
    assert.equal("2:unknown form \"litteral\" of a placeholder (did you mean \"literal\"?); "
      .. "there are ${name}, ${name:literal} and ${name:raw}", bad "-- migrate:up vars:a\nselect ${a:litteral}")
  end)

  it("that are declared and never used are told", function()
    assert.equal("1:vars:b is declared, but ${b} stands nowhere",
      bad "-- migrate:up vars:a,b\nselect ${a}, '$b', '${bb}'")
    good "-- migrate:up vars:a\nselect '${a:raw}'"
  end)
end)
