-- schema/read/operators.lua - operators, and the families and classes that tell indexes how to use them.
--
-- SPDX-License-Identifier: MIT

local reader = require "luphant.schema.reading"

local OPERATORS = [[
select format('%I.%s(%s, %s)', n.nspname, o.oprname,
         case when o.oprleft = 0 then 'none' else format_type(o.oprleft, null) end,
         case when o.oprright = 0 then 'none' else format_type(o.oprright, null) end) as _id,
       n.nspname::text as schema, o.oprname::text as name, format_type(o.oprresult, null) as returns,
       o.oprcode::oid::regprocedure::text as function,
       nullif(o.oprcom::regoperator::text, '0') as commutator, nullif(o.oprnegate::regoperator::text, '0') as negator,
       nullif(o.oprrest::oid::regprocedure::text, '-') as restrict,
       nullif(o.oprjoin::oid::regprocedure::text, '-') as join,
       o.oprcanhash as hashes, o.oprcanmerge as merges, {owner o.oprowner}, {comment o.oid pg_operator}
  from pg_catalog.pg_operator o
  join pg_catalog.pg_namespace n on n.oid = o.oprnamespace
 where {scope n} and {own pg_operator o.oid}]]

local FAMILIES = [[
select format('%I.%I using %I', n.nspname, f.opfname, am.amname) as _id, n.nspname::text as schema,
       f.opfname::text as name, am.amname::text as method,
       array(select format('%s %s%s', o.amopstrategy, o.amopopr::regoperator,
                  case when o.amopsortfamily <> 0 then (select format(' for order by %I.%I', sn.nspname, s.opfname)
                    from pg_catalog.pg_opfamily s join pg_catalog.pg_namespace sn on sn.oid = s.opfnamespace
                   where s.oid = o.amopsortfamily) end)
               from pg_catalog.pg_amop o where o.amopfamily = f.oid) as operators,
       array(select format('%s (%s, %s) %s', p.amprocnum, format_type(p.amproclefttype, null),
                  format_type(p.amprocrighttype, null), p.amproc::oid::regprocedure)
               from pg_catalog.pg_amproc p where p.amprocfamily = f.oid) as functions,
       {owner f.opfowner}, {comment f.oid pg_opfamily}
  from pg_catalog.pg_opfamily f
  join pg_catalog.pg_namespace n on n.oid = f.opfnamespace
  join pg_catalog.pg_am am on am.oid = f.opfmethod
 where {scope n} and {own pg_opfamily f.oid}]]

local CLASSES = [[
select format('%I.%I using %I', n.nspname, o.opcname, am.amname) as _id, n.nspname::text as schema,
       o.opcname::text as name, am.amname::text as method, format('%I.%I', fn.nspname, f.opfname) as family,
       format_type(o.opcintype, null) as type, o.opcdefault as is_default,
       case when o.opckeytype <> 0 then format_type(o.opckeytype, null) end as storage,
       {owner o.opcowner}, {comment o.oid pg_opclass}
  from pg_catalog.pg_opclass o
  join pg_catalog.pg_namespace n on n.oid = o.opcnamespace
  join pg_catalog.pg_am am on am.oid = o.opcmethod
  join pg_catalog.pg_opfamily f on f.oid = o.opcfamily
  join pg_catalog.pg_namespace fn on fn.oid = f.opfnamespace
 where {scope n} and {own pg_opclass o.oid}]]

return function(reading)
  for _, row in ipairs(reading:rows(OPERATORS)) do reading:put("operators", row) end
  for _, row in ipairs(reading:rows(FAMILIES)) do
    reader.sort(row.operators)
    reader.sort(row.functions)
    reading:put("operator_families", row)
  end
  for _, row in ipairs(reading:rows(CLASSES)) do reading:put("operator_classes", row) end
end
