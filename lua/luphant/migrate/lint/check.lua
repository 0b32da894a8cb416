-- luphant.migrate.lint.check - runs the rules over migrations, in order. Pure: lists in, findings out.
--
-- SPDX-License-Identifier: MIT

local allow = require "luphant.migrate.lint.allow"
local caret = require "luphant.caret"
local context = require "luphant.migrate.lint.context"
local fields_of = require "luphant.migrate.lint.fields"
local ddl_of = require "luphant.migrate.ddl"
local known_of = require "luphant.migrate.lint.known"
local messages = require "luphant.migrate.lint.messages"
local referee = require "luphant.migrate.lint.referee"
local rules = require "luphant.migrate.lint.rules"
local sqltext = require "luphant.sqltext"

local M = {}

local function characters(text) return select(2, text:gsub("[^\128-\191]", "")) end

-- ---- placing findings ----------------------------------------------------------------------------------------

-- `from` counts bytes of the statement.
local function place(finding, section, item, from)
  local at = item.statement.from + (from or 1) - 1
  finding.file, finding.sql = section.file, item.statement.sql
  finding.line, finding.column = sqltext.place(section.text, at, section.line)
  finding.excerpt = caret.show(section.text, characters(section.text:sub(1, at)), section.line)
end

local function level_of(run, rule, fields)
  local wanted = run.severity[rule.name]
  if wanted then return wanted end
  return fields and fields.severity or rule.severity
end

local function all_fields(ctx, given, item, action)
  local out = item and fields_of.of(item, ctx:target(item.ddl), action) or {}
  for key, value in pairs(given or {}) do out[key] = value end
  return out
end

