-- luphant.migrate.judge - statements that cannot run where the file puts them, found before anything runs.
--
-- Knows three things: what PostgreSQL refuses to run in a transaction block, what would break the runner's own order
-- (its lock, its transactions), and the use of an enum value in the transaction that adds it. A complaint names the
-- way out. What only the server can know is left to the server.
--
-- SPDX-License-Identifier: MIT

local sqltext = require "luphant.sqltext"

local M = {}

local function has(words, wanted, from)
  for i = from or 1, #words do
    if words[i] == wanted then return i end
  end
end

-- Do `a` and `b` follow each other among the words?
local function pair(words, a, b)
  for i = 1, #words - 1 do
    if words[i] == a and words[i + 1] == b then return i end
  end
end

-- ---- not in a transaction ---------------------------------------------------------------------------------

local function off(words, option)
  local i = has(words, option)
  return i and (words[i + 1] == "false" or words[i + 1] == "off")
end

local WHOLE = { schema = "SCHEMA", database = "DATABASE", system = "SYSTEM" }
local PART = { index = true, table = true }

local function reindex(words)
  if has(words, "concurrently") then return "REINDEX CONCURRENTLY" end
  for i = 2, #words do
    if PART[words[i]] then return nil end
    if WHOLE[words[i]] then return "REINDEX " .. WHOLE[words[i]] end
  end
end

local function create(words)
  local second = words[2]
  if second == "database" or second == "tablespace" then return "CREATE " .. second:upper() end
  local i = second == "unique" and 3 or 2
  if words[i] == "index" and words[i + 1] == "concurrently" then return "CREATE INDEX CONCURRENTLY" end
  if second == "subscription" and not off(words, "create_slot") and not off(words, "connect") then
    return "CREATE SUBSCRIPTION with a slot"
  end
end

local function drop(words)
  local second = words[2]
  if second == "database" or second == "tablespace" then return "DROP " .. second:upper() end
  if second == "index" and words[3] == "concurrently" then return "DROP INDEX CONCURRENTLY" end
end

