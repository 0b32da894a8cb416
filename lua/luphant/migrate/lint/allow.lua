-- luphant.migrate.lint.allow - `-- migrate:allow rule-name: reason` in a file.
--
-- Before, inside or behind a statement (on its last line) it speaks of that statement; above the first marker, of the
-- whole file. The reason is not optional: whoever reads the file in a year wants to know why. One that matches nothing
-- is a finding itself, else files collect them for ever.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local sqltext = require "luphant.sqltext"

local M = {}

local LEXING = { placeholders = true }

---@class (exact) luphant.migrate.lint.Allow
---@field rules string[]
---@field reason? string
---@field line integer
---@field file string
---@field statement? luphant.sqltext.Statement nil: the whole file
---@field used table<string, boolean>

-- The rest of the comment, or nil when it is no such comment.
local function body_of(comment)
  return comment:match "^%-%-%s*migrate:%s*allow%f[^%w_](.*)$"
end

local function read(comment, line, file)
  local body = body_of(comment)
  if not body then return nil end
  local names, reason = body:match "^([^:]*):?%s*(.-)%s*$"
  local rules = {}
  for name in names:gmatch "[^,%s]+" do rules[#rules + 1] = name end
  return { rules = rules, reason = reason ~= "" and reason or nil, line = line, file = file, used = {} }
end

-- The statement a comment at byte `at` speaks of.
local function statement_at(statements, text, at)
  for _, statement in ipairs(statements) do
    if at <= statement.to then return statement end
    -- Behind it, on its last line.
    if not text:sub(statement.to + 1, at - 1):find "\n" then return statement end
  end
end

--- All of one section.
---@param section luphant.migrate.Section
---@return luphant.migrate.lint.Allow[]
function M.of_section(section)
  local list = {}
  if not section.text:find("allow", 1, true) then return list end
  for kind, from, to in sqltext.scan(section.text, LEXING) do
    local found = kind == "comment" and read(section.text:sub(from, to),
      (sqltext.place(section.text, from, section.line)), section.file)
    if found then
      found.statement = statement_at(section.statements, section.text, from)
      list[#list + 1] = found
    end
  end
  return list
end

--- Those above the first marker: they hold for the whole file.
---@param migration luphant.migrate.Migration
---@return luphant.migrate.lint.Allow[]
function M.of_head(migration)
  local list, line = {}, 0
  local last = migration.up and migration.up.line - 1 or 0
  for text in (migration.body .. "\n"):gmatch "([^\n]*)\n" do
    line = line + 1
    if line >= last then break end
    local found = read(text, line, migration.file)
    if found then list[#list + 1] = found end
  end
  return list
end

local function names_rule(allow, rule)
  for _, name in ipairs(allow.rules) do
    if name == rule then return true end
  end
  return false
end

--- Is the finding allowed? Marks the comment that says so as used.
---@param allows luphant.migrate.lint.Allow[]
---@param finding luphant.migrate.lint.Finding
---@param statement? luphant.sqltext.Statement
---@return luphant.migrate.lint.Allow?
function M.find(allows, finding, statement)
  for _, allow in ipairs(allows) do
    local is_here = not allow.statement or not statement or allow.statement == statement
    if is_here and allow.reason and names_rule(allow, finding.rule) then
      allow.used[finding.rule] = true
      return allow
    end
  end
end

--- What is wrong with the comments themselves: messages with their lines.
---@param allows luphant.migrate.lint.Allow[]
---@param known string[] names of all rules
---@param can_tell? fun(rule: string): boolean could this run have found what the comment allows?
---@return { allow: luphant.migrate.lint.Allow, message: string }[]
function M.complaints(allows, known, can_tell)
  local list, is_known = {}, {}
  for _, name in ipairs(known) do is_known[name] = true end
  local function complain(allow, message) list[#list + 1] = { allow = allow, message = message } end
  for _, allow in ipairs(allows) do
    if #allow.rules == 0 then complain(allow, "names no rule") end
    if not allow.reason then complain(allow, "gives no reason, so it allows nothing") end
    for _, name in ipairs(allow.rules) do
      if not is_known[name] then
        complain(allow, ('names "%s", which is no rule%s'):format(name, args.did_you_mean(name, known)))
      elseif allow.reason and not allow.used[name] and (not can_tell or can_tell(name)) then
        complain(allow, ("allows %s, but nothing here needs that"):format(name))
      end
    end
  end
  return list
end

return M
