-- lint rule unqualified-name: a name that the search path decides about.
--
-- SPDX-License-Identifier: MIT

local function check(ddl, ctx, report)
  local name = ddl.table or ddl.name
  if name and not name.schema and not (ctx:is_new(name) and ddl.verb ~= "create") and not ddl.temporary then
    report({ name = name.text }, nil, name)
  end
end

return {
  name = "unqualified-name", severity = "off", group = "hygiene", level = "note",
  title = "A name without its schema",
  message = "means a different {name} where the search path is another one",
  why = [[Which schema is meant depends on the search path of whoever runs the migration. Off unless asked for: in
one-schema databases it only makes noise.]],
  safe = "create table public.{name} (id bigint primary key);",
  bad = "create table notes (id bigint primary key);",
  statements = {
    ["create table"] = check, ["alter table"] = check, ["create view"] = check, ["create index"] = check,
    ["drop table"] = check, ["drop view"] = check, truncate = check, update = check, delete = check, insert = check,
    ["create type"] = check, ["create domain"] = check, ["create function"] = check, ["create sequence"] = check,
  },
}
