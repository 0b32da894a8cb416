-- schema/normal.lua - one spelling for expressions that the server spells in two ways.
--
-- `status in ('a', 'b')` on a varchar column is stored with the cast around the array, and shown like that:
--   (ARRAY['a'::character varying, 'b'::character varying])::text[]
-- Given back to the server (by pg_dump, say), the cast goes into the array, and is shown there ever after:
--   ARRAY[('a'::character varying)::text, ('b'::character varying)::text]
-- Both mean the same; here the first becomes the second, so that a restored database equals its original.
--
-- SPDX-License-Identifier: MIT

local OPEN = "(ARRAY["

-- The place behind a quoted text that begins at `at` (a quote). In E'' a backslash hides what follows it.
local function skip_quoted(text, at)
  local quote = text:sub(at, at)
  local has_escapes = quote == "'" and text:sub(at - 1, at - 1) == "E"
  local i = at + 1
  while i <= #text do
    local c = text:sub(i, i)
    if c == "\\" and has_escapes then
      i = i + 1
    elseif c == quote then
      if text:sub(i + 1, i + 1) ~= quote then return i + 1 end
      i = i + 1
    end
    i = i + 1
  end
  return i
end

-- Elements of the array whose first one begins at `at`, and the place of its closing bracket.
local function elements(text, at)
  local list, depth, from, i = {}, 0, at, at
  while i <= #text do
    local c = text:sub(i, i)
    if c == "'" or c == '"' then
      i = skip_quoted(text, i)
    else
      if c == "]" and depth == 0 then
        list[#list + 1] = text:sub(from, i - 1)
        return list, i
      end
      if c == "(" or c == "[" then depth = depth + 1 end
      if c == ")" or c == "]" then depth = depth - 1 end
      if c == "," and depth == 0 then
        list[#list + 1] = text:sub(from, i - 1)
        from = text:sub(i + 1, i + 1) == " " and i + 2 or i + 1
      end
      i = i + 1
    end
  end
end

-- The array at `at` with its cast inside, and the place behind the cast; nil when it has none.
local function moved(text, at)
  local list, close = elements(text, at + #OPEN)
  if not list then return nil end
  local element_type, behind = text:match('^%)::([%w_ ."]+)%[%]()', close + 1)
  if not element_type then
    element_type, behind = text:match('^%)::([%w_ ."]+%([%d,]+%))%[%]()', close + 1)
  end
  if not element_type then return nil end
  for i, element in ipairs(list) do
    if element:find "^ARRAY%[" then return nil end -- of more dimensions: the server leaves those alone
    list[i] = ("(%s)::%s"):format(element, element_type)
  end
  return "ARRAY[" .. table.concat(list, ", ") .. "]", behind
end

--- The expression in its lasting spelling.
---@param text string
---@return string
return function(text)
  if not text:find(OPEN, 1, true) then return text end
  local out, from, i = {}, 1, 1
  while i <= #text do
    local c = text:sub(i, i)
    local replaced, behind
    if c == "(" and text:sub(i, i + #OPEN - 1) == OPEN then replaced, behind = moved(text, i) end
    if replaced then
      out[#out + 1] = text:sub(from, i - 1) .. replaced
      from, i = behind, behind
    elseif c == "'" or c == '"' then
      i = skip_quoted(text, i)
    else
      i = i + 1
    end
  end
  out[#out + 1] = text:sub(from)
  return table.concat(out)
end
