-- lint rule several-alters-of-one-table: one lock wait after the other.
--
-- SPDX-License-Identifier: MIT

return {
  name = "several-alters-of-one-table", severity = "note", group = "locks", exempts_new = true,
  title = "Several ALTER TABLE of one table",
  message = "alters {table} again; line {line} does so already",
  why = [[Outside of a transaction each statement waits for the lock anew, and each wait stops the traffic. Inside
of one the first statement gets the lock; one statement with several actions says the same and passes over the rows
once.]],
  safe = { "{first},\n  {actions};" },
  bad = "alter table orders add column weight integer;\nalter table orders add column height integer;",
  statements = {
    ["alter table"] = function(ddl, ctx, report)
      if not ddl.table or #ddl.actions == 0 then return end
      local list = {}
      for i, action in ipairs(ddl.actions) do
        -- These stand alone, by the grammar.
        if action.kind:find "^rename" or action.kind:find "partition$" or action.kind == "set_schema" then return end
        if action.kind == "validate_constraint" then return end
        list[i] = action.text
      end
      local before = ctx.items[ctx.item.index - 1]
      if not before or before.ddl.what ~= "alter table" or before.ddl.table.text ~= ddl.table.text then return end
      for _, action in ipairs(before.ddl.actions) do
        if action.kind:find "^rename" or action.kind:find "partition$" or action.kind == "set_schema" then return end
      end
      report { line = before.statement.line, first = before.statement.sql, actions = table.concat(list, ",\n  ") }
    end,
  },
}
