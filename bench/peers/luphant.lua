-- luphant itself, on the Lua that runs this.
-- SPDX-License-Identifier: MIT

local luphant = require "luphant"
local meter = require "bench.peers.meter"
local poll = require("luphant.wait.poll").waiter()

local questions = {}

local function account_check(ask)
  return function()
    local sum = 0
    for key = 1, 100 do
      local row = assert(ask(key))
      sum = sum + (row.balance or row.id + #row.name + #row.email)
    end
    return ("%d"):format(sum)
  end
end

function questions.one_row_prepared(url, sql)
  local conn = assert(luphant.connect(url))
  local statement = assert(conn:prepare(sql))
  local key = meter.key
  local function run(n)
    local units = 0
    for i = 1, n do
      local row, err = statement:query_one(key(i, 10000))
      if not row then error(err) end
      units = units + 1
    end
    return units
  end
  return run, account_check(function(id) return statement:query_one(id) end)
end

questions.small_row = questions.one_row_prepared

function questions.same_text(url, sql)
  local conn = assert(luphant.connect(url))
  local key = meter.key
  local function run(n)
    local units = 0
    for i = 1, n do
      local row, err = conn:query_one(sql, key(i, 10000))
      if not row then error(err) end
      units = units + 1
    end
    return units
  end
  return run, account_check(function(id) return conn:query_one(sql, id) end)
end

-- As an event loop does it: the waiter gives way, somebody else polls and resumes.
local yielding = {
  name = "bench", now = poll.now, sleep = poll.sleep, park = poll.park, wake = poll.wake,
  wait = function(fd, events, deadline) return coroutine.yield(fd, events, deadline) end,
}

local function in_coroutine(work, ...)
  local thread = coroutine.create(work)
  local resume, status, wait = coroutine.resume, coroutine.status, poll.wait
  local ok, fd, events, deadline = resume(thread, ...)
  while ok and status(thread) ~= "dead" do
    ok, fd, events, deadline = resume(thread, wait(fd, events, deadline))
  end
  if not ok then error(fd) end
  return fd, events
end

function questions.in_coroutine(url, sql)
  local conn = in_coroutine(function() return assert(luphant.connect(url, { waiter = yielding })) end)
  local statement = in_coroutine(function() return assert(conn:prepare(sql)) end)
  local key = meter.key
  local function run(n)
    local units = 0
    for i = 1, n do
      local row, err = statement:query_one(key(i, 10000))
      if not row then error(err) end
      units = units + 1
    end
    return units
  end
  return function(n) return in_coroutine(run, n) end,
    function() return in_coroutine(account_check(function(id) return statement:query_one(id) end)) end
end

function questions.rows_named(url, sql)
  local conn = assert(luphant.connect(url))
  local function run(n)
    local units = 0
    for _ = 1, n do units = units + #assert(conn:query(sql)) end
    return units
  end
  return run, function()
    local add, result = meter.items()
    for _, r in ipairs(assert(conn:query(sql))) do
      add(r.id, r.big, r.title, r.code, r.active, r.ratio, r.at, r.price)
    end
    return result()
  end
end

function questions.rows_array(url, sql)
  local conn = assert(luphant.connect(url, { rows = "array" }))
  local function run(n)
    local units = 0
    for _ = 1, n do units = units + #assert(conn:query(sql)) end
    return units
  end
  return run, function()
    local add, result = meter.items()
    for _, r in ipairs(assert(conn:query(sql))) do add(r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8]) end
    return result()
  end
end

function questions.rows_columns(url, sql)
  local conn = assert(luphant.connect(url, { rows = "columns" }))
  local function run(n)
    local units = 0
    for _ = 1, n do units = units + #assert(conn:query(sql)).id end
    return units
  end
  return run, function()
    local add, result = meter.items()
    local c = assert(conn:query(sql))
    for i = 1, #c.id do
      add(c.id[i], c.big[i], c.title[i], c.code[i], c.active[i], c.ratio[i], c.at[i], c.price[i])
    end
    return result()
  end
end

function questions.values_iterator(url, sql)
  local conn = assert(luphant.connect(url))
  local function run(n)
    local units = 0
    for _ = 1, n do
      for id, big, title, code, active, ratio, at, price in conn:values(sql) do -- luacheck: ignore
        units = units + 1
      end
    end
    return units
  end
  return run, function()
    local add, result = meter.items()
    for id, big, title, code, active, ratio, at, price in conn:values(sql) do
      add(id, big, title, code, active, ratio, at, price)
    end
    return result()
  end
end

local function streamed(via)
  return function(url, sql)
    local conn = assert(luphant.connect(url))
    local request = { sql, via = via }
    local function run(n)
      local units = 0
      for _ = 1, n do
        for _ in conn:stream(request) do units = units + 1 end
      end
      return units
    end
    return run, function()
      local add, result = meter.items()
      for r in conn:stream(request) do add(r.id, r.big, r.title, r.code, r.active, r.ratio, r.at, r.price) end
      return result()
    end
  end
