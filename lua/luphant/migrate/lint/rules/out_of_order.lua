-- lint rule out-of-order: a number below what the other branch has already.
--
-- SPDX-License-Identifier: MIT

local version = require "luphant.migrate.version"

return {
  name = "out-of-order", severity = "error", group = "hygiene", needs = "base",
  title = "A new migration with a lower number than one of the base branch",
  message = "comes before {highest}, which {base} has already",
  why = [[Where that one has been applied, this one is out of order and the runner refuses. Two branches that grew
side by side bring it about.]],
  advice = "Give it a higher number.",
  is_about_file = true,
  base = function() return { name = "main", files = { "migrations/0042_invoices.sql" } } end,
  bad = "alter table orders add column weight integer;",
  file = function(ctx, report)
    local base, migration = ctx.base, ctx.migration
    if not base or migration.kind ~= "versioned" or base.files[migration.file] or not base.highest then return end
    if version.before(migration.version, base.highest) then report { highest = base.highest, base = base.name } end
  end,
}
