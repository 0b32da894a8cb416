-- batch.lua - many statements in one round trip: q:batch(function(b) ... end), q:batch { ... }.
--
-- The function fills a list (lbatch.c), and nothing is sent while it runs; then the list goes out in one flight while
-- its answers are read (core/batch.h). All of it is one transaction, unless it runs inside one, or `isolated` asks for
-- one per statement. What each statement gives is what its verb alone would give.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local core = require "luphant.core"
local drive = require "luphant.drive"
local errors = require "luphant.errors"
local request = require "luphant.request"
local settle = require "luphant.stream.settle"
local transaction = require "luphant.transaction"
local types = require "luphant.types"

local PENDING = core.PENDING
local MOST_RERUNS = 3 -- a helper, a statement, and one that was prepared ahead may be gone at the same time

-- run_inner and deliver_notices are connection.lua's.
local batch = {}

---@class luphant.batch
---@field query fun(self: luphant.batch, sql: string|table, ...: any): integer
---@field query_one fun(self: luphant.batch, sql: string|table, ...: any): integer
---@field query_opt fun(self: luphant.batch, sql: string|table, ...: any): integer
---@field query_value fun(self: luphant.batch, sql: string|table, ...: any): integer
---@field query_column fun(self: luphant.batch, sql: string|table, ...: any): integer
---@field execute fun(self: luphant.batch, sql: string|table, ...: any): integer

---@class luphant.batch.options
---@field isolated? boolean  each statement is a transaction of its own
---@field timeout? number|false  seconds for all of it

local OPTIONS = {
  isolated = { type = "boolean", default = false },
  timeout = { type = "number", above = 0, none = true },
}

------------------------------------------------------------------------------------------- filling

-- What stands in the place of a text: a prepared statement, or a text with options.
local function normalize(value)
  if type(value) == "table" and type(value.sql) == "string" then return value.sql end
  local read = request.read(value)
  if read.has_timeout then
    args.misuse "a statement of a batch has no time limit of its own: give the batch one"
  end
  return read.sql, read.style
end

local VERBS = {
  query = true, query_one = true, query_opt = true, query_value = true, query_column = true, execute = true,
}

local unpack = table.unpack or unpack -- luacheck: ignore

-- { "select ...", value, ..., verb = "query_one", rows = "array", n = 2 }
local function add_item(queue, item, position)
  if type(item) == "string" then
    queue:query(item)
    return
  end
  if type(item) ~= "table" or item[1] == nil then
    args.misuse(("item %d of the batch must be a text or a table { text, values ... }, got %s"):format(position,
      args.show(item)))
  end
  local verb = item.verb or "query"
  if not VERBS[verb] then
    args.misuse(("item %d of the batch: there is no verb %s in a batch"):format(position, args.show(verb)))
  end
  local text, count = item[1], item.n or #item - 1
  if item.rows then text = { text, rows = item.rows } end
  queue[verb](queue, text, unpack(item, 2, count + 1))
end

local function fill(what)
  local queue = core.batch(normalize)
  if type(what) == "function" then
    local ok, err = what(queue)
    queue:seal()
    if ok == nil and err ~= nil then return nil, err end
    return queue
  end
  for position, item in ipairs(what) do add_item(queue, item, position) end
  queue:seal()
  return queue
end

--- Reads what a caller of `batch` gave: the batch to run and its options; or nil and what the function that should
--- fill it returned as an error. Misuse raises at the line of whoever called luphant.
---@param what fun(b: luphant.batch)|table
---@param given? luphant.batch.options
---@return userdata|nil queue
---@return table|any options
function batch.prepare(what, given)
  if type(what) ~= "function" and type(what) ~= "table" then
    args.misuse("batch expects a function or a list of statements, got " .. args.show(what))
  end
  local options, message = args.validate(given, OPTIONS, "batch option")
  if not options then args.misuse(message) end
  options.has_timeout = given ~= nil and given.timeout ~= nil
  local queue, err = fill(what)
  if not queue then return nil, err end
  return queue, options
end

------------------------------------------------------------------------------------------- running

local function check_finished(box, ok, ...)
  if ok then return ... end
  box:close()
  error((...), 0)
end

local function run_flight(conn, queue, isolated)
  local box, style, reruns = conn.box, conn.style, 0
  local ok, err, more = box:batch(queue, isolated, style)
  while true do
    if ok == PENDING and err == "ahead" then
      ok, err = settle.run(conn)
      if not ok then break end
      ok, err, more = box:batch(queue, isolated, style)
    elseif ok == PENDING and err == "types" then
      ok, err = types.load(box, conn.types, function(...) return batch.run_inner(conn, ...) end)
      if not ok then break end
      ok, err, more = box:batch(queue, isolated, style, true)
    elseif ok == PENDING then
      ok, err, more = check_finished(box, pcall(drive.finish, conn, err))
      if ok then ok, err, more = box:take() end
    elseif more == "stale" and reruns < MOST_RERUNS then
      reruns = reruns + 1
      ok, err, more = box:batch(queue, isolated, style, true)
    else
      if more == "unread" and box:state() == "busy" then check_finished(box, pcall(drive.abandon, conn, err)) end
      break
    end
  end
  return ok, err
