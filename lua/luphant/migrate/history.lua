-- luphant.migrate.history - the rows of the tracking tables: read as the planner wants, written as the runner goes.
--
-- The row of a migration is written in the transaction that ran it. Only where there is no such transaction it is
-- written around each statement, so that what was begun and what ended is known after any death of the process.
-- Every change of a row has an event beside it, in the same transaction. Nothing here decides what to run.
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"
local errors = require "luphant.errors"
local tables = require "luphant.migrate.tables"

local M = {}

local CHECKSUM_KIND = 1 -- SHA-256 over the normalised text of the whole file

-- Times as text of one form, which sorts.
local COLUMNS = [[
  m.version, m.kind, m.name, m.state, encode(m.checksum, 'hex') as checksum,
  encode(m.statement_hash, 'hex') as statement_hash, m.earlier, m.direction,
  m.statements_total, m.statements_started, m.statements_done,
  m.error_sqlstate, m.error_message, m.error_statement, m.statements, m.down_sql, m.out_of_order, m.run_id,
  to_char(m.applied_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as applied_at,
  m.duration_ms, m.applied_by, m.tool_version, m.app_version]]

--- All rows of a history, those that were taken back included. An absent table is an empty history. Creates nothing.
---@param q table
---@param place luphant.migrate.Place
---@return luphant.migrate.Applied[]? rows
---@return luphant.error? err
function M.read(q, place)
  local format, err = tables.format(q, place)
  if err then return nil, err end
  if not format then return {} end
  local ok
  ok, err = tables.check_format(format, place)
  if not ok then return nil, err end
  return q:query(("select %s from %s m where m.tenant = $1 order by m.version"):format(COLUMNS, place.migrations),
    place.tenant)
end

-- ---- events -------------------------------------------------------------------------------------------------

---@class (exact) luphant.migrate.Deed something done to a migration, for the table of events
---@field action string
---@field kind? string
---@field version? string
---@field name? string
---@field run_id? string
---@field reason? string
---@field detail? table

--- Adds an event.
---@param q table
---@param place luphant.migrate.Place
---@param deed luphant.migrate.Deed
---@return integer?
---@return luphant.error?
function M.tell(q, place, deed)
  return q:execute(([[
    insert into %s (run_id, tenant, kind, version, name, action, reason, detail)
    values ($1, $2, $3, $4, $5, $6, $7, $8::text::jsonb)]]):format(place.events),
    deed.run_id, place.tenant, deed.kind, deed.version, deed.name, deed.action, deed.reason,
    deed.detail and assert(core.json_encode(deed.detail)) or nil)
end

--- Was this done in this run? After a connection was lost in COMMIT: the event was in the transaction.
---@param q table
---@param place luphant.migrate.Place
---@param deed luphant.migrate.Deed
---@return boolean?
---@return luphant.error?
function M.was_done(q, place, deed)
  return q:query_value(([[
    select exists(select from %s
     where run_id = $1 and tenant = $2 and kind = $3 and version = $4 and action = $5)]]):format(place.events),
    deed.run_id, place.tenant, deed.kind, deed.version, deed.action)
end

--- The file of the backup that was taken before a run; nil when there was none.
---@param q table
---@param place luphant.migrate.Place
---@param run_id string
---@return string?
function M.backup(q, place, run_id)
  return (q:query_opt(([[
    select detail ->> 'file' as file from %s where tenant = $1 and run_id = $2 and action = 'backup'
     order by id desc limit 1]]):format(place.events), place.tenant, run_id) or {}).file
end

--- What was kept of what a run of a migration destroyed; nil when nothing was.
---@param q table
---@param place luphant.migrate.Place
---@param item { kind: string, version: string }
---@param run_id string
---@return { relation: string, rows: integer }[]?
function M.kept(q, place, item, run_id)
  local rows = q:query(([[
    select r ->> 'relation' as relation, sum((r ->> 'rows')::int)::int as rows
      from %s e, jsonb_array_elements(detail -> 'relations') r
     where tenant = $1 and run_id = $2 and kind = $3 and version = $4 and action = 'preserve'
     group by 1 order by 1]]):format(place.events), place.tenant, run_id, item.kind, item.version)
  return rows and #rows > 0 and rows or nil
end

--- The events, the latest first.
---@param q table
---@param place luphant.migrate.Place
---@param version? string
---@param limit? integer
---@return table[]?
---@return luphant.error?
function M.events(q, place, version, limit)
  local format, err = tables.format(q, place)
  if err then return nil, err end
  if not format then return {} end
  local ok
  ok, err = tables.check_format(format, place)
  if not ok then return nil, err end
  return q:query(([[
    select id, to_char(at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at, run_id, kind,
           version, name, action, reason, actor, host, pid, lsn::text as lsn, detail
      from %s e where tenant = $1 and ($2::text is null or version = $2)
     order by e.id desc limit $3]]):format(place.events), place.tenant, version, limit)
end

-- ---- rows ---------------------------------------------------------------------------------------------------

local UPSERT = [[
insert into %s as m (tenant, version, kind, name, state, checksum, checksum_kind, statement_hash, direction,
  statements_total, statements_started, statements_done, down_sql, out_of_order, vars, run_id, duration_ms,
  tool_version, app_version, statements)
values ($1, $2, $3, $4, $5, decode($6, 'hex'), $7, decode($8, 'hex'), $9, $10, $11, $12, $13, $14,
  $15::text::jsonb, $16, $17, $18, $19, $20)
on conflict (tenant, version, kind) do update set
  name = excluded.name, state = excluded.state, checksum = excluded.checksum,
  checksum_kind = excluded.checksum_kind, statement_hash = excluded.statement_hash, direction = excluded.direction,
  earlier = case when m.kind = 'repeatable' and m.checksum <> excluded.checksum
                 then array_append(array_remove(m.earlier, encode(m.checksum, 'hex')), encode(m.checksum, 'hex'))
                 else m.earlier end,
  statements_total = excluded.statements_total, statements_started = excluded.statements_started,
  statements_done = excluded.statements_done, error_sqlstate = null, error_message = null, error_statement = null,
  down_sql = excluded.down_sql, out_of_order = excluded.out_of_order, vars = excluded.vars,
  progress = case when $21 then m.progress end,
  run_id = excluded.run_id, applied_at = clock_timestamp(), duration_ms = excluded.duration_ms,
  applied_by = session_user, tool_version = excluded.tool_version, app_version = excluded.app_version,
  statements = excluded.statements]]

---@class (exact) luphant.migrate.Record what is written about a migration
---@field state string
---@field kind string
---@field version string
---@field name string
---@field checksum? string hexadecimal
---@field statement_hash? string
---@field direction? string
---@field total? integer
---@field started? integer
---@field done? integer
---@field statements? string[] short hashes of the statements of the way there
---@field down_sql? string
---@field out_of_order? boolean
---@field vars? table<string, string>
---@field run_id? string
---@field duration_ms? integer
---@field tool_version? string
---@field app_version? string
---@field keeps_progress? boolean of its batches

--- Writes the row of a migration, whatever was there before.
---@param q table
---@param place luphant.migrate.Place
---@param record luphant.migrate.Record
---@return integer?
---@return luphant.error?
function M.write(q, place, record)
  return q:execute(UPSERT:format(place.migrations), place.tenant, record.version, record.kind, record.name,
    record.state, record.checksum or "", CHECKSUM_KIND, record.statement_hash, record.direction or "up", record.total,
    record.started, record.done, record.down_sql, record.out_of_order or false,
    record.vars and next(record.vars) and assert(core.json_encode(record.vars)) or nil, record.run_id,
    record.duration_ms or 0, record.tool_version, record.app_version, record.statements, record.keeps_progress or false)
end

local function changed(count, err, item)
  if count == 1 then return true end
  if err then return nil, err end
  return nil, errors.new("migration_lock_lost",
    ("the row of %s is gone from the history, or somebody else writes it"):format(item.version))
end

--- Sets the state of a row that is there.
---@param q table
---@param place luphant.migrate.Place
---@param item { kind: string, version: string }
---@param state string
---@param run_id? string
---@return true?
---@return luphant.error?
function M.set_state(q, place, item, state, run_id)
  local count, err = q:execute(([[
    update %s set state = $4, run_id = coalesce($5, run_id), applied_at = clock_timestamp(), direction = 'up',
           error_sqlstate = null, error_message = null, error_statement = null
     where tenant = $1 and kind = $2 and version = $3]]):format(place.migrations),
    place.tenant, item.kind, item.version, state, run_id)
  return changed(count, err, item)
end

--- How far a migration without a transaction has come: so many statements done, the next one begun.
---@param q table
---@param place luphant.migrate.Place
---@param item { kind: string, version: string }
---@param run_id string of the run that does it: nobody else may
---@param done integer
---@param started integer
---@return true?
---@return luphant.error?
function M.progress(q, place, item, run_id, done, started)
  local count, err = q:execute(([[
    update %s set statements_done = $4, statements_started = $5
     where tenant = $1 and kind = $2 and version = $3 and run_id = $6 and state = 'running']])
    :format(place.migrations), place.tenant, item.kind, item.version, done, started, run_id)
  return changed(count, err, item)
end

--- How far a batch has come, for whoever goes on with it.
---@param q table
---@param place luphant.migrate.Place
---@param item { kind: string, version: string }
---@param name string of the batch
---@return { last: string, rows: integer, affected: integer }?
---@return luphant.error?
function M.progress_of(q, place, item, name)
  local row, err = q:query_one(([[
    select progress -> $4 as batch from %s where tenant = $1 and kind = $2 and version = $3]]):format(place.migrations),
    place.tenant, item.kind, item.version, name)
  if not row then return nil, err end
  return row.batch
end

---@param q table
---@param place luphant.migrate.Place
---@param item { kind: string, version: string }
---@param run_id string of the run that does it: nobody else may
---@param name string of the batch
---@param progress { last: string, rows: integer, affected: integer }
---@return true?
---@return luphant.error?
function M.keep_progress(q, place, item, run_id, name, progress)
  local count, err = q:execute(([[
    update %s set progress = coalesce(progress, '{}') || jsonb_build_object($5::text,
             jsonb_build_object('last', $6::text, 'rows', $7::int8, 'affected', $8::int8))
     where tenant = $1 and kind = $2 and version = $3 and run_id = $4 and state = 'running']]):format(place.migrations),
    place.tenant, item.kind, item.version, run_id, name, progress.last, progress.rows, progress.affected)
  return changed(count, err, item)
end

--- A migration without a transaction has stopped.
---@param q table
---@param place luphant.migrate.Place
---@param item { kind: string, version: string }
---@param err luphant.error
---@param statement? string
---@return true?
---@return luphant.error?
function M.fail(q, place, item, err, statement)
  local count, why = q:execute(([[
    update %s set state = 'failed', error_sqlstate = $4, error_message = $5, error_statement = $6
     where tenant = $1 and kind = $2 and version = $3]]):format(place.migrations),
    place.tenant, item.kind, item.version, err.sqlstate, err.message, statement)
  return changed(count, why, item)
end

return M
