-- hooks.lua - who wants to hear what happens: db:on(event, fn).
--
--   local registry = hooks.of(settings)          -- made when somebody subscribes for the first time
--   registry:on("query_end", fn)
--
-- Whoever has something to tell looks for `settings.observers` first; it is nil until somebody listens:
--
--   local observers = conn.settings.observers
--   if observers then observers:finished("batch", conn, { statements = 3, seconds = 0.1, error = err }) end
--
-- A hook gets one table. What it raises is reported and changes nothing; what it runs itself is not told to hooks, or
-- a hook that writes a log table would never end. Lists are copied when they change: a hook may subscribe and
-- unsubscribe.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local core = require "luphant.core"
local request = require "luphant.request"

local hooks = {}

local now, running = core.now, coroutine.running

hooks.EVENTS = {
  "connect", "acquire", "release", "query_start", "query_end", "batch", "copy", "notice", "transaction_begin",
  "transaction_end", "error",
}

local IS_EVENT = {}
for _, event in ipairs(hooks.EVENTS) do IS_EVENT[event] = true end

local MAIN = {} -- LuaJIT's main program is no coroutine

---@class luphant.hooks
---@field lists table<string, function[]>  by event; absent: nobody listens
---@field private settings table           of the pool or connection whose events these are
---@field private inside table<any, true>  tasks that are running hooks
---@field private changed fun()            whether statements and notices are watched may be another now
local methods = {}
local metatable = { __name = "luphant.hooks", __index = methods }

-------------------------------------------------------------------------------------- subscribing

--- The registry that belongs to the settings of a pool or connection.
---@param settings table
---@return luphant.hooks
function hooks.of(settings)
  local registry = settings.observers
  if not registry then
    registry = setmetatable({
      lists = {}, settings = settings, inside = setmetatable({}, { __mode = "k" }), changed = function() end,
    }, metatable)
    settings.observers = registry
  end
  return registry
end

--- Raises, at the caller's caller, unless these are an event and a function.
---@param name string  the public function
---@param event any
---@param fn any
function hooks.check(name, event, fn)
  args.argument(event, "string", 1, name, 3)
  if not IS_EVENT[event] then
    local near = args.did_you_mean(event, hooks.EVENTS)
    if near == "" then near = ": there are " .. table.concat(hooks.EVENTS, ", ") end
    error(('unknown event "%s"%s'):format(event, near), 3)
  end
  args.argument(fn, "function", 2, name, 3)
end

