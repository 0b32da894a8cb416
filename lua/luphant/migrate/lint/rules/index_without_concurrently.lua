-- lint rule index-without-concurrently: an index built while writers wait.
--
-- SPDX-License-Identifier: MIT

local remedy = require "luphant.migrate.lint.remedy"

-- CONCURRENTLY does not know partitioned tables: each partition gets its index, and the parent takes them over.
local function partitioned(ctx, ddl, index)
  local relation = ctx.known:relation(ddl.table)
  if not relation or not relation.is_partitioned then return nil end
  local builds, attachments = { "-- migrate:up transaction:false" }, {}
  for _, name in ipairs(ctx.known:partitions(ddl.table)) do
    local own = ("%s_%s"):format(name:match "[^.]*$", index:match "[^.]*$")
    builds[#builds + 1] = ("create {unique}index concurrently if not exists %s on %s {definition};"):format(own, name)
    attachments[#attachments + 1] = ("alter index {index} attach partition %s;"):format(own)
  end
  local first = "create {unique}index {index} on only {table} {definition};"
  if #attachments == 0 then return { first } end
  return { first, table.concat(builds, "\n"), table.concat(attachments, "\n") }
end

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
  remedy = remedy.concurrently,
  bad = "create index orders_number_idx on orders (number);",
  statements = {
    ["create index"] = function(ddl, ctx, report)
      if ddl.concurrently or ddl.only then return end -- ON ONLY a partitioned table builds nothing
      local first = ddl.index_columns and ddl.index_columns[1] or "expr"
      local name = ddl.name and ddl.name.text or (ddl.table and ddl.table.name or "") .. "_" .. first .. "_idx"
      report { index = name, safe = partitioned(ctx, ddl, name) }
    end,
  },
}
