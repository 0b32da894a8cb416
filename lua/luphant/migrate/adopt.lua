-- luphant.migrate.adopt - a database that was made otherwise becomes the first migration: a baseline with its schema.
--
-- The text is what pg_dump writes; it runs on a scratch database, and nothing is kept of it unless the catalog there is
-- that of the database it came from. Then the file is written and recorded as applied. Rows are not taken along: they
-- are nobody's schema. Neither is what belongs to the database as a place (who may connect to it, its settings).
--
-- SPDX-License-Identifier: MIT

local amend = require "luphant.migrate.amend"
local compat = require "luphant.compat"
local dump = require "luphant.migrate.dump"
local errors = require "luphant.errors"
local failure = require "luphant.migrate.failure"
local history = require "luphant.migrate.history"
local imprint = require "luphant.migrate.imprint"
local lfs = require "lfs"
local load = require "luphant.migrate.load"
local new = require "luphant.migrate.new"
local parts = require "luphant.migrate.parts"
local record = require "luphant.migrate.record"
local replay = require "luphant.migrate.replay"
local run = require "luphant.migrate.run"
local schema = require "luphant.schema"
local squash = require "luphant.migrate.squash"
local tables = require "luphant.migrate.tables"
local version = require "luphant.migrate.version"

local M = {}

local NAME = "baseline"

local function refuse(message, hint)
  return nil, errors.new("migration_refused", message, { hint = hint })
end

-- ---- which version --------------------------------------------------------------------------------------------

local function folder(dir, options)
  if not lfs.attributes(dir, "mode") then
    local ok, why = lfs.mkdir(dir)
    if not ok then
      return nil, errors.new("migration_file", ("the folder %s cannot be made: %s"):format(dir, tostring(why)))
    end
  end
  return run.load(dir, options)
end

-- Only with nothing beside it can it be at any version: files below it would never run.
local function version_of(list, at)
  if at then
    if version.is(at) then return at end
    return refuse(("%s is no version"):format(at))
  end
  for _, migration in ipairs(list) do
    if migration.kind ~= "repeatable" then
      return refuse("there are migrations already, and which of them this database has is not known",
        "give the version at which it stands: all up to that count as applied")
    end
  end
  return new.stamp()
end

-- ---- text and proof -------------------------------------------------------------------------------------------

local function text_of(statements)
  local head = {
    "-- What was in the database when its history began. Written by `luphant migrate baseline --from-db`.", "",
    "-- migrate:up", dump.SETTINGS .. ";", "",
  }
  return table.concat(head, "\n") .. "\n" .. squash.script(statements)
end

-- Not of the schema, but of the database as a place.
local OF_PLACE = { database = true, settings = true }

local function of_schema(differences)
  local out = {}
  for _, difference in ipairs(differences) do
    if not OF_PLACE[difference.kind] and not difference.warning then out[#out + 1] = difference end
  end
  return out
end

local function quiet(options)
  local own = compat.copy(options)
  own.emit = function() end
  own.backup, own.preserve = nil, nil
  return own
end

local function prove(target, text, name, options, wanted)
  local list, problems = squash.load_alone(name, text)
  if not list then return nil, failure.invalid(problems) end
  local found, err = replay.snapshot_of(options.scratch or options.url or target, list, quiet(options))
  if not found then return nil, err end
  local differences = of_schema(schema.diff(wanted, found))
  if #differences == 0 then return true end
  return refuse("a baseline of what pg_dump writes would not make the same schema:\n" .. squash.told(differences),
    "write it by hand, with B in front of its version, and say that this database has it: baseline VERSION")
end

-- A dump without rows leaves materialized views without any, and nobody could read them.
local FILLED = [[
select format('REFRESH MATERIALIZED VIEW %I.%I', n.nspname, c.relname)
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.relkind = 'm' and c.relispopulated and n.nspname <> $1
   and not exists(select from pg_catalog.pg_depend d
                   where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
 order by c.oid]]

local function statements_of(s, options, owners)
  local statements, err = dump.statements(s.plan, options.place, { grants = true, owners = owners })
  if not statements then return nil, err end
  local filled
  filled, err = s.conn:query_column(FILLED, options.place.schema)
  if not filled then return nil, err end
  for _, sql in ipairs(filled) do statements[#statements + 1] = sql end
  return statements
end

-- First without owners, so that it runs as anybody; with them where that makes a difference.
local function proved_text(s, target, name, options)
  local wanted, err = replay.snapshot(s.conn, options)
  if not wanted then return nil, err end
  for _, owners in ipairs { false, true } do
    local statements
    statements, err = statements_of(s, options, owners)
    if not statements then return nil, err end
    if #statements == 0 then return refuse "there is nothing in this database to begin with" end
    local text = text_of(statements)
    local is_same, why = prove(target, text, name, options, wanted)
    if is_same then return text end
    err = why
    if err.kind ~= "migration_refused" then return nil, err end
  end
  return nil, err
end

-- ---- the file and its row -------------------------------------------------------------------------------------

local function find(dir, path, options)
  local list, problems = load.load(dir, { ignore = options.ignore })
  if not list then return nil, failure.invalid(problems) end
  for _, migration in ipairs(list) do
    if migration.file == path then return migration end
  end
end

local function keep(s, migration, text)
  local entry = {
    kind = "baseline", version = migration.version, name = migration.name, file = migration.file, migration = migration,
  }
  local total = parts.count { section = migration.up }
  local row, why = record.row(s, entry, { state = "applied", total = total, started = total, done = total })
  if not row then return nil, failure.failed({ step = entry, part = "up" }, { message = why }) end
  local ok, err = tables.ensure(s.conn, s.place)
  if not ok then return nil, err end
  local event
  event, err = amend.change(s, entry, "baseline", function(tx) return history.write(tx, s.place, row) end,
    { file = migration.file, bytes = #text }, { written = migration.file })
  if not event then return nil, err end
  imprint.keep(s)
  return event
end

local function write(s, dir, path, text, options)
  local ok, err = squash.write(path, text)
  if not ok then return nil, err end
  local migration, event
  migration, err = find(dir, path, options)
  if migration then event, err = keep(s, migration, text) end
  if not event then os.remove(path) end
  return event, err
end

local function under_lock(s, target, dir, list, at, options)
  local ok, err = s:lock()
  if not ok then return nil, err end
  local rows
  rows, err = history.read(s.conn, s.place)
  if not rows then return nil, err end
  ok, err = amend.check_no_history(rows)
  if not ok then return nil, err end
  at, err = version_of(list, at)
  if not at then return nil, err end
  local name = ("B%s__%s.sql"):format(at, options.name or NAME)
  local path = dir .. "/" .. name
  if lfs.attributes(path) then return nil, errors.new("migration_file", path .. " is there already") end
  local text
  text, err = proved_text(s, target, name, options)
  if not text then return nil, err end
  return write(s, dir, path, text, options)
end

--- Writes the baseline and records it as applied.
---@param target any
---@param dir string made when missing
---@param at? string its version; the time where the folder is empty
---@param options table as border.lua checks them: `name`, `scratch`
---@param level integer
---@return table? event with `written`
---@return luphant.error?
function M.adopt(target, dir, at, options, level)
  local list, err = folder(dir, options)
  if not list then return nil, err end
  return run.with_session(target, options, level + 1, function(s)
    return under_lock(s, target, dir, list, at, options)
  end)
end

return M
