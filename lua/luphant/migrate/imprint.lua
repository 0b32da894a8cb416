-- luphant.migrate.imprint - what the schema was like when the last run ended, as one hash in the table `meta`.
--
-- It answers a smaller question than drift.lua, and at once: has anybody changed the schema since luphant was last at
-- it? No scratch database is needed for that. It cannot say what was changed, nor whether all was well before.
--
-- A hash is worth something only as long as nothing has happened to the history since: a run that died behind its last
-- COMMIT has left none of its own. So the last event that changes a schema is kept beside it; and the versions of
-- luphant and of the server, which read and spell the catalog each in their way.
--
-- SPDX-License-Identifier: MIT

local catalog = require "luphant.migrate.catalog"
local core = require "luphant.core"
local errors = require "luphant.errors"
local record = require "luphant.migrate.record"
local tables = require "luphant.migrate.tables"

local M = {}

local KEY = "catalog"

-- Every run reads the whole catalog once more for it: 30 ms, and 0.3 ms for each table (measured with 5,000 tables of
-- five columns and two indexes). Beyond these 1.7 s somebody would ask what the run is doing.
local MOST_RELATIONS = 5000

-- What a run does to a schema; the rest of the events is about the history alone.
local ACTIONS = "{apply,revert,resume,baseline,fail,create}"

local LAST = [[
select coalesce(max(id), 0)::text from %s where action = any($1::text[])]]
local SIZE = "select count(*)::int4 from pg_catalog.pg_class where relkind in ('r', 'p', 'v', 'm', 'f')"

local function last_event(q, place) return q:query_value(LAST:format(place.events), ACTIONS) end

local function forget(q, place) return q:execute(("delete from %s where key = $1"):format(place.meta), KEY) end

local function write(q, place, text)
  return q:execute(([[
    insert into %s (key, value) values ($1, $2) on conflict (key) do update set value = excluded.value]])
    :format(place.meta), KEY, text)
end

local function take(s)
  local q, place = s.conn, s.place
  local format, size, err
  format, err = tables.format(q, place)
  if not format then return not err or nil, err end
  size, err = q:query_value(SIZE)
  if not size then return nil, err end
  if size > MOST_RELATIONS then return forget(q, place) end
  -- Before the catalog is read: what happens meanwhile makes the event another one.
  local event, hash
  event, err = last_event(q, place)
  if not event then return nil, err end
  hash, err = catalog.hash(q, place)
  if not hash then return nil, err end
  if hash == "" then return forget(q, place) end
  return write(q, place, assert(core.json_encode {
    hash = hash, event = event, run_id = s.run_id, tool = record.TOOL, server = q:server_version(),
    at = q:query_value [[select to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')]],
  }))
end

--- Keeps the hash of the schema as it is now. What stands against it is no failure of the run: without a hash, or with
--- an old one, the question stays open.
---@param s luphant.migrate.Session
function M.keep(s)
  if s.options.is_scratch or s.options.tenants or not s:is_open() then return end
  local ok, err = take(s)
  if ok then return end
  s.emit {
    event = "warning", message = "the hash of the schema could not be kept: " .. tostring(err and err.message),
  }
end

local function read(q, place)
  local format, err = tables.format(q, place)
  if err then return nil, err end
  if not format then return nil end
  local ok
  ok, err = tables.check_format(format, place)
  if not ok then return nil, err end
  local row
  row, err = q:query_opt(("select value from %s where key = $1"):format(place.meta), KEY)
  if not row then return nil, err end
  local fine, document = pcall(core.json_decode, row.value)
  return fine and type(document) == "table" and document or nil
end

-- Why a hash says nothing about now; nil where it does.
local function objection(q, place, kept)
  if not kept then return "no run has left the hash of its schema here" end
  local event, err = last_event(q, place)
  if not event then return nil, err end
  if tostring(kept.event) ~= event then return "a run since then has left no hash of its schema" end
  if kept.tool ~= record.TOOL then return ("the hash was left by %s"):format(tostring(kept.tool)) end
  if kept.server ~= q:query_value "select current_setting('server_version_num')::int4" then
    return "the server was another version then"
  end
end

---@class (exact) luphant.migrate.Imprint
---@field is_known boolean
---@field reason? string why it is not
---@field moved? boolean is the schema another one now?
---@field at? string when the last run ended
---@field run_id? string
---@field expected? string the hash as that left it
---@field actual? string

--- Is the schema as the last run left it? Creates nothing.
---@param q table a pool or a connection
---@param place luphant.migrate.Place
---@return luphant.migrate.Imprint?
---@return luphant.error?
function M.look(q, place)
  local kept, err = read(q, place)
  if err then return nil, err end
  local why
  why, err = objection(q, place, kept)
  if err then return nil, err end
  if why then return { is_known = false, reason = why } end
  local hash
  hash, err = catalog.hash(q, place)
  if not hash then return nil, err end
  return {
    is_known = true, moved = hash ~= kept.hash, at = kept.at, run_id = kept.run_id, expected = kept.hash, actual = hash,
  }
end

--- The same as an answer of drift.
---@param q table
---@param place luphant.migrate.Place
---@return luphant.migrate.Drift?
---@return luphant.error?
function M.drift(q, place)
  local found, err = M.look(q, place)
  if not found then return nil, err end
  if not found.is_known then
    return nil, errors.new("migration_refused", "whether anything was changed since the last run cannot be told: "
      .. found.reason, { hint = "`luphant migrate drift` compares with what the migrations make" })
  end
  return {
    different = found.moved, differences = {}, expected = found.expected, actual = found.actual, since = found,
  }
end

return M
