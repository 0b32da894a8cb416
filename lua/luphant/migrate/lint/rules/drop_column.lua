-- lint rule drop-column: a column that running programs still ask for.
--
-- SPDX-License-Identifier: MIT

return {
  name = "drop-column", severity = "error", group = "compatibility", exempts_new = true,
  claims = { mode = "AccessExclusiveLock" },
  title = "DROP COLUMN outside of the contract phase",
  message = "drops {column} of {table} while programs of the last release still run",
  why = [[Until the last old process is gone somebody asks for the column and gets an error; so does every cached
plan of SELECT *. And the data is gone. First release a program that does not know the column, then drop it, in a
migration with phase:contract, which runs after the deployment.]],
  safe = "-- migrate:up phase:contract\n{statement};",
  bad = "alter table orders drop column note;",
  actions = {
    drop_column = function(action, _, ctx, report)
      if ctx.migration.phase ~= "contract" then report({}, action) end
    end,
  },
}
