-- lint rule down-drops-more: a way back that loses what was there before.
--
-- SPDX-License-Identifier: MIT

local function made(ctx)
  local names = {}
  local up = ctx.migration.up
  for _, statement in ipairs(up and up.statements or {}) do
    for _, word in ipairs(statement.words) do names[word] = true end
  end
  return names, up and up.text:lower() or ""
end

return {
  name = "down-drops-more", severity = "error", group = "hygiene", also_down = true,
  title = "migrate:down drops what migrate:up did not make",
  message = "drops {name}, which migrate:up does not mention",
  why = [[The way back should leave the database as it was before. What this drops was there before, with its data.]],
  advice = "Take it out of migrate:down.",
  bad = "-- migrate:up\nalter table orders add column weight integer;\n\n-- migrate:down\ndrop table customers;",
  statements = {
    ["drop table"] = function(ddl, ctx, report)
      if ctx.part ~= "down" then return end
      local names, text = made(ctx)
      for _, name in ipairs(ddl.names) do
        if not names[name.name] and not text:find(name.name:lower(), 1, true) then report { name = name.text } end
      end
    end,
  },
  actions = {
    drop_column = function(action, _, ctx, report)
      if ctx.part ~= "down" or not action.column then return end
      local names, text = made(ctx)
      if not names[action.column] and not text:find(action.column:lower(), 1, true) then
        report({ name = action.column }, action)
      end
    end,
  },
}
