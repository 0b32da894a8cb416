-- lint rule vacuum-full-or-cluster: the whole table written anew.
--
-- SPDX-License-Identifier: MIT

return {
  name = "vacuum-full-or-cluster", severity = "error", group = "locks", exempts_new = true,
  claims = { mode = "AccessExclusiveLock", work = "rewrite" },
  title = "VACUUM FULL, CLUSTER",
  message = "writes {table} again while it is locked for everybody",
  why = [[Both copy the whole table and all its indexes under ACCESS EXCLUSIVE.]],
  advice = "Plain VACUUM gives space back to the table while others work. To give it back to the disk, pg_repack or "
    .. "pg_squeeze copy with a short lock at the end. Neither belongs into a migration.",
  bad = "cluster orders using orders_pkey;",
  statements = {
    cluster = function(ddl, _, report)
      report { table = ddl.name and ddl.name.text or "every clustered table" }
    end,
    vacuum = function(ddl, _, report)
      if ddl.options.full then report { table = ddl.name and ddl.name.text or "every table" } end
    end,
  },
}
