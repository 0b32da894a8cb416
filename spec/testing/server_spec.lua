-- The private server: what it is told to be, and above all that it is gone afterwards.
--
-- SPDX-License-Identifier: MIT
local env = require "spec.support.env"
local server = require "luphant.testing.server"
local shell = require "luphant.testing.shell"

-- A process that is only waiting for its parent to take note of its end (Z) does not count.
local function is_running(pid)
  return shell.run(("kill -s 0 %s && case $(cat /proc/%s/stat) in *') Z '*) false ;; esac"):format(pid, pid)) ~= nil
end

local function is_dir(path)
  return shell.run("test -d " .. shell.quote(path)) ~= nil
end

-- True when nothing of the directory and no server that ran in it is left, after at most `seconds`.
local function is_gone(dir, pid, seconds)
  for _ = 1, seconds * 10 do
    if not is_dir(dir) and not is_running(pid) then
      return true
    end
    shell.run("sleep 0.1")
  end
  return false
end

local function pid_of(private)
  return shell.read_file(private.data_dir .. "/postmaster.pid"):match("%d+")
end

-- Other servers may come and go while we run: to see that nothing is left one needs a place of one's own.
local function in_own_tmpdir(use)
  local tmpdir = assert(shell.try("mktemp", "dir=$(mktemp -d) && chmod 755 $dir && echo $dir"))
  local ok, message = pcall(use, tmpdir)
  shell.run("rm -rf " .. shell.quote(tmpdir))
  if not ok then
    error(message, 0)
  end
end

describe("luphant.testing.server", function()
  local primary

  setup(function()
    primary = assert(server.start {
      database = "it's a \"shop\"",
      tls = true,
      standby = true,
      settings = { work_mem = "5MB", ["luphant.quoted"] = "it's" },
      hba = { "host all nobody_may 127.0.0.1/32 reject" },
    })
  end)
  teardown(function()
    primary:stop()
  end)

  it("runs SQL through the socket in a directory of its own", function()
    assert.equal(primary.dir, primary.socket_dir)
    assert.equal("it's a \"shop\"|t", primary:psql("select current_database(), inet_server_addr() is null"))
  end)

  it("takes settings as they are, quotes included", function()
    assert.equal("5MB\nit's\noff", primary:psql("show work_mem; show luphant.quoted; show fsync"))
  end)

  it("says what psql said when SQL fails", function()
    local output, message = primary:psql("select 1/0")
    assert.is_nil(output)
    assert.matches("division by zero", message)
  end)

  it("is not led astray by PostgreSQL settings in the environment", function()
    local script = ("PGHOST=/nowhere PGPORT=1 PGUSER=nobody PGSERVICE=none %s -e %s"):format(shell.quote(env.lua()),
      shell.quote([[local s = assert(require("luphant.testing.server").start())
        io.write((assert(s:psql("select current_user")))) s:stop()]]))
    assert.equal("postgres", assert(shell.try("start", script)))
  end)

  it("asks for the password on TCP, and only there", function()
    assert.equal("t", primary:psql("select ssl from pg_stat_ssl where pid = pg_backend_pid()", { tcp = true }))
    local _, message = primary:psql("select 1", { tcp = true, password = "wrong" })
    assert.matches("password authentication failed", message)
    _, message = primary:psql("select 1", { tcp = true, user = "nobody_may" })
    assert.matches("rejects connection", message)
  end)

  it("shows the certificate one asks for", function()
    local strict = { tcp = true, sslmode = "verify-full", sslrootcert = primary.certificates.ca }
    local with_crl = { tcp = true, sslmode = "verify-full", sslrootcert = strict.sslrootcert,
      sslcrl = primary.certificates.crl }
    assert.equal("1", primary:psql("select 1", with_crl))
    local cases = {
      { "expired", strict, "certificate verify failed" },
      { "not_yet", strict, "certificate verify failed" },
      { "self_signed", strict, "certificate verify failed" },
      { "other_ca_server", strict, "certificate verify failed" },
      { "wrong_host", strict, "does not match host name" },
      { "revoked", with_crl, "certificate verify failed" },
    }
    for _, case in ipairs(cases) do
      assert(primary:use_certificate(case[1]))
      -- pg_ctl reload only sends a signal: the server may need a moment.
      local message
      for _ = 1, 50 do
        _, message = primary:psql("select 1", case[2])
        if message then
          break
        end
        shell.run("sleep 0.1")
      end
      assert.matches(case[3], message, nil, case[1])
    end
    assert(primary:use_certificate("server"))
    assert.has_error(function()
      primary:use_certificate("golden")
    end)
  end)

  it("restarts with its data, after a crash as well", function()
    assert(primary:psql("create table kept as select 42 as v"))
    local before = pid_of(primary)
    assert(primary:restart("immediate"))
    assert.are_not.equal(before, pid_of(primary))
    assert.equal("42", primary:psql("select v from kept"))
    assert.matches("not properly shut down", primary:log())
  end)

  it("has a standby that follows and can be promoted", function()
    assert(primary:psql("create table followed as select 7 as v"))
    local seen
    for _ = 1, 100 do
      seen = primary.standby:psql("select v from followed")
      if seen then
        break
      end
      shell.run("sleep 0.1")
    end
    assert.equal("7", seen)
    assert.equal("t", primary.standby:psql("select pg_is_in_recovery()"))
    assert(primary.standby:promote())
    assert.equal("f", primary.standby:psql("select pg_is_in_recovery()"))
    primary.standby:stop()
    assert.is_nil(primary.standby:psql("select 1"))
    assert.equal("1", primary:psql("select 1"))
  end)

  it("escapes what it puts into a URL", function()
    local url = primary:url { user = "a b", database = "x/y?z", application_name = "50%&" }
    assert.matches("^postgresql://a%%20b@/x%%2Fy%%3Fz%?application_name=50%%25%%26&host=", url)
  end)

  it("refuses what it does not know, at the caller's line", function()
    local function refused(options)
      local ok, message = pcall(function()
        server.start(options)
      end)
      assert.is_false(ok)
      return message
    end
    assert.matches("server_spec.lua:%d+: .*unknown option \"databse\"", refused { databse = "x" })
    assert.matches("server_spec.lua:%d+: no test certificate \"golden\"", refused { tls = "golden" })
  end)

  it("says what to install where there is no server", function()
    local private, message = server.start { bin_dir = "/nonexistent" }
    assert.is_nil(private)
    assert.matches("initdb.*apt%-get install postgresql.*LUPHANT_PG_BIN", message)
    private, message = server.start { version = 7 }
    assert.is_nil(private)
    assert.matches("no PostgreSQL 7 server programs", message)
  end)

  it("tells the server's own reason when it does not start, and leaves nothing", function()
    in_own_tmpdir(function(tmpdir)
      local script = [[
        print(select(2, require("luphant.testing.server").start { settings = { shared_buffers = "plenty" } }))]]
      local output = assert(shell.try("start", "TMPDIR=" .. shell.line { tmpdir, env.lua(), "-e", script }))
      assert.matches("shared_buffers", output)
      assert.equal("", shell.run("ls -A " .. tmpdir))
    end)
  end)
end)

