-- luphant.sqltext.lex - one SQL token at a time, as PostgreSQL's own scanner (scan.l) sees it.
--
-- `next` takes a text and the first byte of a token and answers its kind and its last byte; nothing is
-- copied and nothing is kept between calls, so that a text of many megabytes costs no more than itself.
-- Every byte belongs to exactly one token. The time is linear in the length: no pattern here can run over the
-- same bytes more than a fixed number of times, whatever the text is, and nothing calls itself.
--
-- Kinds: space, comment, word (identifier or keyword, also with bytes above 127), quoted ("..." and U&"..."),
-- string ('...' with or without E, U&, B, X or N; one that goes on in the next line is one token), dollar
-- ($tag$...$tag$), number, parameter ($1), operator, symbol ( ( ) [ ] , ; . : :: := .. ), placeholder
-- (${name}; only when asked for) and other: bytes the server would refuse.
--
-- SPDX-License-Identifier: MIT

local byte, find, sub = string.byte, string.find, string.sub

local lex = {}

local QUOTE, DOUBLE, BACKSLASH, DOLLAR, DASH, STAR, SLASH = 39, 34, 92, 36, 45, 42, 47
local DOT, COLON, EQUALS, AMPERSAND, PLUS, NEWLINE, RETURN = 46, 58, 61, 38, 43, 10, 13

-- ---- constants in quotes ------------------------------------------------------------------------------
-- Each answers the index of the closing quote, or nil. `at` is the first byte inside.

local function close_doubled(text, at, mark)
  local code = byte(mark)
  while true do
    local i = find(text, mark, at, true)
    if not i or byte(text, i + 1) ~= code then return i end
    at = i + 2
  end
end

local function close_escaped(text, at)
  while true do
    local i = find(text, "['\\]", at)
    if not i then return nil end
    local is_quote = byte(text, i) == QUOTE
    if is_quote and byte(text, i + 1) ~= QUOTE then return i end
    at = i + 2
  end
end

local function close_plain(text, at) return close_doubled(text, at, "'") end

-- B'' and X'' know no doubled quote: B'1''0' is two constants.
local function close_bits(text, at) return (find(text, "'", at, true)) end

-- Constants with only blanks and comments between them, and a line break among these, are one constant, and
-- the rules of the first part hold for all: E'a'\n'b\'c'. Answers the quote that opens the next part, or nil.
local function continuation(text, at)
  local broken = false
  while true do
    local _, last = find(text, "^[ \t\f\v]*", at)
    at = last + 1
    local c = byte(text, at)
    if c == NEWLINE or c == RETURN then
      broken, at = true, at + 1
    elseif c == DASH and byte(text, at + 1) == DASH then
      at = find(text, "[\n\r]", at)
      if not at then return nil end
    else
      return c == QUOTE and broken and at or nil
    end
  end
end

local function string_token(text, at, close)
  local quote = at
  while true do
    local last = close(text, quote + 1)
    if not last then return "string", #text, "a string in quotes is not closed" end
    quote = continuation(text, last + 1)
    if not quote then return "string", last end
  end
end

local function quoted_token(text, at)
  local last = close_doubled(text, at + 1, '"')
  if last then return "quoted", last end
  return "quoted", #text, "a quoted name is not closed"
end

-- ---- the rest, by first byte --------------------------------------------------------------------------

local function block_comment(text, at)
  local depth, i = 1, at + 2
  while true do
    i = find(text, "[/*]", i)
    if not i then return "comment", #text, "a comment that begins with /* is not closed" end
    local c, d = byte(text, i, i + 1)
    if c == STAR and d == SLASH then
      depth, i = depth - 1, i + 2
      if depth == 0 then return "comment", i - 1 end
    elseif c == SLASH and d == STAR then
      depth, i = depth + 1, i + 2
    else
      i = i + 1
    end
  end
end

