-- copy/plan.lua - from what the caller names to one COPY statement and the types of its columns.
--
-- A table is looked up in the catalog: its name is never put into a text, what the server calls it is. The types
-- decide the format: binary where each value can be told apart without the server, else text.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local core = require "luphant.core"
local errors = require "luphant.errors"
local sqltext = require "luphant.sqltext"
local types = require "luphant.types"
local UNTOLD = require("luphant.request").UNTOLD

local plan = {} -- plan.complete is connection.lua's

local function boolean_or_match(value)
  if type(value) == "boolean" or value == "match" then return nil end
  return 'must be true, false or "match", got ' .. args.show(value)
end

local function one_byte(value)
  if #value ~= 1 then return "must be one character of one byte, got " .. args.show(value) end
end

local function callable(value)
  local mt = getmetatable(value)
  if type(value) == "function" or (type(mt) == "table" and mt.__call) then return nil end
  return "must be a function or a bar of luphant.progress, got " .. args.show(value)
end

local COMMON = {
  columns = { type = "table" }, types = { type = "table" },
  format = { one_of = { "text", "binary", "csv" } },
  header = { check = boolean_or_match },
  delimiter = { type = "string", check = one_byte }, quote = { type = "string", check = one_byte },
  escape = { type = "string", check = one_byte }, null = { type = "string" },
  timeout = { type = "number", above = 0, none = true },
  progress = { check = callable }, progress_every = { type = "number", min = 0, default = 0.1 },
}
local OUTWARD = { rows = { one_of = { "named", "array" } } }
for name, rule in pairs(COMMON) do OUTWARD[name] = rule end

local CSV_ONLY = { "quote", "escape" }
local NO_BINARY = { "header", "delimiter", "null", "quote", "escape" }

---@class luphant.copy.plan
---@field sql string
---@field inward boolean
---@field target string    as the caller named it
---@field names string[]|nil
---@field oids integer[]|nil   nil: bytes only
---@field options table
---@field has_timeout boolean

-------------------------------------------------------------------------------------------- texts

local function identifier(name) return '"' .. name:gsub('"', '""') .. '"' end

-- An E'' literal reads the same whatever standard_conforming_strings says.
local function literal(text) return "E'" .. text:gsub("\\", "\\\\"):gsub("'", "''") .. "'" end

local function list_of(names)
  local out = {}
  for i, name in ipairs(names) do out[i] = identifier(name) end
  return "(" .. table.concat(out, ", ") .. ")"
end

