-- pool/observing.lua - db:on(event, fn): what a pool tells to those who listen.
--
-- Nothing of it costs anything until somebody does: then the connections answer "observe" before each statement
-- (lrun.c), borrowings leave the shortest way, and what is shared goes through a view.
--
-- SPDX-License-Identifier: MIT

local connection = require "luphant.connection"
local hooks = require "luphant.hooks"

local observing, methods = {}, {}

-- Statements on a shared pipeline meet no connection of their own that could ask.
local function view_of(share, observers)
  local view = { plain = share }
  function view.run(_, code, sql, ...)
    local info = observers:statement_began(nil, code, sql, ...)
    return observers:statement_ended(info, pcall(share.run, share, code, sql, ...))
  end
  return setmetatable(view, { __index = share })
end

--- The shared pipelines as the pool's verbs shall use them.
---@param pool luphant.pool
---@param share luphant.share|nil
function observing.view(pool, share)
  local observers = pool.settings.observers
  local plain = share and rawget(share, "plain") or share
  if plain and observers and observers.watches_statements then return view_of(plain, observers) end
  return plain
end

--- The shortest way of a borrowing is open while nobody wants to see it.
---@param pool luphant.pool
function observing.is_direct(pool)
  local settings = pool.settings
  local lists = settings.observers and settings.observers.lists or {}
  return not settings.before_acquire and not pool.tidies and not lists.acquire and not lists.release
end

-- Who listens has changed.
local function fit(pool)
  pool.direct = observing.is_direct(pool)
  pool.shared = observing.view(pool, pool.shared)
  pool:set_lane()
  for _, session in pairs(pool.sessions) do connection.observe(session) end
end

--- Calls fn(info) at each `event`; see docs/api/hooks.md. Answers a function that ends that.
---@param event string
---@param fn fun(info: table)
---@return fun()
function methods:on(event, fn)
  hooks.check("on", event, fn)
  local registry = hooks.of(self.settings)
  registry.changed = function() fit(self) end
  return registry:on(event, fn)
end

--- Ends what db:on began, once. Answers whether `fn` was subscribed.
---@param event string
---@param fn function
---@return boolean
function methods:off(event, fn)
  hooks.check("off", event, fn)
  local registry = self.settings.observers
  return registry ~= nil and registry:off(event, fn)
end

--- A connection has been made.
---@param pool luphant.pool
---@param session luphant.connection
---@param seconds number
function observing.connected(pool, session, seconds)
  local observers = pool.settings.observers
  if not observers or not observers.lists.connect then return end
  observers:tell("connect", {
    slot = session.slot, backend_pid = session.box:backend_pid(), target = session.box:target(), seconds = seconds,
  })
end

--- Something failed: "connect", "acquire".
---@param pool luphant.pool
---@param where string
---@param err any
---@param info? table
function observing.failed(pool, where, err, info)
  local observers = pool.settings.observers
  if observers then observers:failed(where, err, info) end
end

--- What borrow.slot answered, after so many seconds. Answers whether the slot is still the same after all hooks: they
--- may wait, and the pool be closed meanwhile.
function observing.acquired(pool, seconds, slot, err)
  local observers = pool.settings.observers
  if not slot then
    observers:failed("acquire", err, { seconds = seconds })
    return true
  end
  local session = pool.sessions[slot]
  if observers.lists.acquire then
    observers:tell("acquire", { slot = slot, backend_pid = session.box:backend_pid(), seconds = seconds })
  end
  return pool.sessions[slot] == session
end

--- What there will be to tell once a lent connection has come back or ended: `how` is "given back", "taken back" or
--- "closed". nil: nobody listens, or it was not lent.
---@param pool luphant.pool
---@param slot integer
---@param how string
---@return table|nil
function observing.releasing(pool, slot, how)
  local observers = pool.settings.observers
  if not observers or not observers.lists.release then return nil end
  local state, seconds = pool.core:slot(slot)
  if state ~= "used" then return nil end
  local session = pool.sessions[slot]
  return { slot = slot, backend_pid = session and session.box:backend_pid(), seconds = seconds, how = how }
end

--- The pool has done what it does.
---@param pool luphant.pool
---@param info table|nil  of observing.releasing
function observing.released(pool, info)
  if info then pool.settings.observers:tell("release", info) end
end

function observing.add(class)
  for name, method in pairs(methods) do class[name] = method end
end

return observing
