-- cli/migrate/ending.lua - where the verbs of `luphant migrate` connect to, and how they end: one table of exit codes
-- and one form of errors for all of them.
--
--   0  done, or nothing to do          5  findings: of the linter, of `test`; `up` was refused for them
--   1  a migration or the database     6  another runner holds the lock
--      failed, and nothing was applied 7  stopped half-way: some were applied, or one is half done
--   2  wrong use or configuration      130  interrupted by Ctrl-C; 143 by SIGTERM, 129 by SIGHUP
--   3  pending (status --exit-code, check)
--   4  files and history do not fit together, or are not what was reviewed, or the database is not what they say
--
-- SPDX-License-Identifier: MIT

local json = require "luphant.cli.migrate.json"
local luphant = require "luphant"
local signals = require "luphant.cli.signals"

local M = {}

M.OK, M.FAILED, M.USAGE, M.PENDING, M.INTEGRITY, M.FINDINGS, M.LOCKED, M.HALF_WAY = 0, 1, 2, 3, 4, 5, 6, 7

local OF_KIND = {
  migration_invalid = M.INTEGRITY, migration_moved = M.INTEGRITY, migration_locked = M.LOCKED,
  migration_pooler = M.USAGE, config = M.USAGE, migration_behind = M.PENDING, migration_protected = M.USAGE,
  migration_hazard = M.FINDINGS,
}

--- The exit code that belongs to an error.
---@param err luphant.error
---@return integer
function M.code(err)
  local cause = err.kind == "migration_tenants" and err.cause or err
  if cause.kind == "migration_interrupted" then return signals.code() end
  if OF_KIND[err.kind] then return OF_KIND[err.kind] end
  if err.half_done or (err.done and #err.done > 0) then return M.HALF_WAY end
  return M.FAILED
end

--- Tells an error in the form that was asked for, and answers its exit code.
---@param args table
---@param env luphant.cli.env
---@param err luphant.error
---@return integer
function M.report(args, env, err)
  if args.json then
    json.write(env, { event = "error", schema_version = json.VERSION, error = json.error(err) })
  else
    env.err:write("luphant migrate: ", tostring(err), "\n")
  end
  return M.code(err)
end

--- Tells a misuse that no parser could see.
---@param args table
---@param env luphant.cli.env
---@param message string
---@return integer
function M.misuse(args, env, message)
  if args.json then
    json.write(env, {
      event = "error", schema_version = json.VERSION, error = { kind = "usage", class = "usage", message = message },
    })
  else
    env.err:write("luphant migrate: ", message, "\n")
  end
  return M.USAGE
end

--- Where the database is: the option, LUPHANT_MIGRATION_URL, DATABASE_URL, the PG* variables of a file, or nil for
--- those of libpq.
---@param args table
---@param env luphant.cli.env
---@return string|table|nil
function M.url(args, env)
  local function filled(text) return text ~= "" and text or nil end
  return args.database or filled(env.getenv "LUPHANT_MIGRATION_URL") or filled(env.getenv "DATABASE_URL")
    or env.target
end

--- `fn(conn)` with a connection to it, closed afterwards; answers what fn does, or reports why there is none.
---@param args table
---@param env luphant.cli.env
---@param fn fun(conn: luphant.connection): integer
---@return integer exit_code
function M.connected(args, env, fn)
  local conn, err = luphant.connect(M.url(args, env))
  if not conn then return M.report(args, env, err) end
  local fine, code = pcall(fn, conn)
  conn:close()
  if not fine then error(code, 0) end
  return code
end

return M
