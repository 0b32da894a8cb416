-- conninfo/password.lua - where a connection's password comes from: a literal, a function, a file.
--
-- Every source becomes a function(info) -> password | nil, err that the connection calls when it
-- dials, and only then. Literals hide in a closure too, so that dumping settings shows no secret.
-- Nothing here keeps a password longer than the call, prints one, or puts one into a message.
-- PGPASSWORD and pass files stay with libpq: without a source nothing is passed.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"
local errors = require "luphant.errors"

local password = {}

local MAX_FILE = 64 * 1024 -- tokens of cloud providers run to some kilobytes; a bigger file is a mistake

-- A file that cannot be used is bad configuration; a function that gives nothing is a login without
-- a password, and may do better next time.
local function bad_file(message) return nil, errors.new("config", message) end
local function no_password(message, cause) return nil, errors.new("auth", message, { cause = cause }) end

local function problem_of(secret)
  if secret == "" then return "is empty" end
  if secret:find("\0", 1, true) then return "holds a NUL byte, which no password can" end
end

--- A password that is known already.
---@param secret string
---@return fun(): string
function password.literal(secret)
  return function() return secret end
end

--- A password that `fn` gives for each new connection. It gets a table with host, port, dbname and
--- user (as far as they were given) and answers a string, or nil and a reason.
---@param fn fun(info: table): string|nil, any
---@return fun(info: table): string|nil, luphant.error|nil
function password.from_function(fn)
  return function(info)
    local ok, secret, reason = pcall(fn, compat.copy(info))
    if not ok then return no_password("the password function raised an error", secret) end
    if secret == nil then return no_password("the password function gave no password", reason) end
    if type(secret) ~= "string" then
      return no_password(("the password function must give a string, it gave a %s"):format(type(secret)))
    end
    local problem = problem_of(secret)
    if problem then return no_password("what the password function gave " .. problem) end
    return secret
  end
end

-- Any permission for group or world is refused, as libpq does with its pass file.
local function mode_problem(path, facts)
  local mode, why = facts.file_mode(path)
  if not mode then return ('password_file "%s" cannot be read: %s'):format(path, why or "no such file") end
  if mode % 64 ~= 0 then
    return ('password_file "%s" is open to its group or to everybody (mode %04o); chmod 600 makes it private')
      :format(path, mode % 4096)
  end
end

local function read(path, facts)
  local file, why = facts.open(path, "rb")
  if not file then return nil, why end
  local text, reason = file:read(MAX_FILE + 1)
  file:close()
  if not text and reason then return nil, reason end
  return text or "" -- nil without a reason: the file ended at once
end

--- A password that is the content of a file, read anew for each connection. One trailing newline
--- is cut. `facts` has file_mode(path) -> mode | nil, message and open (io.open).
---@param path string
---@param facts table
---@return fun(): string|nil, luphant.error|nil
function password.from_file(path, facts)
  return function()
    local problem = mode_problem(path, facts)
    if problem then return bad_file(problem) end
    local text, why = read(path, facts)
    if not text then return bad_file(('password_file "%s" cannot be read: %s'):format(path, why)) end
    if #text > MAX_FILE then
      return bad_file(('password_file "%s" is longer than %d bytes'):format(path, MAX_FILE))
    end
    local secret = text:gsub("\r?\n$", "")
    problem = problem_of(secret)
    if problem then return bad_file(('password_file "%s" %s'):format(path, problem)) end
    return secret
  end
end

return password