end

questions.stream_200000, questions.stream_200000_rows = streamed(nil), streamed "rows"

function questions.inserts(url, sql)
  local conn = assert(luphant.connect(url))
  local statement = assert(conn:prepare(sql))
  local event = meter.event
  return function(n)
    assert(conn:execute "begin")
    for i = 1, n do
      local count, err = statement:execute(event(i))
      if not count then error(err) end
    end
    assert(conn:execute "commit")
    return n
  end
end

function questions.inserts_batched(url, sql)
  local conn = assert(luphant.connect(url))
  local event = meter.event
  assert(conn:prepare(sql))
  return function(n)
    local results, err = conn:batch(function(b)
      for i = 1, n do b:execute(sql, event(i)) end
    end)
    if not results then error(err) end
    return results.n
  end
end

function questions.inserts_bulk(url)
  local conn = assert(luphant.connect(url))
  local event = meter.event
  return function(n)
    local i = 0
    local count, err = conn:insert_many("luphant_bench.event", { "id", "name", "amount" }, function()
      i = i + 1
      if i <= n then return { event(i) } end
    end)
    if not count then error(err) end
    return count
  end
end

function questions.copy_in(url)
  local conn = assert(luphant.connect(url))
  local event = meter.event
  return function(n)
    local w = assert(conn:copy_in "luphant_bench.event")
    for i = 1, n do
      local ok, err = w:row(event(i))
      if not ok then error(err) end
    end
    return assert(w:finish())
  end
end

function questions.copy_out_raw(url, sql)
  local conn = assert(luphant.connect(url))
  return function(n)
    local r, bytes = assert(conn:copy_out(sql:format(n), { format = "text" })), 0
    for piece in r:chunks() do bytes = bytes + #piece end
    return (r:counts())
  end
end

function questions.copy_out_columns(url, sql)
  local conn = assert(luphant.connect(url))
  return function(n)
    local units, r = 0, assert(conn:copy_out(sql:format(n)))
    local lists, count = r:columns(1000)
    while lists do
      units = units + count
      lists, count = r:columns(1000)
    end
    if count then error(count) end
    return units
  end
end

function questions.copy_out_rows(url, sql)
  local conn = assert(luphant.connect(url))
  return function(n)
    local units = 0
    for _ in assert(conn:copy_out(sql:format(n))):rows() do units = units + 1 end
    return units
  end
end

function questions.int4_array(url, sql)
  local conn = assert(luphant.connect(url))
  local statement = assert(conn:prepare(sql))
  local key = meter.key
  local function run(n)
    local units = 0
    for i = 1, n do
      local row, err = statement:query_one(key(i, 1000))
      if not row then error(err) end
      units = units + 1
    end
    return units
  end
  return run, function()
    local sum = 0
    for id = 1, 100 do
      for _, value in ipairs(assert(statement:query_one(id)).samples) do sum = sum + value end
    end
    return ("%d"):format(sum)
  end
end

function questions.transaction(url, sql)
  local conn = assert(luphant.connect(url))
  local key, id = meter.key, nil
  local function body(tx) return tx:commit_with(sql, id) end
  return function(n)
    for i = 1, n do
      id = key(i, 10000)
      local ok, err = conn:transaction(body)
      if not ok then error(err) end
    end
    return n
  end
end

function questions.transaction_three_trips(url, sql)
  local conn = assert(luphant.connect(url))
  local update = assert(conn:prepare(sql))
  local key = meter.key
  local function run(n)
    for i = 1, n do
      assert(conn:execute "begin")
      local count, err = update:execute(key(i, 10000))
      if not count then error(err) end
      assert(conn:execute "commit")
    end
    return n
  end
  return run
end

function questions.acquire_release(url)
  local db = assert(luphant.open(url, { max_connections = 4 }))
  assert(db:ready())
  return function(n)
    for _ = 1, n do
      local conn, err = db:acquire()
      if not conn then error(err) end
      conn:release()
    end
    return n
  end
end

-- So many tasks over four connections.
local function tasks(count, share)
  return function(url, sql)
    local loops, key = require "bench.loops", meter.key
    local db
    loops.run(function()
      db = assert(luphant.open(url, { waiter = loops.waiter, max_connections = 4, share = share }))
    end)
    local function run(n)
      local units, at = 0, 0
      loops.all(count, function()
        while at < n do
          at = at + 1
          local row, err = db:query_one(sql, key(at, 10000))
          if not row then error(err) end
          units = units + 1
        end
      end)
      return units
    end
    return function(n) return loops.run(function() return run(n) end) end,
      function() return loops.run(account_check(function(id) return db:query_one(sql, id) end)) end
  end
end

questions.tasks_16, questions.tasks_16_shared = tasks(16, false), tasks(16, true)
questions.tasks_64, questions.tasks_64_shared = tasks(64, false), tasks(64, true)

meter.main(function() return ("luphant %s, %s"):format(luphant.version, meter.lua) end, questions)
