-- lint rule drop-object: tables and schemas that go for good.
--
-- SPDX-License-Identifier: MIT

local function check(ddl, ctx, report)
  if ctx.migration.phase == "contract" then return end
  for _, name in ipairs(ddl.names or {}) do
    local is_view = ddl.object:find "view$"
    local relation = ctx.known:relation(name)
    if not ctx:is_new(name) and not (is_view and not relation) then
      report { name = name.text }
    end
  end
end

return {
  name = "drop-object", severity = "error", group = "compatibility",
  title = "DROP TABLE, VIEW, SCHEMA outside of the contract phase",
  message = "drops the {object} {name} while programs of the last release still run",
  why = [[Programs that run now may still use it, and what was in a table is lost. First release a program that does
not know it, then drop it, in a migration with phase:contract, which runs after the deployment.]],
  safe = "-- migrate:up phase:contract\n{statement};",
  bad = "drop view open_orders;",
  statements = {
    ["drop table"] = check, ["drop schema"] = check, ["drop view"] = check, ["drop materialized view"] = check,
    ["drop database"] = check, ["drop foreign table"] = check,
  },
}
