-- lint rule data-change-under-lock: data changed while a definition is locked.
--
-- SPDX-License-Identifier: MIT

local CHANGES = { update = true, delete = true, merge = true, insert = true }

return {
  name = "data-change-under-lock", severity = "warning", group = "locks", exempts_new = true,
  title = "Data changed in the transaction of a DDL statement",
  message = "changes data of {table} while {locked} is still locked (line {line})",
  why = [[The lock of the DDL statement is kept through the change of data, which may take long. Changing the
definition first and the data in a migration of its own keeps both locks short.]],
  safe = { "{first_statement};", "{statement};" },
  bad = "alter table orders add column weight integer;\nupdate orders set weight = 0 where weight is null;",
  statements = {
    ["*"] = function(ddl, ctx, report)
      local held = ctx.held[1]
      if not CHANGES[ddl.verb] or not held or (ddl.verb == "insert" and not ddl.is_query) then return end
      report {
        locked = held.lock.relation.text, line = held.item.statement.line, first_statement = held.item.statement.sql,
      }
    end,
  },
}
