-- cli/migrate/effects.lua - what the statements of a plan are known to do to others: locks, what is done with all rows
-- meanwhile, how many these are, and what the linter calls an error.
--
-- By the text, and by what the database says of itself. How many rows there are may come from a file instead: a plan is
-- often made far from the database it is meant for.
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"
local ddl = require "luphant.migrate.ddl"
local lint = require "luphant.migrate.lint"
local locks = require "luphant.migrate.lint.locks"
local parts = require "luphant.migrate.parts"

local M = {}

-- ---- rows ---------------------------------------------------------------------------------------------------

-- By "schema.name", and by the bare name where that is the only one, or the one of public.
local function index(list)
  local rows = {}
  for _, item in ipairs(list) do
    rows[item.schema .. "." .. item.name] = item.rows
    if rows[item.name] == nil or item.schema == "public" then rows[item.name] = item.rows end
  end
  return rows
end

--- Reads a file of row counts: { "public.orders": 12000000, ... }.
---@param path string
---@return table[]?
---@return string? why
local function from_file(path)
  local handle, why = io.open(path, "rb")
  if not handle then return nil, why end
  local text = handle:read "*a" or ""
  handle:close()
  local fine, counts = pcall(core.json_decode, text)
  if not fine or type(counts) ~= "table" then return nil, path .. ": is no JSON object of row counts" end
  local out = {}
  for name, rows in pairs(counts) do
    local schema, table_name = tostring(name):match "^([^.]+)%.(.+)$"
    if not schema or type(rows) ~= "number" then
      return nil, ('%s: %q wants the form "schema.table": rows'):format(path, tostring(name))
    end
    out[#out + 1] = { schema = schema, name = table_name, rows = rows }
  end
  return out
end

--- What is known of the database, with the row counts of a file where one is given.
---@param conn luphant.connection
---@param path? string
---@return table?
---@return luphant.error?
---@return string? misuse what is wrong with the file
function M.source(conn, path)
  local facts, err = lint.facts(conn)
  if not facts then return nil, err end
  if not path then return { facts = facts, rows = index(facts.relations) } end
  local given, why = from_file(path)
  if not given then return nil, nil, why end
  local rows = index(given)
  for _, relation in ipairs(facts.relations) do
    relation.rows = rows[relation.schema .. "." .. relation.name] or relation.rows
  end
  return { facts = facts, rows = index(facts.relations) }
end

local function rows_of(source, name)
  if name.schema then return source.rows[name.schema .. "." .. name.name] end
  return source.rows[name.name]
end

-- ---- statements ---------------------------------------------------------------------------------------------

local function blocks(mode)
  if mode == "AccessExclusiveLock" then return "reads and writes" end
  return locks.is_strong(mode) and "writes" or nil
end

local function locks_of(statement, source)
  local out, most, works = {}, nil, {}
  for i, lock in ipairs(locks.of(ddl.read(statement.sql))) do
    local rows = rows_of(source, lock.relation)
    out[i] = {
      relation = lock.relation.text, mode = lock.mode, blocks = blocks(lock.mode), work = lock.work,
      rows_estimate = rows,
    }
    if lock.work then works[lock.work] = true end
    if rows and (not most or rows > most) then most = rows end
  end
  return out, most, works
end

-- What the linter says, by the line of the statement it stands in; and which of it it calls an error.
local function judged(findings, step, statement, following)
  local hazards, all = {}, {}
  for _, finding in ipairs(findings) do
    -- What is said of a whole file has no line.
    if finding.file == step.file and finding.line and finding.line >= statement.line
      and (not following or finding.line < following.line) then
      all[#all + 1] = { rule = finding.rule, severity = finding.severity, message = finding.message }
      if finding.severity == "error" then hazards[#hazards + 1] = finding.rule end
    end
  end
  return hazards, all
end

--- What the linter says about the files that a plan would run.
---@param plan luphant.migrate.Plan
---@param source table
---@return table[]
function M.findings(plan, source)
  local list, only = {}, {}
  for _, entry in ipairs(plan.entries) do list[#list + 1] = entry.migration end
  for _, step in ipairs(plan.steps) do only[#only + 1] = step.migration and step.file end
  return lint.migrations(list, { only = only, facts = source.facts }).findings
end

---@class (exact) luphant.cli.migrate.Effect
---@field part string
---@field statement luphant.sqltext.Statement
---@field locks table[] each relation, mode, blocks, work, rows_estimate
---@field rows_estimate? number of the largest of these relations
---@field rewrite boolean
---@field scan boolean
---@field hazards string[] names of rules
---@field lint { rule: string, severity: string, message: string }[] all that the linter says of it

--- The statements of a step, with what they do.
---@param step luphant.migrate.Step
---@param source table
---@param findings table[]
---@return luphant.cli.migrate.Effect[]
function M.of(step, source, findings)
  local out = {}
  for _, part in ipairs(parts.of(step)) do
    local list = part.section and part.section.statements or {}
    for i, statement in ipairs(list) do
      local taken, most, works = locks_of(statement, source)
      local hazards, said = judged(findings, step, statement, list[i + 1])
      out[#out + 1] = {
        part = part.name, statement = statement, locks = taken, rows_estimate = most, rewrite = works.rewrite or false,
        scan = works.scan or works.rewrite or works.build or false,
        hazards = hazards, lint = said,
      }
    end
  end
  return out
end

return M
