-- lint rule invalid-index-in-the-way: IF NOT EXISTS satisfied by the ruin of an earlier attempt.
--
-- SPDX-License-Identifier: MIT

return {
  name = "invalid-index-in-the-way", severity = "error", group = "locks", needs = "facts",
  title = "IF NOT EXISTS over an invalid index",
  message = "is skipped: an INVALID index called {name} is there already",
  why = [[An attempt that was cut off left it. IF NOT EXISTS looks at the name only, so the statement succeeds and
the index stays unusable. This is found with facts from the database.]],
  safe = [[
-- migrate:up transaction:false
drop index concurrently if exists {name};
{statement};
]],
  bad = [[
-- migrate:up transaction:false
create index concurrently if not exists orders_note_idx on orders (note);
]],
  facts = { indexes = { orders = { { name = "orders_note_idx", columns = { "note" }, valid = false } } } },
  statements = {
    ["create index"] = function(ddl, ctx, report)
      local index = ddl.if_not_exists and ctx.known:index(ddl.name)
      if index and index.valid == false then report() end
    end,
  },
}
