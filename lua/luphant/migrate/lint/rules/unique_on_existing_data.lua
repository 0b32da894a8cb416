-- lint rule unique-on-existing-data: a promise that old rows may break.
--
-- SPDX-License-Identifier: MIT

local function is_checked(ctx, table)
  local check = ctx.migration.check
  return check and check.text:find(table.name, 1, true) ~= nil
end

return {
  name = "unique-on-existing-data", severity = "note", group = "compatibility", exempts_new = true,
  title = "A unique index over rows that are there already",
  message = "fails when two rows of {table} have the same {columns}",
  why = [[On the data of a test it works. A check block asks before anything is done, and names the rows that are in
the way.]],
  safe = [[
-- migrate:up transaction:false
{statement};

-- migrate:check
select {columns}, count(*) from {table} group by {columns} having count(*) > 1;
]],
  bad = "-- migrate:up transaction:false\n"
    .. "create unique index concurrently if not exists orders_number_key on orders (number);",
  statements = {
    ["create index"] = function(ddl, ctx, report)
      if not ddl.unique or is_checked(ctx, ddl.table) then return end
      local columns = {}
      for i, name in ipairs(ddl.index_columns) do columns[i] = name or "(...)" end
      report { columns = table.concat(columns, ", ") }
    end,
  },
  actions = {
    add_constraint = function(action, ddl, ctx, report)
      local constraint = action.constraint
      local is_key = constraint.kind == "unique" or constraint.kind == "primary_key"
      if not is_key or constraint.using_index or is_checked(ctx, ddl.table) then return end
      report({ safe = "{statement};\n\n-- migrate:check\n"
        .. "select {columns}, count(*) from {table} group by {columns} having count(*) > 1;" }, action)
    end,
  },
}
