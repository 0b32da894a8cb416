-- lint rule add-serial-column: a sequence for rows that are there already.
--
-- SPDX-License-Identifier: MIT

local datatype = require "luphant.migrate.ddl.datatype"

return {
  name = "add-serial-column", severity = "error", group = "locks", exempts_new = true,
  claims = { mode = "AccessExclusiveLock", work = "rewrite" },
  title = "ADD COLUMN serial",
  message = "numbers the rows of {table} by {column}: it is written again while locked for everybody",
  why = [[serial is a default of nextval(), which is volatile: the whole table is rewritten under ACCESS EXCLUSIVE.]],
  safe = {
    [[
create sequence {bare}_{column}_seq;
alter table {table} add column {column} {plain};
alter table {table} alter column {column} set default nextval('{bare}_{column}_seq');
alter sequence {bare}_{column}_seq owned by {table}.{column};
]], [[
-- in batches, with pauses, until no row is left
update {table} set {column} = default
 where ctid = any (array(select ctid from {table} where {column} is null limit 1000));
]] },
  bad = "alter table orders add column position bigserial;",
  actions = {
    add_column = function(action, _, _, report)
      local plain = datatype.serial(action.definition.type)
      if plain then report({ plain = plain }, action) end
    end,
  },
}
