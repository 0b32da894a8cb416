-- lint rule validate-in-same-transaction: the strong lock kept while all rows are read.
--
-- SPDX-License-Identifier: MIT

return {
  name = "validate-in-same-transaction", severity = "error", group = "locks", exempts_new = true,
  claims = { mode = "AccessExclusiveLock", work = "scan" },
  title = "VALIDATE in the transaction that added the constraint",
  message = "validates {constraint} while the lock that added it is still held",
  why = [[VALIDATE alone lets others read and write. In the transaction that added the constraint it runs under the
lock of ADD CONSTRAINT, so nothing has been gained by NOT VALID.]],
  safe = {
    "alter table {table} add constraint {constraint} {definition};",
    "alter table {table} validate constraint {constraint};" },
  bad = [[
alter table orders add constraint orders_total_positive check (total > 0) not valid;
alter table orders validate constraint orders_total_positive;
]],
  actions = {
    validate_constraint = function(action, ddl, ctx, report)
      if not ctx.in_transaction then return end
      for i = 1, ctx.item.index do
        local other = ctx.items[i].ddl
        for _, earlier in ipairs(other.what == "alter table" and other.actions or {}) do
          local added = earlier.constraint
          if added and added.name == action.name and other.table.name == ddl.table.name then
            local text = earlier.text:gsub("^%a+%s+%a+%s+%S+%s+", "")
            report({ definition = text }, action)
          end
        end
      end
    end,
  },
}
