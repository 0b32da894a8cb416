-- lint rule add-constrained-domain-column: a column whose type has to be asked about every row.
--
-- SPDX-License-Identifier: MIT

return {
  name = "add-constrained-domain-column", severity = "error", group = "locks", exempts_new = true, needs = "folder",
  claims = { mode = "AccessExclusiveLock", work = "rewrite" },
  title = "ADD COLUMN of a domain with a constraint",
  message = "adds {column} of the domain {type}, whose constraint is checked by writing all of {table} again",
  why = [[Also for NULL the server asks the constraint of the domain, row by row, and it does so by rewriting the
table under ACCESS EXCLUSIVE. A column of the plain type with a CHECK that is NOT VALID at first costs nothing.]],
  safe = {
    "alter table {table} add column {column} {base};",
    "alter table {table} add constraint {bare}_{column}_check check ({condition}) not valid;",
    "alter table {table} validate constraint {bare}_{column}_check;" },
  setup = "create domain zip as text check (value ~ '^[0-9]{5}$');",
  bad = "alter table customers add column postcode zip;",
  good = { "alter table customers add column contact email;" },
  actions = {
    add_column = function(action, _, ctx, report)
      local definition = action.definition
      local type = ctx.known:type { name = definition.type.base:gsub('^.*%.', ""):gsub('"', "") }
      local domain = type and type.constrained and type.definition
      if not domain or definition.type.array then return end
      local condition = domain.not_null and "value is not null" or nil
      for _, constraint in ipairs(domain.constraints) do condition = constraint.expression or condition end
      local column = action.column:gsub("%%", "%%%%")
      condition = (condition or "value is not null"):gsub("%f[%w_][vV][aA][lL][uU][eE]%f[^%w_]", column)
      report({ base = domain.type.text, condition = condition }, action)
    end,
  },
}
