-- lint rule foreign-key-without-not-valid: two tables locked while one is read.
--
-- SPDX-License-Identifier: MIT

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
    add_constraint = function(action, _, _, report)
      local constraint = action.constraint
      if constraint.kind == "foreign_key" and not constraint.not_valid then report({}, action) end
    end,
  },
}