end

-- Where in the batch it failed, and what that means for the rest.
local function tell(err, queue, isolated, inside)
  local index, sql, started, answered, ended, is_kept = queue:progress()
  local count = queue:count()
  err.index, err.query = err.index or index, err.query or sql
  local kept
  if is_kept then
    kept = ("statement %d of %d; all of the batch was run"):format(err.index or count, count)
  elseif err.kind == "closed" or err.connection == "closed" then
    kept = ("%d of %d statements had been sent, the answers of %d had come"):format(started, count, answered)
    if not isolated and not inside and not ended then kept = kept .. "; nothing of it was kept" end
  elseif isolated then
    kept = ("%d of %d statements had been sent; the others were not run"):format(started, count)
  elseif err.index then
    kept = ("statement %d of %d; those behind it were not run"):format(err.index, count)
    if not inside then kept = kept .. ", and nothing of the batch was kept" end
  else
    kept = ("the end of all %d statements; nothing of the batch was kept"):format(count)
  end
  err.batch = kept
end

-- What was not run in a batch whose statements stand for themselves, after it was stopped or lost.
local function mark_rest(results, queue, cause)
  local _, _, started, answered = queue:progress()
  results.errors = results.errors or {}
  for index = answered + 1, results.n do
    if results[index] == nil and not results.errors[index] then
      local is_sent = index <= started
      results.errors[index] = errors.new(is_sent and cause.kind or "not_run",
        is_sent and cause.message or "the batch ended before this statement was sent",
        { index = index, sent = is_sent and cause.sent or "no", cause = cause })
    end
  end
end

-- The first statement whose verb alone would have failed, although the server ran it.
local function first_verdict(results, queue)
  for index = 1, results.n do
    local err = results.errors[index]
    if err then
      err.batch = ("statement %d of %d; all of the batch was run"):format(index, queue:count())
      err.results = results
      return err
    end
  end
end

local function conclude(conn, queue, isolated, inside, ok, err)
  local has_raised, raised = queue:raised()
  if has_raised then error(raised, 0) end
  local results, failures = queue:results()
  results.n, results.errors = queue:count(), failures
  if not ok then
    tell(err, queue, isolated, inside)
    if isolated then
      mark_rest(results, queue, err)
      err.results = results
    end
    transaction.note(conn, err)
    return nil, err
  end
  if failures and not isolated then
    local verdict = first_verdict(results, queue)
    transaction.note(conn, verdict)
    return nil, verdict
  end
  return results
end

-- Tells the hooks, and passes on what conclude answered.
local function observed(observers, conn, info, ok, results, err)
  info.error = err
  if not ok then info.error = results end
  observers:finished("batch", conn, info)
  if not ok then error(results, 0) end
  return results, err
end

--- Runs a batch that was prepared. Results in order, `n` of them; see docs/api/connection.md.
---@param conn luphant.connection
---@param queue userdata
---@param options table
---@return table|nil
---@return luphant.error|nil
function batch.run_prepared(conn, queue, options)
  local box = conn.box
  if queue:count() == 0 then return { n = 0 } end
  if options.has_timeout then box:set_timeout(options.timeout) end
  local inside = box:transaction_status() == "intrans" or conn.tx ~= nil
  local observers = conn.settings.observers
  local from = observers and core.now()
  if inside and options.isolated then
    args.misuse "statements of a batch inside a transaction share its fate: isolated is not possible there"
  end
  local ok, err = run_flight(conn, queue, options.isolated)
  if conn.settings.on_notice and box:has_notices() then batch.deliver_notices(conn) end
  if not observers then return conclude(conn, queue, options.isolated, inside, ok, err) end
  return observed(observers, conn, { statements = queue:count(), seconds = core.now() - from },
    pcall(conclude, conn, queue, options.isolated, inside, ok, err))
end

--- conn:batch(what, options)
---@param conn luphant.connection
---@param what fun(b: luphant.batch)|table
---@param given? luphant.batch.options
---@return table|nil
---@return luphant.error|nil
function batch.run(conn, what, given)
  local queue, options = batch.prepare(what, given)
  if not queue then return nil, options end
  local results, err = batch.run_prepared(conn, queue, options)
  return results, err
end

--- What connection.lua does for us.
---@param run_inner function        a catalog query on a connection
---@param deliver_notices function
function batch.serve(run_inner, deliver_notices)
  batch.run_inner, batch.deliver_notices = run_inner, deliver_notices
end

return batch
