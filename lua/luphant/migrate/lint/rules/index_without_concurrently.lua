-- lint rule index-without-concurrently: an index built while writers wait.
--
-- SPDX-License-Identifier: MIT

return {
  name = "index-without-concurrently", severity = "error", group = "locks", exempts_new = true,
  claims = { mode = "ShareLock", work = "build" },
  title = "CREATE INDEX without CONCURRENTLY",
  message = "builds an index on {table} while nobody can write to it",
  why = [[The table is locked in SHARE mode until the index is complete: every INSERT, UPDATE and DELETE waits, for
minutes on a big table. CONCURRENTLY reads the table twice and lets them go on. It cannot run in a transaction.]],
  safe = [[
-- migrate:up transaction:false
create {unique}index concurrently if not exists {index} on {table} {definition};
]],
  bad = "create index orders_number_idx on orders (number);",
  statements = {
    ["create index"] = function(ddl, _, report)
      if ddl.concurrently then return end
      local first = ddl.index_columns and ddl.index_columns[1] or "expr"
      local name = ddl.name and ddl.name.text or (ddl.table and ddl.table.name or "") .. "_" .. first .. "_idx"
      report { index = name }
    end,
  },
}
