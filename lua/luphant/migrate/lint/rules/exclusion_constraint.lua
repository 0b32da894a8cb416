-- lint rule exclusion-constraint: an index build with no concurrent way.
--
-- SPDX-License-Identifier: MIT

return {
  name = "exclusion-constraint", severity = "error", group = "locks", exempts_new = true,
  claims = { mode = "AccessExclusiveLock", work = "build" },
  title = "ADD EXCLUDE",
  message = "builds the index of an exclusion constraint on {table} while it is locked for everybody",
  why = [[There is neither NOT VALID nor USING INDEX for exclusion constraints: ACCESS EXCLUSIVE is held until the
index is complete and every pair of rows has been compared.]],
  advice = "On a small table, in a quiet hour. On a big one: a new table that has it from the start, filled in "
    .. " batches, and a change of names.",
  bad = "alter table orders add constraint orders_once exclude using btree (number with =);",
  actions = {
    add_constraint = function(action, _, _, report)
      if action.constraint.kind == "exclude" then report({}, action) end
    end,
  },
}
