-- lint rule fails-in-trace: a migration that does not run.
--
-- SPDX-License-Identifier: MIT

return {
  name = "fails-in-trace", severity = "error", group = "trace", needs = "trace",
  title = "A statement that fails on the scratch database",
  message = "fails: {what}",
  why = [[All migrations of the folder were run in order on an empty database, and this one did not get through.]],
  advice = "Mend it. What depends on data or on roles of production belongs into seeds, or behind IF EXISTS.",
  file = function(ctx, report)
    local skipped = ctx.traced and ctx.traced.skipped
    -- What the runner would refuse has a rule of its own.
    if skipped and not skipped:find "refused" then
      report { severity = "note", message = "was not run on the scratch database: it " .. skipped }
    end
    local failed = ctx.migration.script and ctx.traced and ctx.traced.failed
    if failed then report { what = failed.err.message or tostring(failed.err), advice = failed.err.hint } end
  end,
  section = function(ctx, report)
    local failed = ctx.traced and ctx.traced.failed
    for _, item in ipairs(failed and ctx.items or {}) do
      if item.statement.line == failed.statement.line and item.statement.column == failed.statement.column then
        local what = failed.err.message or tostring(failed.err)
        report({ what = what, advice = failed.err.hint }, item)
      end
    end
  end,
}
