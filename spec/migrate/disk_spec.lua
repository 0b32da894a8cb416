-- A disk that is full in the middle of a migration. A limit on the size of files stands for the disk: the server that
-- runs the statement really cannot write, and says so as it does when there is no space.
--
-- To see it fail: let transact.lua write the row of a migration in a transaction of its own.

local ground = require "spec.support.migration_ground"
local host = require "luphant.testing.host"
local migrate = require "luphant.migrate"
local server = require "luphant.testing.server"
local shell = require "luphant.testing.shell"

-- Not a whole number of pages: the last one is written in part, which is what a full disk does. Above that of a segment
-- of the log, which must not be hit: that would end the server.
local LIMIT = 20 * 1024 * 1024 + 4096

describe("migrations on a full disk", function()
  local pg, g

  setup(function()
    pg = assert(server.start())
    g = ground.open(pg:url())
  end)
  teardown(function()
    g.close()
    pg:stop()
  end)
  before_each(function()
    assert(g.conn:script "drop schema if exists luphant cascade; drop table if exists a, big")
  end)

  local function limit(bytes)
    local pid = assert(shell.read_file(pg.data_dir .. "/postmaster.pid")):match "^%d+"
    -- By the account of the server, which may set the soft limit of its processes, and raise it again.
    local command = ("prlimit --pid %s --fsize=%s:"):format(pid, bytes)
    assert(shell.run(host.as(pg._account, command)))
  end

  local FILL = "create table big as select n, repeat('x', 1000) as pad from generate_series(1, 40000) n;\n"

  it("fail with the server's word for it, nothing of them stays, and they run when there is space", function()
    g.put("0001_a.sql", "create table a (n int);\n" .. FILL)
    limit(LIMIT)
    local done, err = migrate.up(g.conn, g.dir)
    limit "unlimited"
    assert.is_nil(done)
    assert.same({ "migration_failed", "53100", 2 }, { err.kind, err.sqlstate, err.line })
    assert.truthy(tostring(err):find("Check free disk space", 1, true), tostring(err))
    assert.is_false(g.exists "a")
    assert.same({ "fail" }, g.actions "0001")
    assert.equal(0, g.value "select count(*) from luphant.migrations")
    assert.equal(1, #assert(migrate.up(g.conn, g.dir)))
    assert.equal(40000, g.value "select count(*) from big")
    g.remove "0001_a.sql"
  end)

  it("without a transaction are known to the statement, and resumed", function()
    g.put("0001_a.sql", "-- migrate:up transaction:false\ncreate table a (n int);\n" .. FILL .. "vacuum a;\n")
    limit(LIMIT)
    local done, err = migrate.up(g.conn, g.dir)
    limit "unlimited"
    assert.is_nil(done)
    assert.is_true(err.half_done)
    local row = g.row "0001"
    assert.same({ "failed", 1, 2, "53100" },
      { row.state, row.statements_done, row.statements_started, row.error_sqlstate })
    assert(migrate.resume(g.conn, g.dir, "0001"))
    assert.equal(40000, g.value "select count(*) from big")
    assert.equal("applied", g.row("0001").state)
  end)
end)
