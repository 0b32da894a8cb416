-- lint rule verify-under-lock: rows read to verify while a table is still locked.
--
-- SPDX-License-Identifier: MIT

local ddl_of = require "luphant.migrate.ddl"
local sqltext = require "luphant.sqltext"

local FEW_ROWS = 10000 -- read in a few milliseconds

-- Names behind FROM and JOIN, as the text has them; a name with a schema is several tokens.
local function names_read(sql)
  local tokens, names = {}, {}
  for _, token in ipairs((sqltext.tokens(sql))) do
    if token.kind ~= "space" and token.kind ~= "comment" then tokens[#tokens + 1] = token end
  end
  for i, token in ipairs(tokens) do
    local word = token.kind == "word" and token.text:lower()
    if word == "from" or word == "join" then
      local at = i + 1
      while tokens[at] and tokens[at].kind == "word" and tokens[at].text:lower() == "only" do at = at + 1 end
      if tokens[at + 1] and tokens[at + 1].text == "." then at = at + 2 end
      local name = tokens[at]
      if name and name.kind == "word" then names[#names + 1] = name.text:lower() end
      if name and name.kind == "quoted" then names[#names + 1] = (name.text:sub(2, -2):gsub('""', '"')) end
    end
  end
  return names
end

local function is_long(ctx, name)
  local relation = ctx.known:relation { name = name }
  if not relation or relation.born == ctx.migration then return false end
  return not relation.rows or relation.rows >= FEW_ROWS
end

local function look(ctx, report, statement)
  for _, name in ipairs(names_read(statement.sql)) do
    if is_long(ctx, name) then
      local held = ctx.held[1]
      report({
        what = name, locked = held.lock.relation.text, line = held.item.statement.line,
        first_statement = held.item.statement.sql,
      }, { statement = statement, ddl = ddl_of.read(statement.sql), section = ctx.migration.verify, from = 1 })
      return
    end
  end
end

return {
  name = "verify-under-lock", severity = "warning", group = "locks",
  claims = { mode = "AccessExclusiveLock", work = "scan" },
  title = "A verification that reads a table while a lock is held",
  message = "reads {what} to verify while {locked} is still locked (line {line})",
  why = [[migrate:verify belongs to the transaction, so that what is wrong can be rolled back. The locks of the
statements before it are held until it has ended, and whoever wants the table waits that long.]],
  advice = "Ask for what an index answers, or verify in a migration of its own, which locks nothing.",
  bad = "-- migrate:up\nalter table orders add column weight integer;\n-- migrate:verify\n"
    .. "select not exists (select from orders where weight is not null);",
  section = function(ctx, report)
    local verify = ctx.part == "up" and ctx.in_transaction and ctx.held[1] and ctx.migration.verify
    for _, statement in ipairs(verify and verify.statements or {}) do look(ctx, report, statement) end
  end,
}
