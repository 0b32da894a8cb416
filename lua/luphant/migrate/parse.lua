-- luphant.migrate.parse - the text of one migration file -> its sections, each with options and statements.
--
--     -- migrate:up [options]        the way forward
--     -- migrate:down [options]      the way back
--     -- migrate:check [options]     queries that must hold before
--     -- migrate:verify [options]    queries that must hold after, in the same transaction
--
-- A marker is a line comment that begins its line, as the lexer sees it: one inside of a string or a function body
-- is text. A file without any marker is all `up`. Problems are collected, never reported one by one: who has to repair
-- a folder wants to see the whole list.
--
-- SPDX-License-Identifier: MIT

local encoding = require "luphant.migrate.encoding"
local marker = require "luphant.migrate.marker"
local sqltext = require "luphant.sqltext"
local vars = require "luphant.migrate.vars"

local LEXING = { placeholders = true }

-- Speaks to the linter (lint/allow.lua), and may stand anywhere.
local ALLOW = "^%-%-%s*migrate:%s*allow%f[^%w_]"

---@class (exact) luphant.migrate.Section
---@field text string the SQL, marker line excluded
---@field line integer line of the file on which `text` begins
---@field file string
---@field options luphant.migrate.SectionOptions
---@field statements luphant.sqltext.Statement[] lines are the file's, bytes those of `text`

---@class (exact) luphant.migrate.Problem
---@field file string
---@field line? integer
---@field column? integer
---@field message string
---@field hint? string

local function complain(state, line, message, hint, column)
  state.problems[#state.problems + 1] = {
    file = state.file, line = line, column = column, message = message, hint = hint,
  }
end

-- ---- finding markers --------------------------------------------------------------------------------------

-- Is there nothing but blanks between byte `at` and the beginning of its line?
local function begins_line(text, at)
  at = at - 1
  while at > 0 do
    local c = text:byte(at)
    if c == 10 then return true end
    if c ~= 32 and c ~= 9 then return false end
    at = at - 1
  end
  return true
end

local function open_section(state, name, options, from, last)
  local line = (sqltext.place(state.text, from))
  local sections = state.found
  local previous = sections[#sections]
  if previous then previous.to = from - 1 end
  for _, section in ipairs(sections) do
    if section.name == name then complain(state, line, "a second migrate:" .. name .. " section") end
  end
  sections[#sections + 1] = { name = name, options = options, marker = line, from = last + 2, to = #state.text }
end

local function on_comment(state, from, last)
  local comment = state.text:sub(from, last)
  if not comment:find "^%-%-" or comment:find(ALLOW) then return end
  local looks_so = comment:find "^%-%-%s*migrate:"
  if not begins_line(state.text, from) then
    if looks_so and marker.read(comment) then
      complain(state, (sqltext.place(state.text, from)), "a marker has to begin its line")
    end
    return
  end
  local name, options, complaints = marker.read(comment)
  if not name then complaints[#complaints + 1] = not looks_so and marker.near_miss(comment) or nil end
  for _, complaint in ipairs(complaints) do
    if looks_so and name then complaint = ("migrate:%s: %s"):format(name, complaint) end
    complain(state, (sqltext.place(state.text, from)), complaint)
  end
  if name then open_section(state, name, options, from, last) end
  state.marked = state.marked or looks_so ~= nil
end

local function find_sections(state)
  for kind, from, last in sqltext.scan(state.text, LEXING) do
    if kind == "comment" then
      on_comment(state, from, last)
    elseif kind ~= "space" and not state.first then
      state.first = from
    end
  end
  -- A section ends before its successor's line, not within it.
  for _, section in ipairs(state.found) do
    if section.to < #state.text then section.to = (state.text:sub(1, section.to):match "^.*()\n" or 1) - 1 end
  end
end

-- ---- reading sections ---------------------------------------------------------------------------------------

-- An open string or comment swallows the markers behind it; say so.
local function hidden_marker(text, at, line)
  local begin = text:find("\n[ \t]*%-%-%s*migrate:", at)
  if not begin then return nil end
  return ("it reaches over the marker on line %d"):format((sqltext.place(text, begin + 1, line)))
end

local function read_section(state, found)
  local text = state.text:sub(found.from, found.to)
  local line = found.marker + 1
  local statements, problems = sqltext.split(text, { placeholders = true, line = line })
  for _, problem in ipairs(problems or {}) do
    local hint = problem.hint or hidden_marker(text, problem.from, line)
    complain(state, problem.line, problem.message, hint, problem.column)
  end
  if statements and #statements == 0 and not found.options.irreversible then
    complain(state, math.max(found.marker, 1), "migrate:" .. found.name .. " is empty")
  end
  return { text = text, line = line, file = state.file, options = found.options, statements = statements or {} }
end

local function only(state, wanted)
  for _, found in ipairs(state.found) do
    local is_way = found.name == "up" or found.name == "down"
    if found.name ~= wanted and (is_way or wanted == "down") then
      complain(state, found.marker, ("migrate:%s does not belong into the .%s.sql file of a pair")
        :format(found.name, wanted))
    end
  end
end

local function check_sections(state, sections, part)
  local wanted = part or "up"
  if part then only(state, part) end
  if not sections[wanted] and state.marked then
    complain(state, nil, ("has no `-- migrate:%s` section"):format(wanted))
  end
  local up, down = sections.up, sections.down
  if up and up.options.irreversible and down and #down.statements > 0 then
    complain(state, down.line - 1, "there is a way back, yet migrate:up says irreversible")
  elseif down and down.options.irreversible and #down.statements > 0 then
    complain(state, down.line - 1, "migrate:down says irreversible, yet it has statements")
  end
end

-- Without any marker the whole file is one section.
local function whole(state, part)
  state.found[1] = { name = part or "up", options = {}, marker = 0, from = 1, to = #state.text }
end

--- Takes the text of one file apart.
---@param text string as it was read
---@param file string how messages call it
---@param part? "up"|"down" which half of a pair it is
---@return table<string, luphant.migrate.Section> sections
---@return luphant.migrate.Problem[] problems
local function parse(text, file, part)
  local state = { text = encoding.normalise(text), file = file, problems = {}, found = {} }
  local at, fault = encoding.fault(state.text)
  if at then
    complain(state, (sqltext.place(state.text, at)), fault)
    return {}, state.problems
  end
  find_sections(state)
  if not state.marked then
    whole(state, part)
  elseif state.first and (not state.found[1] or state.first < state.found[1].from) then
    complain(state, (sqltext.place(state.text, state.first)),
      "SQL before the first marker; begin with a line `-- migrate:up`")
  end
  local sections = {}
  for _, found in ipairs(state.found) do
    local section = read_section(state, found)
    sections[found.name] = sections[found.name] or section
  end
  check_sections(state, sections, part)
  vars.check(state.text, sections, function(...) complain(state, ...) end)
  table.sort(state.problems, function(a, b)
    if (a.line or 0) ~= (b.line or 0) then return (a.line or 0) < (b.line or 0) end
    return (a.column or 0) < (b.column or 0)
  end)
  return sections, state.problems
end

return parse
