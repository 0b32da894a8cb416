-- luphant.migrate.hooks - what a folder, or whoever calls, wants done around a run and around each of its migrations.
--
--     before_run    under the lock, before the first migration            a transaction of its own
--     before_each   before the checks of a migration                      its transaction; its own where that has none
--     after_each    behind the verification of a migration                the same
--     after_run     when all is done                                      a transaction of its own
--     on_failure    when something has failed                             the same
--     at_end        last, however it ended                                the same
--
-- In the folder they are files of these names in `hooks/`, in SQL or in Lua; a caller gives texts or functions. What
-- the folder wants comes first. A hook that fails ends the run like a migration that fails, but for the last two, which
-- are only told: the first error is the one that counts.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local compat = require "luphant.compat"
local digest = require "luphant.migrate.digest"
local encoding = require "luphant.migrate.encoding"
local errors = require "luphant.errors"
local failure = require "luphant.migrate.failure"
local judge = require "luphant.migrate.judge"
local lfs = require "lfs"
local sqltext = require "luphant.sqltext"

local M = {}

M.NAMES = { "before_run", "before_each", "after_each", "after_run", "on_failure", "at_end" }

---@class (exact) luphant.migrate.Hook
---@field name string
---@field file? string
---@field statements? luphant.sqltext.Statement[]
---@field fn? fun(db: table, event: table)
---@field checksum? string of its text

-- ---- reading ----------------------------------------------------------------------------------------------------

local function is_known(name)
  for _, known in ipairs(M.NAMES) do
    if known == name then return true end
  end
  return false
end

local function read_sql(text, complain)
  local statements, problems = sqltext.split(text)
  for _, problem in ipairs(problems or {}) do complain(problem.message, problem.line) end
  for _, statement in ipairs(statements or {}) do
    local why, hint = judge.refusal(statement, true)
    local alone = judge.needs_no_transaction(statement)
    if alone then why = alone .. " cannot run in a hook, which has a transaction" end
    if why then complain(why, statement.line, hint) end
  end
  if statements and #statements == 0 and #(problems or {}) == 0 then complain "holds no statement" end
  return { statements = statements }
end

local function read_lua(text, complain, file)
  local chunk, why = compat.load(text, "@" .. file, setmetatable({}, { __index = _G }))
  local fine, answer = pcall(chunk or error, why)
  if fine and type(answer) == "function" then return { fn = answer } end
  complain(fine and "must return function(db, event)" or tostring(answer))
  return {}
end

