-- schema/read/languages.lua - what extends the server itself: languages, access methods, casts, transforms.
--
-- SPDX-License-Identifier: MIT

local reader = require "luphant.schema.reading"

-- Objects of the server have numbers below this one (FirstNormalObjectId in its sources).
local FIRST_OF_USERS = "16384"

local LANGUAGES = [[
select quote_ident(l.lanname) as _id, l.lanname::text as name, l.lanpltrusted as trusted,
       nullif(l.lanplcallfoid::regprocedure::text, '-') as handler,
       nullif(l.laninline::regprocedure::text, '-') as inline,
       nullif(l.lanvalidator::regprocedure::text, '-') as validator,
       {owner l.lanowner}, {comment l.oid pg_language}, {grants l l.lanacl l.lanowner}
  from pg_catalog.pg_language l
 where l.lanispl and {own pg_language l.oid}]]

local ACCESS_METHODS = [[
select quote_ident(a.amname) as _id, a.amname::text as name, a.amtype::text as type,
       a.amhandler::oid::regprocedure::text as handler, {comment a.oid pg_am}
  from pg_catalog.pg_am a
 where a.oid >= {first} and {own pg_am a.oid}]]

local CASTS = [[
select format('%s as %s', format_type(c.castsource, null), format_type(c.casttarget, null)) as _id,
       c.castcontext::text as context, c.castmethod::text as method,
       nullif(c.castfunc::regprocedure::text, '-') as function, {comment c.oid pg_cast}
  from pg_catalog.pg_cast c
 where c.oid >= {first} and {free pg_cast c.oid}]]

local TRANSFORMS = [[
select format('%s language %I', format_type(t.trftype, null), l.lanname) as _id,
       nullif(t.trffromsql::oid::regprocedure::text, '-') as from_sql,
       nullif(t.trftosql::oid::regprocedure::text, '-') as to_sql, {comment t.oid pg_transform}
  from pg_catalog.pg_transform t
  join pg_catalog.pg_language l on l.oid = t.trflang
 where {own pg_transform t.oid}]]

local TYPES = { t = "table", i = "index" }
local CONTEXTS = { e = "explicit", a = "assignment", i = "implicit" }
local METHODS = { f = "function", i = "inout", b = "binary" }

return function(reading)
  if not reading.is_whole then return end
  local words = { first = FIRST_OF_USERS }
  for _, row in ipairs(reading:rows(LANGUAGES)) do reading:put("languages", row) end
  for _, row in ipairs(reading:rows(ACCESS_METHODS, words)) do
    reader.spell(row, "type", TYPES)
    reading:put("access_methods", row)
  end
  for _, row in ipairs(reading:rows(CASTS, words)) do
    reader.spell(row, "context", CONTEXTS)
    reader.spell(row, "method", METHODS)
    reading:put("casts", row)
  end
  for _, row in ipairs(reading:rows(TRANSFORMS)) do reading:put("transforms", row) end
end
