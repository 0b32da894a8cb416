-- luphant.migrate.session - the one connection that holds the lock and runs the migrations.
--
-- Always a connection of its own, never one of a pool and never the caller's: the lock lives exactly as long as the
-- worker, and whatever a migration leaves in its session harms nobody. It has no client-side time limit, since a
-- statement that we gave up on would still be running. After each migration the session is put back into its first
-- state; what was left over is told.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local compat = require "luphant.compat"
local connection = require "luphant.connection"
local core = require "luphant.core"
local dial = require "luphant.dial"
local lock = require "luphant.migrate.lock"
local pooler = require "luphant.migrate.pooler"
local tidy = require "luphant.migrate.tidy"
local wait = require "luphant.wait"
local watch = require "luphant.migrate.watch"

local M = {}

local NAME = "luphant-migrate "
local ORPHAN_GRACE = 2    -- seconds a lost session of ours may take to end by itself
local DIAL_PAUSE, DIAL_FOR = 0.25, 30

---@class luphant.migrate.Session
---@field conn luphant.connection
---@field pid integer of the server process
---@field place luphant.migrate.Place
---@field options table
---@field run_id string
---@field watch luphant.migrate.Watch
---@field emit fun(event: table)
---@field hooks? table<string, luphant.migrate.Hook[]> of the run
---@field private plan luphant.dial.plan
local Session = {}
Session.__index = Session

--- A new id for a run: a random UUID.
---@return string
function M.new_id()
  local file = io.open("/dev/urandom", "rb")
  local bytes = file and file:read(16)
  if file then file:close() end
  if not bytes then bytes = tostring({}) .. core.now() .. os.time() .. tostring(os.clock()) end
  local hex = core.sha256(bytes)
  return ("%s-%s-4%s-a%s-%s"):format(hex:sub(1, 8), hex:sub(9, 12), hex:sub(14, 16), hex:sub(18, 20), hex:sub(21, 32))
end

-- ---- where to go --------------------------------------------------------------------------------------------

-- What of the caller's settings must not reach this session.
local function own_settings(given)
  local settings = compat.copy(given)
  settings.timeout, settings.statement_timeout, settings.max_result_bytes = nil, nil, nil
  settings.rows, settings.datetime, settings.int8, settings.numeric = "named", "text", "auto", "string"
  settings.json, settings.pooler = "table", "session"
  return settings
end

local function own_params(given, run_id)
  local params = compat.copy(given)
  params.application_name = NAME .. run_id
  return params
end

-- The plan behind what the caller gave: a pool, a connection, a URL or a table.
local function plan_of(target, level)
  if connection.is(target) then return { params = target.params, settings = target.settings } end
  if type(target) == "table" and type(target.plan) == "table" and target.query then return target.plan end
  return dial.plan(target, nil, level + 1)
end

M.plan_of = plan_of

-- ---- the connection -----------------------------------------------------------------------------------------

local function open(plan)
  local fields, err = dial.connect(plan, plan.settings.connect_timeout)
  if not fields then return nil, err end
  return connection.new(fields)
end

function Session:connect()
  local conn, err = open(self.plan)
  if not conn then return nil, err end
  self.conn = conn
  local ok
  ok, err = self:settle()
  local facts
  if ok then facts, err = tidy.facts(conn) end
  if facts then
    self.pid, self.facts = facts.pid, facts
    return true
  end
  conn:close()
  return nil, err
end

--- Puts the session into its first state.
---@return true?
---@return luphant.error?
function Session:settle() return tidy.settle(self.conn, self.options) end

--- Undoes and tells what a migration has left in the session.
---@param step luphant.migrate.Step
---@return true?
---@return luphant.error?
function Session:clean(step)
  local left, err = tidy.leftovers(self.conn, self.facts)
  if not left then return nil, err end
  if #left == 0 then return true end
  self.emit {
    event = "warning", version = step.version, name = step.name, kind = step.kind, file = step.file,
    message = ("left %s behind in its session; that is undone now. Write SET LOCAL, and `on commit drop`")
      :format(table.concat(left, ", ")),
  }
  local ok
  ok, err = tidy.reset(self.conn)
  if not ok then return nil, err end
  return self:settle()
end

--- One more connection of the same kind, with a time limit.
---@param timeout number
---@return luphant.connection?
---@return luphant.error?
function Session:another(timeout)
  local settings = compat.copy(self.plan.settings)
  settings.timeout = timeout
  return open { params = self.plan.params, settings = settings, waiter = self.plan.waiter, types = core.typemap() }
end

-- ---- the lock -----------------------------------------------------------------------------------------------

-- A session of this very run that was lost, but whose server process has not noticed, holds the lock. Given a moment
-- to end by itself it is ended: the name says that it is ours.
local function end_orphan(self, holder, waited)
  if not holder or waited < ORPHAN_GRACE or holder.application_name ~= self.plan.params.application_name then return end
  self.conn:query([[
    select pg_terminate_backend(pid) from pg_stat_activity
     where pid = $1 and application_name = $2 and pid <> pg_backend_pid()]], holder.pid, holder.application_name)
