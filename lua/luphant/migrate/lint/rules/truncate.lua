-- lint rule truncate: every row, at once.
--
-- SPDX-License-Identifier: MIT

return {
  name = "truncate", severity = "error", group = "compatibility",
  claims = { mode = "AccessExclusiveLock" },
  title = "TRUNCATE",
  message = "empties {table}{more} under the strongest lock",
  why = [[All rows are gone, nothing of a WHERE protects any of them, triggers for DELETE do not fire, and CASCADE
empties every table that points at this one. ACCESS EXCLUSIVE makes everybody wait.]],
  safe = [[
-- in batches, with pauses, until no row is left
delete from {table} where ctid = any (array(select ctid from {table} where <condition> limit 1000));
]],
  example = { ["<condition>"] = "status = 'draft'" },
  bad = "truncate orders;",
  statements = {
    truncate = function(ddl, ctx, report)
      for _, name in ipairs(ddl.names) do
        if not ctx:is_new(name) then
          report { table = name.text, more = ddl.cascade and " and every table that points at it" or "" }
        end
      end
    end,
  },
}
