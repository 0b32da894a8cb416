-- luphant.migrate.tools - the other half of the door: what stands around running migrations.
--
-- Checks what callers give and hands on, like init.lua, which makes these functions its own.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local border = require "luphant.migrate.border"
local check = require "luphant.migrate.check"
local draft = require "luphant.migrate.draft"
local drift = require "luphant.migrate.drift"
local dump = require "luphant.migrate.dump"
local environment = require "luphant.migrate.environment"
local errors = require "luphant.errors"
local import = require "luphant.migrate.import"
local luphant = require "luphant"
local new = require "luphant.migrate.new"
local restore = require "luphant.migrate.restore"
local seed = require "luphant.migrate.seed"
local session = require "luphant.migrate.session"
local squash = require "luphant.migrate.squash"

local M = {}

-- A URL gets a connection for the time of the call.
local function connected(db, fn)
  if type(db) ~= "string" then return fn(db) end
  local conn, err = luphant.connect(db)
  if not conn then return nil, err end
  local fine, answer, why = pcall(fn, conn)
  conn:close()
  if not fine then error(answer, 0) end
  return answer, why
end

-- ---- files --------------------------------------------------------------------------------------------------

local function drafted(dir, name, opts)
  local options = border.options("new_from_diff", opts, 3)
  if options.style == "lua" or options.repeatable then error("a draft is in SQL, and has a version", 3) end
  local err
  options.draft, err = draft.draft(dir, options)
  if not options.draft then return nil, err end
  local made
  made, err = new.new(dir, name, options)
  if made then made.left = options.draft.left end
  return made, err
end

--- Writes a new migration with the next version from a template. Needs no database, but for `from_diff`: then it is a
--- draft of what makes the schema of the files like that database, and `left` tells what it lacks.
---@param dir string made when missing
---@param name string what it does, in words
---@param opts? luphant.migrate.NewOptions
---@return { version: string, name: string, kind: string, files: string[], left?: string[] }? made
---@return luphant.error? err kind "migration_file"
function M.new(dir, name, opts)
  args.argument(dir, "string", 1, "new")
  args.argument(name, "string", 2, "new")
  if opts and opts.from_diff then return drafted(dir, name, opts) end
  return new.new(dir, name, border.options("new", opts, 2))
end

--- Takes over the files of another tool, and with a database what its history says is applied.
---@param db any a pool, a connection, a URL; nil for the files alone
---@param source string its folder; of lapis the file of the module
---@param dir string ours; made when missing
---@param opts { from: string, table?: string }
---@return { files: string[], applied: integer, notes: luphant.migrate.Problem[] }?
---@return luphant.error?
function M.import(db, source, dir, opts)
  if db ~= nil then border.target(db, "import", 2) end
  args.argument(source, "string", 2, "import")
  args.argument(dir, "string", 3, "import")
  local options = border.options("import", opts, 2)
  if not options.from then error('import needs the tool: { from = "dbmate" }', 2) end
  return connected(db, function(q) return import.import(q, source, dir, options) end)
end

--- Everything a merge request has to know: is the folder in order, does it fit the history, what is pending, has
--- somebody changed the schema beside it? Without a database only the files are judged.
---@param db any a pool, a connection, a URL; nil
---@param dir string
---@param opts? table
---@return luphant.migrate.Report?
---@return luphant.error?
function M.check(db, dir, opts)
  if db ~= nil then border.target(db, "check", 2) end
  args.argument(dir, "string", 2, "check")
  local options = border.options("check", opts, 2)
  return connected(db, function(q) return check.check(q, dir, options) end)
end

-- ---- schemas ------------------------------------------------------------------------------------------------

--- What is different in a database from what its migrations have made.
---@param db any a pool, a connection, a URL
---@param dir string
---@param opts? table
---@return luphant.migrate.Drift?
---@return luphant.error?
function M.drift(db, dir, opts)
  border.target(db, "drift", 2)
  args.argument(dir, "string", 2, "drift")
  local options = border.options("drift", opts, 2)
  return connected(db, function(q) return drift.drift(q, dir, options) end)
end

--- Many migrations become one baseline.
---@param db any where scratch databases can be made: a pool, a connection, a URL
---@param dir string
---@param opts? { to?: string, name?: string, remove?: boolean }
---@return { file: string, version: string, migrations: integer, removed: string[] }?
---@return luphant.error?
function M.squash(db, dir, opts)
  border.target(db, "squash", 2)
  args.argument(dir, "string", 2, "squash")
  return squash.squash(db, dir, border.options("squash", opts, 2))
end

--- The schema of a database and what its history says is in it, as SQL. By pg_dump.
---@param db any a pool, a connection, a URL
---@param opts? { owners?: boolean, grants?: boolean }
---@return string?
---@return luphant.error?
function M.dump(db, opts)
  border.target(db, "dump", 2)
  local options = border.options("dump", opts, 2)
  local plan, err = session.plan_of(db, 2)
  if not plan then return nil, err end
  return connected(db, function(q) return dump.text(q, plan, options.place, options) end)
end

--- Makes a database of such a text. It has to be empty.
---@param db any a pool, a connection, a URL
---@param path string of the file
---@param opts? table
---@return { statements: integer, migrations: integer }?
---@return luphant.error?
function M.load_dump(db, path, opts)
  border.target(db, "load_dump", 2)
  args.argument(path, "string", 2, "load_dump")
  local options = border.options("load_dump", opts, 2)
  local handle, why = io.open(path, "rb")
  local text = handle and handle:read "*a"
  if handle then handle:close() end
  if not text then return nil, errors.new("migration_file", ("%s cannot be read: %s"):format(path, why)) end
  return connected(db, function(q) return restore.restore(q, text, path, options) end)
end

--- Runs the seeds of a folder: rows for development and tests. Refused in a protected environment.
---@param db any a pool, a connection, a URL
---@param dir string
---@param opts? table
---@return table[]? done
---@return luphant.error?
function M.seed(db, dir, opts)
  border.target(db, "seed", 2)
  args.argument(dir, "string", 2, "seed")
  local options = border.options("seed", opts, 2)
  return connected(db, function(q) return seed.seed(q, dir, options) end)
end

-- ---- environment --------------------------------------------------------------------------------------------

--- Which environment a database says it is, and whether it is protected. Creates nothing.
---@param db any a pool or a connection
---@param opts? { schema?: string }
---@return luphant.migrate.Environment?
---@return luphant.error?
function M.environment(db, opts)
  args.argument(db, "table", 1, "environment")
  return environment.read(db, border.options("place", opts, 2).place)
end

--- Says it, in the database itself.
---@param db any a pool or a connection
---@param name? string nil: as it was
---@param opts? { schema?: string, protected?: boolean }
---@return luphant.migrate.Environment?
---@return luphant.error?
function M.set_environment(db, name, opts)
  args.argument(db, "table", 1, "set_environment")
  if name ~= nil then args.argument(name, "string", 2, "set_environment") end
  local options = border.options("environment", opts, 2)
  return environment.set(db, options.place, name, options.protected)
end

return M
