-- luphant.migrate.backup - a pg_dump of the database before a run, and the proof that it can be restored.
--
-- The program that called stands still meanwhile, event loops too: this is for the command line and for jobs.
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"
local errors = require "luphant.errors"
local programs = require "luphant.migrate.programs"
local tables = require "luphant.migrate.tables"

local M = {}

local quote, shell, SERVICE = programs.quote, programs.shell, programs.SERVICE

local function failed(what, output)
  return nil, errors.new("migration_backup", ("%s: %s; nothing was run"):format(what, output))
end

-- ---- dump and proof -----------------------------------------------------------------------------------------

local function size_of(path)
  local file = io.open(path, "rb")
  local size = file and file:seek "end"
  if file then file:close() end
  return size
end

local function dump(prefix, path, options)
  local words = { prefix .. "pg_dump --format=custom --no-password --file=" .. quote(path) }
  for _, name in ipairs(options.tables or {}) do words[#words + 1] = "--table=" .. quote(name) end
  words[#words + 1] = "--dbname=" .. quote("service=" .. SERVICE)
  local ok, output = shell(table.concat(words, " "))
  if not ok then return failed("pg_dump failed", output) end
  ok, output = shell("pg_restore --list " .. quote(path))
  if not ok then return failed("the backup cannot be read", output) end
  local entries = 0
  for line in (output .. "\n"):gmatch "([^\n]*)\n" do
    if line:find "^%d+;" then entries = entries + 1 end
  end
  return entries
end

-- A dump of some tables has neither their schemas nor their types: what stands there without rows goes ahead of it.
local function restore_command(prefix, name, path, options)
  local target = ("pg_restore --exit-on-error --no-password --dbname=%s"):format(
    quote(("service=%s dbname=%s"):format(SERVICE, name)))
  if not options.tables then return ("%s%s %s"):format(prefix, target, quote(path)) end
  local frame = ("%spg_dump --format=custom --section=pre-data --no-password --dbname=%s"):format(prefix,
    quote("service=" .. SERVICE))
  return ("%s | %s%s && %s%s --data-only %s"):format(frame, prefix, target, prefix, target, quote(path))
end

-- The whole backup into a database of its own, which is dropped afterwards.
local function restore(session, prefix, path, options)
  local name = "luphant_verify_" .. session.run_id:sub(1, 8)
  local ok, err = session.conn:script("create database " .. tables.quote(name) .. " template template0")
  if not ok then return nil, err end
  local fine, output = shell(restore_command(prefix, name, path, options))
  ok, err = session.conn:script("drop database " .. tables.quote(name))
  if not fine then return failed("the backup could not be restored into a database of its own", output) end
  if not ok then return nil, err end
  return true
end

local function name_of(session, dir)
  local stamp = os.date "!%Y%m%dT%H%M%SZ"
  local dbname = (session.conn:target().dbname or "database"):gsub("[^%w_-]", "_")
  return ("%s/%s-%s-%s.dump"):format(dir, dbname, stamp, session.run_id:sub(1, 8))
end

---@class (exact) luphant.migrate.BackupOptions
---@field dir? string where the file goes, default "."
---@field tables? string[]|"touched" only these (patterns of pg_dump), or those that the run works on; default all
---@field restore? boolean prove it by restoring it into a database of its own
---@field command? string takes it instead of pg_dump

---@class (exact) luphant.migrate.BackupTaken
---@field file string
---@field bytes? integer absent where a command took it
---@field entries? integer the same
---@field command? boolean
---@field seconds number
---@field restored boolean
---@field tables? string[]

-- A backup taken by whatever a command does: a snapshot of the storage, a dump to another machine. How to connect it
-- finds in its environment, as libpq does. The first line that it writes is the name that the history keeps.
local function by_command(session, command)
  local began = core.now()
  return programs.with_service(session.plan, function(prefix)
    local ok, output = shell(("%sPGSERVICE=%s sh -c %s"):format(prefix, SERVICE, quote(command)))
    if not ok then return failed("the command that was to take a backup failed", output) end
    return { file = output:match "^[^\n]*", command = true, seconds = core.now() - began, restored = false }
  end)
end

--- Takes a backup.
---@param session luphant.migrate.Session
---@param options luphant.migrate.BackupOptions
---@return luphant.migrate.BackupTaken?
---@return luphant.error?
function M.take(session, options)
  if options.command then return by_command(session, options.command) end
  local path, began = name_of(session, options.dir or "."), core.now()
  return programs.with_service(session.plan, function(prefix)
    local entries, err = dump(prefix, path, options)
    if not entries then return nil, err end
    if options.restore then
      local ok
      ok, err = restore(session, prefix, path, options)
      if not ok then return nil, err end
    end
    return {
      file = path, bytes = size_of(path), entries = entries, seconds = core.now() - began,
      restored = options.restore == true, tables = options.tables,
    }
  end)
end

return M
