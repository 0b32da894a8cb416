-- examples/job_queue.lua loses no job, whoever is killed in the middle of one.
--
-- To see it fail: commit before the job is done (take it in a transaction of its own and mark it as done first).
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local luphant = require "luphant"
local probe = require "spec.support.probe"
local shell = require "luphant.testing.shell"

local DATABASE = "luphant_job_queue_spec"

describe("the job queue", function()
  local base, db, url

  setup(function()
    base = assert(luphant.connect(env.url()))
    assert(base:execute("drop database if exists " .. DATABASE .. " with (force)"))
    assert(base:execute("create database " .. DATABASE))
    url = env.url():gsub("(//[^/]*/)[^?]*", "%1" .. DATABASE)
    db = assert(luphant.open(url))
  end)

  teardown(function()
    db:close()
    assert(base:execute("drop database " .. DATABASE .. " with (force)"))
    base:close()
  end)

  local function command(words)
    return ("LUA_PATH=%s LUA_CPATH=%s DATABASE_URL=%s JOB_SECONDS=%s LUA=%s %s examples/job_queue.lua %s"):format(
      shell.quote(package.path), shell.quote(package.cpath), shell.quote(url), "0.01", env.lua(), env.lua(), words)
  end

  local function run(words)
    local pipe = assert(io.popen(command(words) .. " 2>&1; echo \"exit $?\""))
    local output = pipe:read "*a"
    pipe:close()
    assert.is_truthy(output:find "exit 0\n$", output)
    return output
  end

  -- Starts a worker beside us; answers its process id.
  local function start(words)
    local pipe = assert(io.popen("(" .. command(words) .. ") >/dev/null 2>&1 & echo $!"))
    local pid = tonumber(pipe:read "*l")
    pipe:close()
    return pid
  end

  local function counts()
    local row = assert(db:query_one [[
      select count(*) as jobs, count(done_at) as done, (select count(*) from results) as results from jobs]])
    return row.jobs, row.done, row.results
  end

  it("is worked off by processes", function()
    local output = run ""
    assert.is_truthy(output:find("40 jobs, 40 done", 1, true), output)
    local _, workers = output:gsub("process of backend", "")
    assert.equal(2, workers)
  end)

  it("is worked off by coroutines", function()
    if not pcall(require, "cqueues") then return pending "cqueues is not installed for this Lua" end
    run "add 40"
    local output = run "drain 4"
    local sum = 0
    for number in output:gmatch "coroutine %d: (%d+) jobs" do sum = sum + tonumber(number) end
    assert.equal(40, sum)
    local jobs, done, results = counts()
    assert.equal(jobs, done)
    assert.equal(jobs, results)
  end)

  it("loses no job and does none twice when workers are killed in the middle of theirs", function()
    run "add 150"
    local before = select(2, counts())
    local pids = { start "work", start "work", start "work" }
    for victim = 1, 2 do
      -- While it holds a job: after so many are done, whoever is killed is most likely in the middle of one.
      assert.is_true(probe.eventually(function() return select(2, counts()) >= before + 20 * victim end, 30))
      shell.run("kill -9 " .. pids[victim] .. " $(ps -o pid= --ppid " .. pids[victim] .. ")")
    end
    assert.is_true(probe.eventually(function()
      local jobs, done = counts()
      return jobs == done
    end, 60))
    local jobs, done, results = counts()
    assert.equal(jobs, done)
    assert.equal(jobs, results) -- a job that was done twice would have been refused by the primary key
    run "add 10" -- the one that is left is waiting, and hears of them
    assert.is_true(probe.eventually(function()
      local all, finished = counts()
      return all == finished
    end, 4.5))
    shell.run("kill -9 " .. pids[3] .. " $(ps -o pid= --ppid " .. pids[3] .. ")")
    assert.is_true(probe.eventually(function()
      return base:query_value("select count(*) from pg_stat_activity where datname = $1 and pid <> all($2)", DATABASE,
        db:query_column "select pg_backend_pid()") <= 1
    end))
  end)
end)
