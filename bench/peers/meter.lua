-- meter.lua - what the Lua contenders have in common: arguments, clocks, checksums, the line they print.
--
-- A contender is a program:  <question> <operations> <url> <sql>   prints "[kB ]CPU-seconds wall-seconds units
--                            check"; the first: how far memory rose above the start
--                            --probe                               prints versions
-- Status 3 and a reason on standard error: this contender cannot take part. Client CPU is os.clock(), which is user
-- and system time of the whole process.
--
-- SPDX-License-Identifier: MIT

local meter = {}

local jit_version = rawget(_G, "jit") and rawget(_G, "jit").version

--- "Lua 5.4" or "LuaJIT 2.1.0-beta3".
meter.lua = jit_version or _VERSION

--- The i-th key that is asked for.
function meter.key(i, keys)
  return i * 7919 % keys + 1
end

local names = {}
for i = 0, 999 do names[i] = ("event number %d"):format(i) end

--- Parameters of the i-th insert.
function meter.event(i)
  return i, names[i % 1000], i + 0.25
end

--- Adds up what the rows of item contain. `add` takes a row's values, `result` gives the sums.
function meter.items()
  local id, big, lengths, active, ratio, price = 0, 0, 0, 0, 0, 0
  local function add(row_id, row_big, title, code, is_active, row_ratio, _, row_price)
    id, big = id + tonumber(row_id), big + tonumber(row_big)
    lengths = lengths + #title + #code
    if is_active == true or is_active == "t" then active = active + 1 end
    ratio, price = ratio + tonumber(row_ratio), price + tonumber(row_price)
  end
  local function result()
    return ("%.0f/%.0f/%.0f/%.0f/%.3f/%.2f"):format(id, big, lengths, active, ratio, price)
  end
  return add, result
end

--- Adds up "{1,2,3}".
function meter.array_sum(text)
  local sum = 0
  for digits in text:gmatch "%-?%d+" do sum = sum + tonumber(digits) end
  return sum
end

local function leave(why, status)
  io.stderr:write(why, "\n")
  os.exit(status)
end

-- require() of a peer's library; its absence is no failure.
function meter.need(name)
  local ok, module = pcall(require, name)
  if not ok then leave(("the Lua module %s is not installed for %s"):format(name, meter.lua), 3) end
  return module
end

-- Most memory of the process since the last reset, in kB; 0 where /proc does not tell.
local function peak_memory()
  local file = io.open "/proc/self/status"
  local text = file and file:read "*a" or ""
  if file then file:close() end
  return tonumber(text:match "VmHWM:%s*(%d+)") or 0
end

local function reset_peak()
  local file = io.open("/proc/self/clear_refs", "w")
  if not file then return end
  file:write "5"
  file:close()
end

--- Runs what the command line asks for. `questions[name](url, sql)` answers two functions: one that does n
--- operations and answers the number of units it saw, one that answers the checksum.
---@param version fun(): string
---@param questions table<string, fun(url: string, sql: string): function, function>
function meter.main(version, questions)
  if arg[1] == "--probe" then return print(version()) end
  local name, n, url, sql = arg[1], tonumber(arg[2]), arg[3], arg[4]
  if not questions[name] then leave("does not do this", 3) end
  local now = require("luphant.wait.poll").waiter().now
  local run, check = questions[name](url, sql)
  local writes = name:find "^inserts" or name == "copy_in" -- a rehearsal would leave rows
  if not writes then run(math.floor(n / 10) + 1) end
  collectgarbage()
  reset_peak()
  local memory = peak_memory()
  local wall, cpu = now(), os.clock()
  local units = run(n)
  cpu, wall = os.clock() - cpu, now() - wall
  memory = peak_memory() - memory
  print(("%d %.9f %.9f %d %s"):format(memory, cpu, wall, units, check and check() or "-"))
end

return meter
