-- luphant.migrate.tables - the three tables that remember: made when missing, brought up to date when older.
--
--     <schema>.migrations   what each migration is in this database, one row each
--     <schema>.events       what was ever done to them, by whom and why; rows are only added
--     <schema>.meta         the format of these tables, and the name of this environment
--
-- Only what is about to write comes here: reading creates nothing. Tables are always named with their schema, so that
-- no search_path leads elsewhere.
--
-- SPDX-License-Identifier: MIT

local errors = require "luphant.errors"

local M = {}

-- 2: `progress`. A table of format 1 gets it from whoever writes next.
M.FORMAT = 2

-- First half of the keys of all advisory locks of the runner: "lph" in ASCII.
M.LOCK_CLASS = 0x6c7068

---@class (exact) luphant.migrate.Place where a history lives
---@field schema string
---@field tenant string "" where there is only one
---@field migrations string quoted names, with the schema
---@field events string
---@field meta string
---@field lock_name string what the second half of the lock's key is made of

--- A name as an SQL identifier.
---@param name string
---@return string
function M.quote(name) return '"' .. name:gsub('"', '""') .. '"' end

---@param schema string
---@param tenant? string
---@return luphant.migrate.Place
function M.place(schema, tenant)
  local prefix = M.quote(schema) .. "."
  return {
    schema = schema, tenant = tenant or "", migrations = prefix .. "migrations", events = prefix .. "events",
    meta = prefix .. "meta",
    lock_name = prefix .. "migrations" .. (tenant and tenant ~= "" and "/" .. tenant or ""),
  }
end

local MIGRATIONS = [[
create table if not exists %s (
  tenant        text        not null default '',
  version       text        not null,
  kind          text        not null default 'versioned',
  constraint migrations_pkey primary key (tenant, version, kind)
)]]

-- Added one by one, so that a table of an older format gets what it lacks.
local COLUMNS = {
  "name text not null",
  "state text not null default 'applied'",
  "checksum bytea not null",
  "checksum_kind smallint not null default 1",
  "statement_hash bytea",
  "earlier text[] not null default '{}'",
  "direction text not null default 'up'",
  "statements_total integer",
  "statements_started integer",
  "statements_done integer",
  "error_sqlstate text",
  "error_message text",
  "error_statement text",
  "statements text[]",
  "down_sql text",
  "out_of_order boolean not null default false",
  "vars jsonb",
  "progress jsonb",
  "run_id uuid",
  "applied_at timestamptz not null default clock_timestamp()",
  "duration_ms bigint not null default 0",
  "applied_by text not null default session_user",
  "tool_version text",
  "app_version text",
}

local EVENTS = [[
create table if not exists %s (
  id      bigint generated always as identity primary key,
  at      timestamptz not null default clock_timestamp(),
  run_id  uuid,
  tenant  text not null default '',
  kind    text,
  version text,
  name    text,
  action  text not null,
  reason  text,
  actor   text not null default session_user,
  host    text default host(inet_client_addr()),
  pid     integer default pg_backend_pid(),
  lsn     pg_lsn default pg_current_wal_insert_lsn(),
  detail  jsonb
)]]

local META = "create table if not exists %s (key text primary key, value text not null)"
local STAMP = [[
insert into %s (key, value) values ('format', $1)
    on conflict (key) do update set value = excluded.value]]

local COMMENTS = {
  migrations = "Which migrations are applied here. Written by luphant migrate.",
  events = "What was done to the migrations of this database. Rows are only added, by luphant migrate.",
  meta = "Format of the tables beside it. Written by luphant migrate.",
}

--- The format of the tables that are there; 0 for tables that say none, nil for no tables.
---@param q table
---@param place luphant.migrate.Place
---@return integer?
---@return luphant.error?
function M.format(q, place)
  local row, err = q:query_one("select to_regclass($1) is not null as history, to_regclass($2) is not null as meta",
    place.migrations, place.meta)
  if not row then return nil, err end
  if not row.meta then return row.history and 0 or nil end
  local value
  value, err = q:query_value(("select value from %s where key = 'format'"):format(place.meta))
  if err and not errors.is(err, "no_rows") then return nil, err end
  return tonumber(value) or 0
end

--- Refuses tables of a newer luphant, whose meaning is not known here, and tables of these names that somebody else
--- has made.
---@param format integer?
---@param place luphant.migrate.Place
---@return true?
---@return luphant.error?
function M.check_format(format, place)
  if not format or (format >= 1 and format <= M.FORMAT) then return true end
  if format == 0 then
    return nil, errors.new("migration_refused",
      ("the schema %s has tables of the names that the history has, but luphant has not made them")
        :format(place.schema),
      { hint = "keep the history elsewhere: schema = \"...\", --schema" })
  end
  return nil, errors.new("migration_invalid",
    ("the history in the schema %s has format %d, made by a newer luphant; this one knows format %d")
      :format(place.schema, format, M.FORMAT),
    { class = "usage", problems = {} })
end

local function all(tx, statements)
  for _, sql in ipairs(statements) do
    local done, err = tx:script(sql)
    if not done then return nil, err end
  end
  return true
end

local function statements_of(place)
  local list = { MIGRATIONS:format(place.migrations) }
  local adds = {}
  for i, column in ipairs(COLUMNS) do adds[i] = "add column if not exists " .. column end
  list[#list + 1] = ("alter table %s %s"):format(place.migrations, table.concat(adds, ", "))
  list[#list + 1] = EVENTS:format(place.events)
  list[#list + 1] = META:format(place.meta)
  for _, name in ipairs { "migrations", "events", "meta" } do
    list[#list + 1] = ("comment on table %s is '%s'"):format(place[name], COMMENTS[name])
  end
  return list
end

-- `create schema if not exists` wants the right to create schemas even when there is nothing to create.
local function make_schema(tx, place)
  -- From the table itself: to_regnamespace may answer from a cache that has not heard of what was committed while we
  -- waited for the lock above.
  local known, err = tx:query_value("select exists(select from pg_namespace where nspname = $1)", place.schema)
  if known or err then return known, err end
  return tx:execute("create schema " .. M.quote(place.schema))
end

local function make(tx, place)
  -- Tenants have locks of their own, but share these tables. Nobody who waits here keeps an index from being built:
  -- who holds this lock only makes tables.
  local ok, err = tx:script("set local client_min_messages = warning")
  if ok then ok, err = tx:execute("select pg_advisory_xact_lock($1, 0)", M.LOCK_CLASS) end
  if ok then ok, err = make_schema(tx, place) end
  if ok then ok, err = all(tx, statements_of(place)) end
  if not ok then return nil, err end
  return tx:execute(STAMP:format(place.meta), tostring(M.FORMAT))
end

--- Makes what is missing. The caller holds the lock.
---@param conn luphant.connection
---@param place luphant.migrate.Place
---@return true?
---@return luphant.error?
function M.ensure(conn, place)
  local format, err = M.format(conn, place)
  if err then return nil, err end
  if format == M.FORMAT then return true end
  local ok
  ok, err = M.check_format(format, place)
  if not ok then return nil, err end
  ok, err = conn:transaction(function(tx) return make(tx, place) end)
  if not ok then return nil, err end
  return true
end

return M
