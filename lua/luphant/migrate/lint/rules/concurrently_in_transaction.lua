-- lint rule concurrently-in-transaction: what the server refuses to run in a transaction.
--
-- SPDX-License-Identifier: MIT

local guard = require "luphant.migrate.lint.guard"
local judge = require "luphant.migrate.judge"
local remedy = require "luphant.migrate.lint.remedy"

return {
  name = "concurrently-in-transaction", severity = "error", group = "locks", also_down = true,
  title = "A statement that cannot run in a transaction",
  message = "{what} cannot run in a transaction, and this file opens one",
  why = [[The server refuses it. The runner would stop here before anything has run, so this is only told earlier.]],
  safe = [[
-- migrate:up transaction:false
{guarded};
]],
  remedy = remedy.concurrently,
  bad = "create index concurrently orders_number_idx on orders (number);",
  statements = {
    ["*"] = function(ddl, ctx, report)
      local what = ctx.in_transaction and judge.needs_no_transaction(ctx.item.statement)
      local sql = ctx.item.statement.sql
      if what then report { what = what, guarded = guard.of(ddl, sql) or sql } end
    end,
  },
}