local function with(options, format)
  local out = { "format " .. format }
  if options.header ~= nil then out[#out + 1] = "header " .. tostring(options.header) end
  for _, name in ipairs { "delimiter", "null", "quote", "escape" } do
    if options[name] then out[#out + 1] = name .. " " .. literal(options[name]) end
  end
  return " with (" .. table.concat(out, ", ") .. ")"
end

-- "copy", "name" or "query": what kind of text names the rows.
local function kind_of(text)
  if text:match "^%s*[cC][oO][pP][yY][%s(\"]" then return "copy" end
  local rest = text:gsub('"[^"]+"', "x")
  if rest:match "^[%w_$\128-\255]+$" or rest:match "^[%w_$\128-\255]+%.[%w_$\128-\255]+$" then return "name" end
  return "query"
end

------------------------------------------------------------------------------------------- columns

local CATALOG = [[
select pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) as target,
  a.attname::text as name, a.atttypid as oid, %s as is_generated
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
left join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where c.oid = $1::pg_catalog.text::pg_catalog.regclass order by a.attnum]]

-- Error of the catalog's query: what the user asked for is the table.
local function about(target, err)
  err.query, err.position = target, nil
  return nil, err
end

local function undefined_column(target, name, known)
  return nil, errors.new("undefined_column",
    ('column "%s" of %s does not exist%s'):format(name, target, args.did_you_mean(name, known)),
    { class = "query", column = name, sqlstate = "42703" })
end

-- The columns that were named, in that order; else all but generated ones, which COPY does not take.
local function choose(rows, wanted, target)
  local by_name, names, oids, all = {}, {}, {}, {}
  for _, row in ipairs(rows) do
    if row.name then
      by_name[row.name], all[#all + 1] = row, row.name
      if not wanted and not row.is_generated then
        names[#names + 1], oids[#oids + 1] = row.name, row.oid
      end
    end
  end
  for i, name in ipairs(wanted or {}) do
    if type(name) ~= "string" then args.misuse("columns must be a list of names, got " .. args.show(name)) end
    if not by_name[name] then return undefined_column(target, name, all) end
    names[i], oids[i] = name, by_name[name].oid
  end
  return names, oids
end

-- oids are known to the map of types afterwards.
local function learn(conn, oids)
  local unknown = {}
  for _, oid in ipairs(oids) do
    if not conn.types:name(oid) then unknown[#unknown + 1] = oid end
  end
  if #unknown == 0 then return true end
  return types.learn(unknown, conn.box, conn.types, function(sql, ...)
    return conn:query({ sql, rows = "named", [UNTOLD] = true }, ...)
  end)
end

local function format_for(conn, oids, inward)
  for _, oid in ipairs(oids) do
    if not conn.types:is_binary(oid, inward) then return "text" end
  end
  return "binary"
end

local function check_binary(conn, self)
  for i, oid in ipairs(self.oids) do
    if not conn.types:is_binary(oid, self.inward) then
      args.misuse(('column "%s" (%s) has no binary form here: leave format out, or take "text"'):format(
        self.names[i], conn.types:name(oid) or "unknown"))
    end
  end
end

-- Types settle the format; with csv, rows are the server's to read and to write.
local function settle_format(conn, self)
  local options = self.options
  local format = options.format or ((options.header or options.delimiter or options.quote) and "csv")
  if format == "csv" then
    self.oids = nil
  elseif format == "binary" then
    check_binary(conn, self)
  elseif not format then
    format = format_for(conn, self.oids, self.inward)
  end
  if options.delimiter or options.null or options.header then self.oids = nil end
  return format
end

local DIGITS = "select pg_catalog.current_setting('extra_float_digits')"

-- As text, a float has lost digits where extra_float_digits is below 1, and nothing shows it.
local function check_digits(conn, self, format)
  if format == "binary" then return self end
  local name
  for i, oid in ipairs(self.inward and {} or self.oids or {}) do
    if conn.types:has_float(oid) then name = name or self.names[i] end
  end
  if not name then return self end
  local digits, err = conn:query_value { DIGITS, [UNTOLD] = true }
  if not digits then return nil, err end
  if tonumber(digits) >= 1 then return self end
  return nil, errors.new("decode", ('column "%s" would lose digits: floats come as text here, and extra_float_digits'
    .. " = %s makes the server leave some out"):format(name, digits),
    { sent = "no", hint = "Set extra_float_digits to 1 or more in this session, or leave out what cannot be binary." })
end

local function of_table(conn, self, target)
  local generated = conn:server_version() >= 120000 and "a.attgenerated <> ''" or "false"
  local rows, err = conn:query({ CATALOG:format(generated), rows = "named", [UNTOLD] = true }, target)
  if not rows then return about(target, err) end
  self.names, self.oids = choose(rows, self.options.columns, target)
  if not self.names then return nil, self.oids end
  local ok
  ok, err = learn(conn, self.oids)
  if not ok then return about(target, err) end
  local columns = #self.names > 0 and " " .. list_of(self.names) or ""
  local format = settle_format(conn, self)
  self.sql = ("copy %s%s %s%s"):format(rows[1].target, columns, self.inward and "from stdin" or "to stdout",
    with(self.options, format))
  return check_digits(conn, self, format)
end

local DESCRIBE = 7 + 512 -- verb of the core, SEEN by whoever watches statements (connection.lua)

local function describe(conn, text)
  local result, err, more = conn.box:run(DESCRIBE, text)
  return plan.complete(conn, DESCRIBE, result, err, more, text)
end

local function of_query(conn, self, text)
  local described, err = describe(conn, text)
  if not described then return nil, err end
  if #described.params > 0 then
    args.misuse "COPY takes no parameters: the query must be complete without $1"
  end
  self.names, self.oids = {}, {}
  for i, column in ipairs(described.columns) do self.names[i], self.oids[i] = column.name, column.oid end
  local ok
  ok, err = learn(conn, self.oids)
  if not ok then return nil, err end
  -- A line of its own: the query may end in a comment.
  local format = settle_format(conn, self)
  self.sql = ("copy (%s\n) to stdout%s"):format(text:gsub(";%s*$", ""), with(self.options, format))
  return check_digits(conn, self, format)
end

local function has_second_statement(text)
  local has_ended = false
  for kind, from, to in sqltext.scan(text) do
    local is_blank = kind == "space" or kind == "comment"
    if has_ended and not is_blank then return true end
    if not is_blank and text:sub(from, to) == ";" then has_ended = true end
  end
  return false
end

local STATEMENT_HAS = { "columns", "format", "header", "delimiter", "null", "quote", "escape" }

-- A COPY statement says all by itself but the types.
local function of_statement(conn, self, text)
  for _, name in ipairs(STATEMENT_HAS) do
    if self.options[name] ~= nil then
      args.misuse(('option "%s" cannot be given for a COPY statement: write it into the text'):format(name))
    end
  end
  if has_second_statement(text) then args.misuse "one COPY statement expected, got several statements" end
  if self.options.types then
    self.names, self.oids = {}, {}
    for i, name in ipairs(self.options.types) do
      local oid = type(name) == "string" and core.type_oid(name)
      if not oid then args.misuse("types must name built-in types, got " .. args.show(name)) end
      self.names[i], self.oids[i] = tostring(i), oid
    end
  end
  self.sql = text
  return check_digits(conn, self, text:lower():find "binary" and "binary" or nil)
end

------------------------------------------------------------------------------------------- options

local function check_options(options)
  local format = options.format
  if format == "binary" then
    for _, name in ipairs(NO_BINARY) do
      if options[name] ~= nil then args.misuse(('option "%s" does not go with format = "binary"'):format(name)) end
    end
  elseif format == "text" then
    for _, name in ipairs(CSV_ONLY) do
      if options[name] ~= nil then args.misuse(('option "%s" needs format = "csv"'):format(name)) end
    end
  end
end

--- The statement and what is known of its columns; misuse raises at the caller.
---@param conn luphant.connection
---@param target string
---@param given table|nil
---@param inward boolean
---@return luphant.copy.plan|nil
---@return luphant.error|nil
function plan.make(conn, target, given, inward)
  if type(target) ~= "string" then
    args.misuse((inward and "the name of a table or a COPY statement expected, got "
      or "the name of a table, a query or a COPY statement expected, got ") .. args.show(target))
  end
  if inward and type(given) == "table" and given[1] ~= nil then
    args.misuse "copy_in takes no rows: they go to the writer it returns, as writer:row(...) or writer:rows(list)"
  end
  local options, message = args.validate(given, inward and COMMON or OUTWARD, "COPY option")
  if not options then args.misuse(message) end
  check_options(options)
  local self = {
    inward = inward, target = target, options = options, timeout = options.timeout,
    has_timeout = given ~= nil and given.timeout ~= nil,
  }
  local kind = kind_of(target)
  if kind == "copy" then return of_statement(conn, self, target) end
  if options.types then args.misuse 'option "types" is for a COPY statement: here they are looked up' end
  if kind == "name" then return of_table(conn, self, target) end
  if inward then args.misuse("the name of a table or a COPY statement expected, got " .. args.show(target)) end
  if options.columns then args.misuse 'option "columns" is for a table: name them in the query' end
  return of_query(conn, self, target)
end

return plan
