-- lint rule refresh-without-concurrently: readers of a materialized view wait for its query.
--
-- SPDX-License-Identifier: MIT

return {
  name = "refresh-without-concurrently", severity = "warning", group = "locks", exempts_new = true,
  claims = { mode = "AccessExclusiveLock", work = "rewrite" },
  title = "REFRESH MATERIALIZED VIEW without CONCURRENTLY",
  message = "locks {name} for its readers until its query has been run",
  why = [[ACCESS EXCLUSIVE is held while the query runs. CONCURRENTLY keeps the old rows readable meanwhile; it
needs a unique index on plain columns, and still keeps other refreshes out. Refreshing is work for a scheduler, not
for a migration.]],
  safe = { [[
-- migrate:up transaction:false
create unique index concurrently if not exists {bare}_key on {name} ({key});
]], "refresh materialized view concurrently {name};" },
  example = { ["<its key>"] = "day" },
  bad = "refresh materialized view daily;",
  statements = {
    ["refresh materialized view"] = function(ddl, _, report)
      if not ddl.concurrently and not ddl.with_no_data then report { key = "<its key>" } end
    end,
  },
}
