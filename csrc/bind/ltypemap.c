/* ltypemap.c - the map of user types, filled from the catalog by luphant.types.
 *
 *   core.typemap() -> map
 *   map:define(type); { oid =, name =, kind =, elem =, delim =, fields = { { name =, oid = }, ... } }
 *   map:name(oid) -> string | nil; nil also for a type in doubt
 *   map:doubt()
 *   map:is_binary(oid, inward) -> boolean; can COPY carry it in binary form, into the server or out of it?
 *   map:has_float(oid) -> boolean; is there one whose text form may lack digits?
 *
 * SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "bind/bind.h"
#include "bind/lbox.h"
#include "types/type.h"

typedef struct ltypemap {
  lph_typemap *map;
} ltypemap;

static const lbox_class typemap_class;

static ltypemap *ltypemap_check(lua_State *L) {
  ltypemap *box = lbox_self(L, 1, &typemap_class);
  if (box->map == NULL) luaL_error(L, "this type map is closed");
  return box;
}

struct lph_typemap *ltypemap_test(lua_State *L, int index) {
  ltypemap *box = lbox_test(L, index, &typemap_class);
  return box == NULL ? NULL : box->map;
}

static int ltypemap__gc(lua_State *L) {
  ltypemap *box = lbox_self(L, 1, &typemap_class);
  lph_typemap_release(box->map);
  box->map = NULL;
  return 0;
}

/* How the catalog's classes read here. "alias" copies the type `elem` (a domain its base type). */
static const struct {
  const char *name;
  lph_kind kind;
} kinds[] = {{"text", LPH_TEXT},
             {"enum", LPH_TEXT},
             {"opaque", LPH_OPAQUE},
             {"array", LPH_ARRAY},
             {"range", LPH_RANGE},
             {"composite", LPH_COMPOSITE},
             {"multirange", LPH_MULTIRANGE},
             {"hstore", LPH_HSTORE},
             {"versioned", LPH_VERSIONED}};

static lph_kind read_kind(lua_State *L, int at) {
  lua_getfield(L, at, "kind");
  const char *name = luaL_checkstring(L, -1);
  for (size_t i = 0; i < lph_countof(kinds); i++)
    if (strcmp(kinds[i].name, name) == 0) return lua_pop(L, 1), kinds[i].kind;
  luaL_error(L, "no type kind \"%s\"", name);
  return LPH_OPAQUE;
}

static lph_oid read_oid(lua_State *L, int at, const char *key) {
  lua_getfield(L, at, key);
  lph_oid oid = (lph_oid)lua_tonumber(L, -1);
  lua_pop(L, 1);
  return oid;
}

/* Field list in a userdata, so that nothing is lost when Lua raises. Leaves it on the stack. */
static const lph_field *read_fields(lua_State *L, int at, lph_type *type) {
  lua_getfield(L, at, "fields");
  if (!lua_istable(L, -1)) return NULL;
  int list = lua_gettop(L);
  int n = (int)lua_rawlen(L, list);
  luaL_checkstack(L, n + 8, "fields");
  lph_field *fields = lua_newuserdata(L, sizeof *fields * (size_t)(n + 1));
  for (int i = 0; i < n; i++) {
    lua_rawgeti(L, list, i + 1);
    fields[i].type = read_oid(L, lua_gettop(L), "oid");
    lua_getfield(L, -1, "name");
    fields[i].name = luaL_checkstring(L, -1); /* stays on the stack until define has copied it */
    lua_remove(L, -2);
  }
  type->field_count = (uint16_t)n;
  return fields;
}

static int ltypemap_define(lua_State *L) {
  ltypemap *box = ltypemap_check(L);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  lph_type type = {0};
  lua_getfield(L, 2, "kind");
  bool alias = lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), "alias") == 0;
  bool is_enum = lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), "enum") == 0;
  lua_pop(L, 1);
  if (alias) {
    const lph_type *base = lph_typemap_find(box->map, read_oid(L, 2, "elem"));
    if (base == NULL) return luaL_error(L, "the base type of a domain must be defined before the domain");
    type = *base;
  } else {
    type.kind = (uint8_t)read_kind(L, 2);
    type.elem = read_oid(L, 2, "elem");
    type.is_enum = is_enum;
    type.delim = ',';
    lua_getfield(L, 2, "delim");
    if (lua_type(L, -1) == LUA_TSTRING && lua_rawlen(L, -1) == 1) type.delim = lua_tostring(L, -1)[0];
    type.fields = read_fields(L, 2, &type);
  }
  type.oid = read_oid(L, 2, "oid");
  lua_getfield(L, 2, "name");
  type.name = luaL_checkstring(L, -1);
  if (lph_typemap_define(box->map, &type) != LPH_OK) return luaL_error(L, "not enough memory");
  return 0;
}

static int ltypemap_name(lua_State *L) {
  const lph_typemap *map = ltypemap_check(L)->map;
  const lph_type *type = lph_typemap_find(map, (lph_oid)luaL_checknumber(L, 2));
  if (type == NULL || !lph_typemap_is_current(map, type)) return 0;
  lua_pushstring(L, type->name);
  return 1;
}

static int ltypemap_doubt(lua_State *L) {
  lph_typemap_doubt(ltypemap_check(L)->map);
  return 0;
}

static int ltypemap_is_binary(lua_State *L) {
  const lph_typemap *map = ltypemap_check(L)->map;
  const lph_type *type = lph_typemap_find(map, (lph_oid)luaL_checknumber(L, 2));
  bool inward = lua_toboolean(L, 3);
  lua_pushboolean(L, type != NULL && (inward ? lph_wire_can(type) : lph_type_has_binary(map, type)));
  return 1;
}

static int ltypemap_has_float(lua_State *L) {
  const lph_typemap *map = ltypemap_check(L)->map;
  lua_pushboolean(L, lph_type_has_float(map, lph_typemap_find(map, (lph_oid)luaL_checknumber(L, 2))));
  return 1;
}

static const luaL_Reg typemap_methods[] = {
  {"define", ltypemap_define},       {"name", ltypemap_name},           {"doubt", ltypemap_doubt},
  {"is_binary", ltypemap_is_binary}, {"has_float", ltypemap_has_float}, {NULL, NULL}};
static const luaL_Reg typemap_meta[] = {{"__gc", ltypemap__gc}, {NULL, NULL}};
static const lbox_class typemap_class = {"luphant.core.typemap", typemap_methods, typemap_meta};

void ltypemap_open(lua_State *L) { lbox_open(L, &typemap_class); }

int ltypemap_new(lua_State *L) {
  ltypemap *box = lbox_new(L, &typemap_class, sizeof *box);
  box->map = lph_typemap_new();
  return box->map == NULL ? luaL_error(L, "not enough memory") : 1;
}
