-- lint rule check-without-not-valid: a constraint checked against every row, at once.
--
-- SPDX-License-Identifier: MIT

return {
  name = "check-without-not-valid", severity = "error", group = "locks", exempts_new = true,
  claims = { mode = "AccessExclusiveLock", work = "scan" },
  title = "ADD CHECK without NOT VALID",
  message = "checks every row of {table} while it is locked for everybody",
  why = [[ACCESS EXCLUSIVE is held for a scan of the whole table. NOT VALID makes the constraint hold for new rows
at once; VALIDATE, in a migration of its own, reads the old ones while others read and write.]],
  safe = {
    "alter table {table} add constraint {constraint} check ({expression}) not valid;",
    "alter table {table} validate constraint {constraint};" },
  bad = "alter table orders add constraint orders_total_positive check (total > 0);",
  actions = {
    add_constraint = function(action, _, _, report)
      local constraint = action.constraint
      if constraint.kind == "check" and not constraint.not_valid then report({}, action) end
    end,
    add_column = function(action, _, _, report)
      for _, constraint in ipairs(action.definition.constraints) do
        if constraint.kind == "check" then
          report({ expression = constraint.expression, safe = {
            "alter table {table} add column {column} {type};",
            "alter table {table} add constraint {bare}_{column}_check check ({expression}) not valid;",
            "alter table {table} validate constraint {bare}_{column}_check;" } }, action, constraint)
        end
      end
    end,
  },
}
