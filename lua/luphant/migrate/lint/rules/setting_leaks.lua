-- lint rule setting-leaks: a setting that outlives its migration.
--
-- SPDX-License-Identifier: MIT

local remedy = require "luphant.migrate.lint.remedy"

local function local_set(ctx)
  if not ctx.in_transaction then return nil end
  local sql = ctx.item.statement.sql:gsub("^([sS][eE][tT]%s+)[sS][eE][sS][sS][iI][oO][nN]%s+", "%1", 1)
  return remedy.statement(ctx, (sql:gsub("^([sS][eE][tT])%s+", "%1 local ", 1)))
end

return {
  name = "setting-leaks", severity = "warning", group = "hygiene", also_down = true,
  title = "SET without LOCAL",
  message = "sets {setting} for everything that comes after this migration, too",
  why = [[The session goes on with the next migration, and with the runner's own statements. SET LOCAL ends with the
transaction. Without a transaction, RESET at the end of the file does it.]],
  safe = "set local {setting} = {value};",
  remedy = local_set,
  bad = "set search_path = public;",
  statements = {
    set = function(ddl, ctx, report)
      if ddl.scope == "local" or not ddl.setting or ddl.setting == "constraints" or ddl.setting == "transaction" then
        return
      end
      if not ctx.in_transaction then
        for _, item in ipairs(ctx:later()) do
          local is_reset = item.ddl.verb == "reset"
          if is_reset and (item.ddl.setting == ddl.setting or item.ddl.setting == "all") then return end
        end
        report { safe = "-- migrate:up transaction:false\n{statement};\n-- ...\nreset {setting};" }
      else
        report()
      end
    end,
  },
}
