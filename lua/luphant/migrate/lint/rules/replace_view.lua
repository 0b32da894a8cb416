-- lint rule replace-view: readers of a view wait while it is replaced.
--
-- SPDX-License-Identifier: MIT

return {
  name = "replace-view", severity = "note", group = "locks",
  claims = { mode = "AccessExclusiveLock" },
  title = "CREATE OR REPLACE VIEW",
  message = "locks the view {name} for its readers for a moment",
  why = [[ACCESS EXCLUSIVE on the view: the statement waits for queries that use it, and later ones wait behind it.
The runner's lock_timeout gives up and tries again before that hurts.]],
  advice = "Keep the migration short: nothing slow in front of it or behind it.",
  bad = "create or replace view open_orders as select id, number from orders where status in ('open', 'new');",
  statements = {
    ["create view"] = function(ddl, ctx, report)
      if ddl.or_replace and ddl.name and not ctx:is_new(ddl.name) and ctx.known:relation(ddl.name) then report() end
    end,
  },
}
