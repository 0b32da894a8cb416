/* lerror.c - see lerror.h. SPDX-License-Identifier: MIT */
#include "bind/lerror.h"

#include <string.h>

#include "core/sqlstate.h"

static void set_text(lua_State *L, const char *key, const char *text) {
  if (text == NULL || text[0] == '\0') return;
  lua_pushstring(L, text);
  lua_setfield(L, -2, key);
}

static void set_number(lua_State *L, const char *key, int number) {
  if (number == 0) return;
  lua_pushinteger(L, number);
  lua_setfield(L, -2, key);
}

static void set_fields(lua_State *L, const lph_error *e) {
  static const struct {
    lph_efield field;
    const char *key;
  } names[] = {
    {LPH_E_MESSAGE, "message"},       {LPH_E_DETAIL, "detail"},     {LPH_E_HINT, "hint"},
    {LPH_E_CONTEXT, "context"},       {LPH_E_SEVERITY, "severity"}, {LPH_E_SCHEMA, "schema"},
    {LPH_E_TABLE, "table"},           {LPH_E_COLUMN, "column"},     {LPH_E_DATATYPE, "datatype"},
    {LPH_E_CONSTRAINT, "constraint"}, {LPH_E_ROUTINE, "routine"},   {LPH_E_INTERNAL_QUERY, "internal_query"},
  };
  for (size_t i = 0; i < lph_countof(names); i++) set_text(L, names[i].key, lph_error_get(e, names[i].field));
  set_text(L, "sqlstate", e->sqlstate);
  set_number(L, "position", e->position);
  set_number(L, "internal_position", e->internal_position);
  set_number(L, "param", e->param);
}

/* A session that was lost before anything of the statement left can be replaced (kind.inc). */
static bool is_retryable(const lph_error *e) {
  if (e->sent == LPH_SENT_NO && e->kind != NULL && strcmp(e->kind, "closed") == 0) return true;
  return e->sqlstate[0] != '\0' ? lph_sqlstate_retryable(e->sqlstate) : lph_kind_retryable(e->kind);
}

/* From the innermost Lua function on: the C functions above it are how a box is entered (lenter.h). */
static void push_traceback(lua_State *L) {
  lua_Debug frame;
  int level = 1;
  while (lua_getstack(L, level, &frame) && lua_getinfo(L, "S", &frame) && frame.what[0] == 'C') level++;
  luaL_traceback(L, L, NULL, level);
}

void lerror_object(lua_State *L, const lph_error *e, int sql_index) {
  static const char *const sent[] = {"no", "maybe", "yes"};
  if (sql_index != 0) sql_index = lua_absindex(L, sql_index);
  luaL_checkstack(L, 6, "error object");
  lua_createtable(L, 0, 12);
  const char *kind = e->kind == NULL ? "protocol" : e->kind;
  set_text(L, "kind", kind);
  set_text(L, "class", e->sqlstate[0] != '\0' ? lph_sqlstate_class(e->sqlstate) : lph_kind_class(kind));
  set_fields(L, e);
  lua_pushstring(L, sent[e->sent]);
  lua_setfield(L, -2, "sent");
  lua_pushboolean(L, is_retryable(e));
  lua_setfield(L, -2, "retryable");
  if (sql_index != 0) {
    lua_pushvalue(L, sql_index);
    lua_setfield(L, -2, "query");
  }
  push_traceback(L);
  lua_setfield(L, -2, "traceback");
  luaL_getmetatable(L, LERROR_METATABLE);
  lua_setmetatable(L, -2);
}

int lerror_push(lua_State *L, const lph_error *e, int sql_index) {
  if (sql_index != 0) sql_index = lua_absindex(L, sql_index);
  luaL_checkstack(L, 2, "error object");
  lua_pushnil(L);
  lerror_object(L, e, sql_index);
  return 2;
}

int lerror_set_metatable(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lua_setfield(L, LUA_REGISTRYINDEX, LERROR_METATABLE);
  return 0;
}
