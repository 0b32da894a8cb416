-- pool/init.lua - what luphant.open returns: many connections behind one object with the verbs of one.
--
--   local db = assert(luphant.open("postgres://app@db.example/shop", { max_connections = 10 }))
--   local names = assert(db:query_column "select name from users")
--   assert(db:transaction(function(tx) ... end))
--   assert(db:with(function(conn) ... end))
--
-- A verb borrows a connection, runs and gives it back. The decisions are the state machine's (core/pool.h); getting a
-- connection is borrow.lua, making one grow.lua, looking after them keep.lua, telling about them report.lua.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local care = require "luphant.pool.care"
local connection = require "luphant.connection"
local core = require "luphant.core"
local dial = require "luphant.dial"
local grow = require "luphant.pool.grow"
local keep = require "luphant.pool.keep"
local lending = require "luphant.pool.lending"
local notify = require "luphant.notify"
local observing = require "luphant.pool.observing"
local reclaim = require "luphant.pool.reclaim"
local report = require "luphant.pool.report"
local rules = require "luphant.pool.rules"
local sharing = require "luphant.pool.sharing"
local strict = require "luphant.strict"
local verbs = require "luphant.pool.verbs"

---@class luphant.pool
---@field private core userdata
---@field private plan luphant.dial.plan
---@field private settings table
---@field private waiter luphant.waiter
---@field private sessions table<integer, luphant.connection>
local inner = {} -- what the files of this room call on a pool
local methods = setmetatable({}, { __index = inner })
local metatable = { __name = "luphant.pool", __index = methods }

care.add(inner)
reclaim.add(inner)
lending.add(methods)
observing.add(methods)
notify.add(methods)
verbs.add(methods)

local pool = { methods = methods }

-- Where luphant is, as debug.getinfo tells: who borrows is looked for elsewhere.
local HOME = debug.getinfo(1, "S").source:match "^(@.*[/\\])pool[/\\]init%.lua$"

-- The limits the state machine knows, in its names.
local function limits(settings)
  return {
    max_connections = settings.max_connections, min_connections = settings.min_connections,
    max_waiting = settings.max_waiting, idle_timeout = settings.idle_timeout, max_lifetime = settings.max_lifetime,
    lifetime_jitter = settings.lifetime_jitter, check_after = settings.health_check_after,
    keepalive = settings.keepalive_interval, max_uses = settings.max_uses, fifo = settings.reuse == "fifo",
    keep_state = settings.reset == "off", leak_frames = settings.leak_frames, home = HOME,
    acquire_timeout = settings.acquire_timeout or nil,
  }
end

local function limits_problem(settings)
  if settings.min_connections > settings.max_connections then
    return ("min_connections (%d) is more than max_connections (%d)"):format(
      settings.min_connections, settings.max_connections)
  end
  return sharing.problem(settings)
end

local function weak_values() return setmetatable({}, { __mode = "v" }) end

-- Different in each process and for each pool: the clock alone could be the same in two workers.
local function seed()
  local address = tonumber(tostring({}):match("(%x+)$") or "0", 16) or 0
  return (address + math.floor(core.now() * 1e6)) % 2 ^ 48 + 1
end

local function new(plan)
  local settings = plan.settings
  local self = setmetatable({
    core = core.pool(limits(settings), seed()), plan = plan, settings = settings, waiter = plan.waiter,
    auto = settings.waiter == nil and plan.waiter.name ~= "openresty", -- nothing else runs inside of nginx
    style = connection.style(settings),
    sessions = {}, handles = weak_values(), owners = weak_values(), tokens = {}, waiting_tasks = weak_values(),
    guards = {}, timeouts = 0, leaks = 0, next_look = 0, reclaimed = 0, closed = false,
  }, metatable)
  self.emit = care.emitter(self)
  self.current_task = care.current_task
  self.new_sharing, self.riders = sharing.new, sharing.RIDERS
  -- Whether there is something to do for every connection that comes back.
  self.tidies = settings.after_release ~= nil or settings.reset == "always"
  -- The shortest way is open while no hook wants to see each borrowing.
  self.direct = observing.is_direct(self)
  self.core:handles(self.handles, {})
  self.acquire = self.core:acquirer(self, lending.acquire_from_core) -- on LuaJIT the class's
  self:settle_in()
  return self
end