local function copy_without(list, gone)
  local out = {}
  for i, fn in ipairs(list) do
    if i ~= gone then out[#out + 1] = fn end
  end
  return out
end

-- The connections' own hook for notices is one of those that are told.
local function watch_notices(self)
  local settings = self.settings
  if self.lists.notice and self.own_notice == nil then
    local own = settings.on_notice
    self.own_notice = own or false
    settings.on_notice = function(notice)
      self:tell("notice", { notice = notice })
      if own then own(notice) end
    end
  elseif not self.lists.notice and self.own_notice ~= nil then
    settings.on_notice = self.own_notice or nil
    self.own_notice = nil
  end
end

local function set_list(self, event, list)
  self.lists[event] = list[1] and list or nil
  if event == "notice" then watch_notices(self) end
  self.watches_statements = (self.lists.query_start or self.lists.query_end or self.lists.error) ~= nil
  self.changed()
end

--- Subscribes. Answers a function that takes the subscription back.
---@param event string
---@param fn fun(info: table)
---@return fun()
function methods:on(event, fn)
  local list = copy_without(self.lists[event] or {})
  list[#list + 1] = fn
  set_list(self, event, list)
  local is_on = true
  return function()
    if is_on then self:off(event, fn) end
    is_on = false
  end
end

--- Takes the last subscription of `fn` back. Answers whether there was one.
---@param event string
---@param fn function
---@return boolean
function methods:off(event, fn)
  local list = self.lists[event] or {}
  for i = #list, 1, -1 do
    if list[i] == fn then
      set_list(self, event, copy_without(list, i))
      return true
    end
  end
  return false
end

------------------------------------------------------------------------------------------- telling

local function with_traceback(err)
  if type(err) == "string" then return debug.traceback(err, 2) end
  return err
end

--- Tells of an error that has nobody left who could catch it: to `on_hook_error` of the settings, else to stderr.
---@param settings table
---@param where string
---@param err any
function hooks.report(settings, where, err)
  local handler = settings.on_hook_error
  if handler and pcall(handler, err, where) then return end
  io.stderr:write(("luphant: %s failed: %s\n"):format(where, tostring(err)))
end

--- Calls fn; what it raises is reported. Answers whether it raised nothing, else what it raised, a text with traceback.
function hooks.contained(settings, where, fn, ...)
  local ok, err = xpcall(fn, with_traceback, ...)
  if ok then return true end
  hooks.report(settings, where, err)
  return false, err
end

--- Is a hook running in this task? Then nothing is told.
function methods:is_inside()
  return self.inside[running() or MAIN] ~= nil
end

--- Calls the hooks of an event, in the order of their subscriptions.
---@param event string
---@param info table
function methods:tell(event, info)
  local list, task = self.lists[event], running() or MAIN
  if not list or self.inside[task] then return end
  info.event = event
  self.inside[task] = true
  for i = 1, #list do hooks.contained(self.settings, "hook " .. event, list[i], info) end
  self.inside[task] = nil
end

--- Tells of a failure, wherever it happened.
---@param where string  "query", "connect", "acquire", "transaction", "batch", "copy", "listen"
---@param err any
---@param info? table  what else is known; fields are copied
function methods:failed(where, err, info)
  if not self.lists.error then return end
  local out = {}
  for key, value in pairs(info or {}) do out[key] = value end
  out.where, out.error, out.event = where, err, nil
  self:tell("error", out)
end

--- Something on a connection is over: its event, and "error" when it failed.
---@param event string
---@param conn luphant.connection|nil
---@param info table  `error` when it failed
function methods:finished(event, conn, info)
  if conn then info.backend_pid, info.tx = conn.box:backend_pid(), conn.tx end
  self:tell(event, info)
  if info.error ~= nil then self:failed(event, info.error, info) end
end

---------------------------------------------------------------------------------------- statements

local VERBS = {
  [0] = "query", "query_one", "query_opt", "query_value", "query_column", "execute", "values", "describe",
  "stream", "stream", "cursor",
}

--- A statement begins. Answers its event, for statement_ended; nil inside of a hook, and for a look-up of our own.
---@param conn luphant.connection|nil  nil: on a shared pipeline
---@param code integer|string  number of a verb, or its name
---@param sql string|table
function methods:statement_began(conn, code, sql, ...)
  if self:is_inside() or (type(sql) == "table" and sql[request.UNTOLD]) then return nil end
  local info = {
    verb = VERBS[type(code) == "number" and code % 16] or code, sql = type(sql) == "table" and sql[1] or sql,
    params = { n = select("#", ...), ... }, backend_pid = conn and conn.box:backend_pid(), tx = conn and conn.tx,
  }
  self:tell("query_start", info)
  info.started = now()
  return info
end

local function note_size(info, result)
  if type(result) == "table" and info.verb ~= "describe" and info.verb ~= "query_one" and info.verb ~= "query_opt" then
    info.rows = #result
  elseif info.verb == "execute" then
    info.affected = result
  end
end

--- It has ended: passes on what pcall answered.
---@param info table|nil
function methods:statement_ended(info, ok, ...)
  if not ok and not info then error((...), 0) end
  if not info then return ... end
  local result, err = ...
  info.seconds = now() - info.started
  if not ok then err = result else note_size(info, result) end
  if not ok or (result == nil and err ~= nil) then info.error = err end
  self:tell("query_end", info)
  if info.error ~= nil then self:failed("query", info.error, info) end
  if not ok then error(result, 0) end
  return ...
end

-------------------------------------------------------------------------------------- transactions

local function level_of(tx)
  local level = 1
  while tx.parent do level, tx = level + 1, tx.parent end
  return level
end

---@param tx luphant.transaction
function methods:transaction_began(tx)
  if not self.lists.transaction_begin then return end
  self:tell("transaction_begin", {
    tx = tx, level = level_of(tx), name = tx.plan.name, attempt = tx.number, backend_pid = tx.box:backend_pid(),
  })
end

--- `failure`: what COMMIT was answered; `reason`: why it was rolled back.
---@param tx luphant.transaction
---@param outcome "committed"|"rolled back"|"released"|"unknown"
function methods:transaction_ended(tx, outcome, failure, reason)
  if not self.lists.transaction_end and (failure == nil or not self.lists.error) then return end
  local info = {
    tx = tx, level = level_of(tx), name = tx.plan.name, attempt = tx.number, outcome = outcome,
    seconds = now() - tx.started, backend_pid = tx.box:backend_pid(), error = failure,
  }
  if info.error == nil then info.error = reason end
  self:tell("transaction_end", info)
  if failure ~= nil then self:failed("transaction", failure, info) end
end

return hooks
