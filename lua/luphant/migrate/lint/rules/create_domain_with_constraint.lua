-- lint rule create-domain-with-constraint: a promise that is hard to change.
--
-- SPDX-License-Identifier: MIT

return {
  name = "create-domain-with-constraint", severity = "note", group = "locks",
  title = "CREATE DOMAIN with a constraint",
  message = "makes a rule of {name} that can only be changed for all its tables at once",
  why = [[Changing the constraint of a domain later locks and reads every table that uses it. A CHECK on each table
can be changed table by table.]],
  safe = "create domain {name} as {type};\n-- and a CHECK on each column that needs it",
  bad = "create domain zip as text check (value ~ '^[0-9]{5}$');",
  statements = {
    ["create domain"] = function(ddl, _, report)
      local definition = ddl.definition
      if not definition or not (definition.not_null or #definition.constraints > 0) then return end
      report { type = definition.type.text }
    end,
  },
}
