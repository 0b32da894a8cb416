-- wait/luvpolls.lua - poll handles for the luv waiter: all of them behind one of libuv's.
--
-- libuv ends a poll handle whose socket has failed, and luv then prints "EBADF: bad file descriptor" to the standard
-- error, although nothing is wrong with the descriptor: the peer has reset the connection. So libuv watches one
-- descriptor of ours (lnest.c), and these handles, with the methods of uv_poll_t that the waiter uses, share it. It is
-- active as long as one of them is. Where there is no such thing they are libuv's own.
--
-- SPDX-License-Identifier: MIT

local module = {}

---@class luphant.wait.luv.poll
---@field fd integer
---@field wanted string  "": stopped
---@field armed boolean
local handle = {}
handle.__index = handle

function handle.is_closing() return false end

--- Watches for the events from now on. nil: the descriptor is closed, or a file, which is always ready.
---@param events "r"|"w"|"rw"
---@param callback fun(failure: nil, events: string)
---@return true|nil
function handle:start(events, callback)
  local owner = self.owner
  if not owner.nest:watch(self.fd, events) then return nil end
  if self.wanted == "" then
    local active = owner.active + 1
    owner.active = active
    if active == 1 then owner:open() end
  end
  self.wanted, self.callback, self.armed = events, callback, true
  return true
end

function handle:stop()
  if self.wanted == "" then return true end
  local owner = self.owner
  self.wanted, self.armed = "", false
  owner.active = owner.active - 1
  if owner.active == 0 and owner.started then
    owner.started = false
    if not owner.gate:is_closing() then owner.gate:stop() end
  end
  return true
end

local methods = {}
methods.__index = methods

--- libuv looks at what is behind all handles.
function methods:open()
  if self.gate and self.gate:is_closing() then self.gate, self.started = nil, false end -- somebody has closed it
  if self.started then return end
  self.gate = self.gate or assert(self.uv.new_poll(self.nest:fd()))
  self.started = true
  self.gate:start("r", self.on_ready)
end

-- One event; what it woke may have asked for more, or for nothing any more.
local function deliver(self, fd, events)
  local one = self.handles[fd]
  if not one or one.wanted == "" or not one.armed then return true end
  one.armed = false
  local ok, why = pcall(one.callback, nil, events)
  if one.wanted ~= "" and not one.armed then one:start(one.wanted, one.callback) end
  return ok, why
end

function methods:turn()
  local list, failed, failure = self.spare or {}, false, nil
  self.spare = nil -- a callback may run the loop
  for i = 1, self.nest:take(list) do
    local ok, why = deliver(self, list[2 * i - 1], list[2 * i])
    if not ok and not failed then failed, failure = true, why end
  end
  self.spare = list
  if failed then error(failure, 0) end
end

--- As uv.new_poll, of which there is one for each descriptor.
---@param fd integer
function methods:new_poll(fd)
  local one = setmetatable({ owner = self, fd = fd, wanted = "", armed = false }, handle)
  self.handles[fd] = one
  return one
end

--- Where poll handles come from: a function like uv.new_poll.
---@param uv table
---@param core { nest?: fun(): userdata|nil }
---@return fun(fd: integer): table|nil, string|nil, string|nil
function module.new(uv, core)
  local nest = core.nest and core.nest()
  if not nest then return uv.new_poll end
  local self = setmetatable({ uv = uv, nest = nest, handles = {}, active = 0, started = false }, methods)
  self.on_ready = function() self:turn() end
  return function(fd) return self:new_poll(fd) end
end

return module
