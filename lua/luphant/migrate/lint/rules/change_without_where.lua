-- lint rule change-without-where: all rows of a table in one statement.
--
-- SPDX-License-Identifier: MIT

local function check(ddl, ctx, report)
  if not ddl.has_where then report { head = ctx.item.statement.sql } end
end

return {
  name = "change-without-where", severity = "error", group = "compatibility", exempts_new = true,
  claims = { mode = "RowExclusiveLock", work = "scan" },
  title = "UPDATE or DELETE without WHERE",
  message = "{verb} of every row of {table} in one transaction",
  why = [[Every row is locked until the transaction ends, the table grows to twice its size, replicas fall behind,
and a deadlock near the end throws all of it away. Batches do the same without anybody noticing.]],
  safe = [[
-- in batches, with pauses, until no row is left
{head}
 where ctid = any (array(select ctid from {table} where <condition> limit 1000));
]],
  example = { ["<condition>"] = "note is distinct from ''" },
  bad = "update orders set note = '';",
  statements = { update = check, delete = check },
}
