-- luphant.migrate.ddl.reader - a cursor over the tokens of one statement, with the few moves its grammar needs.
--
-- Tolerant: what it does not find it does not take, and it never raises and never runs past the end. Blanks and
-- comments are not seen. Words are compared in lower case; a quoted name is never a keyword.
--
-- SPDX-License-Identifier: MIT

local sqltext = require "luphant.sqltext"

local Reader = {}
Reader.__index = Reader

local M = {}

---@class (exact) luphant.migrate.ddl.Name
---@field name string folded as the server folds it
---@field schema? string
---@field text string as written
---@field from integer byte in the statement

local LEXING = { placeholders = true }

-- "a ""b" -> a "b
local function unquote(text) return (text:gsub("^[Uu]&", ""):gsub('^"', ""):gsub('"$', ""):gsub('""', '"')) end

-- ASCII only, as the server does for the encodings it cannot be sure of.
local function fold(text) return text:lower() end

--- A cursor before the first token of `sql`.
---@param sql string
function M.new(sql)
  local list = {}
  for _, token in ipairs((sqltext.tokens(sql, LEXING))) do
    if token.kind ~= "space" and token.kind ~= "comment" then
      token.word = token.kind == "word" and fold(token.text) or nil
      list[#list + 1] = token
    end
  end
  return setmetatable({ sql = sql, tokens = list, at = 1, last = #list }, Reader)
end

--- A cursor over the tokens `first` to `last` of another one.
function Reader:part(first, last)
  return setmetatable({ sql = self.sql, tokens = self.tokens, at = first, last = last }, Reader)
end

function Reader:peek(ahead)
  local i = self.at + (ahead or 0)
  return i <= self.last and self.tokens[i] or nil
end

--- The keyword here (or `ahead` tokens further), or nil.
function Reader:word(ahead)
  local token = self:peek(ahead)
  return token and token.word
end

function Reader:is_end() return self.at > self.last end

function Reader:skip(count) self.at = self.at + (count or 1) end

--- Where the current token begins, as a byte of the statement; of the last one behind the end.
function Reader:from()
  local token = self:peek() or self.tokens[self.last]
  return token and token.from or 1
end

local phrases = {}
local function words_of(phrase)
  local words = phrases[phrase]
  if not words then
    words = {}
    for word in phrase:gmatch "%S+" do words[#words + 1] = word end
    phrases[phrase] = words
  end
  return words
end

--- Do the words of `phrase` stand here?
function Reader:is(phrase)
  local words = words_of(phrase)
  for i = 1, #words do
    if self:word(i - 1) ~= words[i] then return false end
  end
  return true
end

--- Takes the words of `phrase` when they stand here.
function Reader:accept(phrase)
  if not self:is(phrase) then return false end
  self.at = self.at + #words_of(phrase)
  return true
end

--- Takes the first of several phrases that stands here; longer ones must come first.
function Reader:accept_any(list)
  for _, phrase in ipairs(list) do
    if self:accept(phrase) then return phrase end
  end
end

function Reader:is_symbol(text)
  local token = self:peek()
  return token ~= nil and token.text == text and token.kind ~= "string" and token.kind ~= "quoted"
end

function Reader:accept_symbol(text)
  if not self:is_symbol(text) then return false end
  self.at = self.at + 1
  return true
end

local NAMES = { word = true, quoted = true, placeholder = true }

local function part_of(token)
  if not token or not NAMES[token.kind] then return nil end
  if token.kind == "quoted" then return unquote(token.text) end
  return token.word or token.text
end

--- Takes a name, with its schema where there is one: catalog.schema.name keeps the last two.
---@return luphant.migrate.ddl.Name?
function Reader:name()
  local first = self:peek()
  local name, schema = part_of(first), nil
  if not name then return nil end
  self.at = self.at + 1
  while self:is_symbol "." and part_of(self:peek(1)) do
    schema, name = name, part_of(self:peek(1))
    self.at = self.at + 2
  end
  local last = self.tokens[self.at - 1]
  return { name = name, schema = schema, text = self.sql:sub(first.from, last.to), from = first.from }
end

--- Takes names between commas.
---@return luphant.migrate.ddl.Name[]
function Reader:names()
  local list = {}
  repeat
    self:accept "only"
    local name = self:name()
    if not name then break end
    list[#list + 1] = name
    local star = self:peek()
    if star and star.text == "*" then self:skip() end
    if self:is_symbol "(" then self:group() end -- argument types of functions
  until not self:accept_symbol ","
  return list
end

--- Takes everything from ( to its ), and answers a cursor over what is inside; nil when there is no (.
function Reader:group()
  if not self:is_symbol "(" then return nil end
  local first, depth = self.at + 1, 0
  repeat
    if self:is_symbol "(" then depth = depth + 1 elseif self:is_symbol ")" then depth = depth - 1 end
    self:skip()
  until depth == 0 or self:is_end()
  return self:part(first, depth == 0 and self.at - 2 or self.last)
end

--- Moves to the next token for which `is_stop(reader)` holds, outside of parentheses and brackets; or to the end.
function Reader:skip_until(is_stop)
  local depth = 0
  while not self:is_end() do
    if self:is_symbol "(" or self:is_symbol "[" then
      depth = depth + 1
    elseif self:is_symbol ")" or self:is_symbol "]" then
      depth = depth - 1
    elseif depth == 0 and is_stop(self) then
      return
    end
    self:skip()
  end
end

local function is_comma(reader) return reader:is_symbol "," end

--- Cursors over the items between commas, from here to the end.
function Reader:items()
  local list = {}
  while not self:is_end() do
    local first = self.at
    self:skip_until(is_comma)
    list[#list + 1] = self:part(first, self.at - 1)
    self:accept_symbol ","
  end
  return list
end

--- The text from token `first` to the one before the current (or to `last`).
function Reader:text(first, last)
  last = last or self.at - 1
  if last < first then return "" end
  return self.sql:sub(self.tokens[first].from, self.tokens[last].to)
end

--- The text from here to the end.
function Reader:rest() return self:text(self.at, self.last) end

--- The words from here to the end, without moving.
function Reader:has_word(...)
  for i = self.at, self.last do
    local word = self.tokens[i].word
    for k = 1, word and select("#", ...) or 0 do
      if word == select(k, ...) then return true end
    end
  end
  return false
end

return M
