-- lint rule unique-without-index: a key that builds its index while everybody waits.
--
-- SPDX-License-Identifier: MIT

local KINDS = { unique = "unique", primary_key = "primary key" }

-- USING INDEX does not know them.
local PARTITIONED = "For a partitioned table: ALTER TABLE ONLY ... ADD the key; on each partition a unique index, "
  .. "built CONCURRENTLY and made its key by USING INDEX; and ALTER INDEX ... ATTACH PARTITION for each of them."

return {
  name = "unique-without-index", severity = "error", group = "locks", exempts_new = true,
  claims = { mode = "AccessExclusiveLock", work = "build" },
  title = "ADD UNIQUE or PRIMARY KEY without USING INDEX",
  message = "builds a unique index on {table} while it is locked for everybody",
  why = [[ACCESS EXCLUSIVE is held until the index is complete. An index built CONCURRENTLY beforehand can be made
the constraint's in an instant.]],
  safe = {
    [[
-- migrate:up transaction:false
create unique index concurrently if not exists {constraint} on {table} ({columns});
]],
    "alter table {table} add constraint {constraint} {kind} using index {constraint};" },
  bad = "alter table orders add constraint orders_number_key unique (number);",
  actions = {
    add_constraint = function(action, ddl, ctx, report)
      local constraint, relation = action.constraint, ctx.known:relation(ddl.table)
      local kind = KINDS[constraint.kind]
      if constraint.using_index or not kind then return end
      local is_partitioned = relation and relation.is_partitioned
      local safe, advice
      if is_partitioned then safe, advice = {}, PARTITIONED end
      report({ kind = kind, safe = safe, advice = advice }, action)
    end,
    add_column = function(action, _, _, report)
      for _, constraint in ipairs(action.definition.constraints) do
        if constraint.kind == "unique" or constraint.kind == "primary_key" then
          local kind = constraint.kind:gsub("_", " ")
          report({ kind = kind, columns = action.column, safe = {
            "alter table {table} add column {column} {type};", [[
-- migrate:up transaction:false
create unique index concurrently if not exists {constraint} on {table} ({columns});
]], "alter table {table} add constraint {constraint} {kind} using index {constraint};" } }, action, constraint)
        end
      end
    end,
  },
}
