-- lint rule add-not-null-column-without-default: a column that no row has a value for.
--
-- SPDX-License-Identifier: MIT

return {
  name = "add-not-null-column-without-default", severity = "error", group = "locks", exempts_new = true,
  title = "ADD COLUMN NOT NULL without a default",
  message = "adds {column} NOT NULL without a default, which fails when {table} has a row",
  why = [[It works on the empty table of a test and nowhere else. Give it a constant default, or add it nullable,
fill it, and demand it afterwards.]],
  safe = {
    "alter table {table} add column {column} {type};",
    [[
-- in batches, with pauses, until no row is left; 0 stands for the value
update {table} set {column} = {zero}
 where ctid = any (array(select ctid from {table} where {column} is null limit 1000));
]],
    "alter table {table} add constraint {bare}_{column}_not_null check ({column} is not null) not valid;",
    "alter table {table} validate constraint {bare}_{column}_not_null;",
    [[
alter table {table} alter column {column} set not null;
alter table {table} drop constraint {bare}_{column}_not_null;
]] },
  bad = "alter table orders add column weight integer not null;",
  good = { "alter table orders add column weight integer not null default 0;" },
  actions = {
    add_column = function(action, _, _, report)
      local column = action.definition
      if not column.not_null or column.default or column.identity or column.stored or column.virtual then return end
      if column.type.base:find "serial$" then return end
      local zero = column.type.base:find "int" and "0" or "''"
      report({ zero = zero }, action)
    end,
  },
}
