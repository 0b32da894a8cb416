-- lint rule not-rerunnable: a file without a transaction that cannot be run a second time.
--
-- SPDX-License-Identifier: MIT

local guard = require "luphant.migrate.lint.guard"
local remedy = require "luphant.migrate.lint.remedy"

local GUARDED = { create = true, drop = true }
local ALWAYS = {}
for word in ([[vacuum reindex analyze set reset refresh comment cluster select grant revoke update delete checkpoint
  truncate do with merge]]):gmatch "%a+" do ALWAYS[word] = true end
-- Actions of ALTER TABLE that fail when they are done already.
local ONCE = { add_column = true, add_constraint = true, add_identity = true, drop_column = true, rename = true,
  drop_constraint = true, rename_column = true, rename_constraint = true, attach_partition = true,
  detach_partition = true }
local ADVICE = "Give it IF EXISTS or IF NOT EXISTS where there is one, or a migration of its own with a transaction."

local function is_guarded(ddl, sql)
  if ALWAYS[ddl.verb] or ddl.or_replace then return true end
  if GUARDED[ddl.verb] then return ddl.if_not_exists or ddl.if_exists or false end
  if ddl.verb == "insert" then return sql:lower():find "on%s+conflict" ~= nil end
  if ddl.what ~= "alter table" then return ddl.actions[1] and ddl.actions[1].if_not_exists or false end
  for _, action in ipairs(ddl.actions) do
    local is_repeatable = action.if_exists or action.if_not_exists or not ONCE[action.kind]
    if not is_repeatable then return false end
  end
  return true
end

-- With nothing behind it, it either happened or did not; only an index build leaves something half-done.
local function is_last(ctx)
  local is_build = ctx.item.ddl.what == "create index" and ctx.item.ddl.concurrently
  return ctx.item.index == #ctx.items and not is_build and not ctx.migration.verify
end

return {
  name = "not-rerunnable", severity = "warning", group = "hygiene",
  title = "A statement without a transaction that cannot be run twice",
  message = "cannot be run again after a failure behind it",
  why = [[Without a transaction a file can stop half-way. resume goes on with the statement that failed; when it is not
clear whether that one was done, only one that may be repeated is safe.]],
  safe = "-- migrate:up transaction:false\n{guarded};",
  remedy = function(ctx, fields) return remedy.statement(ctx, fields.guarded) end,
  bad = "-- migrate:up transaction:false\ncreate index concurrently orders_number_idx on orders (number);",
  statements = {
    ["*"] = function(ddl, ctx, report)
      local sql = ctx.item.statement.sql
      if ctx.in_transaction or is_last(ctx) or is_guarded(ddl, sql) then return end
      local guarded = guard.of(ddl, sql)
      report { guarded = guarded, safe = not guarded and {} or nil, advice = not guarded and ADVICE or nil }
    end,
  },
}
