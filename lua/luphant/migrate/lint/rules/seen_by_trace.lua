-- lint rule seen-by-trace: what the server did and no rule said.
--
-- SPDX-License-Identifier: MIT

local locks_of = require "luphant.migrate.lint.locks"
local referee = require "luphant.migrate.lint.referee"

-- Does a rule speak of the locks, or of the work, of this statement already?
local function is_told(ctx, statement, field)
  for _, entry in ipairs(ctx.found) do
    local claims = entry.finding.claims
    if entry.statement == statement and (entry.finding.rule:find "under%-lock$" or (claims and claims[field])) then
      return true
    end
  end
  return false
end

-- Locks that the text of the statement lets expect.
local function is_expected(ctx, item, lock)
  for _, known in ipairs(locks_of.of(item.ddl, ctx.known)) do
    local name = known.relation and known.relation.name
    local is_it = name and (lock.relation == name or lock.relation:match "[^.]*$" == name)
    if is_it and locks_of.LEVEL[known.mode] >= locks_of.LEVEL[lock.mode] then return true end
  end
  return false
end

local function look(ctx, item, entry, report)
  local events = referee.events(entry)
  if #events.work > 0 and item.ddl.verb ~= "truncate" and not is_told(ctx, item.statement, "work") then
    report({ what = table.concat(events.work, ", ") .. " while a strong lock is held" }, item)
    return
  end
  for _, lock in ipairs(events.locks) do
    if not is_expected(ctx, item, lock) and not is_told(ctx, item.statement, "mode") then
      local what = ("takes %s on %s"):format(locks_of.sql_name(lock.mode), lock.relation)
      report({ what = what, severity = "warning" }, item)
      return
    end
  end
end

return {
  name = "seen-by-trace", severity = "error", group = "trace", needs = "trace",
  title = "What the server did and no rule said",
  message = "{what}",
  why = [[Seen on the scratch database, whatever the text looks like: DO blocks, functions, scripts of extensions and
triggers do what their text does not show.]],
  advice = "Look at what the statement runs, and do the same by statements of which each is safe.",
  -- Of a migration in Lua no other rule knows anything.
  file = function(ctx, report)
    for _, entry in ipairs(ctx.migration.script and ctx.traced and ctx.traced.statements or {}) do
      local events = not entry.assumed and referee.events(entry) or { work = {} }
      if #events.work > 0 then
        report { what = ("line %d: %s while a strong lock is held"):format(entry.statement.line,
          table.concat(events.work, ", ")) }
      end
    end
  end,
  section = function(ctx, report)
    for _, item in ipairs(ctx.traced and ctx.items or {}) do
      local entry = referee.entry(ctx.traced, item.statement)
      if entry and entry.seen and not entry.assumed then look(ctx, item, entry, report) end
    end
  end,
}
