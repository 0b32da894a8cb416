-- connection.lua - one server session and its query verbs.
--
-- A verb is one call into the core in the usual case (statement cached, plain waiter); everything
-- else - waiting in an event loop, a deadline, unknown types, a statement that went stale, notices -
-- goes through `complete`. The session is made once: a connection that is closed or lost stays so.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local batch = require "luphant.batch"
local bulk = require "luphant.bulk"
local conninfo = require "luphant.conninfo"
local copy = require "luphant.copy"
local core = require "luphant.core"
local cursor = require "luphant.cursor"
local dial = require "luphant.dial"
local drive = require "luphant.drive"
local errors = require "luphant.errors"
local hooks = require "luphant.hooks"
local notify = require "luphant.notify.send"
local request = require "luphant.request"
local facts = require "luphant.session"
local settle = require "luphant.stream.settle"
local statement = require "luphant.statement"
local stream = require "luphant.stream"
local transaction = require "luphant.transaction"
local types = require "luphant.types"

require "luphant.transaction.resolve" -- gives errors their method

local PENDING = core.PENDING

-- Verb numbers of the core (lconn.h); the row style is added sixteenfold.
local QUERY, ONE, OPT, VALUE, COLUMN, EXECUTE, VALUES, DESCRIBE = 0, 1, 2, 3, 4, 5, 6, 7
local RIDES = 256 -- COMMIT goes with it
local SEEN = 512  -- whoever watches statements knows of it
local EXACT = 1024 -- floats as text have all their digits
local STYLES = request.styles

---@class luphant.connection
---@field private box userdata
---@field private waiter luphant.waiter
---@field private settings table
---@field private params table
---@field private style integer
local methods = {}
local metatable = { __name = "luphant.connection", __index = methods, is_connection = true }

local connection = { methods = methods, verbs = {} }

-- What is left of a connection its user has closed: any use is a mistake at the caller's line.
local closed_box = setmetatable({}, {
  __index = function(_, name)
    if name == "state" then return function() return "closed" end end
    if name == "close" then return function() end end
    return function() args.misuse("this connection has been closed with conn:close()") end
  end,
})

---------------------------------------------------------------------------------------- completing

-- Without a hook they stay where they are: the core keeps the latest few.
local function deliver_notices(self)
  local box, hook = self.box, self.settings.on_notice
  local notice = box:next_notice()
  while notice do
    -- A hook that fails must not turn a statement that worked into a failure.
    local ok, why = pcall(hook, notice)
    if not ok then self.hook_error = why end
    notice = box:next_notice()
  end
end

