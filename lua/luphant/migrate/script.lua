-- luphant.migrate.script - the `db` that functions of a migration in Lua get: all verbs, and some that only migrations
-- have.
--
--   db:batch { table = ..., set = ... }     changes a large table piece by piece; see backfill.lua
--   db:assert_rows(what, count)             what: a relation or a query; count: a number, or { min =, max = }
--   db:assert_same_count(a, b)
--   db:checksum(table, columns)             of rows in whatever order, to be compared later
--   db:assert_checksum(table, columns, other [, columns])      other: a checksum, or a table
--
-- A view, not a class: the verbs are those of the transaction or connection behind it. Before each of them it is asked
-- whether the run shall stop, because a function in Lua is not looked into otherwise.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local backfill = require "luphant.migrate.backfill"
local errors = require "luphant.errors"

local M = {}

---@class luphant.migrate.Script what it is a view of has all other verbs
---@field batch function
---@field assert_rows function
---@field assert_same_count function
---@field checksum function
---@field assert_checksum function

---@class (exact) luphant.migrate.ScriptContext
---@field session luphant.migrate.Session
---@field step luphant.migrate.Step
---@field event fun(fields: table): table with the names of the step
---@field in_transaction boolean
---@field batches? integer outside of a transaction: how many have been begun
---@field settings? table<string, string> of the transactions of pieces
---@field lock_timeout? number
---@field try_again? fun(err: luphant.error, tries: table): boolean

local INNER = {} -- the key under which a view keeps what is behind it

-- ---- counting -----------------------------------------------------------------------------------------------

-- A relation has no blanks in its name, unless these are quoted; a query has.
local function source_of(what)
  if not what:gsub('"[^"]*"', ""):find "%s" then return what end
  return "(" .. what:gsub("[;%s]+$", "") .. "\n) q"
end

local function fail(message, ...) error(message:format(...), 3) end

local function value(view, sql)
  local answer, err = view[INNER].q:query_value(sql)
  if err then error(err, 0) end
  return answer
end

local function count(view, what)
  return tonumber(value(view, "select count(*)::text from " .. source_of(what)))
end

local function bounds(expected)
  if type(expected) == "number" then return expected, expected end
  if type(expected) ~= "table" or not (expected.min or expected.max) then
    args.misuse "assert_rows wants a number of rows, or { min = ..., max = ... }"
  end
  return expected.min or 0, expected.max or math.huge
end

local own = {}
M.own = own

--- Fails unless a relation or a query has so many rows.
function own.assert_rows(view, what, expected)
  args.argument(what, "string", 1, "assert_rows")
  local least, most = bounds(expected)
  local found = count(view, what)
  if found >= least and found <= most then return found end
  local wanted = least == most and ("%d"):format(least) or most == math.huge and ("at least %d"):format(least)
    or ("%d to %d"):format(least, most)
  fail("%s has %d rows, not %s", what, found, wanted)
end

--- Fails unless two relations or queries have the same number of rows.
function own.assert_same_count(view, a, b)
  args.argument(a, "string", 1, "assert_same_count")
  args.argument(b, "string", 2, "assert_same_count")
  local first, second = count(view, a), count(view, b)
  if first == second then return first end
  fail("%s has %d rows, but %s has %d", a, first, b, second)
end

-- ---- checksums ----------------------------------------------------------------------------------------------

-- Sums do not care for the order, and a numeric does not overflow. Two equal rows count twice.
local CHECKSUM = [[
select count(*) || ':' || coalesce(sum(hashtextextended(row(%s)::text, 0)::numeric), 0) from %s]]

local function names_of(columns, index, name)
  args.argument(columns, { "string", "table" }, index, name, 3)
  return type(columns) == "table" and table.concat(columns, ", ") or columns
end

--- A checksum of some columns of all rows, whatever their order.
function own.checksum(view, what, columns)
  args.argument(what, "string", 1, "checksum")
  return value(view, CHECKSUM:format(names_of(columns, 2, "checksum"), source_of(what)))
end

--- Fails unless the columns of a table have a checksum that was taken before, or that of another table.
function own.assert_checksum(view, what, columns, other, other_columns)
  args.argument(what, "string", 1, "assert_checksum")
  args.argument(other, "string", 3, "assert_checksum")
  local names = names_of(columns, 2, "assert_checksum")
  local found, wanted = value(view, CHECKSUM:format(names, source_of(what))), other
  if not other:find "^%d+:%-?%d+$" then
    wanted = value(view, CHECKSUM:format(names_of(other_columns or columns, 4, "assert_checksum"), source_of(other)))
  end
  if found == wanted then return found end
  fail("the checksum of %s (%s) is %s, not %s", what, names, found, wanted)
end

-- ---- batches ------------------------------------------------------------------------------------------------

--- With fields: changes a table piece by piece. With a list or a function: many statements in one round trip, as ever.
function own.batch(view, given, ...)
  local inner = view[INNER]
  if type(given) ~= "table" or given[1] ~= nil or next(given) == nil then return inner.q:batch(given, ...) end
  if inner.context.in_transaction then
    args.misuse "a batch of pieces commits each of them: the migration has to say transaction = false"
  end
  local options, why = backfill.check(given)
  if not options then args.misuse(why) end
  return backfill.run(inner.context, options)
end

-- ---- the view -----------------------------------------------------------------------------------------------

local calls = setmetatable({}, {
  __index = function(self, name)
    local function call(view, first, ...)
      local inner = type(view) == "table" and rawget(view, INNER)
      if not inner then args.misuse(("call it with a colon: db:%s(...)"):format(name)) end
      local context = inner.context
      if context.session.watch:wants_stop() then
        error(errors.new("migration_interrupted", "stopped on request"), 0)
      end
      if name == "transaction" and type(first) == "function" then
        local fn = first
        first = function(tx, ...) return fn(M.view(context, tx), ...) end
      end
      return inner.q[name](inner.q, first, ...)
    end
    self[name] = call
    return call
  end,
})

local metatable = {
  __name = "luphant.migrate.script",
  __index = function(view, name)
    if own[name] then return own[name] end
    local found = rawget(view, INNER).q[name]
    if type(found) == "function" then return calls[name] end
    return found
  end,
}

--- What a function of a migration is called with.
---@param context luphant.migrate.ScriptContext
---@param q table the transaction or the connection
---@return luphant.migrate.Script
function M.view(context, q)
  return setmetatable({ [INNER] = { q = q, context = context } }, metatable)
end

return M
