-- schema/draft/words.lua - names, texts, comments and privileges in SQL.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"

local words = {}

--- A name, quoted: what needs it and what does not look the same to the server.
function words.quote(name)
  if name:find "^[a-z_][a-z0-9_]*$" and not words.RESERVED[name] then return name end
  return '"' .. name:gsub('"', '""') .. '"'
end

-- Only what is certain to be no plain name anywhere; anything else in lower case may stand as it is or in quotes.
words.RESERVED = {}
for word in ([[all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate
  collation column concurrently constraint create cross current_catalog current_date current_role
  current_schema current_time current_timestamp current_user default deferrable desc distinct do else end
  except false fetch for foreign freeze from full grant group having ilike in initially inner intersect
  into is isnull join lateral leading left like limit localtime localtimestamp natural not notnull null
  offset on only or order outer overlaps placing primary references returning right select session_user
  similar some symmetric system_user table tablesample then to trailing true union unique user using
  variadic verbose when where window with between bigint bit boolean char character coalesce dec decimal
  exists extract float greatest grouping inout int integer interval least national nchar none normalize
  nullif numeric out overlay position precision real row setof smallint substring time timestamp treat
  trim values varchar]]):gmatch "%S+" do words.RESERVED[word] = true end

--- A text as a literal.
function words.literal(text)
  text = tostring(text):gsub("'", "''")
  if text:find("\\", 1, true) then return "E'" .. text:gsub("\\", "\\\\") .. "'" end
  return "'" .. text .. "'"
end

--- A text in dollars that do not stand in it.
function words.dollars(text)
  local tag, n = "$$", 0
  while text:find(tag, 1, true) do
    n = n + 1
    tag = ("$body%d$"):format(n)
  end
  return tag .. text .. tag
end

local NOUNS = {
  ["partitioned table"] = "table", enum = "type", ["composite type"] = "type", range = "type", ["base type"] = "type",
  ["window function"] = "function", ["shell type"] = "type",
}

--- What COMMENT, ALTER and DROP call a kind.
function words.noun(kind) return NOUNS[kind] or kind end

--- COMMENT ON.
function words.comment(noun, name, text)
  return ("comment on %s %s is %s"):format(noun, name, text and words.literal(text) or "null")
end

-- ---- privileges ----------------------------------------------------------------------------------------------

local GRANT_NOUNS = {
  table = "table", view = "table", ["materialized view"] = "table", ["foreign table"] = "table", sequence = "sequence",
  ["function"] = "function", procedure = "procedure", schema = "schema", type = "type", domain = "type",
  column = "column", server = "foreign server", ["foreign data wrapper"] = "foreign data wrapper",
  language = "language",
}

local function role(name) return name == "public" and "public" or words.quote(name) end

local function set_of(list)
  local set = {}
  for _, item in ipairs(list or {}) do set[item] = true end
  return set
end

local function split(privilege)
  if privilege:find " by " then return nil end -- granted by somebody else: only they can do that
  return (privilege:gsub(" with grant option$", "")), privilege:find " with grant option$" ~= nil
end

-- One statement for one privilege of one role.
local function statement(verb, noun, name, grantee, privilege)
  local word, is_grantable = split(privilege)
  if not word then return nil end
  local target = ("on %s %s"):format(noun, name)
  if noun == "column" then
    local relation, column = name[1], name[2]
    word, target = ("%s (%s)"):format(word, column), "on table " .. relation
  end
  if verb == "grant" then
    return ("grant %s %s to %s%s"):format(word, target, role(grantee), is_grantable and " with grant option" or "")
  end
  return ("revoke %s %s from %s"):format(word, target, role(grantee))
end

--- From one list of privileges of a role to another. `field` is "grants" or "revoked": what was revoked of the default
--- comes back by granting it. Answers nil where it cannot be said.
function words.privileges(noun, name, field, grantee, from, to)
  noun = GRANT_NOUNS[noun]
  if not noun then return nil end
  local out, olds, news = {}, set_of(from), set_of(to)
  local take, give = "revoke", "grant"
  if field == "revoked" then take, give = give, take end
  for _, list in ipairs { { from or {}, news, take }, { to or {}, olds, give } } do
    for _, privilege in ipairs(list[1]) do
      if not list[2][privilege] then
        local sql = statement(list[3], noun, name, grantee, privilege)
        if not sql then return nil end
        out[#out + 1] = sql
      end
    end
  end
  return out
end

local DEFAULTS_OF = {
  table = "tables", view = "tables", ["materialized view"] = "tables", sequence = "sequences",
  ["function"] = "functions", procedure = "functions", type = "types", domain = "types", schema = "schemas",
}

--- What ALTER DEFAULT PRIVILEGES may give to a new object, and this one has not.
function words.not_by_default(defaults, noun, name, object)
  local out = {}
  for _, key in ipairs(compat.sorted_keys(defaults)) do
    local entry = defaults[key]
    local is_for = entry.objects == DEFAULTS_OF[noun] and (not entry.schema or entry.schema == object.schema)
    for _, grantee in ipairs(compat.sorted_keys(is_for and entry.grants or {})) do
      local wanted = object.grants and object.grants[grantee] or {}
      for _, sql in ipairs(words.privileges(noun, name, "grants", grantee, entry.grants[grantee], wanted) or {}) do
        if sql:find "^revoke" then out[#out + 1] = sql end
      end
    end
  end
  return out
end

--- All that an object grants beyond its default.
function words.all_privileges(noun, name, object)
  local out = {}
  for _, field in ipairs { "revoked", "grants" } do
    for _, grantee in ipairs(compat.sorted_keys(object[field] or {})) do
      local list = words.privileges(noun, name, field, grantee, nil, object[field][grantee])
      if not list then return nil end
      for _, sql in ipairs(list) do out[#out + 1] = sql end
    end
  end
  return out
end

return words
