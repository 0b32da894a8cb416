-- lint rule rename: a name that programs know.
--
-- SPDX-License-Identifier: MIT

local COPY = {
  [[
alter table {table} add column {to} {type};
create function {bare}_{column}_copy() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' or new.{to} is not distinct from old.{to} then
    new.{to} := new.{column};
  else
    new.{column} := new.{to};
  end if;
  return new;
end $$;
create trigger {bare}_{column}_copy before insert or update on {table}
  for each row execute function {bare}_{column}_copy();
]],
  [[
-- in batches, with pauses, until no row is left
update {table} set {to} = {column}
 where ctid = any (array(select ctid from {table} where {to} is null and {column} is not null limit 1000));
]], [[
-- migrate:up phase:contract
drop trigger {bare}_{column}_copy on {table};
alter table {table} drop column {column};
]] }

local VIEW = { [[
alter table {table} rename to {to};
create view {table} as select * from {to};
]], "-- migrate:up phase:contract\ndrop view {table};" }

return {
  name = "rename", severity = "error", group = "compatibility", exempts_new = true,
  claims = { mode = "AccessExclusiveLock" },
  title = "RENAME, SET SCHEMA outside of the contract phase",
  message = "renames {what}, which programs of the last release still know by the old name",
  why = [[From that moment every statement of theirs that has the old name in it fails. There is no moment at which
both releases are right: keep both names for a while.]],
  bad = "alter table orders rename column note to remark;",
  good = { "alter table orders rename to purchases;\ncreate view orders as select * from purchases;" },
  actions = {
    rename_column = function(action, ddl, ctx, report)
      if ctx.migration.phase == "contract" then return end
      local relation = ctx.known:relation(ddl.table)
      local column = relation and relation.columns[action.column or ""]
      report({
        what = ("the column %s of %s"):format(action.column or "?", ddl.table.text), safe = COPY,
        type = column and column.type and column.type.text or "<its type>",
      }, action)
    end,
    rename = function(action, ddl, ctx, report)
      if ctx.migration.phase == "contract" then return end
      -- A view of the old name in the same transaction keeps old programs going.
      for _, item in ipairs(ctx:later()) do
        local later = item.ddl
        if later.what == "create view" and later.name and later.name.name == ddl.table.name then return end
      end
      report({ what = "the table " .. ddl.table.text, safe = VIEW, to = action.to }, action)
    end,
    set_schema = function(action, ddl, ctx, report)
      if ctx.migration.phase == "contract" then return end
      report({ what = ddl.table.text, advice = "Leave a view of the old name behind, until nobody uses it." }, action)
    end,
  },
  statements = {
    ["*"] = function(ddl, ctx, report)
      local action = ddl.verb == "alter" and ddl.object ~= "table" and ddl.actions[1]
      if not action or ctx.migration.phase == "contract" then return end
      local type = ctx.known:type(ddl.name)
      if type and type.born == ctx.migration then return end
      local is_rename = action.kind == "rename" or action.kind == "rename_value" or action.kind == "rename_column"
        or action.kind == "rename_attribute"
      -- Nobody asks for an index or a sequence by name in a query.
      if is_rename and ddl.object ~= "index" and ddl.object ~= "role" and ddl.object ~= "policy" then
        report({ what = ("the %s %s"):format(ddl.object, ddl.name and ddl.name.text or "?"),
          advice = "Make the new one beside the old one, and drop that in the contract phase." }, action)
      end
    end,
  },
}