local function read(path, name, language, problems)
  local function complain(message, line, hint)
    problems[#problems + 1] = { file = path, line = line, message = message, hint = hint }
  end
  local handle, why = io.open(path, "rb")
  local text = handle and handle:read "*a"
  if handle then handle:close() end
  if not text then return complain("cannot be read: " .. tostring(why)) end
  text = encoding.normalise(text)
  local hook = (language == "sql" and read_sql or read_lua)(text, complain, path)
  hook.name, hook.file, hook.checksum = name, path, digest.checksum(text)
  return hook
end

--- Reads the folder of hooks.
---@param dir string
---@param problems luphant.migrate.Problem[] gets what is wrong with it
---@return luphant.migrate.Hook[]
function M.load(dir, problems)
  local entries, list = {}, {}
  for entry in lfs.dir(dir) do
    if not entry:find "^%." and not entry:find "^README" then entries[#entries + 1] = entry end
  end
  table.sort(entries)
  for _, entry in ipairs(entries) do
    local name, language = entry:match "^([^.]+)%.(%a+)$"
    if (language == "sql" or language == "lua") and is_known(name) then
      list[#list + 1] = read(dir .. "/" .. entry, name, language, problems)
    else
      problems[#problems + 1] = {
        file = dir .. "/" .. entry,
        message = "is no hook" .. args.did_you_mean(name or entry, M.NAMES),
        hint = "hooks are " .. table.concat(M.NAMES, ", ") .. ", each in .sql or .lua",
      }
    end
  end
  return list
end

--- What is wrong with the hooks that a caller gives; nil when nothing is.
---@param given table<string, string|function>
---@return string?
function M.problem(given)
  for name, value in pairs(given) do
    if not is_known(name) then
      return ("has no hook %s%s"):format(args.show(name), args.did_you_mean(tostring(name), M.NAMES))
    end
    if type(value) == "string" then
      local why
      read_sql(value, function(message) why = why or message end)
      if why then return ("%s: %s"):format(name, why) end
    elseif type(value) ~= "function" then
      return ("%s must be SQL or a function, not %s"):format(name, args.show(value))
    end
  end
end

local function nobody() end

--- The hooks of a run: those of the folder, then those of the caller.
---@param of_folder? luphant.migrate.Hook[]
---@param given? table<string, string|function>
---@return table<string, luphant.migrate.Hook[]>
function M.of(of_folder, given)
  local out = {}
  for _, name in ipairs(M.NAMES) do out[name] = {} end
  for _, hook in ipairs(of_folder or {}) do table.insert(out[hook.name], hook) end
  for name, value in pairs(given or {}) do
    local hook = type(value) == "function" and { fn = value } or read_sql(value, nobody)
    hook.name = name
    table.insert(out[name], hook)
  end
  return out
end

-- ---- running ----------------------------------------------------------------------------------------------------

-- What a hook in SQL is told, for current_setting('luphant.version', true).
local TOLD = { "hook", "run_id", "direction", "action", "kind", "version", "name", "tenant", "message" }

local function tell(tx, event)
  local calls, values = {}, {}
  for i, name in ipairs(TOLD) do
    calls[i] = ("set_config('luphant.%s', $%d, true)"):format(name, i)
    values[i] = tostring(event[name] or "")
  end
  return tx:query("select " .. table.concat(calls, ", "), compat.unpack(values, 1, #TOLD))
end

local function failed(hook, cause, line)
  if type(cause) ~= "table" then cause = { message = tostring(cause) } end
  local is_error = errors.is_error(cause)
  local place = failure.describe {
    file = hook.file, line = line, message = ("hook %s: %s"):format(hook.name, tostring(cause.message or cause)),
  }
  return errors.new("migration_failed", place, {
    hook = hook.name, file = hook.file, line = line, part = "hook " .. hook.name,
    class = is_error and cause.class or nil, sqlstate = cause.sqlstate, detail = cause.detail, hint = cause.hint,
    cause = is_error and cause or nil, sent = is_error and cause.sent or "yes", retryable = false,
  })
end

local function run_sql(tx, hook, event)
  local ok, err = tell(tx, event)
  if not ok then return nil, failed(hook, err) end
  for _, statement in ipairs(hook.statements) do
    ok, err = tx:script(statement.sql)
    if not ok then return nil, failed(hook, err, statement.line) end
    if not tx:is_open() then return nil, failed(hook, "ends the transaction it runs in", statement.line) end
  end
  return true
end

-- It fails when it raises, answers false, or nil and a reason, or when one of its statements failed.
local function run_lua(tx, hook, event)
  local fine, answer, why = pcall(hook.fn, tx, event)
  local unseen = fine and tx.first_error
  if fine and not unseen and answer ~= false and not (answer == nil and why ~= nil) then return true end
  return nil, failed(hook, unseen or (fine and (why or "answered false")) or answer)
end

-- They run also after somebody has asked for a stop.
local IS_LAST = { on_failure = true, at_end = true }

--- Runs the hooks of one name in a transaction that is there.
---@param s luphant.migrate.Session
---@param tx table
---@param name string
---@param facts table what they are told
---@return true?
---@return luphant.error?
function M.within(s, tx, name, facts)
  for _, hook in ipairs(s.hooks and s.hooks[name] or {}) do
    local began = s.conn.waiter.now()
    local event = {
      hook = name, run_id = s.run_id, tenant = s.place.tenant, scratch = s.options.is_scratch or false,
    }
    for key, value in pairs(facts) do event[key] = value end
    s.watch:begin(s.conn, s.pid, { version = event.version, name = event.name, kind = event.kind },
      { may_cancel = not IS_LAST[name] })
    local ok, err = (hook.fn and run_lua or run_sql)(tx, hook, event)
    s.watch:finish()
    if not ok and s.watch.cancelled and not IS_LAST[name] then
      err = errors.new("migration_interrupted", "stopped on request while the hook " .. name .. " was running")
    end
    if not ok then return nil, err end
    s.emit {
      event = "hook", hook = name, hook_file = hook.file, version = event.version, name = event.name,
      kind = event.kind, file = event.file, duration_ms = math.floor((s.conn.waiter.now() - began) * 1000 + 0.5),
    }
  end
  return true
end

--- Runs them in a transaction of their own.
---@param s luphant.migrate.Session
---@param name string
---@param facts table
---@param settings table<string, string> of the transaction
---@return true?
---@return luphant.error?
function M.alone(s, name, facts, settings)
  if #(s.hooks and s.hooks[name] or {}) == 0 then return true end
  local ok, err = s.conn:transaction(function(tx) return M.within(s, tx, name, facts) end, { set = settings })
  if ok then return s:clean { name = name } end
  if errors.is_error(err) and err.kind:find "^migration_" then return nil, err end
  return nil, failed({ name = name }, err)
end

--- The same, where a failure is only told.
---@param s luphant.migrate.Session
---@param name string
---@param facts table
---@param settings table<string, string>
function M.attempt(s, name, facts, settings)
  if #(s.hooks and s.hooks[name] or {}) == 0 then return end
  local ok, err = nil, "there is no connection any more"
  if s:is_open() then ok, err = M.alone(s, name, facts, settings) end
  if ok then return end
  s.emit { event = "warning", hook = name, message = errors.is_error(err) and err.message or
    ("the hook %s was not run: %s"):format(name, tostring(err)) }
end

--- What decides what hooks do, for the hash of a plan; nothing where there are none.
---@param of_folder? luphant.migrate.Hook[]
---@return string[]
function M.lines(of_folder)
  local out = {}
  for i, hook in ipairs(of_folder or {}) do out[i] = hook.name .. "\0" .. hook.checksum end
  return out
end

return M
