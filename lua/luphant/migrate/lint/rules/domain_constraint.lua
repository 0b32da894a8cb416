-- lint rule domain-constraint: a constraint on a domain is one on every table that uses it.
--
-- SPDX-License-Identifier: MIT

return {
  name = "domain-constraint", severity = "error", group = "locks",
  claims = { mode = "ShareLock", on = "users", work = "scan" },
  title = "ALTER DOMAIN ... ADD CONSTRAINT",
  message = "reads every table with a column of {name} while nobody can write to them",
  why = [[Each of these tables is locked in SHARE mode, all in one transaction, and read from end to end. NOT VALID
holds for new values at once and locks nothing. To VALIDATE it later keeps writers out as well; do that in a quiet
hour, or leave it. A CHECK on each table can be validated while others write.]],
  safe = {
    "alter domain {name} add constraint {constraint} check ({expression}) not valid;",
    "alter domain {name} validate constraint {constraint};" },
  setup = "alter table customers add column contact email;",
  bad = "alter domain email add constraint email_at check (value like '%@%');",
  good = { "alter domain email set default 'nobody@example.org';" },
  statements = {
    ["alter domain"] = function(ddl, ctx, report)
      local type, action = ctx.known:type(ddl.name), ddl.actions[1]
      if type and type.born == ctx.migration then return end
      if action.kind == "set_not_null" then
        report({ safe = {}, advice = "There is no NOT VALID for it: add CHECK (value is not null) NOT VALID instead." },
          action)
      elseif action.kind == "add_constraint" and action.constraint and not action.constraint.not_valid then
        local name = action.constraint.name or ddl.name.name .. "_check"
        report({ constraint = name, expression = action.constraint.expression }, action)
      end
    end,
  },
}
