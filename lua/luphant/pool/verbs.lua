-- pool/verbs.lua - the query verbs of a pool: borrow, run, give back.
--
-- In the usual case that is one call into the core (llend.c); inside of nginx, whose waits the core knows, two with a
-- yield in between (ltrip.c). Everything else - nobody idle, an event loop to wait in, a failure - goes on in `go_on`.
-- A statement whose connection turned out to be dead before anything of it was sent runs on another one instead.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local batch = require "luphant.batch"
local bulk = require "luphant.bulk"
local borrow = require "luphant.pool.borrow"
local connection = require "luphant.connection"
local core = require "luphant.core"
local cursor = require "luphant.cursor"
local lending = require "luphant.pool.lending"
local reads = require "luphant.pool.reads"
local report = require "luphant.pool.report"
local stream = require "luphant.stream"
local types = require "luphant.types"

local RAISED, DUE, CHOSEN, LATE, PENDING = core.RAISED, core.DUE, core.CHOSEN, core.LATE, core.PENDING

local may_ride = reads.may_ride

local verbs, methods = {}, {}

-- A server that restarted leaves as many dead connections as the pool has; each is found dead only once.
local MOST_ATTEMPTS = 100

local function was_lost_unsent(err)
  return err ~= nil and err.kind == "closed" and err.sent == "no"
end

-- Runs on a borrowed slot. Answers whether the statement may run again elsewhere, and the verb's answer.
local function run_on(self, slot, call, ...)
  local session = self.sessions[slot]
  local ok, result, err = pcall(call, session, ...)
  if self.sessions[slot] == session then self:give_back(slot) end -- else the pool was closed meanwhile
  if not ok then error(result, 0) end
  return was_lost_unsent(err), result, err
end

local function run_anywhere(self, slot, due, call, ...)
  local limit, result, err = lending.limit_of(self), nil, nil
  for _ = 1, MOST_ATTEMPTS do
    local again
    if not slot or due ~= nil or not self.direct then
      slot, err = borrow.slot(self, limit, slot, due)
      if not slot then return nil, err end
    end
    again, result, err = run_on(self, slot, call, ...)
    if not again then break end
    slot, due = nil, nil
  end
  return result, err
end

-- Under a verb its connection was closed: by db:close() whose time was up, say.
local function cut_off(result, err)
  if result == RAISED then error(err, 0) end
  if result == PENDING then return nil, report.closed() end
  return result, err
end

local function go_on(self, code, slot, result, err, more, sql, ...)
  if result == LATE then
    result, err = nil, borrow.timed_out(self, err)
  elseif slot == 0 then
    result, err = cut_off(result, err)
  elseif slot == false then -- and why: nothing is idle, or it has not been asked for
    if result ~= nil then slot = nil end
    result, err = run_anywhere(self, slot, nil, connection.run, code, sql, ...)
  elseif result == RAISED then
    self:give_back(slot)
    error(err, 0)
  elseif result == DUE then
    result, err = run_anywhere(self, slot, err, connection.run, code, sql, ...)
  else
    self.owners[slot] = self.current_task()
    self:watch_over(slot)
    local again
    again, result, err = run_on(self, slot, connection.complete, code, result, err, more, sql, ...)
    if again then result, err = run_anywhere(self, nil, nil, connection.run, code, sql, ...) end
  end
  if err == nil then return result end -- one value, as from the shortest way
  if err.query == nil and type(sql) == "string" then err.query = sql end
  return result, err
end

-- Everything but the shortest way: for coroutines of a program whose event loop may have begun to run, shared
-- pipelines, hooks.
local function run(self, code, sql, ...)
  if self.auto then self:choose_waiter() end
  -- Beside statements of other tasks; whoever rides has an answer of one value, too.
  if self.shared and not self.texts and not self.closed then return self.shared:run(code, sql, ...) end
  if not self.direct or self.closed then return go_on(self, code, false, true, nil, nil, sql, ...) end
  local slot, result, err, more = self.core:run(code + CHOSEN, sql, ...)
  if slot == true then return result end
  return go_on(self, code, slot, result, err, more, sql, ...)
end

-- The verb is on its way (ltrip.c): yields until it has arrived. Answers as core:run.
local function travel(self, pass, looks)
  local box, yield = self.core, self.waiter.travel.yield
  while true do
    if looks then borrow.look(self) else yield() end
    local slot, result, err, more = box:arrive(pass)
    if slot ~= nil then return slot, result, err, more end
    pass, looks = result, err
  end
end

