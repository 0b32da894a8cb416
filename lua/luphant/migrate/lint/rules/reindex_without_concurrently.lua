-- lint rule reindex-without-concurrently: an index rebuilt while writers, and planners, wait.
--
-- SPDX-License-Identifier: MIT

local remedy = require "luphant.migrate.lint.remedy"

return {
  name = "reindex-without-concurrently", severity = "error", group = "locks", exempts_new = true,
  claims = { mode = "ShareLock", work = "build" },
  title = "REINDEX without CONCURRENTLY",
  message = "rebuilds indexes of {what} while nobody can write",
  why = [[The table is locked in SHARE mode and each index in ACCESS EXCLUSIVE while it is rebuilt. Queries wait
too: the planner looks at every index of a table.]],
  safe = [[
-- migrate:up transaction:false
reindex {kind} concurrently {what};
]],
  remedy = remedy.concurrently,
  bad = "reindex table orders;",
  statements = {
    ["*"] = function(ddl, _, report)
      if ddl.verb ~= "reindex" or ddl.concurrently or not ddl.name then return end
      report { what = ddl.name.text, kind = ddl.object or "table" }
    end,
  },
}
