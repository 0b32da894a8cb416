-- lint rule concurrently-with-lock-timeout: a build that a timeout cuts off, leaving a broken index.
--
-- SPDX-License-Identifier: MIT

return {
  name = "concurrently-with-lock-timeout", severity = "error", group = "locks",
  title = "CONCURRENTLY under a lock_timeout",
  message = "runs CONCURRENTLY under a lock_timeout that can cut it off",
  why = [[CONCURRENTLY waits for transactions that were open when it began, and lock_timeout counts that waiting.
When it strikes, the index stays behind INVALID: it costs every write and serves no query. The runner sets the
timeout to 0 for such a statement, unless the file says otherwise.]],
  safe = [[
-- migrate:up transaction:false
{statement};
]],
  bad = [[
-- migrate:up transaction:false lock_timeout:5s
create index concurrently if not exists orders_number_idx on orders (number);
]],
  statements = {
    ["*"] = function(ddl, ctx, report)
      local timeout = ctx.section.options.lock_timeout
      if ddl.setting == "lock_timeout" then
        ctx.lock_timeout_set = ddl.verb == "set" and not ddl.value:find "^'?0"
      end
      if ddl.concurrently and ddl.verb ~= "refresh" and (ctx.lock_timeout_set or (timeout and timeout > 0)) then
        report()
      end
    end,
  },
}
