-- What statements leave in their session: seen without asking the server, undone by one text, nothing of it left and
-- everything else as it was.
--
-- To see it fail: take a step out of STEPS in reset.lua, or the marks out of lph_op_execute in csrc/core/op.c.
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"
local env = require "spec.support.env"
local luphant = require "luphant"
local probe = require "spec.support.probe"
local proxy = require "luphant.testing.proxy"
local reset = require "luphant.reset"

local url = env.url()

-- Everything there is to see of a session's state, as one text.
local LOOK = [[
select concat_ws(' ',
  'user=' || session_user || '/' || current_user,
  'settings=' || (select string_agg(name || '=' || setting, ',' order by name) from pg_settings
     where source = 'session' and name not in ('role', 'session_authorization')),
  'custom=' || coalesce(nullif(current_setting('luphant.mark', true), ''), '-'),
  'channels=' || (select count(*) from pg_listening_channels()),
  'locks=' || (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()),
  'temp=' || (select count(*) from pg_class c where c.relnamespace = pg_my_temp_schema()),
  'cursors=' || (select count(*) from pg_cursors where is_holdable),
  'prepared=' || (select count(*) from pg_prepared_statements where from_sql))]]

describe("a session's state", function()
  local conn

  before_each(function() conn = assert(luphant.connect(url)) end)
  after_each(function() conn:close() end)

  local function look() return assert(conn:query_value(LOOK)) end

  local function words() return table.concat(reset.words(conn.box:marks()), " ") end

  -- `leave` leaves something, which the marks name; undone, nothing shows it, and the connection works.
  local function assert_undone(expected, leave)
    local before = look()
    assert.equal(0, conn.box:marks())
    leave()
    assert.equal(expected, words())
    assert.not_equal(before, look())
    assert(reset.run(conn))
    assert.equal(0, conn.box:marks())
    assert.equal(before, look())
    probe.usable(conn)
    assert.equal(0, conn.box:marks())
  end

  local function execute(sql, ...) assert(conn:execute(sql, ...)) end

  setup(function()
    local first = assert(luphant.connect(url))
    assert(first:script "drop role if exists luphant_reset_spec; create role luphant_reset_spec")
    first:close()
  end)

  teardown(function()
    local last = assert(luphant.connect(url))
    assert(last:execute "drop role luphant_reset_spec")
    last:close()
  end)

  local LEFT = {
    { "settings", "set timezone = 'Asia/Tokyo'" },
    { "settings", "select set_config('luphant.mark', 'x', false)" },
    { "settings", "set session characteristics as transaction read only" },
    { "settings", "set search_path = pg_catalog" },
    { "role", "set role luphant_reset_spec" },
    { "role", "set session authorization luphant_reset_spec" },
    { "listen", "listen luphant_reset_spec" },
    { "locks", "select pg_advisory_lock(4711)" },
    { "locks", "select pg_try_advisory_lock_shared(4711)" },
    { "temp", "create temp table luphant_left (a int)" },
    { "temp", "select 1 as a into temp luphant_left" },
    { "temp", "create temp view luphant_left as select 1" },
    { "cursors", "declare luphant_left cursor with hold for select 1" },
    { "prepared", "prepare \"luphant Left\" as select 1" },
  }
  for _, case in ipairs(LEFT) do
    it("that a statement has left is undone: " .. case[2], function()
      assert_undone(case[1], function() execute(case[2]) end)
    end)
    it("that a script has left is undone: " .. case[2], function()
      assert_undone(case[1], function() assert(conn:script("select 1; " .. case[2])) end)
    end)
  end

  it("that a DO block has left is undone, also where its text hides it", function()
    assert_undone("locks", function()
      execute "do $$ begin perform pg_advisory_lock(4711); end $$"
    end)
    assert_undone("role settings cursors listen locks temp prepared", function()
      execute "do $$ begin execute 'create temp ' || 'table luphant_left (a int)'; end $$"
    end)
  end)

  it("is undone all at once", function()
    assert_undone("role settings cursors listen locks temp prepared", function()
      for _, case in ipairs(LEFT) do
        if case[1] ~= "role" and not case[2]:find "characteristics" and not case[2]:find "as a into"
          and not case[2]:find "view" then
          execute(case[2])
        end
      end
      execute "set role luphant_reset_spec"
    end)
  end)

  it("is undone by the text for everything, in a session without any of it as well", function()
    local before = look()
    assert(conn:script(reset.text "all"))
    conn.box:clear_marks()
    assert.equal(before, look())
    for _, case in ipairs(LEFT) do
      execute(case[2])
      assert(conn:script(reset.text "all"))
      conn.box:clear_marks()
      assert.equal(before, look())
    end
  end)

  it("is marked when a function on the server listened, once somebody notifies", function()
    assert(conn:script [[
      create function luphant_hear() returns void language plpgsql as $$ begin listen luphant_reset_spec; end $$]])
    finally(function() assert(conn:script "drop function luphant_hear()") end)
    assert(conn:query "select luphant_hear()")
    assert.equal(0, conn.box:marks())
    execute "notify luphant_reset_spec"
    probe.usable(conn)
    assert.equal("listen", words())
    assert(reset.run(conn))
    assert.equal(0, assert(conn:query_value "select count(*) from pg_listening_channels()"))
  end)

  it("of statements that leave nothing is not marked, and costs no round trip", function()
    local target = conn:target()
    local gate = assert(proxy.start { target_socket = ("%s/.s.PGSQL.%s"):format(target.host, target.port) })
    local through = assert(luphant.connect { host = "127.0.0.1", port = gate.port, dbname = target.dbname,
      user = target.user, sslmode = "disable" })
    assert(through:script "create temp table luphant_kept (a int) on commit drop; select 1")
    assert(through:query("select set_config('luphant.mark', $1, true)", "x"))
    assert(through:script "begin; set local timezone = 'UTC'; declare c cursor for select 1; commit")
    assert(through:query "select pg_advisory_xact_lock(1)")
    assert(through:query "select 'set a.b = 1; listen x', pg_advisory_unlock_all()")
    assert.equal(0, through.box:marks())
    gate:stats { reset = true }
    for _ = 1, 100 do assert(reset.run(through)) end
    assert.equal(0, gate:stats().round_trips)
    assert(through:execute "set timezone = 'UTC'")
    gate:stats { reset = true }
    assert(reset.run(through))
    assert.equal(1, gate:stats().round_trips)
    through:close()
    gate:stop()
  end)

  it("goes back to what the connection was opened with", function()
    conn:close()
    conn = assert(luphant.connect(url, { application_name = "reset spec", statement_timeout = 12.5,
      options = "-c work_mem=5MB -c luphant.mark=first" }))
    local function settings()
      return table.concat(assert(conn:query({ [[select current_setting(s) from unnest(array['application_name',
        'statement_timeout', 'work_mem', 'luphant.mark']) s]], rows = "columns" }))
        .current_setting, " ")
    end
    assert.equal("reset spec 12500ms 5MB first", settings())
    assert(conn:script [[set application_name = 'other'; set statement_timeout = 0; set work_mem = '1MB';
      set luphant.mark = 'second']])
    assert.not_equal("reset spec 12500ms 5MB first", settings())
    assert(reset.run(conn))
    assert.equal("reset spec 12500ms 5MB first", settings())
  end)

  it("has marks from the moment a statement is sent, whether it succeeds or not", function()
    assert.is_nil((conn:execute "set timezone = 'nowhere'"))
    assert.equal("settings", words())
    conn.box:clear_marks()
    assert(conn:describe "listen x")
    assert.equal(0, conn.box:marks())
  end)

  it("that no statement undoes is told, and ends with the session", function()
    assert(reset.is_possible(0))
    execute "select setseed(0.5)"
    assert.equal("lasting", words())
    assert.is_false(reset.is_possible(conn.box:marks()))
    assert.is_nil(reset.text(conn.box:marks()))
    conn:close()
    conn = assert(luphant.connect(url))
    assert.equal(0, conn.box:marks())
  end)

  describe("with the statement cache", function()
    local function held()
      return assert(conn:query_value "select count(*) from pg_prepared_statements where not from_sql")
    end

    local function misses() return conn:stats().statements.misses end

    it("leaves luphant's own statements prepared", function()
      assert(conn:query("select $1::int + 1", 1))
      local before = held()
      execute "prepare x as select 1"
      assert(reset.run(conn))
      local missed = misses()
      assert.equal(2, assert(conn:query_value("select $1::int + 1", 1)))
      assert.equal(before + 1, held()) -- that of "prepare x" itself
      assert.equal(missed, misses())
    end)

    it("has a temporary table of other columns described anew, inside a transaction as well", function()
      for _, columns in ipairs { "a int", "a text", "a int, b text" } do
        execute(("create temp table luphant_left (%s)"):format(columns))
        assert(conn:transaction(function(tx)
          assert(tx:query "select * from luphant_left")
          return true
        end))
        assert(reset.run(conn))
      end
      local rows, err = conn:query "select * from luphant_left"
      assert.is_nil(rows)
      assert.equal("undefined_table", err.kind)
    end)

    it("finds the tables of the old search_path again", function()
      assert(conn:script [[create schema luphant_reset_spec; create table luphant_reset_spec.t (a text);
        create table public.t (a int)]])
      finally(function()
        assert(conn:script "drop schema luphant_reset_spec cascade; drop table public.t")
      end)
      local function type_of_a()
        local rows = assert(conn:transaction(function(tx) return tx:query "select a from t" end))
        return rows.columns[1].type
      end
      assert.equal("integer", type_of_a())
      execute "set search_path = luphant_reset_spec"
      assert.equal("text", type_of_a())
      assert(reset.run(conn))
      assert.equal("integer", type_of_a())
      assert(conn:query("select set_config($1, $2, false)", "search_path", "luphant_reset_spec"))
      assert.equal("text", type_of_a())
      assert(reset.run(conn))
      assert.equal("integer", type_of_a())
    end)
  end)

  it("has a word for each bit", function()
    local all = 0
    for _, bit in pairs(core.MARKS) do all = all + bit end
    local count = 0
    for _ in pairs(core.MARKS) do count = count + 1 end
    assert.equal(count, #reset.words(all))
  end)
end)
