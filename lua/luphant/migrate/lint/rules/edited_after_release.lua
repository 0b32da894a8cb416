-- lint rule edited-after-release: a file that others have run already.
--
-- SPDX-License-Identifier: MIT

return {
  name = "edited-after-release", severity = "error", group = "hygiene", needs = "base",
  title = "A migration of the base branch that was edited",
  message = "is in {base} already, with another text",
  why = [[Where it has been applied the runner refuses to go on: the text no longer is what was run. Only comments
may change, and `luphant migrate repair` then records the new text.]],
  advice = "Put the old text back and write a new migration.",
  is_about_file = true,
  base = function(file) return { name = "main", files = { file }, edited = { file } } end,
  bad = "alter table orders add column weight integer;",
  file = function(ctx, report)
    local base, migration = ctx.base, ctx.migration
    if migration.kind == "repeatable" or not base then return end
    if base.edited[migration.file] then report { base = base.name } end
  end,
}
