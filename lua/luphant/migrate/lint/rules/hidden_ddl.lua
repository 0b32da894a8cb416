-- lint rule hidden-ddl: what no linter can read.
--
-- SPDX-License-Identifier: MIT

local referee = require "luphant.migrate.lint.referee"

local WORDS = { "alter%s+table", "create%s", "drop%s", "truncate", "execute%s", "lock%s+table", "reindex", "cluster%s" }

local function has_ddl(body)
  local text = body:lower()
  for _, word in ipairs(WORDS) do
    if text:find("%f[%w_]" .. word) then return true end
  end
  return false
end

return {
  name = "hidden-ddl", severity = "warning", group = "hygiene",
  title = "DDL inside of a DO block",
  message = "does DDL where only the server can see it",
  why = [[What a DO block does depends on its variables and on the data. No linter sees inside; running it on a
scratch database does: luphant migrate lint --trace shows its locks, rewrites and scans.]],
  advice = "Write the statements themselves, with IF EXISTS where the block asks a question.",
  bad = "do $$ begin execute 'alter table orders add column weight integer'; end $$;",
  statements = {
    ["do"] = function(ddl, ctx, report)
      local entry = referee.entry(ctx.traced, ctx.item.statement)
      if entry and entry.seen then return end -- nothing is hidden any more: seen-by-trace tells what it did
      if ddl.body and has_ddl(ddl.body) then report() end
    end,
  },
  file = function(ctx, report)
    local is_seen = ctx.traced and not ctx.traced.skipped
    if ctx.migration.language == "lua" and not is_seen then
      report { severity = "note", message = "is a program: what it does to the schema is not looked at" }
    end
  end,
}
