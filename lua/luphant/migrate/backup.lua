-- luphant.migrate.backup - a pg_dump of the database before a run, and the proof that it can be restored.
--
-- The programs of PostgreSQL get where to connect from a service file that only this user can read and that is gone
-- afterwards: a password never stands in a command line. They run as processes of their own, and the program that
-- called stands still meanwhile, event loops too: this is for the command line and for jobs.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"
local core = require "luphant.core"
local errors = require "luphant.errors"
local tables = require "luphant.migrate.tables"

local M = {}

local SERVICE = "luphant_migrate"
-- What belongs to this client, or to the session that runs migrations.
local NOT_PASSED = {
  application_name = true, client_encoding = true, fallback_application_name = true, password = true,
}

local function quote(word) return "'" .. word:gsub("'", [['\'']]) .. "'" end

-- The exit code travels in the output, because Lua 5.1 does not give that of a pipe.
local function shell(command)
  local pipe = io.popen("( umask 077; " .. command .. "\n) </dev/null 2>&1; printf '\\n%d' $?", "r")
  local all = pipe and pipe:read "*a" or ""
  if pipe then pipe:close() end
  local output, code = all:match "^(.*)\n(%d+)$"
  return code == "0", ((output or all):gsub("%s+$", ""))
end

local function failed(what, output)
  return nil, errors.new("migration_backup", ("%s: %s; nothing was run"):format(what, output))
end

-- ---- where to connect ---------------------------------------------------------------------------------------

local function password_of(plan)
  local params, given = plan.params, plan.settings.password
  if given then
    return given { host = params.host, port = params.port, dbname = params.dbname, user = params.user }
  end
  return params.password
end

local function service_text(plan)
  local lines = { "[" .. SERVICE .. "]" }
  local password, err = password_of(plan)
  if err then return nil, err end
  local function add(keyword, value)
    if value:find "[\r\n]" then return nil end
    lines[#lines + 1] = keyword .. "=" .. value
    return true
  end
  for _, keyword in ipairs(compat.sorted_keys(plan.params)) do
    if not NOT_PASSED[keyword] and not add(keyword, plan.params[keyword]) then
      return nil, errors.new("config", keyword .. " has a line break, which no service file can hold")
    end
  end
  if password then add("password", password) end
  return table.concat(lines, "\n") .. "\n"
end

local function write(path, text)
  local file, why = io.open(path, "wb")
  if not file then return nil, why end
  file:write(text)
  file:close()
  return true
end

-- Calls fn with the beginning of a command line that knows where to connect.
local function with_service(plan, fn)
  if plan.params.service then
    return nil, errors.new("config", "a backup cannot be taken through a service: give the address itself")
  end
  local text, err = service_text(plan)
  if not text then return nil, err end
  local made, path = shell "mktemp"
  if not made then return failed("no temporary file could be made", path) end
  local ok, why = write(path, text)
  local fine, answer, reason = true, nil, why
  if ok then fine, answer, reason = pcall(fn, "PGSERVICEFILE=" .. quote(path) .. " ") end
  os.remove(path)
  if not fine then error(answer, 0) end
  return answer, reason
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

-- The whole backup into a database of its own, which is dropped afterwards.
local function restore(session, prefix, path)
  local name = "luphant_verify_" .. session.run_id:sub(1, 8)
  local ok, err = session.conn:script("create database " .. tables.quote(name) .. " template template0")
  if not ok then return nil, err end
  local fine, output = shell(("%spg_restore --exit-on-error --no-password --dbname=%s %s"):format(prefix,
    quote(("service=%s dbname=%s"):format(SERVICE, name)), quote(path)))
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
---@field tables? string[] only these (patterns of pg_dump), default the whole database
---@field restore? boolean prove it by restoring it into a database of its own

--- Takes a backup.
---@param session luphant.migrate.Session
---@param options luphant.migrate.BackupOptions
---@return { file: string, bytes: integer, entries: integer, seconds: number, restored: boolean }?
---@return luphant.error?
function M.take(session, options)
  local path, began = name_of(session, options.dir or "."), core.now()
  return with_service(session.plan, function(prefix)
    local entries, err = dump(prefix, path, options)
    if not entries then return nil, err end
    if options.restore then
      local ok
      ok, err = restore(session, prefix, path)
      if not ok then return nil, err end
    end
    return {
      file = path, bytes = size_of(path), entries = entries, seconds = core.now() - began,
      restored = options.restore == true,
    }
  end)
end

return M
