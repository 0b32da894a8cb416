-- lint rule backfill-in-one-statement: many rows in one statement.
--
-- SPDX-License-Identifier: MIT

local MANY = 10000 -- rows; below it a statement takes a moment

-- `id = 7` or `code = 'x'` touches a row or a few.
local function is_narrow(condition)
  local text = condition:lower()
  if text:find "ctid" or text:find "limit" or text:find "between" then return true end
  return text:find "^[%w_.\"]+%s*=%s*[%d'][^%s]*$" ~= nil or text:find "^[%w_.\"]+%s+in%s*%(%s*[%d'][^()]*%)$" ~= nil
end

local function check(ddl, ctx, report)
  if not ddl.has_where or is_narrow(ddl.condition or "") then return end
  local relation = ctx.known:relation(ddl.table)
  local rows = relation and relation.rows
  if rows and rows < MANY then return end
  report {
    severity = rows and "warning" or nil, condition = ddl.condition,
    amount = rows and ("of %d"):format(rows) or "which may be many",
    head = ctx.item.statement.sql:sub(1, #ctx.item.statement.sql - #ddl.condition):gsub("%s+$", ""),
  }
end

return {
  name = "backfill-in-one-statement", severity = "note", group = "compatibility", exempts_new = true,
  claims = { mode = "RowExclusiveLock", work = "scan" },
  title = "Many rows changed in one statement",
  message = "changes all rows of {table} that match ({amount}) in one transaction",
  why = [[Each row stays locked until the transaction ends, and the table grows by as many. In batches nobody waits
for longer than one of them. With facts from the database the number of rows decides.]],
  safe = [[
-- in batches, with pauses, until no row is left
{head} ctid = any (array(
  select ctid from {table} where {condition} limit 1000));
]],
  bad = "update orders set status = 'open' where status is null;",
  statements = { update = check, delete = check },
}
