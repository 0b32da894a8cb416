-- luphant migrate new --from-diff: a migration drafted from a difference. To see it fail: leave the renames out of
-- migrate/draft.lua, or the way back.

local cli = require "spec.support.cli"
local ground = require "spec.support.migration_ground"
local migrate = require "luphant.migrate"
local schema = require "luphant.schema"
local shell = require "luphant.testing.shell"

describe("a migration from a difference", function()
  local g
  before_each(function()
    g = ground.open()
    g.put("0001_a.sql", "-- migrate:up\ncreate table orders (id bigint primary key, note text, old int);\n"
      .. "create view v as select id, note from orders;\n-- migrate:down\ndrop view v;\ndrop table orders;\n")
    assert(migrate.up(g.conn, g.dir))
  end)
  after_each(function() g.close() end)

  local BY_HAND = [[
create type state as enum ('a', 'b');
alter table orders drop old, add state state not null default 'a';
create table lines (id bigint generated always as identity primary key, o bigint references orders);
create index on lines (o);
create function f(int) returns int language sql as 'select $1';
comment on table lines is 'it''s';]]

  -- Applied to what the files made it makes what was made by hand; taken back, what the files made.
  local function assert_fits(made)
    local by_hand = assert(schema.snapshot(g.conn))
    local found = assert(migrate.drift(g.conn, g.dir))
    assert.is_true(found.different, "not applied yet")
    assert(g.conn:script [[
      drop schema luphant cascade; drop view if exists v; drop table if exists lines, orders;
      drop function if exists f; drop type if exists state]])
    assert(migrate.up(g.conn, g.dir))
    for _, difference in ipairs(schema.diff(assert(schema.snapshot(g.conn)), by_hand)) do
      assert(difference.warning, schema.diff_text { difference })
    end
    assert.equal(1, #assert(migrate.down(g.conn, g.dir)))
    os.remove(made.files[1])
    assert.is_false(assert(migrate.drift(g.conn, g.dir)).different)
  end

  it("has the way there and back, and says what it did not find a statement for", function()
    assert(g.conn:script(BY_HAND .. "create publication p for table orders"))
    local made = assert(migrate.new(g.dir, "by hand", { from_diff = g.conn }))
    assert.same({ "+ publication p\n" }, made.left)
    local text = shell.read_file(made.files[1])
    assert.truthy(text:find("-- left to you: + publication p\n", 1, true), text)
    assert(g.conn:script "drop publication p")
    assert_fits(made)
  end)

  it("drops and adds what was renamed, until somebody says which name became which", function()
    assert(g.conn:script "alter table orders rename note to remark; alter table orders rename to purchases")
    local made = assert(migrate.new(g.dir, "one", { from_diff = g.conn }))
    assert.truthy(shell.read_file(made.files[1]):find("drop table public.orders", 1, true))
    os.remove(made.files[1])
    assert(g.conn:script "alter table purchases rename to orders")
    made = assert(migrate.new(g.dir, "one", { from_diff = g.conn }))
    assert.same({ "if remark was renamed: --rename public.orders.note=remark" }, made.left)
    os.remove(made.files[1])
    made = assert(migrate.new(g.dir, "one", { from_diff = g.conn, renames = { ["public.orders.note"] = "remark" } }))
    local text = shell.read_file(made.files[1])
    assert.truthy(text:find("-- migrate:up\nalter table public.orders rename column note to remark;\n\n?"
      .. "%-%- migrate:down\nalter table public.orders rename column remark to note;\n$"), text)
    assert_fits(made)
  end)

  it("compares two databases as well, and changes neither", function()
    local other = g.url -- the same one: all the same and nothing else
    assert(g.conn:script(BY_HAND))
    local before = schema.hash(assert(schema.snapshot(g.conn)))
    local made, err = migrate.new(g.dir, "same", { from_diff = g.conn, base = other })
    assert.is_nil(made)
    assert.equal("there is no difference to write a migration from", err.message)
    local renames = { ["public.nosuch.x"] = "y" }
    made, err = migrate.new(g.dir, "same", { from_diff = g.conn, base = other, renames = renames })
    assert.is_nil(made)
    assert.truthy(err.message:find("there is no table or column public.nosuch.x", 1, true), err.message)
    made = assert(migrate.new(g.dir, "back", { from_diff = g.conn, base = other,
      renames = { ["public.orders.note"] = "remark" } }))
    assert.truthy(shell.read_file(made.files[1]):find("rename column note to remark", 1, true))
    assert.equal(before, schema.hash(assert(schema.snapshot(g.conn))))
  end)

  it("on the command line: files on stdout, the rest on stderr, and exit codes", function()
    assert(g.conn:script(BY_HAND .. "create publication p for table orders"))
    local function new(...) return cli.run({}, "migrate", "new", "by hand", "--dir", g.dir, ...) end
    local code, out, err = new("--from-diff", g.url)
    assert.equal(0, code)
    assert.matches("0002_by_hand.sql\n$", out)
    assert.equal("left to you: + publication p\n", err)
    assert.equal(2, (new("--rename", "public.orders.note=remark")))
    assert.equal(2, (new("--from-diff", g.url, "--rename", "note=remark")))
    assert.equal(2, (new("--from-diff", g.url, "--lua")))
  end)
end)
