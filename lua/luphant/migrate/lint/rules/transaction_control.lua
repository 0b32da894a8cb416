-- lint rule transaction-control: BEGIN and COMMIT, which are the runner's.
--
-- SPDX-License-Identifier: MIT

local judge = require "luphant.migrate.judge"
local remedy = require "luphant.migrate.lint.remedy"

return {
  name = "transaction-control", severity = "error", group = "hygiene", also_down = true,
  title = "BEGIN, COMMIT and what else is the runner's own",
  message = "{what}",
  why = [[The row that says "applied" belongs to the same transaction as the work. A COMMIT in the file parts them,
and a failure behind it leaves a database that says nothing about what happened.]],
  advice = "{hint}",
  remedy = remedy.without_brackets,
  bad = "begin;\nalter table orders add column weight integer;\ncommit;",
  statements = {
    ["*"] = function(_, ctx, report)
      local what, hint = judge.refusal(ctx.item.statement, ctx.in_transaction)
      if what then report { what = what, hint = hint } end
    end,
  },
}
