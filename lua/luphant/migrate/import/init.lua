-- luphant.migrate.import - from another tool: its files become ours, and its history table tells what is applied.
--
-- The other tool's files and tables are only read. What is written are new files in a folder of ours, which the loader
-- has to take without a complaint, and rows of our history; all of it, or nothing.
--
-- SPDX-License-Identifier: MIT

local errors = require "luphant.errors"
local failure = require "luphant.migrate.failure"
local filename = require "luphant.migrate.filename"
local flyway = require "luphant.migrate.import.flyway"
local history = require "luphant.migrate.history"
local kong = require "luphant.migrate.import.kong"
local lapis = require "luphant.migrate.import.lapis"
local lfs = require "lfs"
local load = require "luphant.migrate.load"
local marked = require "luphant.migrate.import.marked"
local order = require "luphant.migrate.order"
local plan = require "luphant.migrate.plan"
local record = require "luphant.migrate.record"
local run = require "luphant.migrate.run"
local tables = require "luphant.migrate.tables"
local two_files = require "luphant.migrate.import.pairs"

local M = {}

local READERS = {
  sqlx = two_files.sqlx, dbmate = marked.dbmate, goose = marked.goose, ["golang-migrate"] = two_files["golang-migrate"],
  flyway = flyway.flyway, lapis = lapis.lapis, kong = kong.kong,
}

M.TOOLS = { "sqlx", "dbmate", "goose", "golang-migrate", "flyway", "lapis", "kong" }

-- ---- texts --------------------------------------------------------------------------------------------------

