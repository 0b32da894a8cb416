-- lint rule drop-table-with-foreign-keys: a table that goes, and the tables it points at.
--
-- SPDX-License-Identifier: MIT

return {
  name = "drop-table-with-foreign-keys", severity = "warning", group = "locks", exempts_new = true, needs = "folder",
  claims = { mode = "AccessExclusiveLock", on = "other" },
  title = "DROP TABLE of a table with foreign keys",
  message = "locks {other}, which {name} points at, for everybody",
  why = [[Each foreign key has triggers on the other table, and to drop them that table is locked in ACCESS
EXCLUSIVE mode, all of them in one transaction. Dropping the keys first, one by one, locks one of them at a time.]],
  safe = { "{drops}", "-- migrate:up phase:contract\n{statement};" },
  bad = "-- migrate:up phase:contract\ndrop table orders;",
  setup = "drop view open_orders; drop materialized view daily;",
  statements = {
    ["drop table"] = function(ddl, ctx, report)
      for _, name in ipairs(ddl.names or {}) do
        local relation = ctx.known:relation(name)
        local drops, other = {}, nil
        for _, item in ipairs(relation and relation.constraints or {}) do
          if item.kind == "foreign_key" and item.references and item.references.name ~= name.name then
            drops[#drops + 1] = ("alter table %s drop constraint %s;"):format(name.text, item.name)
            other = other or item.references.text
          end
        end
        if other and not ctx:is_new(name) then report { drops = table.concat(drops, "\n"), other = other } end
      end
    end,
  },
}
