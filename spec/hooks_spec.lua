-- db:on and conn:on: what is told, to whom, when, and what a hook that fails changes (nothing).
--
-- To see it fail: take the call of statement_ended out of connection.lua, or `self.inside[task] = true` out of
-- hooks.lua (then the hook that writes a log table never ends).
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local hooks = require "luphant.hooks"
local luphant = require "luphant"
local pools = require "spec.support.pools"
local probe = require "spec.support.probe"

local function recorder()
  local list = {}
  return list, function(info) list[#list + 1] = info end
end

local function words(list, field)
  local out = {}
  for i, info in ipairs(list) do out[i] = tostring(info[field or "event"]) end
  return table.concat(out, " ")
end

describe("hooks of a pool", function()
  local db, told, record

  local function listen(...)
    for _, event in ipairs { ... } do db:on(event, record) end
  end

  before_each(function()
    told, record = recorder()
    db = assert(luphant.open(env.url(), { max_connections = 2, on_hook_error = function() error "unexpected" end }))
  end)
  after_each(function() assert(db:close(1)) end)

  it("tell the beginning and the end of each statement, with one table for both", function()
    local seen = {}
    db:on("query_start", function(info)
      info.mine = "kept"
      seen.start = info
      assert.equal("query_start", info.event)
      assert.is_nil(info.seconds)
    end)
    db:on("query_end", function(info) seen.stop = info end)
    assert.equal(42, db:query_value("select $1::int + 2", 40))
    assert.equal(seen.start, seen.stop)
    local info = seen.stop
    assert.equal("kept", info.mine)
    assert.equal("query_end", info.event)
    assert.equal("query_value", info.verb)
    assert.equal("select $1::int + 2", info.sql)
    assert.same({ n = 1, 40 }, info.params)
    assert.is_true(info.seconds >= 0 and info.seconds < 5 * probe.slow)
    assert.is_number(info.backend_pid)
    assert.is_nil(info.error)
  end)

  it("tell of every verb, on the pool, a connection, a transaction and a prepared statement", function()
    listen "query_end"
    db:query "select 1"
    db:query_one "select 1"
    db:query_opt "select 1 where false"
    db:query_value "select 1"
    db:query_column "select 1"
    db:execute "select 1"
    assert.equal(1, (db:values "select 1")())
    db:describe "select 1"
    db:script "select 1; select 2"
    local verbs = "query query_one query_opt query_value query_column execute values describe script"
    assert.equal(verbs, words(told, "verb"))
    for i = #told, 1, -1 do told[i] = nil end
    db:with(function(conn)
      conn:query { "select 1", rows = "array", timeout = 5 }
      conn:prepare("select 2"):execute()
    end)
    db:transaction(function(tx)
      tx:query_value "select 3"
      tx:transaction(function(inner) return inner:query_value "select 4" end)
      return tx:commit_with "select 5"
    end)
    assert.equal("query describe execute query_value query_value query", words(told, "verb"))
    local texts = words(told, "sql"):gsub(" select", "|select")
    assert.equal("select 1|select 2|select 2|select 3|select 4|select 5", texts)
    assert.is_nil(told[1].tx)
    assert.is_truthy(told[4].tx)
  end)

  it("tell how many rows there were", function()
    listen "query_end"
    db:query "select generate_series(1, 3)"
    db:query_column "select generate_series(1, 4)"
    db:query_one "select 1"
    db:with(function(conn)
      conn:execute "create temp table hooks_spec (n int)"
      conn:execute "insert into hooks_spec select generate_series(1, 5)"
    end)
    assert.equal("3 4 nil nil nil", words(told, "rows"))
    assert.equal("nil nil nil 0 5", words(told, "affected"))
  end)

  it("tell a failure with the statement and once more as an error, however it is told the caller", function()
    listen("query_end", "error")
    local _, err = db:query "select 1 / 0"
    assert.equal("query_end error", words(told))
    assert.equal(err, told[1].error)
    assert.equal(err, told[2].error)
    assert.equal("query", told[2].where)
    assert.equal("select 1 / 0", told[2].sql)
    local ok, raised = pcall(function() return (db:query(42)) end)
    assert.is_false(ok)
    assert.is_truthy(tostring(raised):find("hooks_spec.lua:%d+:"), tostring(raised))
  end)

  it("tell what is raised out of a verb, and it is raised on", function()
    local boom = {}
    assert(db:register_type("int4", { decode = function() error(boom, 0) end }))
    listen("query_end", "error")
    local ok, err = pcall(db.query, db, "select 1")
    assert.is_false(ok)
    assert.equal(boom, err)
    assert.equal(boom, told[1].error)
    assert.equal("query_end error", words(told))
    probe.usable(db)
  end)

  it("tell borrowings, of verbs as well as by hand", function()
    listen("connect", "acquire", "release")
    db:query "select 1"
    db:with(function(conn) conn:query "select 1" end)
    assert.equal("connect acquire release acquire release", words(told))
    assert.equal("socket", told[1].target.host and "socket")
    assert.is_true(told[1].seconds > 0)
    assert.equal("given back given back", told[3].how .. " " .. told[5].how)
    local conn = assert(db:acquire())
    conn:close()
    assert.equal("closed", told[#told].how)
    assert.equal("release", told[#told].event)
    assert.equal(told[1].backend_pid, told[2].backend_pid)
  end)

  it("tell transactions and savepoints, and how they ended", function()
    listen("transaction_begin", "transaction_end")
    db:transaction(function(tx)
      tx:transaction(function() return nil, "no" end)
      tx:transaction(function() return true end)
      return true
    end, { name = "order" })
    db:transaction(function() return nil, "never mind" end)
    assert.equal("begin begin end begin end end begin end", (words(told):gsub("transaction_", "")))
    assert.equal("nil nil rolled back nil released committed nil rolled back", words(told, "outcome"))
    assert.equal("1 2 2 2 2 1 1 1", words(told, "level"))
    assert.equal("order", told[6].name)
    assert.equal("never mind", told[8].error)
  end)

  it("tell a COMMIT that fails as an error", function()
    listen("error", "transaction_end")
    local ok, err = db:transaction(function(tx)
      tx:script [[create temp table parent (id int primary key);
        create temp table child (id int references parent deferrable initially deferred)]]
      return tx:execute "insert into child values (1)"
    end)
    assert.is_nil(ok)
    assert.equal("foreign_key_violation", err.kind)
    assert.equal("transaction_end error", words(told))
    assert.equal("rolled back", told[1].outcome)
    assert.equal("transaction", told[2].where)
    assert.equal(err, told[2].error)
  end)

  it("tell notices, beside the connection's own hook, also on connections that were there before", function()
    db:query "select 1"
    listen "notice"
    local raise = "do $$ begin raise notice 'look here'; end $$"
    assert(db:execute(raise))
    assert.equal("look here", told[1].notice.message)
    local off = db:on("notice", record)
    assert(db:execute(raise))
    assert.equal(3, #told)
    off()
    db:off("notice", record)
    assert(db:execute(raise))
    assert.equal(3, #told)

    local own = {}
    local other = assert(luphant.open(env.url(), { on_notice = function(n) own[#own + 1] = n end }))
    other:on("notice", record)
    assert(other:execute(raise))
    other:off("notice", record)
    assert(other:execute(raise))
    assert.equal(2, #own)
    assert.equal(4, #told)
    other:close()
  end)

  it("tell that no connection could be made, and that a borrower got none", function()
    local nowhere = assert(luphant.open { host = "127.0.0.1", port = probe.closed_port(), acquire_timeout = 0.2 })
    nowhere:on("error", record)
    assert.is_nil(nowhere:query "select 1")
    assert.equal("connect", told[1].where)
    assert.equal("acquire", told[#told].where)
    nowhere:close()
  end)

  it("are called in order, and end when they are told to", function()
    local order = {}
    local function first() order[#order + 1] = 1 end
    db:on("query_end", first)
    local off
    off = db:on("query_end", function()
      order[#order + 1] = 2
      off() -- in the middle of it
    end)
    db:on("query_end", function() order[#order + 1] = 3 end)
    db:query "select 1"
    db:query "select 1"
    assert.equal("12313", table.concat(order))
    assert.is_true(db:off("query_end", first))
    assert.is_false(db:off("query_end", first))
    off()
    db:query "select 1"
    assert.equal("123133", table.concat(order))
  end)

  it("are not told of what hooks do themselves", function()
    assert(db:script "drop table if exists hooks_log; create table hooks_log (sql text)")
    local off = db:on("query_end", function(info)
      assert(db:execute("insert into hooks_log values ($1)", info.sql))
    end)
    db:query_value "select 7"
    assert.same({ "select 7" }, db:query_column "select sql from hooks_log")
    off()
    assert(db:script "drop table hooks_log")
  end)

  it("are not told of look-ups that nobody wrote, but of what came to nothing because of one", function()
    assert(db:script "drop table if exists hooks_many; create table hooks_many (id int, f float8, at date)")
    listen("query_start", "query_end", "copy", "error")
    assert.equal(2, db:insert_many("hooks_many", { "id" }, { { 1 }, { 2 } }))
    assert.equal(1, db:insert_many("hooks_many", { "id" }, { { 3 } }, { via = "copy" }))
    local count = 0
    for _ in assert(db:copy_out("select id, f from hooks_many", { format = "text" })) do count = count + 1 end
    assert.equal(3, count)
    assert(db:register_type("hooks_many", {}))
    assert.equal("copy copy", words(told))
    assert.equal("hooks_many select id, f from hooks_many", words(told, "target"))
    for i = #told, 1, -1 do told[i] = nil end
    local _, err = db:insert_many("hooks_none", { "id" }, { { 1 } })
    local _, other = db:copy_in "hooks_none"
    local _, third = db:copy_out "select hooks_none"
    assert.same({ "undefined_table", "undefined_table", "undefined_column" }, { err.kind, other.kind, third.kind })
    assert.equal("error copy error copy error", words(told))
    assert.equal("batch nil copy nil copy", words(told, "where"))
    assert.same({ err, other, third }, { told[1].error, told[3].error, told[5].error })
    assert.same({ "hooks_none", "in", "out" }, { told[1].target, told[2].direction, told[4].direction })
    assert(db:script "drop table hooks_many")
  end)

  it("cost the fast way nothing once nobody listens any more", function()
    assert.is_true(db.direct)
    local off = db:on("acquire", record)
    assert.is_false(db.direct)
    off()
    assert.is_true(db.direct)
    db:query "select 1"
    local session = next(db.sessions) and db.sessions[next(db.sessions)]
    assert.is_nil(select(3, session.box:run(0, "select 1")))
    db:on("query_end", record)
    assert.equal("observe", (select(2, session.box:run(0, "select 1"))))
    db:off("query_end", record)
    assert.equal("table", type(session.box:run(0, "select 1")))
  end)

  it("refuse what is no event or no function, at the caller's line", function()
    local ok, err = pcall(function() db:on("query_stop", print) end)
    assert.is_false(ok)
    assert.is_truthy(err:find("hooks_spec.lua:%d+: unknown event \"query_stop\""))
    ok, err = pcall(function() db:on("anything", print) end)
    assert.is_false(ok)
    assert.is_truthy(err:find('unknown event "anything": there are connect, .*query_end'))
    ok, err = pcall(function() db:on("query_end", 1) end)
    assert.is_false(ok)
    assert.is_truthy(err:find("hooks_spec.lua:%d+: bad argument #2 to 'on'"))
    ok, err = pcall(function() db:off("transaction_ends", print) end)
    assert.is_false(ok)
    assert.is_truthy(err:find('did you mean "transaction_end"', 1, true))
  end)
end)

describe("a hook that raises", function()
  local reported, db

  before_each(function()
    reported = {}
    db = assert(luphant.open(env.url(), {
      on_hook_error = function(err, where) reported[#reported + 1] = { err = err, where = where } end,
    }))
  end)
  after_each(function() assert(db:close(1)) end)

  it("changes nothing and is reported, for every event", function()
    for _, event in ipairs(hooks.EVENTS) do
      db:on(event, function() error("trouble in " .. event, 0) end)
    end
    assert.equal(1, db:query_value "select 1")
    assert.equal(2, (db:transaction(function(tx) return tx:query_value "select 2" end)))
    assert.is_nil(db:query "select 1 / 0")
    assert(db:execute "do $$ begin raise notice 'x'; end $$")
    local seen = {}
    for _, each in ipairs(reported) do
      seen[each.where] = true
      assert.is_truthy(tostring(each.err):find("trouble in", 1, true))
    end
    for _, event in ipairs(hooks.EVENTS) do
      if event ~= "batch" and event ~= "copy" then assert.is_true(seen["hook " .. event], event) end
    end
    probe.usable(db)
    local stats = db:stats()
    assert.equal(0, stats.used)
  end)

  it("keeps no later hook from being called, and an error object stays what it is", function()
    local object, called = {}, false
    db:on("query_end", function() error(object) end)
    db:on("query_end", function() called = true end)
    db:query "select 1"
    assert.is_true(called)
    assert.equal(object, reported[1].err)
  end)
end)

describe("hooks of one connection", function()
  it("are told its statements, transactions and errors", function()
    local told, record = recorder()
    local conn = assert(luphant.connect(env.url()))
    local off = conn:on("query_end", record)
    conn:on("error", record)
    conn:query "select 1"
    conn:query "select 1 / 0"
    off()
    conn:query "select 1"
    assert.equal("query_end query_end error", words(told))
    assert.is_true(conn:off("error", record))
    conn:query "select 1 / 0"
    assert.equal(3, #told)
    conn:close()
  end)

  it("are the pool's where the connection is one of a pool", function()
    local db = assert(luphant.open(env.url()))
    db:with(function(conn)
      local ok, err = pcall(function() conn:on("query_end", print) end)
      assert.is_false(ok)
      assert.is_truthy(err:find("db:on", 1, true))
    end)
    db:close()
  end)
end)

describe("where others run", function()
  it("each task's statements are told, also while another one's hook waits", function()
    pools.run({ max_connections = 16 }, function(db, world)
      local seen = {}
      db:on("query_end", function(info)
        world.pause(0.01)
        db:query "select 'of a hook'"
        seen[info.sql] = (seen[info.sql] or 0) + 1
      end)
      local tasks = {}
      for i = 1, 8 do
        tasks[i] = world.spawn(function() assert(db:query("select " .. i)) end)
      end
      world.join(tasks)
      for i = 1, 8 do assert.equal(1, seen["select " .. i]) end
      assert.is_nil(seen["select 'of a hook'"])
    end)
  end)

  it("statements on shared pipelines are told once, ridden or not", function()
    pools.run({ max_connections = 4, share = { connections = 2 } }, function(db, world)
      local told, record = recorder()
      local tasks = {}
      for _ = 1, 2 do
        for i = 1, 6 do tasks[i] = world.spawn(function() assert(db:query_value("select $1::int", i)) end) end
        world.join(tasks)
        db:off("query_end", record) -- none at first
        db:on("query_end", record)
      end
      assert.equal(6, #told)
      assert(db:execute "set work_mem = '1MB'") -- travels alone
      assert.equal(7, #told)
      db:off("query_end", record)
      assert(db:query_value "select 1")
      assert.equal(7, #told)
    end)
  end)

  it("a pool may be closed while a hook waits", function()
    pools.run({ max_connections = 1 }, function(db, world)
      db:on("acquire", function() world.pause(0.05) end)
      local task = world.spawn(function() return { db:query "select 1" } end)
      world.pause(0.03)
      db:close(0)
      world.join { task }
      assert.is_nil(task.result[1])
      assert.equal("pool_closed", task.result[2].kind)
    end)
  end)

  it("a hook that began in a task that was dropped does not silence others", function()
    local db = assert(luphant.open(env.url()))
    local told, record = recorder()
    db:on("query_end", function(info)
      if info.sql == "select 'drop'" then coroutine.yield() end
    end)
    db:on("query_end", record)
    local co = coroutine.create(function() db:query "select 'drop'" end)
    assert(coroutine.resume(co))
    co = nil -- luacheck: ignore
    collectgarbage()
    db:query "select 1"
    assert.equal("select 1", words(told, "sql"))
    db:close(0)
  end)
end)

