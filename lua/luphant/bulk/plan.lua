-- bulk/plan.lua - from a table's name and columns to the one text that inserts them, whatever their number.
--
-- The table is looked up in the catalog: its name never goes into a text, what the server calls it does. So do the
-- types of its columns: unnest takes one array for each.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local clock = require "luphant.bulk.clock"
local errors = require "luphant.errors"
local UNTOLD = require("luphant.request").UNTOLD

local plan = {}

---@class luphant.bulk.plan
---@field via "unnest"|"values"|"copy"
---@field sql string|nil      constant; nil: copy
---@field target string       as the caller named it
---@field columns string[]
---@field types string[]
---@field returning boolean

-- Row types and arrays inside of arrays would be taken apart by unnest; so would a domain over one.
local CATALOG = [[
with recursive shown as (
  select a.attnum, a.attname::text as name, a.atttypid, a.attrelid from pg_catalog.pg_attribute a
  where a.attrelid = $1::pg_catalog.text::pg_catalog.regclass and a.attnum > 0 and not a.attisdropped
), base(attnum, oid) as (
  select attnum, atttypid from shown
  union all
  select b.attnum, t.typbasetype from base b join pg_catalog.pg_type t on t.oid = b.oid where t.typtype = 'd')
select pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) as target, s.name,
  pg_catalog.format_type(s.atttypid, -1) as type,
  exists (select from base b join pg_catalog.pg_type t on t.oid = b.oid where b.attnum = s.attnum
    and (t.typtype = 'c' or t.typinput = 'pg_catalog.array_in'::pg_catalog.regproc
      or (t.oid = s.atttypid and t.typarray = 0))) as is_nested
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
left join shown s on true
where c.oid = $1::pg_catalog.text::pg_catalog.regclass order by s.attnum]]

local function identifier(name) return '"' .. name:gsub('"', '""') .. '"' end

local function check_names(list, what)
  if type(list) ~= "table" or #list == 0 then
    args.misuse(("%s must be a list of column names, got %s"):format(what, args.show(list)))
  end
  local quoted = {}
  for i, name in ipairs(list) do
    if type(name) ~= "string" then
      args.misuse(("%s must be a list of column names; number %d is %s"):format(what, i, args.show(name)))
    end
    quoted[i] = identifier(name)
  end
  return table.concat(quoted, ", ")
end

------------------------------------------------------------------------------------- the clauses

-- What is written when a row is there already: `update` names columns, or is true for all that are inserted but those
-- that tell the row.
local function assignments(update, columns, target)
  local is_key, names, out = {}, update, {}
  if update == true then
    names = {}
    for _, name in ipairs(target) do is_key[name] = true end
    for _, name in ipairs(columns) do
      if not is_key[name] then names[#names + 1] = name end
    end
  end
  check_names(names, "on_conflict.update")
  for i, name in ipairs(names) do
    local quoted = identifier(name)
    out[i] = ("%s = excluded.%s"):format(quoted, quoted)
  end
  return table.concat(out, ", ")
end

local CONFLICT_KEYS = { update = true, constraint = true }

-- "nothing" | { "id", update = { "name" } } | { constraint = "name", update = true }
local function conflict_clause(given, columns)
  if given == nil then return "" end
  if given == "nothing" then return " on conflict do nothing" end
  if type(given) ~= "table" then
    args.misuse('on_conflict must be "nothing" or a table { column ..., update = ... }, got ' .. args.show(given))
  end
  for key in pairs(given) do
    if type(key) ~= "number" and not CONFLICT_KEYS[key] then
      args.misuse(("on_conflict has no field %s; it has: update, constraint"):format(args.show(key)))
    end
  end
  if (given.constraint ~= nil) == (given[1] ~= nil) then
    args.misuse "on_conflict needs either columns, { \"id\", ... }, or a constraint"
  end
  local target = given.constraint and "on constraint " .. identifier(given.constraint)
    or "(" .. check_names(given, "on_conflict") .. ")"
  if given.update == nil then return (" on conflict %s do nothing"):format(target) end
  return (" on conflict %s do update set %s"):format(target, assignments(given.update, columns, given))
end

local function returning_clause(given)
  if given == nil then return "" end
  if given == "*" then return " returning *" end
  if type(given) == "string" then given = { given } end
  return " returning " .. check_names(given, "returning")
end

-------------------------------------------------------------------------------------------- types

local function choose(rows, columns, target)
  local by_name, known, types, nested = {}, {}, {}, nil
  for _, row in ipairs(rows) do
    if row.name then by_name[row.name], known[#known + 1] = row, row.name end
  end
  for i, name in ipairs(columns) do
    local row = by_name[name]
    if not row then
      return nil, errors.new("undefined_column",
        ('column "%s" of %s does not exist%s'):format(name, target, args.did_you_mean(name, known)),
        { class = "query", column = name, sqlstate = "42703" })
    end
    types[i] = row.type
    if row.is_nested then nested = nested or name end
  end
  return types, nested
end

local function texts(self, target, clauses, quoted)
  local holes = {}
  for i, type_name in ipairs(self.types) do
    holes[i] = self.via == "unnest" and ("$%d::%s[]"):format(i, type_name) or "$" .. i
  end
  local source = self.via == "unnest" and "select * from unnest(%s)" or "values (%s)"
  return ("insert into %s (%s) %s%s"):format(target, quoted, source:format(table.concat(holes, ", ")), clauses)
end

local OPTIONS = {
  timeout = { type = "number", above = 0, none = true },
  via = { one_of = { "unnest", "values", "copy" } },
  on_conflict = { check = function() end }, returning = { check = function() end },
}

--- Reads what the caller gave. Misuse raises at his line.
---@param target string
---@param columns string[]
---@param given table|nil
---@return table request
function plan.read(target, columns, given)
  if type(target) ~= "string" then args.misuse("insert_many expects a table's name, got " .. args.show(target)) end
  local quoted = check_names(columns, "columns")
  local options, message = args.validate(given, OPTIONS, "insert_many option")
  if not options then args.misuse(message) end
  if options.via == "copy" and (options.on_conflict ~= nil or options.returning ~= nil) then
    args.misuse 'COPY knows neither on_conflict nor returning: leave via = "copy" out'
  end
  local clauses = conflict_clause(options.on_conflict, columns) .. returning_clause(options.returning)
  return {
    target = target, columns = columns, quoted = quoted, via = options.via, clauses = clauses,
    returning = options.returning ~= nil, clock = clock.new(given and given.timeout),
  }
end

--- Asks the catalog, and settles how.
---@param q table  what has the verbs
---@param request table
---@return luphant.bulk.plan|nil
---@return luphant.error|nil
function plan.make(q, request)
  local self = {
    via = request.via, target = request.target, columns = request.columns, returning = request.returning,
    clock = request.clock,
  }
  if self.via == "copy" then return self end
  local rows, err = q:query({ CATALOG, rows = "named", timeout = self.clock:left(), [UNTOLD] = true }, request.target)
  if not rows then
    err.query, err.position = request.target, nil
    return nil, err
  end
  local nested
  self.types, nested = choose(rows, request.columns, request.target)
  if not self.types then return nil, nested end
  if self.via == "unnest" and nested then
    args.misuse(('column "%s" is an array or a row, which unnest would take apart: leave via out, or take "values"')
      :format(nested))
  end
  self.via = self.via or (nested and "values" or "unnest")
  self.sql = texts(self, rows[1].target, request.clauses, request.quoted)
  return self
end

return plan
