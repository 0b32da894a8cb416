-- lint rule foreign-key-without-not-valid: two tables locked while one is read.
--
-- SPDX-License-Identifier: MIT

-- Before PostgreSQL 18 a partitioned table cannot have a key that is NOT VALID; its partitions can.
local PARTITIONED = {
  safe = {},
  advice = "Add the key to each partition NOT VALID and validate it there, one by one. The key of the partitioned "
    .. "table then takes them over without reading their rows, and locks the other table for everybody for a moment.",
}

return {
  name = "foreign-key-without-not-valid", severity = "error", group = "locks", exempts_new = true,
  claims = { mode = "ShareRowExclusiveLock", work = "scan" },
  title = "ADD FOREIGN KEY without NOT VALID",
  message = "looks up every row of {table} in {other} while nobody can write to either",
  why = [[Both tables are locked in SHARE ROW EXCLUSIVE mode until every row has been looked up. NOT VALID makes the
key hold for new rows at once; VALIDATE, in a migration of its own, checks the old ones while others read and write.]],
  safe = {
    "alter table {table} add constraint {constraint} {definition} not valid;",
    "alter table {table} validate constraint {constraint};" },
  bad = "alter table orders add constraint orders_payer_fkey foreign key (payer_id) references customers (id);",
  setup = "alter table orders add column payer_id bigint; create index orders_payer_id_idx on orders (payer_id);",
  actions = {
    add_constraint = function(action, ddl, ctx, report)
      local constraint, relation = action.constraint, ctx.known:relation(ddl.table)
      if constraint.kind ~= "foreign_key" or constraint.not_valid then return end
      report(relation and relation.is_partitioned and PARTITIONED or {}, action)
    end,
  },
}
