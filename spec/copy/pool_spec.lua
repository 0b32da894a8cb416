-- COPY through a pool: the connection is lent until the writer or reader has ended, whoever ends it.
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local luphant = require "luphant"

describe("COPY through a pool", function()
  local db

  local function open(options)
    options = options or {}
    options.max_connections = options.max_connections or 2
    options.on_warning = function() end
    db = assert(luphant.open(env.url(), options))
    assert(db:script "drop table if exists pool_copy; create table pool_copy (id int primary key, name text)")
    return db
  end

  after_each(function()
    db:close(1) -- with a COPY that a failed test has left, which holds the table
  end)

  teardown(function()
    local conn = assert(luphant.connect(env.url()))
    assert(conn:execute "drop table if exists pool_copy")
    conn:close()
  end)

  local function count() return db:query_value "select count(*) from pool_copy" end
  local function used() return db:stats().used end

  it("lends a connection until the end, and has it back", function()
    open()
    local w = assert(db:copy_in "pool_copy")
    assert.equal(1, used())
    assert(w:row(1, "a"))
    assert.equal(0, count()) -- on another connection meanwhile
    assert.equal(1, w:finish())
    assert.equal(0, used())
    local r = assert(db:copy_out "pool_copy")
    assert.equal(1, used())
    for row in r do assert.same({ id = 1, name = "a" }, row) end
    assert.equal(0, used())
    w = assert(db:copy_in "pool_copy")
    assert(w:row(1, "again"))
    assert.equal("unique_violation", (select(2, w:finish())).kind)
    assert.equal(0, used())
    assert(db:copy_out "select generate_series(1, 1000000)"):close()
    assert.equal(0, used())
    assert.equal("undefined_table", (select(2, db:copy_in "nowhere")).kind)
    assert.is_false(pcall(db.copy_in, db, "pool_copy", { nonsense = 1 }))
    assert.equal(0, used())
    assert.equal(1, count())
  end)

  it("ends a COPY that was forgotten before anybody else gets the connection", function()
    open { max_connections = 1 }
    -- In coroutines, whose stacks go as well: LuaJIT goes on seeing what a function left on the stack of its caller.
    local function forget(rows)
      local w = assert(db:copy_in "pool_copy")
      for id = 1, rows do assert(w:row(id, ("x"):rep(200))) end
    end
    for _, rows in ipairs { 1, 5000 } do
      coroutine.wrap(forget)(rows)
      assert.equal(0, count())
    end
    local function forget_reader() assert(db:copy_out "select generate_series(1, 3000000) as n"):rows()() end
    coroutine.wrap(forget_reader)()
    assert.equal(0, count())
    assert.equal(1, db:stats().total)
  end)

  it("ends a COPY whose connection was given back in the middle", function()
    open { max_connections = 1 }
    local conn = assert(db:acquire())
    local w = assert(conn:copy_in "pool_copy")
    assert(w:row(1, "a"))
    conn:release()
    assert.equal(0, count())
    assert.is_false(pcall(w.row, w, 2, "b"))
    assert.is_false(pcall(w.finish, w))
    assert.is_true(w:abort())
    assert.equal(0, count())
  end)

  it("works in its transactions and raises through its strict view", function()
    open()
    assert(db:transaction(function(tx)
      local w = assert(tx:copy_in "pool_copy")
      assert(w:row(1, "a"))
      return w:finish()
    end))
    assert.equal(1, count())
    local strict = db:strict()
    local w = strict:copy_in "pool_copy"
    local ok, err = pcall(w.row, w, "x", "b")
    assert.is_false(ok)
    assert.equal("parameter", err.kind)
    assert.is_false(pcall(w.finish, w))
    local rows = 0
    for row in strict:copy_out("pool_copy"):rows() do rows = rows + row.id end
    assert.equal(1, rows)
    assert.equal(0, used())
  end)

  it("tells hooks how each ended", function()
    open()
    local told = {}
    db:on("copy", function(info) told[#told + 1] = info end)
    local w = assert(db:copy_in "pool_copy")
    assert(w:rows { { 1, "a" }, { 2, "b" } })
    assert(w:finish())
    for _ in assert(db:copy_out "pool_copy") do end -- luacheck: ignore
    w = assert(db:copy_in "pool_copy")
    assert(w:row(1, "a"))
    w:finish()
    assert.equal(3, #told)
    assert.same({ "in", "pool_copy", 2 }, { told[1].direction, told[1].target, told[1].rows })
    assert.same({ "out", "pool_copy", 2 }, { told[2].direction, told[2].target, told[2].rows })
    assert.is_true(told[1].bytes > 10 and told[1].seconds > 0 and told[1].error == nil)
    assert.equal("unique_violation", told[3].error.kind)
  end)
end)
