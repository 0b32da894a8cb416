-- lint rule inline-foreign-key: a new column with a foreign key behind it.
--
-- SPDX-License-Identifier: MIT

return {
  name = "inline-foreign-key", severity = "error", group = "locks", exempts_new = true,
  claims = { mode = "AccessExclusiveLock" },
  title = "ADD COLUMN ... REFERENCES",
  message = "locks {table} for everybody and {other} for writers, both in one statement",
  why = [[ACCESS EXCLUSIVE on the one and SHARE ROW EXCLUSIVE on the other, taken one after the other: traffic on
both stops until the second lock is there. With a default, every row is looked up as well.]],
  safe = {
    "alter table {table} add column {column} {type};",
    [[
-- migrate:up transaction:false
create index concurrently if not exists {index} on {table} ({column});
]],
    "alter table {table} add constraint {bare}_{column}_fkey foreign key ({column}) references {target} not valid;",
    "alter table {table} validate constraint {bare}_{column}_fkey;" },
  bad = "alter table orders add column payer_id bigint references customers (id);",
  actions = {
    add_column = function(action, _, _, report)
      for _, constraint in ipairs(action.definition.constraints) do
        if constraint.kind == "foreign_key" and constraint.references then
          local tail = action.text:match("[rR][eE][fF][eE][rR][eE][nN][cC][eE][sS]%s+%S+%s*(%b())") or ""
          local target = constraint.references.text
          if tail ~= "" then target = target .. " " .. tail end
          report({ target = target, other = constraint.references.text }, action, constraint)
        end
      end
    end,
  },
}
