-- lint rule detach-partition-without-concurrently: the parent locked for everybody.
--
-- SPDX-License-Identifier: MIT

local DEFAULT = "CONCURRENTLY is refused as long as there is a default partition (%s). Detach that one in a quiet "
  .. "hour, or this one."

return {
  name = "detach-partition-without-concurrently", severity = "error", group = "locks", exempts_new = true,
  claims = { mode = "AccessExclusiveLock" },
  title = "DETACH PARTITION without CONCURRENTLY",
  message = "locks all of {table} for everybody to detach {partition}",
  why = [[ACCESS EXCLUSIVE on the parent stops queries on every partition. CONCURRENTLY (PostgreSQL 14) waits
without stopping them; it cannot run in a transaction, nor while there is a default partition.]],
  safe = [[
-- migrate:up transaction:false
alter table {table} detach partition {partition} concurrently;
]],
  bad = "alter table logs detach partition logs_old;",
  setup = "create table logs (at timestamptz not null) partition by range (at);\n"
    .. "create table logs_old partition of logs for values from ('2020-01-01') to ('2021-01-01');",
  actions = {
    detach_partition = function(action, ddl, ctx, report)
      if action.concurrently then return end
      local relation = ctx.known:relation(ddl.table)
      local default = relation and relation.default_partition
      report({ safe = default and {} or nil, advice = default and DEFAULT:format(default) or nil }, action)
    end,
  },
}
