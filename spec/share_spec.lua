-- luphant.share: statements of many tasks on few connections. Every task gets its own answers and its own errors,
-- whatever happens beside it; what is not harmless never shares.
--
-- SPDX-License-Identifier: MIT

local connection = require "luphant.connection"
local core = require "luphant.core"
local env = require "spec.support.env"
local lenders = require "spec.support.lender"
local luphant = require "luphant"
local probe = require "spec.support.probe"
local share = require "luphant.share"
local sharing = require "spec.support.sharing"
local worlds = require "spec.contract.worlds"

local all, with = sharing.all, sharing.with
local is_luajit = rawget(_G, "jit") ~= nil
local VERBS = connection.verbs
local QUERY, ONE, VALUE, EXECUTE = VERBS.query, VERBS.query_one, VERBS.query_value, VERBS.execute

-- A sequence that is the same on every Lua and in every run.
local function sequence(seed)
  return function(n)
    seed = (seed * 1103515245 + 12345) % 2147483648
    return math.floor(seed / 65536) % n + 1
  end
end

local function same_kind(err, kind)
  assert.equal(kind, type(err) == "table" and err.kind or tostring(err))
  return err
end

describe("shared connections", function()
  local db

  setup(function()
    db = assert(luphant.connect(env.url()))
    assert(db:script [[
      drop table if exists share_item, share_parent;
      create table share_parent (id int primary key);
      create table share_item (id int primary key, task int, note text,
        parent int references share_parent deferrable initially deferred);
      create or replace function share_notice(text) returns text language plpgsql as
        'begin raise notice ''%'', $1; return $1; end']])
  end)
  teardown(function()
    assert(db:script "drop table share_item, share_parent; drop function share_notice(text)")
    db:close()
  end)
  before_each(function() assert(db:script "truncate share_item, share_parent") end)

  describe("give every task its own answers", function()
    for _, setting in ipairs(worlds.others) do
      local test = setting.missing and pending or it
      test("under " .. setting.name, function()
        local world = setting.start()
        world.run(function()
          local lender = lenders.new(world.waiter, { limit = 3 })
          local shared = share.new(lender, { connections = 3 })
          local pick, tasks = sequence(7), {}
          local function task(i)
            for k = 1, 60 do
              local what = pick(6)
              if what == 1 then
                local _, err = shared:run(VALUE, "select 1 / ($1::int - $1)", i)
                same_kind(err, "division_by_zero")
              elseif what == 2 then
                local rows = assert(shared:run(QUERY, "select $1::int as task, n from generate_series(1, $2::int) n",
                  i, k))
                assert.equal(k, #rows)
                assert.equal(i, rows[k].task)
                assert.equal("SELECT", rows.command)
              elseif what == 3 then
                world.pause(pick(3) / 2000)
              elseif what == 4 then
                local row = assert(shared:run(ONE, ("select %d + $1::int as sum"):format(pick(40)), i))
                assert.is_number(row.sum)
              else
                assert.equal(("%d-%d"):format(i, k), assert(shared:run(VALUE, "select $1::text || '-' || $2::text",
                  tostring(i), tostring(k))))
              end
            end
          end
          for i = 1, 30 do tasks[i] = world.spawn(function() task(i) end) end
          world.join(tasks)
          assert.equal(3, lender.most)
          assert.equal(3, shared:shrink())
          lender.close()
        end)
      end)
    end

    it("in a plain script", function()
      local lender = lenders.new("poll")
      local shared = share.new(lender)
      for i = 1, 20 do assert.equal(i, shared:run(VALUE, "select $1::int", i)) end
      assert.equal(1, shared:shrink())
      lender.close()
    end)
  end)

  it("answer every verb as a connection does", function()
    with({}, function(shared)
      local sql = "select n, n::text as t, null::int as nothing from generate_series(1, $1::int) n"
      for _, style in ipairs { 0, 16, 32 } do
        for name, verb in pairs(VERBS) do
          for rows = 0, 2 do
            local expected, err = connection.run(db, verb + style, sql, rows)
            local got, why = shared:run(verb + style, sql, rows)
            if name == "values_iterator" then
              assert.same({ expected() }, { got() })
            else
              assert.same(expected, got)
            end
            assert.same({ err and err.kind, err and err.message }, { why and why.kind, why and why.message })
          end
        end
      end
      assert.equal(3, shared:run(EXECUTE, "insert into share_item (id) select * from generate_series(1, 3)"))
      local rows = shared:run(QUERY, "delete from share_item where id < $1", 3)
      assert.same({ "DELETE", 2, 0 }, { rows.command, rows.affected, #rows })
      assert.same({ { 1 } }, shared:run(QUERY, { "select 1", rows = "array" }))
      assert.has_error(function() shared:run(QUERY, 42) end)
      assert.has_error(function() shared:run(QUERY, { "select 1", row = "array" }) end)
    end)
  end)

  it("fail one by one", function()
    with({ connections = 1 }, function(shared, _, loop)
      local kinds = { "undefined_table", "syntax_error", "parameter", "unique_violation", "foreign_key_violation" }
      all(loop, 50, function(i)
        local which = i % 6
        if which == 0 then
          local _, err = shared:run(QUERY, "select * from share_nothing")
          same_kind(err, kinds[1])
          assert.equal("select * from share_nothing", err.query)
        elseif which == 1 then
          same_kind(select(2, shared:run(QUERY, "select from from")), kinds[2])
        elseif which == 2 then
          assert.equal(1, same_kind(select(2, shared:run(VALUE, "select $1::int", "x")), kinds[3]).param)
        elseif which == 3 then
          local _, err = shared:run(EXECUTE, "insert into share_item (id) values (1), (1)")
          same_kind(err, kinds[4])
        elseif which == 4 then
          -- The result has come and looks well; the constraint fails behind it, where the statement is committed.
          local id, err = shared:run(VALUE, "insert into share_item (id, parent) values ($1, 9) returning id", i + 999)
          assert.is_nil(id)
          same_kind(err, kinds[5])
          assert.equal("yes", err.sent)
        else
          assert.equal(1, assert(shared:run(EXECUTE, "insert into share_item (id, task) values ($1, $1)", i)))
        end
      end)
      assert.equal(8, db:query_value "select count(*) from share_item where task is not null")
      assert.equal(8, db:query_value "select count(*) from share_item")
    end)
  end)

  it("prepare a statement once for all who bring it at the same time", function()
    with({ connections = 1 }, function(shared, _, loop)
      all(loop, 40, function(i) assert.equal(i, shared:run(VALUE, "select $1::int /* once */", i)) end)
      local count = shared:run(VALUE, "select count(*) from pg_prepared_statements where statement like '%once%'")
      assert.equal(2, count) -- and the one that counts
    end)
  end)

  it("keep statements under way alive when the cache drops them", function()
    with({ connections = 2, statement_cache_size = 2 }, function(shared, _, loop)
      all(loop, 24, function(i)
        for k = 1, 20 do
          local n = (i * k) % 9
          local row = assert(shared:run(ONE, ("select $1::int as a, %d as b%d"):format(n, n), k))
          assert.equal(k, row.a)
          assert.equal(n, row["b" .. n])
        end
      end)
    end)
    with({ connections = 1, statement_cache_size = 0 }, function(shared, _, loop)
      all(loop, 10, function(i) assert.equal(i, shared:run(VALUE, ("select $1::int + %d - %d"):format(i, i), i)) end)
    end)
  end)

  it("heal statements whose tables have changed, for all tasks at once", function()
    with({ connections = 1 }, function(shared, _, loop)
      local sql = "select * from share_changing where id = $1"
      for round = 1, 4 do
        assert(db:script(round == 1 and "create table share_changing as select 1 as id"
          or ("alter table share_changing add column c%d int default %d"):format(round, round)))
        all(loop, 20, function()
          local row = assert(shared:run(ONE, sql, 1))
          assert.equal(round > 1 and round or nil, row["c" .. round])
        end)
      end
      assert(shared:run(VALUE, "select share_notice('x')"))
      assert(db:script "alter table share_changing alter column id type text")
      all(loop, 10, function() assert.equal("1", assert(shared:run(ONE, sql, "1")).id) end)
    end)
    assert(db:script "drop table share_changing")
  end)

  it("work behind a pooler that moves sessions: without statements that have a name", function()
    with({ connections = 2, pooler = "transaction" }, function(shared, _, loop)
      all(loop, 20, function(i)
        for k = 1, 5 do assert.equal(i * k, shared:run(VALUE, ("select $1::int * %d"):format(k), i)) end
      end)
      assert.equal(0, shared:run(VALUE, "select count(*) from pg_prepared_statements"))
    end)
  end)

  it("carry large results and many rides without running into each other", function()
    with({ connections = 2 }, function(shared, _, loop)
      all(loop, 200, function(i)
        local size = i % 8 == 0 and 2000000 or 10
        local text = assert(shared:run(VALUE, "select repeat($1, $2::int)", string.char(97 + i % 26), size))
        assert.equal(size, #text)
        assert.equal(string.char(97 + i % 26), text:sub(-1))
      end)
    end)
  end)

  it("send large parameters on a connection of their own", function()
    with({ connections = 1 }, function(shared, lender, loop)
      all(loop, 6, function(i)
        local text = ("x"):rep(i % 2 == 0 and 3000000 or 5000)
        assert.equal(#text, shared:run(VALUE, "select length($1)", text))
      end)
      assert.is_true(lender.most > 1)
    end)
  end)

  it("refuse a result that is too large, and only that one", function()
    with({ connections = 1, max_result_bytes = 100000 }, function(shared, _, loop)
      all(loop, 12, function(i)
        local rows = i % 3 == 0 and 20000 or 5
        local result, err = shared:run(QUERY, "select repeat('x', 100) as t from generate_series(1, $1::int)", rows)
        if rows == 5 then
          assert.equal(5, #assert(result))
        else
          assert.equal("yes", same_kind(err, "result_too_big").sent)
        end
      end)
    end)
  end)

  it("look up types of the user", function()
    assert(db:script "create type share_mood as enum ('sad', 'ok'); create domain share_small as int check (value < 9)")
    with({ connections = 2 }, function(shared, _, loop)
      all(loop, 10, function(i)
        local row = assert(shared:run(ONE, "select array['ok', 'sad']::share_mood[] as m, $1::share_small as s", i % 9))
        assert.same({ m = { "ok", "sad" }, s = i % 9 }, row)
      end)
    end)
    assert(db:script "drop type share_mood; drop domain share_small")
  end)

  it("hand notices to the hook", function()
    local seen = {}
    local function hook(notice) seen[notice.message] = true end
    with({ connections = 1, on_notice = hook }, function(shared, _, loop)
      all(loop, 10, function(i)
        assert.equal("n" .. i, shared:run(VALUE, "select share_notice($1)", "n" .. i))
      end)
    end)
    for i = 1, 10 do assert.is_true(seen["n" .. i]) end
  end)

  it("let an error of a codec pass and go on", function()
    with({ connections = 1 }, function(shared, lender, loop)
      local conn = assert(lender.acquire())
      assert(conn:register_type("point", {
        decode = function() error "cannot read this" end,
        encode = function() error "cannot write this" end,
      }))
      lender.release(conn)
      all(loop, 9, function(i)
        if i % 3 == 0 then
          local ok, why = pcall(shared.run, shared, VALUE, "select '(1,2)'::point")
          assert.is_false(ok)
          assert.matches("cannot read this", tostring(why))
        elseif i % 3 == 1 then
          local ok, why = pcall(shared.run, shared, VALUE, "select $1::point is null", "(1,2)")
          assert.is_false(ok)
          assert.matches("cannot write this", tostring(why))
        else
          assert.equal(i, shared:run(VALUE, "select $1::int", i))
        end
      end)
    end)
  end)

  describe("take on board", function()
    local function travels_alone(sql)
      local most
      with({ connections = 1 }, function(shared, lender)
        assert.equal(1, shared:run(VALUE, "select 1"))
        assert(shared:run(EXECUTE, sql))
        most = lender.most
      end)
      return most > 1
    end

    for _, sql in ipairs {
      "select 1", "  SELECT 1", "-- a comment\nselect 1", "/* a /* nested */ one */ select 1", "(select 1)",
      "with x as (select 1) select * from x", "values (1)", "table share_item",
      "insert into share_item (id) values (1) on conflict do nothing", "update share_item set task = 1",
      "delete from share_item", "select pg_backend_pid()", "select 1;",
    } do
      it(sql, function() assert.is_false(travels_alone(sql)) end)
    end
  end)

  describe("leave to a connection of its own", function()
    local function travels_alone(sql, undo)
      local alone
      with({ connections = 1 }, function(shared, lender)
        assert.equal(1, shared:run(VALUE, "select 1"))
        local pid = shared:run(VALUE, "select pg_backend_pid()")
        local release = lender.release
        lender.release = function(conn)
          if conn:backend_pid() ~= pid then
            alone = true
            if undo then assert(conn:script(undo)) end
          end
          release(conn)
        end
        local _, err = shared:run(EXECUTE, sql)
        assert.is_true(err == nil or err.sqlstate ~= nil or err.kind == "usage", tostring(err))
      end)
      return alone
    end

    for sql, undo in pairs {
      ["begin"] = "rollback", ["/* x */ start transaction"] = "rollback", ["-- y\n begin"] = "rollback",
      ["commit"] = "", ["savepoint a"] = "", ["set application_name = 'x'"] = "reset application_name",
      ["reset all"] = "", ["listen share_channel"] = "unlisten *", ["notify share_channel"] = "",
      ["create temp table share_temp (a int)"] = "drop table share_temp",
      ["select 1 as a into temp share_temp"] = "drop table share_temp",
      ["select pg_advisory_lock(1)"] = "select pg_advisory_unlock_all()",
      ["select set_config('application_name', 'x', false)"] = "reset application_name",
      ["select setseed(0.5)"] = "", ["select lastval()"] = "", ["do $$ begin null; end $$"] = "",
      ["prepare share_p as select 1"] = "deallocate share_p", ["vacuum share_item"] = "",
      ["explain analyze select 1"] = "", ["create table share_other (a int)"] = "drop table share_other",
      ["copy (select 1) to stdout"] = "", ["discard plans"] = "", ["lock table share_item"] = "", [""] = "",
      ["call share_missing()"] = "",
    } do
      it("'" .. sql .. "'", function() assert.is_true(travels_alone(sql, undo)) end)
    end
  end)

  describe("let a time limit", function()
    local function running(sql)
      return db:query_value("select count(*) from pg_stat_activity where state = 'active' and query like $1 "
        .. "and pid <> pg_backend_pid()", sql .. "%")
    end

    it("end the call that has it, stop its statement, and touch nobody else", function()
      with({ connections = 1 }, function(shared, _, loop)
        local ended = 0
        local from = core.now()
        loop:spawn(function()
          local result, err = shared:run(VALUE, { "select pg_sleep(20) /* slow */", timeout = 0.1 })
          assert.is_nil(result)
          same_kind(err, "query_timeout")
          assert.equal("maybe", err.sent)
          assert.is_true(core.now() - from < 2 * probe.slow)
          ended = ended + 1
        end)
        loop.waiter.sleep(core.now() + 0.005)
        all(loop, 30, function(i)
          assert.equal(i, shared:run(VALUE, "select $1::int", i))
          ended = ended + 1
        end)
        while ended < 31 do loop.waiter.sleep(core.now() + 0.005) end
        assert.is_true(core.now() - from < 5 * probe.slow)
        assert.equal(0, running "select pg_sleep(20) /* slow */")
      end)
    end)

    it("hold before anything is sent, too", function()
      with({ connections = 1, limit = 1 }, function(shared, _, loop)
        local busy = true
        loop:spawn(function()
          assert(shared:run(EXECUTE, "select pg_sleep(0.5)"))
          busy = false
        end)
        loop.waiter.sleep(core.now() + 0.2)
        local _, err = shared:run(VALUE, { "select 'never prepared' || pg_sleep(0)", timeout = 0.05 })
        assert.equal("no", same_kind(err, "query_timeout").sent)
        while busy do loop.waiter.sleep(core.now() + 0.005) end
      end)
    end)

    -- Statements that are hit by a cancel request for a neighbour are sent again: each insert that was reported as
    -- done is there once, each that timed out once or not at all, and nobody sees a cancellation.
    it("of many calls never cancel another's statement", function()
      with({ connections = 2 }, function(shared, _, loop)
        local pick, outcome = sequence(11), {}
        local sql = "insert into share_item (id, task) select $1::int, $2::int from pg_sleep($3) returning id"
        all(loop, 40, function(i)
          for k = 1, 12 do
            local id, impatient = i * 1000 + k, pick(4) == 1
            local request = impatient and { sql, timeout = 0.001 * pick(12) } or sql
            local done, err = shared:run(VALUE, request, id, i, impatient and 0.02 or 0.001)
            if done then
              outcome[id] = "done"
            else
              same_kind(err, "query_timeout")
              assert.is_true(impatient)
              outcome[id] = "late"
            end
          end
        end)
        repeat
          shared:shrink()
          loop.waiter.sleep(core.now() + 0.01)
        until shared:stats().rides == 0
        local there = {}
        for _, id in ipairs(db:query_column "select id from share_item") do there[id] = true end
        local late = 0
        for id, how in pairs(outcome) do
          if how == "done" then assert.is_true(there[id]) else late = late + 1 end
        end
        assert.is_true(late > 20)
      end)
    end)
  end)

  -- The two halves of "hit": cancelling() says that a request of ours is on its way, the server's own function hits.
  describe("hit by a cancel request", function()
    local SQL
    before_each(function() SQL = "insert into share_item (id) select $1::int from pg_sleep(0.3) returning id" end)

    local function cancel_during(announced)
      local id, err
      with({ connections = 1 }, function(shared, _, loop)
        assert.equal(1, shared:run(VALUE, "select 1"))
        local one = shared.fleet.carriers[1]
        local pid = one.conn:backend_pid()
        local tasks = 2
        loop:spawn(function()
          id, err = shared:run(VALUE, SQL, 7)
          tasks = tasks - 1
        end)
        loop:spawn(function()
          assert.equal(8, shared:run(VALUE, "select 8"))
          tasks = tasks - 1
        end)
        loop.waiter.sleep(core.now() + 0.15)
        if announced then one.box:cancelling(true) end
        assert.is_true(db:query_value("select pg_cancel_backend($1)", pid))
        while tasks > 0 do loop.waiter.sleep(core.now() + 0.005) end
        if announced then one.box:cancelling(false) end
      end)
      return id, err
    end

    it("that was meant for another, a statement runs again and has its effect once", function()
      assert.equal(7, assert(cancel_during(true)))
      assert.same({ 7 }, db:query_column "select id from share_item")
    end)

    -- The insert's own result has come by then: only its Sync says that nothing of it is there.
    it("while it is being committed, a statement runs again and has its effect once", function()
      assert(db:script [[
        create function share_slowly() returns trigger language plpgsql as
          'begin perform pg_sleep(0.3); return null; end';
        create constraint trigger share_slow after insert on share_item deferrable initially deferred
          for each row execute function share_slowly()]])
      SQL = "insert into share_item (id) values ($1::int) returning id"
      assert.equal(7, assert(cancel_during(true)))
      assert.same({ 7 }, db:query_column "select id from share_item")
      assert(db:script "drop trigger share_slow on share_item; drop function share_slowly()")
    end)

    it("of an administrator, it fails", function()
      local id, err = cancel_during(false)
      assert.is_nil(id)
      same_kind(err, "query_canceled")
      assert.same({}, db:query_column "select id from share_item")
    end)
  end)

  it("send new statements elsewhere while one takes long", function()
    with({ connections = 1 }, function(shared, lender, loop)
      local slow = true
      assert.equal(1, shared:run(VALUE, "select 1"))
      loop:spawn(function()
        assert(shared:run(EXECUTE, "select pg_sleep(0.6)"))
        slow = false
      end)
      loop.waiter.sleep(core.now() + 0.1)
      local from = core.now()
      assert.equal(5, shared:run(VALUE, "select $1::int", 5))
      assert.is_true(slow)
      assert.is_true(core.now() - from < 0.4 * probe.slow)
      assert.equal(2, lender.most)
      while slow do loop.waiter.sleep(core.now() + 0.01) end
    end)
  end)

  it("queue behind a slow statement when there is nothing else", function()
    with({ connections = 1, limit = 1 }, function(shared, lender, loop)
      assert.equal(1, shared:run(VALUE, "select 1"))
      loop:spawn(function() assert(shared:run(EXECUTE, "select pg_sleep(0.3)")) end)
      loop.waiter.sleep(core.now() + 0.1)
      assert.equal(5, shared:run(VALUE, "select $1::int", 5))
      assert.equal(1, lender.most)
    end)
  end)

  describe("survive tasks that are killed", function()
    local function kill(loop, task)
      local request = loop.waiting[task]
      if request and request.token ~= nil then loop.parked[request.token] = nil end
      loop.waiting[task] = nil
    end

    it("while they read for the others", function()
      with({ connections = 1 }, function(shared, _, loop)
        assert.equal(1, shared:run(VALUE, "select 1"))
        local reader = loop:spawn(function() shared:run(VALUE, "select pg_sleep(0.2)") end, true)
        loop.waiter.sleep(core.now() + 0.001)
        local done = 0
        for i = 1, 5 do
          loop:spawn(function()
            assert.equal(i, shared:run(VALUE, "select $1::int", i))
            done = done + 1
          end)
        end
        loop.waiter.sleep(core.now() + 0.005)
        kill(loop, reader)
        local from = core.now()
        while done < 5 do loop.waiter.sleep(core.now() + 0.005) end
        assert.is_true(core.now() - from < 3 * probe.slow)
        -- The dead one's answer stays where it is; the connection cannot be given back in order any more.
        shared:close()
      end)
    end)

    it("while they wait, as often as it happens", function()
      with({ connections = 1 }, function(shared, _, loop)
        for _ = 1, 30 do
          local tasks = {}
          for i = 1, 10 do
            tasks[i] = loop:spawn(function() shared:run(VALUE, "select pg_sleep(0.001)") end, true)
          end
          loop.waiter.sleep(core.now() + 0.0005)
          for i = 2, 10 do kill(loop, tasks[i]) end
          assert.equal(3, shared:run(VALUE, "select 3"))
        end
        shared:close()
      end)
    end)
  end)

  it("end with close: what is under way fails, nobody hangs", function()
    with({ connections = 2 }, function(shared, lender, loop)
      local failed, left = 0, 20
      for _ = 1, 20 do
        loop:spawn(function()
          local result, err = shared:run(VALUE, "select pg_sleep(5)")
          assert.is_nil(result)
          assert.is_true(err.kind == "closed", tostring(err))
          failed, left = failed + 1, left - 1
        end)
      end
      loop.waiter.sleep(core.now() + 0.2)
      shared:close()
      while left > 0 do loop.waiter.sleep(core.now() + 0.005) end
      assert.equal(20, failed)
      same_kind(select(2, shared:run(VALUE, "select 1")), "closed")
      assert.equal(0, lender.open)
    end)
  end)

  it("keep nothing in memory, and no descriptor", function()
    local function settle(live)
      if is_luajit then require("jit").flush() end
      for _ = 1, 200 do
        collectgarbage()
        if core.mem_live() <= live then break end
        core.poll(-1, "r", 0.005)
      end
      return core.mem_live()
    end
    local function work()
      with({ connections = 2, statement_cache_size = 3 }, function(shared, _, loop)
        all(loop, 20, function(i)
          for k = 1, 10 do
            shared:run(VALUE, ("select $1::int + %d"):format(k % 5), i)
            shared:run(VALUE, "select 1 / ($1::int - $1)", i)
            shared:run(VALUE, { "select pg_sleep(0.002)", timeout = 0.001 })
          end
        end)
      end)
    end
    work()
    local live = settle(0)
    probe.keeps_descriptors(work)
    assert.is_true(settle(live) <= live)
  end)
end)
