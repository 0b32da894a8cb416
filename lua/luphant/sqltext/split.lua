-- luphant.sqltext.split - a script as its statements, the way the server itself would part them.
--
-- A semicolon ends a statement unless it stands inside of parentheses (the actions of CREATE RULE) or of a
-- BEGIN ATOMIC body. Such a body ends at the END that stands where a statement would begin, whatever CASE ...
-- END, labels and columns of that name the statements inside have.
--
-- What is no SQL but instructions to psql (backslash commands, the data of COPY FROM STDIN) is a problem with a
-- hint, never sent and never skipped in silence.
--
-- SPDX-License-Identifier: MIT

local lex = require "luphant.sqltext.lex"
local place = require "luphant.sqltext.place"

local byte, find, lower, next_token, sub = string.byte, string.find, string.lower, lex.next, string.sub

local BACKSLASH = 92
-- A text that is no SQL at all should not make a list as long as itself.
local MOST_PROBLEMS = 20

local COMMAND_HINTS = {
  i = "put the text of that file here, or run it as a migration of its own",
  ir = "put the text of that file here, or run it as a migration of its own",
  copy = "write INSERT, or let the program copy the data",
  c = "a script belongs to one database; connect to the other one for its own script",
  connect = "a script belongs to one database; connect to the other one for its own script",
  set = "variables of psql do not exist here",
  restrict = "pg_dump wrote it for psql; take the line out",
  unrestrict = "pg_dump wrote it for psql; take the line out",
}

