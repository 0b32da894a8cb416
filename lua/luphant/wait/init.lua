-- wait/init.lua - the waiter contract, and the choice of a waiter.
--
-- The core never waits. It says which socket it needs and in which direction; a *waiter* suspends
-- whoever asked until that is possible. A waiter is a table with a `name` and five functions, called
-- without self, and perhaps more. Times are seconds on the waiter's own clock; a deadline is a point
-- on that clock, nil is "no limit".
--
--   now()                       monotonic time; only differences mean anything
--   wait(fd, events, deadline)  suspends the caller, and only the caller where others can run, until
--                               `fd` is ready for "r", "w" or "rw". Answers the events that are ready
--                               (a failed descriptor is ready: the next read says why), or nil once
--                               the deadline is past. A timeout is no error: never raises for it.
--                               A deadline in the past still looks once. Nothing may be remembered
--                               about `fd`: it can be closed and its number reused before the next call.
--   sleep(deadline)             the same without a descriptor; the deadline is required
--   park(token, deadline)       suspends the caller until someone calls wake(token). Answers true, or
--                               nil when the deadline is past, or nil and a reason at once when
--                               nobody else could ever call wake.
--   wake(token)                 lets the one who parked with this token go on (not before the caller
--                               has given way). Answers whether someone was parked with it. Who was
--                               woken is told so, even when its deadline passes before it can run.
--   spawn(fn)                   optional: runs fn as another task of the loop, soon, not before the
--                               caller has given way. An error of fn goes nowhere: callers wrap it.
--                               Answers true, or nil and a reason. Absent: nobody else ever runs.
--   is_alone(count)             optional: does the caller's loop have at most `count` tasks, the caller
--                               among them? A task that only looks after things (a pool's keeper) asks now
--                               and then whether it alone holds the loop, with the number of such tasks,
--                               and ends. To say so too early does no harm: it is started again when
--                               there is work. Absent: such tasks hold the loop until their pool is closed.
--
--
-- Surroundings that may end a task from outside, without any line of it running (a web server whose client has
-- gone), or that may end altogether, offer more:
--
--   check()                     optional: raises, at the line of luphant's caller, where the caller cannot be
--                               suspended. Then nothing is begun that could not be waited for.
--   guard(thing)                optional: the caller holds `thing`, a table whose field `guard` is for the waiter, on
--                               behalf of the task that runs it (the request).
--                               When that has ended, thing:abandoned() is called in a task of its own. Answers
--                               whether there is such a task.
--   unguard(thing)              with guard: it is not held any more
--   is_exact                    with guard, true: wake answers false for one who had parked only when he is gone
--   at_end(name, fn)            optional: calls fn when the surroundings begin to end; the last fn of a name counts.
--                               Tasks that only look after things then ask is_alone, and end.
--   is_ending()                 with at_end: have they begun to?
--   travel                      optional, with guard: { nginx = the core's box of its waits, yield = what suspends the
--                               caller after it said so, when_lost = fn(thing, fn): fn(thing) is called when something
--                               the core held for a request may have been left behind }
--   warn(text)                  optional: writes to the log of the surroundings
--
-- A token is any Lua value but nil and NaN; one caller per token. Several callers may wait for one
-- descriptor. Where others can run, each wait, sleep and park lets them. If the surroundings kill a
-- suspended caller and can tell, the waiter forgets its descriptor and token. Using a waiter where it
-- cannot wait is misuse: it raises and says what to do. spec/contract holds every waiter to this.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"

local wait = {}

---@class luphant.waiter
---@field name string
---@field now fun(): number
---@field wait fun(fd: integer, events: string, deadline: number|nil): string|nil
---@field sleep fun(deadline: number)
---@field park fun(token: any, deadline: number|nil): boolean|nil, string|nil
---@field wake fun(token: any): boolean
---@field spawn? fun(fn: fun()): true|nil, string|nil
---@field is_alone? fun(count: integer): boolean
---@field check? fun()
---@field guard? fun(thing: table): boolean
---@field unguard? fun(thing: table)
---@field is_exact? boolean
---@field is_ending? fun(): boolean
---@field at_end? fun(name: string, fn: fun())
---@field warn? fun(text: string)
---@field travel? { nginx: userdata, yield: fun(), when_lost: fun(thing: table, fn: fun(thing: table)) }

local FUNCTIONS = { "now", "wait", "sleep", "park", "wake" }
local OPTIONAL = { "spawn", "is_alone", "check", "guard", "unguard", "at_end", "is_ending", "warn" }

-- Each way of waiting loads only when it is chosen: its loop library need not be installed.
local MODULES = {
  copas = "luphant.wait.copas",
  cqueues = "luphant.wait.cqueues",
  luv = "luphant.wait.luv",
  openresty = "luphant.wait.openresty",
  poll = "luphant.wait.poll",
}

-- In this order the loops are asked whether they run the caller, under their libraries' names: what
-- nobody has loaded runs nothing.
local LOOPS = { "cqueues", "copas", "luv" }

local function names()
  local out = {}
  for name in pairs(MODULES) do out[#out + 1] = name end
  table.sort(out)
  return out
end

--- The names `choose` takes, alphabetically.
wait.names = names

-- What is missing in a table that should be a waiter.
local function contract_problem(waiter)
  for _, name in ipairs(FUNCTIONS) do
    if type(waiter[name]) ~= "function" then
      return ("the waiter has no function %s (see luphant.wait for the contract)"):format(name)
    end
  end
  for _, name in ipairs(OPTIONAL) do
    if waiter[name] ~= nil and type(waiter[name]) ~= "function" then
      return ("the waiter's %s is no function (see luphant.wait for the contract)"):format(name)
    end
  end
end

-- The name of the loop that runs the caller; "poll" when none is known to. Inside of nginx everything is run by nginx,
-- also where nothing can be suspended: its waiter says so then.
local function running_loop()
  if package.loaded.ngx and require(MODULES.openresty).runs_here() then return "openresty" end
  for _, name in ipairs(LOOPS) do
    if package.loaded[name] and require(MODULES[name]).runs_here() then return name end
  end
  return "poll"
end

--- The name of the waiter whose loop runs the caller; "poll" where none does. Cheap enough to ask each time.
---@return string
wait.running = running_loop

-- The waiter of that name, or nil and why not: its library may be missing. A loop's library is not even loaded inside
-- of nginx: the loop could only run by stopping the worker, and copas resumes a coroutine while it is loaded, which
-- ngx_lua (0.10.23 at least) does not survive.
local function load_waiter(name)
  if name ~= "openresty" and name ~= "poll" and running_loop() == "openresty" then
    return nil, ('the waiter %q cannot be had here: nginx runs this code; leave waiter away, or choose "openresty"')
      :format(name)
  end
  local ok, waiter = pcall(function() return require(MODULES[name]).waiter() end)
  if ok then return waiter end
  return nil, ("the waiter %q cannot be had here: %s"):format(name, tostring(waiter):match "^[^\n]*")
end

--- A waiter by name, or the given table after a look whether it is one. nil chooses the loop that
--- runs the caller, "poll" when there is none.
--- Raises at the caller's caller for anything else (`level` as in error()).
---@param choice string|luphant.waiter|nil
---@param level? integer
---@return luphant.waiter
function wait.choose(choice, level)
  level = (level or 2) + 1
  if type(choice) == "table" then
    local why = contract_problem(choice)
    if why then error(why, level) end
    return choice
  end
  local name = choice == nil and running_loop() or choice
  if not MODULES[name] then
    error(('unknown waiter %s%s; there is: %s'):format(args.show(name),
      type(name) == "string" and args.did_you_mean(name, names()) or "", table.concat(names(), ", ")), level)
  end
  local waiter, why = load_waiter(name)
  if not waiter then error(why, level) end
  return waiter
end

return wait
