-- lint rule not-rerunnable: a file without a transaction that cannot be run a second time.
--
-- SPDX-License-Identifier: MIT

local GUARDED = { create = true, drop = true }
local ALWAYS = { vacuum = true, reindex = true, analyze = true, set = true, reset = true, refresh = true, comment = true,
  cluster = true, select = true, grant = true, revoke = true, update = true, delete = true, checkpoint = true,
  truncate = true, ["do"] = true, with = true, merge = true }

local function is_guarded(ddl, sql)
  if ALWAYS[ddl.verb] or ddl.or_replace then return true end
  if GUARDED[ddl.verb] then return ddl.if_not_exists or ddl.if_exists or false end
  if ddl.verb == "insert" then return sql:lower():find "on%s+conflict" ~= nil end
  if ddl.what ~= "alter table" then return ddl.actions[1] and ddl.actions[1].if_not_exists or false end
  for _, action in ipairs(ddl.actions) do
    local is_repeatable = action.if_exists or action.if_not_exists
      or (not action.kind:find "^add_" and not action.kind:find "^drop_column" and not action.kind:find "^rename"
        and not action.kind:find "partition$" and action.kind ~= "drop_constraint")
    if not is_repeatable then return false end
  end
  return true
end

return {
  name = "not-rerunnable", severity = "warning", group = "hygiene",
  title = "A statement without a transaction that cannot be run twice",
  message = "cannot be run again after a failure behind it",
  why = [[Without a transaction a file can stop half-way. resume goes on with the statement that failed; when it is not
clear whether that one was done, only one that may be repeated is safe.]],
  safe = "-- migrate:up transaction:false\n{guarded};",
  bad = "-- migrate:up transaction:false\ncreate index concurrently orders_number_idx on orders (number);",
  statements = {
    ["*"] = function(ddl, ctx, report)
      if ctx.in_transaction or is_guarded(ddl, ctx.item.statement.sql) then return end
      local sql, guard = ctx.item.statement.sql, nil
      if ddl.what == "create index" then
        guard = sql:gsub("^(.-[cC][oO][nN][cC][uU][rR][rR][eE][nN][tT][lL][yY])", "%1 if not exists")
      elseif ddl.verb == "drop" then
        guard = sql:gsub("^(%a+%s+%a+%s+)", "%1if exists ")
          :gsub("^(%a+%s+%a+%s+)if exists ([cC][oO][nN]%a+)", "%1%2 if exists")
      end
      local is_guard = guard and guard ~= sql
      report {
        safe = not is_guard and {} or nil, guarded = guard,
        advice = not is_guard and "Give it IF EXISTS or IF NOT EXISTS where there is one, or a migration of its own that "
          .. "has a transaction." or nil,
      }
    end,
  },
}
