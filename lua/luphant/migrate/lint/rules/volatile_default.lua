-- lint rule volatile-default: a default that differs from row to row writes the whole table again.
--
-- SPDX-License-Identifier: MIT

local volatility = require "luphant.migrate.lint.volatility"

return {
  name = "volatile-default", severity = "error", group = "locks", exempts_new = true,
  claims = { mode = "AccessExclusiveLock", work = "rewrite" },
  title = "ADD COLUMN with a volatile default",
  message = "adds {column} with a default of its own for each row: {table} is written again while locked for everybody",
  why = [[A constant default, and a stable one like now(), is stored once and costs nothing. A volatile one
({culprit}) has to be computed for each row: the whole table is rewritten under ACCESS EXCLUSIVE.]],
  safe = {
    [[
alter table {table} add column {column} {type};
alter table {table} alter column {column} set default {default};
]], [[
-- in batches, with pauses, until no row is left
update {table} set {column} = {default}
 where ctid = any (array(select ctid from {table} where {column} is null limit 1000));
]] },
  bad = "alter table orders add column token uuid default gen_random_uuid();",
  good = { "alter table orders add column seen_at timestamptz default now();" },
  actions = {
    add_column = function(action, _, ctx, report)
      local default = action.definition.default
      if not default then return end
      local answer, name = volatility.of(default, ctx.known)
      if answer == "steady" then return end
      local unsure = answer == "unknown"
      report({
        culprit = name .. "()", severity = unsure and "warning" or nil,
        message = unsure and ("adds {column} with a default by {culprit}; when that is volatile, {table} is written "
          .. "again while locked for everybody") or nil,
      }, action)
    end,
  },
}
