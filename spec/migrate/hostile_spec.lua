-- Files as they come out of editors, chats, merges and psql scripts: each is refused with what is wrong with it and
-- where, or taken as what it is; none of them makes the loader, the linter or the runner fail in another way.
--
-- To see it fail: take a line out of ODD in lint/rules/odd_character.lua, or the look for NUL out of encoding.lua.

local ground = require "spec.support.migration_ground"
local lint = require "luphant.migrate.lint"
local migrate = require "luphant.migrate"

local BOM = "\239\187\191"

-- What the loader says, and on which line.
local REFUSED = {
  { "-- migrate:up\ncreate table nul\0x (n int);\n", 2, "holds a NUL byte" },
  { "-- migrate:up\nselect 'caf\233';\n", 2, "holds the byte E9, which is no UTF-8 there" },
  { "-- migrate:up\nselect '\192\128';\n", 2, "holds the byte C0" },
  { "-- migrate:up\nselect '\237\160\128';\n", 2, "holds the byte ED" },
  { "\255\254-\0-\0", 1, "is UTF-16; save it as UTF-8" },
  { "-- migrate:up\nselect $body$ select 1; $bod$;\n", 2, "$body$ is not closed" },
  { "-- migrate:up\nselect 1;\n/* open /* ok */\n", 3, "a comment that begins with /* is not closed" },
  { "-- migrate:up\nselect 'it;\n", 2, "a string in quotes is not closed" },
  { "-- migrate:up\n\\i other.sql\n", 2, "\\i is a command of psql, not SQL; put the text of that file here" },
  { "-- migrate:up\nselect 1 \\gexec\n", 2, "\\gexec is a command of psql" },
  { "-- migrate:up\ncopy c from stdin;\n1\n\\.\n", 2, "write INSERT, or let the program copy the data" },
  { "-- MIGRATE:UP\nselect 1;\n", 1, "did you mean `-- migrate:up`?" },
  { "-- migrate:up\nselect 1;\n-- migrate:up\nselect 2;\n", 3, "a second migrate:up section" },
  { "-- migrate:up\ncreate function f() returns int begin atomic select 1;\nselect 3;\n", 2, "BEGIN ATOMIC without" },
}

-- What only the linter says before the server is asked.
local ODD = {
  { "select 1;\n\26", 3, "the control character 1A" },
  { "create\194\160table t (n int);", 2, "a no-break space" },
  { "\226\128\139create table t (n int);", 2, "a zero-width space" },
  { "select \226\128\152a\226\128\153;", 2, "a typographic quote" },
  { "\226\128\148 no comment\nselect 1;", 2, "a dash, which begins no comment" },
  { "<<<<<<< HEAD\nselect 1;", 2, "a marker of a merge" },
  { "select 1;\n>>>>>>> other\n", 3, "a marker of a merge" },
  { "select :'name', 1;", 2, "a variable of psql" },
}

local TAKEN = {
  BOM .. "-- migrate:up\ncreate table t (n int);\n",
  "-- migrate:up\r\ncreate table t (n int);\r\n",
  "-- migrate:up\rcreate table t (n int);\r",
  "-- migrate:up\n/* a /* b; */ c; */ create table t (n int); /* d /* e */ */\n",
  "-- migrate:up\n" .. ("/*"):rep(5000) .. ("*/"):rep(5000) .. ("; "):rep(5000) .. "create table t (n int);\n",
  "-- migrate:up\n\f\vcreate table t (n int);",
  "-- migrate:up\nselect a[1:2], '1'::int, '{\"a\":\"b\"}'::jsonb from (values (array[1, 2])) v (a);\n"
    .. "create table t ();\n",
  "-- migrate:up\ncreate table t (\"Stra\195\159e \"\"x\"\"\" int, gr\195\182\195\159e int, \"n:m\" int);\n"
    .. "comment on table t is '\226\128\156so\226\128\157 \226\128\147 called';\n",
  "-- migrate:up\ncreate table U&\"\\0074\" (n int);\nselect 'x\n-- migrate:down\n', $$\n-- migrate:down\n$$;\n",
  "-- migrate:up transaction:false\ndo $$ begin create table t (n int); commit; end $$;\n",
}

describe("a hostile file", function()
  local g
  before_each(function() g = ground.open() end)
  after_each(function() g.close() end)

  it("is refused with the line and what is wrong there, by lint and by up alike", function()
    for _, case in ipairs(REFUSED) do
      g.put("0001_x.sql", case[1])
      for _, err in ipairs { select(2, lint.dir(g.dir)), (select(2, migrate.up(g.conn, g.dir))) } do
        assert.equal("migration_invalid", err.kind)
        local text = ("0001_x.sql:%d: "):format(case[2])
        local at = err.message:find(text, 1, true)
        assert.truthy(at and err.message:find(case[3], at, true), err.message)
      end
    end
  end)

  it("with what looks right and is not is told by the linter", function()
    for _, case in ipairs(ODD) do
      g.put("0001_x.sql", "-- migrate:up irreversible\n" .. case[1])
      local found
      for _, finding in ipairs(assert(lint.dir(g.dir)).findings) do
        found = found or (finding.rule == "odd-character" and finding)
      end
      assert(found, case[3])
      assert.equal(case[2], found.line)
      assert.truthy(found.message:find(case[3], 1, true), found.message)
      local _, err = migrate.up(g.conn, g.dir)
      assert.equal("migration_failed", err.kind)
    end
  end)

  it("that is only unusual is taken, and nothing odd is found in it", function()
    for _, text in ipairs(TAKEN) do
      g.put("0001_x.sql", text)
      for _, finding in ipairs(assert(lint.dir(g.dir)).findings) do
        assert.not_equal("odd-character", finding.rule)
      end
      assert.equal(1, #assert(migrate.up(g.conn, g.dir)))
      assert(g.conn:script "drop table t; drop schema luphant cascade")
    end
  end)

  it("of a size or with lines that nobody reads is taken, too", function()
    local count = os.getenv "ASAN_OPTIONS" and 2000 or 10000
    local rows = {}
    for i = 1, count do rows[i] = ("insert into t values (%d, 'abcdefghijklmnopqrstuvwxyz');"):format(i) end
    g.put("0001_x.sql", "create table t (n int, a text);\n" .. table.concat(rows, "\n"))
    g.put("0002_y.sql", "insert into t values " .. ("(1, 'x'), "):rep(count) .. "(1, 'x');")
    g.put("0003_z.sql", "select '" .. ("x"):rep(1000000) .. "' nosuch syntax;")
    assert(lint.dir(g.dir))
    local _, err = migrate.up(g.conn, g.dir)
    assert.equal(2, #err.done)
    assert.truthy(err.message:find('0003_z.sql:1: migrate:up: syntax error at or near "syntax"', 1, true))
    assert.is_true(#tostring(err) < 3000, "a message, not the file")
    assert.equal(2 * count + 1, g.conn:query_value "select count(*)::int4 from t")
  end)
end)