-- What a rule calls to report: report(fields, item, action, at). Without an item the whole file is meant; the action
-- gives names, and it or `at` the byte (`from`) in the statement.
local function reporter(run, ctx, rule)
  return function(fields, item, action, at)
    local level = level_of(run, rule, fields)
    if level == "off" or not run.is_wanted then return end
    fields = all_fields(ctx, fields, item, action)
    local entry = item and referee.entry(ctx.traced, item.statement)
    local claims = fields.claims or rule.claims
    local finding = messages.finding(rule, fields)
    finding.severity, finding.file, finding.claims = level, ctx.migration.file, claims
    finding.version = ctx.migration.version
    if item then place(finding, item.section or ctx.section, item, (at or action or item).from) end
    finding.seen, finding.verdict = entry and referee.describe(entry), referee.verdict(claims, entry)
    if referee.refutes(claims, entry) then
      finding.overruled = referee.reason(claims)
      run.overruled[#run.overruled + 1] = finding
      return
    end
    finding.remedy = item and rule.remedy and rule.remedy(ctx, fields) or nil
    local relation = fields.relation and ctx.known:relation(fields.relation)
    finding.rows = relation and relation.rows
    run.found[#run.found + 1] = { finding = finding, statement = item and item.statement }
  end
end

-- ---- running rules ---------------------------------------------------------------------------------------------

local function applies(rule, ctx)
  if ctx.part == "down" then return rule.also_down == true end
  return true
end

local of_what = {} -- a file may have a hundred thousand statements, most rules look at a few kinds

-- The rules that look at statements of that kind.
local function rules_of(what)
  local list = of_what[what]
  if list then return list end
  list = {}
  for _, rule in ipairs(rules.list) do
    local on = rule.statements and (rule.statements[what] or rule.statements["*"])
    if on or (rule.actions and what == "alter table") then list[#list + 1] = rule end
  end
  of_what[what] = list
  return list
end

local function run_statement_rules(run, ctx)
  local item = ctx.item
  local target = ctx:target(item.ddl)
  local is_new = ctx:is_new(target)
  for _, rule in ipairs(rules_of(item.ddl.what)) do
    if applies(rule, ctx) and not (rule.exempts_new and is_new) then
      local report = reporter(run, ctx, rule)
      local function here(fields, action, at) report(fields, item, action, at) end
      local on = rule.statements and (rule.statements[item.ddl.what] or rule.statements["*"])
      if on then on(item.ddl, ctx, here) end
      if rule.actions and item.ddl.what == "alter table" then
        for _, action in ipairs(item.ddl.actions) do
          local on_action = rule.actions[action.kind] or rule.actions["*"]
          if on_action then on_action(action, item.ddl, ctx, here) end
        end
      end
    end
  end
end

local function items_of(section)
  local items = {}
  for i, statement in ipairs(section.statements) do
    items[i] = { statement = statement, ddl = ddl_of.read(statement.sql), index = i }
  end
  return items
end

local function take_allows(run, section)
  for _, item in ipairs(allow.of_section(section)) do run.allows[#run.allows + 1] = item end
end

local function run_section(run, migration, part)
  local section = migration[part]
  if not section or (part ~= "up" and part ~= "down") then return end
  local ctx = context.new(migration, section, part, { items = items_of(section), known = run.known, base = run.base })
  ctx.found = run.found
  ctx.traced = part == "up" and run.traced[section.file] or nil
  for _, item in ipairs(ctx.items) do
    ctx.item = item
    run_statement_rules(run, ctx)
    ctx:hold()
    if part == "up" then run.known:learn(item.ddl) end
  end
  for _, rule in ipairs(rules.list) do
    if rule.section and applies(rule, ctx) then rule.section(ctx, reporter(run, ctx, rule)) end
  end
  take_allows(run, section)
  if part == "up" and migration.verify then take_allows(run, migration.verify) end
end

local function run_file_rules(run, migration)
  for _, rule in ipairs(rules.list) do
    if rule.file then
      local ctx = { migration = migration, base = run.base, traced = run.traced[migration.file] }
      rule.file(ctx, reporter(run, ctx, rule))
    end
  end
end

-- ---- comments that allow -----------------------------------------------------------------------------------------

-- Can this run know whether a rule would find something? Some need what it was not given, some are switched off.
local function can_tell(run)
  return function(name)
    local rule = rules.by_name[name]
    local is_given = ({ facts = run.facts, trace = run.has_trace, base = run.base ~= nil })[rule.needs]
    return is_given ~= false and level_of(run, rule) ~= "off"
  end
end

local function report_allows(run)
  local rule = rules.by_name["unneeded-allow"]
  for _, complaint in ipairs(allow.complaints(run.allows, rules.names, can_tell(run))) do
    local finding = messages.finding(rule, { what = complaint.message })
    finding.file, finding.line, finding.column = complaint.allow.file, complaint.allow.line, 1
    finding.severity = level_of(run, rule)
    if finding.severity ~= "off" then run.findings[#run.findings + 1] = finding end
  end
end

local function close_file(run)
  for _, entry in ipairs(run.found) do
    local by = allow.find(run.allows, entry.finding, entry.statement)
    if by then
      entry.finding.allowed = by.reason
      run.allowed[#run.allowed + 1] = entry.finding
    else
      run.findings[#run.findings + 1] = entry.finding
    end
  end
  if run.is_wanted then report_allows(run) end
end

local function is_wanted(run, migration)
  if run.phase and migration.phase ~= run.phase then return false end
  return not run.only or run.only[migration.file] == true
end

local function sort(findings)
  local first = {} -- files stay in the order to run
  for i, finding in ipairs(findings) do
    finding.rank = i
    first[finding.file] = first[finding.file] or i
  end
  table.sort(findings, function(a, b)
    if a.file ~= b.file then return first[a.file] < first[b.file] end
    if (a.line or 0) ~= (b.line or 0) then return (a.line or 0) < (b.line or 0) end
    if (a.column or 0) ~= (b.column or 0) then return (a.column or 0) < (b.column or 0) end
    return a.rank < b.rank
  end)
  for _, finding in ipairs(findings) do finding.rank = nil end
end

--- Lints migrations, given in the order to run.
---@param list luphant.migrate.Migration[]
---@param options table checked by lint/init.lua
---@return luphant.migrate.lint.Report report without `counts`
function M.run(list, options)
  local run = {
    known = known_of.new(options.facts), severity = options.severity or {}, only = options.only, phase = options.phase,
    base = options.base, traced = referee.index(options.traced), findings = {}, allowed = {}, overruled = {},
    facts = options.facts ~= nil, has_trace = options.traced ~= nil,
  }
  local files = 0
  for _, migration in ipairs(list) do
    run.found, run.is_wanted = {}, is_wanted(run, migration)
    run.known.now, run.allows = migration, allow.of_head(migration)
    run_section(run, migration, "up")
    run_section(run, migration, "down")
    run_file_rules(run, migration)
    close_file(run)
    if run.is_wanted then files = files + 1 end
  end
  sort(run.findings)
  return {
    findings = run.findings, allowed = run.allowed, overruled = run.overruled, refuted = #run.overruled, files = files,
  }
end

return M
