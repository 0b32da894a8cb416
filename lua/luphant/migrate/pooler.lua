-- luphant.migrate.pooler - is there something between here and the server that changes server sessions?
--
-- Behind a pooler in transaction mode a session lock belongs to whoever gets that server session next. That is found by
-- what it does: two connections of ours, open at once, must be two sessions on the server. A pooler in session mode
-- does no harm.
--
-- SPDX-License-Identifier: MIT

local errors = require "luphant.errors"

local M = {}

local PROBE_TIMEOUT = 3 -- in session mode a pooler may have no second session for us
local PROBES = 3

--- The error for such a pooler.
---@return luphant.error
function M.refusal()
  return errors.new("migration_pooler",
    "a pooler in transaction mode stands between here and the server: a lock taken through it belongs to nobody", {
      hint = "give migrations the address of the server itself: LUPHANT_MIGRATION_URL, --database, or the option url",
    })
end

local function pid_in_transaction(conn)
  return conn:transaction(function(tx) return tx:query_value "select pg_backend_pid()" end)
end

local function is_shared(conn, pid, other)
  for _ = 1, PROBES do
    local theirs = pid_in_transaction(other)
    if theirs == pid or conn:query_value "select pg_backend_pid()" ~= pid then return true end
    if not theirs then return false end
  end
  return false
end

--- Refuses a pooler in transaction mode.
---@param conn luphant.connection
---@param pid integer of its server process, as the server says
---@param dial fun(timeout: number): luphant.connection?, luphant.error?
---@return true?
---@return luphant.error?
function M.check(conn, pid, dial)
  -- The process id told at connecting is a pooler's invention when there is one.
  if conn:backend_pid() == pid then return true end
  local other, err = dial(PROBE_TIMEOUT)
  if not other then return nil, err end
  local shared = is_shared(conn, pid, other)
  other:close()
  if shared then return nil, M.refusal() end
  return true
end

return M
