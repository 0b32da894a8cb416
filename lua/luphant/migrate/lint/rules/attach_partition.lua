-- lint rule attach-partition: the rows of the new partition, and of the default one, are read.
--
-- SPDX-License-Identifier: MIT

return {
  name = "attach-partition", severity = "warning", group = "locks", exempts_new = false,
  claims = { mode = "AccessExclusiveLock", on = "partition", work = "scan" },
  title = "ATTACH PARTITION",
  message = "reads all of {partition}, and of the default partition, while they are locked for everybody",
  why = [[The parent is locked only lightly, but the new partition and the default one are locked in ACCESS
EXCLUSIVE mode and read, to see that every row is where it belongs. A valid CHECK that says the same makes the scan
of the new one needless; one that excludes its range, that of the default partition.]],
  safe = {
    "alter table {partition} add constraint {bare_partition}_range check ({range}) not valid;",
    "alter table {partition} validate constraint {bare_partition}_range;",
    "{statement};\nalter table {partition} drop constraint {bare_partition}_range;" },
  setup = "create table logs (at timestamptz not null) partition by range (at);\n"
    .. "create table logs_2022 (at timestamptz not null);",
  example = { ["<what its bounds say>"] = "at is not null and at >= '2022-01-01' and at < '2023-01-01'" },
  bad = "alter table logs attach partition logs_2022 for values from ('2022-01-01') to ('2023-01-01');",
  actions = {
    attach_partition = function(action, ddl, ctx, report)
      local partition, parent = action.relation, ctx.known:relation(ddl.table)
      local child = ctx.known:relation(partition)
      if not partition then return end
      -- A table made in this migration has no rows to read; the default partition may.
      local has_default = parent and parent.default_partition
      if ctx:is_new(partition) and not has_default then return end
      for _, item in ipairs(child and child.constraints or {}) do
        if item.kind == "check" and item.validated and not has_default then return end
      end
      report({ bare_partition = partition.name, range = "<what its bounds say>" }, action)
    end,
  },
}
