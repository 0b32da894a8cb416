--- Built-in types: pg_type.tsv -> csrc/types/oid.h and csrc/types/builtin.inc.
--
-- The input is the answer of a PostgreSQL 15 to the query below (psql -XAt -F <tab>), unchanged. OIDs under
-- 10000 are assigned by hand in the server's sources and never change their meaning. Row types of the
-- system catalogs are left out (they are looked up like a user's), domains of information_schema have
-- no fixed OIDs. When a new server version brings a type, run the query there, give the type a kind here
-- (the generator refuses a type without one) and run the generator.
--
--   select t.oid, t.typname, format_type(t.oid, null),
--          case when e.oid is not null then 'a' else t.typtype end,      -- a = array
--          coalesce(e.oid, r.rngsubtype, m.rngtypid, 0),                 -- what it is made of
--          t.typdelim
--   from pg_type t
--     left join pg_type e on e.typarray = t.oid
--     left join pg_range r on r.rngtypid = t.oid
--     left join pg_range m on m.rngmultitypid = t.oid
--   where t.oid < 10000 and t.typtype in ('b', 'p', 'r', 'm') and e.typtype is distinct from 'c'
--   order by t.oid
--
-- See emit.lua for how to run it. SPDX-License-Identifier: MIT

local emit = dofile "csrc/gen/emit.lua"

-- typname -> lph_kind. OPAQUE: the server has no binary form, or one that does not carry what the text
-- says: reg* send a number for a name, money leaves out the currency and its digits, tsvector and tsquery
-- would need the server's own printing rules, snapshots and planner statistics are for display only.
-- int2vector and oidvector are arrays in binary form but "1 2 3" in text form: as text both ways they
-- are at least the same in both.
local KIND = {
  BOOL = "bool", INT2 = "int2", INT4 = "int4", INT8 = "int8", UINT4 = "oid xid cid", FLOAT4 = "float4",
  FLOAT8 = "float8", BYTEA = "bytea", JSON = "json", JSONB = "jsonb", NUMERIC = "numeric", DATE = "date",
  TIME = "time", TIMETZ = "timetz", TIMESTAMP = "timestamp", TIMESTAMPTZ = "timestamptz",
  INTERVAL = "interval", UUID = "uuid", INET = "inet cidr", MACADDR = "macaddr", MACADDR8 = "macaddr8",
  BIT = "bit varbit", CHAR = "char", UINT8 = "xid8", LSN = "pg_lsn", TID = "tid", POINT = "point",
  LSEG = "lseg", PATH = "path", BOX = "box", POLYGON = "polygon", LINE = "line", CIRCLE = "circle",
  VERSIONED = "jsonpath", RECORD = "record", VOID = "void",
  TEXT = "text varchar bpchar name xml unknown refcursor",
  OPAQUE = [[
    money aclitem tsvector tsquery gtsvector int2vector oidvector pg_snapshot txid_snapshot pg_node_tree
    regproc regprocedure regoper regoperator regclass regtype regconfig regdictionary regnamespace
    regrole regcollation
    pg_ndistinct pg_dependencies pg_mcv_list pg_brin_bloom_summary pg_brin_minmax_multi_summary
    pg_ddl_command cstring any anyarray anyelement anynonarray anyenum anyrange anymultirange
    anycompatible anycompatiblearray anycompatiblenonarray anycompatiblerange anycompatiblemultirange
    trigger event_trigger internal language_handler fdw_handler index_am_handler table_am_handler
    tsm_handler]],
}

local SHAPE = { a = "ARRAY", r = "RANGE", m = "MULTIRANGE" }

-- Names of SQL that are neither a typname nor what format_type prints. `char` is SQL's; the catalog's
-- one-byte type is "char" with its quotes.
local ALIAS = {
  int = "int4", float = "float8", decimal = "numeric", dec = "numeric", char = "bpchar",
  nchar = "bpchar", ["national character"] = "bpchar", ["national char"] = "bpchar",
  ["char varying"] = "varchar", ["national character varying"] = "varchar",
  ["national char varying"] = "varchar", ["nchar varying"] = "varchar",
}

-- Pseudo-types that can be the type of a value a client sees, and so may be asked for by name.
local VISIBLE = { record = true, void = true, unknown = true }

local function kinds_by_name()
  local by_name = {}
  for kind, names in pairs(KIND) do
    for name in names:gmatch("%S+") do
      assert(not by_name[name], name .. " has two kinds")
      by_name[name] = kind
    end
  end
  return by_name
end

local function load_types()
  local kind_of, types = kinds_by_name(), {}
  for _, cell in ipairs(emit.tsv "csrc/gen/pg_type.tsv") do
    local t = { oid = tonumber(cell[1]), typname = cell[2], name = cell[3], shape = cell[4],
                elem = tonumber(cell[5]), delim = cell[6] }
    t.kind = SHAPE[t.shape] or kind_of[t.typname]
    assert(t.kind, "choose a kind for the type " .. t.typname)
    assert(not types[#types] or types[#types].oid < t.oid, "pg_type.tsv is not sorted by OID")
    types[#types + 1] = t
  end
  return types
end

local function quote(text) return '"' .. text:gsub('[\\"]', "\\%0") .. '"' end

local NOTICE = "Made by gen/pg_type.lua from gen/pg_type.tsv; edit those."

local function oid_header(types)
  local name_of = {}
  for _, t in ipairs(types) do name_of[t.oid] = t.typname end
  local out = {
    "/* oid.h - OIDs of the built-in types by name. " .. NOTICE,
    " *",
    " * SPDX-License-Identifier: MIT */",
    "#ifndef LPH_OID_H",
    "#define LPH_OID_H",
    "",
  }
  for _, t in ipairs(types) do
    local name = t.shape == "a" and name_of[t.elem] .. "_array" or t.typname
    if t.shape ~= "p" or VISIBLE[t.typname] then
      out[#out + 1] = ("#define LPH_OID_%s %du"):format(name:upper(), t.oid)
    end
  end
  out[#out + 1] = ""
  out[#out + 1] = "#endif\n"
  return table.concat(out, "\n")
end

-- Every spelling of a type's name but those of arrays, which are spelled by their element's.
local function spellings(types)
  local oid_of, list = {}, {}
  local function add(name, oid)
    assert(oid_of[name] == nil or oid_of[name] == oid, name .. " means two types")
    if not oid_of[name] then list[#list + 1] = name end
    oid_of[name] = oid
  end
  local by_typname = {}
  for _, t in ipairs(types) do by_typname[t.typname] = t.oid end
  for alias, typname in pairs(ALIAS) do add(alias, assert(by_typname[typname])) end
  for _, t in ipairs(types) do
    if t.shape == "b" or t.shape == "r" or t.shape == "m" or VISIBLE[t.typname] then
      add(t.name, t.oid)
      if t.typname ~= "char" then add(t.typname, t.oid) end
    end
  end
  table.sort(list)
  return list, oid_of
end

local function builtin_table(types)
  local out = {
    "/* builtin.inc - the built-in types. " .. NOTICE,
    " *",
    " * LPH_BUILTIN(oid, made of, kind, delimiter, name), by OID; LPH_BUILTIN_NAME(name, oid), by name.",
    " *",
    " * SPDX-License-Identifier: MIT */",
    "#ifdef LPH_BUILTIN",
  }
  for _, t in ipairs(types) do
    out[#out + 1] = ("LPH_BUILTIN(%d, %d, %s, '%s', %s)"):format(t.oid, t.elem, t.kind, t.delim,
      quote(t.name))
  end
  out[#out + 1] = "#endif"
  out[#out + 1] = "#ifdef LPH_BUILTIN_NAME"
  local list, oid_of = spellings(types)
  for _, name in ipairs(list) do
    out[#out + 1] = ("LPH_BUILTIN_NAME(%s, %d)"):format(quote(name), oid_of[name])
  end
  out[#out + 1] = "#endif\n"
  return table.concat(out, "\n")
end

local function outputs()
  local types = load_types()
  return { ["csrc/types/oid.h"] = oid_header(types), ["csrc/types/builtin.inc"] = builtin_table(types) }
end

emit.main("csrc/gen/pg_type.lua", outputs, arg)
return { outputs = outputs, types = load_types }
