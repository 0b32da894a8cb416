-- luphant.migrate.vars - placeholders: `${name}` in files that declare it, `-- migrate:up vars:name`.
--
--     ${name}           the value as an identifier, quoted
--     ${name:literal}   the value as a string constant
--     ${name:raw}       the value as it is
--
-- A declared name is replaced everywhere, strings and function bodies included; an undeclared `${...}` stays as it is
-- inside of these and is an error elsewhere. Statements are told apart before values are filled in, and a value that
-- makes two statements of one is refused, so that no value changes what was planned.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local sqltext = require "luphant.sqltext"

local M = {}

local LEXING = { placeholders = true }
local FORMS = { "literal", "raw" }

local function declared(sections)
  local list = sections.up and sections.up.options.vars or {}
  local set = {}
  for _, name in ipairs(list) do set[name] = true end
  return set, list
end

local function form_complaint(form)
  if form == "" or form == ":literal" or form == ":raw" then return nil end
  return ("unknown form %q of a placeholder%s; there are ${name}, ${name:literal} and ${name:raw}")
    :format(form:sub(2), args.did_you_mean(form:sub(2), FORMS))
end

-- What is wrong with the placeholder at byte `from`, or nil.
local function complaint_at(text, from, last, known, names)
  local name, form = text:sub(from, last):match "^%${([%w_]*)(.-)}$"
  if not name then return "`${` begins a placeholder: ${name}, of letters, digits and `_`" end
  if not known[name] then
    return ("${%s} is not declared%s; write vars:%s on the line of migrate:up")
      :format(name, args.did_you_mean(name, names), name)
  end
  return form_complaint(form)
end

--- Checks the placeholders of a file against those it declares.
---@param text string
---@param sections table<string, luphant.migrate.Section>
---@param complain fun(line: integer?, message: string)
function M.check(text, sections, complain)
  local known, names = declared(sections)
  if #names == 0 and not text:find("${", 1, true) then return end
  for kind, from, last in sqltext.scan(text, LEXING) do
    local complaint
    if kind == "placeholder" or (kind == "other" and text:find("^%${", from)) then
      complaint = complaint_at(text, from, last, known, names)
    end
    if complaint then complain((sqltext.place(text, from)), complaint) end
  end
  for _, name in ipairs(names) do
    if not text:find("%${" .. name .. "[:}]") then
      complain(sections.up.line - 1, ("vars:%s is declared, but ${%s} stands nowhere"):format(name, name))
    end
  end
end

-- ---- filling in ---------------------------------------------------------------------------------------------

local function identifier(value) return '"' .. value:gsub('"', '""') .. '"' end

local function literal(value)
  local quoted = "'" .. value:gsub("'", "''") .. "'"
  if not value:find("\\", 1, true) then return quoted end
  return "E" .. quoted:gsub("\\", "\\\\") -- right whatever standard_conforming_strings says
end

local FILL = { [""] = identifier, [":literal"] = literal, [":raw"] = function(value) return value end }

--- One statement with its values.
---@param sql string
---@param names string[] the declared ones
---@param values table<string, string>
---@return string? filled
---@return string? complaint
function M.fill(sql, names, values)
  if #names == 0 then return sql end
  local known = {}
  for _, name in ipairs(names) do known[name] = true end
  local missing
  local filled = sql:gsub("%${([%a_][%w_]*)(:?%l*)}", function(name, form)
    if not known[name] or not FILL[form] then return nil end
    if values[name] then return FILL[form](values[name]) end
    missing = name
  end)
  if missing then return nil, ("needs a value for ${%s}"):format(missing) end
  local statements, problems = sqltext.split(filled)
  if not statements then return nil, "with its values filled in: " .. problems[1].message end
  if #statements ~= 1 or statements[1].from ~= 1 or statements[1].to ~= #filled then
    return nil, "the values of its placeholders make another number of statements of it"
  end
  return filled
end

--- The text of a section with the values in all its statements.
---@param section luphant.migrate.Section
---@param names string[] the declared ones
---@param values table<string, string>
---@return string? text
---@return string? complaint
function M.fill_section(section, names, values)
  if #names == 0 then return section.text end
  local out, at = {}, 1
  for _, statement in ipairs(section.statements) do
    local filled, why = M.fill(statement.sql, names, values)
    if not filled then return nil, ("line %d: %s"):format(statement.line, why) end
    out[#out + 1] = section.text:sub(at, statement.from - 1)
    out[#out + 1], at = filled, statement.to + 1
  end
  out[#out + 1] = section.text:sub(at)
  return table.concat(out)
end

--- What is wrong with the values given for a migration: half sentences.
---@param names string[] the declared ones
---@param values table<string, string>
---@return string[]
function M.complaints(names, values)
  local out = {}
  for _, name in ipairs(names) do
    local value = values[name]
    if value == nil then
      out[#out + 1] = ("needs a value for ${%s}"):format(name)
    elseif type(value) ~= "string" then
      out[#out + 1] = ("the value of ${%s} must be a string"):format(name)
    elseif value:find("\0", 1, true) then
      out[#out + 1] = ("the value of ${%s} holds a NUL byte"):format(name)
    end
  end
  return out
end

return M
