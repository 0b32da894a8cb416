-- schema/read/collations.lua - collations. The version of the library that sorts by them belongs to the machine, not
-- to the schema, and is left out.
--
-- SPDX-License-Identifier: MIT

local reader = require "luphant.schema.reading"

local SQL = [[
select format('%I.%I', n.nspname, c.collname) as _id, n.nspname::text as schema, c.collname::text as name,
       c.collprovider::text as provider, c.collcollate::text as collate, c.collctype::text as ctype, {locale} as locale,
       {rules} as icu_rules, {nondeterministic} as nondeterministic,
       case when c.collencoding >= 0 then pg_encoding_to_char(c.collencoding)::text end as encoding,
       {owner c.collowner}, {comment c.oid pg_collation}
  from pg_catalog.pg_collation c
  join pg_catalog.pg_namespace n on n.oid = c.collnamespace
 where {scope n} and {own pg_collation c.oid}]]

local PROVIDERS = { c = "libc", i = "icu", b = "builtin", d = "default" }

local function locale(reading)
  if reading:since(17) then return "c.colllocale" end
  if reading:since(15) then return "c.colliculocale" end
  return "null::text"
end

return function(reading)
  local words = {
    locale = locale(reading),
    rules = reading:since(16) and "c.collicurules" or "null::text",
    nondeterministic = reading:since(12) and "not c.collisdeterministic" or "false",
  }
  for _, row in ipairs(reading:rows(SQL, words)) do
    reader.spell(row, "provider", PROVIDERS)
    if row.provider == "icu" and not row.locale then -- where servers before 15 keep it
      row.locale, row.collate, row.ctype = row.collate, nil, nil
    end
    reading:put("collations", row)
  end
end
