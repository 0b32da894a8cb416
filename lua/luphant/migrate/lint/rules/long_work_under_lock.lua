-- lint rule long-work-under-lock: a table kept locked while something else takes its time.
--
-- SPDX-License-Identifier: MIT

local WORK = { rewrite = "writes {what} again", scan = "reads all of {what}", build = "builds an index on {what}" }
local locks = require "luphant.migrate.lint.locks"

return {
  name = "long-work-under-lock", severity = "error", group = "locks",
  title = "Long work while a lock is held",
  message = "{does} while {locked} is still locked (line {line})",
  why = [[A lock lives until the transaction ends. What would have been a moment's lock becomes one as long as this
statement takes.]],
  safe = { "{first_statement};", "{statement};" },
  bad = "alter table orders add column weight integer;\n"
    .. "alter table customers validate constraint customers_country_check;",
  setup = "alter table customers add constraint customers_country_check check (country <> '') not valid;",
  statements = {
    ["*"] = function(ddl, ctx, report)
      if ddl.verb == "update" or ddl.verb == "delete" or ddl.verb == "merge" then return end -- data-change-under-lock
      for _, lock in ipairs(ctx:live_locks(ddl)) do
        local held = ctx.held[1]
        local names = lock.relation.text
        -- Work under a strong lock of its own has a rule of its own.
        local is_own = held and locks.is_strong(lock.mode) and lock.relation.name == held.lock.relation.name
        if lock.work and held and not is_own then
          -- VALIDATE of what the same transaction added is told by validate-in-same-transaction.
          if held.lock.relation.name == lock.relation.name and ddl.actions[1]
            and ddl.actions[1].kind == "validate_constraint" and #ctx.held == 1 then return end
          report {
            does = WORK[lock.work]:gsub("{what}", names), locked = held.lock.relation.text,
            line = held.item.statement.line, first_statement = held.item.statement.sql,
          }
          return
        end
      end
    end,
  },
}