--- Opens a pool. See luphant.open.
---@param target nil|string|table
---@param options? table
---@param level? integer  who is to blame for misuse
---@return luphant.pool|nil
---@return luphant.error|nil
function pool.open(target, options, level)
  level = (level or 1) + 1
  local plan, err = dial.plan(target, options, level, rules)
  if not plan then return nil, err end
  local why = limits_problem(plan.settings)
  if why then error(why, level) end
  local self = new(plan)
  if self.settings.min_connections > 0 then
    local ok
    ok, err = lending.fill(self)
    if not ok then
      care.close(self, 0)
      return nil, err
    end
  end
  return self
end

--- A view of this pool whose verbs raise their errors instead of returning them.
---@return luphant.pool
function methods:strict()
  return strict.view(self)
end

-- A timeout of one of the functions below, given by the caller of that function.
local function check_seconds(value, name)
  if value == nil then return end
  args.argument(value, "number", 1, name, 3)
  if value >= 0 then return end
  error(("bad argument #1 to '%s' (0 or more seconds expected, got %s)"):format(name, value), 3)
end

--- Waits until a connection works: connects one, or asks an idle one.
---@param timeout? number  seconds; default acquire_timeout
---@return true|nil
---@return luphant.error|nil
function methods:ready(timeout)
  check_seconds(timeout, "ready")
  local limit = lending.limit_of(self, timeout)
  local lent, err = lending.acquire_within(self, limit)
  if not lent then return nil, err end
  local answer
  lent.box:set_ceiling(self:on_core_clock(limit))
  answer, err = connection.script(lent, "")
  lent.box:set_ceiling(nil)
  lent:release()
  if not answer then return nil, err end
  return true
end

--- Changes limits of a pool at work: any of its own options. What is over the new limits is closed as it comes back.
---@param changes table
function methods:resize(changes)
  args.argument(changes, "table", 1, "resize", 2)
  local checked = args.check(changes, inner.resizable, "pool option", 2)
  local merged = {}
  for name in pairs(inner.resizable) do
    -- `false`, for none, has become nil.
    if changes[name] ~= nil then merged[name] = checked[name] else merged[name] = self.settings[name] end
  end
  local why = limits_problem(merged)
  if why then error(why, 2) end
  self.core:resize(limits(merged))
  for name in pairs(inner.resizable) do self.settings[name] = merged[name] end
  sharing.resize(self)
  keep.tick(self)
  grow.more(self)
  self:rouse()
end

-- What resize may change: everything the state machine decides by, and acquire_timeout.
inner.resizable = {}
for _, name in ipairs {
  "max_connections", "min_connections", "max_waiting", "idle_timeout", "max_lifetime", "lifetime_jitter", "max_uses",
  "reuse", "health_check_after", "keepalive_interval", "acquire_timeout", "leak_timeout", -- not share: who rides, rides
} do
  local rule = {}
  for key, value in pairs(rules[name]) do rule[key] = value end
  rule.default = nil
  inner.resizable[name] = rule
end

--- All connections of now are replaced as they come back or stand idle: after a failover, new settings of a role ...
function methods:refresh()
  self.core:refresh()
  keep.tick(self)
end

--- Figures and the list of connections; see docs/api/pool.md.
---@return table
function methods:stats() return report.stats(self) end

--- For probes: is the database reachable right now? One round trip, bounded by `timeout` seconds (default 1).
---@param timeout? number
---@return table  { ok =, seconds =, total =, idle =, used =, waiting =, kind =, error = }
function methods:health(timeout)
  check_seconds(timeout, "health")
  local from = self.waiter.now()
  local ok, err = self:ready(timeout or 1)
  local counts = report.counts(self)
  return {
    ok = ok == true, seconds = self.waiter.now() - from, total = counts.total, idle = counts.idle, used = counts.used,
    waiting = counts.waiting, kind = err and err.kind or nil, error = err and tostring(err) or nil,
  }
end

--- Drains the pool: no new borrowings, waiters are told, lent connections have `timeout` seconds (default 10) to come
--- back, then they are closed too. Idempotent. Answers true when all had come back.
---@param timeout? number
---@return boolean|nil drained
---@return luphant.error|nil
function methods:close(timeout)
  check_seconds(timeout, "close")
  local drained, err = care.close(self, timeout)
  return drained, err
end

function metatable:__tostring()
  local counts = report.counts(self)
  return ("luphant.pool (%d of %d connections, %d used%s)"):format(
    counts.total, counts.max, counts.used, self.closed and ", closed" or "")
end

metatable.__close = function(self) care.close(self) end

return pool
