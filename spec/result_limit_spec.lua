-- max_result_bytes: a result that is too big is an error, not the end of the program; and the connection goes on.
--
-- SPDX-License-Identifier: MIT

local footprint = require "spec.support.footprint"
local luphant = require "luphant"
local probe = require "spec.support.probe"
local server = require "luphant.testing.server"
local shell = require "luphant.testing.shell"

local NAME = "result_limit_spec"
local MEGABYTE = footprint.MEGABYTE
local growth = footprint.growth

describe("max_result_bytes", function()
  local pg, open

  setup(function() pg = assert(server.start { tls = true }) end)
  teardown(function() pg:stop() end)
  before_each(function() open = {} end)
  after_each(function()
    for _, each in ipairs(open) do each:close() end
    assert.is_true(probe.eventually(function() return probe.sessions(pg, NAME) == 0 end))
  end)

  local WAYS = {
    { "a Unix socket", function() return pg:url { application_name = NAME } end },
    { "TCP", function() return pg:url { tcp = true, application_name = NAME, sslmode = "disable" } end },
    { "TLS", function() return pg:url { tcp = true, application_name = NAME, sslmode = "require" } end },
  }

  local poll = require("luphant.wait").choose "poll"

  -- A waiter that is not "poll" to the core, so that every step goes through Lua.
  local function stepping()
    local waiter = { name = "stepping" }
    for name, fn in pairs(poll) do
      if type(fn) == "function" then waiter[name] = fn end
    end
    return waiter
  end

  local function connect(target, options)
    local conn, err = luphant.connect(target, options)
    assert(conn, tostring(err))
    open[#open + 1] = conn
    return conn
  end

  local function assert_too_big(conn, value, err)
    assert(value == nil, "the result was let pass")
    assert(type(err) == "table", tostring(err))
    assert.same({ "result_too_big", "query", "yes" }, { err.kind, err.class, err.sent })
    assert.matches("max_result_bytes", err.message, 1, true)
    assert.is_true(conn:is_open(), tostring(err))
    probe.usable(conn)
  end

  -- 200 MB, which PostgreSQL makes as fast as it can send.
  local HUGE = "select n, repeat('x', 1000) as x from generate_series(1, 200000) n"

  for _, way in ipairs(WAYS) do
    for _, manner in ipairs { "inside C", "step by step" } do
      describe("over " .. way[1] .. ", waiting " .. manner .. ",", function()
        local function limited(bytes, more)
          -- What had been sent before the server was told to stop is read away, however long the machine takes for it.
          local options = { max_result_bytes = bytes, waiter = manner == "step by step" and stepping() or nil,
            cancel_grace = 5 * probe.slow }
          for key, value in pairs(more or {}) do options[key] = value end
          return connect(way[2](), options)
        end

        it("stops a huge result of any verb and leaves the connection usable", function()
          local conn = limited(MEGABYTE)
          local pid = conn:backend_pid()
          for _, verb in ipairs { "query", "query_one", "query_opt", "query_value", "query_column", "execute" } do
            assert_too_big(conn, conn[verb](conn, HUGE))
          end
          local ok, err = pcall(conn.values, conn, HUGE)
          assert.is_false(ok)
          assert_too_big(conn, nil, err)
          assert_too_big(conn, conn:script(HUGE))
          assert.equal("idle", conn:transaction_status())
          assert.equal(pid, conn:query_value "select pg_backend_pid()")
        end)

        it("keeps memory far below the size of the result", function()
          local conn = limited(MEGABYTE)
          assert_too_big(conn, conn:query "select repeat('x', 1000) from generate_series(1, 3000)") -- warm
          local rise = growth(function() assert_too_big(conn, conn:query(HUGE)) end)
          if not rise then return pending "this system does not tell how much memory was used" end
          assert.is_true(rise < 24 * MEGABYTE, ("memory rose by %.1f MB"):format(rise / MEGABYTE))
        end)

        it("fails the transaction it happens in, as any error does", function()
          local conn = limited(MEGABYTE)
          assert(conn:execute "begin")
          local value, err = conn:query(HUGE)
          assert.is_nil(value)
          assert.equal("result_too_big", err.kind)
          assert.equal("inerror", conn:transaction_status())
          assert(conn:execute "rollback")
          probe.usable(conn)
          local result, why = conn:transaction(function(tx)
            assert(tx:execute "create table guarded (n int)")
            tx:query(HUGE)
            return true
          end)
          assert.is_nil(result)
          assert.equal("result_too_big", why.kind)
          assert.is_nil(conn:query_value "select to_regclass('guarded')")
        end)

        it("draws the line at the same byte each time", function()
          local conn = limited(100000)
          local function fits(n)
            local rows, err = conn:query("select repeat('y', $1) as y", n)
            if rows then assert.equal(n, #rows[1].y) else assert.equal("result_too_big", err.kind) end
            return rows ~= nil
          end
          local low, high = 1000, 110000
          assert.is_true(fits(low))
          assert.is_false(fits(high))
          while high - low > 1 do
            local middle = math.floor((low + high) / 2)
            if fits(middle) then low = middle else high = middle end
          end
          assert.is_true(low > 90000 and low <= 100000, "the line is at " .. low)
          for _ = 1, 3 do
            assert.is_true(fits(low))
            assert.is_false(fits(high))
          end
          -- The error tells how much it would have taken.
          local _, err = conn:query("select repeat('y', $1) as y", high)
          assert.matches("takes 100%d%d%d bytes", err.message)
          probe.usable(conn)
        end)

        it("lets pass what is below the limit, again and again", function()
          local conn = limited(MEGABYTE)
          for _ = 1, 20 do
            assert.equal(500, #assert(conn:query "select repeat('x', 1000) as x from generate_series(1, 500)"))
          end
        end)
      end)
    end
  end

  it("counts all results of a script together", function()
    local conn = connect(WAYS[1][2](), { max_result_bytes = 200000 })
    local one = "select repeat('x', 1000) from generate_series(1, 50);"
    assert.equal(1, #assert(conn:script(one)))
    assert_too_big(conn, conn:script(one:rep(10)))
    -- It is cancelled where it is, and is one transaction: what came before is undone.
    assert_too_big(conn, conn:script("create table guarded (n int);" .. one:rep(10) .. "select pg_sleep(3)"))
    assert.is_nil(conn:query_value "select to_regclass('guarded')")
  end)

  it("does not count notices", function()
    local seen = 0
    local conn = connect(WAYS[1][2](), { max_result_bytes = 50000, on_notice = function() seen = seen + 1 end })
    assert(conn:execute "do $$ begin for i in 1..400 loop raise notice '%', repeat('n', 1000); end loop; end $$")
    assert.is_true(seen > 0)
    assert.equal(0, seen - 400 + conn:stats().notices_lost)
  end)

  it("is not what parameters are measured by", function()
    local conn = connect(WAYS[1][2](), { max_result_bytes = 50000 })
    assert.equal(MEGABYTE, conn:query_value("select length($1::text)", ("p"):rep(MEGABYTE)))
  end)

  it("holds for the look-up of user types without harm", function()
    local conn = connect(WAYS[1][2](), { max_result_bytes = 4000 })
    assert(conn:script "create type pg_temp.word as enum ('a', 'b')")
    assert.equal("a", conn:query_value "select 'a'::pg_temp.word")
  end)

  -- Programs that only burn time: the server and we get it in turns, and find full buffers.
  local function with_burners(count, fn)
    local pids = {}
    for n = 1, count do
      pids[n] = assert(shell.run "timeout 120 sh -c 'while :; do :; done' >/dev/null 2>&1 & echo $!"):match "%d+"
    end
    local ok, err = pcall(fn)
    shell.run("kill " .. table.concat(pids, " "))
    assert(ok, err)
  end

  -- libpq would have taken all of such a row in one call, as fast as the server sends (see csrc/core/sip.h). To see it
  -- fail: let lph_op_consume call PQconsumeInput.
  for _, way in ipairs(WAYS) do
    for _, manner in ipairs { "inside C", "step by step" } do
      it(("stops one value of hundreds of megabytes over %s, waiting %s #slow"):format(way[1], manner), function()
        local function attempt()
          local conn = connect(way[2](), { max_result_bytes = MEGABYTE, cancel_grace = 20,
            waiter = manner == "step by step" and stepping() or nil })
          assert_too_big(conn, conn:query "select repeat('x', 1000) from generate_series(1, 3000)") -- warm
          local err
          local rise = growth(function() err = select(2, conn:query_value "select repeat('x', 300000000)") end)
          assert.same({ "result_too_big", "yes", "closed" }, { err.kind, err.sent, err.connection })
          assert.is_false(conn:is_open())
          -- A sanitizer's malloc touches what libpq only reserves.
          if not rise or os.getenv "ASAN_OPTIONS" then return end
          assert.is_true(rise < 32 * MEGABYTE, ("memory rose by %.1f MB"):format(rise / MEGABYTE))
        end
        attempt()
        with_burners(3, attempt)
      end)
    end
  end

  it("is exact for small answers after large ones, on the same connection", function()
    local conn = connect(WAYS[2][2](), { max_result_bytes = 3 * MEGABYTE })
    for n = 1, 40 do
      local size = (n % 4 == 0) and 2 * MEGABYTE or n
      assert.equal(size, #assert(conn:query_value("select repeat('z', $1)", size)))
      assert.equal(n, conn:query_value("select $1::int", n))
    end
  end)

  it("counts what a result takes in memory, not only what arrives", function()
    local conn = connect(WAYS[1][2](), { max_result_bytes = 100000 })
    assert_too_big(conn, conn:query "select repeat('x', 150) as t from generate_series(1, 600)")
  end)

  it("leaves no descriptor behind", function()
    local before = probe.descriptors()
    if not before then return pending "this system does not tell which descriptors are open" end
    for _, way in ipairs(WAYS) do
      for _ = 1, 5 do
        local conn = assert(luphant.connect(way[2](), { max_result_bytes = MEGABYTE }))
        assert_too_big(conn, conn:query(HUGE))
        conn:close()
      end
    end
    assert.is_true(probe.eventually(function() return probe.descriptors() == before end))
  end)

  it("leaves results alone when there is none", function()
    local conn = connect(WAYS[1][2]())
    assert.equal(20000, #assert(conn:query "select repeat('x', 1000) from generate_series(1, 20000)"))
  end)
end)
