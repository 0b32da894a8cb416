-- lint rule foreign-key-in-create-table: a new table that locks an old one.
--
-- SPDX-License-Identifier: MIT

-- The statement without the key: a comma goes with a constraint of the table.
local function without(sql, constraint)
  local before, behind = sql:sub(1, constraint.from - 1), sql:sub(constraint.to + 1)
  if before:find ",%s*$" and behind:find "^%s*[,)]" then
    return before:gsub(",%s*$", "") .. behind
  end
  return before:gsub("%s+$", "") .. behind
end

return {
  name = "foreign-key-in-create-table", severity = "warning", group = "locks",
  claims = { mode = "ShareRowExclusiveLock", on = "other" },
  title = "A foreign key inside of CREATE TABLE",
  message = "locks {other} for writers until the transaction ends",
  why = [[The new table is nobody's concern, but the one it points at is: SHARE ROW EXCLUSIVE, which makes writers wait,
behind everything else the migration does. A migration of its own that adds the key holds the lock for a moment.]],
  safe = { "{without};", "alter table {table} add constraint {constraint} foreign key ({columns}) references {target};" },
  bad = "create table notes (id bigint primary key, order_id bigint references orders (id), body text);\n"
    .. "create index on notes (order_id);",
  statements = {
    ["create table"] = function(ddl, ctx, report)
      for _, constraint in ipairs(ddl.constraints or {}) do
        local other = constraint.references
        if other and not ctx:is_new(other) and not (ddl.name and ddl.name.name == other.name) then
          local text = ctx.item.statement.sql:sub(constraint.from, constraint.to)
          local target = text:match "[rR][eE][fF][eE][rR][eE][nN][cC][eE][sS]%s+(.*)$" or other.text
          local columns = table.concat(constraint.columns, ", ")
          report({
            other = other.text, target = target, columns = columns, without = without(ctx.item.statement.sql, constraint),
            constraint = constraint.name or ("%s_%s_fkey"):format(ddl.name.name, constraint.columns[1]),
          }, constraint)
        end
      end
    end,
  },
}
