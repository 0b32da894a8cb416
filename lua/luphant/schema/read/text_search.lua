-- schema/read/text_search.lua - full text search: configurations, dictionaries, parsers and templates.
--
-- SPDX-License-Identifier: MIT

local CONFIGURATIONS = [[
select format('%I.%I', n.nspname, c.cfgname) as _id, n.nspname::text as schema, c.cfgname::text as name,
       format('%I.%I', pn.nspname, p.prsname) as parser,
       array(select (select k.alias from ts_token_type(c.cfgparser) k where k.tokid = m.maptokentype) || ': ' ||
                    string_agg(format('%I.%I', dn.nspname, d.dictname), ', ' order by m.mapseqno)
               from pg_catalog.pg_ts_config_map m
               join pg_catalog.pg_ts_dict d on d.oid = m.mapdict
               join pg_catalog.pg_namespace dn on dn.oid = d.dictnamespace
              where m.mapcfg = c.oid group by m.maptokentype order by m.maptokentype) as mappings,
       {owner c.cfgowner}, {comment c.oid pg_ts_config}
  from pg_catalog.pg_ts_config c
  join pg_catalog.pg_namespace n on n.oid = c.cfgnamespace
  join pg_catalog.pg_ts_parser p on p.oid = c.cfgparser
  join pg_catalog.pg_namespace pn on pn.oid = p.prsnamespace
 where {scope n} and {own pg_ts_config c.oid}]]

local DICTIONARIES = [[
select format('%I.%I', n.nspname, d.dictname) as _id, n.nspname::text as schema, d.dictname::text as name,
       format('%I.%I', tn.nspname, t.tmplname) as template, d.dictinitoption as options,
       {owner d.dictowner}, {comment d.oid pg_ts_dict}
  from pg_catalog.pg_ts_dict d
  join pg_catalog.pg_namespace n on n.oid = d.dictnamespace
  join pg_catalog.pg_ts_template t on t.oid = d.dicttemplate
  join pg_catalog.pg_namespace tn on tn.oid = t.tmplnamespace
 where {scope n} and {own pg_ts_dict d.oid}]]

local PARSERS = [[
select format('%I.%I', n.nspname, p.prsname) as _id, n.nspname::text as schema, p.prsname::text as name,
       p.prsstart::oid::regprocedure::text as start, p.prstoken::oid::regprocedure::text as next_token,
       p.prsend::oid::regprocedure::text as finish, p.prslextype::oid::regprocedure::text as token_types,
       nullif(p.prsheadline::oid::regprocedure::text, '-') as headline, {comment p.oid pg_ts_parser}
  from pg_catalog.pg_ts_parser p
  join pg_catalog.pg_namespace n on n.oid = p.prsnamespace
 where {scope n} and {own pg_ts_parser p.oid}]]

local TEMPLATES = [[
select format('%I.%I', n.nspname, t.tmplname) as _id, n.nspname::text as schema, t.tmplname::text as name,
       nullif(t.tmplinit::oid::regprocedure::text, '-') as init, t.tmpllexize::oid::regprocedure::text as lexize,
       {comment t.oid pg_ts_template}
  from pg_catalog.pg_ts_template t
  join pg_catalog.pg_namespace n on n.oid = t.tmplnamespace
 where {scope n} and {own pg_ts_template t.oid}]]

return function(reading)
  for _, row in ipairs(reading:rows(CONFIGURATIONS)) do reading:put("text_search_configurations", row) end
  for _, row in ipairs(reading:rows(DICTIONARIES)) do reading:put("text_search_dictionaries", row) end
  for _, row in ipairs(reading:rows(PARSERS)) do reading:put("text_search_parsers", row) end
  for _, row in ipairs(reading:rows(TEMPLATES)) do reading:put("text_search_templates", row) end
end
