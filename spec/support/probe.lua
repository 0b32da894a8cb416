-- spec.support.probe: how a spec finds out what a failure has left behind.
--
-- "Leave the place usable" is a promise that each spec about faults ends with: the connection works or
-- is closed, no descriptor is open that was not, no session lingers on the server, and the caller was
-- never kept longer than agreed. The ways to look are here; the judging stays in the specs.
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local shell = require "luphant.testing.shell"

local socket = require "socket"

local probe = {}

--- Under valgrind and sanitizers everything takes longer; limits are multiplied by this.
probe.slow = tonumber(os.getenv("LUPHANT_TEST_SLOW_FACTOR") or "") or 1

probe.now = socket.gettime

--- Runs fn; returns how long it took and what it returned (up to three values).
function probe.timed(fn, ...)
  local from = probe.now()
  local a, b, c = fn(...)
  return probe.now() - from, a, b, c
end

--- Runs fn, which must return `nil, err`, within `seconds`; returns err.
function probe.fails(seconds, fn, ...)
  local took, value, err = probe.timed(fn, ...)
  assert(value == nil, "expected a failure, got " .. tostring(value))
  assert(type(err) == "table" and type(err.kind) == "string", "not a structured error: " .. tostring(err))
  assert(took <= seconds * probe.slow, ("took %.3f s, agreed were %.3f s: %s"):format(took, seconds, tostring(err)))
  return err, took
end

--- Asserts that a connection answers, in order, and with the right answers.
function probe.usable(conn)
  for i = 1, 3 do
    local token = ("%d-%d"):format(i, math.random(1, 2 ^ 30))
    local value, err = conn:query_value("select $1::text", token)
    assert(value == token, ("the connection is out of order: asked %s, got %s (%s)"):format(token, tostring(value),
      tostring(err)))
  end
end

--- Keeps the program busy for so long: nothing else happens meanwhile.
function probe.dawdle(seconds)
  local till = probe.now() + seconds
  while probe.now() < till do end -- luacheck: ignore 542
end

--- Waits until fn() is true; answers whether it came true.
function probe.eventually(fn, seconds)
  local limit = probe.now() + (seconds or 5) * probe.slow
  while not fn() do
    if probe.now() > limit then return false end
    socket.sleep(0.02)
  end
  return true
end

--- How many descriptors this process has open; nil where /proc does not tell.
function probe.descriptors()
  local count = shell.run("ls /proc/$PPID/fd | wc -l")
  return tonumber(count)
end

--- Asserts that `fn` leaves as many descriptors open as it found. Garbage that holds some is collected.
function probe.keeps_descriptors(fn)
  collectgarbage()
  collectgarbage()
  local before = probe.descriptors()
  fn()
  collectgarbage()
  collectgarbage()
  -- A helper thread that was let go needs a moment to see it.
  local after
  probe.eventually(function()
    collectgarbage()
    after = probe.descriptors()
    return after <= before -- fewer: what earlier tests had let go is gone by now
  end, 3)
  assert(after <= before, ("%s descriptors before, %s after"):format(tostring(before), tostring(after)))
end

--- Sessions of an application_name on the server.
function probe.sessions(server, name)
  return tonumber((server:psql(("select count(*) from pg_stat_activity where application_name = '%s'"):format(name))))
end

--- A waiter that waits as poll does and notes the longest time between two waits: for so long an event
--- loop would have stood still.
function probe.watching_waiter()
  local poll = require("luphant.wait").choose("poll")
  local watch = { longest = 0, waits = 0 }
  local waiter = { name = "watching" }
  for name, fn in pairs(poll) do
    if type(fn) == "function" then waiter[name] = fn end
  end
  local left
  function watch.start() left, watch.longest, watch.waits = probe.now(), 0, 0 end
  function watch.stop() if left then watch.longest = math.max(watch.longest, probe.now() - left) end end
  function waiter.wait(...)
    watch.stop()
    watch.waits = watch.waits + 1
    local events = poll.wait(...)
    left = probe.now()
    return events
  end
  return waiter, watch
end

-- The sanitizer's library, when this process runs under it: another interpreter needs it as well.
local function sanitizer()
  if not os.getenv "ASAN_OPTIONS" then return end
  return (shell.read_file "/proc/self/maps" or ""):match "(/%S*/libasan%.so%S*)"
end

--- Runs Lua text in a second interpreter, with environment variables set; returns what it printed, and
--- its exit code when that is not 0.
function probe.script(variables, text)
  local words = { "env" }
  local preload = { sanitizer() }
  for name, value in pairs(variables) do
    if name == "LD_PRELOAD" then preload[#preload + 1] = value
    else words[#words + 1] = name .. "=" .. value end
  end
  if preload[1] then words[#words + 1] = "LD_PRELOAD=" .. table.concat(preload, ":") end
  local head = ("package.path, package.cpath = %q, %q "):format(package.path, package.cpath)
  for _, word in ipairs { env.lua(), "-e", head .. text } do words[#words + 1] = word end
  local output, failure, code = shell.run(shell.line(words))
  return output or failure, code
end

--- A port of the loopback address where nobody listens.
function probe.closed_port()
  local s = assert(socket.bind("127.0.0.1", 0))
  local _, port = s:getsockname()
  s:close()
  return tonumber(port)
end

--- A listener that never accepts: the kernel completes the TCP handshake and then nothing happens. With
--- `full`, not even that: its queue is full. Returns it (close it) and its port.
function probe.deaf_listener(full)
  local s = assert(socket.tcp4())
  assert(s:bind("127.0.0.1", 0))
  assert(s:listen(full and 0 or 16))
  local _, port = s:getsockname()
  local fillers = {}
  for i = 1, full and 3 or 0 do
    fillers[i] = socket.tcp4()
    fillers[i]:settimeout(0)
    fillers[i]:connect("127.0.0.1", port)
  end
  return {
    close = function()
      for _, each in ipairs(fillers) do each:close() end
      s:close()
    end,
  }, tonumber(port)
end

--- Compiles a C file beside this one to a shared library and calls fn(path); the file is gone
--- afterwards (what was loaded from it stays loaded).
function probe.with_library(name, fn)
  local dir = assert(shell.run("mktemp -d"))
  local path = dir .. "/" .. name .. ".so"
  local words = shell.line { "-shared", "-fPIC", "-O1", "-o", path, "spec/support/" .. name .. ".c", "-ldl" }
  local made, message = shell.try("cc", "${CC:-cc} " .. words)
  local ok, err = true, nil
  if made then ok, err = pcall(fn, path) end
  shell.run("rm -rf " .. shell.quote(dir))
  if not made then error(message, 2) end
  if not ok then error(err, 0) end
end

return probe
