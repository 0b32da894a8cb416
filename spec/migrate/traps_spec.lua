-- docs/migration-traps.md: the traps that other runners have fallen into, those of its tests that stand nowhere else,
-- and a look whether the page tells the truth about the rest.
--
-- To see it fail: change a word of a title there or here.

local cli = require "spec.support.cli"
local ground = require "spec.support.migration_ground"
local migrate = require "luphant.migrate"

local PAGE = "docs/migration-traps.md"

local function text_of(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

-- What the page names: { { row =, file =, title = } }, and the rows in their order.
local function claims()
  local list, rows = {}, {}
  for line in io.lines(PAGE) do
    local row, trap, instead, shown = line:match "^| (T%d+) | (.-) | (.-) | (.-) |$"
    if row then
      rows[#rows + 1] = row
      assert(#trap > 20 and #instead > 5, row .. " says nothing")
      for part in (shown .. "<br>"):gmatch "(.-)<br>" do
        local file, title = part:match '^%[[%w_/]+%]%(%.%./(spec/[%w_/]+_spec%.lua)%): "(.+)"$'
        list[#list + 1] = { row = row, file = file, title = assert(title, row .. ": cannot be read: " .. part) }
      end
    end
  end
  return list, rows
end

describe("docs/migration-traps.md", function()
  it("names tests that exist", function()
    local list, offences = claims(), {}
    assert.is_true(#list > 25)
    for _, claim in ipairs(list) do
      if not text_of(claim.file):find('"' .. claim.title .. '"', 1, true) then
        offences[#offences + 1] = ("%s: %s has no test %q"):format(claim.row, claim.file, claim.title)
      end
    end
    assert(#offences == 0, "\n  " .. table.concat(offences, "\n  "))
  end)

  it("names each test of this file, and has each row once", function()
    local list, rows = claims()
    local named = {}
    for _, claim in ipairs(list) do named[claim.title] = true end
    local own = text_of "spec/migrate/traps_spec.lua":match 'describe%("a trap"(.*)'
    for title in own:gmatch '%f[%w]it%("(.-)", function' do assert(named[title], title) end
    for i, row in ipairs(rows) do assert.equal("T" .. i, row) end
    assert.equal(18, #rows)
  end)
end)

describe("a trap", function()
  local g

  before_each(function() g = ground.open() end)
  after_each(function() g.close() end)

  local function up(opts) return migrate.up(g.conn, g.dir, opts) end
  local function run(...) return cli.run({ DATABASE_URL = g.url }, "migrate", ...) end

  it("a lower number than the last one is refused, and never passed over", function()
    g.put("0001_a.sql", "create table a ();\n")
    g.put("0010_c.sql", "create table c ();\n")
    assert(up())
    g.put("0009_b.sql", "create table b ();\n")
    local _, err = up()
    assert.equal("migration_invalid", err.kind)
    assert.truthy(err.message:find("0009_b.sql: comes before migrations that are applied", 1, true), err.message)
    assert.is_true(assert(migrate.status(g.conn, g.dir))[2].out_of_order)
    assert.equal(4, (run("status", "--dir", g.dir, "--exit-code")))
    assert.equal(4, (run("check", "--dir", g.dir)))
    assert.equal(1, #assert(up { allow_out_of_order = true }))
    assert.is_true(g.exists "b" and g.row("0009").out_of_order)
  end)

  it("a second section of one name is an error with its line", function()
    g.put("0001_a.sql", "-- migrate:up\ncreate table a ();\n-- migrate:down\ndrop table a;\n-- migrate:up\nselect 1;\n")
    local _, err = up()
    assert.equal("migration_invalid", err.kind)
    assert.truthy(err.message:find("0001_a.sql:5: ", 1, true), err.message)
  end)

  it("a semicolon in a body, a comment or a name ends no statement", function()
    g.put("0001_a.sql", [[
create table "a;b" (n int default 1 /* ; /* ; */ */, t text default E'\';'); -- ;
create function f() returns int language plpgsql as $x$
begin
  perform ';';
  return 1;
end;
$x$;
do $$ begin insert into "a;b" (n) values (f()); end; $$;
]])
    assert.equal(3, #assert(migrate.load(g.dir))[1].up.statements)
    assert(up())
    assert.same({ n = 1, t = "';" }, assert(g.conn:query_one 'select * from "a;b"'))
  end)

  it("the second attempt has the time limits of the first", function()
    g.put("0001_t.sql", "create table t (n int);\n")
    assert(up())
    g.put("0002_t.sql", "-- migrate:up lock_timeout:700ms statement_timeout:20s\ncreate table limits as select"
      .. " current_setting('lock_timeout') as lock, current_setting('statement_timeout') as statement;\n"
      .. "alter table t add column m int;\n")
    local other, attempts = g.connect(), 0
    assert(other:script "begin; select from t")
    assert(up { on_event = function(event)
      if event.event ~= "retry" then return end
      attempts = attempts + 1
      if attempts == 2 then assert(other:script "commit") end
    end })
    other:close()
    assert.equal(2, attempts) -- the second one ended, too
    assert.same({ lock = "700ms", statement = "20s" }, assert(g.conn:query_one "select * from limits"))
  end)

  it("whatever was asked for and not done has an exit code of its own", function()
    local function code(verb, ...) return (run(verb, "--dir", g.dir, ...)) end
    g.put("0001_a.sql", "create table a ();\n")
    assert.equal(4, code("down", "--run", "last")) -- there was none
    assert.equal(4, code("resume", "0001")) -- nothing stopped
    assert.equal(4, code("up", "--to", "7"))
    assert.equal(4, code("up", "--only", "7", "--reason", "x"))
    assert.equal(4, code("skip", "7", "--reason", "x"))
    assert.equal(4, code("resolve", "0001", "--rolled-back", "--reason", "x"))
    assert.equal(4, code("baseline", "0000"))
    assert.equal(0, code "up")
    assert.equal(4, code("baseline", "0001")) -- there is a history
    assert.equal(4, code "down") -- there is no way back
    assert.equal(4, code("down", "--to", "7"))
    assert.equal(2, code("up", "--tenants", "t1", "--count", "0"))
    assert.equal(1, code("up", "--tenants", "no_such_schema")) -- nobody has made it
    assert.equal(0, code "up") -- nothing to do
  end)
end)
