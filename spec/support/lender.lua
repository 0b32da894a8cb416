-- spec.support.lender: connections for luphant.share without a pool, and a book about them.
--
--   local lender = lender.new(world.waiter, { url =, limit =, options... of luphant.connect })
--   lender.open     connections lent at this moment    lender.most   the most there were
--   lender.made     connections made                   lender.kept   those that lie idle, to be lent again
--
-- What comes back must be idle and in order, or closed: anything else is an error.
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local errors = require "luphant.errors"
local luphant = require "luphant"
local wait = require "luphant.wait"

local lender = {}

local function made(self)
  self.made = self.made + 1
  local conn, err = luphant.connect(self.url, self.options)
  if not conn then self.open = self.open - 1 end
  return conn, err
end

local function acquire(self, deadline)
  if self.open >= self.limit or (deadline and self.waiter.now() >= deadline and #self.kept == 0) then
    return nil, errors.new("pool_timeout", "the lender has nothing to lend")
  end
  self.open = self.open + 1
  self.most = math.max(self.most, self.open)
  local kept = table.remove(self.kept)
  if kept then return kept end
  return made(self)
end

local function release(self, conn)
  self.open = self.open - 1
  if not conn:is_open() then
    self.broken = self.broken + 1
    return
  end
  assert(conn.box:state() == "idle", "given back while " .. conn.box:state())
  assert(conn:transaction_status() == "idle", "given back while " .. conn:transaction_status())
  self.kept[#self.kept + 1] = conn
end

function lender.new(waiter, options)
  local settings = { cancel_grace = 2, rows = "named" }
  local given = { waiter = waiter }
  for name, value in pairs(options or {}) do
    if name ~= "limit" and name ~= "url" then given[name], settings[name] = value, value end
  end
  local self = {
    waiter = wait.choose(waiter), settings = settings, options = given, url = options and options.url or env.url(),
    limit = options and options.limit or 20, open = 0, most = 0, made = 0, broken = 0, kept = {},
  }
  self.acquire = function(deadline) return acquire(self, deadline) end
  self.release = function(conn) release(self, conn) end
  function self.close()
    assert(self.open == 0, self.open .. " connections were not given back")
    for _, conn in ipairs(self.kept) do conn:close() end
  end
  return self
end

return lender