local function define(name, verb)
  methods[name] = function(self, sql, ...)
    local code, texts = verb + self.style, self.reads
    if texts and may_ride(texts, sql, self.shared.fleet) then return self.shared:run(code, sql, ...) end
    if not self.swift then return run(self, code, sql, ...) end
    local slot, result, err, more = self.core:run(code, sql, ...)
    if slot == true then return result end
    if slot == nil then
      if result == nil then return run(self, code, sql, ...) end
      slot, result, err, more = travel(self, result, err)
      if slot == true then return result end
    end
    return go_on(self, code, slot, result, err, more, sql, ...)
  end
end

for name, verb in pairs(connection.verbs) do define(name, verb) end

--- `for id, name in db:values(sql, ...)`; see luphant.connection.
---@return fun(): any ...
function methods:values(sql, ...)
  local iterator, err = self:values_iterator(sql, ...)
  if not iterator then error(err, 0) end
  return iterator
end

--- `for row in db:stream(sql, ...)` on a connection of its own until the loop ends; see docs/api/stream.md.
---@param sql string|table
---@return luphant.stream
function methods:stream(sql, ...)
  local lent, opened, err, control, closing
  for _ = 1, MOST_ATTEMPTS do
    lent, err = lending.acquire(self) -- no tail call: the caller's place is remembered
    if not lent then error(err, 0) end
    opened, err, control, closing = lending.keep_or_release(lent, pcall(stream.open, lent, true, sql, ...))
    if opened or not was_lost_unsent(err) then break end
  end
  return stream.opened_or_raised(opened, err, control, closing)
end

--- A cursor with `hold` on a connection of its own until it is closed; see docs/api/stream.md.
---@param sql string
---@param params? table
---@param options? { scroll?: boolean, hold?: boolean, rows?: string, timeout?: number|false }
---@return luphant.cursor|nil
---@return luphant.error|nil
function methods:cursor(sql, params, options)
  local opened, err = nil, nil
  for _ = 1, MOST_ATTEMPTS do
    local lent
    lent, err = lending.acquire(self)
    if not lent then return nil, err end
    opened, err = lending.keep_or_release(lent, pcall(cursor.open, lent, true, sql, params, options))
    if opened or not was_lost_unsent(err) then break end
  end
  return opened, err
end

local function plain(name)
  methods[name] = function(self, ...)
    if self.auto then self:choose_waiter() end
    local result, err = run_anywhere(self, nil, nil, connection.methods[name], ...)
    return result, err
  end
end
plain "describe"
plain "script"

--- Many statements in one round trip; see luphant.connection. No connection is borrowed while fn(b) runs.
---@param what fun(b: luphant.batch)|table
---@param options? luphant.batch.options
---@return table|nil results
---@return luphant.error|nil err
function methods:batch(what, options)
  local queue, checked = batch.prepare(what, options)
  if not queue then return nil, checked end
  if self.auto then self:choose_waiter() end
  local results, err = run_anywhere(self, nil, nil, batch.run_prepared, queue, checked)
  if err == nil then return results end
  return nil, err
end

--- Any number of rows into a table; see luphant.connection.
---@param target string
---@param columns string[]
---@param rows table|fun(): table|nil
---@param options? luphant.bulk.options
---@return integer|table[]|nil
---@return luphant.error|nil
function methods:insert_many(target, columns, rows, options)
  if self.auto then self:choose_waiter() end
  local result, err = bulk.insert_many(self, nil, self.settings.rows, target, columns, rows, options)
  if err == nil then return result end
  return nil, err
end

-- On a connection of its own, which the writer or reader gives back when it has ended.
local function open_copy(self, name, ...)
  for _ = 1, MOST_ATTEMPTS do
    local lent, err = lending.acquire(self)
    if not lent then return nil, err end
    local ok, opened
    ok, opened, err = pcall(connection.methods[name], lent, ...)
    if ok and opened then
      opened.lent = lent
      return opened
    end
    lent:release()
    if not ok then error(opened, 0) end
    if not was_lost_unsent(err) then return nil, err end
  end
end

for _, name in ipairs { "copy_in", "copy_out" } do
  methods[name] = function(self, target, options)
    local opened, err = open_copy(self, name, target, options)
    return opened, err
  end
end

--- Own conversions for a type, on all connections of the pool; see luphant.connection.
---@param name string
---@param codec { decode?: (fun(value: any): any), encode?: (fun(value: any): any) }
---@return true|nil
---@return luphant.error|nil
function methods:register_type(name, codec)
  args.argument(name, "string", 1, "register_type", 2)
  args.argument(codec, "table", 2, "register_type", 2)
  local oid, err = types.oid(name, function(...) return self:query_value(...) end)
  if not oid then return nil, err end
  self.codecs = self.codecs or {}
  self.codecs[oid] = { decode = codec.decode, encode = codec.encode }
  for _, session in pairs(self.sessions) do
    session.codecs = self.codecs
    session.box:set_codecs(self.codecs)
  end
  return true
end

function verbs.add(class)
  for name, method in pairs(methods) do class[name] = method end
end

return verbs
