-- lint rule down-drops-more: a way back that loses what was there before.
--
-- SPDX-License-Identifier: MIT

-- Does migrate:up mention the name anywhere, also in the text of a function?
local function is_mentioned(ctx, name)
  local text = ctx.migration.up and ctx.migration.up.text:lower() or ""
  local plain = name:lower():gsub("%p", "%%%0")
  return text:find("%f[%w_]" .. plain .. "%f[^%w_]") ~= nil
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
      for _, name in ipairs(ddl.names) do
        if not is_mentioned(ctx, name.name) then report { name = name.text } end
      end
    end,
  },
  actions = {
    drop_column = function(action, _, ctx, report)
      if ctx.part ~= "down" or not action.column then return end
      if not is_mentioned(ctx, action.column) then report({ name = action.column }, action) end
    end,
  },
}
