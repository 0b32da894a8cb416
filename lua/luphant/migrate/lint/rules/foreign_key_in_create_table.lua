-- lint rule foreign-key-in-create-table: a new table that locks an old one.
--
-- SPDX-License-Identifier: MIT

local column_of = require "luphant.migrate.ddl.column"

-- The statement without the key: a comma goes with a constraint of the table.
local function without(sql, constraint)
  local before, behind = sql:sub(1, constraint.from - 1), sql:sub(constraint.to + 1)
  if before:find ",%s*$" and behind:find "^%s*[,)]" then
    return before:gsub(",%s*$", "") .. behind
  end
  return before:gsub("%s+$", "") .. behind
end

-- The key wants an index on this side; one further down in the file will do.
local function index_too(ctx, ddl, columns)
  for _, item in ipairs(ctx:later()) do
    local other = item.ddl
    local is_here = other.what == "create index" and other.table and other.table.name == ddl.name.name
    if is_here and other.index_columns[1] == columns[1] then return "" end
  end
  local name = ddl.name.name .. "_" .. table.concat(columns, "_") .. "_idx"
  return ("create index %s on %s (%s);"):format(name, ddl.name.text, table.concat(columns, ", "))
end

return {
  name = "foreign-key-in-create-table", severity = "note", group = "locks",
  claims = { mode = "ShareRowExclusiveLock", on = "other" },
  title = "A foreign key inside of CREATE TABLE",
  message = "locks {other} for writers until the transaction ends",
  why = [[The new table is nobody's concern, but the one it points at is: SHARE ROW EXCLUSIVE, which makes writers
wait, behind everything else the migration does. A migration of its own that adds the key holds the lock for a
moment.]],
  safe = {
    "{without};\n{index_too}",
    "alter table {table} add constraint {constraint} foreign key ({columns}) references {target} not valid;",
    "alter table {table} validate constraint {constraint};" },
  bad = "create table notes (id bigint primary key, order_id bigint references orders (id), body text);",
  statements = {
    ["create table"] = function(ddl, ctx, report)
      for _, constraint in ipairs(ddl.constraints or {}) do
        local other = constraint.references
        if other and not ctx:is_new(other) and not (ddl.name and ddl.name.name == other.name) then
          local text = ctx.item.statement.sql:sub(constraint.from, constraint.to)
          local target = text:match "[rR][eE][fF][eE][rR][eE][nN][cC][eE][sS]%s+(.*)$" or other.text
          local columns = table.concat(constraint.columns, ", ")
          report({
            other = other.text, target = target, columns = columns,
            without = without(ctx.item.statement.sql, constraint),
            index_too = index_too(ctx, ddl, constraint.columns),
            constraint = column_of.constraint_name(constraint, ddl.name.name),
          }, nil, constraint)
        end
      end
    end,
  },
}
