-- lint rule foreign-key-without-index: a key that makes deletes on the other side slow.
--
-- SPDX-License-Identifier: MIT

-- Does an index of the relation begin with these columns, in any order?
local function has_index(relation, columns)
  for _, index in pairs(relation.indexes) do
    local leading, found = {}, 0
    for i = 1, #columns do leading[index.columns[i] or ""] = true end
    for _, name in ipairs(columns) do found = found + (leading[name] and 1 or 0) end
    if found == #columns and not index.partial then return true end
  end
  return false
end

return {
  name = "foreign-key-without-index", severity = "warning", group = "compatibility", needs = "folder",
  title = "A foreign key without an index",
  message = "has no index on {columns}: every DELETE on {other} reads all of {table}",
  why = [[To delete or renumber a row of the other table, the server looks for rows that point at it. Without an
index that begins with the columns of the key, it reads this table from end to end, each time.]],
  safe = [[
-- migrate:up transaction:false
create index concurrently if not exists {index} on {table} ({columns});
]],
  safe_follows = true,
  bad = "create table notes (id bigint primary key, order_id bigint);\n"
    .. "alter table notes add constraint notes_order_id_fkey foreign key (order_id) references orders (id);",
  section = function(ctx, report)
    for _, item in ipairs(ctx.items) do
      local relation = ctx.known:relation(item.ddl.table)
      local function look(constraint)
        if constraint.kind ~= "foreign_key" or not constraint.references then return end
        if has_index(relation, constraint.columns) then return end
        local columns = table.concat(constraint.columns, ", ")
        report({
          columns = columns, other = constraint.references.text, table = item.ddl.table.text,
          index = ("%s_%s_idx"):format(relation.name, table.concat(constraint.columns, "_")),
        }, item, nil, constraint)
      end
      if relation and relation.complete and not relation.temporary then
        for _, constraint in ipairs(item.ddl.constraints or {}) do look(constraint) end
        for _, action in ipairs(item.ddl.what == "alter table" and item.ddl.actions or {}) do
          if action.kind == "add_constraint" then look(action.constraint) end
          for _, constraint in ipairs(action.kind == "add_column" and action.definition.constraints or {}) do
            look(constraint)
          end
        end
      end
    end
  end,
}
