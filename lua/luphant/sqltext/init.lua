-- luphant.sqltext - SQL as text: its tokens, its statements, and what of it may stand in a log.
--
-- Knows how PostgreSQL's scanner reads (all kinds of quotes, nested comments, BEGIN ATOMIC bodies), nothing
-- about what a statement means. Pure: text in, tables and text out. Broken text never raises.
--
-- SPDX-License-Identifier: MIT

local lex = require "luphant.sqltext.lex"
local place = require "luphant.sqltext.place"
local split = require "luphant.sqltext.split"

local byte, next_token, sub = string.byte, lex.next, string.sub

local sqltext = { split = split, place = place.of, byte = place.byte }

local COMMA, SLASH = 44, 47

---@alias luphant.sqltext.Kind "space"|"comment"|"word"|"quoted"|"string"|"dollar"|"number"|"parameter"|"operator"
---|"symbol"|"placeholder"|"other"

local BLANK = {}
for c in (" \t\n\r\f\v"):gmatch "." do BLANK[byte(c)] = true end

local function flags(options)
  if not options then return false, false end
  return options.standard_conforming_strings == false, options.placeholders
end

---@class (exact) luphant.sqltext.Token
---@field kind luphant.sqltext.Kind
---@field text string
---@field from integer
---@field to integer
---@field line integer
---@field column integer

--- An iterator over the tokens that makes no tables: `for kind, from, to in sqltext.scan(text) do`.
---@param text string
---@param options? luphant.sqltext.Options
---@return fun(): luphant.sqltext.Kind?, integer, integer, string? kind, first byte, last byte, complaint
function sqltext.scan(text, options)
  local escapes, placeholders = flags(options)
  local at, size = 1, #text
  return function()
    if at > size then return nil end
    local from = at
    local kind, last, complaint = next_token(text, from, escapes, placeholders)
    at = last + 1
    return kind, from, last, complaint
  end
end

--- All tokens of a text, blanks and comments included: their texts in a row are the text.
---@param text string
---@param options? luphant.sqltext.Options
---@return luphant.sqltext.Token[] tokens
---@return luphant.sqltext.Problem? problem when the text ends inside of the last one
function sqltext.tokens(text, options)
  local list, problem = {}, nil
  local cursor = place.cursor(text, options and options.line)
  for kind, at, last, complaint in sqltext.scan(text, options) do
    local line, column = place.advance(cursor, at)
    list[#list + 1] = { kind = kind, text = sub(text, at, last), from = at, to = last, line = line, column = column }
    if complaint then
      problem = { from = at, line = line, column = column, message = complaint }
    end
  end
  return list, problem
end

-- By hand from the end: a pattern would look at every run of blanks again and again.
local function trim(text)
  local first, last = text:find "%S" or #text + 1, #text
  while last > first and BLANK[byte(text, last)] do last = last - 1 end
  return sub(text, first, last)
end

--- The text without its comments and outer blanks. A comment to the end of a line leaves the line break, one
--- between two tokens a blank; comments between the parts of a string that goes on in the next line stay.
---@param text string
---@param options? luphant.sqltext.Options
---@return string
function sqltext.strip(text, options)
  local out = {}
  for kind, at, last in sqltext.scan(text, options) do
    if kind ~= "comment" then
      out[#out + 1] = sub(text, at, last)
    elseif byte(text, at) == SLASH then
      out[#out + 1] = " "
    end
  end
  return trim(table.concat(out))
end

--- The tokens with one blank between them: equal for two texts that differ in comments, blanks and line breaks
--- only. For comparing, not for sending.
---@param text string
---@param options? luphant.sqltext.Options
---@return string
function sqltext.bare(text, options)
  local out = {}
  for kind, at, last in sqltext.scan(text, options) do
    if kind ~= "space" and kind ~= "comment" then out[#out + 1] = sub(text, at, last) end
  end
  return table.concat(out, " ")
end

local CONSTANT = { string = true, dollar = true, number = true }

-- Appends one token; a row of constants is shortened to its first.
local function append(out, kind, piece, spaced)
  if CONSTANT[kind] then
    piece = "?"
    if out[#out] == "," and (out[#out - 1] == "?" or out[#out - 1] == "...") then
      local is_second = out[#out - 1] == "?"
      out[#out] = is_second and ", " or nil
      if is_second then out[#out + 1] = "..." end
      return
    end
  end
  if spaced and #out > 0 then out[#out + 1] = " " end
  out[#out + 1] = piece
end

--- A text for logs: no comments, no values. Every constant becomes `?`, a list of them `?, ...`, and runs of
--- blanks one blank. What is broken hides more, not less: an open string swallows the rest.
---@param text string
---@param options? luphant.sqltext.Options
---@return string
function sqltext.normalise(text, options)
  local out, spaced = {}, false
  for kind, at, last in sqltext.scan(text, options) do
    if kind == "space" or kind == "comment" then
      spaced = true
    else
      append(out, kind, sub(text, at, last), spaced and byte(text, at) ~= COMMA)
      spaced = false
    end
  end
  return table.concat(out)
end

return sqltext
