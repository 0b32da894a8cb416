-- lint rule set-not-null: every row is read while nobody can even read.
--
-- SPDX-License-Identifier: MIT

return {
  name = "set-not-null", severity = "error", group = "locks", exempts_new = true,
  claims = { mode = "AccessExclusiveLock", work = "scan" },
  title = "SET NOT NULL",
  message = "reads all of {table} for a NULL in {column} while it is locked for everybody",
  why = [[ACCESS EXCLUSIVE is held for a scan of the whole table. When a valid CHECK says the same already, the scan
is left out, and a CHECK can be validated while others read and write.]],
  safe = {
    "alter table {table} add constraint {bare}_{column}_not_null check ({column} is not null) not valid;",
    "alter table {table} validate constraint {bare}_{column}_not_null;",
    [[
alter table {table} alter column {column} set not null;
alter table {table} drop constraint {bare}_{column}_not_null;
]] },
  bad = "alter table orders alter column status set not null;",
  actions = {
    set_not_null = function(action, ddl, ctx, report)
      if not ctx.known:proves_not_null(ddl.table, action.column or "") then report({}, action) end
    end,
  },
}