local function alter(words)
  local second = words[2]
  if second == "system" then return "ALTER SYSTEM" end
  if second == "database" and pair(words, "set", "tablespace") then return "ALTER DATABASE SET TABLESPACE" end
  if second == "table" and has(words, "detach") and words[#words] == "concurrently" then
    return "ALTER TABLE DETACH PARTITION CONCURRENTLY"
  end
  if second == "subscription" and has(words, "publication") and not off(words, "refresh") then
    return "ALTER SUBSCRIPTION that refreshes"
  end
end

-- Without a table it goes through all of the database.
local function cluster(words, sql)
  local count = words[2] == "verbose" and 2 or 1
  if #words == count and not sql:find('"', 1, true) then return "CLUSTER of the whole database" end
end

local function prepared(words)
  if words[2] == "prepared" then return words[1]:upper() .. " PREPARED" end
end

local ALONE = {
  alter = alter, cluster = cluster, commit = prepared, create = create, drop = drop, reindex = reindex,
  rollback = prepared, vacuum = function() return "VACUUM" end,
}

--- Why a statement cannot run in a transaction: its name in capitals, or nil.
---@param statement luphant.sqltext.Statement
---@return string?
function M.needs_no_transaction(statement)
  local rule = ALONE[statement.words[1]]
  return rule and rule(statement.words, statement.sql)
end

-- ---- not at all -------------------------------------------------------------------------------------------

local CONTROL = { begin = true, start = true, commit = true, ["end"] = true, rollback = true, abort = true }

local function is_control(words)
  local first = words[1]
  if first == "prepare" then return words[2] == "transaction" end
  if not CONTROL[first] or words[2] == "prepared" then return false end
  if first == "start" then return words[2] == "transaction" end
  -- rollback [work | transaction] to [savepoint] x
  return not (first == "rollback" and (words[2] == "to" or words[3] == "to"))
end

-- Functions are only defined by CREATE, but DO runs what it is given.
local function frees_locks(words, sql)
  if has(words, "pg_advisory_unlock_all") then return true end
  return words[1] == "do" and sql:lower():find("pg_advisory_unlock_all", 1, true) ~= nil
end

local SAVEPOINTS = { savepoint = true, release = true, rollback = true }

local function without_transaction(words)
  local first = words[1]
  if first == "set" and words[2] == "local" then
    return "SET LOCAL has no effect outside of a transaction", "write SET, and RESET at the end"
  elseif first == "lock" then
    return "LOCK works in a transaction only", "give it a migration of its own that has one"
  elseif SAVEPOINTS[first] and words[2] ~= "prepared" then
    return "savepoints work in a transaction only", "give it a migration of its own that has one"
  end
end

--- Why a statement may not stand in a migration, and what to do instead; nil for those that may.
---@param statement luphant.sqltext.Statement
---@param in_transaction boolean
---@return string? complaint
---@return string? hint
function M.refusal(statement, in_transaction)
  local words = statement.words
  if is_control(words) then
    return ("%s: the runner begins and ends transactions itself"):format(words[1]:upper()),
      "take it out; without a transaction around it a file says transaction:false"
  elseif words[1] == "discard" and words[2] == "all" then
    return "DISCARD ALL gives up the lock that keeps two runners apart", "write DISCARD PLANS, TEMP or SEQUENCES"
  elseif frees_locks(words, statement.sql) then
    return "pg_advisory_unlock_all gives up the lock that keeps two runners apart", "name the locks: pg_advisory_unlock"
  elseif words[1] == "copy" and pair(words, "to", "stdout") then
    return "COPY TO STDOUT sends data that nobody here reads", "copy to a file of the server, or leave it to a program"
  end
  if not in_transaction then return without_transaction(words) end
end

-- ---- new enum values --------------------------------------------------------------------------------------

local SIGNIFICANT = { space = false, comment = false }

local function tokens_of(sql)
  local list = {}
  for _, token in ipairs((sqltext.tokens(sql, { placeholders = true }))) do
    if SIGNIFICANT[token.kind] == nil then list[#list + 1] = token end
  end
  return list
end

-- The name between `type` and the word `stop`, as comparable text; with the index of `stop`.
local function type_name(tokens, stop)
  local parts = {}
  for i = 3, #tokens do
    if tokens[i].kind == "word" and tokens[i].text:lower() == stop then return table.concat(parts), i end
    parts[#parts + 1] = tokens[i].kind == "word" and tokens[i].text:lower() or tokens[i].text
  end
end

-- alter type <name> add value [if not exists] '<label>'
local function added_value(statement)
  local words = statement.words
  if words[1] ~= "alter" or words[2] ~= "type" or not pair(words, "add", "value") then return nil end
  local tokens = tokens_of(statement.sql)
  local name, i = type_name(tokens, "add")
  for k = i or #tokens + 1, #tokens do
    if tokens[k].kind == "string" then return { type = name, label = tokens[k].text } end
  end
end

local function created_type(statement)
  local words = statement.words
  if words[1] == "create" and words[2] == "type" then return (type_name(tokens_of(statement.sql), "as")) end
end

-- Bodies that the server looks into at once: of DO, and of functions in SQL.
local function is_read_at_once(words) return words[1] == "do" or pair(words, "language", "sql") ~= nil end

local function uses(statement, label)
  local words = statement.words
  if (words[1] == "alter" and words[2] == "type") or words[1] == "comment" then return false end
  if not statement.sql:find(label, 1, true) then return false end
  for kind, from, to in sqltext.scan(statement.sql) do
    local text = statement.sql:sub(from, to)
    if kind == "string" and text == label then return true end
    if kind == "dollar" and is_read_at_once(words) and text:find(label, 1, true) then return true end
  end
  return false
end

--- Statements that use a value added before them in the same transaction.
---@param statements luphant.sqltext.Statement[] all of one transaction
---@param complain fun(statement: luphant.sqltext.Statement, message: string, hint: string?)
function M.new_values(statements, complain)
  local created, added = {}, {}
  for _, statement in ipairs(statements) do
    for _, value in ipairs(added) do
      if uses(statement, value.label) then
        complain(statement, ("uses the enum value %s, which the same transaction adds (line %d)")
          :format(value.label, value.line), "add the value in a migration of its own, before this one")
      end
    end
    local name, value = created_type(statement), added_value(statement)
    if name then created[name] = true end
    if value and not created[value.type] then
      value.line = statement.line
      added[#added + 1] = value
    end
  end
end

-- ---- whole sections ---------------------------------------------------------------------------------------

local function judge_statement(statement, name, in_transaction, alone, complain)
  local why, hint = M.refusal(statement, in_transaction)
  if why then return complain(statement, why, hint) end
  local what = in_transaction and M.needs_no_transaction(statement)
  if not what then return end
  local marker = ("-- migrate:%s transaction:false"):format(name)
  if name == "check" or name == "verify" then
    hint = "it belongs into migrate:up of a file that says transaction:false"
  elseif alone then
    hint = ("write `%s`"):format(marker)
  else
    hint = ("put it into a migration of its own, with `%s`"):format(marker)
  end
  complain(statement, what .. " cannot run in a transaction", hint)
end

--- Judges one section.
---@param section luphant.migrate.Section
---@param name string "up", "down", "check" or "verify"
---@param in_transaction boolean
---@param complain fun(statement: luphant.sqltext.Statement, message: string, hint: string?)
function M.section(section, name, in_transaction, complain)
  for _, statement in ipairs(section.statements) do
    judge_statement(statement, name, in_transaction, #section.statements == 1, complain)
  end
end

--- Everything that is wrong with the statements of a migration's way there.
---@param migration luphant.migrate.Migration
---@return luphant.migrate.Problem[]
function M.migration(migration)
  local problems = {}
  local function complain(statement, message, hint)
    problems[#problems + 1] = {
      file = migration.file, line = statement.line, column = statement.column, message = message, hint = hint,
    }
  end
  local together = {}
  for _, name in ipairs { "check", "up", "verify" } do
    local section = migration[name]
    if section then
      M.section(section, name, migration.transaction, complain)
      for _, statement in ipairs(section.statements) do together[#together + 1] = statement end
    end
  end
  if migration.transaction then M.new_values(together, complain) end
  return problems
end

return M
