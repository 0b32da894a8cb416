-- lint rule no-way-back: a migration that cannot be undone, without saying so.
--
-- SPDX-License-Identifier: MIT

return {
  name = "no-way-back", severity = "warning", group = "hygiene",
  title = "No migrate:down",
  message = "has no way back",
  why = [[At three in the morning `luphant migrate down` is what one reaches for. Where there is no way back, the
file says so (irreversible) and nobody hopes in vain.]],
  advice = "Write `-- migrate:down` and what undoes it. Where nothing does: `-- migrate:up irreversible`.",
  bad = "-- migrate:up\nalter table orders add column weight integer;",
  is_about_file = true,
  file = function(ctx, report)
    local migration = ctx.migration
    if migration.kind ~= "versioned" or migration.irreversible then return end
    local has = migration.down or (migration.script and migration.script.down)
    if not has then report() end
  end,
}
