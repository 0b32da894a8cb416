-- luphant.migrate.lint.example - lints the example of a rule, for the guide and the specs.
--
-- Each rule has a bad migration; what to write instead is what the linter itself answers to it. Both are linted after
-- the same small shop, so that the guide cannot show what the linter does not say.
--
-- SPDX-License-Identifier: MIT

local encoding = require "luphant.migrate.encoding"
local lint = require "luphant.migrate.lint"
local parse = require "luphant.migrate.parse"

local M = {}

M.SHOP = [[
create table customers (
  id bigint generated always as identity primary key,
  email text not null,
  country varchar(2)
);
create table orders (
  id bigint generated always as identity primary key,
  customer_id bigint not null references customers (id),
  number text not null,
  total numeric(10, 2),
  status text,
  note varchar(100),
  placed_at timestamptz not null default now()
);
create index orders_customer_id_idx on orders (customer_id);
create table events (id bigint not null, at timestamptz not null, primary key (id, at)) partition by range (at);
create table events_rest partition of events default;
create domain email as text;
create type mood as enum ('sad', 'happy');
create view open_orders as select id, number from orders where status = 'open';
create materialized view daily as select placed_at::date as day, count(*) as orders from orders group by 1;
]]

--- A migration from a text.
---@param text string
---@param version string
---@return luphant.migrate.Migration
function M.migration(text, version)
  local body = encoding.normalise(text)
  local file = ("migrations/%s_example.sql"):format(version)
  local sections, problems = parse(body, file)
  if problems[1] then error(("%s:%s: %s"):format(file, problems[1].line or 1, problems[1].message)) end
  local options = sections.up.options
  return {
    kind = "versioned", version = version, name = "example", language = "sql", file = file, body = body,
    checksum = version, statement_hash = version, requires = {}, vars = {}, options = options,
    phase = options.phase or "expand", transaction = options.transaction ~= false,
    irreversible = options.irreversible or false, up = sections.up, down = sections.down, check = sections.check,
    verify = sections.verify,
  }
end

local function facts_of(rule)
  if not rule.facts then return nil end
  local relations = {}
  for name, indexes in pairs(rule.facts.indexes or {}) do
    relations[#relations + 1] = { name = name, schema = "public", kind = "table", indexes = indexes }
  end
  return { relations = relations, functions = rule.facts.functions, counted_days = rule.facts.counted_days }
end

--- The migrations before the example.
---@param rule table
---@return luphant.migrate.Migration[]
function M.before(rule)
  local list = { M.migration(M.SHOP, "0001") }
  if rule.setup then list[2] = M.migration(rule.setup, "0002") end
  return list
end

--- Lints texts as migrations after the shop; findings of the last ones only.
---@param rule table
---@param texts string[]
---@return luphant.migrate.lint.Report
---@return luphant.migrate.Migration[] all of them, with those before
function M.lint(rule, texts)
  local list, only = M.before(rule), {}
  for i, text in ipairs(texts) do
    local migration = M.migration(text, ("%04d"):format(6 + i))
    list[#list + 1], only[i] = migration, migration.file
  end
  local severity = { [rule.name] = rule.severity == "off" and rule.level or nil }
  return lint.migrations(list, {
    only = only, facts = facts_of(rule), severity = severity, base = rule.base and rule.base(only[1]),
  }), list
end

--- What the rule says to its own bad example.
---@param rule table
---@return luphant.migrate.lint.Finding?
---@return luphant.migrate.Migration[]
function M.finding(rule)
  local report, list = M.lint(rule, { rule.bad })
  for _, finding in ipairs(report.findings) do
    if finding.rule == rule.name then return finding, list end
  end
  return nil, list
end

--- The safe way of a finding with what only the example knows filled in.
---@param rule table
---@param finding luphant.migrate.lint.Finding
---@return string[]
function M.safe(rule, finding)
  local out = {}
  for i, text in ipairs(finding.safe or {}) do
    for from, to in pairs(rule.example or {}) do
      local plain = from:gsub("%p", "%%%0")
      text = text:gsub(plain, (to:gsub("%%", "%%%%")))
    end
    out[i] = text
  end
  return out
end

return M
