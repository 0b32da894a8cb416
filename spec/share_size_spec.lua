-- max_result_bytes on shared connections: an answer that is too big is refused without filling the memory, and those
-- that ride beside it get theirs.
--
-- To see it fail: let lph_strain_pass answer `len` at once (one long row costs the connection), drop the `held` of
-- core/strain.c (answers), or let lph_share_is_swollen answer false (TLS: many rows cost the connection).
--
-- SPDX-License-Identifier: MIT

local connection = require "luphant.connection"
local core = require "luphant.core"
local footprint = require "spec.support.footprint"
local proxy = require "luphant.testing.proxy"
local server = require "luphant.testing.server"
local sharing = require "spec.support.sharing"

local all = sharing.all
local MEGABYTE = footprint.MEGABYTE
local QUERY, VALUE = connection.verbs.query, connection.verbs.query_value
-- A sanitizer's malloc touches what libpq only reserves, and keeps for a while what was freed.
local measures = os.getenv "ASAN_OPTIONS" == nil

describe("a result that is too big on a shared connection", function()
  local pg

  setup(function() pg = assert(server.start { tls = true }) end)
  teardown(function() pg:stop() end)

  local WAYS = {
    { name = "a Unix socket", url = function() return pg:url() end },
    { name = "TCP", url = function() return pg:url { tcp = true, sslmode = "disable" } end },
    { name = "TLS", url = function() return pg:url { tcp = true, sslmode = "require" } end, secret = true },
  }

  local function with(url, options, fn)
    options.url, options.connections = url, 1
    sharing.with(options, function(shared, lender, loop) fn(shared, loop, lender) end)
  end

  local function assert_too_big(value, err)
    assert(value == nil, "the result was let pass")
    assert.same({ "result_too_big", "yes" }, { err.kind, err.sent })
    assert.matches("max_result_bytes", err.message, 1, true)
  end

  local MANY = "select n, repeat('x', 1000) as x from generate_series(1, 100000) n" -- 100 MB

  for _, way in ipairs(WAYS) do
    it("is refused while small ones ride beside it, over " .. way.name, function()
      with(way.url(), { max_result_bytes = MEGABYTE }, function(shared, loop, lender)
        local pid = assert(shared:run(VALUE, "select pg_backend_pid()"))
        local rise = footprint.growth(function()
          all(loop, 30, function(i)
            for k = 1, 3 do
              if i % 10 == 0 then
                assert_too_big(shared:run(QUERY, MANY))
              else
                assert.equal(i * k, assert(shared:run(VALUE, "select $1::int * $2::int", i, k)))
              end
            end
          end)
        end)
        assert.equal(0, lender.broken)
        assert.equal(pid, shared:run(VALUE, "select pg_backend_pid()"))
        if not (rise and measures) then return end
        assert.is_true(rise < 24 * MEGABYTE, ("memory rose by %.1f MB"):format(rise / MEGABYTE))
      end)
    end)

    -- One row cannot be cancelled in the middle. Without TLS it is read away unseen; with TLS it costs the connection.
    it("is one row of more than a hundred megabytes over " .. way.name .. " #slow", function()
      with(way.url(), { max_result_bytes = MEGABYTE, cancel_grace = 20 }, function(shared, loop, lender)
        assert.equal(1, shared:run(VALUE, "select 1"))
        local kinds = {}
        local rise = footprint.growth(function()
          all(loop, 8, function(i)
            if i == 4 then
              assert_too_big(shared:run(VALUE, "select repeat('x', 150000000)"))
            else
              local value, err = shared:run(VALUE, "select $1::int", i)
              if not value then kinds[#kinds + 1] = err.kind else assert.equal(i, value) end
            end
          end)
        end)
        if way.secret then
          assert.equal(1, lender.broken)
          for _, kind in ipairs(kinds) do assert.equal("closed", kind) end
        else
          assert.same({}, kinds)
          assert.equal(0, lender.broken)
        end
        assert.equal(2, shared:run(VALUE, "select 2"))
        if not (rise and measures) then return end
        assert.is_true(rise < 32 * MEGABYTE, ("memory rose by %.1f MB"):format(rise / MEGABYTE))
      end)
    end)
  end

  it("is told apart from its neighbours to the byte, whatever the pieces in which it comes", function()
    with(WAYS[1].url(), { max_result_bytes = 20000 }, function(shared, loop)
      local seed = 5
      local function pick(n)
        seed = (seed * 1103515245 + 12345) % 2147483648
        return math.floor(seed / 65536) % n + 1
      end
      for _ = 1, 20 do
        all(loop, 40, function(i)
          local size = pick(4) == 1 and 15000 + pick(60000) or pick(9000)
          local text, err = shared:run(VALUE, "select repeat($1, $2::int)", string.char(97 + i % 26), size)
          if text then
            assert.is_true(size <= 20000)
            assert.equal(string.char(97 + i % 26):rep(size), text)
          else
            assert.is_true(size > 16000, size .. " bytes were refused")
            assert_too_big(text, err)
          end
        end)
      end
    end)
  end)

  it("is refused when it comes byte by byte", function()
    local between = assert(proxy.start { target_host = "127.0.0.1", target_port = pg.port })
    between:split { from = "server" }
    local url = pg:url({ tcp = true, sslmode = "disable" }):gsub(":" .. pg.port, ":" .. between.port)
    with(url, { max_result_bytes = 5000 }, function(shared, loop)
      assert.equal(1, shared:run(VALUE, "select 1"))
      all(loop, 6, function(i)
        if i % 2 == 0 then
          assert_too_big(shared:run(VALUE, "select repeat('x', 30000)"))
        else
          assert.equal(i, assert(shared:run(VALUE, "select $1::int", i)))
        end
      end)
    end)
    between:stop()
  end)

  it("lets new statements pass elsewhere while it is read away", function()
    with(WAYS[2].url(), { max_result_bytes = MEGABYTE, cancel_grace = 20 }, function(shared, loop, lender)
      assert.equal(1, shared:run(VALUE, "select 1"))
      local reading = true
      loop:spawn(function()
        assert_too_big(shared:run(VALUE, "select repeat('x', 150000000) from pg_sleep(0.05)"))
        reading = false
      end)
      loop.waiter.sleep(core.now() + 0.06)
      local during = 0
      while reading do
        assert.equal(during, assert(shared:run(VALUE, "select $1::int", during)))
        during = during + 1
      end
      assert.is_true(during > 3, during .. " statements meanwhile")
      assert.is_true(lender.most > 1)
    end)
  end)
end)
