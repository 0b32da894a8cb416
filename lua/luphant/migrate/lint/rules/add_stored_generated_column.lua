-- lint rule add-stored-generated-column: a computed column is computed for every row, at once.
--
-- SPDX-License-Identifier: MIT

return {
  name = "add-stored-generated-column", severity = "error", group = "locks", exempts_new = true,
  claims = { mode = "AccessExclusiveLock", work = "rewrite" },
  title = "ADD COLUMN ... GENERATED ALWAYS AS ... STORED",
  message = "computes {column} for every row of {table}, which is written again while locked for everybody",
  why = [[The value of each row is stored, so each row is written: a rewrite of the whole table under ACCESS
EXCLUSIVE. An ordinary column that a trigger fills costs nothing at first; so does a view that computes it.]],
  safe = {
    [[
alter table {table} add column {column} {type};
create function {bare}_{column}() returns trigger language plpgsql as $$
begin
  new.{column} := (select {expression} from (select new.*) as n);
  return new;
end $$;
create trigger {bare}_{column} before insert or update on {table}
  for each row execute function {bare}_{column}();
]], [[
-- in batches, with pauses, until no row is left
update {table} set {column} = {expression}
 where ctid = any (array(select ctid from {table} where {column} is null limit 1000));
]] },
  bad = "alter table orders add column with_tax numeric generated always as (total * 1.2) stored;",
  actions = {
    add_column = function(action, _, _, report)
      if action.definition.stored then report({}, action) end
    end,
    set_expression = function(action, _, _, report)
      report({
        message = "changes the expression of {column}: {table} is written again while locked for everybody",
        safe = { "alter table {table} alter column {column} drop expression;" },
      }, action)
    end,
  },
}
