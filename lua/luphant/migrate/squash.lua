-- luphant.migrate.squash - many migrations become one baseline, which is proved to make the same database.
--
-- The migrations run on a scratch database; what is there then, schema and rows, becomes the text of the baseline. That
-- runs on a second one, and nothing is written unless the two are the same to the last comment and row. Databases that
-- have the old migrations see the baseline as one they already have.
--
-- SPDX-License-Identifier: MIT

local drift = require "luphant.migrate.drift"
local dump = require "luphant.migrate.dump"
local errors = require "luphant.errors"
local failure = require "luphant.migrate.failure"
local lfs = require "lfs"
local load = require "luphant.migrate.load"
local replay = require "luphant.migrate.replay"
local run = require "luphant.migrate.run"
local schema = require "luphant.schema"
local version = require "luphant.migrate.version"

local M = {}

local MOST_TOLD = 5 -- differences in a refusal

local function refuse(message, hint)
  return nil, errors.new("migration_refused", message, { hint = hint })
end

-- ---- what ---------------------------------------------------------------------------------------------------

local function last_of(list)
  local last
  for _, migration in ipairs(list) do
    if migration.kind ~= "repeatable" and (not last or version.before(last, migration.version)) then
      last = migration.version
    end
  end
  return last
end

-- Those that the baseline stands for, and a complaint about those that stay.
local function divide(list, to)
  local going, replaced, stays = { hooks = list.hooks }, {}, {}
  for _, migration in ipairs(list) do
    if migration.kind == "repeatable" or version.before(to, migration.version) then
      stays[#stays + 1] = migration
    else
      going[#going + 1], replaced[version.key(migration.version)] = migration, true
    end
  end
  for _, migration in ipairs(stays) do
    for _, wanted in ipairs(migration.requires) do
      if version.is(wanted) and replaced[version.key(wanted)] then
        return nil, nil, ("%s requires %s, which would be gone"):format(migration.file, wanted)
      end
    end
  end
  return going, stays
end

local function versions_of(going)
  local seen, out = {}, {}
  local function add(text)
    if not seen[version.key(text)] then
      seen[version.key(text)] = true
      out[#out + 1] = text
    end
  end
  for _, migration in ipairs(going) do
    for _, text in ipairs(migration.replaces or {}) do add(text) end
    if migration.kind == "versioned" then add(migration.version) end
  end
  table.sort(out, version.before)
  return out
end

-- ---- text and proof -----------------------------------------------------------------------------------------

--- Statements of pg_dump as the text of a baseline. A schema that a search_path leads to may be there before.
---@param statements string[]
---@return string
function M.script(statements)
  local out = {}
  for i, sql in ipairs(statements) do out[i] = sql:gsub("^CREATE SCHEMA ", "CREATE SCHEMA IF NOT EXISTS ") .. ";\n" end
  return table.concat(out, "\n")
end

local function text_of(statements, going, to)
  local versions = versions_of(going)
  local lines = {
    ("-- Stands for %d migrations, up to %s. Written by `luphant migrate squash`."):format(#versions, to), "",
    "-- migrate:up replaces:" .. table.concat(versions, ","), dump.SETTINGS .. ";", "",
  }
  return table.concat(lines, "\n") .. "\n" .. M.script(statements)
end

--- Loads a folder with nothing but the baseline in it.
---@param name string
---@param text string
---@return luphant.migrate.Migration[]?
---@return luphant.migrate.Problem[]?
function M.load_alone(name, text)
  local dir = os.tmpname()
  os.remove(dir)
  local ok, why = lfs.mkdir(dir)
  local handle
  if ok then handle, why = io.open(dir .. "/" .. name, "wb") end
  if not handle then return nil, { { message = "no temporary file: " .. tostring(why) } } end
  handle:write(text)
  handle:close()
  local list, problems = load.load(dir)
  os.remove(dir .. "/" .. name)
  lfs.rmdir(dir)
  return list, problems
end

--- The first of some differences as lines.
---@param differences luphant.schema.Difference[]
---@return string
function M.told(differences)
  local some = {}
  for i = 1, math.min(#differences, MOST_TOLD) do some[i] = differences[i] end
  local more = #differences > MOST_TOLD and ("... and %d more\n"):format(#differences - MOST_TOLD) or ""
  return schema.diff_text(some) .. more
end

-- The second database against the first: the catalog, then rows.
local function prove(target, list, options, wanted)
  return replay.snapshot_of(target, list, options, function(s, snapshot)
    local differences = schema.diff(wanted.snapshot, snapshot)
    if drift.is_different(differences) then
      return refuse("a baseline of what pg_dump writes would not make the same schema:\n" .. M.told(differences),
        "write it by hand, with B in front of its version")
    end
    local statements, err = dump.statements(s.plan, options.place, wanted.how)
    if not statements then return nil, err end
    if table.concat(statements, "\n") ~= table.concat(wanted.statements, "\n") then
      return refuse "a baseline of what pg_dump writes would not make the same rows"
    end
    return true
  end)
end

local function attempt(target, going, to, options, how)
  return replay.snapshot_of(options.scratch or target, going, options, function(s, snapshot)
    local statements, err = dump.statements(s.plan, options.place, how)
    if not statements then return nil, err end
    return { snapshot = snapshot, statements = statements, how = how, text = text_of(statements, going, to) }
  end)
end

-- First without owners, so that it runs as anybody; with them where that makes a difference.
local function proved(target, going, to, options, name)
  local err
  for _, owners in ipairs { false, true } do
    local wanted, why = attempt(target, going, to, options, { data = true, grants = true, owners = owners })
    if not wanted then return nil, why end
    local list, problems = M.load_alone(name, wanted.text)
    if not list then return nil, failure.invalid(problems) end
    local ok
    ok, err = prove(options.scratch or target, list, options, wanted)
    if ok then return wanted.text end
    if err.kind ~= "migration_refused" then return nil, err end
  end
  return nil, err
end

-- ---- the whole ----------------------------------------------------------------------------------------------

--- Writes a file.
---@param path string
---@param text string
---@return true?
---@return luphant.error? err of kind migration_file
function M.write(path, text)
  local handle, why = io.open(path, "wb")
  if not handle then return nil, errors.new("migration_file", ("%s cannot be written: %s"):format(path, why)) end
  handle:write(text)
  handle:close()
  return true
end

local function remove(going)
  local gone = {}
  for _, migration in ipairs(going) do
    for _, path in ipairs { migration.file, migration.down_file } do
      local ok, why = os.remove(path)
      if not ok then return nil, errors.new("migration_file", why) end
      gone[#gone + 1] = path
    end
  end
  return gone
end

--- Writes the baseline, and removes what it stands for where `remove` says so.
---@param target any where scratch databases can be made
---@param dir string
---@param options table as border.lua checks them: `to`, `name`, `remove`, `scratch`
---@return { file: string, version: string, migrations: integer, removed: string[] }?
---@return luphant.error?
function M.squash(target, dir, options)
  local list, err = run.load(dir, options)
  if not list then return nil, err end
  local to = options.to or last_of(list)
  if not to or not version.is(to) then return refuse "there is nothing to squash" end
  local going, _, complaint = divide(list, to)
  if not going then return refuse(complaint, "squash up to that one, too") end
  if #going < 2 then return refuse(("%d migration up to %s: nothing to squash"):format(#going, to)) end
  to = last_of(going)
  local name = ("B%s__%s.sql"):format(to, options.name or "squashed")
  local path = dir .. "/" .. name
  if lfs.attributes(path) then return nil, errors.new("migration_file", path .. " is there already") end
  local text
  text, err = proved(target, going, to, options, name)
  if not text then return nil, err end
  local ok
  ok, err = M.write(path, text)
  if not ok then return nil, err end
  local gone = {}
  if options.remove then
    gone, err = remove(going)
    if not gone then return nil, err end
  end
  return { file = path, version = to, migrations = #versions_of(going), removed = gone }
end

return M
