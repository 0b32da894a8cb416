-- What a statement builds concurrently, and what lies there before and after.

local concurrently = require "luphant.migrate.concurrently"
local ground = require "spec.support.migration_ground"
local sqltext = require "luphant.sqltext"

local function read(sql) return concurrently.read(assert(sqltext.split(sql))[1]) end

describe("an index built concurrently", function()
  it("is read from its statement", function()
    local create = {
      ["create index concurrently i on t (n)"] = { "i", "t" },
      ["CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS I ON ONLY s.T USING btree (n)"] = { "i", "s.T" },
      ['create index /* x */ concurrently "I ""x" on "S"."T" (n)'] = { 'I "x', '"S"."T"' },
      ["create index concurrently on t (n)"] = {},
    }
    for sql, wanted in pairs(create) do
      local found = read(sql)
      assert.equal("create", found.verb, sql)
      assert.same(wanted, { found.index, found.relation }, sql)
    end
    local reindex = {
      ["reindex index concurrently s.i"] = { "index", "s.i" },
      ["reindex (verbose, tablespace x) table concurrently t"] = { "table", "t" },
    }
    for sql, wanted in pairs(reindex) do
      local found = read(sql)
      assert.same(wanted, { found.what, found.relation }, sql)
    end
    assert.equal("other", read("drop index concurrently i").verb)
    assert.equal("other", read("reindex schema concurrently s").verb)
    assert.is_nil(read("create index i on t (n)"))
    assert.is_nil(read("select 'create index concurrently i on t (n)'"))
  end)

  it("that is invalid afterwards is a failure, whatever the server answered", function()
    local g = ground.open()
    assert(g.conn:script "create table t (n int); insert into t values (1), (1)")
    local found = read "create unique index concurrently if not exists i on t (n)"
    assert.is_true(concurrently.after(g.conn, found))
    assert.is_nil((g.conn:script "create unique index concurrently i on t (n)"))
    assert(g.conn:script "create unique index concurrently if not exists i on t (n)") -- content with what is there
    local ok, err = concurrently.after(g.conn, found)
    assert.is_nil(ok)
    assert.equal("the index i is there, but invalid", err.message)
    -- One of the same name on another table is somebody else's.
    assert(g.conn:script "create schema s; create table s.t (n int)")
    assert.is_true(concurrently.after(g.conn, read "create index concurrently i on s.t (n)"))
    g.close()
  end)

  it("that somebody is building is left alone", function()
    local g = ground.open()
    assert(g.conn:script "create table t (n int)")
    local blocker = g.connect()
    assert(blocker:script "begin; insert into t values (1)")
    local pipe = g.child([[
      local conn = assert(require("luphant").connect(URL))
      assert(conn:script "create index concurrently i on t (n)")]], true)
    g.eventually "select exists (select from pg_index where indexrelid = to_regclass('i') and not indisvalid)"
    g.eventually "select exists (select from pg_stat_progress_create_index)"
    local ok, err = concurrently.before(g.conn, read "create index concurrently if not exists i on t (n)", function()
      error "dropped"
    end)
    assert.is_nil(ok)
    assert.truthy(err.message:find("is being built by server process", 1, true), err.message)
    assert(blocker:script "commit")
    assert.equal("", pipe:read "*a")
    pipe:close()
    blocker:close()
    g.close()
  end)
end)
