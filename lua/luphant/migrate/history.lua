-- luphant.migrate.history - the table that remembers what was applied, and the lock around it.
--
-- The table is `<schema>.migrations`, by default in the schema `luphant`, and always named with its
-- schema, so that no search_path can lead elsewhere. Reading never creates anything: whoever may
-- only SELECT can ask for the status. Nothing here decides what to run.
--
-- Checksums are SHA-256 of the normalised file text (checksum_kind 1).
--
-- SPDX-License-Identifier: MIT

local wayback = require "luphant.migrate.wayback"

local M = {}

local CHECKSUM_KIND = 1 -- SHA-256 over the normalised text of the whole file

-- First half of the advisory lock's key, the same for every luphant ("lph" in ASCII); the second
-- half is a hash of the table's name, so that two histories in one database do not wait for each
-- other. Keys of advisory locks belong to one database anyway.
local LOCK_CLASS = 0x6c7068

local TABLE = [[
create table if not exists %s (
  tenant        text        not null default '',
  version       text        not null,
  kind          text        not null default 'versioned',
  name          text        not null,
  state         text        not null default 'applied',
  checksum      bytea       not null,
  checksum_kind smallint    not null,
  down_sql      text,
  applied_at    timestamptz not null default now(),
  duration_ms   bigint      not null,
  applied_by    text        not null default current_user,
  constraint migrations_pkey primary key (tenant, version, kind)
)]]

local COMMENT = "comment on table %s is 'Which migrations are applied here. Written by luphant migrate.'"

--- A name as an SQL identifier.
---@param name string
---@return string
function M.quote(name)
  return '"' .. name:gsub('"', '""') .. '"'
end

--- The history table of a schema, quoted.
---@param schema string
---@return string
function M.table_name(schema)
  return M.quote(schema) .. ".migrations"
end

-- `create schema if not exists` wants the right to create schemas even when there is nothing to
-- create, so existence is asked for first. The caller holds the lock.
function M.ensure(conn, schema)
  local there, err = conn:query_value("select to_regclass($1) is not null", M.table_name(schema))
  if there or err then return there, err end
  return conn:transaction(function(tx)
    local known, why = tx:query_value("select to_regnamespace($1) is not null", M.quote(schema))
    if why then return nil, why end
    if not known then
      local made
      made, why = tx:execute("create schema " .. M.quote(schema))
      if not made then return nil, why end
    end
    for _, sql in ipairs { TABLE, COMMENT } do
      local made
      made, why = tx:execute(sql:format(M.table_name(schema)))
      if not made then return nil, why end
    end
    return true
  end)
end

--- What is applied, by version. An absent table is an empty history.
---@return luphant.migrate.Applied[]? rows
---@return table? err
function M.read(conn, schema)
  local there, err = conn:query_value("select to_regclass($1) is not null", M.table_name(schema))
  if err then return nil, err end
  if not there then return {} end
  return conn:query(([[
    select version, name, encode(checksum, 'hex') as checksum, down_sql, applied_at, duration_ms
      from %s
     where tenant = '' and kind = 'versioned' and state = 'applied'
     order by version]]):format(M.table_name(schema)))
end

--- Writes the row of a migration that has just run, in the transaction that ran it; the duration
--- is the age of that transaction.
---@return integer? duration_ms
---@return table? err
function M.record(tx, schema, migration)
  return tx:query_value(([[
    insert into %s (version, name, checksum, checksum_kind, down_sql, duration_ms)
    values ($1, $2, decode($3, 'hex'), $4, $5,
            (extract(epoch from clock_timestamp() - transaction_timestamp()) * 1000)::bigint)
    returning duration_ms]]):format(M.table_name(schema)),
    migration.version, migration.name, migration.checksum, CHECKSUM_KIND, wayback.write(migration))
end

--- Takes the row of an undone migration away, in the transaction that undid it.
---@return integer? affected
---@return table? err
function M.forget(tx, schema, version)
  return tx:execute(([[
    delete from %s where tenant = '' and kind = 'versioned' and version = $1]]):format(M.table_name(schema)),
    version)
end

-- Who has the lock? A sentence for people; the answer may be out of date when it is read.
local function describe_holder(conn, schema)
  local row = conn:query_opt([[
    select a.pid, a.application_name, a.client_addr::text as address
      from pg_locks l join pg_stat_activity a on a.pid = l.pid
     where l.locktype = 'advisory' and l.granted and l.objsubid = 2
       and l.database = (select oid from pg_database where datname = current_database())
       and l.classid::bigint = $1 and l.objid = hashtext($2)::bit(32)::bigint
     limit 1]], LOCK_CLASS, M.table_name(schema))
  if not row then return "its holder could not be found" end
  local name = row.application_name ~= "" and (' "%s"'):format(row.application_name) or ""
  return ("held by server process %d%s%s"):format(row.pid, name, row.address and " from " .. row.address or "")
end

--- Takes the session lock, asking again and again until `patience` seconds are over.
--- Never the blocking pg_advisory_lock: waiting inside it deadlocks with a migration that runs
--- CREATE INDEX CONCURRENTLY, which waits for every transaction older than itself, ours included.
--- The pauses happen in the server, one short statement each, so that any waiter will do.
---@return true? held
---@return table|string? err a sentence naming the holder when patience ran out
function M.lock(conn, schema, patience)
  local waited, pause = 0, 0.05
  while true do
    local held, err = conn:query_value("select pg_try_advisory_lock($1, hashtext($2))",
      LOCK_CLASS, M.table_name(schema))
    if held or err then return held, err end
    if waited >= patience then return nil, describe_holder(conn, schema) end
    pause = math.min(pause * 1.5, 1, patience - waited)
    local slept, why = conn:execute("select pg_sleep($1)", pause)
    if not slept then return nil, why end
    waited = waited + pause
  end
end

--- Gives the lock back.
---@return true? released
---@return table? err
function M.unlock(conn, schema)
  return conn:query_value("select pg_advisory_unlock($1, hashtext($2))", LOCK_CLASS, M.table_name(schema))
end

return M
