-- transaction/hooks.lua - what shall happen before COMMIT, and after the end, whatever it is.
--
--   before_commit   in order, before COMMIT leaves; may run statements; a failure makes it a rollback
--   after_commit    once the server has answered COMMIT
--   after_rollback  once the transaction, or the savepoint it was registered in, is undone
--   after_unknown   the outcome is not known (commit_unknown), or a statement inside took the end into its own hands
--
-- Hooks of a savepoint that did its work become those of the level above; those of one that was undone are
-- forgotten, but for its after_rollback, which run. What an after_ hook raises can change nothing any more:
-- it is reported, never raised.
--
-- SPDX-License-Identifier: MIT

local observers = require "luphant.hooks"

local hooks = {}

local KINDS = { "before_commit", "after_commit", "after_rollback", "after_unknown" }

--- Calls `fn`; what it raises is reported.
function hooks.contained(conn, where, fn, ...)
  observers.contained(conn.settings, where, fn, ...)
end

---@param tx luphant.transaction
---@param kind string
---@param fn function
function hooks.add(tx, kind, fn)
  local all = tx.hooks
  if not all then
    all = {}
    tx.hooks = all
  end
  local list = all[kind]
  if not list then
    list = {}
    all[kind] = list
  end
  list[#list + 1] = fn
end

--- The hooks of a savepoint that did its work go to the level above.
function hooks.hand_over(tx, parent)
  if not tx.hooks then return end
  for _, kind in ipairs(KINDS) do
    for _, fn in ipairs(tx.hooks[kind] or {}) do hooks.add(parent, kind, fn) end
  end
  tx.hooks = nil
end

--- Runs the before_commit hooks, also those that they register. Answers why there must be no COMMIT, or nil; raises
--- what a hook raises.
function hooks.before_commit(tx)
  local list = tx.hooks and tx.hooks.before_commit
  if not list then return nil end
  local i = 1
  while list[i] do
    local fn = list[i]
    i = i + 1
    local result, why = fn(tx)
    if result == nil and why ~= nil then return why end
  end
  tx.hooks.before_commit = nil -- once, whoever asks
end

--- Runs the hooks of an end that has come.
---@param tx luphant.transaction
---@param kind "after_commit"|"after_rollback"|"after_unknown"
function hooks.after(tx, kind, ...)
  if not tx.hooks then return end
  local list = tx.hooks[kind]
  tx.hooks = nil
  for _, fn in ipairs(list or {}) do hooks.contained(tx.conn, kind, fn, tx, ...) end
end

return hooks
