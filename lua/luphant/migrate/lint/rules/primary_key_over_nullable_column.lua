-- lint rule primary-key-over-nullable-column: a hidden SET NOT NULL.
--
-- SPDX-License-Identifier: MIT

return {
  name = "primary-key-over-nullable-column", severity = "error", group = "locks", exempts_new = true, needs = "folder",
  claims = { mode = "AccessExclusiveLock", work = "scan" },
  title = "PRIMARY KEY USING INDEX over a nullable column",
  message = "makes {nullable} NOT NULL on the way, which reads all of {table} while it is locked for everybody",
  why = [[The index is ready, but a primary key also wants NOT NULL, and that scans the table under ACCESS EXCLUSIVE
unless a valid CHECK proves it.]],
  safe = {
    "alter table {table} add constraint {bare}_{nullable}_not_null check ({nullable} is not null) not valid;",
    "alter table {table} validate constraint {bare}_{nullable}_not_null;",
    [[
alter table {table} alter column {nullable} set not null;
alter table {table} drop constraint {bare}_{nullable}_not_null;
alter table {table} {action};
]] },
  setup = "create table logins (token text, at timestamptz); create unique index logins_token_idx on logins (token);",
  bad = "alter table logins add constraint logins_pkey primary key using index logins_token_idx;",
  actions = {
    add_constraint = function(action, ddl, ctx, report)
      local constraint, relation = action.constraint, ctx.known:relation(ddl.table)
      if constraint.kind ~= "primary_key" or not constraint.using_index or not relation then return end
      local index = relation.indexes[constraint.using_index]
      for _, name in ipairs(index and index.columns or {}) do
        local column = relation.columns[name]
        if column and not column.not_null and not ctx.known:proves_not_null(ddl.table, name) then
          report({ nullable = name }, action)
        end
      end
    end,
  },
}
