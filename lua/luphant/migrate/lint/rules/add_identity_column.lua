-- lint rule add-identity-column: the modern spelling of serial rewrites the table just the same.
--
-- SPDX-License-Identifier: MIT

return {
  name = "add-identity-column", severity = "error", group = "locks", exempts_new = true,
  claims = { mode = "AccessExclusiveLock", work = "rewrite" },
  title = "ADD COLUMN ... GENERATED AS IDENTITY",
  message = "numbers the rows of {table} by {column}: it is written again while locked for everybody",
  why = [[Rows that are there get their numbers at once: the whole table is rewritten under ACCESS EXCLUSIVE, as for
serial. In CREATE TABLE an identity column is the right choice.]],
  safe = {
    [[
create sequence {bare}_{column}_seq;
alter table {table} add column {column} {type};
alter table {table} alter column {column} set default nextval('{bare}_{column}_seq');
alter sequence {bare}_{column}_seq owned by {table}.{column};
]], [[
-- in batches, with pauses, until no row is left
update {table} set {column} = default
 where ctid = any (array(select ctid from {table} where {column} is null limit 1000));
]] },
  bad = "alter table orders add column position bigint generated always as identity;",
  actions = {
    add_column = function(action, _, _, report)
      if action.definition.identity then report({}, action) end
    end,
  },
}
