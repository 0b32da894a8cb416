-- lint rule identifier-too-long: a name that the server cuts.
--
-- SPDX-License-Identifier: MIT

local reader_of = require "luphant.migrate.ddl.reader"

local LONGEST = 63 -- bytes: NAMEDATALEN - 1

return {
  name = "identifier-too-long", severity = "error", group = "hygiene", also_down = true,
  title = "An identifier of more than 63 bytes",
  message = "{name} is cut to 63 bytes",
  why = [[The server cuts it with a notice that nobody reads. Two long names can become one, and the next migration
that names it in full means the cut one by luck only.]],
  advice = "Choose a shorter name.",
  bad = "-- migrate:up transaction:false\ncreate index concurrently if not exists "
    .. "orders_customer_id_and_placed_at_and_status_for_the_morning_report_idx on orders (status);",
  statements = {
    ["*"] = function(_, ctx, report)
      for _, token in ipairs(reader_of.new(ctx.item.statement.sql).tokens) do
        local text = token.kind == "word" and token.text or (token.kind == "quoted" and token.text:sub(2, -2))
        if text and #text > LONGEST then
          report({ name = token.text }, nil, token)
          return
        end
      end
    end,
  },
}
