-- lint rule statement-timeout: statements, or a transaction, without an end.
--
-- SPDX-License-Identifier: MIT

local WATCHED = { statement_timeout = true, idle_in_transaction_session_timeout = true, transaction_timeout = true }

return {
  name = "statement-timeout", severity = "warning", group = "hygiene", also_down = true,
  title = "statement_timeout or idle_in_transaction_session_timeout switched off",
  message = "switches {setting} off, so nothing ends a statement that went wrong",
  why = [[The runner sets both, so that a migration that hangs lets go of its locks. Who needs longer says how long,
on the marker line.]],
  safe = "-- migrate:up statement_timeout:30min\n{rest};",
  bad = "set local statement_timeout = 0;\nalter table orders add column weight integer;",
  statements = {
    set = function(ddl, ctx, report)
      if not WATCHED[ddl.setting or ""] or not ddl.value:find "^'?0%D*$" then return end
      local later = ctx.items[ctx.item.index + 1]
      report { rest = later and later.statement.sql or "..." }
    end,
  },
  section = function(ctx, report)
    local first = ctx.items[1]
    if not first or ctx.section.options.statement_timeout ~= 0 then return end
    report({ setting = "statement_timeout", rest = first.statement.sql }, first)
  end,
}
