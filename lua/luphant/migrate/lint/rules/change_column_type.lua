-- lint rule change-column-type: another type usually means another table.
--
-- SPDX-License-Identifier: MIT

local datatype = require "luphant.migrate.ddl.datatype"

-- The type is harmless, but the constraint that mentions the column is checked anew.
local CHECKED = {
  message = "changes the type of {column}, which a CHECK mentions: all of {table} is read while locked for everybody",
  claims = { mode = "AccessExclusiveLock", work = "scan" },
  safe = {},
  advice = "Drop the CHECK in the same statement and add it again NOT VALID; validate it in a migration of its own.",
}

return {
  name = "change-column-type", severity = "error", group = "locks", exempts_new = true,
  claims = { mode = "AccessExclusiveLock", work = "rewrite" },
  title = "ALTER COLUMN TYPE",
  message = "changes the type of {column}: {table} and its indexes are written again while locked for everybody",
  why = [[Unless the old values are valid as they lie on disk (a longer varchar, varchar to text), the whole table
is rewritten under ACCESS EXCLUSIVE, and every index with it. Programs that run now also meet a type they do not
expect.]],
  safe = {
    [[
alter table {table} add column {column}_new {type};
create function {bare}_{column}_copy() returns trigger language plpgsql as $$
begin
  new.{column}_new := new.{column};
  return new;
end $$;
create trigger {bare}_{column}_copy before insert or update on {table}
  for each row execute function {bare}_{column}_copy();
]], [[
-- in batches, with pauses, until no row is left
update {table} set {column}_new = {using}
 where ctid = any (array(select ctid from {table} where {column}_new is null and {column} is not null limit 1000));
]], [[
-- migrate:up phase:contract
drop trigger {bare}_{column}_copy on {table};
alter table {table} rename column {column} to {column}_old;
alter table {table} rename column {column}_new to {column};
]] },
  bad = "alter table orders alter column total type double precision;",
  good = { "alter table orders alter column note type varchar(200);", "alter table orders alter column note type text;",
    "alter table orders alter column total type numeric(12, 2);" },
  actions = {
    change_type = function(action, ddl, ctx, report)
      local relation = ctx.known:relation(ddl.table)
      local column = relation and relation.columns[action.column or ""]
      local old = column and column.type
      if old and not action.using and datatype.is_free_change(old, action.type) then
        if ctx.known:is_checked(ddl.table, action.column) then report(CHECKED, action) end
        return
      end
      report({ using = action.using or action.column }, action)
    end,
  },
}
