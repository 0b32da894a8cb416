-- schema/read/aggregates.lua - aggregates; they share the namespace of functions and stand among them.
--
-- SPDX-License-Identifier: MIT

local reader = require "luphant.schema.reading"

local SQL = [[
select format('%I.%I(%s)', n.nspname, p.proname, oidvectortypes(p.proargtypes)) as _id, n.nspname::text as schema,
       p.proname::text as name, 'aggregate' as kind, a.aggkind::text as variant,
       pg_get_function_arguments(p.oid) as arguments, pg_get_function_result(p.oid) as returns,
       a.aggtransfn::oid::regprocedure::text as transition, format_type(a.aggtranstype, null) as state_type,
       nullif(a.aggtransspace, 0) as state_size, a.agginitval as initial_value,
       nullif(a.aggfinalfn::oid::regprocedure::text, '-') as final, a.aggfinalextra as final_extra,
       a.aggfinalmodify::text as final_modify,
       nullif(a.aggcombinefn::oid::regprocedure::text, '-') as combine,
       nullif(a.aggserialfn::oid::regprocedure::text, '-') as serialize,
       nullif(a.aggdeserialfn::oid::regprocedure::text, '-') as deserialize,
       nullif(a.aggmtransfn::oid::regprocedure::text, '-') as moving_transition,
       nullif(a.aggminvtransfn::oid::regprocedure::text, '-') as moving_inverse,
       case when a.aggmtranstype <> 0 then format_type(a.aggmtranstype, null) end as moving_state_type,
       nullif(a.aggmtransspace, 0) as moving_state_size, a.aggminitval as moving_initial_value,
       nullif(a.aggmfinalfn::oid::regprocedure::text, '-') as moving_final, a.aggmfinalextra as moving_final_extra,
       case when a.aggmfinalfn::oid <> 0 then a.aggmfinalmodify::text end as moving_final_modify,
       nullif(a.aggsortop::regoperator::text, '0') as sort_operator, p.proparallel::text as parallel,
       {owner p.proowner}, {comment p.oid pg_proc}, {grants f p.proacl p.proowner}
  from pg_catalog.pg_proc p
  join pg_catalog.pg_aggregate a on a.aggfnoid = p.oid
  join pg_catalog.pg_namespace n on n.oid = p.pronamespace
 where {scope n} and {free pg_proc p.oid}]]

local VARIANTS = { n = false, o = "ordered-set", h = "hypothetical-set" }
local MODIFY = { r = "read only", s = "shareable", w = "read write" }
local PARALLEL = { u = false, r = "restricted", s = "safe" }

return function(reading)
  for _, row in ipairs(reading:rows(SQL)) do
    reader.spell(row, "variant", VARIANTS)
    reader.spell(row, "parallel", PARALLEL)
    reader.spell(row, "final_modify", MODIFY)
    reader.spell(row, "moving_final_modify", MODIFY)
    reading:put("functions", row)
  end
end
