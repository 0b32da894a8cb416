-- lint rule odd-character: what an editor shows as something else, or not at all.
--
-- SPDX-License-Identifier: MIT

local sqltext = require "luphant.sqltext"

-- To the server all bytes above 127 are letters: these become parts of names.
local ODD = {
  ["\194\160"] = "a no-break space", ["\226\128\139"] = "a zero-width space",
  ["\226\128\140"] = "an invisible character", ["\226\128\141"] = "an invisible character",
  ["\226\128\142"] = "a mark of writing direction", ["\226\128\143"] = "a mark of writing direction",
  ["\226\129\160"] = "an invisible character",
  ["\239\187\191"] = "a byte order mark", ["\226\128\152"] = "a typographic quote",
  ["\226\128\153"] = "a typographic quote", ["\226\128\156"] = "a typographic quote",
  ["\226\128\157"] = "a typographic quote", ["\226\128\147"] = "a dash, which begins no comment",
  ["\226\128\148"] = "a dash, which begins no comment", ["\227\128\128"] = "a wide space",
}

local CONTROL = {}
for code = 1, 31 do
  if not (code >= 9 and code <= 13) then CONTROL[string.char(code)] = true end
end

local function odd_letter(text)
  for at, character in text:gmatch "()([\194\226\227\239][\128-\191][\128-\191]?)" do
    local what = ODD[character] or ODD[character:sub(1, 2)]
    if what then return what, at end
  end
end

-- Of a psql variable the colon stands alone before a name or a quote; `::` and `:=` are tokens of their own.
local function is_variable(sql, token, following)
  if not (token.kind == "symbol" and token.text == ":" and following) then return false end
  local is_name = following.kind == "word" or following.kind == "quoted" or following.kind == "string"
  return is_name and not sql:sub(token.from - 1, token.from - 1):find "[%w_%]%)\"]" and token.to + 1 == following.from
end

local function look(sql, tokens)
  for i, token in ipairs(tokens) do
    if token.kind == "word" and token.text:find "[\128-\255]" then
      local what, at = odd_letter(token.text)
      if what then return what .. ", which the server takes for a part of a name", token.from + at - 1 end
    elseif CONTROL[token.text] then
      return ("the control character %02X"):format(token.text:byte(1)), token.from
    elseif sql:find("^<<<<<<<%s", token.from) or sql:find("^>>>>>>>%s", token.from) then
      return "a marker of a merge that has not been ended", token.from
    elseif is_variable(sql, token, tokens[i + 1]) then
      return "a variable of psql, which nobody fills in here", token.from
    end
  end
end

return {
  name = "odd-character", severity = "error", group = "hygiene", also_down = true,
  title = "A character that is not what it looks like",
  message = "holds {what}",
  why = [[It came with the text from a page, a chat or a merge. The server complains about a syntax that looks right, or
makes a name of it that nobody can type.]],
  advice = "Type the place anew; values come in as ${name}, declared with vars: on the marker line.",
  bad = "alter table orders add column\194\160weight integer;",
  good = { "comment on table orders is '\226\128\156so\226\128\157 \226\128\147\194\160called';" },
  statements = {
    ["*"] = function(_, ctx, report)
      local sql = ctx.item.statement.sql
      if not sql:find "[\1-\8\14-\31\127-\255:<>]" then return end
      local what, at = look(sql, (sqltext.tokens(sql, { placeholders = true })))
      if what then report({ what = what }, nil, { from = at }) end
    end,
  },
}
