-- lint rule enum-value-in-same-transaction: a label used before it exists for others.
--
-- SPDX-License-Identifier: MIT

local judge = require "luphant.migrate.judge"

return {
  name = "enum-value-in-same-transaction", severity = "error", group = "compatibility",
  title = "An enum value used in the transaction that adds it",
  message = "{what}",
  why = [[The server answers "unsafe use of new value". The runner would stop here before anything has run, so this
is only told earlier.]],
  safe = { "{first};", "{statement};" },
  bad = "alter type mood add value 'angry' after 'sad';\ninsert into moods values ('angry');",
  setup = "create table moods (m mood not null primary key);",
  section = function(ctx, report)
    if not ctx.in_transaction then return end
    judge.new_values(ctx.section.statements, function(statement, message)
      for _, item in ipairs(ctx.items) do
        if item.statement == statement then
          local line = tonumber(message:match "line (%d+)")
          local first
          for _, other in ipairs(ctx.items) do
            if other.statement.line == line then first = other.statement.sql end
          end
          report({ what = message, first = first }, item)
        end
      end
    end)
  end,
}