local function marker(name, migration)
  local words = { "-- migrate:" .. name }
  local is_without = migration.transaction == false
  if name == "down" and migration.down_transaction ~= nil then is_without = not migration.down_transaction end
  if is_without then words[#words + 1] = "transaction:false" end
  if name == "up" and migration.phase then words[#words + 1] = "phase:" .. migration.phase end
  if name == "up" and migration.vars and #migration.vars > 0 then
    words[#words + 1] = "vars:" .. table.concat(migration.vars, ",")
  end
  return table.concat(words, " ") .. "\n"
end

local function text_of(migration)
  local text = marker("up", migration) .. migration.up
  if migration.down and migration.kind == "versioned" then
    text = text .. "\n" .. marker("down", migration) .. migration.down
  end
  return text
end

local function file_of(migration)
  if migration.kind == "repeatable" then return "R__" .. migration.version .. ".sql" end
  if migration.kind == "baseline" then return ("B%s__%s.sql"):format(migration.version, migration.name) end
  local form = migration.version:find(".", 1, true) and "V%s__%s.sql" or "%s_%s.sql"
  return form:format(migration.version, migration.name)
end

local function render(dir, list, problems)
  local files = {}
  for _, migration in ipairs(list) do
    local name = file_of(migration)
    if not migration.up then
      problems[#problems + 1] = { file = name, message = "has no way there, or an empty one" }
    elseif not filename.read(name) then
      problems[#problems + 1] = { file = name, message = "would be no name of a migration here" }
    else
      files[#files + 1] = { path = dir .. "/" .. name, text = text_of(migration) }
    end
  end
  return files
end

-- ---- files --------------------------------------------------------------------------------------------------

local function remove(files, count)
  for i = 1, count do os.remove(files[i].path) end
end

local function write(files)
  for _, file in ipairs(files) do
    if lfs.attributes(file.path) then
      return nil, errors.new("migration_file", file.path .. " is there already", { hint = "import into a new folder" })
    end
  end
  for i, file in ipairs(files) do
    local handle, why = io.open(file.path, "wb")
    if not handle then
      remove(files, i - 1)
      return nil, errors.new("migration_file", why)
    end
    handle:write(file.text)
    handle:close()
  end
  return true
end

-- What our loader says to them; without its consent they are gone again.
local function write_and_load(dir, files, options)
  if lfs.attributes(dir, "mode") ~= "directory" then
    local made, why = lfs.mkdir(dir)
    if not made then return nil, errors.new("migration_file", ("%s cannot be made: %s"):format(dir, why)) end
  end
  local ok, err = write(files)
  if not ok then return nil, err end
  local list, problems = load.load(dir, { ignore = options.ignore })
  if list then return list end
  remove(files, #files)
  return nil, failure.invalid(problems)
end

-- What the planner will say to those that are still to run: that is for people to change.
local function notes_of(list, rows)
  local values = {}
  for _, migration in ipairs(list) do
    for _, name in ipairs(migration.vars) do values[name] = "any" end
  end
  local _, problems = plan.make(list, rows, { phase = "all", values = values, allow_out_of_order = true })
  return problems or {}
end

-- ---- history ------------------------------------------------------------------------------------------------

local function read_history(q, reader, name, list)
  local is_there, err = q:query_value("select to_regclass($1) is not null", name)
  if err then return nil, err end
  if not is_there then
    return nil, errors.new("migration_refused", ("there is no table %s in this database"):format(name),
      { hint = "--table names another; --files leaves the history out" })
  end
  return reader.history(q, name, list)
end

-- Rows of the other tool against our files: each has one, and nothing is half done.
local function match(rows, list)
  local index, problems, out = {}, {}, {}
  for _, migration in ipairs(list) do
    index[migration.kind .. (order.id_of(migration) or order.id(migration.version))] = migration
  end
  for _, row in ipairs(rows) do
    local id = row.kind == "repeatable" and "R__" .. row.version or row.version
    local migration = index[row.kind .. order.id(id)]
    if not row.fine then
      problems[#problems + 1] = {
        message = ("%s has failed or is dirty: clear that with the old tool first"):format(id),
      }
    elseif migration then
      out[#out + 1] = { migration = migration, at = row.at }
    elseif row.kind == "versioned" then
      problems[#problems + 1] = { message = ("%s is applied, but has no file"):format(id) }
    end
  end
  if #problems > 0 then return nil, failure.invalid(problems) end
  return out
end

local function write_row(s, tx, item)
  local migration = item.migration
  local step = { kind = migration.kind, version = migration.version, name = migration.name, migration = migration }
  local row, why = record.row(s, step, { state = "applied" })
  if not row then return nil, failure.failed({ step = step, part = "down" }, { message = why }) end
  local ok, err = history.write(tx, s.place, row)
  if not ok or not item.at then return ok, err end
  return tx:execute(([[
    update %s set applied_at = $1::text::timestamptz where tenant = $2 and kind = $3 and version = $4]])
    :format(s.place.migrations), item.at, s.place.tenant, migration.kind, migration.version)
end

local function write_history(s, items, tool)
  local ok, err = s:lock()
  if ok then ok, err = tables.ensure(s.conn, s.place) end
  local rows
  if ok then rows, err = history.read(s.conn, s.place) end
  if not rows then return nil, err end
  if #rows > 0 then
    return nil, errors.new("migration_refused", "this database has a history of luphant already")
  end
  return s.conn:transaction(function(tx)
    for _, item in ipairs(items) do
      local done, why = write_row(s, tx, item)
      if not done then return nil, why end
    end
    return history.tell(tx, s.place, {
      action = "import", run_id = s.run_id, reason = s.options.reason, detail = { from = tool, migrations = #items },
    })
  end)
end

-- ---- the whole ----------------------------------------------------------------------------------------------

local function import_history(q, reader, list, ours, options)
  local rows, err = read_history(q, reader, options.table or reader.table, list)
  if not rows then return nil, err end
  local items
  items, err = match(rows, ours)
  if not items then return nil, err end
  local ok
  ok, err = run.with_session(q, options, 2, function(s) return write_history(s, items, options.from) end)
  if not ok then return nil, err end
  return items
end

--- Imports.
---@param q table? nil: the files alone
---@param source string folder of the other tool; of lapis the module
---@param dir string ours
---@param options table as border.lua checks them: `from`, `table`
---@return { files: string[], applied: integer, notes: luphant.migrate.Problem[] }?
---@return luphant.error?
function M.import(q, source, dir, options)
  local reader = READERS[options.from]
  local list, problems = reader.read(source)
  local files = render(dir, list, problems)
  if #problems > 0 then return nil, failure.invalid(problems) end
  local ours, err = write_and_load(dir, files, options)
  if not ours then return nil, err end
  local items = {}
  if q then
    items, err = import_history(q, reader, list, ours, options)
    if not items then
      remove(files, #files)
      return nil, err
    end
  end
  local paths, past = {}, {}
  for i, file in ipairs(files) do paths[i] = file.path end
  for i, item in ipairs(items) do
    local migration = item.migration
    past[i] = {
      kind = migration.kind, version = migration.version, name = migration.name, checksum = migration.checksum,
    }
  end
  return { files = paths, applied = #items, notes = notes_of(ours, past) }
end

return M
