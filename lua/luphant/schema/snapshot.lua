-- schema/snapshot.lua - reads the catalog: all families in one transaction, so that they belong together.
--
-- The transaction is read only and repeatable read, and fixes every setting that changes how the server spells an
-- expression: the same schema gives the same snapshot whatever the session was set to. Inside a transaction of the
-- caller it is a savepoint that is rolled back, because of the settings; isolation is then the caller's.
--
-- SPDX-License-Identifier: MIT

local errors = require "luphant.errors"
local family = require "luphant.schema.family"
local reading = require "luphant.schema.reading"

-- Later ones put things into what earlier ones have read.
local READERS = {
  require "luphant.schema.read.database",
  require "luphant.schema.read.schemas",
  require "luphant.schema.read.extensions",
  require "luphant.schema.read.languages",
  require "luphant.schema.read.types",
  require "luphant.schema.read.relations",
  require "luphant.schema.read.columns",
  require "luphant.schema.read.sequences",
  require "luphant.schema.read.constraints",
  require "luphant.schema.read.indexes",
  require "luphant.schema.read.triggers",
  require "luphant.schema.read.policies",
  require "luphant.schema.read.rules",
  require "luphant.schema.read.statistics",
  require "luphant.schema.read.functions",
  require "luphant.schema.read.aggregates",
  require "luphant.schema.read.operators",
  require "luphant.schema.read.collations",
  require "luphant.schema.read.conversions",
  require "luphant.schema.read.text_search",
  require "luphant.schema.read.foreign",
  require "luphant.schema.read.event_triggers",
  require "luphant.schema.read.replication",
  (require "luphant.schema.read.defaults"), -- one value: newer Luas tell the file, too
}

local SETTINGS = [[
set local search_path = '';
set local quote_all_identifiers = off;
set local datestyle = 'ISO, MDY';
set local intervalstyle = 'postgres';
set local timezone = 'UTC';
set local extra_float_digits = 1;
set local bytea_output = 'hex';
set local lc_monetary = 'C';
set local xmlbinary = 'base64']]

-- What another session changed in the middle of it (see reading.check_there) is read again.
local MOST_ATTEMPTS = 5

-- "shop_*" -> "shop\_%"
local function like(pattern)
  return (pattern:gsub("[\\%%_]", "\\%0"):gsub("%*", "%%"):gsub("%?", "_"))
end

local function likes(patterns, more)
  local list = {}
  for _, pattern in ipairs(patterns) do list[#list + 1] = like(pattern) end
  for _, pattern in ipairs(more or {}) do list[#list + 1] = pattern end
  return list
end

local ALWAYS_LEFT_OUT = { "pg\\_%", "information\\_schema" }

local function empty(version, scope)
  local snapshot = { format = family.FORMAT, server_version = version, scope = scope }
  for _, name in ipairs(family.ORDER) do snapshot[name] = {} end
  return snapshot
end

local function check(value, err)
  if value == nil then error(err, 0) end
  return value
end

local function read(q, scope)
  check(q:script(SETTINGS))
  local version = check(q:query_value "select current_setting('server_version_num')::int4")
  if version < 110000 then
    error(errors.new("schema_unsupported", "a snapshot of the schema needs PostgreSQL 11 or newer"), 0)
  end
  local state = reading.new {
    q = q, version = version, with = scope, is_whole = scope.schemas == nil,
    include = likes(scope.schemas or { "*" }), exclude = likes(scope.except or {}, ALWAYS_LEFT_OUT),
    snapshot = empty(version, scope),
  }
  for _, reader in ipairs(READERS) do reader(state) end
  return state.snapshot
end

local OWN_TRANSACTION = { isolation = "repeatable read", read_only = true }

-- One attempt: the snapshot, or nil and the error. `transaction` rolls back a savepoint when told so by `nil, reason`.
local function attempt(q, scope, is_savepoint)
  local snapshot
  local done = {}
  local ok, answer, err = pcall(q.transaction, q, function(tx)
    snapshot = read(tx, scope)
    if is_savepoint then return nil, done end
    return true
  end, not is_savepoint and OWN_TRANSACTION or nil)
  if not ok then err = answer end
  if err == nil or err == done then return snapshot end
  if not ok and not errors.is_error(err) then error(err, 0) end
  return nil, err
end

-- Some functions of the server answer NULL for what is gone (reading.check_there), some look it up in a cache and fail
-- with what is an internal error elsewhere.
local function told(err)
  if err.sqlstate ~= "XX000" then return err end
  return errors.new("schema_changed", "the schema was changed while it was read: " .. err.message, { cause = err })
end

--- Reads a database. `scope` has been checked: schemas, except, owners, grants, comments.
---@param q table  a connection, a pool or a transaction
---@param scope table
---@return luphant.schema.Snapshot|nil
---@return luphant.error|nil
return function(q, scope)
  local is_savepoint = q.close == nil -- a transaction is what has the verbs and cannot be closed
  local snapshot, err
  for _ = 1, is_savepoint and 1 or MOST_ATTEMPTS do
    snapshot, err = attempt(q, scope, is_savepoint)
    err = err and told(err)
    if snapshot or err.kind ~= "schema_changed" then break end
  end
  return snapshot, err
end
