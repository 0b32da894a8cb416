-- A job queue: rows taken with FOR UPDATE SKIP LOCKED, announced with NOTIFY. A worker does a job and marks it as done
-- in one transaction, so a worker that is killed loses nothing: its job is free again.
--
--     export DATABASE_URL=postgres:///postgres
--     lua examples/job_queue.lua                 makes the tables, adds 40 jobs, has two processes do them
--     lua examples/job_queue.lua add 1000        adds jobs
--     lua examples/job_queue.lua work            one worker in this process, until Ctrl-C
--     lua examples/job_queue.lua work 8          eight workers as coroutines in this process (cqueues)
--     lua examples/job_queue.lua drain [8]       the same until no job is left
--
-- SPDX-License-Identifier: MIT

local luphant = require "luphant"

local command, count = arg[1], tonumber(arg[2])
local LUA = os.getenv "LUA" or arg[-1] -- what the two processes are run by
local SECONDS = tonumber(os.getenv "JOB_SECONDS" or "0.02") -- what a job takes

local function make_tables(db)
  return db:script [[
    create table if not exists jobs (
      id bigint generated always as identity primary key, payload text not null, done_at timestamptz);
    create index if not exists jobs_open on jobs (id) where done_at is null;
    create table if not exists results (job_id bigint primary key references jobs, worker text not null)]]
end

local function add(db, number)
  return db:transaction(function(tx)
    assert(tx:execute("insert into jobs (payload) select 'job ' || n from generate_series(1, $1::int) n", number))
    return tx:notify "jobs" -- with COMMIT: who looks then finds them
  end)
end

-- True when a job was done, false when there was none.
local function work_one(db, name)
  return db:transaction(function(tx)
    local job = tx:query_opt [[
      select id, payload from jobs where done_at is null order by id for update skip locked limit 1]]
    if not job then return false end
    assert(tx:execute("select pg_sleep($1)", SECONDS)) -- the work
    assert(tx:execute("insert into results values ($1, $2)", job.id, name))
    assert(tx:execute("update jobs set done_at = now() where id = $1", job.id))
    return true
  end)
end

-- Works until there is nothing to do, and waits for a notification then. It looks every few seconds as well: a worker
-- that was killed tells nobody that its job is free again.
local function worker(db, name, until_empty)
  local listener, done = assert(db:listen "jobs"), 0
  while true do
    local worked, err = work_one(db, name)
    if worked then
      done = done + 1
    elseif until_empty and not err and db:query_value "select count(*) from jobs where done_at is null" == 0 then
      listener:close()
      return print(("%s: %d jobs"):format(name, done))
    else
      if err then io.stderr:write(name, ": ", tostring(err), "\n") end -- nothing of it was kept; somebody tries again
      listener:wait(until_empty and 0.2 or 5)
    end
  end
end

local function work_as_coroutines(number, until_empty)
  local loop = require("cqueues").new()
  loop:wrap(function()
    local db = assert(luphant.open(os.getenv "DATABASE_URL", { max_connections = number }))
    for i = 1, number do loop:wrap(function() worker(db, "coroutine " .. i, until_empty) end) end
  end)
  assert(loop:loop())
end

if (command == "work" or command == "drain") and count then return work_as_coroutines(count, command == "drain") end

local db = assert(luphant.open(os.getenv "DATABASE_URL", { max_connections = 1 }))
if command == "work" or command == "drain" then
  worker(db, "process of backend " .. tostring(db:query_value "select pg_backend_pid()"), command == "drain")
else
  assert(make_tables(db))
  assert(add(db, count or 40))
  local workers = {}
  for i = 1, command and 0 or 2 do workers[i] = assert(io.popen(("%s %s drain"):format(LUA, arg[0]))) end
  for _, each in ipairs(workers) do
    io.write(each:read "*a")
    each:close()
  end
  print(("%s jobs, %s done"):format(db:query_value "select count(*) from jobs",
    db:query_value "select count(*) from results"))
end
db:close()