describe("the end of a private server", function()
  -- A Lua process that starts a server, tells where, and then does `last_words`.
  local function start_elsewhere(last_words, prefix)
    local script = [[
      local s = assert(require("luphant.testing.server").start())
      local shell = require "luphant.testing.shell"
      local pid = shell.read_file(s.data_dir .. "/postmaster.pid"):match("%d+")
      io.write(s.dir, " ", pid, "\n") io.flush()
    ]] .. last_words
    local words = shell.line { env.lua(), "-e", script }
    local pipe = io.popen(("exec %s %s 2>/dev/null"):format(prefix or "", words), "r")
    local dir, pid = pipe:read("*l"):match("^(%S+) (%d+)$")
    return pipe, dir, pid
  end

  it("comes with stop, which may be called twice", function()
    local private = assert(server.start())
    local dir, pid = private.dir, pid_of(private)
    assert.equal("", private:psql("show listen_addresses"))
    assert.has_error(function()
      private:url { tcp = true }
    end)
    assert.is_true(is_dir(dir) and is_running(pid))
    private:stop()
    assert.is_false(is_dir(dir))
    assert.is_true(is_gone(dir, pid, 5))
    private:stop("immediate")
  end)

  it("comes when the object is forgotten", function()
    local private = assert(server.start())
    local dir, pid = private.dir, pid_of(private)
    private = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    assert.is_true(is_gone(dir, pid, 5))
  end)

  it("comes when the script ends without a word", function()
    local pipe, dir, pid = start_elsewhere("os.exit(0)")
    assert.is_true(is_gone(dir, pid, 10))
    pipe:close()
  end)

  it("comes when the script raises", function()
    local pipe, dir, pid = start_elsewhere("error('the end')")
    assert.is_true(is_gone(dir, pid, 10))
    pipe:close()
  end)

  it("comes when the process is killed", function()
    local pipe, dir, pid = start_elsewhere("shell.run('kill -s KILL $PPID')")
    assert.is_true(is_gone(dir, pid, 10))
    pipe:close()
  end)

  it("comes when the process is killed while a daemon of it holds all its files open", function()
    local pipe, dir, pid = start_elsewhere("os.execute('sleep 20 >/dev/null 2>&1 & kill -s KILL $PPID')")
    assert.is_true(is_gone(dir, pid, 10))
    pipe:close()
  end)

  it("comes when the whole process group is killed", function()
    -- setsid makes the process the leader of a group of its own; its number is then the group's.
    local pipe, dir, pid = start_elsewhere("shell.run('kill -s KILL -- -$PPID')", "setsid")
    assert.is_true(is_gone(dir, pid, 10))
    pipe:close()
  end)

  it("comes when the process is killed while the cluster is being made", function()
    in_own_tmpdir(function(tmpdir)
      local words = shell.line { env.lua(), "-e", [[require("luphant.testing.server").start()]] }
      for _, seconds in ipairs { 0.1, 0.3, 0.5, 0.7 } do
        shell.run(("TMPDIR=%s timeout -s KILL %s %s || :"):format(shell.quote(tmpdir), seconds, words))
      end
      local left
      for _ = 1, 100 do
        left = shell.run("ls -A " .. tmpdir)
        if left == "" then
          break
        end
        shell.run("sleep 0.1")
      end
      assert.equal("", left)
    end)
  end)
end)
