-- lint rule needs-privileges: what a plain owner of the schema may not do.
--
-- SPDX-License-Identifier: MIT

local KINDS = { extension = true, role = true, tablespace = true, database = true, ["event trigger"] = true,
  ["foreign data wrapper"] = true, language = true, system = true, subscription = true, publication = true }

return {
  name = "needs-privileges", severity = "warning", group = "hygiene",
  title = "Extensions, roles, settings of the server among other statements",
  message = "{verb} {object} needs rights that whoever owns the tables may not have",
  why = [[In production another role may run the migrations than on your machine, and roles, tablespaces and
settings belong to the whole server, not to this database. In a migration of its own it can be run by whoever may,
or skipped.]],
  safe = { "{statement};", "{others};" },
  bad = "create publication changes for table orders;\nalter table orders add column weight integer;",
  statements = {
    ["*"] = function(ddl, ctx, report)
      if not KINDS[ddl.object or ""] or #ctx.items == 1 then return end
      if ddl.verb ~= "create" and ddl.verb ~= "alter" and ddl.verb ~= "drop" then return end
      local others = {}
      for _, item in ipairs(ctx.items) do
        if not KINDS[item.ddl.object or ""] then others[#others + 1] = item.statement.sql end
      end
      if #others == 0 then return end
      if #others > 3 then others = { "-- all the other statements" } end
      report { object = ddl.object:upper(), others = table.concat(others, ";\n") }
    end,
  },
}