local function complain(state, at, message, hint)
  local list = state.problems
  if #list >= MOST_PROBLEMS then return end
  local line, column = place.of(state.text, at, state.first_line)
  list[#list + 1] = { from = at, line = line, column = column, message = message, hint = hint }
end

-- create [or replace] <one of these>
local function creates(words, ...)
  if words[1] ~= "create" then return false end
  local what = words[2] == "or" and words[3] == "replace" and words[4] or words[2]
  for i = 1, select("#", ...) do
    if what == select(i, ...) then return true end
  end
  return false
end

-- Setting it in the script changes how the server reads what follows.
local OFF = { off = true, ["false"] = true, no = true, ["0"] = true, f = true, n = true, of = true }

local function follow_setting(state, sql, words)
  local name = words[2]
  if name == "session" or name == "local" then name = words[3] end
  if words[1] ~= "set" or name ~= "standard_conforming_strings" then return end
  local value = lower(sql):match("standard_conforming_strings(.*)$")
  value = value:gsub("^%s+to%f[%W]", ""):gsub("[%s='\"]", "")
  if value == "default" then
    state.escapes = state.escapes_first
  else
    state.escapes = OFF[value] == true
  end
end

-- Where the script goes on behind the data of a COPY that ended at byte `at`.
local function behind_data(text, at)
  local _, last = find(text, "\n\\%.[ \t\r]*\n", at)
  if last then return last end
  return find(text, "\n\\%.[ \t\r]*$", at) and #text or at
end

local function forget(state)
  state.first, state.last, state.words, state.before = nil, nil, {}, ""
  state.depth, state.body, state.stdin = 0, false, false
end

local function finish(state)
  if state.depth > 0 then
    complain(state, state.opened, "a parenthesis is not closed before the statement ends")
  elseif state.body then
    complain(state, state.body, "BEGIN ATOMIC without an END; it stands alone, behind the last semicolon of the body")
  end
  if state.first then
    local line, column = place.advance(state.cursor, state.first)
    local sql = sub(state.text, state.first, state.last)
    local list = state.statements
    list[#list + 1] = {
      sql = sql, from = state.first, to = state.last, line = line, column = column, words = state.words,
    }
    follow_setting(state, sql, state.words)
  end
  forget(state)
end

-- ---- what each kind of token does to the state ----------------------------------------------------------
-- Each may answer where to go on, when that is not behind the token.

local SYMBOL = {
  ["("] = function(state, at)
    if state.depth == 0 then state.opened = at end
    state.depth = state.depth + 1
  end,
  [")"] = function(state)
    if state.depth > 0 then state.depth = state.depth - 1 end
  end,
}

local function semicolon(state, at)
  if state.depth > 0 and creates(state.words, "rule") then return nil end
  if state.body and state.depth == 0 then
    state.before, state.last = ";", at
    return nil
  end
  local first, stdin = state.first, state.stdin
  finish(state)
  if stdin then
    complain(state, first, "COPY ... FROM STDIN reads data that follows the statement, which only psql does",
      "write INSERT, or let the program copy the data")
    return behind_data(state.text, at) + 1
  end
end

-- `copy t from stdout` is the same to the server.
local STANDARD = { stdin = true, stdout = true }

local function on_word(state, at, last)
  local name, words = lower(sub(state.text, at, last)), state.words
  words[#words + 1] = name
  if state.depth == 0 then
    if state.body then
      if name == "end" and (state.before == ";" or state.before == "atomic") then state.body = false end
    elseif name == "atomic" and state.before == "begin" and creates(words, "function", "procedure") then
      state.body = at
    elseif STANDARD[name] and state.before == "from" and words[1] == "copy" then
      state.stdin = true
    end
  end
  state.before = name
end

local function on_symbol(state, at, last)
  local symbol = sub(state.text, at, last)
  if SYMBOL[symbol] then SYMBOL[symbol](state, at) end
  state.before = symbol
end

local function on_other(state, at)
  state.before = ""
  if byte(state.text, at) ~= BACKSLASH then return nil end
  local name = state.text:match("^\\(%S*)", at)
  complain(state, at, ("\\%s is a command of psql, not SQL"):format(name),
    COMMAND_HINTS[name] or "only psql understands it; take it out")
  state.depth, state.body = 0, false -- what it interrupted cannot be judged
  finish(state)
  return find(state.text, "\n", at, true) or #state.text + 1
end

local ON = { word = on_word, symbol = on_symbol, other = on_other }

-- A comment /*+ ... */ in front of a statement speaks to planner extensions and goes with it.
local function begins_statement(text, kind, at)
  if kind == "space" then return false end
  return kind ~= "comment" or find(text, "^/%*%+", at) ~= nil
end

-- Deals with the token at `at`; answers where the next one begins.
local function step(state, at)
  local text = state.text
  local kind, last, complaint = next_token(text, at, state.escapes, state.placeholders)
  if complaint then complain(state, at, complaint) end
  if kind == "symbol" and byte(text, at) == 59 then
    local onward = semicolon(state, at)
    return onward or last + 1
  end
  local onward
  if ON[kind] then
    onward = ON[kind](state, at, last)
  elseif kind ~= "space" and kind ~= "comment" then
    state.before = ""
  end
  if onward then return onward end
  if not state.first and begins_statement(text, kind, at) then state.first = at end
  if kind ~= "space" and kind ~= "comment" then state.last = last end
  return last + 1
end

---@class (exact) luphant.sqltext.Statement
---@field sql string from its first token to its last, without the semicolon
---@field from integer first byte in the text
---@field to integer last byte in the text
---@field line integer
---@field column integer in characters
---@field words string[] its unquoted words in lower case, comments and strings left out

---@class (exact) luphant.sqltext.Problem
---@field from integer byte in the text
---@field line integer
---@field column integer
---@field message string
---@field hint? string

---@class (exact) luphant.sqltext.Options
---@field standard_conforming_strings? boolean default true, as in the server
---@field placeholders? boolean take ${name} for one token
---@field line? integer number of the text's first line (default 1)

--- The statements of a script.
---@param text string
---@param options? luphant.sqltext.Options
---@return luphant.sqltext.Statement[]? statements
---@return luphant.sqltext.Problem[]? problems all there are, when there are any
local function split(text, options)
  options = options or {}
  local escapes = options.standard_conforming_strings == false
  local state = {
    text = text, escapes = escapes, escapes_first = escapes, placeholders = options.placeholders,
    first_line = options.line, cursor = place.cursor(text, options.line), statements = {}, problems = {},
  }
  forget(state)
  local at, size = 1, #text
  while at <= size do at = step(state, at) end
  finish(state)
  if #state.problems > 0 then return nil, state.problems end
  return state.statements
end

return split
