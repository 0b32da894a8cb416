-- What cannot be sent faithfully is refused before anything is sent, and nothing is ever cut short at a NUL byte.
-- spec/types/parameters_spec.lua and spec/conninfo_spec.lua have the whole lists.
--
-- To see it fail: let lvalue.c take a text by its C length, or conninfo hand a value with a NUL byte to libpq.
--
-- SPDX-License-Identifier: MIT

local luphant = require "luphant"
local ordeal = require "spec.support.ordeal"
local probe = require "spec.support.probe"

ordeal.family("a NUL byte", {}, function(test)
  test("F43 in a parameter is refused with its number, also inside of arrays and JSON, and never cut short",
    function(world)
      local conn = world.connect()
      for _, case in ipairs {
        { "text", "a\0b" }, { "varchar", "\0" }, { "name", "x\0" }, { "text[]", { "fine", "a\0b" } },
        { "json", '{"a": "\0"}' }, { "uuid", "\0" },
      } do
        assert(conn:script(("create temp table t (v %s)"):format(case[1])))
        for _ = 1, 3 do -- at first, known, and again
          local err = world.fails(0.5, conn.execute, conn, "insert into t values ($1)", case[2])
          assert.same({ "parameter", "no" }, { err.kind, err.sent }, case[1])
          assert.matches("$1", err.message, 1, true)
          probe.usable(conn)
        end
        assert.equal(0, conn:query_value "select count(*)::int from t")
        assert(conn:script "drop table t")
      end
      -- JSON has a way to write it, which jsonb does not take: the server says so.
      local err = world.fails(0.5, conn.query, conn, "select $1::jsonb", { a = "b\0c" })
      assert.same({ "22P05", "yes" }, { err.sqlstate, err.sent })
      probe.usable(conn)
    end)

  test("F43 in a bytea is data, both ways", function(world)
    local conn = world.connect()
    for _, bytes in ipairs { "\0", "a\0b\0", ("\0"):rep(1000), "" } do
      assert.equal(bytes, conn:query_value("select $1::bytea", bytes))
    end
  end)

  test("F43 in the text of a statement is refused by every verb", function(world)
    local gate = world.gate()
    local conn = world.connect_through(gate)
    gate:stats { reset = true }
    for _, verb in ipairs { "query", "query_one", "query_value", "execute", "script", "describe", "prepare" } do
      local err = probe.fails(0.5, conn[verb], conn, "select 1 as \"a\0b\"")
      assert.equal("no", err.sent, verb)
      assert.matches("NUL", err.message, 1, true)
    end
    assert.equal(0, gate:stats().from_client)
    for _, sql in ipairs { "listen \"a\0b\"", "notify a, 'x\0y'", "set application_name = 'a\0b'" } do
      assert.equal("no", probe.fails(0.5, conn.execute, conn, sql).sent)
    end
    probe.usable(conn)
  end)

  test("F43 in the settings of a connection is refused before anything is dialled", function(world)
    local gate = world.gate()
    for _, name in ipairs { "application_name", "user", "dbname", "host", "password", "options" } do
      local ok, value, err = pcall(luphant.connect, world.through(gate, { [name] = "app\0user\0admin" }))
      assert.is_falsy(ok and value)
      assert.matches("NUL", tostring(err or value), 1, true)
    end
    assert.equal(0, gate:stats().accepted)
  end)
end)
