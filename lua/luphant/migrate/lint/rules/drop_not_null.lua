-- lint rule drop-not-null: values that readers do not expect.
--
-- SPDX-License-Identifier: MIT

return {
  name = "drop-not-null", severity = "warning", group = "compatibility", exempts_new = true,
  claims = { mode = "AccessExclusiveLock" },
  title = "DROP NOT NULL",
  message = "lets {column} of {table} be NULL, which programs of the last release do not expect",
  why = [[Whoever reads the column may take its value for granted. Release the readers that know better first, then
the change, then the writers that use it.]],
  safe = "-- migrate:up phase:contract\n{statement};",
  bad = "alter table orders alter column number drop not null;",
  actions = {
    drop_not_null = function(action, _, ctx, report)
      if ctx.migration.phase ~= "contract" then report({}, action) end
    end,
  },
}