-- An error that leaves the step loop (a waiter's, or no memory) leaves an operation nobody will end, if it was begun.
local function check_finished(self, ok, ...)
  if ok then return ... end
  local box = self.box
  if box:state() ~= "idle" or not box:is_free() then box:close() end
  error((...), 0)
end

local function finish(self, want)
  return check_finished(self, pcall(drive.finish, self, want))
end

local function abandon(self, err)
  return check_finished(self, pcall(drive.abandon, self, err))
end

local complete, run_request, run_observed, check_digits

-- Runs a statement of our own (catalog look-ups) without touching the caller's deadline.
local function run_inner(self, sql, ...)
  local box = self.box
  local at = box:deadline()
  local result, err, more = box:rerun(QUERY, sql, ...)
  result, err = complete(self, QUERY, result, err, more, sql, ...)
  box:set_deadline(at)
  return result, err
end

local function rerun_after(prepare, extra)
  return function(self, code, sql, ...)
    local ok, err = prepare(self)
    if ok then return self.box:rerun(code + extra, sql, ...) end
    return nil, err
  end
end

-- What has to be done before a call can go on, by the word that the core says (lrun.c).
local first = {
  types = rerun_after(function(self)
    return types.load(self.box, self.types, function(...) return run_inner(self, ...) end)
  end, 0),
  open = rerun_after(function(self) return transaction.open(self) end, 0),
  digits = rerun_after(function(self) return check_digits(self, true, "this stream") end, EXACT),
  ahead = rerun_after(function(self) return settle.run(self) end, 0),
  again = rerun_after(function() return true end, 0),
}

-- A call that did not end in one go. `result, err, more` are what the core answered; see lconn.c.
function complete(self, code, result, err, more, sql, ...)
  if err == "request" then return run_request(self, code, sql, ...) end
  if err == "observe" then return run_observed(self, code, sql, ...) end
  local box, retries = self.box, 0
  if result == nil and self.copying and err and err.kind == "busy" and copy.settle(self) then
    result, err, more = box:run(code, sql, ...)
  end
  while true do
    if result == PENDING then
      local does = first[err]
      if does then
        result, err, more = does(self, code, sql, ...)
      else
        local ok
        ok, err, more = finish(self, err)
        result = nil
        if ok then result, err, more = box:take() end
      end
    elseif more == "stale" and retries < 2 then -- twice: BEGIN was gone as well as the statement
      retries = retries + 1
      result, err, more = box:rerun(code, sql, ...)
    else
      if more == "unread" and box:state() == "busy" then abandon(self, err) end
      break
    end
  end
  if self.settings.on_notice and box:has_notices() then deliver_notices(self) end
  if result == nil and err then
    if err.query == nil then err.query = sql end
    transaction.note(self, err)
  end
  if err == nil then return result end -- one value, as from the shortest way
  return result, err
end

connection.complete = complete

--- A verb by its number, for the pool, which has the same verbs.
---@param code integer
---@param sql string|table
function connection.run(self, code, sql, ...)
  local result, err, more = self.box:run(code, sql, ...)
  if err == nil and more == nil then return result end
  return complete(self, code, result, err, more, sql, ...)
end

connection.SEEN = SEEN

-- Somebody listens (db:on): they are told before and after.
function run_observed(self, code, sql, ...)
  local observers = self.settings.observers
  if not observers then return connection.run(self, code + SEEN, sql, ...) end
  local info = observers:statement_began(self, code, sql, ...)
  return observers:statement_ended(info, pcall(connection.run, self, code + SEEN, sql, ...))
end

--- What the row style of the settings adds to a verb's number.
function connection.style(settings) return STYLES[settings.rows] end

-- conn:query({ "select ...", rows = "array", timeout = 2 }, ...): the options of one call.
function run_request(self, code, value, ...)
  local read = request.read(value)
  code = code % 16 + (read.style or self.style) + (code >= RIDES and RIDES or 0) + (read.is_untold and SEEN or 0)
  if read.has_timeout then self.box:set_timeout(read.timeout) end
  local result, err, more = self.box:run(code, read.sql, ...)
  return complete(self, code, result, err, more, read.sql, ...)
end

-- Whether `sql` is a text the core sees by itself; asking here as well would be dear.
--
-- On a prepared statement the same without passing through the connection's verb: handing a list of arguments on
-- a second time is a twentieth of what a short query costs on Lua 5.4.
local function define(name, verb)
  connection.verbs[name] = verb
  methods[name] = function(self, sql, ...)
    local code = verb + self.style
    local result, err, more = self.box:run(code, sql, ...)
    if err == nil and more == nil then return result end
    return complete(self, code, result, err, more, sql, ...)
  end
  transaction.define(name, verb, complete)
  statement.define(name, function(self, ...)
    local conn, sql = self.conn, self.sql
    local code = verb + conn.style
    local result, err, more = conn.box:run(code, sql, ...)
    if err == nil and more == nil then return result end
    return complete(conn, code, result, err, more, sql, ...)
  end)
end

------------------------------------------------------------------------------------------- verbs

--- Rows as an array; `rows.columns`, `rows.command` and `rows.affected` are there for who asks.
---@param sql string|table
---@param ... any
---@return table[]|nil rows
---@return luphant.error|nil err
function methods.query(self, sql, ...) end -- luacheck: ignore
define("query", QUERY)

--- Exactly one row; otherwise nil and an error of kind no_rows or too_many_rows.
function methods.query_one(self, sql, ...) end -- luacheck: ignore
define("query_one", ONE)

--- One row, or nil without an error when there is none.
function methods.query_opt(self, sql, ...) end -- luacheck: ignore
define("query_opt", OPT)

--- The first column of exactly one row; SQL NULL is nil without an error.
function methods.query_value(self, sql, ...) end -- luacheck: ignore
define("query_value", VALUE)

--- The first column of all rows as an array; NULL is luphant.NULL.
function methods.query_column(self, sql, ...) end -- luacheck: ignore
define("query_column", COLUMN)

--- How many rows were affected.
function methods.execute(self, sql, ...) end -- luacheck: ignore
define("execute", EXECUTE)

define("values_iterator", VALUES)

--- `for id, name in conn:values(sql, ...)`: each row's columns as plain values, no table made; NULL is
--- luphant.NULL. Raises the error object when the statement fails.
---@return fun(): any ...
function methods:values(sql, ...)
  local iterator, err = self:values_iterator(sql, ...)
  if not iterator then error(err, 0) end
  return iterator
end

--- Parameter and column types of a statement, without running it:
--- { params = { { type =, oid = } }, columns = { { name =, type =, oid = } } }.
---@param sql string
---@return table|nil
---@return luphant.error|nil
function methods:describe(sql)
  if type(sql) ~= "string" then args.misuse("SQL text expected, got " .. args.show(sql)) end
  local result, err, more = self.box:run(DESCRIBE, sql)
  return complete(self, DESCRIBE, result, err, more, sql)
end

--- Prepares a statement under a handle with the same verbs; it survives eviction from the cache.
---@param sql string
---@return luphant.statement|nil
---@return luphant.error|nil
function methods:prepare(sql)
  local description, err = self:describe(sql)
  if not description then return nil, err end
  return statement.new(self, sql, description)
end

-- What a script answers is text, where the server leaves out digits of floats when extra_float_digits is below 1, and
-- nothing shows it. (It may have been changed in the middle of the script; only what is set in the end is seen.)
function check_digits(self, results, of_what)
  local rows, err = run_inner(self, "select pg_catalog.current_setting('extra_float_digits') as digits")
  if not rows then return nil, err end
  if tonumber(rows[1].digits) >= 1 then return results end
  return nil, errors.new("decode", ("there are floats among the rows, which come as text from %s, and they have"
    .. " lost digits because extra_float_digits = %s"):format(of_what, rows[1].digits),
    { sent = "yes", hint = "Set extra_float_digits to 1 or more in this session, or use conn:query." })
end

--- conn:script without anybody being told: what the pool does to its connections is no statement of the program's.
---@param text string
function connection.script(self, text)
  local box = self.box
  local result, err, more = box:script(text)
  if result == PENDING and err == "ahead" then
    result, err = settle.run(self)
    if result then result, err, more = box:script(text) end
  end
  if self.copying and result == nil and err and err.kind == "busy" and copy.settle(self) then
    result, err, more = box:script(text)
  end
  if result == PENDING and err == "open" then
    result, err = transaction.open(self)
    if result then result, err, more = box:script(text) end
  end
  if more == "unread" then abandon(self, err) end
  if result == PENDING then
    local ok
    ok, err = finish(self, err)
    result = nil
    if ok then result, err, more = box:take() end
    if err and not err.query then err.query = text end
  end
  if more == "floats" then result, err = check_digits(self, result, "a script") end
  if self.settings.on_notice and box:has_notices() then deliver_notices(self) end
  if result == nil and err then transaction.note(self, err) end
  return result, err
end

--- Many statements in one round trip: `fn(b)` calls verbs on b, or a list of { text, values ... }. All of them are one
--- transaction unless `isolated`. What each verb gives, in order, and how many as `n`.
---@param what fun(b: luphant.batch)|table
---@param options? luphant.batch.options
---@return table|nil results
---@return luphant.error|nil err  with `index`: which statement failed
function methods:batch(what, options)
  local results, err = batch.run(self, what, options)
  if err == nil then return results end
  return nil, err
end
batch.serve(run_inner, deliver_notices)
bulk.serve(transaction.note)

--- Any number of rows into a table, all or none: how many were inserted, or the rows of `returning`.
---@param target string    the table, as in SQL
---@param columns string[]
---@param rows table|fun(): table|nil  rows are { 1, "a" } or { id = 1, name = "a" }
---@param options? luphant.bulk.options
---@return integer|table[]|nil
---@return luphant.error|nil err  with `row`: which of them was refused
function methods:insert_many(target, columns, rows, options)
  local result, err = bulk.insert_many(self, nil, self.settings.rows, target, columns, rows, options)
  if err == nil then return result end
  return nil, err
end

--- Several statements in one text, without parameters (one implicit transaction unless the text has its own).
--- A list with { command =, affected =, rows =, columns = } for each.
---@param text string
---@return table[]|nil
---@return luphant.error|nil
function methods:script(text)
  if type(text) ~= "string" then args.misuse("SQL text expected, got " .. args.show(text)) end
  local observers = self.settings.observers
  if not observers or not observers.watches_statements then return connection.script(self, text) end
  local info = observers:statement_began(self, "script", text)
  return observers:statement_ended(info, pcall(connection.script, self, text))
end

--- Sends a notification: with COMMIT, to whoever listens then.
---@param channel string  at most 63 bytes
---@param payload? string  at most 7999 bytes
---@return true|nil
---@return luphant.error|nil
function methods:notify(channel, payload) end -- luacheck: ignore
methods.notify = notify.notify

--- Calls fn(info) at each `event` of this connection; see docs/api/hooks.md. Answers a function that ends that.
---@param event string
---@param fn fun(info: table)
---@return fun()
function methods:on(event, fn)
  hooks.check("on", event, fn)
  if self.pool then error("events of a pool's connections are the pool's: db:on(...)", 2) end
  local registry = hooks.of(self.settings)
  registry.changed = function() connection.observe(self) end
  return registry:on(event, fn)
end

--- Ends what conn:on began, once. Answers whether `fn` was subscribed.
---@param event string
---@param fn function
---@return boolean
function methods:off(event, fn)
  hooks.check("off", event, fn)
  if self.pool then error("events of a pool's connections are the pool's: db:off(...)", 2) end
  return hooks.of(self.settings):off(event, fn)
end

methods.copy_in, methods.copy_out = copy.copy_in, copy.copy_out
copy.serve(deliver_notices, complete)

methods.stream, methods.cursor = stream.of_connection, cursor.of_connection
methods.transaction = transaction.run
methods.begin = transaction.begin
transaction.serve(deliver_notices, complete, QUERY + RIDES, settle.run)
stream.serve(connection.run, deliver_notices)
cursor.serve(connection.run)

---------------------------------------------------------------------------------------- the session

facts.add(methods)

--- Asks the server to stop the statement another coroutine is running here.
---@return true|nil
---@return luphant.error|nil
function methods:cancel()
  return drive.cancel(self, self.settings.cancel_grace)
end

--- Ends the session; idempotent, never waits. Using the connection afterwards raises.
function methods:close()
  local box = self.box
  self.box = closed_box
  if self.waiting and box:state() == "busy" then
    -- Another coroutine waits for the socket. Closed under it, most event loops would never wake it again (or wake
    -- it for somebody else's descriptor of that number): end the stream, and let that coroutine close.
    box:shutdown()
  else
    box:close()
  end
end
metatable.__close = methods.close

--- Own conversions for a type: `decode(value)` gets what luphant would have given, `encode(value)` gives
--- what luphant shall send. Applies inside arrays and composites when reading.
---@param name string  SQL name of the type
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
  self.box:set_codecs(self.codecs)
  return true
end

function metatable:__tostring()
  return ("luphant.connection (%s, %s)"):format(conninfo.describe(self.params), self.box:state())
end

--- Makes the object around what dial.connect gave.
---@param fields table
---@return luphant.connection
function connection.new(fields)
  fields.style = STYLES[fields.settings.rows]
  if fields.settings.observers then connection.observe(fields) end
  return setmetatable(fields, metatable)
end

--- The metatable of handles that lend `session` out: they have its fields, its verbs and its looks, and are closed
--- by giving it back.
---@param session luphant.connection
---@return table
function connection.lent_metatable(session)
  return {
    __name = metatable.__name, __index = session, __close = session.release, __tostring = metatable.__tostring,
    is_connection = true,
  }
end

--- Brings the core's connection in line with who listens.
---@param self luphant.connection
function connection.observe(self)
  local observers = self.settings.observers
  self.box:observe(observers ~= nil and observers.watches_statements, observers ~= nil and next(observers.lists) ~= nil)
  self.box:keep_notices(self.settings.on_notice ~= nil)
end

--- Opens a session. See luphant.connect.
---@param target nil|string|table
---@param options? table
---@param level? integer  who is to blame for misuse
---@return luphant.connection|nil
---@return luphant.error|nil
function connection.open(target, options, level)
  local plan, err = dial.plan(target, options, (level or 1) + 1)
  if not plan then return nil, err end
  local fields
  fields, err = dial.connect(plan, plan.settings.connect_timeout)
  if not fields then return nil, err end
  return connection.new(fields)
end

--- Hands the notices that have come to the hook.
---@param self luphant.connection
function connection.deliver_notices(self) deliver_notices(self) end

--- Is this a connection?
function connection.is(value)
  local mt = type(value) == "table" and getmetatable(value)
  return type(mt) == "table" and mt.is_connection == true
end

connection.errors = errors
return connection
