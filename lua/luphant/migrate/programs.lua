-- luphant.migrate.programs - the programs of PostgreSQL (pg_dump, pg_restore), called so that no secret is seen.
--
-- They get where to connect from a service file that only this user can read and that is gone afterwards: a password
-- never stands in a command line. They run as processes of their own, and who called stands still meanwhile.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"
local errors = require "luphant.errors"

local M = {}

local SERVICE = "luphant_migrate"
M.SERVICE = SERVICE
-- What belongs to this client, or to the session that runs migrations.
local NOT_PASSED = {
  application_name = true, client_encoding = true, fallback_application_name = true, password = true,
}

--- One word for a POSIX shell.
---@param word string
---@return string
local function quote(word) return "'" .. word:gsub("'", [['\'']]) .. "'" end

--- Runs a command: was it fine, and what it wrote.
---@param command string
---@return boolean
---@return string
local function shell(command)
  -- The exit code travels in the output, because Lua 5.1 does not give that of a pipe.
  local pipe = io.popen("( umask 077; " .. command .. "\n) </dev/null 2>&1; printf '\\n%d' $?", "r")
  local all = pipe and pipe:read "*a" or ""
  if pipe then pipe:close() end
  local output, code = all:match "^(.*)\n(%d+)$"
  return code == "0", ((output or all):gsub("%s+$", ""))
end
M.quote, M.shell = quote, shell

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

--- Calls fn with the beginning of a command line that knows where to connect; in it the database is "service=" and
--- M.SERVICE.
---@param plan luphant.dial.plan
---@param fn fun(prefix: string): any, luphant.error?
function M.with_service(plan, fn)
  if plan.params.service then
    return nil, errors.new("config", "pg_dump cannot be sent through a service: give the address itself")
  end
  local text, err = service_text(plan)
  if not text then return nil, err end
  local made, path = shell "mktemp"
  if not made then return nil, errors.new("migration_program", "no temporary file could be made: " .. path) end
  local ok, why = write(path, text)
  local fine, answer, reason = true, nil, why
  if ok then fine, answer, reason = pcall(fn, "PGSERVICEFILE=" .. quote(path) .. " ") end
  os.remove(path)
  if not fine then error(answer, 0) end
  return answer, reason
end

return M
