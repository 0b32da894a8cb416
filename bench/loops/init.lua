-- loops/init.lua - the event loop a question about many tasks runs in: the bare one, or the one that LUPHANT_BENCH_LOOP
-- names.
--
--   loops.waiter       for luphant
--   loops.run(fn)      runs fn in a task, and everything it starts, until it has ended; answers what fn answers
--   loops.all(n, fn)   starts n tasks with fn(number) and waits until all have ended
--
-- SPDX-License-Identifier: MIT

local meter = require "bench.peers.meter"

local loops = {}

local drivers = {}

-- A pool's own task may sleep in the loop for ever: it ends with the main task.
function drivers.cqueues(main)
  local loop = meter.need("cqueues").new()
  local done = false
  loop:wrap(function()
    main()
    done = true
  end)
  while not done do assert(loop:step()) end
end

function drivers.luv(main)
  local uv = meter.need "luv"
  coroutine.wrap(function()
    main()
    uv.stop()
  end)()
  uv.run()
end

local name = os.getenv "LUPHANT_BENCH_LOOP"
local drive
if name then
  drive = assert(drivers[name], "there is no such loop here")
  loops.waiter = require("luphant.wait").choose(name)
else
  local bare = meter.need "bench.loops.bare"
  drive, loops.waiter = bare.run, bare.waiter
end

function loops.run(fn)
  local ok, result
  drive(function() ok, result = xpcall(fn, debug.traceback) end)
  if not ok then error(result, 0) end
  return result
end

function loops.all(n, fn)
  local left, done, failure = n, {}, nil
  for i = 1, n do
    loops.waiter.spawn(function()
      local ok, why = xpcall(fn, debug.traceback, i)
      failure = failure or not ok and why or nil
      left = left - 1
      if left == 0 then loops.waiter.wake(done) end
    end)
  end
  loops.waiter.park(done)
  if failure then error(failure, 0) end
end

return loops
