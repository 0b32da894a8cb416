-- A child after fork has a copy of every descriptor. It must never speak on its parent's connection, nor end
-- the session by letting go of it, in plain text and under TLS.
--
-- A child leaves its copy of the session to the system on purpose. valgrind calls that a leak, so these tests
-- carry the tag that is left out there; a sanitizer's check is skipped by the children themselves.
--
-- To see it fail: let drop_session in csrc/core/conn.c call PQfinish without asking whose connection it is.
--
-- SPDX-License-Identifier: MIT

local luphant = require "luphant"
local probe = require "spec.support.probe"
local server = require "luphant.testing.server"

describe("a forked child #slow", function()
  local pg, fork, wait, leave, leave_at_exit

  -- The ordinary end of a Lua program: the state is closed, every finalizer runs. A child leaks its copy of
  -- the session on purpose, so it does not stay for the leak check of a sanitizer.
  local function exit(code)
    if os.getenv "ASAN_OPTIONS" then leave_at_exit(code) end
    os.exit(code, true)
  end

  setup(function()
    pg = assert(server.start { tls = true, settings = { log_disconnections = true } })
    probe.with_library("fork", function(path)
      local function load(name) return assert(package.loadlib(path, name)) end
      fork, wait = load "lfork_fork", load "lfork_wait"
      leave, leave_at_exit = load "lfork_leave", load "lfork_leave_at_exit"
    end)
  end)

  teardown(function() pg:stop() end)

  -- Runs fn in a child; what it returns is the child's exit code. `how`: exit, or leave (_exit).
  local function in_child(fn, how)
    io.stdout:flush() -- or the child would print it once more
    local pid = fork()
    if pid == 0 then
      local ok, code = pcall(fn)
      if not ok then io.stderr:write("child: ", tostring(code), "\n") end
      how(ok and code or 99)
    end
    return wait(pid)
  end

  local TARGETS = {
    ["in plain text"] = function() return pg:url { application_name = "fork_spec" } end,
    ["under TLS"] = function() return pg:url { tcp = true, sslmode = "require", application_name = "fork_spec" } end,
  }

  for name, target in pairs(TARGETS) do
    describe(name, function()
      local conn

      before_each(function()
        conn = assert(luphant.connect(target()))
        probe.usable(conn)
      end)

      after_each(function()
        -- The proof for each test here: the parent's session is the one it was.
        probe.usable(conn)
        assert.equal(conn:backend_pid(), conn:query_value "select pg_backend_pid()")
        assert.equal(1, probe.sessions(pg, "fork_spec"))
        conn:close()
        assert.is_true(probe.eventually(function() return probe.sessions(pg, "fork_spec") == 0 end))
        assert.is_nil(pg:log():find("unexpected EOF", 1, true))
        assert.is_nil(pg:log():find("SSL error", 1, true))
        assert.is_nil(pg:log():find("protocol", 1, true))
      end)

      it("that collects the connection does not end the session", function()
        assert.equal(0, in_child(function()
          conn = nil -- luacheck: ignore 311
          collectgarbage()
          collectgarbage()
          return 0
        end, leave))
      end)

      it("that ends in the ordinary way does not end the session", function()
        assert.equal(0, in_child(function() return 0 end, exit))
      end)

      it("that closes the connection does not end the session", function()
        assert.equal(0, in_child(function()
          conn:close()
          return conn:is_open() and 1 or 0
        end, leave))
      end)

      it("that uses the connection is told that it is its parent's", function()
        assert.equal(0, in_child(function()
          local rows, err = conn:query "select 1"
          if rows or err.kind ~= "forked" or err.class ~= "usage" then return 1 end
          local count
          count, err = conn:execute "create table from_the_child ()"
          if count or err.kind ~= "forked" then return 2 end
          if not tostring(err):find("child", 1, true) then return 3 end
          return 0
        end, leave))
        assert.is_nil(conn:query_value "select to_regclass('from_the_child')")
      end)

      it("that cancels, describes or prepares is told the same", function()
        assert.equal(0, in_child(function()
          for i, verb in ipairs { "describe", "prepare", "script" } do
            local value, err = conn[verb](conn, "select 1")
            if value or err.kind ~= "forked" then return i end
          end
          local ok, err = conn:cancel()
          if ok or err.kind ~= "forked" then return 10 end
          return 0
        end, leave))
      end)

      it("connects for itself and works beside its parent", function()
        local code = in_child(function()
          local own, err = luphant.connect(target())
          if not own then
            io.stderr:write(tostring(err), "\n")
            return 1
          end
          if own:query_value "select 42" ~= 42 then return 2 end
          own:close()
          return 0
        end, leave)
        assert.equal(0, code)
        assert.is_true(probe.eventually(function() return probe.sessions(pg, "fork_spec") == 1 end))
      end)

      it("in the middle of a transaction leaves it to the parent", function()
        assert(conn:execute "begin")
        assert(conn:execute "create table of_the_parent (n int)")
        assert.equal(0, in_child(function()
          conn = nil -- luacheck: ignore 311
          collectgarbage()
          collectgarbage()
          return 0
        end, exit))
        assert(conn:execute "insert into of_the_parent values (1)")
        assert(conn:execute "commit")
        assert.equal(1, conn:query_value "select n from of_the_parent")
        assert(conn:execute "drop table of_the_parent")
      end)

      it("does not disturb even when there are many", function()
        for _ = 1, 20 do assert.equal(0, in_child(function() return 0 end, exit)) end
      end)
    end)
  end

  it("of a parent that holds a closed connection does not trip over it", function()
    local conn = assert(luphant.connect(pg:url()))
    conn:close()
    assert.equal(0, in_child(function()
      conn:close()
      conn = nil -- luacheck: ignore 311
      collectgarbage()
      return 0
    end, exit))
  end)
end)
