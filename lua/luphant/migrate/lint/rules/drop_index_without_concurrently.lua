-- lint rule drop-index-without-concurrently: an index dropped under the strongest lock.
--
-- SPDX-License-Identifier: MIT

local remedy = require "luphant.migrate.lint.remedy"

return {
  name = "drop-index-without-concurrently", severity = "warning", group = "locks", exempts_new = true,
  claims = { mode = "AccessExclusiveLock" },
  title = "DROP INDEX without CONCURRENTLY",
  message = "drops the index {name} while its table is locked for everybody",
  why = [[Dropping takes ACCESS EXCLUSIVE on the table. It is short, but it waits for the longest query on the
table, and everybody who comes later waits behind it. CONCURRENTLY waits without blocking others.]],
  safe = [[
-- migrate:up transaction:false
drop index concurrently if exists {names};
]],
  remedy = remedy.concurrently,
  bad = "drop index orders_customer_id_idx;",
  statements = {
    ["drop index"] = function(ddl, _, report)
      if ddl.concurrently or #ddl.names == 0 then return end
      local statements = {}
      for i, name in ipairs(ddl.names) do statements[i] = name.text end
      -- CONCURRENTLY takes one index at a time.
      report { names = table.concat(statements, ";\ndrop index concurrently if exists ") }
    end,
  },
}