local function line_comment(text, at)
  return "comment", (find(text, "[\n\r]", at) or #text + 1) - 1
end

local function space(text, at)
  local _, last = find(text, "^[ \t\n\r\f\v]+", at)
  return "space", last
end

-- Prefixes of string constants: one letter and the quote right behind it.
local PREFIX = {
  [69] = close_escaped, [101] = close_escaped, -- E e
  [66] = close_bits, [98] = close_bits, [88] = close_bits, [120] = close_bits, -- B b X x
  [78] = close_plain, [110] = close_plain, -- N n
}
local UNICODE = { [85] = true, [117] = true } -- U u

local function word(text, at, escapes)
  local _, last = find(text, "^[%w_$\128-\255]*", at)
  if last > at then return "word", last end
  local letter, mark, third = byte(text, at, at + 2)
  if mark == QUOTE and PREFIX[letter] then
    local close = PREFIX[letter]
    if escapes and close == close_plain then close = close_escaped end
    return string_token(text, at + 1, close)
  elseif mark == AMPERSAND and UNICODE[letter] and third == QUOTE then
    return string_token(text, at + 2, close_plain)
  elseif mark == AMPERSAND and UNICODE[letter] and third == DOUBLE then
    return quoted_token(text, at + 2)
  end
  return "word", last
end

local function number(text, at)
  local _, last = find(text, "^0[xX][%x_]+", at)
  if not last then _, last = find(text, "^0[oObB][0-7_]+", at) end
  if last then return "number", last end
  _, last = find(text, "^[%d_]*", at)
  -- 1..10 is a number and the two dots of a range.
  if byte(text, last + 1) == DOT and byte(text, last + 2) ~= DOT then
    _, last = find(text, "^%.[%d_]*", last + 1)
  end
  local _, exponent = find(text, "^[eE][+-]?%d[%d_]*", last + 1)
  return "number", exponent or last
end

local function dot(text, at)
  local c = byte(text, at + 1)
  if c and c >= 48 and c <= 57 then return number(text, at) end
  return "symbol", c == DOT and at + 1 or at
end

local function dollar(text, at, _, placeholders)
  local _, last = find(text, "^%$%d+", at)
  if last then return "parameter", last end
  _, last = find(text, "^%$[%a_\128-\255][%w_\128-\255]*%$", at)
  if not last and byte(text, at + 1) == DOLLAR then last = at + 1 end
  if last then
    local tag = sub(text, at, last)
    local _, stop = find(text, tag, last + 1, true)
    if stop then return "dollar", stop end
    return "dollar", #text, ("a string that begins with %s is not closed"):format(tag)
  end
  if placeholders then
    _, last = find(text, "^%${[%w_:]*}", at)
    if last then return "placeholder", last end
  end
  return "other", at
end

-- The server knows no operator of 64 characters or more, so a longer run is looked at in pieces: else a text
-- of nothing but signs, each of which is a token, would be read again for every one of them.
local WINDOW = 63

local function operator(text, at)
  local run = sub(text, at, at + WINDOW - 1)
  local _, length = find(run, "^[~!@#^&|`?+%-*/%%<>=]+")
  local around = sub(text, at, at + length)
  local comment, block = find(around, "--", 2, true), find(around, "/*", 2, true)
  if comment then length = math.min(length, comment - 1) end
  if block then length = math.min(length, block - 1) end
  -- `=-1` is `=` and `-`, but `@-` is one operator: a sign at the end needs one of these before it.
  if length > 1 and not find(sub(run, 1, length), "[~!@#%%^&|`?]") then
    local last = byte(run, length)
    while length > 1 and (last == PLUS or last == DASH) do
      length = length - 1
      last = byte(run, length)
    end
  end
  return "operator", at + length - 1
end

local function dash(text, at)
  if byte(text, at + 1) == DASH then return line_comment(text, at) end
  return operator(text, at)
end

local function slash(text, at)
  if byte(text, at + 1) == STAR then return block_comment(text, at) end
  return operator(text, at)
end

local function colon(text, at)
  local c = byte(text, at + 1)
  return "symbol", (c == COLON or c == EQUALS) and at + 1 or at
end

local function single(_, at) return "symbol", at end
local function other(_, at) return "other", at end

local START = {}
for code = 0, 255 do START[code] = other end
for code = 48, 57 do START[code] = number end
for code = 65, 90 do START[code], START[code + 32] = word, word end
for code = 128, 255 do START[code] = word end
for c in ("~!@#^&|`?+*%<>="):gmatch "." do START[byte(c)] = operator end
for c in ("()[],;"):gmatch "." do START[byte(c)] = single end
for c in (" \t\n\r\f\v"):gmatch "." do START[byte(c)] = space end
START[95], START[DASH], START[SLASH], START[DOT], START[COLON] = word, dash, slash, dot, colon
START[DOLLAR], START[DOUBLE] = dollar, quoted_token
START[QUOTE] = function(text, at, escapes)
  return string_token(text, at, escapes and close_escaped or close_plain)
end
START[BACKSLASH] = other

--- The token that begins at byte `at`, which must be one of the text's.
---@param text string
---@param at integer
---@param escapes? boolean plain '...' knows backslashes (standard_conforming_strings is off)
---@param placeholders? boolean ${name} is one token
---@return string kind
---@return integer last
---@return string? complaint when the text ends inside of the token
function lex.next(text, at, escapes, placeholders)
  return START[byte(text, at)](text, at, escapes, placeholders)
end

return lex
