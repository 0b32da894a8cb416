-- lint rule constraint-before-code: a rule that programs of the last release may break.
--
-- SPDX-License-Identifier: MIT

return {
  name = "constraint-before-code", severity = "note", group = "compatibility", exempts_new = true,
  title = "A new rule for rows that running programs write",
  message = "refuses rows that programs of the last release may still write to {table}",
  why = [[Between this migration and the last restart the old program runs against the new rule. NOT VALID spares
old rows, not new ones. A default for the missing value, or a release that keeps the rule first, closes the gap.]],
  advice = "When the old program keeps the rule already, say so: -- migrate:allow constraint-before-code: and why.",
  bad = "alter table orders add constraint orders_total_positive check (total > 0) not valid;",
  actions = {
    set_not_null = function(action, ddl, ctx, report)
      local relation = ctx.known:relation(ddl.table)
      local column = relation and relation.columns[action.column or ""]
      -- A proven one has been in force since its CHECK.
      if column and column.default or ctx.known:proves_not_null(ddl.table, action.column or "") then return end
      if ctx.migration.phase ~= "contract" then report({}, action) end
    end,
    add_constraint = function(action, _, ctx, report)
      local kind = action.constraint.kind
      if (kind == "check" or kind == "foreign_key") and ctx.migration.phase ~= "contract" then report({}, action) end
    end,
  },
}
