-- schema/read/functions.lua - functions, procedures and window functions; aggregates have a file of their own.
--
-- SPDX-License-Identifier: MIT

local reader = require "luphant.schema.reading"

local SQL = [[
select format('%I.%I(%s)', n.nspname, p.proname, oidvectortypes(p.proargtypes)) as _id, n.nspname::text as schema,
       p.proname::text as name, p.prokind::text as kind, pg_get_function_arguments(p.oid) as arguments,
       pg_get_function_result(p.oid) as returns, l.lanname::text as language, p.prosrc as body,
       p.probin as library, {sql_body} as sql_body, p.provolatile::text as volatility, p.proisstrict as strict,
       p.prosecdef as security_definer, p.proleakproof as leakproof, p.proparallel::text as parallel,
       nullif(p.procost::text, case when l.lanname in ('internal', 'c') then '1' else '100' end) as cost,
       nullif(p.prorows::text, case when p.proretset then '1000' else '0' end) as rows, {support} as support,
       p.proconfig as settings,
       array(select format_type(t.oid, null) from unnest(p.protrftypes) with ordinality t (oid, place)
              order by t.place) as transforms,
       {owner p.proowner}, {comment p.oid pg_proc}, {grants f p.proacl p.proowner}
  from pg_catalog.pg_proc p
  join pg_catalog.pg_namespace n on n.oid = p.pronamespace
  join pg_catalog.pg_language l on l.oid = p.prolang
 where p.prokind <> 'a' and {scope n} and {free pg_proc p.oid}]]

local KINDS = { f = "function", p = "procedure", w = "window function" }
local VOLATILITY = { v = false, s = "stable", i = "immutable" }
local PARALLEL = { u = false, r = "restricted", s = "safe" }

return function(reading)
  local words = {
    sql_body = reading:since(14) and "pg_get_function_sqlbody(p.oid)" or "null::text",
    support = reading:since(12) and "nullif(p.prosupport::oid::regprocedure::text, '-')" or "null::text",
  }
  for _, row in ipairs(reading:rows(SQL, words)) do
    reader.spell(row, "kind", KINDS)
    reader.spell(row, "volatility", VOLATILITY)
    reader.spell(row, "parallel", PARALLEL)
    reader.sort(row.settings)
    reading:put("functions", row)
  end
end
