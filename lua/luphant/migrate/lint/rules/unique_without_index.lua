-- lint rule unique-without-index: a key that builds its index while everybody waits.
--
-- SPDX-License-Identifier: MIT

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
    add_constraint = function(action, _, _, report)
      local constraint = action.constraint
      if constraint.using_index then return end
      if constraint.kind == "unique" then report({ kind = "unique" }, action) end
      if constraint.kind == "primary_key" then report({ kind = "primary key" }, action) end
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
