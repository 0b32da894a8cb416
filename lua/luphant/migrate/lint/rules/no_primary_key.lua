-- lint rule no-primary-key: rows that nobody can name.
--
-- SPDX-License-Identifier: MIT

return {
  name = "no-primary-key", severity = "warning", group = "hygiene",
  title = "A table without a primary key",
  message = "{table} has no primary key",
  why = [[Logical replication cannot update or delete its rows, duplicates cannot be told apart, and no foreign key
can point at it.]],
  safe = "-- in CREATE TABLE\nid bigint generated always as identity primary key",
  bad = "create table notes (body text);",
  is_fragment = true,
  section = function(ctx, report)
    for _, item in ipairs(ctx.items) do
      local ddl = item.ddl
      local relation = ddl.what == "create table" and ctx.known:relation(ddl.name)
      local is_ours = relation and relation.born == ctx.migration and relation.complete and not ddl.temporary
      if is_ours and not ddl.inherits and not ddl.is_query then
        local has = false
        for _, constraint in ipairs(relation.constraints) do has = has or constraint.kind == "primary_key" end
        if not has then report({}, item) end
      end
    end
  end,
}