end

--- Takes the lock of the migrations.
---@return true?
---@return luphant.error?
function Session:lock(patience)
  local ok, err = pooler.check(self.conn, self.pid, function(timeout) return self:another(timeout) end)
  if not ok then return nil, err end
  local waited
  waited, err = lock.acquire(self.conn, self.place, {
    patience = patience or self.options.lock_wait, emit = self.emit,
    should_stop = function() return self.watch:wants_stop() end, hide_queries = self.options.hide_queries,
    on_wait = function(holder, so_far) end_orphan(self, holder, so_far) end,
  })
  if not waited then return nil, err end
  self.is_locked = true
  self.emit { event = "lock_acquired", waited = waited }
  return lock.confirm(self.conn, self.place)
end

--- After the connection was lost: connects again and waits until the lost session is really gone, which is when its
--- lock is free. What became of its transaction is certain then.
---@return true?
---@return luphant.error?
function Session:recover()
  self.emit { event = "reconnect" }
  self.conn:close()
  self.is_locked = false
  local sleep, now = self.plan.waiter.sleep, self.plan.waiter.now
  local limit = now() + DIAL_FOR
  local ok, err
  repeat
    ok, err = self:connect()
    if not ok then sleep(now() + DIAL_PAUSE) end
  until ok or now() > limit or self.watch:wants_stop()
  if not ok then return nil, err end
  return self:lock(math.max(self.options.lock_wait, DIAL_FOR))
end

--- Goes on as the session of another tenant: its place, its search_path, its listener. The lock of the last one is
--- given back before.
---@param options table as border.lua checks them
---@return true?
---@return luphant.error?
function Session:become(options)
  if self.is_locked then lock.release(self.conn, self.place) end
  self.is_locked = false
  self.options, self.place, self.emit, self.watch.emit = options, options.place, options.emit, options.emit
  local ok, err = self:settle()
  if not ok then return nil, err end
  self.facts, err = tidy.facts(self.conn)
  if not self.facts then return nil, err end
  return true
end

function Session:is_open() return self.conn ~= nil and self.conn:is_open() end

--- Ends the session, and gives the lock back before. Idempotent.
function Session:close()
  self.watch:close()
  if not self.conn then return end
  if self.is_locked and self.conn:is_open() and self.conn:transaction_status() == "idle"
    and lock.release(self.conn, self.place) == false then
    -- Each step has looked before its end; this was lost behind the last one.
    self.emit { event = "warning", message = "the lock of the migrations was gone before the end of the run" }
  end
  self.is_locked = false
  self.conn:close()
end

-- Tables without a schema land where the caller's session would have put them.
local function path_of(target)
  if not connection.is(target) then return nil end
  return target:query_value "select current_setting('search_path')"
end

-- The looks at what goes on are taken through a connection of its own, which waits in the plain way.
local function plans_of(self, found, inner)
  local params = own_params(found.params, self.run_id)
  local settings, quiet = own_settings(found.settings), own_settings(found.settings)
  settings.on_notice = function(notice) self:on_notice(notice) end
  quiet.on_notice = nil
  self.plan = { params = params, settings = settings, waiter = self.watch:waiter(inner), types = core.typemap() }
  self.watch.dial = function()
    return (open { params = params, settings = quiet, waiter = inner, types = core.typemap() })
  end
end

--- Opens the session of a run.
---@param target any a pool, a connection, a URL or a table
---@param options table as border.lua checks them
---@param level integer who is to blame for misuse
---@return luphant.migrate.Session?
---@return luphant.error?
function M.open(target, options, level)
  if connection.is(target) and target.tx then
    args.misuse "migrations cannot run inside of a transaction; call this outside of it"
  end
  local found, err = plan_of(options.url or target, level + 1)
  if not found then return nil, err end
  if found.settings.pooler == "transaction" then return nil, pooler.refusal() end
  options = compat.copy(options)
  if not options.search_path and not options.url then
    options.search_path, err = path_of(target)
    if err then return nil, err end
  end
  local self = setmetatable({
    options = options, place = options.place, run_id = M.new_id(), emit = options.emit,
    watch = watch.new {
      emit = options.emit, should_stop = options.should_stop, hide_queries = options.hide_queries,
    },
  }, Session)
  plans_of(self, found, options.waiter or wait.choose(found.settings.waiter, level + 1))
  local ok
  ok, err = self:connect()
  if not ok then return nil, err end
  return self
end

-- What the server says beside its answers goes to the listener, with the migration it belongs to.
function Session:on_notice(notice)
  local current = self.watch.current
  local event = {
    event = "notice", severity = notice.severity, message = notice.message, detail = notice.detail, hint = notice.hint,
  }
  for name, value in pairs(current and current.event or {}) do event[name] = event[name] or value end
  self.emit(event)
end

return M
