-- lint rule second-table-under-lock: two tables in use locked in one transaction.
--
-- SPDX-License-Identifier: MIT

local locks = require "luphant.migrate.lint.locks"

-- The first lock held on another table; nil when this table is held already, for then nothing is waited for.
local function other_held(ctx, relation)
  local other
  for _, held in ipairs(ctx.held) do
    if held.lock.relation.name == relation.name then return nil end
    other = other or held
  end
  return other
end

return {
  name = "second-table-under-lock", severity = "warning", group = "locks", exempts_new = true,
  title = "A second table locked in the same transaction",
  message = "waits for a lock on {second} while {first} stays locked (line {line})",
  why = [[Locks are kept until the transaction ends. While this statement waits for the second table, everybody who
needs the first one waits as well; and whoever locks the two the other way round makes a deadlock of it.]],
  safe = { "{first_statement};", "{statement};" },
  bad = "alter table orders add column weight integer;\nalter table customers add column size integer;",
  statements = {
    ["*"] = function(_, ctx, report)
      for _, lock in ipairs(ctx:live_locks(ctx.item.ddl)) do
        local held = locks.is_strong(lock.mode) and other_held(ctx, lock.relation)
        if held then
          report {
            first = held.lock.relation.text, second = lock.relation.text, line = held.item.statement.line,
            first_statement = held.item.statement.sql,
          }
          return
        end
      end
    end,
  },
}
