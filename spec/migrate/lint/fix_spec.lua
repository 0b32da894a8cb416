-- lint --fix: what it writes, and what it leaves alone. To see it fail: let remedy.lua mend a section with a table in
-- it.

local cli = require "spec.support.cli"
local ground = require "spec.support.migration_ground"
local lint = require "luphant.migrate.lint"
local migrate = require "luphant.migrate"
local shell = require "luphant.testing.shell"

local SHOP = "-- migrate:up irreversible\ncreate table orders (id bigint primary key, number text);\n"
  .. "create index orders_number_idx on orders (number);\n"

-- { before, after }; without `after` nothing is to be written.
local CASES = {
  { "create index i on orders (number);\n",
    "-- migrate:up transaction:false\ncreate index concurrently if not exists i on orders (number);\n" },
  { "-- why\n-- migrate:up irreversible\nCREATE UNIQUE INDEX i ON orders (id); -- keep\n\n"
      .. "drop index orders_number_idx;\n",
    "-- why\n-- migrate:up irreversible transaction:false\n"
      .. "CREATE UNIQUE INDEX concurrently if not exists i ON orders (id); -- keep\n\n"
      .. "drop index concurrently if exists orders_number_idx;\n" },
  { "-- migrate:up\nselect 1;\n-- migrate:down\ndrop index orders_number_idx;\n" }, -- down is not judged for that
  { "-- migrate:up\ncreate index concurrently i on orders (number);\n-- migrate:down\ndrop index concurrently i;\n",
    "-- migrate:up transaction:false\ncreate index concurrently if not exists i on orders (number);\n"
      .. "-- migrate:down transaction:false\ndrop index concurrently if exists i;\n" },
  { "-- migrate:up irreversible\nreindex table orders;\n",
    "-- migrate:up irreversible transaction:false\nreindex table concurrently orders;\n" },
  { "-- migrate:up\nbegin;\nalter table orders add column a int;\ncommit;\n-- migrate:down\nselect 1;\n",
    "-- migrate:up\nalter table orders add column a int;\n\n-- migrate:down\nselect 1;\n" },
  { "-- migrate:up\nset search_path = public;\nSET SESSION work_mem = '1MB';\n-- migrate:down\nselect 1;\n",
    "-- migrate:up\nset local search_path = public;\nSET local work_mem = '1MB';\n-- migrate:down\nselect 1;\n" },
  { "-- migrate:up transaction:false\ncreate index concurrently i on orders (number);\nselect 1;\n",
    "-- migrate:up transaction:false\ncreate index concurrently if not exists i on orders (number);\nselect 1;\n" },
  -- What another statement, a verification, or a person stands against.
  { "create index i on orders (number);\nalter table orders add column a int;\n" },
  { "-- migrate:up\ncreate index i on orders (number);\n-- migrate:verify\nselect true;\n" },
  { "create index on orders (number);\n" }, -- without a name it cannot be found again
  { "begin;\nalter table orders add column a int;\ncommit;\nbegin;\nselect 1;\ncommit;\n" },
  { "-- migrate:up\n-- migrate:allow index-without-concurrently: few rows\ncreate index i on orders (number);\n" },
  { "drop index orders_number_idx cascade;\n" },
}

describe("lint --fix", function()
  local g
  before_each(function()
    g = ground.open()
    g.put("0001_shop.sql", SHOP)
    assert(migrate.up(g.conn, g.dir))
  end)
  after_each(function() g.close() end)

  local function fix(...)
    return cli.run({}, "migrate", "lint", "--fix", "--dir", g.dir, "--database", g.url, ...)
  end

  local function text(name) return shell.read_file(g.dir .. "/" .. name) end

  it("writes what is mechanical, and nothing else; what it wrote runs", function()
    for _, case in ipairs(CASES) do
      g.put("0002_x.sql", case[1])
      local _, _, err = fix()
      assert.equal(case[2] or case[1], text "0002_x.sql")
      assert.equal(case[2] ~= nil, err:find "^fixed     %S*0002_x.sql:%d+: .*%[[%l%-]+%]\n" ~= nil)
      if case[2] then
        assert.equal(1, #assert(migrate.up(g.conn, g.dir)))
        assert(g.conn:script [[
          delete from luphant.migrations where version = '0002';
          drop index if exists i;
          alter table orders drop column if exists a;
          create index if not exists orders_number_idx on orders (number)]])
        local code, _, again = fix()
        assert.equal("", again, "nothing is left to be mended")
        assert.is_true(code == 0 or code == 5)
      end
    end
  end)

  it("leaves line ends, the byte order mark, and files that are applied as they are", function()
    g.put("0002_x.sql", "\239\187\191-- migrate:up irreversible\r\nset work_mem = '1MB';\r\n")
    assert.equal(0, (fix()))
    assert.equal("\239\187\191-- migrate:up irreversible\r\nset local work_mem = '1MB';\r\n", text "0002_x.sql")
    g.put("0002_x.sql", "-- migrate:up irreversible\nset work_mem = '2MB';\n")
    assert(migrate.up(g.conn, g.dir))
    local code, out, err = fix()
    assert.equal("", err)
    assert.equal(5, code)
    assert.truthy(out:find("[setting-leaks]", 1, true))
    assert.truthy(out:find("  --fix writes that\n", 1, true), out)
    assert.equal("-- migrate:up irreversible\nset work_mem = '2MB';\n", text "0002_x.sql")
  end)

  it("wants to know what is applied", function()
    local code, _, err = cli.run({}, "migrate", "lint", "--fix", "--dir", g.dir)
    assert.equal(2, code)
    assert.truthy(err:find("--fix wants --base or --database", 1, true), err)
    code, _, err = fix("--rule", "nosuch=off")
    assert.equal(2, code)
    assert.truthy(err:find("nosuch", 1, true), err)
    assert.equal(1, (cli.run({}, "migrate", "lint", "--fix", "--dir", g.dir, "--database", "postgres://localhost:1/x")))
  end)

  it("from Lua: one remedy for each file, and a file that changed meanwhile is left alone", function()
    g.put("0002_x.sql", "-- migrate:up irreversible\nset work_mem = '1MB';\nset search_path = public;\n")
    local report = assert(lint.dir(g.dir))
    assert.equal(1, #assert(lint.fix(report)))
    assert.equal("-- migrate:up irreversible\nset local work_mem = '1MB';\nset search_path = public;\n",
      text "0002_x.sql")
    assert.equal(0, #assert(lint.fix(report)))
  end)
end)
