-- lint rule create-partition-of: a new partition that stops the whole partitioned table.
--
-- SPDX-License-Identifier: MIT

return {
  name = "create-partition-of", severity = "error", group = "locks",
  claims = { mode = "AccessExclusiveLock", on = "parent" },
  title = "CREATE TABLE ... PARTITION OF",
  message = "locks {parent} and its default partition for everybody",
  why = [[The new partition is empty, yet ACCESS EXCLUSIVE is taken on the parent and on the default partition,
which is read as well: queries on every partition wait. ATTACH takes a light lock on the parent.]],
  safe = { [[
create table {name} (like {parent} including defaults including constraints including indexes);
alter table {parent} attach partition {name} {bounds};
]] },
  bad = "create table logs_2022 partition of logs for values from ('2022-01-01') to ('2023-01-01');",
  setup = "create table logs (at timestamptz not null) partition by range (at);\n"
    .. "create table logs_old partition of logs for values from ('2020-01-01') to ('2021-01-01');",
  statements = {
    ["create table"] = function(ddl, ctx, report)
      local parent = ddl.partition_of
      if not parent or ctx:is_new(parent) then return end
      local bounds = ctx.item.statement.sql:match "([fF][oO][rR]%s+[vV][aA][lL][uU][eE][sS].*)$" or "default"
      report { parent = parent.text, bounds = bounds }
    end,
  },
}
