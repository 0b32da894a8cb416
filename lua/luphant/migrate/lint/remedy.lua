-- luphant.migrate.lint.remedy - what a rule hands out to have its statement mended by `lint --fix`. Pure.
--
-- Only what is mechanical: the same effect once the migration has run, on a section whose other statements do not mind.
-- Whatever needs a second migration, or a decision, is left to people.
--
-- SPDX-License-Identifier: MIT

local ddl_of = require "luphant.migrate.ddl"
local guard = require "luphant.migrate.lint.guard"
local judge = require "luphant.migrate.judge"

local M = {}

---@class (exact) luphant.migrate.lint.Remedy
---@field section luphant.migrate.Section
---@field edits { from: integer, to: integer, text: string }[] bytes of the section's text
---@field option? string to be written on the marker line

local function edit(item, text)
  return { from = item.statement.from, to = item.statement.from + #item.statement.sql - 1, text = text }
end

--- Another statement in its place.
---@param ctx luphant.migrate.lint.Context
---@param text? string nil: there is no remedy
---@return luphant.migrate.lint.Remedy?
function M.statement(ctx, text)
  if not text or text == ctx.item.statement.sql then return nil end
  return { section = ctx.section, edits = { edit(ctx.item, text) } }
end

local CONCURRENT = {
  ["create index"] = true, ["drop index"] = true, ["reindex table"] = true, ["reindex index"] = true,
}

-- The statement with CONCURRENTLY, and repeatable; itself where it has that already; nil where it cannot have it.
local function concurrent(ctx, item)
  local ddl, sql = item.ddl, item.statement.sql
  if not ddl.concurrently then
    local relation = ctx.known:relation(ddl.table)
    local is_one = CONCURRENT[ddl.what] and ddl.name and #(ddl.names or { 1 }) == 1 and not ddl.cascade and not ddl.only
    if not is_one or (relation and relation.is_partitioned) then return nil end
    local head = ddl.what == "create index" and "^(.-[iI][nN][dD][eE][xX])%s+" or "^(%a+%s+%a+)%s+"
    sql = sql:gsub(head, "%1 concurrently ", 1)
  end
  local made = ddl_of.read(sql)
  if not made.concurrently then return nil end
  return guard.of(made, sql) or sql
end

--- The whole section without a transaction, each index with CONCURRENTLY; nil where another statement needs one.
---@param ctx luphant.migrate.lint.Context
---@return luphant.migrate.lint.Remedy?
function M.concurrently(ctx)
  local edits = {}
  for _, item in ipairs(ctx.items) do
    local text = concurrent(ctx, item)
    if not text then
      -- VACUUM and the like stand alone already.
      if not judge.needs_no_transaction(item.statement) then return nil end
    elseif text ~= item.statement.sql then
      edits[#edits + 1] = edit(item, text)
    end
  end
  if ctx.part == "up" and ctx.migration.verify then return nil end -- it would not roll anything back any more
  return { section = ctx.section, edits = edits, option = ctx.in_transaction and "transaction:false" or nil }
end

local BEGINS = { ["begin"] = true, ["begin transaction"] = true, ["start transaction"] = true, ["begin work"] = true }
local ENDS = { ["commit"] = true, ["end"] = true, ["commit transaction"] = true, ["commit work"] = true }

local function said(item) return item and item.statement.sql:lower():gsub("%s+", " ") end

-- With the semicolon and the line end behind it.
local function without(section, item)
  local _, last = section.text:find("^%s*;[ \t]*\n?", item.statement.from + #item.statement.sql)
  return { from = item.statement.from, to = last or item.statement.from + #item.statement.sql - 1, text = "" }
end

--- BEGIN before and COMMIT behind all others: the runner has a transaction for them.
---@param ctx luphant.migrate.lint.Context
---@return luphant.migrate.lint.Remedy?
function M.without_brackets(ctx)
  local first, last = ctx.items[1], ctx.items[#ctx.items]
  local is_bracketed = #ctx.items > 2 and BEGINS[said(first)] and ENDS[said(last)]
  if not is_bracketed or not ctx.in_transaction then return nil end
  for i = 2, #ctx.items - 1 do
    if judge.refusal(ctx.items[i].statement, true) then return nil end
  end
  return { section = ctx.section, edits = { without(ctx.section, first), without(ctx.section, last) } }
end

return M
